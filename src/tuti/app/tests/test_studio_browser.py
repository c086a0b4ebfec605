"""Studio in a real browser: what is streamed, which way it reads, and what a person can do with it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import torch

from tuti.app.studio import stream
from tuti.app.tests.wordy import ENGLISH, HOSTILE, PERSIAN, save_wordy
from tuti.nn import Decoder, DecoderConfig, save_decoder
from tuti.run import Run, RunOptions
from tuti.systems.alphago.game import Game
from tuti.systems.alphago.players import open_player
from tuti.text import Tokenizer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("the program chromium is not installed", allow_module_level=True)

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright  # noqa: E402

FLAGS = (
    "--no-sandbox --headless --disable-gpu --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
SERVE = """
import sys
from pathlib import Path
from tuti.app.serve import Serve, serve
serve(Serve(port=0, runs=Path(sys.argv[1])))
"""
DEMO = """
import sys
from pathlib import Path
from tuti.app.serve import Demo, demo
demo(Demo(out=Path(sys.argv[1]), port=0))
"""
DIRECTION = "element => getComputedStyle(element).direction"
WAIT = 30_000
expect.set_options(timeout=WAIT)


class Server:
    """A server of this package in a process group of its own, on a port of its own choice."""

    def __init__(self, *words: str) -> None:
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        self.seconds = time.monotonic() - self.began
        assert self.address.startswith("http://127.0.0.1:"), self.address

    def end(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studio")
    runs, texts = folder / "runs", folder / "runs" / "texts"
    save_wordy(runs, "persian", PERSIAN, ends=True)
    save_wordy(runs, "english", ENGLISH)
    save_wordy(runs, "hostile", HOSTILE, ends=True, chat=False)
    save_sparse(runs, "experts")
    trained = Run.create("tests", "train", None, RunOptions(out=runs / "trained"))
    for step in range(1, 6):
        trained.log("step", step=step, steps=9, loss=6.0 - step / 3)
    trained.log("sample", step=5, text="<script>window.harmed = 1</script> ساقی")
    texts.mkdir()
    lines = [
        f"Line {n} of a text that is long enough, and unlike the others: {n * n}."
        for n in range(2000)
    ]
    (texts / "a.txt").write_text("\n\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Generator[Server]:
    server = Server("-c", SERVE, str(folder / "runs"))
    yield server
    server.end()


@pytest.fixture(scope="module")
def browser() -> Generator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


Open = Callable[..., Page]


@pytest.fixture
def visit(server: Server, browser: Browser) -> Generator[Open]:
    """Opens a page of the server; anything that it loads from elsewhere fails the test."""
    context = browser.new_context()
    context.set_default_timeout(WAIT)
    origin = server.address.rstrip("/")
    foreign: list[str] = []
    errors: list[str] = []

    def check(url: str) -> None:
        if not url.startswith((origin, origin.replace("http", "ws"), "data:", "blob:")):
            foreign.append(url)

    def visit(path: str, width: int = 1000) -> Page:
        page = context.new_page()
        page.on("request", lambda request: check(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(origin + path)
        return page

    yield visit
    context.close()
    assert not foreign and not errors


def ask(page: Page, text: str) -> None:
    page.get_by_role("textbox", name="Message").fill(text)
    page.get_by_role("button", name="Send").click()


def answers(page: Page, number: int = 1) -> Locator:
    """What the model said in one conversation."""
    return page.get_by_role("log").nth(number - 1).locator(".said:not(.mine)")


def test_a_persian_answer_reads_right_to_left_inside_an_english_page(visit: Open) -> None:
    page = visit("/chat?model=persian")
    message = page.get_by_role("textbox", name="Message")
    message.fill("سلام، حال شما؟")
    assert message.evaluate(DIRECTION) == "rtl"
    page.get_by_role("button", name="Send").click()
    answer = answers(page).first
    expect(answer).to_have_text(PERSIAN)
    assert page.evaluate("getComputedStyle(document.documentElement).direction") == "ltr"
    assert page.evaluate("document.documentElement.lang").startswith("en")
    assert answer.evaluate(DIRECTION) == "rtl"
    mine = page.locator(".said.mine").first
    assert mine.inner_text() == "سلام، حال شما؟" and mine.evaluate(DIRECTION) == "rtl"
    expect(message).to_have_value("")
    ask(page, "hello?")
    assert page.locator(".said.mine").nth(1).evaluate(DIRECTION) == "ltr"


def test_an_english_answer_reads_left_to_right_inside_a_persian_page(visit: Open) -> None:
    page = visit("/chat?model=english&lang=fa")
    expect(page.locator("html")).to_have_attribute("dir", "rtl")
    assert page.evaluate("getComputedStyle(document.body).direction") == "rtl"
    page.get_by_role("textbox", name="پیام").fill("hello")
    page.get_by_role("button", name="فرستادن").click()
    answer = answers(page).first
    expect(answer).to_contain_text("garden parrot cage")
    assert answer.evaluate(DIRECTION) == "ltr"
    page.get_by_role("button", name="توقف").click()


def test_an_answer_streams_and_stops_where_it_is(visit: Open) -> None:
    page = visit("/chat?model=english")
    page.get_by_role("textbox", name="Longest answer").fill("4096")
    ask(page, "speak")
    answer = answers(page).first
    expect(answer).to_contain_text("hello friend")
    seen = [len(answer.inner_text())]
    page.wait_for_timeout(300)
    seen.append(len(answer.inner_text()))
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("(stopped)")).to_be_visible()
    stopped = len(answer.inner_text())
    page.wait_for_timeout(400)
    assert seen[0] < seen[1] <= stopped == len(answer.inner_text()) < 4096 * 5
    ask(page, "go on")  # the place is free at once
    expect(answers(page).nth(1)).to_contain_text("hello friend")
    page.get_by_role("button", name="Stop").click()


def test_two_runs_answer_side_by_side(visit: Open) -> None:
    page = visit("/chat?model=persian&other=english")
    page.get_by_role("textbox", name="Longest answer").fill("30")
    ask(page, "both")
    expect(answers(page, 1).first).to_have_text(PERSIAN)
    expect(answers(page, 2).first).to_contain_text("hello friend")
    one, two = (page.get_by_role("log").nth(n).bounding_box() for n in (0, 1))
    assert one and two and one["x"] + one["width"] <= two["x"] and abs(one["y"] - two["y"]) < 2


def test_copy_takes_the_answer_as_it_is(visit: Open) -> None:
    page = visit("/chat?model=persian")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    ask(page, "x")
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == PERSIAN


def test_what_a_model_or_a_person_writes_is_text_and_nothing_else(visit: Open) -> None:
    page = visit("/chat?model=hostile")
    harmed: list[str] = []
    page.on("dialog", lambda dialog: (harmed.append(dialog.message), dialog.dismiss()))
    message = "<img src=x onerror=alert(2)> \u202eabc?"
    ask(page, message)
    expect(answers(page).first).to_have_text(HOSTILE)
    expect(page.get_by_text("has not been taught to answer")).to_be_visible()
    assert page.locator(".said.mine").inner_text() == message.replace("\u202e", "\\u202e")
    assert page.get_by_role("log").first.locator("img").count() == 0 and not harmed


def test_a_message_that_is_too_long_is_refused_with_a_remedy(visit: Open) -> None:
    page = visit("/chat?model=persian")
    ask(page, "x" * 20_000)
    expect(page.get_by_role("alert").filter(has_text="shorten")).to_be_visible()
    page.get_by_role("textbox", name="Temperature").fill("hot")
    ask(page, "x")
    expect(
        page.get_by_role("alert").filter(has_text="'hot' is not between 0 and 2")
    ).to_be_visible()


def test_a_chat_needs_no_pointer(visit: Open) -> None:
    page = visit("/chat?model=english")
    expect(page.get_by_role("textbox", name="Message")).to_be_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to the content"
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "TEXTAREA":
            break
    box = page.get_by_role("textbox", name="Message")
    expect(box).to_be_focused()
    page.get_by_role("textbox", name="Longest answer").fill("4096")  # Escape must find it speaking
    box.focus()
    page.keyboard.type("first")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("second")
    page.keyboard.press("Enter")
    expect(page.locator(".said.mine")).to_have_text("first\nsecond")
    expect(answers(page).first).to_contain_text("hello friend")
    page.keyboard.press("Escape")
    expect(page.get_by_text("(stopped)")).to_be_visible()


def test_curves_and_samples_appear_as_they_are_written(visit: Open, folder: Path) -> None:
    page = visit("/runs/trained")
    line = page.locator("svg polyline").first
    expect(line).to_be_visible()
    before = str(line.get_attribute("points"))
    expect(page.get_by_text("step 5 of 9, loss 4.333")).to_be_visible()
    expect(page.locator(".said").first).to_have_text("<script>window.harmed = 1</script> ساقی")
    run = Run(folder / "runs" / "trained", RunOptions())
    run.log("step", step=6, steps=9, loss=2.5)
    run.log("sample", step=6, text="تازه")
    expect(page.get_by_text("step 6 of 9, loss 2.5")).to_be_visible()
    expect(page.locator(".said").first).to_have_text("تازه")
    assert page.locator("svg polyline").first.get_attribute("points") != before
    assert page.evaluate("window.harmed") is None
    page.get_by_role("link", name="Report").click()
    expect(page.get_by_role("heading", name="tests train: trained")).to_be_visible()


def test_a_form_starts_a_real_run_of_a_stage(visit: Open, folder: Path) -> None:
    page = visit("/")
    page.get_by_role("link", name="Start spark prepare").click()
    page.get_by_role("textbox", name="Name of the run").fill("from-a-form")
    source = page.get_by_role("textbox", name="source")
    source.fill("/etc")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("alert").filter(has_text="outside the folders")).to_be_visible()
    source.fill(str(folder / "runs" / "texts"))
    page.get_by_role("textbox", name="valid share").fill("7")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("alert").filter(has_text="valid_share is '7'")).to_be_visible()
    page.get_by_role("textbox", name="valid share").fill("0.1")
    page.get_by_role("combobox", name="genre").click()  # two thousand lines that are alike are no prose
    page.get_by_role("option", name="any").click()
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/runs/from-a-form")
    expect(page.get_by_text("State: finished")).to_be_visible()
    expect(page.locator(".said.code")).to_contain_text("documents to train on")
    made = folder / "runs" / "from-a-form"
    config = json.loads((made / "config.json").read_text())
    assert (config["room"], config["stage"], config["config"]["valid_share"]) == (
        "spark",
        "prepare",
        0.1,
    )
    assert (made / "artifacts" / "documents" / "tuti.json").exists()


def test_a_rooms_own_page_follows_a_run(visit: Open, folder: Path) -> None:
    run = Run.create("spark", "prepare", None, RunOptions(out=folder / "runs" / "jobs"))
    task = {"seconds": 0.5, "rows": 7_000_000, "shuffled": 3_000_000}
    stage = {"number": 0, "steps": ["scan"], "wide": "exchange", "line": "mine.py:7", "tasks": [task, task]}
    last = {"number": 1, "steps": ["sort"], "wide": "", "line": "", "tasks": [task], "needs": [0]}
    levels = [{"name": "executor: execution", "cap": 2**30, "used": 2**29}]
    known = {"cores": 2, "memory": 2**30, "stages": [stage, last], "levels": levels}
    run.log("job", what="<img src=x onerror=alert(1)>", **known)
    page = visit("/")
    page.get_by_role("link", name="/spark", exact=True).click()
    expect(page.get_by_role("heading", name="Job 1: <img src=x onerror=alert(1)>")).to_be_visible()
    told = "stage 0, slowest, 2 tasks, 14,000,000 rows"
    picture = page.get_by_role("img", name="Stages and shuffles")
    expect(picture.locator("desc")).to_contain_text(told)
    expect(page.get_by_role("img", name="Memory by level")).to_contain_text("512 MB of 1,024 MB")
    expect(page.get_by_role("cell", name="1.00")).to_be_visible()  # predicted from the first of two
    page.get_by_role("group").get_by_text("The steps of each stage").click()
    run.log("job", what="count", **known)
    expect(page.get_by_role("heading", name="Job 2: count")).to_be_visible()
    expect(page.get_by_text("→ exchange (mine.py:7)").first).to_be_visible()  # still open
    page.get_by_role("link", name="فارسی").click()
    expect(page.get_by_role("heading", name="کار 2: count")).to_be_visible()
    assert picture.count() == 0 and page.get_by_text("engine").count() == 0
    region = page.get_by_role("region", name="مرحله‌ها و جابه‌جایی‌ها").first
    region.focus()
    expect(region).to_be_focused()
    assert region.evaluate(DIRECTION) == "rtl"


def save_sparse(runs: Path, name: str) -> None:
    """A run of the room mixtral with a small model, as its stage leaves it."""
    tokenizer = Tokenizer.train({"parrot": 9, "speaks": 5, "طوطی": 7}, 300)
    run = Run.create("mixtral", "train", None, RunOptions(out=runs / name))
    shape = DecoderConfig(tokenizer.vocab_size, 16, 2, 2, 1, 8, 16, 64, experts=4)
    with run.save("model", "LanguageModel", chat=False) as folder:
        save_decoder(Decoder(shape, torch.Generator().manual_seed(0)), folder)
        tokenizer.save(folder)


def test_a_text_is_coloured_by_its_experts(visit: Open, folder: Path) -> None:
    page = visit("/mixtral")
    page.get_by_role("textbox", name="Text").fill("the parrot speaks <i>\nطوطی")
    page.get_by_role("combobox", name="Layer").select_option("1")
    page.get_by_role("button", name="Show").press("Enter")  # by keyboard
    expect(page.get_by_role("heading", name="Layer 1")).to_be_visible()
    coloured = page.locator("p", has=page.locator("span[title]"))
    expect(coloured).to_have_text(re.compile("the parrot speaks <i>\\s+طوطی"))
    colours = "[...document.querySelectorAll('span[title]')].map(e => e.style.background)"
    assert len(set(page.evaluate(colours))) > 1
    expect(page.get_by_role("row", name=re.compile("^1 "))).to_be_visible()
    expect(page.get_by_role("textbox", name="Text")).to_have_value("the parrot speaks <i>\nطوطی")
    page.get_by_role("link", name="فارسی").click()
    expect(page.get_by_role("heading", name="لایه 1")).to_be_visible()
    assert page.get_by_role("button", name="نشان بده").evaluate(DIRECTION) == "rtl"


def test_a_game_of_go_is_played_by_keyboard(visit: Open) -> None:
    page = visit("/alphago/play")
    page.get_by_role("combobox", name="Size").select_option("5")
    page.get_by_role("button", name="New game").press("Enter")
    expect(page.get_by_text("Black begins.")).to_be_visible()
    stones = page.locator("circle.black, circle.white")
    assert stones.count() == 0
    page.get_by_role("link", name="C3").press("Enter")
    expect(page.get_by_text("I played")).to_be_visible()
    assert stones.count() == 2 and page.locator("circle.last").count() == 1
    assert page.get_by_role("link", name="C3").count() == 0
    page.get_by_role("link", name="Take back").press("Enter")
    expect(page.get_by_text("Black begins.")).to_be_visible()
    assert stones.count() == 0
    page.goto(page.url.split("?")[0] + "?size=5&moves=C3+C3")
    expect(page.get_by_text("move 2, C3, is not legal")).to_be_visible()
    page.goto(page.url.split("?")[0] + "?size=5&moves=pass+pass")
    expect(page.get_by_text("You have lost (7)")).to_be_visible()
    page.get_by_role("link", name="فارسی").click()
    expect(page.get_by_text("شما باختید (7)")).to_be_visible()
    assert page.get_by_role("button", name="بازی تازه").evaluate(DIRECTION) == "rtl"


def test_a_phone_plays_go_by_tab_and_enter(visit: Open) -> None:
    """Two moves against the player that ships, by the keys alone; then there is a curve of chances."""
    page = visit("/alphago/play?size=9&with=tuti", width=360)
    focused = "document.activeElement.getAttribute('aria-label')"
    stones = page.locator("circle.black, circle.white")
    for turn in (1, 2):
        for _ in range(120):
            page.keyboard.press("Tab")
            if re.fullmatch("[C-G][3-7]", page.evaluate(focused) or ""):
                break
        point = page.evaluate(focused)
        page.keyboard.press("Enter")
        expect(stones).to_have_count(2 * turn)
        assert page.get_by_role("link", name=point, exact=True).count() == 0
        expect(page.get_by_text("My chances:")).to_be_visible()
    expect(page.locator("svg polyline").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("size", [7, 13, 19])
def test_boards_of_other_sizes_are_played(visit: Open, size: int) -> None:
    page = visit(f"/alphago/play?size={size}")
    page.get_by_role("link", name="D4", exact=True).press("Enter")
    expect(page.locator("circle.black, circle.white")).to_have_count(2)
    assert page.get_by_role("link", name=re.compile("^[A-T]\\d+$")).count() == size * size - 2


def test_hints_grow_beside_the_board_and_a_game_can_be_watched(visit: Open) -> None:
    open_player("tuti", 9, 2, 0).choose(Game(9, 7.0), 0.0)  # compiles, which a page would wait for
    page = visit("/alphago/play?size=9&with=tuti")
    page.get_by_role("link", name="Hints on or off").press("Enter")
    rows = page.locator("table", has_text="what is likely to follow").locator("tbody tr")
    expect(rows.first).to_be_visible()
    assert 1 <= page.locator("circle.heat").count() <= 81  # the policy
    assert page.locator("rect.mine, rect.theirs").count() > 40  # whose points will be
    before = rows.first.locator("td").first.inner_text()
    expect(rows.first.locator("td").first).not_to_have_text(before)  # it goes on searching
    page.get_by_role("link", name="Hints on or off").press("Enter")
    expect(rows).to_have_count(0)
    page.goto(page.url.split("?")[0] + "?size=9&with=tuti&you=nobody")
    stones = page.locator("circle.black, circle.white")
    expect(page.get_by_text("The opponent plays itself")).to_be_visible()
    count = stones.count()
    expect(stones).not_to_have_count(count)
    game = "(;FF[4]GM[1]SZ[9];B[ee];W[cc];B[gg];W[gc])"
    page.get_by_role("combobox", name="You are").select_option("black")
    page.get_by_role("textbox", name="Go on with an SGF").fill(game)
    page.get_by_role("button", name="New game").press("Enter")
    expect(stones).to_have_count(4)


NAMELESS = """() => [...document.querySelectorAll('button, a, input, textarea, select, [role]')].filter(e => {
  const labelled = e.labels && e.labels.length && [...e.labels].some(l => l.textContent.trim());
  const aria = e.getAttribute('aria-label') || e.getAttribute('aria-labelledby');
  const named = aria || labelled || e.innerText?.trim();
  const hidden = e.closest('[aria-hidden=true]') || e.type === 'hidden' || e.getClientRects().length === 0;
  return !named && !hidden && !['alert', 'status', 'presentation', 'none'].includes(e.getAttribute('role'));
}).map(e => e.outerHTML.slice(0, 200))"""
PATHS = [
    "/",
    "/runs",
    "/new/spark/prepare",
    "/chat",
    "/runs/trained/report",
    "/runs/trained?lang=fa",
    "/spark",
    "/spark?lang=fa",
    "/mixtral",
    "/mixtral?lang=fa",
    "/alphago/play?size=5&moves=C3",
    "/alphago/play?lang=fa&size=9&with=tuti&hints=yes&chances=40+60",
    "/alphago/play?lang=fa&size=19",
]


@pytest.mark.parametrize("path", [*PATHS, "/chat?lang=fa"])
def test_a_page_fits_a_phone_and_everything_in_it_has_a_name(visit: Open, path: str) -> None:
    page = visit(path, width=360)
    expect(page.locator("h1")).to_be_visible()
    page.wait_for_timeout(150)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate(NAMELESS) == []
    assert page.locator("main").count() == 1 and page.locator("h1").count() == 1


def test_names_that_are_no_runs_are_told_so(visit: Open) -> None:
    page = visit("/runs/absent")
    expect(page.get_by_role("alert")).to_contain_text("is not a run")
    page.goto(page.url.replace("/runs/absent", "/new/nothing/at-all"))
    expect(page.get_by_role("heading", name="There is no such page")).to_be_visible()


def test_the_demo_teaches_and_then_talks_in_the_same_page(browser: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "demo"
    write_demo(folder, tmp_path / "texts")
    server = Server("-c", DEMO, str(folder))
    try:
        assert server.seconds <= 20
        page = browser.new_page()
        page.set_default_timeout(WAIT)
        page.goto(server.address)
        expect(page.get_by_role("heading", name="A model is being taught")).to_be_visible()
        expect(page.get_by_text("What it cannot do")).to_be_visible(timeout=60_000)
        expect(page.locator("svg polyline").first).to_be_visible(timeout=60_000)
        expect(page.get_by_text("The model is ready")).to_be_visible(timeout=60_000)
        page.get_by_role("textbox", name="Longest answer").fill("5")
        ask(page, "Line")
        expect(page.get_by_role("button", name="Copy")).to_be_visible()
        page.close()
    finally:
        server.end()  # interrupts the teaching too
    assert stream.state_of(folder) in ("stopped", "finished")


def write_demo(folder: Path, texts: Path) -> None:
    """The run of a very short teaching, as `tuti demo` leaves it before the server starts."""
    from tuti.app.invoke import config_type
    from tuti.pipelines import PIPELINES
    from tuti.run import config_from_json

    texts.mkdir()
    lines = [
        f"Line {n} of a text that is long enough, and unlike the others: {n * n}."
        for n in range(2000)
    ]
    (texts / "a.txt").write_text("\n\n".join(lines))
    plan = {
        "type": "Plan",
        "vocab": 400,
        "width": 32,
        "layers": 1,
        "rows": 2,
        "steps": 12,
        "sft_steps": 4,
    }
    values: dict[str, Any] = {"source": [str(texts)], "plan": plan, "precision": "fp32"}
    kind = config_type(PIPELINES["teach"].stages["teach"].load())
    config = config_from_json(kind, values)
    Run.create("teach", "teach", config, RunOptions(out=folder, threads=2)).log("plan", **plan)
