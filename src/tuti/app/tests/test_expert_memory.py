"""`--expert-memory` of serve and chat: answers as without it, the server counts uses, others refused."""

import io
import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tuti.app.api import create_app
from tuti.app.chat import Chat, chat
from tuti.app.cli import main
from tuti.app.serve import Serve, _load
from tuti.infer.tests.test_offload import saved
from tuti.nn import DecoderConfig
from tuti.run import UserError


def test_the_chat_says_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path)
    said: list[str] = []
    for memory in (None, 0.0):
        monkeypatch.setattr("sys.stdin", io.StringIO("salam\n"))
        chat(Chat(folder, temperature=0, max_tokens=8, expert_memory=memory))
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != "\n"


def test_the_server_counts_uses(tmp_path: Path) -> None:
    (loaded,) = _load(Serve((saved(tmp_path / "moe"),), expert_memory=0.001))
    with TestClient(create_app([loaded]), base_url="http://localhost") as client:
        asked = {"model": "moe", "prompt": "salam", "max_tokens": 5, "temperature": 0}
        assert client.post("/v1/completions", json=asked).status_code == 200
        found = dict(re.findall(r'tuti_expert_(\w+)_total\{model="moe"\} (\d+)', client.get("/metrics").text))
    assert int(found["uses"]) > int(found["hits"]) > 0  # a megabyte holds all of them


def test_a_model_without_experts_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dense = saved(tmp_path, DecoderConfig(265, 32, 2, 4, 2, 8, 48, 64))
    with pytest.raises(UserError, match="no experts that could stay on disk"):
        _load(Serve((dense,), expert_memory=1))
    with pytest.raises(SystemExit) as left:
        main(["chat", str(dense), "--expert-memory", "1.5"])
    assert left.value.code == 1 and "hint: leave --expert-memory out" in capsys.readouterr().err
