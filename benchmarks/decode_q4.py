"""Greedy tokens/s of one answer from one GGUF file (SmolLM2-135M, Q4_1) ÷ llama.cpp's, 2 threads each.

    make bench NAME=decode_q4        # needs llama-cpp-python: pip install -e '.[bench]', which compiles it

The reading of the prompt is in both times. llama.cpp rounds activations to 8 bits, we do not: so
answers may part, and what is checked first is that the most probable first tokens agree; how far the
answers go together is printed.
"""

from collections.abc import Sequence

import torch
from decode import NEW, QUESTIONS, our_ids, prompt_ids
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
    together: list[int] = []
    for question in QUESTIONS:
        prompt = prompt_ids(loaded, question)
        ours, peers = our_ids(loaded, prompt, NEW), their_ids(theirs, prompt, NEW)
        together.append(next((i for i, (a, b) in enumerate(zip(ours, peers, strict=True)) if a != b), NEW))
    assert min(together) > 0, together
    show(f"tokens that agree before the answers part: {together} of {NEW}")
    prompt = prompt_ids(loaded, QUESTIONS[1])
    pairs = compare(
        lambda: float(len(our_ids(loaded, prompt, NEW))),
        lambda: float(len(their_ids(theirs, prompt, NEW))),
        pairs=9,
    )
    report("decode-q4", pairs, unit="tokens/s", tokens_that_agree=together)


if __name__ == "__main__":
    main()
