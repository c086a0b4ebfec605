"""Hugging Face's spelling of Llama and its kin: config.json ↔ DecoderConfig, tensor names ↔ ours.

A family is Llama with something added: Mistral a window, Mixtral experts, Qwen2 biases, Qwen3 norms of
queries and keys, Qwen3-MoE these and experts, Gemma 3 more norms, gelu and two kinds of layers. Foreign
files are hostile: every number is checked against a cap before anything is allocated.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from tuti.nn.decoder import DecoderConfig
from tuti.run import UserError, read_toml

_TABLES = read_toml(__file__, "hugging_face.toml")
SIZES: dict[str, str] = _TABLES["sizes"]
CAPS: dict[str, int] = _TABLES["caps"]
FAMILIES: dict[str, dict[str, Any]] = _TABLES["families"]
REFUSED: list[str] = _TABLES["refused"]
ACTIVATIONS = {"silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu"}
DEFAULTS = {"rms_norm_eps": 1e-6, "max_position_embeddings": 32768}


def number(table: Mapping[str, Any], key: str, low: int | float, high: int | float) -> int | float:
    """table[key] as a finite number in [low, high], or an error that names the key and the rule."""
    value = table.get(key)
    fine = isinstance(value, int | float) and not isinstance(value, bool)
    if not fine or not low <= cast(float, value) <= high:
        what = f"{key} is {str(value)[:60]!r}; it must be a number from {low:g} to {high:g}"
        hint = "the model's configuration is damaged or not of a kind that loads here; fetch it again"
        raise UserError(what, hint)
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
    if kind not in ("linear", "llama3"):
        what = f"rope type {str(kind)[:40]!r} is not supported; default, linear and llama3 are"
        raise UserError(what, hint="use a base model without rope scaling, or with one of these")
    bounds = {"factor": (1.0, 1e6)}
    if kind == "llama3":
        bounds |= {"low_freq_factor": (1e-3, 1e6), "high_freq_factor": (1e-3, 1e6)}
        bounds |= {"original_max_position_embeddings": (1, 2**27)}
    scaling = {key: number(given, key, *bound) for key, bound in bounds.items()}
    if kind == "llama3" and scaling["low_freq_factor"] >= scaling["high_freq_factor"]:
        raise UserError("low_freq_factor must be below high_freq_factor in rope_parameters")
    return theta, {"rope_type": kind} | scaling


def config_from_hf(table: Mapping[str, Any]) -> DecoderConfig:
    """A transformers configuration of one of `FAMILIES`, as read from config.json, checked."""
    family = str(table.get("model_type"))[:40]
    hint = f"these load here, unquantised: {', '.join(FAMILIES)}"
    if family not in FAMILIES:
        raise UserError(f"this is a model of type {family!r}, which is not supported", hint=hint)
    added = FAMILIES[family]["adds"]
    table = {**DEFAULTS, **FAMILIES[family]["usual"], **table}
    for key in REFUSED:
        if table.get(key):
            raise UserError(f"config.json has {key}, which is not supported", hint=hint)
    if table.get("decoder_sparse_step", 1) != 1:
        raise UserError("a decoder_sparse_step other than 1 is not supported", hint=hint)
    gemma = "post_norms" in added
    key, usual = ("hidden_activation", "gelu_pytorch_tanh") if gemma else ("hidden_act", "silu")
    act = str(table.get(key, usual))[:40]
    if ACTIVATIONS.get(act) != ACTIVATIONS[usual]:
        raise UserError(f"{key} {act!r} is not supported; {usual} is", hint=hint)
    if not isinstance(table.get("tie_word_embeddings", False), bool):
        raise UserError("tie_word_embeddings must be true or false", hint="check config.json")
    width, heads = whole(table, "hidden_size"), whole(table, "num_attention_heads")
    for key, implied in (("num_key_value_heads", heads), ("head_dim", width // heads)):
        table[key] = implied if table.get(key) is None else table[key]
    keys = SIZES | ({"hidden": "moe_intermediate_size"} if family == "qwen3_moe" else {})
    sizes = {ours: whole(table, key) for ours, key in keys.items()}
    kv_heads, head_dim = sizes["kv_heads"], sizes["head_dim"]
    if heads % kv_heads or head_dim % 2:
        raise UserError(
            f"{heads} heads of {head_dim} channels over {kv_heads} key-value heads: heads must be "
            "a multiple of key-value heads, and channels even",
            hint="check config.json",
        )
    own = _gemma(table, width) if gemma else _experts(family, table)
    theta, scaling = _rope(_rope_of(table, "full_attention", 1e6) if gemma else table)
    window = None
    if "window" in added and table.get("sliding_window") is not None:
        window = whole(table, "sliding_window")
    return DecoderConfig(
        **sizes, rope_theta=theta, norm_eps=float(number(table, "rms_norm_eps", 0.0, 1.0)),
        tied=bool(table.get("tie_word_embeddings", False)), rope_scaling=scaling, window=window,
        qkv_bias="qkv_bias" in added, qk_norm="qk_norm" in added, **own,
    )


def _rope_of(table: Mapping[str, Any], kind: str, theta: float) -> Mapping[str, Any]:
    """What turns Gemma 3's layers of a kind: of transformers 5, which has a table each, or as it was in 4."""
    found: Any = table.get("rope_parameters")
    if isinstance(found, Mapping):
        return {"rope_parameters": {"rope_theta": theta} | dict(cast(Any, found).get(kind) or {})}
    old = {"full_attention": "rope_theta", "sliding_attention": "rope_local_base_freq"}
    scaling = table.get("rope_scaling") if kind == "full_attention" else None
    return {"rope_scaling": scaling, "rope_theta": table.get(old[kind], theta)}


