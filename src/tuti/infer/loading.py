"""A model folder made ready to answer: weights, tokenizer and template, checked to belong together."""

from collections.abc import Mapping, MutableSequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from tuti.infer.generate import Model
from tuti.infer.offload import Experts, without_experts
from tuti.infer.packed import PackedDecoder, laid_out
from tuti.nn import Decoder, load_decoder, read_packed_gguf, save_decoder
from tuti.run import Run, UserError, find_artifact, read_json
from tuti.text import ChatTemplate, Tokenizer
from tuti.text.chat import template_in

Precision = Literal[32, 16, 8, 4]
"""Bits of a weight: fp32, bf16, or blocks of 8 or 4 bits (`nn/quantised.py`)"""

@dataclass(frozen=True)
class LoadedModel:
    """What answers: `template` is None for a model that was never taught to converse."""

    model: Model
    tokenizer: Tokenizer
    template: ChatTemplate | None
    name: str
    context: int
    folder: Path
    experts: Experts | None = None
    """Those that stay on disk, with their tally"""

    @property
    def ends(self) -> tuple[int, ...]:
        """The ids that end an answer or a document."""
        return (self.tokenizer.end,) if self.template is None else self.template.stops

    def prompt(self, messages: MutableSequence[Mapping[str, str]], max_tokens: int) -> list[int]:
        """The ids to go on from; the oldest turns leave `messages` until an answer has room in the context.

        A model that was never taught to converse goes on from the last message alone.
        """
        room = max(1, self.context - min(max_tokens, self.context // 4))
        if self.template is None:
            return [self.tokenizer.end, *self.tokenizer.encode(messages[-1]["content"])][-room:]
        first = 1 if messages[0]["role"] == "system" else 0
        while len(ids := self.template.render(messages, add_generation_prompt=True).ids) > room:
            if len(messages) - first < 3:
                what = f"the message has {len(ids):,} tokens, this model has room for {room:,}"
                raise UserError(what, hint="shorten it")
            del messages[first : first + 2]  # a question and its answer
        return ids


def load_model(
    path: Path | str, *, device: str = "cpu", bits: Precision = 32, expert_memory: float | None = None
) -> LoadedModel:
    """From a run, a LanguageModel artifact, a Hugging Face folder or a GGUF file, laid out for inference.

    A GGUF file keeps the bits that it has. expert_memory: GB for experts, the others stay on disk (see
    offload.py); None: all in memory. Refuses a folder whose template or tokenizer is not the one the
    model was trained with, and weights in memory that are no numbers.
    """
    if Path(path).suffix == ".gguf":
        if bits != 32 or expert_memory is not None:
            raise UserError(f"{path} is read as it stands", hint="leave --bits and --expert-memory out")
        return _load_gguf(Path(path))
    folder = find_artifact(Path(path), "LanguageModel")
    template = _template(folder)
    tokenizer = Tokenizer.load(folder) if template is None else template.tokenizer
    dtype = torch.bfloat16 if bits == 16 else torch.float32
    if expert_memory is None:
        decoder, experts = load_decoder(folder, dtype=dtype, device=device), None
    elif bits in (8, 4) or device != "cpu":
        raise UserError(
            f"experts on disk are computed with as they are stored, by a CPU, not in {bits} bits on {device}",
            hint="give one of --bits and --expert-memory",
        )
    else:
        decoder, experts = without_experts(folder, expert_memory, dtype)
    _check_numbers(decoder, folder)
    if tokenizer.vocab_size > decoder.config.vocab:
        raise UserError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size:,} tokens, the model"
            f" {decoder.config.vocab:,}",
            hint="put the tokenizer.json there that the model was trained with",
        )
    packed = laid_out(decoder, bits if bits in (8, 4) else None, experts)
    name = _name(Path(path), folder)
    return LoadedModel(packed, tokenizer, template, name, decoder.config.context, folder, experts)


def _load_gguf(path: Path) -> LoadedModel:
    model, blocks, fields = read_packed_gguf(path)
    _check_numbers(model, path)
    tokenizer, source = Tokenizer.from_gguf(fields), fields.get("tokenizer.chat_template")
    template = ChatTemplate(tokenizer, source) if isinstance(source, str) else None
    packed, context = PackedDecoder(model, blocks=blocks), model.config.context
    return LoadedModel(packed, tokenizer, template, path.stem, context, path)


def _check_numbers(model: Decoder, path: Path) -> None:
    """Refuses infinite weights and NaN, which would make every answer nonsense."""
    for name, weight in model.named_parameters():
        here = not weight.is_meta and any(weight.stride())  # else it is on disk: here is its shape alone
        if here and not bool(weight.sum(dtype=torch.float64).isfinite()):
            what = f"{path}: {name} holds NaN or infinite numbers"
            raise UserError(what, hint="training had diverged when it was saved; take an earlier checkpoint")


def _template(folder: Path) -> ChatTemplate | None:
    about = folder / "tuti.json"
    facts = read_json(about) if about.is_file() else {}
    wanted = facts.get("template")
    if not wanted and template_in(folder) is None:
        return None
    template = ChatTemplate.load(folder)
    if wanted not in (None, template.hash):
        raise UserError(
            f"{folder} was trained with the chat template {str(wanted)[:12]}…, its files have"
            f" {template.hash[:12]}…: what it is asked would not look as it did in training",
            hint="restore chat_template.jinja and tokenizer.json, or teach the model again",
        )
    return template if facts.get("chat", True) else None


def _name(path: Path, folder: Path) -> str:
    """The run's name where there is one, else the folder's."""
    path = path.absolute()
    if path == folder.absolute() and path.parent.name == "artifacts":
        path = path.parent.parent
    return path.name or folder.resolve().name


def save_model(model: Decoder, tokens_folder: Path, run: Run) -> None:
    """The model folder: Hugging Face's files, the chat template and its tokenizer."""
    template = ChatTemplate.load(tokens_folder)
    with run.save("model", "LanguageModel", chat=False, template=template.hash) as folder:
        save_decoder(model, folder)
        template.save(folder)
