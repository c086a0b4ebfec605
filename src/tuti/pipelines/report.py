"""One self-contained page about a run, from what lies on disk: a pipeline's run or a single stage's."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from tuti import ui
from tuti.pipelines.stages import Json, Stage, as_list, as_object, read_json, read_stages
from tuti.run import Run, atomic_write

SHORT = 12
"""Characters of a hash that are shown where the whole is a click away in lineage.json."""


def write_report(run: Run) -> Path:
    """Writes RUN/report.html whole or not at all, and returns its path; absent parts are left out."""
    path = run.path("report.html")
    atomic_write(path, report_page(run.folder))
    return path


def report_page(folder: Path) -> str:
    """The page of the run in this folder."""
    whole, stages = read_stages(folder)
    everything = [whole, *stages]
    about = whole.about
    title = f"{about['room']} {about['stage']}: {folder.resolve().name}"
    if about["room"] == about["stage"]:
        title = f"{about['room']}: {folder.resolve().name}"
    trained = {stage.name: stage.events for stage in everything}
    sections = [
        ui.section("plan", "Plan", *plan_part(everything)),
        ui.section("curves", "Curves", ui.charts(trained)),
        ui.section("samples", "Samples", *samples_part(everything)),
        ui.section("evaluation", "Evaluation", *evaluation_part(everything)),
        ui.section("data", "Data card", *data_part(everything)),
        ui.section("tokenizer", "Tokenizer", *fertility_part(everything)),
        ui.section("cost", "Cost", *cost_part(stages or [whole])),
        ui.section("lineage", "Lineage", *lineage_part(everything)),
        ui.section("config", "Configuration", *config_part(everything)),
    ]
    return ui.page(title, "\n".join(lead_part(everything)), sections)


def abilities(parameters: int) -> tuple[str, str]:
    """What a model of this size can do, and what it cannot."""
    if parameters < 60_000_000:
        return (
            "It writes in the manner of its texts: their words, their rhythm and their layout, a few "
            "lines at a time.",
            "It knows no facts, cannot follow an argument or reckon, and does not answer questions "
            "reliably. What it says is imitation, not information.",
        )
    return (
        "It answers simple questions in a few sentences, rewrites short texts, and has taken on the "
        "manner of the texts it was taught.",
        "It states falsehoods as fluently as facts, reckons badly, and loses the thread of long "
        "texts. Check whatever matters.",
    )


def lead_part(stages: Sequence[Stage]) -> list[str]:
    """The outcome in a few lines: what came out, what went wrong."""
    parts: list[str] = []
    final = [(s, s.of("held_out")[-1]) for s in stages if s.of("held_out")]
    for stage, event in final:
        values = {k: v for k, v in event.items() if k not in ("event", "time", "step", "last", "documents")}
        told = "; ".join(f"{_words(name)} {ui.figure(value)}" for name, value in values.items())
        parts.append(ui.paragraph(f"{stage.name}, held-out text, step {event.get('step')}: {told}"))
    for stage in stages:
        for event in stage.of("warning"):
            parts.append(ui.paragraph(f"{stage.name}: {event.get('text') or _told(event)}", "bad"))
        if stage.events and stage.events[-1]["event"] == "stopped":
            message = stage.events[-1].get("message", "")
            parts.append(ui.paragraph(f"{stage.name} stopped: {message}", "bad"))
    unfinished = [s.name for s in stages[1:] if not s.lineage]
    if unfinished:
        parts.append(ui.paragraph(f"Not finished: {', '.join(unfinished)}.", "bad"))
    return parts


def plan_part(stages: Sequence[Stage]) -> list[str]:
    """The plan, the loss it promised, and what such a model is good for."""
    plans = [event for stage in stages for event in stage.of("plan")]
    planned = _without_names(plans[-1]) if plans else {}
    if not planned:
        planned = as_object(as_object(stages[0].about["config"]).get("plan"))
    parts: list[str] = []
    if planned:
        rows = {_words(k): v for k, v in planned.items() if k not in ("type", "bits_per_byte", "seconds")}
        parts.append(ui.facts("What was planned", rows))
    seconds = as_object(planned.get("seconds"))
    if seconds:
        parts.append(ui.facts("Seconds planned for each stage", seconds))
    if isinstance(expected := planned.get("bits_per_byte"), (int, float)):
        parts.append(ui.paragraph(f"Expected on held-out text: {ui.figure(expected)} bits per byte."))
    if isinstance(parameters := planned.get("parameters"), int):
        can, cannot = abilities(parameters)
        parts += [ui.paragraph(can), ui.paragraph(cannot)]
    return parts


def samples_part(stages: Sequence[Stage]) -> list[str]:
    """The last sample of each stage, the earlier ones folded away."""
    parts: list[str] = []
    for stage in stages:
        samples = [e for e in stage.of("sample") if isinstance(e.get("text"), str)]
        if not samples:
            continue
        *earlier, last = samples
        parts.append(f"<h3>{ui.escape(stage.name)}, step {ui.escape(last.get('step', ''))}</h3>")
        parts.append(ui.block(last["text"]))
        blocks = "".join(
            f"<h3>step {ui.escape(e.get('step', ''))}</h3>{ui.block(e['text'])}"
            for e in earlier[-30:]
        )
        if blocks:
            parts.append(ui.folded("Earlier samples", blocks))
    return parts


def _sample(event: Mapping[str, Any]) -> str:
    """What was written, below what was asked."""
    asked = ui.block(event["prompt"], "asked") if event.get("prompt") else ""
    return asked + ui.block(event.get("text", ""))


def evaluation_part(stages: Sequence[Stage]) -> list[str]:
    """Whatever tables an evaluation left: sections of a title and rows."""
    parts: list[str] = []
    for stage in stages:
        path = stage.folder / "artifacts" / "evaluation" / "evaluation.json"
        found = read_json(path)
        if found is None and path.exists():
            parts.append(ui.paragraph(f"{path} is damaged.", "bad"))
        if found is None and (events := stage.of("evaluate")):
            found = _without_names(events[-1])
        parts += _verdicts(as_object(as_object(found).get("verdicts")))
        for number, part in enumerate(_sections(found)):
            title = str(part.get("title") or f"Table {number + 1}")
            parts += _texts(title, part.get("rows")) or _rows_table(title, part.get("rows"))
            for row in map(as_object, as_list(part.get("rows"))):
                if row.get("model is better") is False:
                    worse = f"{row.get('script', '')}: the model is worse than the byte n-gram."
                    parts.append(ui.paragraph(worse, "bad"))
            if isinstance(note := part.get("note"), str):
                parts.append(ui.paragraph(note, "quiet"))
    return parts


def _verdicts(verdicts: Json) -> list[str]:
    """What each step did to its own measure; in red where it made it worse and was not promoted."""
    rows = [{"step": name} | as_object(verdict) for name, verdict in verdicts.items()]
    worse = [
        ui.paragraph(f"{row['step']} made its own measure worse and was not promoted.", "bad")
        for row in rows
        if row.get("promoted") is False
    ]
    return worse + _rows_table("Verdicts", rows)


def _texts(title: str, rows: Any) -> list[str]:
    """Rows that are a prompt and a text, as samples; nothing for any other rows."""
    listed = [as_object(row) for row in as_list(rows)]
    if not listed or any(row.keys() != {"prompt", "text"} for row in listed):
        return []
    return [f"<h3>{ui.escape(title)}</h3>", *map(_sample, listed)]


def _sections(found: Any) -> list[Json]:
    if isinstance(found, dict):
        fields = cast(Json, found)
        inner = fields.get("sections")
        return _sections(inner) if inner is not None else [fields] if "rows" in fields else []
    return [cast(Json, part) for part in as_list(found) if isinstance(part, dict)]


def _rows_table(title: str, rows: Any) -> list[str]:
    """Rows as objects (their keys are the headers), as lists, or as one object of names and values."""
    if isinstance(rows, dict):
        return [ui.facts(title, {_words(str(k)): v for k, v in cast(Json, rows).items()})]
    listed = as_list(rows)
    objects = [cast(Json, row) for row in listed if isinstance(row, dict)]
    if objects:
        keys = list(dict.fromkeys(key for row in objects for key in row))
        cells = [[row.get(key) for key in keys] for row in objects]
        return [ui.table(title, [_words(key) for key in keys], cells)]
    lists = [cast(list[Any], row) for row in listed if isinstance(row, list)]
    if not lists:
        return []
    width = max(map(len, lists))
    padded = [row + [None] * (width - len(row)) for row in lists]
    return [ui.table(title, [""] * width, padded)]


def data_part(stages: Sequence[Stage]) -> list[str]:
    """How many documents were kept, dropped by which rule, with examples; which files were not read."""
    parts: list[str] = []
    for folder in _artifacts(stages, "drops.json"):
        stats, drops = (as_object(read_json(folder / name)) for name in ("stats.json", "drops.json"))
        parts += _kept(stats)
        rules = {k: as_object(v) for k, v in as_object(drops.get("rules")).items()}
        if rules:
            rows = [[name, rule.get("count"), rule.get("bytes")] for name, rule in rules.items()]
            parts.append(ui.table("Dropped, by rule", ["rule", "passages", "bytes"], rows))
            parts += [_examples(name, rule) for name, rule in rules.items() if rule.get("examples")]
        else:
            parts.append(ui.paragraph("No passage was dropped."))
        parts += _skipped(as_object(drops.get("skipped")))
    return parts


def _kept(stats: Json) -> list[str]:
    splits = {name: as_object(part) for name, part in as_object(stats.get("splits")).items()}
    scripts = sorted({s for part in splits.values() for s in as_object(part.get("characters"))})
    rows = [
        [name, part.get("documents"), part.get("bytes")]
        + [as_object(part.get("characters")).get(script, 0) for script in scripts]
        for name, part in splits.items()
        if part.get("documents")
    ]
    if not rows:
        return []
    headers = ["split", "documents", "bytes", *(f"{script} characters" for script in scripts)]
    read = as_object(stats.get("sources"))
    kinds = {_words(k): v for k, v in read.items()}
    return [ui.table("Kept", headers, rows), *([ui.facts("Files read", kinds)] if kinds else [])]


def _examples(name: str, rule: Json) -> str:
    rows = [
        [as_object(example).get("source"), as_object(example).get("text")]
        for example in as_list(rule["examples"])
    ]
    return ui.folded(f"Examples: {name}", ui.table(f"Dropped by “{name}”", ["where", "how it begins"], rows))


def _skipped(skipped: Json) -> list[str]:
    if not skipped.get("count"):
        return [ui.paragraph("Every file was read.")]
    reasons = [[reason, count] for reason, count in as_object(skipped.get("reasons")).items()]
    listed = [
        [as_object(skip).get("source"), as_object(skip).get("reason")]
        for skip in as_list(skipped.get("listed"))
    ]
    parts = [ui.table("Not read, by reason", ["reason", "files or rows"], reasons)]
    if listed:
        inside = ui.table("Files and rows not read", ["where", "reason"], listed)
        parts.append(ui.folded(f"The first {len(listed)} of them", inside))
    return parts


def fertility_part(stages: Sequence[Stage]) -> list[str]:
    """What the vocabulary costs each script."""
    parts: list[str] = []
    for stage in stages:
        for event in stage.of("tokenizer")[-1:]:
            title = f"Fertility by script, vocabulary {ui.figure(event.get('vocab'))}"
            parts += _rows_table(title, event.get("fertility"))
    return parts


def cost_part(stages: Sequence[Stage]) -> list[str]:
    """Seconds, arithmetic, memory and money of each finished stage, and of all."""
    costs = [(stage.name, as_object(stage.lineage.get("cost"))) for stage in stages if stage.lineage]
    if not costs:
        return []
    priced = any("money" in cost for _, cost in costs)
    headers = ["stage", "seconds", "FLOPs", "peak memory, MB", *(["money"] if priced else [])]

    def row(name: str, values: Sequence[float]) -> list[object]:
        seconds, flops, peak, money = values
        return [name, seconds, flops, peak / 1e6, *([money] if priced else [])]

    names = ("seconds", "flops", "peak_memory_bytes", "money")
    values = [[float(cost.get(key) or 0) for key in names] for _, cost in costs]
    rows = [row(name, each) for (name, _), each in zip(costs, values, strict=True)]
    if len(rows) > 1:
        seconds, flops, peaks, money = zip(*values, strict=True)
        rows.append(row("all", [sum(seconds), sum(flops), max(peaks), sum(money)]))
    return [ui.table("What it cost", headers, rows)]


def lineage_part(stages: Sequence[Stage]) -> list[str]:
    """Which bytes, code, versions and machine it came from."""
    done = [stage for stage in stages if stage.lineage]
    if not done:
        return []
    names = ("key", "config_sha256", "code_commit", "seed")
    rows = [[s.name, *(_short(s.lineage.get(name)) for name in names)] for s in done]
    parts = [ui.table("Stages", ["stage", "key", "config", "code commit", "seed"], rows)]
    inputs = [(s, item) for s in done for item in as_object(s.lineage.get("inputs")).items()]
    hashes = [[s.name, "read", name, _short(digest)] for s, (name, digest) in inputs]
    hashes += [
        [s.name, "wrote", e.get("name"), _short(e.get("sha256"))]
        for s in done
        for e in s.of("artifact")
    ]
    if hashes:
        parts.append(ui.table("Bytes read and written", ["stage", "", "what", "sha256"], hashes))
    last = done[-1].lineage
    parts.append(ui.facts("Versions", as_object(last.get("versions"))))
    parts.append(ui.facts("Machine", {_words(k): v for k, v in as_object(last.get("machine")).items()}))
    return parts


def config_part(stages: Sequence[Stage]) -> list[str]:
    """The configs from which everything can be made again."""
    return [
        ui.folded(s.name, ui.block(json.dumps(s.about, indent=1, ensure_ascii=False), "code"))
        for s in stages
    ]


def _artifacts(stages: Sequence[Stage], holding: str) -> list[Path]:
    """The artifact folders of all stages with a file of this name; a promoted one counts once."""
    found = [path.parent for s in stages for path in sorted(s.folder.glob(f"artifacts/*/{holding}"))]
    return list({path.resolve(): path for path in found}.values())


def _without_names(event: Mapping[str, Any]) -> Json:
    return {key: value for key, value in event.items() if key not in ("event", "time")}


def _told(event: Mapping[str, Any]) -> str:
    return "; ".join(ui.figure(value) for value in _without_names(event).values())


def _words(name: str) -> str:
    return name.replace("_", " ")


def _short(value: Any) -> Any:
    return value[:SHORT] if isinstance(value, str) else value
