"""LoRA in PEFT, and against its own definition."""

import copy
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import LlamaForCausalLM

from tuti.nn import Decoder, DecoderConfig, LoRA, add_lora, merge_lora, save_decoder, save_lora
from tuti.run import UserError

CONFIG = DecoderConfig(50, 24, 2, 4, 2, 6, 36, 64)
IDS = torch.randint(50, (2, 20), generator=torch.Generator().manual_seed(0))


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


def test_ours_in_peft(tmp_path: Path) -> None:
    model, lora = decoder(), LoRA(3, 7.0)
    save_decoder(model, tmp_path / "base")
    before = logits(model)
    add_lora(model, lora)
    assert torch.equal(logits(model), before)  # B = 0
    shaken(model)
    assert not torch.allclose(logits(model), before, atol=0.1)
    save_lora(model, lora, tmp_path / "adapter")
    base = LlamaForCausalLM.from_pretrained(tmp_path / "base")
    peer = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    assert peer.active_peft_config.r == 3 and peer.active_peft_config.lora_alpha == 7
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


def test_merging_in_bf16_rounds_once() -> None:
    model = decoder().bfloat16()
    add_lora(model, LoRA(2, 4.0))
    shaken(model)
    layer = model.blocks[0].mlp.down
    a, b = (t.float() for t in layer.factors())
    want = (layer.base.weight.float() + 2 * b @ a).bfloat16()
    assert torch.equal(merge_lora(model).blocks[0].mlp.down.weight, want)


def test_experts_are_not_adapted() -> None:
    model = Decoder(DecoderConfig(50, 16, 1, 4, 2, 4, 20, 32, experts=3))
    with pytest.raises(UserError, match="experts cannot be adapted"):
        add_lora(model, LoRA(rank=2))
    assert all(p.requires_grad for p in model.parameters())  # as it was
