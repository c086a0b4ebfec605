"""What of a model is trained, and how the result is saved: everything, or low-rank adapters."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge, Gt

from tuti.nn import Decoder, LoRA, add_lora, load_decoder, merge_lora, save_decoder, save_lora
from tuti.run import Run, atomic_write
from tuti.text import ChatTemplate
from tuti.train import AdamW, Optimiser


@dataclass(frozen=True)
class Full:
    """Every weight is trained: for small models."""

    lr: Annotated[float, Gt(0)] = 1e-3
    """Peak learning rate"""


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters beside frozen matrices (Hu et al. 2021): for pretrained models."""

    rank: Annotated[int, Ge(1)] = 16
    """Rank of each adapter"""
    alpha: Annotated[float, Gt(0)] = 32.0
    """The adapter's output is scaled by alpha / rank"""
    lr: Annotated[float, Gt(0)] = 1e-3
    """Peak learning rate: some ten times that of full fine-tuning"""


def open_model(folder: Path, method: Full | Lora, seed: int) -> Decoder:
    """The model in fp32 with exactly the weights of the method trainable."""
    model = load_decoder(folder)
    if isinstance(method, Lora):
        generator = torch.Generator().manual_seed(seed)
        add_lora(model, LoRA(method.rank, method.alpha), generator)
    return model


def optimiser_of(method: Full | Lora) -> AdamW:
    """AdamW without decay: what was learnt before must stay."""
    return AdamW(lr=method.lr, weight_decay=0.0, beta2=0.99)


def save_model(run: Run, base: Path, method: Full | Lora, model: Decoder, optimiser: Optimiser) -> None:
    """The LanguageModel `model`; with LoRA also the artifact `adapter` in PEFT's format.

    Adapters are merged in fp32 into the weights of `base`, whatever precision they were trained in.
    """
    if isinstance(method, Lora):
        whole = open_model(base, method, 0)
        with torch.no_grad():
            for name, weight in whole.named_parameters():
                if name in optimiser.masters:
                    weight.copy_(optimiser.masters[name])
        with run.save("adapter", "Adapter", base=str(base)) as folder:
            save_lora(whole, LoRA(method.rank, method.alpha), folder, base=str(base))
        model = merge_lora(whole)
    template = ChatTemplate.load(base)
    with run.save("model", "LanguageModel", chat=True, template=template.hash) as folder:
        write_model(model, template, folder)


def write_model(model: Decoder, template: ChatTemplate, folder: Path) -> None:
    """Hugging Face's files of a model that answers: an answer ends where its template says."""
    save_decoder(model, folder, extra={"eos_token_id": list(template.stops)})
    template.save(folder)
    stops = {"eos_token_id": list(template.stops), "pad_token_id": template.tokenizer.end}
    atomic_write(folder / "generation_config.json", json.dumps(stops, indent=2) + "\n")
