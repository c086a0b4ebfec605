"""Greedy tokens/s of one answer from one GGUF file (SmolLM2-135M, Q4_1) ÷ llama.cpp's, 2 threads each.

    make bench NAME=decode_q4        # needs llama-cpp-python: pip install -e '.[bench]', which compiles it

The reading of the prompt is in both times. Both round what weights are multiplied with to 8
bits and sum in other orders: so answers may part where two tokens are nearly equal, and what is checked
first is, of each token of four answers of llama.cpp's, whether we would have chosen it.
"""

from collections.abc import Sequence

import torch
from decode import NEW, QUESTIONS, our_ids, prompt_ids
from decode_int8 import agreeing
from harness import compare, report, show
from llama_cpp import Llama

from tuti.infer import load_model
from tuti.run.assets import fetch


def their_ids(model: Llama, prompt: Sequence[int], count: int) -> list[int]:
    """The same by llama.cpp, the end token no reason to stop, nothing remembered of earlier prompts."""
    model.reset()
    made: list[int] = []
    for token in model.generate(list(prompt), top_k=1, temp=0.0, repeat_penalty=1.0, reset=True):
        made.append(token)
        if len(made) == count:
            return made
    return made


def main() -> None:
    """Measures and reports."""
    torch.set_num_threads(2)
    [file] = sorted(fetch("smollm2").glob("*.gguf"))
    loaded = load_model(file)
    theirs = Llama(str(file), n_ctx=512, n_threads=2, n_threads_batch=2, verbose=False)
    same = 0
    for question in QUESTIONS:
        prompt = prompt_ids(loaded, question)
        same += agreeing(loaded, prompt, their_ids(theirs, prompt, NEW))
    share = same / (len(QUESTIONS) * NEW)
    show(f"{share:.1%} of llama.cpp's tokens are ours, too, after those before")
    assert share > 0.9, share
    prompt = prompt_ids(loaded, QUESTIONS[1])
    pairs = compare(
        lambda: float(len(our_ids(loaded, prompt, NEW))),
        lambda: float(len(their_ids(theirs, prompt, NEW))),
        pairs=9,
    )
    report("decode-q4", pairs, unit="tokens/s", agreeing_tokens=round(share, 4))


if __name__ == "__main__":
    main()
