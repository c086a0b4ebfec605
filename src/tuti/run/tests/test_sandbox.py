"""The sandbox against programs that mean harm. Nothing here is simulated, and nothing skips on Linux 6.2."""

import os
import platform
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tuti.run import UserError, sandbox
from tuti.run.sandbox import Limits, run_boxed

SOON = Limits(cpu=1, wall=20.0)
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Landlock and seccomp, which Linux has")
pytestmark = linux


@pytest.fixture
def secrets(tmp_path: Path) -> Iterator[list[Path]]:
    """A file in a temporary folder and one at home."""
    home = Path.home() / f".tuti-test-secret-{os.getpid()}"
    places = [tmp_path / "secret", home]
    for place in places:
        place.write_text("treasure")
    yield places
    assert [place.read_text() for place in places] == ["treasure"] * 2
    home.unlink()


def denied(program: str, limits: Limits = SOON) -> sandbox.Outcome:
    """The outcome of a program that must not come to its last line."""
    found = run_boxed(program + "\nprint('harm' + ' done')", limits)
    assert "harm done" not in found.output and (found.status or found.stopped), found
    return found


def test_a_harmless_program_runs() -> None:
    found = run_boxed(
        "import collections, dataclasses, datetime, decimal, hashlib, heapq, itertools, json, math, random\n"
        "import re, statistics, string, sys, tempfile, typing\n"
        "open('own', 'w').write('kept')\n"
        "print(open('own').read(), math.isqrt(49), hashlib.md5(b'').hexdigest()[:4], __name__, sys.argv)\n"
        "with tempfile.TemporaryFile(dir='.') as file: file.write(b'x')\n"
        "import os; os.rename('own', 'other'); os.unlink('other')\n"
        "print(os.environ.get('HOME'), os.listdir('.'), sys.stdin.read() == '')\n"
    )
    assert found == sandbox.Outcome(0, "kept 7 d41d __main__ ['program.py']\nNone ['program.py'] True\n")


@pytest.mark.parametrize(
    "program",
    [
        "import os\nwhile True: os.fork()",
        "import os\nos.posix_spawn('/bin/true', ['true'], {})",
        "import subprocess\nsubprocess.run(['true'])",
        "import os\nos.execv('/bin/sh', ['sh', '-c', 'echo harm; echo done'])",
        "import threading\nthreading.Thread(target=print).start()",
        "import socket\nsocket.create_connection(('127.0.0.1', 22))",
        "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "import socket\nsocket.socket(socket.AF_UNIX)",
        "import socket\nsocket.socketpair()",
        "import os\nos.kill(os.getppid(), 9)",
        "import os\nos.kill(-1, 9)",
        "import os\nos.killpg(0, 9)",
        "import os, signal\nsignal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9)",
        "import fcntl, os\nfcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, os.getppid())",
        "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_CPU, (0, 0))",
        "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (99, 99))",
        "import os\nos.setsid()",
        "import os\nos.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
        "import os\nos.sched_setaffinity(os.getppid(), {0})",
        "open(f'/proc/{__import__(\"os\").getppid()}/environ').read()",
        "open('/proc/self/mem', 'r+b')",
        "import os\nos.memfd_create('x')",
        "import os\nos.mkdir('folder')",
        "import os\nos.mkfifo('pipe')",
        "import os\nos.chmod('program.py', 0o4777)",
        "import os\nos.setxattr('program.py', 'user.x', b'x')",
        "import ctypes\nassert not ctypes.CDLL(None).unshare(0x10000000)",
        "import ctypes\nassert not ctypes.CDLL(None).prctl(1, 0)  # die with the parent no more",
        "import sys\nopen(sys.base_prefix + '/lib/harm', 'w')",
        "import os\nos.truncate(os.__file__, 0)",
        "import os\nos.open(os.__file__, os.O_RDONLY | os.O_TRUNC)",
        "bytearray(10 * 2**30)",
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return f()\nf()",
        "import ctypes\nctypes.string_at(0)",
    ],
)  # fmt: skip
def test_what_harms_is_denied(program: str) -> None:
    def state() -> object:
        ours = os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)
        return ours, os.path.getsize(os.__file__), resource.getrlimit(resource.RLIMIT_CPU)

    before = state()
    denied(program)
    assert state() == before


CALLS = ["ptrace", "process_vm_readv", "kill", "clone", "io_uring_setup", "mount", "bpf"]


@pytest.mark.parametrize("call", CALLS)
def test_calls_that_python_has_no_name_for(call: str) -> None:
    if platform.machine() == "x86_64":
        numbers = {"ptrace": 101, "process_vm_readv": 310, "kill": 62, "clone": 56, "mount": 165, "bpf": 321}
    else:
        numbers = {"ptrace": 117, "process_vm_readv": 270, "kill": 129, "clone": 220, "mount": 40, "bpf": 280}
    number = (numbers | {"io_uring_setup": 425})[call]
    program = (
        f"import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"print(libc.syscall({number}, 16, os.getppid(), 0, 0), ctypes.get_errno())"
    )
    assert run_boxed(program).output == "-1 1\n"  # EPERM


def test_32_bit_calls_are_no_way_around() -> None:
    """x32's numbers (bit 30 set) are other numbers to the filter."""
    program = "import ctypes\nprint(ctypes.CDLL(None).syscall(0x40000000 + 41, 1, 1, 0))"
    assert run_boxed(program).output == "-1\n"


