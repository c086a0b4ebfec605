"""Damaged, truncated and hostile model folders end in a UserError, never in another exception."""

import json
import math
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuti.nn import Decoder, DecoderConfig, load_decoder, save_decoder
from tuti.run import UserError

CONFIG = DecoderConfig(20, 8, 1, 2, 1, 4, 8, 16, tied=False)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    save_decoder(Decoder(CONFIG), folder)
    return folder


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_decoder(folder)
    return str(caught.value)


def altered(good: Path, folder: Path, **changes: Any) -> Path:
    shutil.copytree(good, folder, dirs_exist_ok=True)
    table = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(table))
    return folder


@pytest.mark.parametrize(
    "changes,says",
    [
        ({"model_type": "gpt2"}, "'gpt2'"),
        ({"attention_bias": True}, "attention_bias"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"rope_scaling": None, "rope_parameters": {"rope_type": "yarn", "factor": 2}}, "yarn"),
        ({"rope_parameters": {"rope_type": ["x"]}}, "rope type"),
        ({"rope_parameters": 3}, "rope_parameters"),
        ({"rope_parameters": {"rope_theta": "big"}}, "rope_theta"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_hidden_layers": 2}, "model.layers.1."),
        ({"vocab_size": 2**40}, "vocab_size"),
        ({"vocab_size": 21}, "model.embed_tokens.weight"),
        ({"hidden_size": 16}, "[20, 8]"),
        ({"hidden_size": 8.5}, "hidden_size"),
        ({"hidden_size": None}, "hidden_size"),
        ({"num_attention_heads": True}, "num_attention_heads"),
        ({"num_attention_heads": 3, "num_key_value_heads": 2}, "multiple"),
        ({"head_dim": 3}, "even"),
        ({"rms_norm_eps": math.nan}, "rms_norm_eps"),
        ({"rms_norm_eps": math.inf}, "rms_norm_eps"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ({"num_hidden_layers": 1, "vocab_size": -3}, "vocab_size"),
    ],
)
def test_configs_that_lie(good: Path, tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    assert says in refused(altered(good, tmp_path, **changes))


def test_a_tied_config_ignores_a_spare_head(good: Path, tmp_path: Path) -> None:
    model = load_decoder(altered(good, tmp_path, tie_word_embeddings=True))
    assert model.head is None


@pytest.mark.parametrize("text", ["", "[]", "{", '"x"', "[" * 100_000, "\xff\xfe", '{"a":' * 5000])
def test_broken_json(good: Path, tmp_path: Path, text: str) -> None:
    folder = altered(good, tmp_path)
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    assert "config.json" in refused(folder)


def test_missing_pieces(good: Path, tmp_path: Path) -> None:
    assert "config.json" in refused(tmp_path)
    folder = altered(good, tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "pickle" in refused(folder)
    (folder / "pytorch_model.bin").unlink()
    assert "model.safetensors" in refused(folder)
    (folder / "model.safetensors").mkdir()
    assert "model.safetensors" in refused(folder)


@pytest.mark.parametrize(
    "weight_map", [{}, {"a": "../secret"}, {"a": "/etc/passwd"}, {"a": "gone.safetensors"}, [1], 7]
)
def test_index_that_lies(good: Path, tmp_path: Path, weight_map: Any) -> None:
    folder = altered(good, tmp_path)
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    refused(folder)


def test_headers_that_lie(good: Path, tmp_path: Path) -> None:
    folder = altered(good, tmp_path)
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    size = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + size])
    body = whole[8 + size :]

    def with_header(change: Callable[[dict[str, Any]], None]) -> None:
        table = json.loads(json.dumps(header))
        change(table)
        text = json.dumps(table).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + body)
        refused(folder)

    path.write_bytes(struct.pack("<Q", 2**63) + whole[8:])
    refused(folder)
    with_header(lambda t: t["model.norm.weight"].update(dtype="I32"))
    with_header(lambda t: t["model.norm.weight"].update(shape=[2, 4]))
    with_header(lambda t: t["model.norm.weight"].update(shape=[2**62, 2**62]))
    with_header(lambda t: t["model.norm.weight"].update(data_offsets=[0, 2**60]))
    with_header(lambda t: t.update({"model.extra": t.pop("model.norm.weight")}))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_random_damage(good: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Flipped bytes and cut ends, header and JSON included: refused, or loaded as this model."""
    folder = altered(good, tmp_path)
    name = data.draw(st.sampled_from(["model.safetensors", "config.json"]))
    content = bytearray((good / name).read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        # Mostly near the start, where the structure is.
        place = data.draw(st.integers(0, min(len(content), data.draw(st.sampled_from([40, 9999])))))
        content[min(place, len(content) - 1)] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    (folder / name).write_bytes(content)
    try:
        model = load_decoder(folder)
    except UserError:
        return
    assert model.config.width == CONFIG.width and len(model.blocks) == 1


def test_saving_replaces_as_a_whole(good: Path, tmp_path: Path) -> None:
    folder = altered(good, tmp_path)
    loaded = load_decoder(folder)
    before = {k: v.clone() for k, v in loaded.state_dict().items()}
    save_decoder(Decoder(CONFIG), folder)  # over the file that was mapped
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, before[name])
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert all(p.requires_grad for p in loaded.parameters())
