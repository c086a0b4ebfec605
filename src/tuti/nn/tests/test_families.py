"""Equality with transformers, both directions: Mistral, Mixtral, Qwen2, Qwen3, Qwen3-MoE and Gemma 3."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from tuti.nn import Decoder, DecoderConfig, load_decoder, nll, save_decoder
from tuti.run import UserError


def shape(family: str, seed: int) -> dict[str, Any]:
    """A random model of a family: heads, groups, widths, ties, experts, windows."""
    r = random.Random(f"{family} {seed}")
    kv = r.choice([1, 2, 3])
    heads = kv * r.choice([1, 2, 4])
    found: dict[str, Any] = dict(
        vocab_size=r.randint(50, 300),
        hidden_size=heads * r.choice([4, 8, 16]),
        intermediate_size=4 * r.randint(5, 22),
        num_hidden_layers=r.randint(1, 3),
        num_attention_heads=heads,
        num_key_value_heads=kv,
        head_dim=r.choice([4, 8, 10, 32]),
        max_position_embeddings=64,
        rms_norm_eps=r.choice([1e-5, 1e-6]),
        tie_word_embeddings=r.random() < 0.5,
        rope_parameters={"rope_type": "default", "rope_theta": r.choice([1e4, 1e6])},
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    if family == "qwen2":
        found["head_dim"] = found["hidden_size"] // heads
    if family == "gemma3_text":
        turns = {"rope_type": "linear", "factor": 4.0} if r.random() < 0.5 else {"rope_type": "default"}
        found["rope_parameters"] = {
            "full_attention": turns | {"rope_theta": r.choice([1e6, 5e4])},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        }
        found |= {"num_hidden_layers": r.randint(2, 4), "query_pre_attn_scalar": r.choice([256, 8, 5])}
        found |= {"sliding_window": r.choice([5, 20, 64]), "sliding_window_pattern": r.choice([2, 3])}
    if family in ("mistral", "mixtral"):
        found["sliding_window"] = r.choice([None, 7, 20, 64])
    experts = r.choice([1, 3, 8])
    if family == "mixtral":
        found |= {"num_local_experts": experts, "num_experts_per_tok": r.randint(1, min(3, experts))}
    if family == "qwen3_moe":
        found |= {"num_experts": experts, "num_experts_per_tok": r.randint(1, min(3, experts))}
        found |= {"moe_intermediate_size": 4 * r.randint(3, 10), "norm_topk_prob": r.random() < 0.5}
    return found


def theirs(family: str, seed: int, **changes: Any):
    torch.manual_seed(seed)
    config = AutoConfig.for_model(family, **shape(family, seed) | changes)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    return model


@torch.no_grad()
def compare(ours: Decoder, peer: Any) -> None:
    ids = torch.randint(ours.config.vocab, (2, 50), generator=torch.Generator().manual_seed(1))
    want = peer(ids).logits
    torch.testing.assert_close(ours.logits(ours(ids)), want, rtol=0, atol=1e-4)
    cache, parts = ours.cache(2, 50), []  # and by a cache: a chunk, another, then token by token
    for part in ids.split([23, 14, *[1] * 13], 1):
        parts.append(ours(part, cache=cache.window([0, 1], [part.shape[1]] * 2)))
    torch.testing.assert_close(ours.logits(torch.cat(parts, 1)), want, rtol=0, atol=1e-4)


CASES = [("mixtral", seed) for seed in range(10)]
CASES += [(f, seed) for f in ("mistral", "qwen2", "qwen3", "qwen3_moe") for seed in range(4)]
CASES += [("gemma3_text", seed) for seed in range(10)]


@pytest.mark.parametrize("family,seed", CASES)
def test_both_directions(family: str, seed: int, tmp_path: Path) -> None:
    peer = theirs(family, seed)
    peer.save_pretrained(tmp_path / "theirs")
    ours = load_decoder(tmp_path / "theirs")
    assert ours.config.parameters == sum(p.numel() for p in peer.parameters())
    compare(ours, peer)
    save_decoder(ours, tmp_path / "ours")
    back = AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    same = {type(peer).__name__}
    if family == "mistral" and peer.config.sliding_window is None:
        same.add("LlamaForCausalLM")  # a Mistral without a window is a Llama
    assert type(back).__name__ in same
    compare(ours, back)
    assert load_decoder(tmp_path / "ours").config == ours.config


@pytest.mark.parametrize("seed", range(3))
def test_a_mixtral_folder_comes_back_as_it_was(seed: int, tmp_path: Path) -> None:
    """Shard by shard in, and out with the same names, shapes and bits."""
    theirs("mixtral", seed).save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    files = list((tmp_path / "theirs").glob("*.safetensors"))
    assert len(files) > 1
    save_decoder(load_decoder(tmp_path / "theirs"), tmp_path / "ours")
    want = {name: tensor for file in files for name, tensor in load_file(file).items()}
    got = load_file(tmp_path / "ours" / "model.safetensors")
    assert want.keys() == got.keys()
    assert all(torch.equal(want[name], got[name]) for name in want)
    old, new = (json.loads((tmp_path / x / "config.json").read_text()) for x in ("theirs", "ours"))
    own = {key for key in old if key.startswith(("num_", "hidden", "sliding", "rms", "inter", "rope", "tie"))}
    assert {key: old[key] for key in own} == {key: new[key] for key in own}


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_gradients_equal(family: str, tmp_path: Path) -> None:
    peer = theirs(family, 1, num_hidden_layers=2)
    peer.save_pretrained(tmp_path)
    ours = load_decoder(tmp_path)
    ids = torch.randint(ours.config.vocab, (2, 33), generator=torch.Generator().manual_seed(3))
    (nll(ours, ids[:, :-1], ids[:, 1:]) / 64).backward()
    peer(ids, labels=ids).loss.backward()
    layer, block = peer.model.layers[0], ours.blocks[0]
    torch.testing.assert_close(block.mlp.router.weight.grad, layer.mlp.gate.weight.grad, rtol=1e-3, atol=1e-6)
    for e, expert in enumerate(block.mlp.experts):
        want = layer.mlp.experts.down_proj.grad[e]
        got = torch.zeros_like(want) if expert.down.weight.grad is None else expert.down.weight.grad
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "changes,says",
    [
        ({"num_local_experts": 0}, "num_local_experts"),
        ({"num_experts_per_tok": 9}, "9 of 3 experts"),
        ({"sliding_window": -1}, "sliding_window"),
        ({"model_type": "deepseek_v3"}, "'deepseek_v3'"),
        ({"model_type": "qwen3", "use_sliding_window": True}, "use_sliding_window"),
        ({"model_type": "qwen3_moe", "mlp_only_layers": [0]}, "mlp_only"),
        ({"model_type": "qwen3_moe", "decoder_sparse_step": 2}, "sparse_step"),
        ({"num_local_experts": 4}, "gate.weight"),
        ({"model_type": "gemma3_text", "hidden_activation": "relu"}, "hidden_activation 'relu'"),
        ({"model_type": "gemma3_text", "final_logit_softcapping": 30.0}, "final_logit_softcapping"),
        ({"model_type": "gemma3_text", "layer_types": ["full_attention"] * 9}, "layer_types"),
        ({"model_type": "gemma3_text", "layer_types": "all"}, "layer_types"),
        ({"model_type": "gemma3_text", "query_pre_attn_scalar": 0}, "query_pre_attn_scalar"),
    ],
)
def test_configs_that_lie(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    theirs("mixtral", 0, num_local_experts=3, num_experts_per_tok=2).save_pretrained(tmp_path)
    table = json.loads((tmp_path / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(table))
    with pytest.raises(UserError, match=r"(?s).*" + says):
        load_decoder(tmp_path)


def test_what_nobody_spells_is_not_saved(tmp_path: Path) -> None:
    odd = DecoderConfig(50, 16, 1, 4, 2, 4, 20, 32, qkv_bias=True, qk_norm=True)
    with pytest.raises(UserError, match="no model of transformers"):
        save_decoder(Decoder(odd), tmp_path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    theirs("mixtral", 0).save_pretrained(tmp_path, max_shard_size="20KB")
    gone = sorted(tmp_path.glob("*.safetensors"))[1]
    gone.unlink()
    with pytest.raises(UserError, match=gone.name):
        load_decoder(tmp_path)
