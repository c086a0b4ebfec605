"""Equality with transformers' LlamaForCausalLM, in both directions, over random configurations."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from tuti.nn import Decoder, DecoderConfig, load_decoder, save_decoder

ROPES: list[dict[str, Any]] = [
    {"rope_type": "default"},
    {"rope_type": "linear", "factor": 2.5},
    {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 24,
    },
]


def shape(seed: int) -> dict[str, Any]:
    """A random Llama: heads, groups, widths, ties, rope; every rope type is met."""
    r = random.Random(seed)
    kv = r.choice([1, 2, 3])
    heads = kv * r.choice([1, 2, 4])
    rope = ROPES[seed % 3] | {"rope_theta": r.choice([1e4, 5e5, 12345.0])}
    return dict(
        vocab_size=r.randint(50, 300),
        hidden_size=heads * r.choice([4, 6, 8, 16]),
        intermediate_size=r.randint(20, 90),
        num_hidden_layers=r.randint(1, 4),
        num_attention_heads=heads,
        num_key_value_heads=kv,
        head_dim=r.choice([4, 8, 10, 32]),
        max_position_embeddings=64,
        rms_norm_eps=r.choice([1e-5, 1e-6]),
        tie_word_embeddings=seed % 2 == 0,
        rope_parameters=rope,
        bos_token_id=None,
        eos_token_id=None,
    )


def theirs(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**shape(seed))).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    return model


def compare(ours: Decoder, peer: LlamaForCausalLM) -> None:
    ids = torch.randint(ours.config.vocab, (2, 50), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(ours.logits(ours(ids)), peer(ids).logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize("seed", range(10))
def test_both_directions(seed: int, tmp_path: Path) -> None:
    peer = theirs(seed)
    peer.save_pretrained(tmp_path / "theirs")
    ours = load_decoder(tmp_path / "theirs")
    compare(ours, peer)
    save_decoder(ours, tmp_path / "ours")
    back = AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    assert isinstance(back, LlamaForCausalLM)
    compare(ours, back)
    again = load_decoder(tmp_path / "ours")
    assert again.config == ours.config
    for name, value in ours.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_gradients_equal(tmp_path: Path) -> None:
    peer = theirs(2)
    peer.save_pretrained(tmp_path)
    ours = load_decoder(tmp_path)
    ids = torch.randint(ours.config.vocab, (2, 33), generator=torch.Generator().manual_seed(3))
    ours(ids[:, :-1], targets=ids[:, 1:]).div(64).backward()
    peer(ids, labels=ids).loss.backward()
    layer = peer.model.layers[0]
    pairs = [
        (ours.embedding.weight, [peer.model.embed_tokens.weight]),
        (ours.blocks[0].mlp.down.weight, [layer.mlp.down_proj.weight]),
        (ours.blocks[0].attention_norm.weight, [layer.input_layernorm.weight]),
        (
            ours.blocks[0].attention.qkv.weight,
            [getattr(layer.self_attn, f"{x}_proj").weight for x in "qkv"],
        ),
    ]
    for mine, parts in pairs:
        want = torch.cat([p.grad for p in parts])
        torch.testing.assert_close(mine.grad, want, rtol=1e-4, atol=1e-6)


def test_shards_and_the_older_spelling(tmp_path: Path) -> None:
    """Several files with an index; rope_theta and rope_scaling as transformers 4 wrote them."""
    peer = theirs(1)
    peer.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    path = tmp_path / "config.json"
    table = json.loads(path.read_text())
    rope = table.pop("rope_parameters")
    table["rope_theta"] = rope.pop("rope_theta")
    table["rope_scaling"] = {"type": rope.pop("rope_type")} | rope
    path.write_text(json.dumps(table))
    compare(load_decoder(tmp_path), peer)


def test_what_we_write_reads_in_both_spellings(tmp_path: Path) -> None:
    config = DecoderConfig(50, 16, 1, 4, 2, 4, 20, 32, rope_theta=5e5, rope_scaling=ROPES[2])
    save_decoder(Decoder(config), tmp_path, dtype=torch.bfloat16, extra={"eos_token_id": 7})
    table = json.loads((tmp_path / "config.json").read_text())
    assert table["eos_token_id"] == 7
    assert table["rope_theta"] == 5e5 and table["rope_scaling"] == ROPES[2]
    assert table["rope_parameters"] == ROPES[2] | {"rope_theta": 5e5}
    peer = LlamaForCausalLM.from_pretrained(tmp_path)
    assert peer.dtype == torch.bfloat16 and peer.config.eos_token_id == 7
