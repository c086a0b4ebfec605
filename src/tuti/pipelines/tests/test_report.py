import json
from pathlib import Path
from typing import Any

import pytest

from tuti.pipelines.report import abilities, write_report
from tuti.run import Run, RunOptions, UserError
from tuti.ui.tests.reading import Reader

SAMPLE = "الا یا ایها الساقی <script>alert('x')</script> \u202eevil"
COST = {"seconds": 2.5, "flops": 3e12, "peak_memory_bytes": 5e8, "money": 0.25}
LINEAGE: dict[str, Any] = {
    "key": "k" * 64,
    "inputs": {"source": "5" * 64},
    "config_sha256": "c" * 64,
    "code_commit": "abc123",
    "seed": 7,
    "versions": {"python": "3.11.7", "torch": "2.13.0"},
    "machine": {"system": "Linux", "cores": 2},
    "cost": COST,
}


def stage_run(folder: Path, room: str, stage: str, lineage: dict[str, Any] | None = LINEAGE) -> Run:
    run = Run(folder, RunOptions(out=folder))
    folder.mkdir(parents=True)
    run.write_config(room, stage, None)
    run.log("start", stage=stage)
    if lineage:
        (folder / "lineage.json").write_text(json.dumps(lineage))
    return run


def documents(run: Run) -> None:
    example = {"source": "a/<b>.txt#3", "text": SAMPLE}
    drops = {
        "rules": {"not text <i>": {"count": 12, "bytes": 345, "examples": [example]}},
        "skipped": {
            "count": 3,
            "reasons": {"0 bytes": 3},
            "listed": [{"source": "void.txt", "reason": "0 bytes"}],
        },
    }
    characters = {"Arabic": 900, "Latin": 80}
    splits = {"train": {"documents": 41, "bytes": 1999, "characters": characters}}
    stats = {"splits": splits, "sources": {"files": 5, "bytes": 4242}, "passage": 4000}
    with run.save("documents", "Documents") as folder:
        (folder / "drops.json").write_text(json.dumps(drops))
        (folder / "stats.json").write_text(json.dumps(stats))


def trained(run: Run) -> None:
    for step in range(1, 21):
        run.log("step", step=step, steps=20, loss=7.0 - step / 5)
    run.log("sample", step=10, text="an earlier one")
    run.log("held_out", step=20, bits_per_byte={"all": 2.125, "Arabic": 2.5}, last=True)
    run.log("sample", step=20, text=SAMPLE)
    run.log("warning", text="text got worse by 0.07 bits per byte")


@pytest.fixture
def job(tmp_path: Path) -> Run:
    run = stage_run(tmp_path / "job", "teach", "teach", None)
    seconds = {"prepare": 3.0, "pretrain": 60.0}
    run.log("plan", vocab=512, steps=20, parameters=2_600_000, bits_per_byte=1.75, seconds=seconds)
    documents(stage_run(run.folder / "stages" / "prepare", "spark", "prepare"))
    words = stage_run(run.folder / "stages" / "tokenizer", "transformer", "tokenizer")
    row = {"script": "Arabic", "words": 61359, "tokens_per_word": 1.9, "bytes_per_token": 3.86}
    words.log("tokenizer", vocab=512, fertility=[row])
    trained(stage_run(run.folder / "stages" / "pretrain", "transformer", "pretrain", None))
    return run


def evaluation(run: Run) -> None:
    share = {"value": 0.41, "low": 0.38, "high": 0.44, "n": 200}
    sections = [
        {"title": "Cloze", "rows": [{"measure": "accuracy", "found": share, "chance": 0.25}]},
        {"title": "Parrot", "rows": [{"longest run": 31}]},
        {"title": "Written", "rows": [{"prompt": "To be", "text": "or <not>"}]},
    ]
    verdicts = {
        "pretrain": {"measure": "bits per byte", "before": 3.5, "after": 2.125, "promoted": True},
        "sft": {"measure": "dialogue loss", "before": 2.0, "after": 2.5, "promoted": False},
    }
    with run.save("evaluation", "Evaluation") as folder:
        (folder / "evaluation.json").write_text(
            json.dumps({"sections": sections, "verdicts": verdicts})
        )


def read(run: Run) -> tuple[Reader, str, str]:
    path = write_report(run)
    assert path == run.folder / "report.html"
    markup = path.read_text("utf-8")
    reader = Reader(markup)
    reader.check_alone()
    return reader, markup, "".join(reader.text)


