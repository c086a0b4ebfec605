"""GGUF files: written here with the gguf package, read back, damaged, and a real one if named."""

import os
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuti.nn import Decoder, DecoderConfig, read_gguf, read_packed_gguf
from tuti.nn.gguf import GGUFFile
from tuti.nn.hugging_face import to_hf
from tuti.run import UserError

CONFIG = DecoderConfig(40, 32, 2, 4, 2, 8, 32, 64, rope_theta=5e4, tied=True)
TOKENS = [f"t{i}" for i in range(40)]


def reorder(w: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's order of the rows of q and k, as its converter makes it."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(w.shape)


def write(
    path: Path, model: Decoder, kind: Kind = Kind.F32, mixed: dict[str, Kind] | None = None, **fields: Any
) -> None:
    c = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Tiny")
    writer.add_embedding_length(c.width)
    writer.add_feed_forward_length(c.hidden)
    writer.add_block_count(c.layers)
    writer.add_context_length(c.context)
    writer.add_head_count(c.heads)
    writer.add_head_count_kv(c.kv_heads)
    writer.add_rope_freq_base(c.rope_theta)
    writer.add_layer_norm_rms_eps(c.norm_eps)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] + [1] * 39)
    writer.add_token_merges(["t 1", "t 2"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(99)
    writer.add_chat_template("{{ messages }}")
    for key, value in fields.items():
        writer.add_key_value(key, *value)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, c.layers)
    for name, tensor in to_hf(model.state_dict(), c).items():
        ours = str(names.get_name(name, (".weight",)))
        values = tensor.float().numpy()
        if "attn_q." in ours or "attn_k." in ours:
            values = reorder(values, c.heads if "attn_q" in ours else c.kv_heads)
        use = kind if values.ndim == 2 else Kind.F32
        use = (mixed or {}).get(ours.split(".")[-2], use)
        writer.add_tensor(ours, gguf.quants.quantize(values, use), raw_dtype=use)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def model(tied: bool = True) -> Decoder:
    config = DecoderConfig(**(CONFIG.__dict__ | {"tied": tied}))
    return Decoder(config, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("tied", [True, False])
def test_whole_numbers_round_trip(tied: bool, tmp_path: Path) -> None:
    wanted = model(tied)
    write(tmp_path / "m.gguf", wanted)
    found, fields = read_gguf(tmp_path / "m.gguf")
    assert found.config == wanted.config
    for name, value in wanted.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name
    table = {key.rpartition(".")[2]: value for key, value in fields.items()}
    assert table["tokens"] == TOKENS and table["merges"] == ["t 1", "t 2"]
    assert table["token_type"] == [3] + [1] * 39 and table["pre"] == "smollm"
    assert (table["bos_token_id"], table["eos_token_id"]) == (0, 99)
    assert table["chat_template"] == "{{ messages }}" and table["name"] == "Tiny"


@pytest.mark.parametrize(
    "kind,bound", [(Kind.F16, 1e-3), (Kind.BF16, 1e-2), (Kind.Q8_0, 1e-2), (Kind.Q4_1, 0.15)]
)
def test_quantised_types(kind: Kind, bound: float, tmp_path: Path) -> None:
    wanted = model()
    write(tmp_path / "m.gguf", wanted, kind)
    found, _ = read_gguf(tmp_path / "m.gguf", dtype=torch.float64)
    for name, value in wanted.state_dict().items():
        gap = (found.state_dict()[name] - value).abs().max()
        assert gap <= bound * value.abs().max(), (name, gap)
    assert next(found.parameters()).dtype == torch.float64


MIXED = {"attn_v": Kind.Q8_0, "ffn_down": Kind.F16}


@pytest.mark.parametrize("kind", [Kind.Q4_0, Kind.Q4_1, Kind.Q8_0, Kind.F32])
@pytest.mark.parametrize("mixed", [{}, MIXED], ids=["one type", "mixed"])
def test_packed_as_they_stand(kind: Kind, mixed: dict[str, Kind], tmp_path: Path) -> None:
    """Matrices keep their bits where the type is one of the three; the rest is rounded to 8 bits."""
    write(tmp_path / "m.gguf", model(), kind, mixed)
    whole, _ = read_gguf(tmp_path / "m.gguf")
    vectors, blocks, _ = read_packed_gguf(tmp_path / "m.gguf")
    assert not blocks.keys() & {n for n, p in vectors.named_parameters() if not p.is_meta}
    rounded = {"blocks.0.mlp.down.weight"} if mixed else set[str]()
    if mixed and kind != Kind.Q8_0:
        rounded |= {"blocks.0.attention.qkv.weight"}
    for name, value in whole.state_dict().items():
        if name not in blocks:
            assert torch.equal(vectors.state_dict()[name], value), name
            continue
        found = blocks[name].numbers
        exact = kind != Kind.F32 and name.replace("blocks.1", "blocks.0") not in rounded
        bound = 0.0 if exact else float(value.abs().max()) / 250
        torch.testing.assert_close(found, value, rtol=1e-6, atol=max(bound, 1e-7))


@pytest.mark.parametrize("kind", [Kind.Q4_0, Kind.Q8_0])
def test_scales_that_are_no_numbers_are_refused(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write(path, model(), kind)
    place = GGUFFile(path).places["blk.0.ffn_up.weight"][2]
    content = bytearray(path.read_bytes())
    content[place : place + 2] = b"\x00\x7e"  # NaN in fp16
    path.write_bytes(content)
    with pytest.raises(UserError, match="ffn_up.*NaN"):
        read_packed_gguf(path)


def test_tensors_without_a_place_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = gguf.GGUFWriter.add_tensor

    def with_bias(self: Any, name: str, *rest: Any, **named: Any) -> None:
        add(self, name, *rest, **named)
        if name == "blk.0.attn_q.weight":
            add(self, "blk.0.attn_q.bias", np.ones(32, np.float32))

    monkeypatch.setattr(gguf.GGUFWriter, "add_tensor", with_bias)
    write(tmp_path / "m.gguf", model())
    with pytest.raises(UserError, match=r"no place for: blk\.0\.attn_q\.bias"):
        read_gguf(tmp_path / "m.gguf")


U32, STRING = gguf.GGUFValueType.UINT32, gguf.GGUFValueType.STRING


@pytest.mark.parametrize(
    "fields,says",
    [
        ({"llama.expert_count": (8, U32)}, "expert_count"),
        ({"llama.rope.dimension_count": (4, U32)}, "partial"),
        ({"llama.attention.key_length": (16, U32)}, "shape"),
        ({"llama.rope.scaling.type": ("yarn", STRING)}, "yarn"),
        ({"tokenizer.ggml.scores": (3, U32)}, ""),
    ],
)
def test_what_is_not_supported(fields: dict[str, Any], says: str, tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", model(), **fields)
    if not says:
        assert read_gguf(tmp_path / "m.gguf")[0].config == CONFIG
        return
    with pytest.raises(UserError, match=says):
        read_gguf(tmp_path / "m.gguf")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "m.gguf"
    write(path, model())
    return path.read_bytes()


def test_lengths_that_lie(whole: bytes, tmp_path: Path) -> None:
    """Counts of 2^60 end at once: nothing is allocated or looped over for them."""
    path = tmp_path / "m.gguf"
    key = whole.index(b"tokenizer.ggml.tokens") + len("tokenizer.ggml.tokens")
    huge = struct.pack("<Q", 2**60)
    for at in (8, 16, 24, key + 8):
        path.write_bytes(whole[:at] + huge + whole[at + 8 :])
        with pytest.raises(UserError, match="not a whole GGUF"):
            read_gguf(path)
    for kind in (0, 7, 9, 12, 13, 200):  # an array of bytes, truths, arrays, numbers, nonsense
        path.write_bytes(whole[: key + 4] + struct.pack("<IQ", kind, 2**60) + whole[key + 16 :])
        with pytest.raises(UserError, match="not a whole GGUF"):
            read_gguf(path)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGML" + bytes(100), b"GGUF" + bytes(100)])
def test_other_files(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(UserError):
        read_gguf(tmp_path / "m.gguf")
    with pytest.raises(UserError):
        read_gguf(tmp_path)
    with pytest.raises(UserError):
        read_gguf(tmp_path / "gone.gguf")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_random_damage(whole: bytes, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, data.draw(st.sampled_from([60, 3000, len(whole) - 1]))))
        content[place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    (tmp_path / "m.gguf").write_bytes(content)
    try:
        found, fields = read_gguf(tmp_path / "m.gguf")
    except UserError:
        return
    assert found.config.width == CONFIG.width and len(fields.get("tokenizer.ggml.tokens", ())) <= CONFIG.vocab


@pytest.mark.slow
def test_a_real_file_equals_transformers() -> None:
    """TUTI_GGUF=…/SmolLM2-135M-Instruct.Q4_1.gguf (tuti fetch smollm2)."""
    from transformers import AutoModelForCausalLM

    path = Path(os.environ["TUTI_GGUF"])
    ours, fields = read_gguf(path)
    peer = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    ).eval()
    count = len(fields["tokenizer.ggml.tokens"])
    ids = torch.randint(count, (2, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours.logits(ours(ids)), peer(ids).logits, rtol=0, atol=1e-4)
