"""HumanEval (Chen et al. 2021): a model writes programs, and tests run in a sandbox say which are right.

Every model goes on from the raw prompt, without a chat template. A program and the test that judges it run
in two boxes: the test calls the function through pipes and gets plain values back, so no program can see or
alter its judge. What passes has given the right answers to all calls.
"""

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tuti import measure
from tuti.infer import Engine, Finish, Request, Sampling
from tuti.pipelines.evaluate import EvaluateRun
from tuti.pipelines.scores import Row, figure, section
from tuti.run import Run, UserError, printable
from tuti.run.assets import fetch
from tuti.run.sandbox import Limits, run_boxed

STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")  # Chen et al. 2021, section 2.1
BLOCK = 64  # completions between two lines of progress; an engine lets as many wait
SPELL = r"""
import ast, os, random, sys
def spell(v):
    # A literal of a value's own content: of subclasses (Counter, namedtuple) what they are equal to.
    if isinstance(v, dict):
        return "{" + "".join(spell(k) + ":" + spell(x) + "," for k, x in dict.items(v)) + "}"
    if isinstance(v, (set, frozenset)):
        return "{" + "".join(spell(x) + "," for x in v) + "}" if v else "set()"
    if isinstance(v, (list, tuple)):
        return ("[%s]" if isinstance(v, list) else "(%s)") % "".join(spell(x) + "," for x in v)
    if isinstance(v, float):
        return float.__repr__(v).replace("inf", "1e999")
    for kind in (bool, int, str, bytes, complex, type(None)):
        if isinstance(v, kind):
            return kind.__repr__(v)
    raise TypeError("a " + type(v).__name__ + " is no plain value")
"""
PROGRAM = r"""
calls, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
null = os.open(os.devnull, os.O_RDWR)
os.dup2(null, 0), os.dup2(null, 1)  # what the program prints and reads
names, broken = {}, ""
try:
    exec(compile(TEXT, "completion", "exec"), names)
except BaseException as error:
    broken = type(error).__name__ + ": " + str(error)
for line in calls:
    try:
        values, named = ast.literal_eval(line)
        said = "True," + repr(broken) if broken else "False," + spell(names[ENTRY](*values, **named))
    except BaseException as error:
        said = "True," + repr(type(error).__name__ + ": " + str(error))
    print(said, file=answers, flush=True)
"""
JUDGE = r"""
random.seed(0)
def candidate(*values, **named):
    try:
        print(spell((values, named)), flush=True)
        line = sys.stdin.readline(1 << 24)
    except BrokenPipeError:
        line = ""
    if not line.endswith("\n"):
        raise EOFError("no answer: the program ended, or met a limit")
    failed, value = ast.literal_eval(line)
    if failed:
        raise RuntimeError(str(value))
    return value
names = {}
exec(TEXT, names)
names[ENTRY] = candidate
names["check"](candidate)
"""


def problems() -> list[dict[str, str]]:
    """The 164: task_id, prompt, entry_point, canonical_solution, test."""
    text = gzip.decompress((fetch("humaneval") / "HumanEval.jsonl.gz").read_bytes())
    return [json.loads(line) for line in text.splitlines()]


def judge(problem: dict[str, str], completion: str, limits: Limits | None = None) -> str:
    """"passed", or why not, of one completion of a problem's prompt."""
    entry, prompt = problem["entry_point"], problem["prompt"]
    # A prompt ends with a docstring: alone it is a program, too, with the helpers that tests may name.
    texts = (problem["test"], completion)
    test, program = (f"TEXT, ENTRY = {prompt + text!r}, {entry!r}\n{SPELL}" for text in texts)
    found = run_boxed(test + JUDGE, limits, program + PROGRAM)
    if found.stopped or found.status == 0:
        return f"failed: limit of {found.stopped}" if found.stopped else "passed"
    last = (found.output.strip().splitlines() or ["the test ended early"])[-1][:200]
    return "failed: " + printable(last)  # it may quote the program


def humaneval(engine: Engine, ends: Sequence[int], config: EvaluateRun, run: Run) -> tuple[list[Row], str]:
    """The tables; and JSON lines, each program with its verdict."""
    asked = [p for p in problems()[: config.problems or None] for _ in range(config.tries)]
    rows: list[Row] = []
    with ThreadPoolExecutor(2) as pool:
        for at in range(0, len(asked), BLOCK):
            block = asked[at : at + BLOCK]
            written = complete(engine, ends, block, config, (run.options.seed << 32) + at)
            verdicts = pool.map(judge, block, written)
            for problem, text, said in zip(block, written, verdicts, strict=True):
                rows.append({"task_id": problem["task_id"], "completion": text, "verdict": said})
            run.show(f"humaneval: {len(rows)} of {len(asked)} programs", passing=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return tables(rows, config.tries), lines


def complete(
    engine: Engine, ends: Sequence[int], asked: Sequence[dict[str, str]], config: EvaluateRun, seed: int
) -> list[str]:
    """What the model writes after each prompt; of a prompt longer than its context it sees the end."""
    most = min(config.max_tokens, engine.length // 2)
    requests: list[Request] = []
    for number, problem in enumerate(asked):
        ids = engine.tokenizer.encode(problem["prompt"])[most - engine.length :]
        rule = Sampling(config.temperature, 0.95, max_tokens=most, stop=STOPS, seed=seed + number)
        requests.append(Request(ids, rule, ends))
    told = engine.complete_all(requests)
    if any(isinstance(e, Finish) and e.reason == "error" for events in told for e in events):
        raise UserError("the model failed while it wrote", hint="the error stands above")
    return ["".join(event.text for event in events) for events in told]


def tables(rows: Sequence[Row], tries: int) -> list[dict[str, Any]]:
    """pass@k with 95 % intervals over problems, and what became of the programs."""
    right = Counter({row["task_id"]: 0 for row in rows})
    right.update(row["task_id"] for row in rows if row["verdict"] == "passed")
    counts, scored = list(right.values()), list[Row]()
    for k in (k for k in (1, 10, 100) if k <= tries):
        row: Row = {"measure": f"pass@{k}"} | figure("value", measure.pass_at_k_interval(counts, tries, k))
        scored.append(row | {"problems": len(counts), "programs of each": tries})
    kinds = Counter(": ".join(row["verdict"].split(": ")[:2]) for row in rows)
    fates: list[Row] = [{"verdict": name, "programs": n} for name, n in kinds.most_common(12)]
    title = "HumanEval (the raw prompt continued, no chat template)"
    return [section(title, scored), section("What became of the programs", fates)]
