"""The main job: a folder of text becomes a model that answers."""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from annotated_types import Gt

from tuti.pipelines.chain import Chain
from tuti.pipelines.plan import CONTEXT, Forecast, Plan, make_plan, shape
from tuti.run import Run, RunOptions, UserError, execute
from tuti.run.machine import choose_device
from tuti.systems.spark.pack import Pack, pack
from tuti.systems.spark.prepare import Prepare, prepare
from tuti.systems.spark.walk import walk
from tuti.systems.transformer.pretrain import Pretrain, Scratch, pretrain
from tuti.systems.transformer.tokenizer import TokenizerConfig, tokenizer


@dataclass(frozen=True)
class Teach:
    """Teaches a model from a folder of text, within the minutes given."""

    source: tyro.conf.Positional[tuple[Path, ...]]
    """Folders or files: .txt .md .html .jsonl(.gz|.zst) .parquet, program code; any mix, any script"""
    minutes: Annotated[float, Gt(0)] = 10.0
    """Wall-clock minutes for the whole job on this machine; they become steps in the plan"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of weights and activations; auto: bf16 where this processor gains by it"""
    plan: tyro.conf.Suppress[Plan | None] = None
    """Made by timing this machine, unless given"""


def teach(config: Teach, run: Run) -> None:
    """Plans, then prepares, tokenises, pretrains, and reports; the finished model is promoted."""
    if config.plan is None:
        config, forecast = planned(config, run)
        run.write_config("teach", "teach", config)
        run.log("plan", **dataclasses.asdict(config.plan or forecast), **dataclasses.asdict(forecast))
        tell_plan(run, config, forecast)
    assert config.plan is not None
    plan, chain = config.plan, Chain(run)
    clean = chain.step("prepare", "spark", prepare, Prepare(source=config.source))
    words = chain.step(
        "tokenizer", "transformer", tokenizer, TokenizerConfig(words=clean.folder, vocab=plan.vocab)
    )
    packed = chain.step("pack", "spark", pack, Pack(documents=clean.folder, tokenizer=words.folder))
    model = chain.step("pretrain", "transformer", pretrain, pretrain_config(config, plan, packed.folder))
    chain.promote("model", model.folder / "artifacts" / "model")
    run.show(f"model: {run.folder}   tuti chat {run.folder}")


def pretrain_config(config: Teach, plan: Plan, tokens: Path) -> Pretrain:
    """The pretraining that a plan stands for."""
    sizes = shape(plan.width, plan.layers, plan.vocab)
    assert config.precision != "auto"
    return Pretrain(
        tokens=tokens,
        start=Scratch(plan.width, plan.layers, sizes.heads, sizes.kv_heads),
        context=CONTEXT,
        rows=plan.rows,
        steps=plan.steps,
        precision=config.precision,
        every=max(10, plan.steps // 12),
    )


def planned(config: Teach, run: Run) -> tuple[Teach, Forecast]:
    """The config with its plan, after timing this machine."""
    sources, _ = walk(list(config.source), exclude=run.folder)
    size = sum(source.size for source in sources)
    if not sources:
        raise UserError(
            f"nothing to read in {', '.join(map(str, config.source))}",
            hint="give a folder with .txt, .md, .html, .jsonl or .parquet files",
        )
    began = time.monotonic()
    run.show("measuring this machine for a few seconds …")
    plan, forecast = make_plan(size, config.minutes, choose_device(run.options.device))
    run.log("measured", seconds=round(time.monotonic() - began, 2))
    precision = forecast.precision if config.precision == "auto" else config.precision
    return dataclasses.replace(config, plan=plan, precision=precision), forecast


def tell_plan(run: Run, config: Teach, forecast: Forecast) -> None:
    """The plan in a person's words, with what such a model can and cannot do."""
    plan = config.plan
    assert plan is not None
    run.show(
        f"plan for {config.minutes:g} minutes: {forecast.parameters / 1e6:.1f} M parameters "
        f"(width {plan.width}, {plan.layers} layers, vocabulary {plan.vocab:,}), {plan.steps:,} updates of "
        f"{plan.rows} × {CONTEXT} tokens at {forecast.tokens_per_second:,.0f} tokens/s, {config.precision}"
    )
    run.show(f"expect some {forecast.bits_per_byte:.2f} bits per byte on held-out text")
    run.show(
        "a model of this size writes in the manner of its texts: their words, rhythm and layout. "
        "It does not know facts, follow arguments or answer questions reliably."
    )


def from_python(source: str | Path, *, out: str | Path | None = None, seed: int = 0, **fields: Any) -> Run:
    """`tuti.teach("my-texts", minutes=10)`: the same job from Python; returns the finished run."""
    from tuti.run.lineage import check_config

    config = check_config(Teach, {"source": (Path(source).expanduser(),), **fields})
    options = RunOptions(out=Path(out) if out else None, seed=seed)
    run = Run.create("teach", "teach", config, options)
    execute(teach, config, run)
    return run
