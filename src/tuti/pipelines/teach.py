"""The main job: a folder of text becomes a model that answers."""

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from annotated_types import Ge, Gt, Len

from tuti.pipelines.base import base_folder
from tuti.pipelines.evaluate import Evaluate, evaluate, promoted
from tuti.pipelines.plan import CONTEXT, Forecast, Plan, make_base_plan, make_plan, shape
from tuti.pipelines.report import abilities, write_report
from tuti.run import Chain, Run, RunOptions, UserError, execute
from tuti.run.lineage import check_config
from tuti.run.machine import choose_device
from tuti.systems.finetune.sft import Adapt, Full, Lora, Sft, adapt, sft
from tuti.systems.mixtral.train import Experts, Train, train
from tuti.systems.spark.pack import Pack, pack
from tuti.systems.spark.prepare import Prepare, prepare
from tuti.systems.spark.walk import walk
from tuti.systems.transformer.pretrain import Pretrain, Scratch, pretrain
from tuti.systems.transformer.tokenizer import TokenizerConfig, tokenizer

GLANCE = 8
"""Held-out rows that a base model is measured on while it is trained"""


@dataclass(frozen=True)
class Teach:
    """Teaches a model from a folder of text, within the minutes given."""

    source: tyro.conf.Positional[Annotated[tuple[Path, ...], Len(1)]]
    """Folders or files: .txt .md .html .jsonl(.gz|.zst) .parquet, program code; any mix, any script"""
    minutes: Annotated[float, Gt(0)] = 10.0
    """Wall-clock minutes for the whole job on this machine; they become steps in the plan"""
    base: str = ""
    """Start from a pretrained model: smollm2, a folder, a run, or ORG/NAME on the model hub"""
    experts: Annotated[int, Ge(0)] = 0
    """Feed-forward layers of each block, of which a token takes two (0: one, which all tokens take)"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of weights and activations; auto: bf16 where this processor gains by it"""
    plan: tyro.conf.Suppress[Plan | None] = None
    """Made by timing this machine, unless given"""


def teach(config: Teach, run: Run) -> None:
    """Plans, prepares, trains, teaches to answer, measures, reports; promotes what got better."""
    chain, plan = Chain(run), config.plan
    if plan is None:
        config, plan, forecast = planned(config, run)
        run.log("plan", **(asdict(forecast) | asdict(plan)))
        run.write_config("teach", "teach", config)  # a kill before this only makes it plan anew
        tell_plan(run, config, plan, forecast)
    clean = chain.step("prepare", "spark", prepare, Prepare(source=config.source, genre="any"))
    chosen = from_base if config.base else from_scratch
    packed, taught = chosen(config, plan, chain, clean)
    if not config.base:
        chain.promote("model", taught / "artifacts" / "model")
    answers, measured = lessons(config, plan, clean, packed, taught)
    tuned = chain.step("sft", "finetune", sft, answers)
    measured = replace(measured, tuned=tuned)
    figures = chain.step("evaluate", "teach", evaluate, measured)
    if measured.base is not None and not promoted(figures, "pretrain"):
        chain.promote("model", measured.base)
    else:
        chain.promote("model", (tuned if promoted(figures, "sft") else taught) / "artifacts" / "model")
    report = write_report(run)
    run.show(f"\ntuti chat {run.folder}\ntuti serve {run.folder}\nreport: {report}")


