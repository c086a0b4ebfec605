"""Tools: how a model is told of them, which grammar its calls follow, and how a call is read from its text.

A call is written as Hermes and Qwen do, one or several at the answer's end:

    <tool_call>
    {"name": "weather", "arguments": {"city": "تهران"}}
    </tool_call>
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from tuti.infer import Grammar
from tuti.infer.grammar import schema_rule
from tuti.run.lineage import Json
from tuti.text import ChatTemplate

OPEN, CLOSE = "<tool_call>", "</tool_call>"
TOLD = f"""You may call tools. These are they, one JSON object a line:
%s
To call one, write {OPEN}, a line {{"name": its name, "arguments": an object}}, and {CLOSE}."""


def call_grammar(functions: Sequence[Mapping[str, Any]], *, must: bool, several: bool) -> Grammar:
    """Calls of these functions, their arguments by the functions' schemas; unless they `must`, or any text.

    In a text the opening mark alone begins a call, and from there on the grammar holds.
    """
    more = f'(/\\s{{0,2}}/ "{OPEN}" call)*' if several else ""
    start = f'start: "{OPEN}" call {more}'
    if not must:
        start = f'start: TEXT | lead call {more}\nlead[lazy]: TEXT "{OPEN}"\nTEXT: /(.|\\n)*/'
    rules = [start, 'call: "\\n" (' + " | ".join(f"f{i}" for i in range(len(functions))) + f') "\\n{CLOSE}"']
    for i, function in enumerate(functions):
        schema = schema_rule({"type": "object", **(function.get("parameters") or {})})
        head = json.dumps(f'{{"name": "{function["name"]}", "arguments": ')
        rules.append(f'f{i}: {head} a{i} "}}"\na{i}: {schema}')
    return Grammar.lark("\n".join(rules))


def read_calls(text: str) -> tuple[str, list[Json]]:
    """What was said before the calls, and the calls as OpenAI's API gives them; none if one is cut off."""
    before, _, rest = text.partition(OPEN)
    calls: list[Json] = []
    while rest:
        rest = rest.lstrip()
        try:
            call, end = json.JSONDecoder().raw_decode(rest)
            function = {"name": call["name"], "arguments": json.dumps(call["arguments"], ensure_ascii=False)}
        except (ValueError, KeyError, TypeError, RecursionError):
            return text, []
        rest, closed, after = rest[end:].lstrip().partition(CLOSE)
        following, _, rest = (rest + after).lstrip().partition(OPEN)
        if not closed or following:
            return text, []
        calls.append({"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function})
    return (before, calls) if calls else (text, [])


def told(messages: Sequence[Json], tools: Sequence[Any], template: ChatTemplate) -> list[Json]:
    """The messages with all about tools in their text, for a template that knows nothing of tools."""
    found = list(messages)
    if "tools" in template.source:
        return found
    for i, message in enumerate(messages):
        texts = [message["content"]] if message["content"] else []
        for call in message.get("tool_calls", []):
            function = {key: call["function"][key] for key in ("name", "arguments")}
            texts.append(f"{OPEN}\n{json.dumps(function, ensure_ascii=False)}\n{CLOSE}")
        found[i] = {"role": message["role"], "content": "\n".join(texts)}
    if tools:
        before = found.pop(0)["content"] + "\n\n" if found[0]["role"] == "system" else ""
        text = TOLD % "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
        found.insert(0, {"role": "system", "content": before + text})
    return found
