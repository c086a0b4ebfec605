"""A sharded folder of experts loads one tensor at a time: no second copy of the model is ever held."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tuti.nn import Decoder, DecoderConfig, save_decoder

CHILD = """
import json, sys, threading, time
from pathlib import Path
from tuti.nn import load_decoder
def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024
load_decoder(Path(sys.argv[2]))  # what the first call loads of libraries is no model's
peak, done, before = [0], threading.Event(), anonymous()
def watch():
    while not done.is_set():
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.001)
watcher = threading.Thread(target=watch)
watcher.start()
model = load_decoder(Path(sys.argv[1]))
done.set()
watcher.join()
size = sum(p.numel() * p.element_size() for p in model.parameters())
largest = max(p.numel() * 4 for p in model.parameters())
print(json.dumps({"size": size, "peak": peak[0] - before, "largest": largest}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc is Linux's")
def test_loading_takes_the_model_and_one_tensor(tmp_path: Path) -> None:
    shape = DecoderConfig(1000, 256, 4, 4, 2, 64, 1024, 64, tied=False, experts=8)
    save_decoder(Decoder(shape, torch.Generator().manual_seed(0)), tmp_path / "large", dtype=torch.bfloat16)
    small = DecoderConfig(100, 16, 1, 2, 1, 8, 16, 64, experts=2)
    save_decoder(Decoder(small), tmp_path / "small", dtype=torch.bfloat16)
    words = [sys.executable, "-c", CHILD, str(tmp_path / "large"), str(tmp_path / "small")]
    found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert found["size"] == 4 * shape.parameters > 100e6
    assert found["size"] * 0.9 < found["peak"] <= found["size"] + 2 * found["largest"] + 5e6, found