def lessons(config: Teach, plan: Plan, clean: Path, packed: Path, taught: Path) -> tuple[Sft, Evaluate]:
    """How it is taught to answer, and how it is measured."""
    answers = Sft(
        model=taught, documents=clean, tokens=packed, method=Lora(lr=5e-4) if config.base else Full(),
        context=CONTEXT, rows=plan.rows, steps=plan.sft_steps, precision=_precision(config),
        every=max(5, plan.sft_steps // 3),
    )
    measured = Evaluate(documents=clean, tokens=packed, pretrained=taught)
    if not config.base:
        return answers, measured
    # A base model is some fifty times larger: it is measured on less (`plan.BASE_MEASURING`).
    answers = replace(answers, every=plan.sft_steps, held_out=GLANCE, exercises=500)
    tokens, base = 2 * GLANCE * CONTEXT, base_folder(config.base)
    measured = replace(measured, base=base, held_out_tokens=tokens, dialogues=12)
    return answers, replace(measured, samples=4, length=40)


def from_scratch(config: Teach, plan: Plan, chain: Chain, clean: Path) -> tuple[Path, Path]:
    """Tokenizer, tokens and a model of the corpus's own: the packed run and the pretrained run."""
    sizes = shape(plan.width, plan.layers, plan.vocab, config.experts)
    wanted = TokenizerConfig(words=clean, vocab=plan.vocab)
    words = chain.step("tokenizer", "transformer", tokenizer, wanted)
    packed = chain.step("pack", "spark", pack, Pack(documents=clean, tokenizer=words))
    training = Pretrain(
        tokens=packed, start=Scratch(plan.width, plan.layers, sizes.heads, sizes.kv_heads), context=CONTEXT,
        rows=plan.rows, steps=plan.steps, precision=_precision(config), every=max(10, plan.steps // 12),
    )
    if not config.experts:
        return packed, chain.step("pretrain", "transformer", pretrain, training)
    sparse = Train(
        tokens=packed, model=Experts(config.experts), width=plan.width, layers=plan.layers, heads=sizes.heads,
        hidden=sizes.hidden * sizes.active, context=CONTEXT, rows=plan.rows, steps=plan.steps,
        precision=training.precision, every=training.every,
    )
    return packed, chain.step("pretrain", "mixtral", train, sparse)


def from_base(config: Teach, plan: Plan, chain: Chain, clean: Path) -> tuple[Path, Path]:
    """The base model's own tokenizer, and low-rank adapters on its matrices."""
    base = base_folder(config.base)
    packed = chain.step("pack", "spark", pack, Pack(documents=clean, tokenizer=base))
    training = Adapt(
        model=base, tokens=packed, context=CONTEXT, rows=plan.rows, steps=plan.steps,
        precision=_precision(config), every=max(10, plan.steps // 2), held_out=GLANCE,
    )
    return packed, chain.step("adapt", "finetune", adapt, training)


def _precision(config: Teach) -> Literal["fp32", "bf16"]:
    assert config.precision != "auto"
    return config.precision


def planned(config: Teach, run: Run) -> tuple[Teach, Plan, Forecast]:
    """The config with its plan, after timing this machine; what it was made from."""
    sources, _ = walk(list(config.source), exclude=run.folder)
    size = sum(source.size for source in sources)
    if not sources:
        what = f"nothing to read in {', '.join(map(str, config.source))}"
        raise UserError(what, hint="give a folder with .txt, .md, .html, .jsonl or .parquet files")
    if config.experts == 1 or config.experts and config.base:
        hint = "--experts 8 without --base" if config.base else "--experts 8, or none"
        raise UserError(f"{config.experts} experts, of which a token takes two, from scratch", hint=hint)
    began, device = time.monotonic(), choose_device(run.options.device)
    run.show("measuring this machine for a few seconds …")
    if config.base:
        plan, forecast = make_base_plan(base_folder(config.base), size, config.minutes, device)
    else:
        plan, forecast = make_plan(size, config.minutes, device, config.experts)
    run.log("measured", seconds=round(time.monotonic() - began, 2))
    precision = forecast.precision if config.precision == "auto" else config.precision
    return replace(config, plan=plan, precision=precision), plan, forecast


def tell_plan(run: Run, config: Teach, plan: Plan, forecast: Forecast) -> None:
    """The plan in a person's words, with what such a model can and cannot do."""
    model = f"width {plan.width}, {plan.layers} layers, vocabulary {plan.vocab:,}"
    model += f", {config.experts} experts" if config.experts else ""
    if config.base:
        model = f"{config.base}, low-rank adapters"
    run.show(
        f"plan for {config.minutes:g} minutes: {forecast.parameters / 1e6:.1f} M parameters ({model}), "
        f"{plan.steps:,} updates of {plan.rows} × {CONTEXT} tokens at "
        f"{forecast.tokens_per_second:,.0f} tokens/s in {config.precision}, then {plan.sft_steps} of answers"
    )
    if forecast.bits_per_byte:
        run.show(f"expect some {forecast.bits_per_byte:.2f} bits per byte on held-out text")
    run.show(" ".join(abilities(forecast.parameters)))


def from_python(source: str | Path, *, out: str | Path | None = None, seed: int = 0, **fields: Any) -> Run:
    """`tuti.teach("my-texts", minutes=10)`: the same job from Python; returns the finished run."""
    config = check_config(Teach, {"source": (Path(source).expanduser(),), **fields})
    options = RunOptions(out=Path(out) if out else None, seed=seed)
    run = Run.create("teach", "teach", config, options)
    execute(teach, config, run)
    return run
