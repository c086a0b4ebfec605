"""The card of room `finetune`."""

from tuti.run import Card, Entry

_HERE = "tuti.systems.finetune"

CARD = Card(
    title="Fine-tuning: a model of text learns to answer",
    paper="Hu et al. 2021, LoRA; Ouyang et al. 2022, InstructGPT, section 3.5 (SFT)",
    stages={
        "sft": Entry(f"{_HERE}.sft:sft", "teach a model to answer, with dialogues and exercises"),
        "adapt": Entry(f"{_HERE}.sft:adapt", "go on training a pretrained model on your text"),
    },
    presets={"sft": {"tiny": f"{_HERE}.sft:tiny"}},
    claims=_HERE,
)
