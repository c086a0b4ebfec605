"""Beam search finds transformers' answers, and the best there is when nothing is cut off."""

import codecs
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from tuti.infer import PackedDecoder
from tuti.infer.beam import beam_search
from tuti.nn import Decoder, DecoderConfig
from tuti.nn.files import save_decoder
from tuti.run import UserError
from tuti.text import Tokenizer

TOKENIZER = Tokenizer.from_merges([])
VOCAB = TOKENIZER.vocab_size
ENDS = tuple(range(33, 128, 6))


def decoder(seed: int, spread: float = 6.0) -> Decoder:
    """One that says ASCII alone: the logits of other bytes are 0, far below the best."""
    model = Decoder(DecoderConfig(VOCAB, 32, 2, 4, 2, 8, 64, 64), torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(spread) if p.dim() == 2 else None
        model.embedding.weight[128:] = 0
    return model


def exact(model: Decoder, prompt: Sequence[int], answer: Sequence[int]) -> float:
    """Nats of an answer, by one pass over all of it."""
    ids = torch.tensor([[*prompt, *answer]])
    with torch.no_grad():
        logprobs = model.logits(model(ids))[0].log_softmax(-1)
    places = range(len(prompt) - 1, len(prompt) + len(answer) - 1)
    return sum(float(logprobs[at, token]) for at, token in zip(places, answer, strict=True))


@pytest.mark.parametrize("penalty", [0.0, 1.0, 1.7])
@pytest.mark.parametrize("width", [1, 2, 4, 7])
def test_transformers_finds_the_same(tmp_path: Any, width: int, penalty: float) -> None:
    from transformers import LlamaForCausalLM

    ended = 0
    for seed in range(6):
        model = decoder(seed)
        save_decoder(model, tmp_path / str(seed))
        theirs = LlamaForCausalLM.from_pretrained(tmp_path / str(seed))
        prompt = [65 + seed, 66, 67]
        made: Any = theirs.generate(  # pyright: ignore
            torch.tensor([prompt]), num_beams=width, num_return_sequences=width, max_new_tokens=12,
            do_sample=False, length_penalty=penalty, eos_token_id=list(ENDS), pad_token_id=0,
            output_scores=True, return_dict_in_generate=True,
        )
        wanted = [row[len(prompt) :].tolist() for row in made.sequences]
        wanted = [list(itertools.takewhile(lambda i: i not in ENDS, row))[:12] for row in wanted]
        found = beam_search(
            PackedDecoder(model), TOKENIZER, prompt, width=width, max_tokens=12, ends=ENDS, penalty=penalty
        )
        assert [list(answer.ids) for answer in found] == wanted
        if width > 1:
            scores = made.sequences_scores.tolist()
            assert [answer.score for answer in found] == pytest.approx(scores, abs=1e-4)
        ended += sum(len(row) < 12 for row in wanted)
    assert ended or width == 1


def test_nothing_is_better_when_every_beginning_is_kept() -> None:
    """Two tokens from the 64 best first ones: as good as the best of all 128² answers."""
    model = decoder(1, 3.0)
    found = beam_search(PackedDecoder(decoder(1, 3.0)), TOKENIZER, [65], width=64, max_tokens=2, penalty=0)
    everything = torch.tensor([[65, a] for a in range(128)])
    with torch.no_grad():
        logprobs = model.logits(model(everything)).log_softmax(-1)
    sums = logprobs[0, 0, :128, None] + logprobs[:, 1, :128]
    assert found[0].score == pytest.approx(float(sums.max()), abs=1e-4)
    assert found[0].ids == divmod(int(sums.argmax()), 128)
    for answer in itertools.islice(found, 0, 64, 9):
        assert answer.score == pytest.approx(exact(model, [65], answer.ids), abs=1e-4)


def test_half_a_character_is_followed_by_its_other_half() -> None:
    model = Decoder(DecoderConfig(VOCAB, 32, 2, 4, 2, 8, 64, 64), torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.embedding.weight.mul_(torch.arange(VOCAB)[:, None] / 20)  # high bytes say more
    found = beam_search(PackedDecoder(model), TOKENIZER, [65], width=5, max_tokens=30)
    assert len(found) == 5 and any(i > 127 for answer in found for i in answer.ids)
    for answer in found:  # which may be cut off, but holds nothing that is no UTF-8
        codecs.getincrementaldecoder("utf-8")().decode(bytes(i for i in answer.ids if i < 256))


def test_the_context_and_silence_bound_an_answer() -> None:
    model = PackedDecoder(decoder(0))
    assert len(beam_search(model, TOKENIZER, [65] * 60, width=2, ends=())[0].ids) == 5
    assert beam_search(model, TOKENIZER, [65], max_tokens=0) == []
    for wrong, said in (({"width": 0}, "0 beams"), ({"width": 65}, "65 beams")):
        with pytest.raises(UserError, match=said):
            beam_search(model, TOKENIZER, [65], **wrong)
    for prompt in ([], [65] * 65):
        with pytest.raises(UserError, match="the prompt has"):
            beam_search(model, TOKENIZER, prompt)
