"""Programs that a model wrote, run where they can do no harm: `run_boxed`. Linux 6.2 or newer; else refused.

A program gets one process of one thread, its standard library to read, one new flat folder to write, and
nothing else: no network, no other program, no other process to signal or trace. The kernel holds it to that:
Landlock for what is in files (that they are there can be seen, and processes, too), and seccomp, which lets
pass only the system calls of syscalls.toml. As root, too.
"""

import contextlib
import json
import os
import platform
import select
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tuti.run.errors import UserError
from tuti.run.files import read_toml

FOLDERS = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo")
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Machine → its column in syscalls.toml, its AUDIT_ARCH"""
# Which values of which argument pass: file flags but no owner, who would get signals; the state of terminals
# and pipes; limits read, not set.
FLAGS, TERMINAL = (0, 1, 2, 3, 4, 5, 6, 7, 1030), (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
ARGUMENTS = {"fcntl": (1, FLAGS), "ioctl": (1, TERMINAL), "prlimit64": (2, (0,))}
ALLOW, DENY, KILL = 0x7FFF0000, 0x00050001, 0x80000000  # SECCOMP_RET_ALLOW, _ERRNO (EPERM), _KILL_PROCESS


@dataclass(frozen=True)
class Limits:
    """What a program may use."""

    cpu: int = 3
    """Seconds of processor time"""
    wall: float = 15.0
    """Seconds by the clock"""
    memory: int = 2**30
    """Bytes of address space"""
    file: int = 2**20
    """Bytes of its output, and of each file"""
    files: int = 2**24
    """Bytes of all its files, each counted as 4 KiB more"""


@dataclass(frozen=True)
class Outcome:
    """The exit status (negative: the signal that ended it), and standard output with errors, or its start."""

    status: int
    output: str
    stopped: str = ""
    """"time" or "files", where that limit ended it"""


def run_boxed(program: str, limits: Limits | None = None, served: str | None = None) -> Outcome:
    """Runs a Python program in a box; UserError where the kernel cannot make one.

    `served`: a second program, in a box of its own, whose standard input and output are the first's output
    and input. The first one's standard error is then what it put out; with its end the second is ended.
    """
    check_kernel()
    return _run(program, limits or Limits(), served)


@cache
def check_kernel() -> None:
    """Refuses a machine that cannot box programs in, by boxing one in."""
    if sys.platform == "linux" and platform.machine() in MACHINES:
        found = _run("print('boxed')", Limits(cpu=10, wall=60.0), None).output.strip()
    else:
        found = f"{sys.platform} on {platform.machine()} has none"
    if found != "boxed":
        why = (found or "it did not start").splitlines()[-1]
        hint = "Linux 6.2 or newer with Landlock and seccomp, x86_64 or aarch64; elsewhere a virtual machine"
        raise UserError(f"programs that a model wrote run in a sandbox only: {why}", hint)


def _run(program: str, limits: Limits, served: str | None) -> Outcome:
    with contextlib.ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tuti-box-"))) for _ in "12"]
        report = stack.enter_context(tempfile.TemporaryFile())
        if served is None:
            box = _start(stack, program, folders[0], limits, (subprocess.DEVNULL, report, report))
        else:
            pipe, null = subprocess.PIPE, subprocess.DEVNULL
            other = _start(stack, served, folders[1], limits, (pipe, pipe, null))
            box = _start(stack, program, folders[0], limits, (other.stdout, other.stdin, report))
            for end in (other.stdin, other.stdout):
                assert end is not None
                end.close()
        stopped = _watch(box, folders, limits)
        report.seek(0)
        return Outcome(box.wait(), report.read(limits.file).decode("utf-8", "replace"), stopped)


def _start(
    stack: contextlib.ExitStack, program: str, folder: Path, limits: Limits, streams: Sequence[Any]
) -> subprocess.Popen[bytes]:
    """A process that confines itself and runs the program; it is dead before the stack removes the folder."""
    (folder / "program.py").write_text(program, encoding="utf-8")
    most = {"CPU": limits.cpu, "AS": limits.memory, "FSIZE": limits.file, "NOFILE": 64, "CORE": 0}
    settings = {"parent": os.getpid(), "limits": most, "filter": _filter().hex(), "own": str(folder)}
    settings |= {"read": [f"{sys.base_prefix}/lib", *FOLDERS]}
    command = [os.path.realpath(sys.executable), "-I", "-S", "-B", str(Path(__file__).with_name("boxed.py"))]
    process = subprocess.Popen(
        [*command, json.dumps(settings)], env={}, cwd=folder, start_new_session=True,
        stdin=streams[0], stdout=streams[1], stderr=streams[2],
    )  # fmt: skip
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def _watch(box: subprocess.Popen[bytes], folders: Sequence[Path], limits: Limits) -> str:
    """Waits for the end of a program, or makes it: "time" or "files" says which limit it met."""
    until, ended, stopped = time.monotonic() + limits.wall, select.poll(), ""
    handle = os.pidfd_open(box.pid)
    ended.register(handle, select.POLLIN)
    while not stopped and not ended.poll(100):
        used = 0
        for entry in (entry for folder in folders for entry in os.scandir(folder)):
            with contextlib.suppress(FileNotFoundError):  # gone since the folder was listed
                used += 4096 + entry.stat(follow_symlinks=False).st_size
        if used > limits.files:
            stopped = "files"
        elif time.monotonic() > until:
            stopped = "time"
    os.close(handle)
    box.kill()
    return stopped


@cache
def _filter() -> bytes:
    """The seccomp program (struct sock_filter, 8 bytes each): the calls of syscalls.toml, and no other."""

    def step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    def equals(value: int, action: int) -> bytes:
        return step(0x15, value, 0, 1) + step(0x06, action)  # BPF_JEQ, else pass over; BPF_RET

    column, machine = MACHINES[platform.machine()]
    table = read_toml(__file__, "syscalls.toml")
    rules = step(0x20, 4) + step(0x15, machine, 1, 0) + step(0x06, KILL) + step(0x20, 0)  # the call's number
    for name, numbers in table.items():
        if name not in ARGUMENTS:
            rules += equals(numbers[column], ALLOW) if numbers[column] >= 0 else b""
            continue
        argument, values = ARGUMENTS[name]  # both halves are looked at: 32 bits a step
        low, deny = 16 + 8 * argument, step(0x06, DENY)
        block = step(0x20, low + 4) + step(0x15, 0, 1, 0) + deny + step(0x20, low)
        block += b"".join(equals(value, ALLOW) for value in values) + deny
        rules += step(0x15, numbers[column], 0, len(block) // 8) + block
    return rules + step(0x06, DENY)
