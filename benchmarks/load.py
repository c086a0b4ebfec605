"""64 clients at once for ten minutes: answers lost, growth of the server's memory, time to tokens.

    make bench NAME=load               # SECONDS=60 for a short one, which is not kept

SmolLM2-135M in 8 bits, served in a process of its own; the clients are on the same two cores. Of ten requests
eight are streamed to their end, one is left in the middle, one is bad (broken JSON, wrong types, a prompt too
long, an unknown model, a schema and an expression that cannot be met) and must be refused with a reason.
"Busy" is no loss: the client waits as long as it is told. Memory is what is the process's own (RssAnon);
its growth is that of a line through the samples after the first fifth of the time, as a share of the mean.
"""

import asyncio
import json
import os
import random
import re
import time
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
from harness import show, write
from serve import QUESTIONS, start

from tuti.pipelines.base import base_folder

CLIENTS, BOUND = 64, 0.03
SECONDS = float(os.environ.get("SECONDS", 600))
SHAPE = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "no such type"}}}
BAD = (
    {"messages": "no list"},
    {"messages": []},
    {"max_tokens": -1},
    {"temperature": "warm"},
    {"messages": [{"role": "user", "content": "x " * 20_000}]},
    {"model": "nobody"},
    {"response_format": SHAPE},
    {"structured_outputs": {"regex": "(unclosed"}},
)


class Crowd:
    """What the clients do, and what became of it."""

    def __init__(self, address: str, model: str):
        self.address, self.model = address, model
        self.end = time.perf_counter() + SECONDS
        self.seen, self.lost = Counter[str](), Counter[str]()
        self.first, self.between = list[float](), list[float]()

    async def client(self, number: int) -> None:
        """One of them, with chances of its own."""
        chance = random.Random(number)
        async with httpx.AsyncClient(base_url=self.address, timeout=300) as http:
            while time.perf_counter() < self.end:
                kind = chance.choices(("whole", "left", "bad"), (8, 1, 1))[0]
                try:
                    if kind == "bad":
                        await self.bad(http, chance)
                    else:
                        await self.ask(http, chance, kind == "left")
                except httpx.HTTPError as error:
                    self.lost[type(error).__name__] += 1

    def body(self, chance: random.Random) -> dict:
        text = f"{chance.choice(QUESTIONS)} {chance.randrange(1000)}"
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": chance.randint(8, 48),
            "seed": chance.randrange(100),
            "stream": True,
        }

    async def bad(self, http: httpx.AsyncClient, chance: random.Random) -> None:
        """A request that must be refused; one time in nine its very JSON is broken."""
        wrong = chance.choice((*BAD, None))
        text = "{" if wrong is None else json.dumps(self.body(chance) | wrong)
        kind = {"content-type": "application/json"}
        answer = await http.post("/v1/chat/completions", content=text, headers=kind)
        told = 400 <= answer.status_code < 500 and answer.json()["error"]["message"]
        self.seen["refused" if told else "not refused"] += 1
        if not told:
            self.lost[f"{wrong} gave {answer.status_code}"] += 1

    async def ask(self, http: httpx.AsyncClient, chance: random.Random, leaves: bool) -> None:
        """A streamed answer, to its end or until the client goes."""
        body, stay = self.body(chance), chance.randint(1, 8)
        while True:
            asked, said, ended = time.perf_counter(), list[float](), False
            async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
                if answer.status_code == 429:
                    self.seen["told to wait"] += 1
                    await asyncio.sleep(float(answer.headers["retry-after"]) * (0.5 + chance.random()))
                    continue
                if answer.status_code != 200:
                    self.lost[f"status {answer.status_code}"] += 1
                    return
                async for line in answer.aiter_lines():
                    chunk = json.loads(line[6:]) if line.startswith("data: {") else {"choices": []}
                    if any(choice["delta"].get("content") for choice in chunk["choices"]):
                        said.append(time.perf_counter())
                    ended |= line == "data: [DONE]"
                    if leaves and len(said) > stay:
                        self.seen["left"] += 1
                        return
            break
        self.seen["answered" if ended else "cut off"] += 1
        self.lost["cut off"] += not ended
        self.first += [said[0] - asked] if said else []
        self.between += np.diff(said).tolist()


async def memory(process: int, crowd: Crowd) -> list[tuple[float, float]]:
    """(seconds, bytes of its own) of the server, every second."""
    found, begin = list[tuple[float, float]](), time.perf_counter()
    while time.perf_counter() < crowd.end:
        status = Path(f"/proc/{process}/status").read_text()
        own = re.search(r"RssAnon:\s+(\d+)", status)
        assert own is not None
        found.append((time.perf_counter() - begin, int(own[1]) * 1024))
        if len(found) % 30 == 0:
            seen, lost = dict(crowd.seen), dict(+crowd.lost)
            show(f"{found[-1][0]:.0f} s: {found[-1][1] / 1e6:.0f} MB, {seen}, lost {lost}")
        await asyncio.sleep(1)
    return found


async def crowded(address: str, model: str, process: int) -> tuple[Crowd, list[tuple[float, float]]]:
    crowd = Crowd(address, model)
    watched = asyncio.create_task(memory(process, crowd))
    await asyncio.gather(*(crowd.client(number) for number in range(CLIENTS)))
    return crowd, await watched


def main() -> None:
    """Measures and reports."""
    process, address = start(base_folder("smollm2"), "--bits", "8")
    try:
        name = httpx.get(f"{address}v1/models").json()["data"][0]["id"]
        crowd, samples = asyncio.run(crowded(address, name, process.pid))
        assert process.poll() is None, "the server is gone"
    finally:
        process.terminate()
        process.wait()
    when, bytes_ = np.array([sample for sample in samples if sample[0] > SECONDS / 5]).T
    growth = float(np.polyfit(when, bytes_, 1)[0] * (when[-1] - when[0]) / bytes_.mean())
    lost = sum(crowd.lost.values())
    times = {
        what: {"p50": float(np.percentile(values, 50)), "p99": float(np.percentile(values, 99))}
        for what, values in (("first_token_s", crowd.first), ("between_pieces_s", crowd.between))
    }
    write(
        "load", ours=growth, peer=None, unit="share of memory", ratio=growth / BOUND,
        spread=(growth / BOUND, growth / BOUND), n=len(when), lost=lost, lost_by=dict(+crowd.lost),
        requests=dict(crowd.seen), seconds=SECONDS, clients=CLIENTS, keep=SECONDS >= 600,
        megabytes=float(bytes_.mean() / 1e6), **times,
    )
    assert lost == 0, crowd.lost


if __name__ == "__main__":
    main()