def test_files_outside_are_neither_read_nor_written(secrets: list[Path]) -> None:
    for place in secrets:
        for program in (
            f"print(open({str(place)!r}).read())",
            f"open({str(place)!r}, 'w').write('x')",
            f"import os; os.unlink({str(place)!r})",
            f"import os; os.truncate({str(place)!r}, 0)",
            f"import os; os.rename({str(place)!r}, 'mine')",
            f"import os; os.symlink({str(place)!r}, 'link'); print(open('link').read())",
            f"import os; os.link({str(place)!r}, 'link'); print(open('link').read())",
            f"open({str(place) + '-new'!r}, 'w')",
            f"import os; os.chdir({str(place.parent)!r}); print(open({place.name!r}).read())",
            f"import os; print(os.listdir({str(place.parent)!r}))",
            f"import os; os.utime({str(place)!r}, (0, 0))",
        ):
            assert "treasure" not in denied(program).output
        assert not Path(f"{place}-new").exists() and place.stat().st_mtime > 0


def test_the_host_and_its_processes_stay() -> None:
    """One beside us, of our own user, outlives what is meant for everybody."""
    with subprocess.Popen(["sleep", "60"]) as beside:
        run_boxed(
            "import os\nfor victim in (-1, 0, os.getppid(), *range(2, 2000)):\n"
            "    try: os.kill(victim, 9)\n    except OSError: pass"
        )
        assert beside.poll() is None
        beside.kill()


def test_limits_of_time_output_and_files() -> None:
    found = run_boxed("while True: pass", SOON)
    assert found.status == -signal.SIGKILL and not found.stopped
    began = time.monotonic()
    found = run_boxed("import time\nprint('up', flush=True)\ntime.sleep(60)", Limits(wall=2.0))
    assert found.stopped == "time" and found.output in ("up\n", "") and time.monotonic() - began < 15
    found = run_boxed("while True: print('x' * 1000)", SOON)
    assert found.status and len(found.output) == SOON.file
    endless = "while True:\n    try: print('x' * 1000, flush=True)\n    except OSError: pass"
    assert len(run_boxed(endless, SOON).output) == SOON.file
    many = "import time\nfor n in range(9999): open(f'{n}', 'w').close()\ntime.sleep(60)"
    assert run_boxed(many, Limits(cpu=9)).stopped == "files"
    assert run_boxed("open('x', 'wb').write(bytes(2**21))").status == 1
    assert run_boxed("f = [open('program.py') for _ in range(100)]").output.endswith("'program.py'\n")


def test_nothing_of_a_program_stays(tmp_path: Path) -> None:
    found = run_boxed("import os\nopen('left', 'w').close()\nprint(os.getpid(), os.getcwd())")
    pid, folder = found.output.split()
    assert not psutil.pid_exists(int(pid)) and not Path(folder).exists()


def test_a_box_dies_with_its_parent(tmp_path: Path) -> None:
    code = "from tuti.run.sandbox import *; run_boxed('import time; time.sleep(100)', Limits(wall=100.0))"
    own = os.environ | {"TMPDIR": str(tmp_path)}  # its folder stays behind
    with subprocess.Popen([sys.executable, "-c", code], env=own) as parent:
        mine = psutil.Process(parent.pid)

        until = time.monotonic() + 60
        box: list[psutil.Process] = []
        while not box and time.monotonic() < until:  # the first box is the trial, and soon gone
            time.sleep(0.2)
            box = [child for child in mine.children() if time.time() - child.create_time() > 2]
        parent.kill()
        parent.wait()
        assert box and not psutil.wait_procs(box, timeout=20)[1]


def test_two_boxes_speak_with_each_other() -> None:
    first = "import sys\nprint('6 7', flush=True)\nprint(input(), file=sys.stderr)"
    second = "a, b = input().split()\nprint(int(a) * int(b), flush=True)\nwhile True: pass"
    assert run_boxed(first, SOON, second) == sandbox.Outcome(0, "42\n")


def test_a_kernel_without_landlock_is_refused_in_words() -> None:
    code = """
import ctypes, struct
from tuti.run import boxed, sandbox
step = lambda code, value, yes=0, no=0: struct.pack("HBBI", code, yes, no, value)
rules = step(0x20, 0) + step(0x15, 444, 0, 1) + step(6, 0x00050000 + 38) + step(6, 0x7FFF0000)  # ENOSYS
kept = ctypes.create_string_buffer(rules, len(rules))
libc = ctypes.CDLL(None, use_errno=True)
boxed._prctl(libc, 38, 1)
boxed._prctl(libc, 22, 2, ctypes.create_string_buffer(struct.pack("HP", 4, ctypes.addressof(kept))))
print(sandbox.run_boxed("print('ran')"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "UserError: programs that a model wrote run in a sandbox only" in done.stderr
    assert "Landlock: Function not implemented" in done.stderr
    assert "hint: Linux 6.2" in done.stderr and not done.stdout


def test_another_system_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.check_kernel.cache_clear()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(UserError, match="darwin on .* has none") as caught:
        run_boxed("print('ran')")
    assert "virtual machine" in caught.value.hint
