"""Render a foreign Jinja chat template: `transformers`' dialect, no way out, bounded time and memory.

A template is a program by a stranger. Jinja's sandbox keeps it from Python's internals, and a process of its
own (`rendering.py`) is ended by the kernel when it takes too long or too much memory.
"""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, cast

from tuti.run import UserError

LARGEST_TEMPLATE = 256 * 1024
_lock = threading.Lock()


@cache
def _process() -> subprocess.Popen[str]:
    """The one that renders; a signal to the terminal's programs does not end it, but our end does."""
    command, pipe = [sys.executable, "-P", str(Path(__file__).with_name("rendering.py"))], subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True)


os.register_at_fork(after_in_child=_process.cache_clear)


def render_template(source: str, context: Mapping[str, Any]) -> str:
    """The text that a template makes of plain JSON values; errors are the user's, with the reason."""
    if len(source) > LARGEST_TEMPLATE:
        what = f"the chat template has {len(source):,} characters; at most {LARGEST_TEMPLATE:,} are read"
        raise UserError(what, hint="is it the right file?")
    with _lock:
        found = _asked(_process(), json.dumps({"source": source, "context": context}))
    if "text" not in found:
        hint = "check the roles and their order, or give another chat_template.jinja"
        raise UserError(f"the chat template failed: {found['error']}", hint)
    return found["text"]


def _asked(process: subprocess.Popen[str], request: str) -> dict[str, str]:
    """{text} or {error}; a process that was ended over it, or not waited for, is begun anew for the next."""
    line = ""
    try:
        with suppress(BrokenPipeError):
            print(request, file=process.stdin, flush=True)
            line = cast(IO[str], process.stdout).readline()
        if line.endswith("\n"):
            return json.loads(line)
        if process.wait() > 0:
            raise UserError("what renders chat templates does not start", hint="pip install --upgrade jinja2")
        return {"error": "it takes too long or too much memory"}
    finally:
        if not line.endswith("\n"):
            _process.cache_clear()
            with suppress(BrokenPipeError), process:
                process.kill()
