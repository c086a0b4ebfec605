"""Teaches a model from a folder of text, then lets it write: `python examples/teach_and_chat.py FOLDER`."""

import sys
from pathlib import Path

from tuti import teach
from tuti.infer import Sampling, generate, load_model
from tuti.pipelines.plan import Plan


def main(folder: Path, out: Path, plan: Plan | None = None) -> None:
    """Ten minutes by the clock of this machine, or a plan in steps."""
    fields = {"minutes": 10.0} if plan is None else {"plan": plan, "precision": "fp32"}
    run = teach(folder, out=out, **fields)

    model = load_model(run.folder)
    message = [{"role": "user", "content": "Sing, parrot!"}]
    prompt = [model.tokenizer.end]
    if model.template is not None:  # it has learnt to answer
        prompt = model.template.render(message, add_generation_prompt=True).ids
    rule = Sampling(temperature=0.8, max_tokens=60, seed=0)
    for token in generate(model.model, model.tokenizer, prompt, rule, model.ends):
        print(token.text, end="", flush=True)
    print()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path("runs/example"))
