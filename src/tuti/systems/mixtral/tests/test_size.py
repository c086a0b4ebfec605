"""Parameters and bytes from a shape alone: exact where the paper says a figure."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, MixtralConfig

from tuti.nn import Decoder, KVCache, save_decoder
from tuti.run import UserError
from tuti.systems.mixtral.size import MIXTRAL_8X7B, SHAPES, TINY, Size, count, size


def test_mixtral_has_46_7_billion_parameters_of_which_12_9_work() -> None:
    with torch.device("meta"):
        model = Decoder(MIXTRAL_8X7B)
    assert sum(p.numel() for p in model.parameters()) == 46_702_792_704
    assert MIXTRAL_8X7B.parameters == 46_702_792_704
    assert MIXTRAL_8X7B.active_parameters == 12_879_925_248


def test_transformers_counts_the_same() -> None:
    with torch.device("meta"):
        peer = AutoModelForCausalLM.from_config(MixtralConfig())
    assert sum(p.numel() for p in peer.parameters()) == MIXTRAL_8X7B.parameters


@pytest.mark.parametrize("name", SHAPES)
def test_the_places_sum_to_all(name: str) -> None:
    places, _, _ = count(SHAPES[name], 16, 1)
    parts = [n for place, n in places.items() if place not in ("in all", "active for one token")]
    assert sum(parts) == places["in all"] == SHAPES[name].parameters


def test_the_cache_takes_what_is_foretold() -> None:
    cache = KVCache(TINY.layers, TINY.kv_heads, TINY.head_dim, 1, 1000, dtype=torch.bfloat16)
    assert count(TINY, 16, 1000)[2] == cache.bytes
    assert count(MIXTRAL_8X7B, 4, 32768)[2] == 4 * 2**30


def test_weights_take_what_their_file_takes(tmp_path: Path) -> None:
    save_decoder(Decoder(TINY), tmp_path, dtype=torch.bfloat16)
    file = (tmp_path / "model.safetensors").stat().st_size
    assert 0 <= file - count(TINY, 16, 1)[1] <= 10_000  # the file's header


def test_why_it_is_not_56_billion(capsys: pytest.CaptureFixture[str]) -> None:
    size(Size())
    said = capsys.readouterr().out
    one = 7_241_863_168
    assert f"{one:,}" in said and f"{8 * one:,}" in said
    assert 8 * one - 7 * 1_604_587_520 == 46_702_792_704  # what is shared is there once


def test_four_bits_a_weight() -> None:
    places, weights, cache = count(SHAPES["small"], 4, 1000)
    assert cache == 2 * 8 * 2 * 64 * 1000 * 2
    assert weights / places["in all"] == pytest.approx(4.5 / 8, rel=1e-3)


@pytest.mark.parametrize("model", ["mixtral-9x9b", "/nowhere/at/all"])
def test_a_model_that_is_not_there(model: str) -> None:
    with pytest.raises(UserError, match="there is no model") as caught:
        size(Size(model=model))
    assert "mixtral-8x7b" in caught.value.hint


def test_a_folder_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(UserError, match="gpt2"):
        size(Size(model=str(tmp_path)))
