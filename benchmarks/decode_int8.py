"""Greedy tokens/s of one answer by SmolLM2-135M in 8 bits ÷ transformers' generate in fp32, 2 threads.

    make bench NAME=decode_int8

Activations stay fp32. Checked first: the ids are those of the same rounded weights computed in fp32.
What rounding costs in perplexity is `quant`. The floor: the packed bytes of one token's weights read at
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


def main() -> None:
    """Measures and reports."""
    torch.set_num_threads(2)
    folder = base_folder("smollm2")
    loaded, theirs = load_model(folder, bits=8), peer(str(folder))
    wanted = rounded(folder, loaded, 8)
    same = 0
    for question in QUESTIONS:
        prompt = prompt_ids(loaded, question)
        found, expected = our_ids(loaded, prompt, NEW), our_ids(wanted, prompt, NEW)
        same += found == expected
        assert found[:8] == expected[:8], (question, found, expected)
    show(f"{same} of {len(QUESTIONS)} answers equal to those of the rounded weights in fp32")
    del wanted
    size = round(1.125 * loaded.model.config.matrix_parameters)
    measure("decode-int8", loaded, theirs, size, equal_answers=f"{same} of {len(QUESTIONS)}")


if __name__ == "__main__":
    main()
