"""Llama-shaped models in llama.cpp's GGUF files: dequantised to a Decoder, or packed as they are.

The header is read here, with every length checked against the file's end before it is believed;
the `gguf` package knows the blocks of the quantised types.
"""

import math
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, MODEL_ARCH, GGMLQuantizationType, get_tensor_name_map
from gguf.quants import dequantize
from numpy.typing import NDArray
from torch import Tensor

from tuti.nn.decoder import Decoder, DecoderConfig
from tuti.nn.files import AGAIN, fill
from tuti.nn.hugging_face import config_from_hf, hf_parts, number
from tuti.nn.quantised import BLOCK, Blocks, quantise, stacked
from tuti.run import UserError

SCALARS = dict(zip(range(13), "BbHhIif?sxQqd", strict=True))  # s string, x array: not scalars
STRING, ARRAY = 8, 9
MAX_DIMS = 4
Place = tuple[GGMLQuantizationType, tuple[int, ...], int]  # a tensor's type, shape and first byte
SCALES = {"Q4_0": 1, "Q4_1": 2, "Q8_0": 1}  # fp16 numbers at the head of a block


class _Cut(Exception):
    """The file ends, or says something impossible, where more was promised."""


class GGUFFile:
    """A GGUF file of version 2 or 3, little-endian: its metadata, and where its tensors lie."""

    def __init__(self, path: Path):
        self.path, self.fields, self.places = path, dict[str, Any](), dict[str, Place]()
        try:
            self.data: NDArray[np.uint8] = np.memmap(path, mode="r", dtype=np.uint8)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read: {error}", hint=AGAIN) from error
        self._at = 0  # what is before it has been read
        try:
            self._read_header()
        except (_Cut, struct.error, MemoryError, OverflowError) as error:
            raise UserError(f"{path} is not a whole GGUF file: {error}", hint=AGAIN) from error

    def _read_header(self) -> None:
        if self._take(4) != b"GGUF":
            raise _Cut("it does not begin with GGUF")
        version = self._scalar("I")
        if version not in (2, 3):
            raise _Cut(f"version {version}; 2 and 3 are read")
        tensors, pairs = self._scalar("Q"), self._scalar("Q")
        for _ in range(pairs):
            key = self._string()
            self.fields[key] = self._value(self._scalar("I"))
        found: list[tuple[str, int, tuple[int, ...], int]] = []
        for _ in range(tensors):
            name, dims = self._string(), self._scalar("I")
            if not 1 <= dims <= MAX_DIMS:
                raise _Cut(f"{name[:60]!r} has {dims} dimensions")
            shape = tuple(self._scalar("Q") for _ in range(dims))[::-1]
            found.append((name, self._scalar("I"), shape, self._scalar("Q")))
        align = self.fields.get("general.alignment", 32)
        if not isinstance(align, int) or not 0 < align <= 2**20:
            raise _Cut(f"general.alignment is {str(align)[:40]}")
        base = -(-self._at // align) * align
        for name, kind, shape, offset in found:
            self.places[name] = _place(name, kind, shape, base + offset, len(self.data))

    def _take(self, count: int) -> bytes:
        if count < 0 or self._at + count > len(self.data):
            raise _Cut(f"{count} bytes are promised at byte {self._at} of {len(self.data)}")
        self._at += count
        return self.data[self._at - count : self._at].tobytes()

    def _scalar(self, kind: str) -> Any:
        return struct.unpack("<" + kind, self._take(struct.calcsize("<" + kind)))[0]

    def _string(self) -> str:
        return self._take(self._scalar("Q")).decode("utf-8", "replace")

    def _value(self, kind: int, nested: bool = False) -> Any:
        if kind == STRING:
            return self._string()
        if kind == ARRAY and not nested:
            inner, count = self._scalar("I"), self._scalar("Q")
            if inner in SCALARS and inner not in (STRING, ARRAY):
                size = struct.calcsize("<" + SCALARS[inner])
                return list(struct.unpack(f"<{count}{SCALARS[inner]}", self._take(count * size)))
            return [self._value(inner, nested=True) for _ in range(count)]
        if kind not in SCALARS or kind == ARRAY:
            raise _Cut(f"a value of unknown type {kind} at byte {self._at}")
        return self._scalar(SCALARS[kind])

    def _rows(self, name: str) -> NDArray[np.uint8]:
        """A tensor's bytes, a row each."""
        kind, shape, start = self.places[name]
        block, size = GGML_QUANT_SIZES[kind]
        row = shape[-1] // block * size
        return self.data[start : start + math.prod(shape[:-1]) * row].reshape(-1, row)

    def blocks(self, name: str) -> Blocks:
        """A matrix of type Q4_0, Q4_1 or Q8_0 as it stands; any other in 8 bits."""
        kind = self.places[name][0]
        if kind.name not in SCALES:
            return quantise(self.tensor(name), 8)
        rows, numbers = self._rows(name), SCALES[kind.name]
        blocks = rows.reshape(len(rows), -1, GGML_QUANT_SIZES[kind][1])
        scales = blocks[..., : 2 * numbers].copy().view(np.float16).astype(np.float32)
        if not np.isfinite(scales).all():
            raise UserError(f"{name} in {self.path} holds NaN or infinite numbers", hint=AGAIN)
        packed = blocks[..., 2 * numbers :].copy()
        if kind.name == "Q4_0":  # its q count from -8
            scales = np.concatenate((scales, -8 * scales), -1)
        return Blocks(packed.view(np.int8) if kind.name == "Q8_0" else packed, scales)

    def tensor(self, name: str) -> Tensor:
        """A tensor dequantised to fp32."""
        kind, shape, _ = self.places[name]
        raw = self._rows(name)
        try:
            with np.errstate(all="ignore"):
                values = dequantize(raw, kind)
        except NotImplementedError as error:
            what = f"{name} in {self.path} is quantised as {kind.name}, which cannot be read here"
            raise UserError(what, hint="take the model's F16, Q8_0, Q6_K, Q4_K or Q4_0 file") from error
        return torch.from_numpy(np.array(values, dtype=np.float32)).view(shape)


def _place(name: str, number_of_kind: int, shape: tuple[int, ...], start: int, end: int) -> Place:
    """Where a tensor lies, if that is inside the file."""
    try:
        kind = GGMLQuantizationType(number_of_kind)
    except ValueError as error:
        raise _Cut(f"{name[:60]!r} is of the unknown type {number_of_kind}") from error
    block, size = GGML_QUANT_SIZES[kind]
    count = math.prod(shape)
    if count == 0 or shape[-1] % block:
        raise _Cut(f"{name[:60]!r} has the shape {shape} in blocks of {block}")
    stop = start + count // block * size
    if stop > end:
        raise _Cut(f"{name[:60]!r} ends at byte {stop} of {end}")
    return kind, shape, start


def _config(file: GGUFFile) -> DecoderConfig:
    """The decoder that the metadata describe, through the same checks as a config.json."""
    f = file.fields
    if f.get("general.architecture") != "llama":
        what = f"{file.path} holds a {str(f.get('general.architecture'))[:40]!r}, not a llama"
        raise UserError(what, hint="take a GGUF file whose general.architecture is llama")
    if f.get("llama.expert_count"):
        raise UserError(f"{file.path} has llama.expert_count, which is not supported", hint="another model")
    if "token_embd.weight" not in file.places:
        raise UserError(f"{file.path} lacks the tensor token_embd.weight", hint=AGAIN)
    table: dict[str, Any] = {
        "model_type": "llama",
        "vocab_size": file.places["token_embd.weight"][1][0],
        "hidden_size": f.get("llama.embedding_length"),
        "intermediate_size": f.get("llama.feed_forward_length"),
        "num_hidden_layers": f.get("llama.block_count"),
        "num_attention_heads": f.get("llama.attention.head_count"),
        "num_key_value_heads": f.get("llama.attention.head_count_kv"),
        "head_dim": f.get("llama.attention.key_length"),
        "max_position_embeddings": f.get("llama.context_length"),
        "rope_theta": _short(f, "llama.rope.freq_base", 10000.0, 1e12),
        "rms_norm_eps": _short(f, "llama.attention.layer_norm_rms_epsilon", 1e-5, 1.0),
        "tie_word_embeddings": "output.weight" not in file.places,
    }
    kind = f.get("llama.rope.scaling.type", "none")
    if kind != "none":
        factor = _short(f, "llama.rope.scaling.factor", 1.0, 1e6)
        table["rope_scaling"] = {"rope_type": kind, "factor": factor}
    config = config_from_hf(table)
    turned = f.get("llama.rope.dimension_count", config.head_dim)
    if turned != config.head_dim:
        raise UserError(f"partial rotary embedding ({turned} channels) is not supported")
    tokens = f.get("tokenizer.ggml.tokens", [])
    if not isinstance(tokens, list):
        raise UserError(f"tokenizer.ggml.tokens in {file.path} is damaged", hint=AGAIN)
    if (count := len(cast(list[Any], tokens))) > config.vocab:
        raise UserError(f"{file.path} has {count} tokens but {config.vocab} embeddings")
    return config


def _short(fields: Mapping[str, Any], key: str, default: float, high: float) -> float:
    """A float32 of the file as the decimal that was meant: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(number({key: fields.get(key, default)}, key, 0.0, high))))


def _parts(file: GGUFFile, config: DecoderConfig) -> Iterator[tuple[str, list[str]]]:
    """Our parameters and the file's tensors that they are made of, all checked before the first is read."""
    names, expected = get_tensor_name_map(MODEL_ARCH.LLAMA, config.layers), list(hf_parts(config))
    shapes = {name: shape for _, parts in expected for name, shape in parts}
    theirs = {name: str(names.get_name(name, (".weight",))) for name in shapes}
    for name, shape in shapes.items():
        found = file.places.get(theirs[name])
        if found is None:
            raise UserError(f"{file.path} lacks the tensor {theirs[name]}", hint=AGAIN)
        if found[1] != shape:
            raise UserError(
                f"{theirs[name]} in {file.path} has the shape {list(found[1])}; its metadata say "
                f"{list(shape)}",
                hint=AGAIN,
            )
    if odd := sorted(file.places.keys() - theirs.values()):
        what = f"{file.path} has tensors that this model has no place for: {', '.join(odd[:3])}"
        raise UserError(what, hint="another model")
    for ours, parts in expected:
        yield ours, [theirs[name] for name, _ in parts]


def _order(name: str, rows: int, config: DecoderConfig) -> Tensor:
    """Our order of a tensor's rows: llama.cpp turns neighbouring channels of q and k, we halves."""
    order = torch.arange(rows)
    if re.search(r"\.attn_[qk]\.", name):
        order = order.view(-1, config.head_dim // 2, 2).transpose(1, 2).flatten()
    return order


def _whole(file: GGUFFile, names: list[str], config: DecoderConfig) -> Tensor:
    """One of our parameters, dequantised."""
    pieces = [(name, file.tensor(name)) for name in names]
    return torch.cat([piece[_order(name, len(piece), config)] for name, piece in pieces])


def _packed(file: GGUFFile, names: list[str], config: DecoderConfig) -> Blocks:
    """One of our matrices, packed; in 8 bits where the file's types differ between its parts."""
    pieces = [(name, file.blocks(name)) for name in names]
    if len({piece.packed.dtype for _, piece in pieces}) > 1:
        return quantise(_whole(file, names, config), 8)
    return stacked([piece.reordered(_order(name, len(piece.packed), config)) for name, piece in pieces])


def read_gguf(path: Path, *, dtype: torch.dtype = torch.float32) -> tuple[Decoder, dict[str, Any]]:
    """The model, dequantised, and the file's metadata as they stand, for `Tokenizer.from_gguf`."""
    config = _config(file := GGUFFile(Path(path)))
    weights = {ours: _whole(file, theirs, config) for ours, theirs in _parts(file, config)}
    return fill(config, {ours: weight.to(dtype) for ours, weight in weights.items()}), file.fields


def read_packed_gguf(path: Path) -> tuple[Decoder, dict[str, Blocks], dict[str, Any]]:
    """The same with the matrices packed, by our names; the decoder has only the vectors."""
    config = _config(file := GGUFFile(Path(path)))
    blocks, vectors = dict[str, Blocks](), dict[str, Tensor]()
    for ours, theirs in _parts(file, config):
        if len(file.places[theirs[0]][1]) == 2 and file.places[theirs[0]][1][1] % BLOCK == 0:
            blocks[ours] = _packed(file, theirs, config)
        else:
            vectors[ours] = _whole(file, theirs, config)
    return fill(config, vectors, strict=False), blocks, file.fields
