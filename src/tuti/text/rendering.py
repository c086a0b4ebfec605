"""Renders chat templates in a process of its own, which `sandbox` starts: a line of JSON in, one out.

It starts as a script, without this package: Jinja and the standard library alone.
"""

import json
import resource
import sys
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, cast

from jinja2 import Template, nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MEMORY, SECONDS = 2**30, 3
"""Bytes of address space; seconds of processor time for a text (one fewer, at the least)"""
PASSES, ROOM = 20, 2**20
"""How often a text may hold what was asked, and characters more"""


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks what an assistant says; here it is just its body."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise(message: object) -> None:
    raise TemplateError(str(message))


@lru_cache(16)
def _compiled(source: str) -> Template:
    """A template in `transformers`' dialect; the same text always, and no way to Python's internals."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[LoopControlExtension, _Generation]
    )
    names = cast(dict[str, Any], environment.globals)
    names["raise_exception"] = _raise
    environment.filters["tojson"] = partial(json.dumps, ensure_ascii=False)
    del names["lipsum"], environment.filters["random"], environment.filters["attr"]
    tree = environment.parse(source)
    for owner in tree.find_all(nodes.NSRef):
        if owner.attr.startswith("_"):
            raise SecurityError(f"a namespace may not have the attribute {owner.attr!r}")
    return Template.from_code(environment, environment.compile(tree), names)


def _answer(line: str) -> dict[str, str]:
    """{text}, or {error}: whatever a stranger's program raises is the template's fault."""
    try:
        asked = json.loads(line)
        text = _compiled(asked["source"]).render(asked["context"])
    except Exception as error:
        return {"error": str(error)[:500] or type(error).__name__}
    much = len(text) > PASSES * len(line) + ROOM
    return {"error": "it makes too much text"} if much else {"text": text}


if __name__ == "__main__":
    with suppress(ValueError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for asked in sys.stdin:
        used = resource.getrusage(resource.RUSAGE_SELF)
        until = int(used.ru_utime + used.ru_stime) + SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))
        print(json.dumps(_answer(asked)), flush=True)
