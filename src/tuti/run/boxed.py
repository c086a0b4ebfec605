"""Runs inside the box: this process gives up its rights for good, then becomes the program of its folder.

`run_boxed` starts it as a script, without packages, so it imports the standard library alone. The numbers are
those of Linux's headers: landlock.h, seccomp.h, prctl.h; what they mean: landlock(7), seccomp(2).
"""

import ctypes
import json
import os
import resource
import struct
import sys
import types
from typing import Any

READ, READ_FOLDER = 1 << 2, 1 << 2 | 1 << 3
# Regular files in one flat folder: no folders, links, sockets or devices, so it is soon counted and removed.
OWN = READ_FOLDER | 1 << 1 | 1 << 5 | 1 << 8 | 1 << 14


def become(settings: dict[str, Any], program: str) -> None:
    """Confines this process as the settings say, then runs the program as `__main__`."""
    confine(settings)
    module = types.ModuleType("__main__")
    sys.modules["__main__"], sys.argv = module, [program]
    with open(program, encoding="utf-8") as file:
        code = compile(file.read(), program, "exec")
    exec(code, module.__dict__)


def confine(settings: dict[str, Any]) -> None:
    """Dies with the parent; limits; Landlock for files, TCP and signals; seccomp for all else."""
    libc = ctypes.CDLL(None, use_errno=True)
    _prctl(libc, 1, 9)  # PR_SET_PDEATHSIG
    if os.getppid() != settings["parent"]:
        sys.exit("the parent is gone")
    for name, most in settings["limits"].items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))
    _prctl(libc, 38, 1)  # PR_SET_NO_NEW_PRIVS
    _landlock(libc, settings["read"], settings["own"])
    words = bytes.fromhex(settings["filter"])
    rules = ctypes.create_string_buffer(words, len(words))
    listed = struct.pack("HP", len(words) // 8, ctypes.addressof(rules))  # struct sock_fprog
    _prctl(libc, 22, 2, ctypes.create_string_buffer(listed))  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def _prctl(libc: ctypes.CDLL, option: int, *values: Any) -> None:
    padded = [*(ctypes.c_ulong(v) if isinstance(v, int) else v for v in values), *[ctypes.c_ulong(0)] * 3]
    if libc.prctl(option, *padded[:4]):
        sys.exit(f"prctl {option}: {os.strerror(ctypes.get_errno())}")


def _landlock(libc: ctypes.CDLL, read: list[str], own: str) -> None:
    """Denies every right over files but to read below `read`, and to keep files in the folder `own`."""

    def call(number: int, *values: Any) -> int:
        wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in values]
        if (found := libc.syscall(ctypes.c_long(number), *wide)) < 0:
            sys.exit(f"Landlock: {os.strerror(ctypes.get_errno())}")
        return found

    abi = call(444, None, 0, 1)  # landlock_create_ruleset, LANDLOCK_CREATE_RULESET_VERSION
    if abi < 3:
        sys.exit(f"Landlock has ABI {abi} here; 3 is needed")
    known = 15 if abi < 5 else 16  # rights over files (before ABI 3 truncation could not be denied)
    # Those; to bind and connect TCP (ABI 4); abstract sockets and signals to others (ABI 6).
    handled = struct.pack("QQQ", (1 << known) - 1, 3, 3)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = call(444, handled, len(handled), 0)
    for path in [*read, "/dev/null", own]:
        if os.path.exists(path):
            place = os.open(path, os.O_PATH)
            rights = OWN if path == own else READ_FOLDER if os.path.isdir(path) else READ
            rights |= (path == "/dev/null") << 1
            call(445, ruleset, 1, struct.pack("=Qi", rights, place), 0)  # landlock_add_rule, PATH_BENEATH
            os.close(place)
    call(446, ruleset, 0)  # landlock_restrict_self
    os.close(ruleset)


if __name__ == "__main__":
    become(json.loads(sys.argv[1]), "program.py")
