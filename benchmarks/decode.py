"""Greedy tokens/s of one answer by SmolLM2-135M in fp32 ÷ transformers' generate, 2 threads.

The same weights and prompt, the reading of the prompt included, cache on in both. Checked first:
equal ids for four prompts. The floor beside it: every weight read once for each token, at the
bandwidth that summing a large array reaches, measured before and after.
"""

import statistics
from collections.abc import Sequence

import torch
from harness import compare, rate, report, show
from transformers import AutoModelForCausalLM

from tuti.infer import LoadedModel, Sampling, generate, load_model
from tuti.pipelines.base import base_folder

NEW = 48
QUESTIONS = (
    "Why is the sky blue?",
    "Write a short poem about a parrot that learns to speak.",
    "What is 17 plus 25? Explain each step.",
    "Name three rivers of Europe and the countries that they flow through.",
)


def prompt_ids(loaded: LoadedModel, question: str) -> list[int]:
    """The question as the model's template puts it."""
    assert loaded.template is not None
    asked = [{"role": "user", "content": question}]
    return loaded.template.render(asked, add_generation_prompt=True).ids


def our_ids(loaded: LoadedModel, prompt: Sequence[int], count: int) -> list[int]:
    """`count` greedy ids by the plain loop, the end token no reason to stop."""
    rule = Sampling(temperature=0, max_tokens=count)
    return [token.id for token in generate(loaded.model, loaded.tokenizer, prompt, rule)]


def their_ids(model: AutoModelForCausalLM, prompt: Sequence[int], count: int) -> list[int]:
    """The same by transformers."""
    ids = torch.tensor([list(prompt)])
    made = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False
    )
    return made[0, len(prompt) :].tolist()


def peer(folder: str) -> AutoModelForCausalLM:
    """The peer, never stopping before it is told to."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.generation_config.eos_token_id = None
    return model.eval()


def bandwidth(bytes_a_token: int) -> float:
    """Tokens/s if nothing but reading the weights took time."""
    data = torch.ones(2**27)  # 512 MB, far beyond the caches
    data.sum()
    rates = [rate(lambda: float(data.sum() * 0 + data.numel() * 4)) for _ in range(5)]
    return max(rates) / bytes_a_token


def measure(name: str, loaded: LoadedModel, theirs: AutoModelForCausalLM, size: int, **more: object) -> None:
    """Tokens/s of one answer by turns; `size`: bytes of weights that a token needs, for the floor."""
    prompt = prompt_ids(loaded, QUESTIONS[1])
    floors = [bandwidth(size)]
    pairs = compare(
        lambda: float(len(our_ids(loaded, prompt, NEW))),
        lambda: float(len(their_ids(theirs, prompt, NEW))),
        pairs=7,
    )
    floors.append(bandwidth(size))
    floor = max(floors)
    report(
        name,
        pairs,
        unit="tokens/s",
        floor={"what": "weights read at memory bandwidth", "tokens_per_second": floor},
        share_of_floor=statistics.median(pair.ours for pair in pairs) / floor,
        **more,
    )


def main() -> None:
    """Measures and reports."""
    torch.set_num_threads(2)
    folder = base_folder("smollm2")
    loaded, theirs = load_model(folder), peer(str(folder))
    for question in QUESTIONS:
        prompt = prompt_ids(loaded, question)
        ours, wanted = our_ids(loaded, prompt, NEW), their_ids(theirs, prompt, NEW)
        assert ours == wanted, (question, ours, wanted)
    show(f"equal ids: {len(QUESTIONS)} prompts, {NEW} tokens each")
    measure("decode", loaded, theirs, 4 * loaded.model.config.matrix_parameters)


if __name__ == "__main__":
    main()