def test_the_page_tells_what_the_run_holds(job: Run) -> None:
    evaluation(job)
    reader, markup, text = read(job)
    for expected in (
        "2,600,000",
        "Expected on held-out text: 1.75 bits per byte.",
        abilities(2_600_000)[1],
        "all 2.125, Arabic 2.5",
        "text got worse by 0.07",
        "0.41 [0.38, 0.44]",
        "longest run",
        "or <not>",
        "sft made its own measure worse and was not promoted.",
        "Not finished: pretrain.",
        "not text <i>**: 12 (345 bytes)",
        "| train | 41 | 0.00 |  | Arabic 900, Latin 80 |",
        "Licences: none is recorded",
        "void.txt: 0 bytes",
        "61,359",
        "an earlier one",
        "abc123",
        LINEAGE["key"],
        LINEAGE["inputs"]["source"],
    ):
        assert expected in text, expected
    assert "pretrain made its own measure worse" not in text
    headings = [s["id"] for s in reader.named("section")]
    assert headings == "plan curves samples evaluation data tokenizer cost lineage config".split()
    assert len([s for s in reader.named("svg") if s.get("role") == "img"]) == 2
    assert "http://" not in markup and "https://" not in markup


def test_costs_add_up(job: Run) -> None:
    _, _, text = read(job)
    total = text[text.index("What it cost") :]
    assert "all" in total and "6e+12" in total and "0.5" in total


def test_text_of_the_corpus_is_only_ever_text(job: Run) -> None:
    reader, markup, text = read(job)
    assert "<script" not in markup and "\u202e" not in markup
    assert "<script>alert('x')</script> \\u202eevil" in text
    samples = [attrs for attrs in reader.named("pre") if attrs.get("class") == "sample"]
    assert samples and all(attrs["dir"] == "auto" for attrs in samples)


def test_a_single_stage_has_a_page_too(tmp_path: Path) -> None:
    run = stage_run(tmp_path / "one", "spark", "prepare")
    documents(run)
    reader, _, text = read(run)
    assert "spark prepare: one" in text
    assert [s["id"] for s in reader.named("section")] == ["data", "cost", "lineage", "config"]


def test_a_promoted_artifact_is_told_once(job: Run) -> None:
    (job.folder / "artifacts").mkdir(exist_ok=True)
    target = job.folder / "stages" / "prepare" / "artifacts" / "documents"
    (job.folder / "artifacts" / "documents").symlink_to(target)
    _, _, text = read(job)
    assert text.count("# Data card") == 1


DAMAGES = [
    b"", b"{", b"[1]", b"\xff\xfe\x00", b'{"rules": 3}', b"[" * 100_000,
    b'{"rules": {"r": {"count": "many", "bytes": 1, "examples": []}}}',
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "name",
    [
        "artifacts/evaluation/evaluation.json",
        "stages/prepare/artifacts/documents/drops.json",
        "stages/prepare/artifacts/documents/stats.json",
        "stages/prepare/lineage.json",
        "stages/prepare/config.json",
    ],
)
def test_a_damaged_file_is_refused_by_its_name(job: Run, name: str, damage: bytes) -> None:
    evaluation(job)
    (job.folder / name).write_bytes(damage)
    with pytest.raises(UserError, match=Path(name).name) as caught:
        write_report(job)
    assert "make it again" in caught.value.hint
    assert not (job.folder / "report.html").exists()


def test_an_event_of_the_wrong_kind_is_refused_and_a_torn_one_is_not(job: Run) -> None:
    with open(job.folder / "stages/pretrain/events.jsonl", "ab") as stream:
        stream.write(
            b'\n{"event": "step", "time": 1, "loss": "x"}\n{"event": "held_out", "time": 2}\n{"ev'
        )
    assert "pretrain" in read(job)[2]
    job.log("tokenizer", vocab=512, fertility=3)
    with pytest.raises(UserError, match=r"events\.jsonl"):
        write_report(job)


def test_absent_fields_and_figures_do_not_stop_the_report(job: Run) -> None:
    evaluation(job)
    path = job.folder / "artifacts/evaluation/evaluation.json"
    path.write_text(json.dumps({"sections": [{"title": "no fields", "rows": [{}]}], "verdicts": {}}))
    lineage = job.folder / "stages/prepare/lineage.json"
    about = json.loads(lineage.read_text())
    lineage.write_text(json.dumps(about | {"cost": {"seconds": "x", "flops": [1]}}))
    assert "What it cost" in read(job)[2]


def test_a_failed_stage_says_why(tmp_path: Path) -> None:
    run = stage_run(tmp_path / "one", "spark", "prepare", None)
    run.log("stopped", error="UserError", message="nothing to read\nhint: add texts")
    assert "one stopped: nothing to read" in read(run)[2]


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run"):
        write_report(Run(tmp_path, RunOptions()))