def _gemma(table: Mapping[str, Any], width: int) -> dict[str, Any]:
    """What Gemma 3 adds to the decoder of Qwen3."""
    layers, kinds = whole(table, "num_hidden_layers"), table.get("layer_types")
    number(table, "query_pre_attn_scalar", 1e-3, 1e6)
    if kinds is None:
        every = int(number({"sliding_window_pattern": 6} | dict(table), "sliding_window_pattern", 1, 2**10))
        kinds = ["sliding_attention" if (i + 1) % every else "full_attention" for i in range(layers)]
    if not isinstance(kinds, list) or len(cast(Any, kinds)) != layers:
        raise UserError(f"layer_types must be a list of {layers} kinds", hint="check config.json")
    far = tuple(i for i, kind in enumerate(cast(list[Any], kinds)) if kind == "full_attention")
    near, scaling = _rope(_rope_of(table, "sliding_attention", 1e4))
    if len(far) + cast(list[Any], kinds).count("sliding_attention") != layers or scaling is not None:
        raise UserError("layers other than full_attention and plain sliding_attention are not supported")
    return {"scale": width**0.5, "activation": "gelu", "post_norms": True, "far": far, "near_theta": near}


def _experts(family: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of experts: how many, how many a token takes, and their weights."""
    if "experts" not in FAMILIES[family]["adds"]:
        return {}
    renamed = family == "qwen3_moe" and "num_experts" in table  # by transformers 5
    experts = whole(table, "num_experts" if renamed else "num_local_experts")
    active = whole(table, "num_experts_per_tok")
    if active > experts:
        raise UserError(f"a token takes {active} of {experts} experts", hint="check config.json")
    shares = "chosen" if table.get("norm_topk_prob", True) else "all"
    return {"experts": experts, "active": active, "shares": shares}


def config_to_hf(config: DecoderConfig, dtype: torch.dtype) -> dict[str, Any]:
    """config.json for transformers 5 (rope_parameters, dtype) and 4 (rope_theta, torch_dtype)."""
    c = config
    if c.width % c.heads:
        what = f"width {c.width} is not a multiple of {c.heads} heads, which transformers demands"
        raise UserError(what, hint="choose a width that the number of heads divides")
    assert math.isfinite(c.rope_theta) and math.isfinite(c.norm_eps), c
    scaling = None if c.rope_scaling is None else dict(c.rope_scaling)
    rope = {"rope_type": "default"} | (scaling or {}) | {"rope_theta": c.rope_theta}
    name = str(dtype).removeprefix("torch.")
    family = family_of(c)
    return {
        "architectures": [FAMILIES[family]["class"]],
        "model_type": family,
        **{key: getattr(c, ours) for ours, key in SIZES.items()},
        "hidden_act": "silu", "rms_norm_eps": c.norm_eps, "tie_word_embeddings": c.tied,
        "attention_bias": False, "mlp_bias": False,
        "rope_theta": c.rope_theta, "rope_scaling": scaling, "rope_parameters": rope,
        "bos_token_id": None, "eos_token_id": None, "dtype": name, "torch_dtype": name,
        **_own_keys(family, c, rope),
    }  # fmt: skip


def family_of(config: DecoderConfig) -> str:
    """The model_type whose additions to Llama these are; an error where no family has all of them."""
    c = config
    has = {name for name in ("window", "experts", "qkv_bias", "qk_norm", "post_norms") if getattr(c, name)}
    if c.experts and c.shares == "all":
        has.add("shares")
    gemma = {c.activation == "gelu", c.far is not None, c.scale == c.width**0.5}
    for family, about in FAMILIES.items():
        added = set[str](about["adds"])
        if has <= added <= has | {"window", "shares"} and gemma == {"post_norms" in added}:
            return family
    what = "no model of transformers has all that this one has"
    hint = "experts with weights among the chosen and no biases or norms of heads make a Mixtral"
    raise UserError(what, hint)


def _own_keys(family: str, c: DecoderConfig, rope: Mapping[str, Any]) -> dict[str, Any]:
    """What only this family's config.json says."""
    own: dict[str, Any] = {}
    if "window" in FAMILIES[family]["adds"]:
        own["sliding_window"] = c.window
    if c.far is not None:
        near = {"rope_type": "default", "rope_theta": c.near_theta}
        kinds = ["full_attention" if i in c.far else "sliding_attention" for i in range(c.layers)]
        own |= {"hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": c.head_dim}
        own |= {"layer_types": kinds, "rope_local_base_freq": c.near_theta}
        own |= {"rope_parameters": {"full_attention": rope, "sliding_attention": near}}
    if family == "mixtral":
        own |= {"num_local_experts": c.experts, "num_experts_per_tok": c.active}
    if family == "qwen3_moe":
        own |= {"num_experts": c.experts, "num_experts_per_tok": c.active, "decoder_sparse_step": 1}
        own |= {"moe_intermediate_size": c.hidden, "norm_topk_prob": c.shares == "chosen"}
    return own


Part = tuple[str, tuple[int, ...]]  # a tensor's name and its shape in the file


def hf_parts(config: DecoderConfig) -> Iterator[tuple[str, list[Part]]]:
    """(our parameter, the file's tensors that stacked by rows make it), for every parameter."""
    c = config
    yield "embedding.weight", [("model.embed_tokens.weight", (c.vocab, c.width))]
    for i in range(c.layers):
        ours, theirs = f"blocks.{i}.", f"model.layers.{i}."
        yield ours + "attention_norm.weight", [(theirs + "input_layernorm.weight", (c.width,))]
        yield from _attention_parts(c, ours + "attention.", theirs + "self_attn.")
        norms = {"mlp_norm": "post_attention_layernorm"}
        if c.post_norms:
            norms = {"attention_after": "post_attention_layernorm", "mlp_norm": "pre_feedforward_layernorm"}
            norms |= {"mlp_after": "post_feedforward_layernorm"}
        for own, other in norms.items():
            yield f"{ours}{own}.weight", [(f"{theirs}{other}.weight", (c.width,))]
        yield from _mlp_parts(c, ours + "mlp.", theirs)
    yield "norm.weight", [("model.norm.weight", (c.width,))]
    if not c.tied:
        yield "head.weight", [("lm_head.weight", (c.vocab, c.width))]


def _attention_parts(c: DecoderConfig, ours: str, theirs: str) -> Iterator[tuple[str, list[Part]]]:
    rows = {"q": c.heads * c.head_dim, "k": c.kv_heads * c.head_dim, "v": c.kv_heads * c.head_dim}
    yield ours + "qkv.weight", [(f"{theirs}{x}_proj.weight", (n, c.width)) for x, n in rows.items()]
    if c.qkv_bias:
        yield ours + "qkv.bias", [(f"{theirs}{x}_proj.bias", (n,)) for x, n in rows.items()]
    for norm in ("q_norm", "k_norm") if c.qk_norm else ():
        yield f"{ours}{norm}.weight", [(f"{theirs}{norm}.weight", (c.head_dim,))]
    yield ours + "output.weight", [(theirs + "o_proj.weight", (c.width, rows["q"]))]


def _mlp_parts(c: DecoderConfig, ours: str, theirs: str) -> Iterator[tuple[str, list[Part]]]:
    """One layer, or a router and its experts, each under its family's names."""
    gate, up, down, inside = "gate_proj", "up_proj", "down_proj", "mlp."
    if family_of(c) == "mixtral":
        gate, up, down, inside = "w1", "w3", "w2", "block_sparse_moe."
    theirs += inside
    if c.experts:
        yield ours + "router.weight", [(theirs + "gate.weight", (c.experts, c.width))]
    for i in range(max(1, c.experts)):
        one = f"experts.{i}." if c.experts else ""
        names = [(f"{theirs}{one}{name}.weight", (c.hidden, c.width)) for name in (gate, up)]
        yield f"{ours}{one}gate_up.weight", names
        yield f"{ours}{one}down.weight", [(f"{theirs}{one}{down}.weight", (c.width, c.hidden))]


def to_hf(state: Mapping[str, Tensor], config: DecoderConfig) -> dict[str, Tensor]:
    """Our state dict under Hugging Face's names, fused matrices taken apart (as views)."""
    out: dict[str, Tensor] = {}
    for name, parts in hf_parts(config):
        whole = state[name] - 1 if from_one(name, config) else state[name]
        pieces = whole.split_with_sizes([shape[0] for _, shape in parts])
        out |= {part: piece for piece, (part, _) in zip(pieces, parts, strict=True)}
    return out


def from_one(name: str, config: DecoderConfig) -> bool:
    """Whether the file has a parameter as its distance from 1: Gemma's norms."""
    return config.post_norms and name.endswith(("norm.weight", "after.weight"))
