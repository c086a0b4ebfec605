"""Requests made up from the server's own description: whatever comes, no answer is a server's error."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from tuti.app.tests.parrot import save_parrot
from tuti.app.tests.test_api import Server, serving
from tuti.infer import load_model

MODEST = {"model", "messages", "prompt", "max_tokens", "temperature", "top_p", "seed", "stream", "n", "echo"}
LONGEST = 20  # tokens of an answer, so that some hundred answers take seconds


@pytest.fixture(scope="module")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving([load_model(save_parrot(tmp_path_factory.mktemp("runs") / "parrot"))], slots=4) as made:
        yield made


def operations(server: Server, modest: bool) -> list[Any]:
    """As the server tells them, but its model is asked for short answers; modest: most are served then."""
    told: dict[str, Any] = server.http.get("/openapi.json").json()
    for name in ("ChatRequest", "TextRequest"):
        shape = told["components"]["schemas"][name]
        if modest:
            shape["properties"] = {k: v for k, v in shape["properties"].items() if k in MODEST}
            shape["additionalProperties"] = False
        shape["properties"]["model"] = {"const": "parrot"}
        shape["properties"]["max_tokens"] = {"type": "integer", "minimum": 0, "maximum": LONGEST}
        if modest and name == "ChatRequest":
            said = {"role": {"const": "user"}, "content": {"type": "string"}}
            message = {"type": "object", "properties": said, "required": [*said]}
            message["additionalProperties"] = False
            shape["properties"]["messages"] = {"type": "array", "items": message, "minItems": 1}
    return [found.ok() for found in schemathesis.openapi.from_dict(told).get_all_operations()]


def test_no_request_is_a_servers_error(parrot: Server) -> None:
    seen: Counter[str] = Counter()
    for operation in operations(parrot, False) + operations(parrot, True):

        @given(case=operation.as_strategy())
        @settings(
            max_examples=60, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: Any) -> None:
            answer = case.call(base_url=str(parrot.http.base_url), timeout=60)
            assert answer.status_code < 500, (case.as_curl_command(), answer.text)
            seen[f"{case.path} {answer.status_code // 100}"] += 1

        ask()
    assert len({path.split()[0] for path in seen}) >= 5, seen
    assert seen["/v1/chat/completions 2"] > 3 and seen["/v1/completions 2"] > 3, seen
    assert seen["/v1/chat/completions 4"] > 3 and seen["/v1/completions 4"] > 3, seen


def test_the_server_is_still_up(parrot: Server) -> None:
    assert parrot.http.get("/health").json()["status"] == "ok"
    assert parrot.metric("tuti_failed_total") == 0
