"""Total tokens/s of 16 streams in our engine ÷ transformers' generate on the same 16 prompts, padded;
fp32, 2 threads.

    make bench NAME=batch

Prompts and answers as in `serve`, without HTTP. Checked first: equal answers. Beside it the same with
weights in 8 bits.
"""

import statistics

import torch
from harness import compare, rate, report, show
from serve import NEW, padded, prompts
from transformers import AutoModelForCausalLM

from tuti.infer import Engine, LoadedModel, Request, Sampling, Token, load_model
from tuti.pipelines.base import base_folder


def answers(engine: Engine, loaded: LoadedModel, ids: list[list[int]]) -> list[list[int]]:
    """All at once; each answer up to and with its end token."""
    rule = Sampling(temperature=0, max_tokens=NEW)
    asked = [Request(one, rule, loaded.ends) for one in ids]
    return [[e.id for e in events if isinstance(e, Token)] for events in engine.complete_all(asked)]


def main() -> None:
    """Measures and reports."""
    torch.set_num_threads(2)
    folder = base_folder("smollm2")
    loaded, fewer = load_model(folder), load_model(folder, bits=8)
    assert loaded.template is not None
    _, ids = prompts(loaded.template)
    peer = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    pad, stops = loaded.tokenizer.end, loaded.template.stops
    engine, small = Engine(loaded.model, loaded.tokenizer), Engine(fewer.model, fewer.tokenizer)
    wanted = padded(peer, ids, pad, stops)
    same = sum(a == b for a, b in zip(answers(engine, loaded, ids), wanted, strict=True))
    show(f"equal answers: {same} of {len(ids)}")
    assert same == len(ids)

    def total(engine: Engine) -> float:
        return float(sum(map(len, answers(engine, loaded, ids))))

    def theirs() -> float:
        return float(sum(map(len, padded(peer, ids, pad, stops))))

    pairs = compare(lambda: total(engine), theirs, pairs=7)
    eight = [rate(lambda: total(small)) for _ in range(5)]
    engine.close()
    small.close()
    in_8_bits = {"unit": "tokens/s", "median": statistics.median(eight)}
    report("batch", pairs, unit="tokens/s", in_8_bits=in_8_bits)


if __name__ == "__main__":
    main()
