"""LoRA against PEFT in both directions, and against its own definition."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaForCausalLM

from tuti.nn import (
    Decoder,
    DecoderConfig,
    LoRA,
    add_lora,
    load_decoder,
    load_lora,
    merge_lora,
    save_decoder,
    save_lora,
)
from tuti.nn.lora import ALL
from tuti.run import UserError

CONFIG = DecoderConfig(50, 24, 2, 4, 2, 6, 36, 64)
IDS = torch.randint(50, (2, 20), generator=torch.Generator().manual_seed(0))
SETS = [ALL, ("q_proj", "v_proj"), ("k_proj", "down_proj", "up_proj")]


def decoder() -> Decoder:
    return Decoder(CONFIG, torch.Generator().manual_seed(1))


def shaken(model: torch.nn.Module) -> None:
    g = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(torch.randn(p.shape, generator=g) * 0.3)


def logits(model: Decoder) -> torch.Tensor:
    with torch.no_grad():
        return model.logits(model(IDS))


@pytest.mark.parametrize("targets", SETS)
def test_ours_in_peft(targets: tuple[str, ...], tmp_path: Path) -> None:
    model, lora = decoder(), LoRA(3, 7.0, targets)
    save_decoder(model, tmp_path / "base")
    before = logits(model)
    add_lora(model, lora)
    assert torch.equal(logits(model), before)  # B = 0
    shaken(model)
    assert not torch.allclose(logits(model), before, atol=0.1)
    save_lora(model, lora, tmp_path / "adapter")
    base = LlamaForCausalLM.from_pretrained(tmp_path / "base")
    peer = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    with torch.no_grad():
        torch.testing.assert_close(logits(model), peer(IDS).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("targets", SETS)
def test_peft_in_ours(targets: tuple[str, ...], tmp_path: Path) -> None:
    save_decoder(decoder(), tmp_path / "base")
    base = LlamaForCausalLM.from_pretrained(tmp_path / "base")
    config = LoraConfig(r=5, lora_alpha=8, target_modules=list(targets), task_type="CAUSAL_LM")
    peer = get_peft_model(base, config).eval()
    shaken(peer)
    peer.save_pretrained(tmp_path / "adapter")
    model = load_decoder(tmp_path / "base")
    assert load_lora(model, tmp_path / "adapter").rank == 5
    with torch.no_grad():
        want = peer(IDS).logits
    torch.testing.assert_close(logits(model), want, rtol=0, atol=1e-5)
    merge_lora(model)
    torch.testing.assert_close(logits(model), want, rtol=0, atol=1e-5)
    assert all(p.requires_grad for p in model.parameters())
    assert set(model.state_dict()) == set(decoder().state_dict())


def test_only_the_update_trains() -> None:
    model = decoder()
    before = copy.deepcopy(model.state_dict())
    add_lora(model, LoRA(2, 4.0))
    training = [p for p in model.parameters() if p.requires_grad]
    per_layer = (24 + 24) + (24 + 12) * 2 + (24 + 24) + (24 + 36) * 2 + (36 + 24)
    assert sum(p.numel() for p in training) == 2 * 2 * per_layer
    model(IDS[:, :-1], targets=IDS[:, 1:]).backward()
    assert all(p.grad is not None for p in training)
    for name, value in model.state_dict().items():
        plain = name.replace(".base.", ".")
        if plain in before:
            assert torch.equal(value, before[plain])


@pytest.mark.parametrize(
    "changes,says",
    [
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"peft_type": "PREFIX_TUNING"}, "peft_type"),
        ({"r": 4}, "lora_A"),
        ({"r": "many"}, "'many'"),
        ({"target_modules": ["c_attn"]}, "c_attn"),
        ({"target_modules": ["q_proj"]}, "without a place"),
    ],
)
def test_adapters_that_do_not_fit(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    model, lora = decoder(), LoRA(3, 7.0)
    save_lora(add_lora(model, lora), lora, tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    plain = decoder()
    with pytest.raises(UserError, match=says):
        load_lora(plain, tmp_path)
    assert set(plain.state_dict()) == set(decoder().state_dict())  # as it was


def test_a_cut_adapter_and_a_pattern(tmp_path: Path) -> None:
    model, lora = decoder(), LoRA(3, 7.0, ("q_proj", "v_proj"))
    save_lora(add_lora(model, lora), lora, tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"target_modules": ".*(q|v)_proj"}))
    assert load_lora(decoder(), tmp_path) == lora
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(UserError, match="not a whole"):
        load_lora(decoder(), tmp_path)


def test_merging_in_bf16_rounds_once() -> None:
    model = decoder().bfloat16()
    add_lora(model, LoRA(2, 4.0))
    shaken(model)
    layer = model.blocks[0].mlp.down
    a, b = (t.float() for t in layer.factors())
    want = (layer.base.weight.float() + 2 * b @ a).bfloat16()
    assert torch.equal(merge_lora(model).blocks[0].mlp.down.weight, want)


def test_experts_are_not_adapted_but_their_attention_is() -> None:
    model = Decoder(DecoderConfig(50, 16, 1, 4, 2, 4, 20, 32, experts=3))
    with pytest.raises(UserError, match="experts cannot be adapted"):
        add_lora(model, LoRA(rank=2))
    add_lora(model, LoRA(rank=2, targets=("q_proj", "o_proj")))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained and all("attention" in name for name in trained)
