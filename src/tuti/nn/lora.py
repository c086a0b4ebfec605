"""Low-rank adaptation (Hu et al. 2021): W + (alpha/r) B A with W frozen, in PEFT's file format.

The decoder's fused matrices are adapted part by part (q, k, v; gate, up), each with its own A and
B, so that PEFT loads the adapters as they are.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from tuti.nn.decoder import Decoder, DecoderConfig
from tuti.nn.files import write_safetensors
from tuti.nn.hugging_face import Part, hf_parts
from tuti.run import UserError, atomic_write, read_json

_block_diag: Callable[..., Tensor] = torch.block_diag  # pyright: ignore[reportUnknownVariableType,reportUnknownMemberType]


@dataclass(frozen=True)
class LoRA:
    """The rank r of the updates, which all matrices of a block get, and alpha: their scale is alpha/r."""

    rank: int = 8
    alpha: float = 16.0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UserError(f"LoRA of rank {self.rank}", hint="rank must be at least 1")


class LoRALinear(nn.Module):
    """A frozen linear layer whose rows, cut into named parts, each carry a low-rank update.

    y = W x + (alpha/r) blockdiag(B_1, B_2, …) [A_1; A_2; …] x.
    """

    def __init__(self, base: nn.Linear, parts: Mapping[str, int], lora: LoRA):
        super().__init__()
        self.base = base
        self.parts = tuple(parts)
        self.scale = lora.alpha / lora.rank
        w = base.weight
        # B = 0: the adapted model begins as the model itself.
        self.a = nn.ParameterDict({n: nn.Parameter(w.new_empty(lora.rank, w.shape[1])) for n in parts})
        self.b = nn.ParameterDict({n: nn.Parameter(w.new_zeros(r, lora.rank)) for n, r in parts.items()})

    def factors(self) -> tuple[Float[Tensor, "ranks dim"], Float[Tensor, "rows ranks"]]:
        """All A stacked, and all B along a diagonal, whose product is the update of W."""
        # By the order of the parts: a ParameterDict sorts its names.
        a, b = ([cast(Tensor, factors[n]) for n in self.parts] for factors in (self.a, self.b))
        return torch.cat(a), _block_diag(*b)

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch rows"]:
        a, b = self.factors()
        return self.base(x) + F.linear(F.linear(x, a), b) * self.scale

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The plain layer of the same function; the sum is taken in fp32 at least."""
        a, b = self.factors()
        wide = torch.promote_types(a.dtype, torch.float32)
        update = (b.to(wide) @ a.to(wide)) * self.scale
        self.base.weight.copy_(self.base.weight.to(wide) + update)
        return self.base


def _matrices(config: DecoderConfig) -> Iterator[tuple[str, dict[str, Part]]]:
    """The path of each linear layer of the blocks, and its parts by their short names (q_proj)."""
    for name, parts in hf_parts(config):
        if name.startswith("blocks.") and len(parts[0][1]) == 2:
            yield name.removesuffix(".weight"), {part[0].split(".")[-2]: part for part in parts}


def _layers(model: Decoder) -> list[tuple[str, LoRALinear]]:
    modules = cast(Iterator[tuple[str, nn.Module]], model.named_modules())
    return [(path, layer) for path, layer in modules if isinstance(layer, LoRALinear)]


def add_lora(model: Decoder, lora: LoRA, generator: torch.Generator | None = None) -> Decoder:
    """Freeze the model and put trainable updates beside its matrices, in place.

    What trains is `[p for p in model.parameters() if p.requires_grad]`.
    """
    assert not _layers(model), "the model has a LoRA already; merge it first"
    if model.config.experts:
        raise UserError("experts cannot be adapted by LoRA", hint="method:full trains every weight")
    model.requires_grad_(False)
    for path, parts in _matrices(model.config):
        base = model.get_submodule(path)
        assert isinstance(base, nn.Linear)
        layer = LoRALinear(base, {name: shape[0] for name, (_, shape) in parts.items()}, lora)
        for a in layer.a.values():
            nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
        model.set_submodule(path, layer)
    return model


def merge_lora(model: Decoder) -> Decoder:
    """Fold the updates into the matrices, in place: a plain, trainable Decoder again."""
    for path, layer in _layers(model):
        model.set_submodule(path, layer.merged())
    return model.requires_grad_(True)


def _named(model: Decoder) -> Iterator[tuple[str, Tensor]]:
    """Every factor under PEFT's name."""
    for path, parts in _matrices(model.config):
        layer = model.get_submodule(path)
        assert isinstance(layer, LoRALinear), "the model has no LoRA"
        for part, (name, _) in parts.items():
            adapted = "base_model.model." + name.removesuffix("weight")
            yield f"{adapted}lora_A.weight", cast(Tensor, layer.a[part])
            yield f"{adapted}lora_B.weight", cast(Tensor, layer.b[part])


def save_lora(model: Decoder, lora: LoRA, folder: Path, *, base: str = "") -> None:
    """Write adapter_config.json and adapter_model.safetensors, which PEFT loads.

    base: the path or name of the model that was adapted, for those who load the adapter.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {n: t.detach().to("cpu", copy=True).contiguous() for n, t in _named(model)}
    config = read_json(Path(__file__).with_name("adapter_config.json"))
    config |= {"base_model_name_or_path": base, "r": lora.rank, "lora_alpha": lora.alpha}
    write_safetensors(folder / "adapter_model.safetensors", tensors)
    atomic_write(folder / "adapter_config.json", json.dumps(config, indent=2) + "\n")
