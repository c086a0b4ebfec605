"""Decoders on disk: the folder config.json + model.safetensors that Hugging Face uses.

Nothing here unpickles. A damaged, truncated or hostile file ends in a UserError before memory
is allocated for what it claims to hold.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from tuti.nn.decoder import Decoder, DecoderConfig
from tuti.nn.hugging_face import config_from_hf, config_to_hf, from_one, hf_parts, to_hf
from tuti.run import UserError, atomic_write, read_json
from tuti.run.files import disk_errors

FLOATS = {"F64", "F32", "F16", "BF16"}
AGAIN = "the download or copy may have been cut short; fetch or save the model again"


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors so that `path` is absent, as before, or complete."""
    partial = path.with_name(f".{path.name}.partial")
    with disk_errors(path):
        try:
            save_file(dict(tensors), partial, metadata={"format": "pt"})
        except SafetensorError as error:
            if "os error 28" in str(error):  # ENOSPC, which the library reports as its own
                raise OSError(28, "no space left on device") from error
            raise
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)


class Tensors:
    """What model.safetensors holds, or all shards that a model.safetensors.index.json lists.

    `owner` has the open file of each tensor by name; shapes are known without reading.
    """

    def __init__(self, path: Path):
        self.where, paths = path, [path]
        if path.name.endswith(".index.json"):
            table: Any = read_json(path).get("weight_map")
            files = cast(dict[str, Any], table).values() if isinstance(table, dict) else ()
            names = sorted({str(name) for name in files})
            paths = [path.parent / name for name in names]
            if not names or any(p.name != n or "/" in n for p, n in zip(paths, names, strict=True)):
                raise UserError(f"{path} does not map tensors to files of its folder", hint=AGAIN)
        self.owner = {str(name): handle for handle in map(_opened, paths) for name in handle.keys()}

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Refuse a tensor that is missing, of another shape, or not of floats."""
        if name not in self.owner:
            raise UserError(f"{self.where} lacks the tensor {name}", hint=AGAIN)
        part = self.owner[name].get_slice(name)
        found, kind = tuple(part.get_shape()), part.get_dtype()
        if found != shape:
            what = f"{name} in {self.where} has the shape {list(found)}; its configuration says {list(shape)}"
            raise UserError(what, hint="the configuration and the weights are of different models")
        if kind not in FLOATS:
            what = f"{name} in {self.where} is of type {kind}; {', '.join(sorted(FLOATS))} load"
            hint = "quantised weights do not load here; take the model's unquantised files"
            raise UserError(what, hint)

    def read(self, name: str) -> Tensor:
        return self.owner[name].get_tensor(name)


def _opened(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except FileNotFoundError as error:
        raise UserError(f"there is no {file}", hint=AGAIN) from error
    except (SafetensorError, OSError, ValueError, OverflowError) as error:
        what = f"{file} is not a whole safetensors file: {str(error)[:200]}"
        raise UserError(what, hint=AGAIN) from error


def save_decoder(
    model: Decoder, folder: Path, *, dtype: torch.dtype | None = None, extra: Mapping[str, Any] | None = None
) -> None:
    """Write config.json and model.safetensors, which transformers loads by its Auto classes.

    dtype: of the weights in the file; as they are if None. extra: more keys for config.json, such
    as eos_token_id.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    kind = model.embedding.weight.dtype if dtype is None else dtype
    config = config_to_hf(model.config, kind) | dict(extra or {})
    tensors = {
        name: tensor.detach().to("cpu", kind, copy=True).contiguous()
        for name, tensor in to_hf(model.state_dict(), model.config).items()
    }
    write_safetensors(folder / "model.safetensors", tensors)
    atomic_write(folder / "config.json", json.dumps(config, indent=2) + "\n")


def fill(config: DecoderConfig, weights: Mapping[str, Tensor], *, strict: bool = True) -> Decoder:
    """A Decoder of these weights, which it takes as they are; nothing is initialised. strict: all of them."""
    with torch.device("meta"):
        model = Decoder(config)
    model.load_state_dict(dict(weights), assign=True, strict=strict)
    return model.requires_grad_(True)


def load_decoder(
    folder: Path, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu",
    mapped: dict[str, list[Tensor]] | None = None,
) -> Decoder:
    """Read a Hugging Face folder of a known family (one safetensors file or shards) as a Decoder.

    One tensor of the file at a time: no more memory than the model takes, and the largest of them.
    mapped: takes the experts' matrices instead, by our name, as views of the mapped file's tensors; the
    decoder then has their shapes alone.
    """
    folder = Path(folder)
    config = config_from_hf(table := read_json(folder / "config.json"))
    path = folder / "model.safetensors"
    if not path.exists() and (folder / "model.safetensors.index.json").exists():
        path = folder / "model.safetensors.index.json"
    if not path.exists() and list(folder.glob("pytorch_model*.bin")):
        what = f"{folder} has its weights only as a pickle, which can run code and is never loaded"
        raise UserError(what, hint="save it as safetensors: model.save_pretrained(folder) in transformers")
    weights = dict(_read_parts(Tensors(path), config, dtype, device, mapped))
    if config.post_norms:  # what divides Gemma's scores goes into its norms of queries
        factor = math.sqrt(config.head_dim / table.get("query_pre_attn_scalar", 256))
        for name in (name for name in weights if from_one(name, config)):
            weights[name].add_(1).mul_(factor if "q_norm" in name else 1)
    return fill(config, weights)


def _read_parts(
    tensors: Tensors, config: DecoderConfig, dtype: torch.dtype, device: torch.device | str,
    mapped: dict[str, list[Tensor]] | None,
) -> Iterator[tuple[str, Tensor]]:
    """Our parameters from the file's tensors, all names and shapes checked before any is read."""
    expected = list(hf_parts(config))
    for _, parts in expected:
        for part, shape in parts:
            tensors.check(part, shape)
    known = {part for _, parts in expected for part, _ in parts} | {"lm_head.weight"}
    odd = sorted(n for n in tensors.owner.keys() - known if not n.endswith("rotary_emb.inv_freq"))
    if odd:
        what = f"{tensors.where} has tensors that this model has no place for: {', '.join(odd[:3])}"
        raise UserError(what, hint="config.json and the weights are of different models")
    for name, parts in expected:
        # A copy, even of one piece: the file may be changed or deleted while the model lives.
        rows = [shape[0] for _, shape in parts]
        size = (sum(rows), *parts[0][1][1:])
        if mapped is not None and ".experts." in name:
            mapped[name] = [tensors.read(part) for part, _ in parts]
            yield name, torch.empty((), dtype=dtype, device=device).expand(size)
            continue
        whole = torch.empty(size, dtype=dtype, device=device)
        for piece, (part, _) in zip(whole.split_with_sizes(rows), parts, strict=True):
            piece.copy_(tensors.read(part))
        yield name, whole
