"""Greedy tokens/s of one answer by SmolLM2-135M in 8 bits ÷ transformers' generate in fp32, 2 threads.

    make bench NAME=decode_int8

What weights are multiplied with is rounded to 8 bits, too. Checked first: of each token of four answers
of the same rounded weights in fp32, whether the model in 8 bits would have chosen it. What rounding costs
in perplexity is `quant`. The floor: the packed bytes of one token's weights read at
the bandwidth that summing a large array reaches.
"""

from dataclasses import replace

import torch
from decode import NEW, QUESTIONS, measure, our_ids, peer, prompt_ids
from harness import show

from tuti.infer import LoadedModel, PackedDecoder, load_model
from tuti.nn import load_decoder
from tuti.nn.quantised import quantise
from tuti.pipelines.base import base_folder


def rounded(folder: str, loaded: LoadedModel, bits: int) -> LoadedModel:
    """The same model with fp32 weights that are what `bits` bits hold."""
    model = load_decoder(folder)
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 2:
                p.copy_(quantise(p, bits).numbers[:, : p.shape[1]])
    return replace(loaded, model=PackedDecoder(model))


@torch.inference_mode()
def agreeing(loaded: LoadedModel, prompt: list[int], answer: list[int]) -> int:
    """How many of an answer's tokens are the model's own choice after those before."""
    ids, model = torch.tensor([prompt + answer[:-1]]), loaded.model
    hidden = model(ids, cache=model.cache(1, ids.shape[1]).window([0], [ids.shape[1]]))
    chosen = model.logits(hidden[:, len(prompt) - 1 :]).argmax(-1)[0]
    return int((chosen == torch.tensor(answer)).sum())


def main() -> None:
    """Measures and reports."""
    torch.set_num_threads(2)
    folder = base_folder("smollm2")
    loaded, theirs = load_model(folder, bits=8), peer(str(folder))
    wanted = rounded(folder, loaded, 8)
    same = 0
    for question in QUESTIONS:
        prompt = prompt_ids(loaded, question)
        expected = our_ids(wanted, prompt, NEW)
        same += agreeing(loaded, prompt, expected)
    share = same / (len(QUESTIONS) * NEW)
    show(f"{share:.1%} of the tokens are those of the rounded weights in fp32")
    assert share > 0.9, share
    del wanted
    size = round(1.125 * loaded.model.config.matrix_parameters)
    measure("decode-int8", loaded, theirs, size, agreeing_tokens=round(share, 4))


if __name__ == "__main__":
    main()
