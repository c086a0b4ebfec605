"""Renders chat templates in a process of its own, which `sandbox` starts: a line of JSON in, one out.

It starts as a script, without this package: Jinja and the standard library alone.
"""

import json
import re
import resource
import signal
import sys
from contextlib import suppress
from functools import lru_cache
from typing import Any, cast

from jinja2 import Template, nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

MEMORY, SECONDS = 2**30, 3
"""Bytes of address space; seconds of processor time for a text (one fewer, at the least)"""
PASSES, ROOM = 20, 2**20
"""How often a text may hold what was asked, and characters more"""
GENERATION = re.compile(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})")
"""What marks the words of an assistant; here it is just its body"""


def _raise(message: object) -> None:
    raise TemplateError(str(message))


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: Any = False
) -> str:
    options: dict[str, Any] = {"ensure_ascii": ensure_ascii, "separators": separators, "sort_keys": sort_keys}
    return json.dumps(value, indent=indent, **options)


@lru_cache(16)
def _compiled(source: str) -> Template:
    """A template in `transformers`' dialect; the same text always, and no way to Python's internals."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    names = cast(dict[str, Any], environment.globals)
    names["raise_exception"], environment.filters["tojson"] = _raise, _tojson
    del names["lipsum"], environment.filters["random"], environment.filters["attr"]
    tree = environment.parse(GENERATION.sub(lambda m: m[1] + ("endif" if m[2] else "if true") + m[3], source))
    for owner in tree.find_all(nodes.NSRef):
        if owner.attr.startswith("_"):
            raise SecurityError(f"a namespace may not have the attribute {owner.attr!r}")
    return Template.from_code(environment, environment.compile(tree), names)


def _answer(line: str) -> str:
    """{text}, or {error}: whatever a stranger's program raises is the template's fault."""
    try:
        asked = json.loads(line)
        text = _compiled(asked["source"]).render(asked["context"])
        assert len(text) <= PASSES * len(line) + ROOM, "it makes too much text"
        return json.dumps({"text": text})
    except Exception as error:
        return json.dumps({"error": str(error)[:500] or type(error).__name__})


if __name__ == "__main__":
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # there are conversations in memory
    with suppress(ValueError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for asked in sys.stdin:
        used, hard = resource.getrusage(resource.RUSAGE_SELF), resource.getrlimit(resource.RLIMIT_CPU)[1]
        until = int(used.ru_utime + used.ru_stime) + SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (until if hard < 0 else min(until, hard), hard))
        print(_answer(asked), flush=True)
