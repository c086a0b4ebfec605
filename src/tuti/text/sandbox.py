"""Render a foreign Jinja chat template: `transformers`' dialect, no way out, bounded time and memory.

A template is a program by a stranger. Jinja's sandbox keeps it from Python's internals; here every loop
step, call and grown string is also paid for from a budget, so that it ends, and what could
blow memory up in one operation (string methods and filters that pad or format) is absent.
"""

import functools
import json
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from typing import Any, cast

from jinja2 import Template, nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.filters import FILTERS, do_indent
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tuti.run import UserError

LARGEST_TEMPLATE = 256 * 1024
BUDGET = 30_000_000  # characters made; a step costs as much as 100 of them
STEP = 100
PASSES = 20  # how often a template may copy its messages before that counts

STRING_METHODS = frozenset(
    "strip lstrip rstrip split rsplit splitlines startswith endswith upper lower title capitalize replace"
    " find rfind index count join removeprefix removesuffix partition isdigit isalpha isspace isnumeric"
    " isupper islower".split()
)
PLAIN_FILTERS = (
    "abs capitalize count d default dictsort e escape first float int items last length list lower map max"
    " min reject rejectattr reverse round safe select selectattr sort string title trim unique upper"
).split()

_left: ContextVar[list[int]] = ContextVar("left")


def spend(size: int) -> None:
    """Pays for one step that makes `size` characters."""
    left = _left.get()
    left[0] -= STEP + size
    if left[0] < 0:
        raise SecurityError("the template loops too long or makes too much text")


def compile_template(source: str) -> Template:
    """A template ready for `render_template`; errors are the user's, with the reason."""
    if len(source) > LARGEST_TEMPLATE:
        what = f"the chat template has {len(source):,} characters; at most {LARGEST_TEMPLATE:,} are read"
        raise UserError(what, hint="is it the right file?")
    environment = _Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=[LoopControlExtension, _Generation]
    )
    environment.filters = dict(_FILTERS)
    names = cast(dict[str, Any], environment.globals)
    names.pop("lipsum", None)
    names["raise_exception"] = _raise

    with _guarded():
        tree = environment.parse(source)
        for loop in list(tree.find_all(nodes.For)):
            loop.iter = nodes.Filter(loop.iter, "bounded", [], [], None, None)
        for joined in list(tree.find_all(nodes.Concat)):
            whole = nodes.Concat(joined.nodes)
            joined.nodes = [nodes.Filter(whole, "paid", [], [], None, None)]
        for owner in list(tree.find_all(nodes.NSRef)):
            if owner.attr.startswith("_"):
                raise SecurityError(f"a namespace may not have the attribute {owner.attr!r}")
        return Template.from_code(environment, environment.compile(tree), environment.globals)


def render_template(template: Template, context: Mapping[str, Any], size: int) -> str:
    """The text that a template makes of plain JSON values with `size` characters of messages."""
    parts: list[str] = []
    with _guarded(BUDGET + PASSES * size):
        for part in template.generate(**context):
            spend(len(part))
            parts.append(part)
    return "".join(parts)


@contextmanager
def _guarded(budget: int = BUDGET) -> Generator[None]:
    token = _left.set([budget])
    try:
        yield
    except Exception as error:  # whatever a stranger's program raises is the template's fault
        what = f"the chat template failed: {str(error)[:500] or type(error).__name__}"
        hint = "check the roles and their order, or give another chat_template.jinja"
        raise UserError(what, hint) from error
    finally:
        _left.reset(token)


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with a budget (its hooks are methods: subclassing is how it is told)."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        operands = cast(tuple[object, object], (left, right))
        sizes = [_size(cast(object, x)) for x in operands if isinstance(x, str | list | tuple)]
        if operator == "%" and isinstance(left, str):
            raise SecurityError("formatting with % is not available")
        if operator == "*" and sizes:
            count = right if isinstance(right, int) else left
            spend(sizes[0] * max(int(count), 0))
        else:
            spend(sum(sizes))
        if operator in ("*", "**") and not sizes and max(abs(left), abs(right)) > 2**32:
            raise SecurityError("the numbers are too large")
        if operator == "**" and abs(right) > 64:
            raise SecurityError("the exponent is too large")
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str):
            return attr in STRING_METHODS
        return super().is_safe_attribute(obj, attr, value)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str) and name in _GROWING:
            return _GROWING[name](owner, *args, **kwargs)
        result = super().call(__context, __obj, *args, **kwargs)
        spend(_size(result))
        return result


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks what an assistant says; here it is just its body."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _size(value: object) -> int:
    return len(cast(str, value)) if isinstance(value, str | list | tuple | dict) else 0


def _raise(message: object) -> None:
    raise TemplateError(str(message))


def _bounded(items: Iterable[Any]) -> list[Any]:
    found = list(islice(items, _left.get()[0] // STEP + 1))
    spend(STEP * len(found))
    return found


def _replace(text: object, old: str, new: str, count: int | None = None) -> str:
    whole = str(text)
    times = whole.count(old) if count is None or count < 0 else min(count, whole.count(old))
    spend(len(whole) + times * len(new))
    return whole.replace(old, new, -1 if count is None else count)


def _join(items: Iterable[Any], between: str = "", attribute: str | None = None) -> str:
    if attribute is not None:
        items = [item[attribute] for item in items]
    parts = [str(item) for item in _bounded(items)]
    spend(sum(map(len, parts)) + len(between) * len(parts))
    return between.join(parts)


def _joined_by(between: str, items: Iterable[Any]) -> str:
    return _join(items, between)


def _indent(text: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    margin = width if isinstance(width, str) else " " * min(width, 64)
    spend(len(text) + (text.count("\n") + 1) * len(margin))
    return do_indent(text, margin, first, blank)


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: Any = False
) -> str:
    options: dict[str, Any] = {"ensure_ascii": ensure_ascii, "separators": separators, "sort_keys": sort_keys}
    return json.dumps(value, indent=None if indent is None else min(indent, 16), **options)


def _charged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        spend(_size(result))
        return result

    return run


_GROWING: dict[str, Callable[..., str]] = {"replace": _replace, "join": _joined_by}
_FILTERS: dict[str, Callable[..., Any]] = {
    **{name: _charged(FILTERS[name]) for name in PLAIN_FILTERS},
    "bounded": _bounded,
    "paid": _charged(str),
    "indent": _indent,
    "join": _join,
    "replace": _replace,
    "tojson": _charged(_tojson),
}
