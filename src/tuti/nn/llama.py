"""Hugging Face's Llama spelling: config.json ↔ DecoderConfig, tensor names ↔ ours.

Foreign files are hostile: every number is checked against a cap before anything is allocated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from tuti.nn.decoder import DecoderConfig
from tuti.run import UserError

CAPS = {
    "vocab_size": 2**22,
    "hidden_size": 2**16,
    "intermediate_size": 2**18,
    "num_hidden_layers": 2**10,
    "num_attention_heads": 2**10,
    "num_key_value_heads": 2**10,
    "head_dim": 2**12,
    "max_position_embeddings": 2**27,
}


def number(table: Mapping[str, Any], key: str, low: int | float, high: int | float) -> int | float:
    """table[key] as a finite number in [low, high], or an error that names the key and the rule."""
    value = table.get(key)
    fine = isinstance(value, int | float) and not isinstance(value, bool)
    if not fine or not low <= cast(float, value) <= high:
        raise UserError(
            f"{key} is {str(value)[:60]!r}; it must be a number from {low:g} to {high:g}",
            hint="the model's configuration is damaged or not a Llama's; fetch it again",
        )
    return cast(int | float, value)


def whole(table: Mapping[str, Any], key: str) -> int:
    """table[key] as a positive integer under its cap."""
    value = number(table, key, 1, CAPS[key])
    if not isinstance(value, int):
        raise UserError(f"{key} is {value}; it must be a whole number", hint="check config.json")
    return value


def _rope(table: Mapping[str, Any]) -> tuple[float, dict[str, Any] | None]:
    """theta and scaling from transformers 5's rope_parameters or 4's rope_theta, rope_scaling."""
    found: Any = table.get("rope_parameters") or table.get("rope_scaling") or {}
    if not isinstance(found, Mapping):
        raise UserError(f"rope_parameters is {str(found)[:60]!r}; it must be a table")
    given = cast(Mapping[str, Any], found)
    theta = given.get("rope_theta", table.get("rope_theta", 10000.0))
    theta = float(number({"rope_theta": theta}, "rope_theta", 1.0, 1e12))
    kind = given.get("rope_type", given.get("type", "default"))
    if given.get("partial_rotary_factor", table.get("partial_rotary_factor")) not in (None, 1, 1.0):
        raise UserError("partial rotary embedding is not supported", hint="use another base model")
    if kind == "default":
        return theta, None
    scaling: dict[str, Any] = {"rope_type": kind}
    if kind not in ("linear", "llama3"):
        raise UserError(
            f"rope type {str(kind)[:40]!r} is not supported; default, linear and llama3 are",
            hint="use a base model without rope scaling, or with one of these",
        )
    scaling["factor"] = number(given, "factor", 1.0, 1e6)
    if kind == "llama3":
        scaling["low_freq_factor"] = number(given, "low_freq_factor", 1e-3, 1e6)
        scaling["high_freq_factor"] = number(given, "high_freq_factor", 1e-3, 1e6)
        if scaling["low_freq_factor"] >= scaling["high_freq_factor"]:
            raise UserError("low_freq_factor must be below high_freq_factor in rope_parameters")
        key = "original_max_position_embeddings"
        scaling[key] = number(given, key, 1, 2**27)
    return theta, scaling


def config_from_llama(table: Mapping[str, Any]) -> DecoderConfig:
    """A transformers LlamaConfig, as read from config.json, checked."""
    hint = "models whose config.json says model_type llama load here, unquantised, without biases"
    if table.get("model_type") != "llama":
        kind = str(table.get("model_type"))[:40]
        raise UserError(f"this is a model of type {kind!r}, not 'llama'", hint=hint)
    for key in ("attention_bias", "mlp_bias", "quantization_config"):
        if table.get(key):
            raise UserError(f"config.json has {key}, which is not supported", hint=hint)
    if table.get("hidden_act", "silu") not in ("silu", "swish"):
        act = str(table.get("hidden_act"))[:40]
        raise UserError(f"hidden_act {act!r} is not supported; silu is", hint=hint)
    if not isinstance(table.get("tie_word_embeddings", False), bool):
        raise UserError("tie_word_embeddings must be true or false", hint="check config.json")
    heads = whole(table, "num_attention_heads")
    kv_heads = heads
    if table.get("num_key_value_heads") is not None:
        kv_heads = whole(table, "num_key_value_heads")
    width = whole(table, "hidden_size")
    head_dim = width // heads if table.get("head_dim") is None else whole(table, "head_dim")
    if heads % kv_heads or head_dim % 2 or head_dim < 2:
        raise UserError(
            f"{heads} heads of {head_dim} channels over {kv_heads} key-value heads: heads must be "
            "a multiple of key-value heads, and channels even",
            hint="check config.json",
        )
    theta, scaling = _rope(table)
    eps = table.get("rms_norm_eps", 1e-6)
    return DecoderConfig(
        vocab=whole(table, "vocab_size"),
        width=width,
        layers=whole(table, "num_hidden_layers"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        hidden=whole(table, "intermediate_size"),
        context=whole({"max_position_embeddings": 2048} | dict(table), "max_position_embeddings"),
        rope_theta=theta,
        norm_eps=float(number({"rms_norm_eps": eps}, "rms_norm_eps", 0.0, 1.0)),
        tied=bool(table.get("tie_word_embeddings", False)),
        rope_scaling=scaling,
    )


def config_to_llama(config: DecoderConfig, dtype: torch.dtype) -> dict[str, Any]:
    """config.json for transformers 5 (rope_parameters, dtype) and 4 (rope_theta, torch_dtype)."""
    c = config
    if c.width % c.heads:
        raise UserError(
            f"width {c.width} is not a multiple of {c.heads} heads, which transformers demands",
            hint="choose a width that the number of heads divides",
        )
    assert math.isfinite(c.rope_theta) and math.isfinite(c.norm_eps), c
    scaling = None if c.rope_scaling is None else dict(c.rope_scaling)
    rope = {"rope_type": "default"} | (scaling or {}) | {"rope_theta": c.rope_theta}
    name = str(dtype).removeprefix("torch.")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": c.vocab,
        "hidden_size": c.width,
        "intermediate_size": c.hidden,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "head_dim": c.head_dim,
        "max_position_embeddings": c.context,
        "hidden_act": "silu",
        "rms_norm_eps": c.norm_eps,
        "tie_word_embeddings": c.tied,
        "attention_bias": False,
        "mlp_bias": False,
        "rope_theta": c.rope_theta,
        "rope_scaling": scaling,
        "rope_parameters": rope,
        "bos_token_id": None,
        "eos_token_id": None,
        "dtype": name,
        "torch_dtype": name,
    }


Part = tuple[str, tuple[int, ...]]  # a tensor's name and its shape in the file


def llama_parts(config: DecoderConfig) -> Iterator[tuple[str, list[Part]]]:
    """(our parameter, the file's tensors that stacked by rows make it), for every parameter."""
    c = config
    q, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
    yield "embedding.weight", [("model.embed_tokens.weight", (c.vocab, c.width))]
    for i in range(c.layers):
        ours, theirs = f"blocks.{i}.", f"model.layers.{i}."
        yield ours + "attention_norm.weight", [(theirs + "input_layernorm.weight", (c.width,))]
        yield (
            ours + "attention.qkv.weight",
            [
                (theirs + "self_attn.q_proj.weight", (q, c.width)),
                (theirs + "self_attn.k_proj.weight", (kv, c.width)),
                (theirs + "self_attn.v_proj.weight", (kv, c.width)),
            ],
        )
        yield ours + "attention.output.weight", [(theirs + "self_attn.o_proj.weight", (c.width, q))]
        yield ours + "mlp_norm.weight", [(theirs + "post_attention_layernorm.weight", (c.width,))]
        yield (
            ours + "mlp.gate_up.weight",
            [
                (theirs + "mlp.gate_proj.weight", (c.hidden, c.width)),
                (theirs + "mlp.up_proj.weight", (c.hidden, c.width)),
            ],
        )
        yield ours + "mlp.down.weight", [(theirs + "mlp.down_proj.weight", (c.width, c.hidden))]
    yield "norm.weight", [("model.norm.weight", (c.width,))]
    if not c.tied:
        yield "head.weight", [("lm_head.weight", (c.vocab, c.width))]


def to_llama(state: Mapping[str, Tensor], config: DecoderConfig) -> dict[str, Tensor]:
    """Our state dict under Hugging Face's names, fused matrices taken apart (as views)."""
    out: dict[str, Tensor] = {}
    for name, parts in llama_parts(config):
        row = 0
        for part, shape in parts:
            out[part] = state[name][row : row + shape[0]]
            row += shape[0]
    return out
