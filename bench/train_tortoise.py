"""Training Tortoise's decoder at full size on random weights: seconds an update and peak memory, beside a plain full
fine-tune of tortoise-tts's own UnifiedVoice.

    make bench-tuning        # .venv-stock/bin/python -W ignore bench/train_tortoise.py; it needs 16 GB

Clips are 10 s long (40 tokens, 215 codes), `--clips` of them an update and all at once. The plain fine-tune is what a
short script does: forward, 0.01 x text loss + code loss, backward, the gradient clipped, torch.optim.AdamW; the voices
are given to both, so neither computes them. Ours also keeps the average of the weights, in the same memory as another
copy of them. Peak memory is that of a process of its own, less what it had before the network was made. The count is
what `lab check` derives: weights, 16 bytes for each learned weight, and what the clips keep for the backward pass.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src")]

import torch  # noqa: E402
from torch import nn  # noqa: E402

TOKENS, CODES = 40, 215
ROWS = (
    "stock full fp32",
    "stock full bf16",
    "ours full fp32",
    "ours full bf16",
    "ours full fp32 checkpointing",
    "ours lora fp32",
    "ours lora bf16",
    "ours lora bf16 checkpointing",
)
MODULES = {"stock": "tortoise.models.autoregressive", "ours": "difftool.voice.engines.tortoise.tuning.run"}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--updates", type=int, default=3, help="timed, after one that is not")
    parser.add_argument("--only", choices=ROWS, action="append", help="these rows")
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.row:
        print(json.dumps(measured(given.row, given.clips, given.updates)))
        return
    print(f"{given.clips} clips of 10 s an update, {torch.get_num_threads()} threads")
    print(f"{'':32} {'s/update':>9} {'peak GB':>8} {'count GB':>9}")
    for row in given.only or ROWS:
        if row.startswith("stock") and importlib.util.find_spec("tortoise") is None:
            print(f"{row:32} tortoise-tts is not installed")
            continue
        line = [sys.executable, "-W", "ignore", __file__, "--row", row, "--clips", str(given.clips)]
        done = subprocess.run([*line, "--updates", str(given.updates)], stdout=subprocess.PIPE, check=True, text=True)
        found = json.loads(done.stdout)
        count = "" if found["count"] is None else f"{found['count'] / 1e9:9.2f}"
        print(f"{row:32} {found['seconds']:9.1f} {found['peak'] / 1e9:8.2f} {count}", flush=True)


def measured(row: str, clips: int, updates: int) -> dict[str, Any]:
    """One row, in this process."""
    side, method, dtype, *more = row.split()
    importlib.import_module(MODULES[side])
    before = peak()
    if side == "stock":
        steps, count = stock(clips, DTYPES[dtype]), None
    else:
        steps, count = ours(method, clips, DTYPES[dtype], checkpointing=bool(more))
    marks = [time.perf_counter()]
    for _ in range(updates + 1):
        next(steps)
        marks.append(time.perf_counter())
    seconds = statistics.median(after - start for start, after in itertools.pairwise(marks[1:]))
    return {"seconds": seconds, "peak": peak() - before, "count": count}


def peak() -> int:
    """The most bytes that this process had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@torch.no_grad()
def filled(net: nn.Module) -> nn.Module:
    """A network with small random weights."""
    for p in net.parameters():
        p.normal_(std=0.02)
    return net


def batch(clips: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Voices, texts and codes."""
    drawn = torch.Generator().manual_seed(0)
    texts = torch.randint(3, 255, (clips, TOKENS), generator=drawn)
    return torch.randn(clips, 1024, generator=drawn), texts, torch.randint(8192, (clips, CODES), generator=drawn)


def stock(clips: int, dtype: torch.dtype) -> Iterator[None]:
    """Updates of a plain fine-tune of the original."""
    from tortoise.models.autoregressive import UnifiedVoice  # pyright: ignore[reportMissingImports]

    sizes = {"max_mel_tokens": 604, "max_text_tokens": 402, "max_conditioning_inputs": 2, "layers": 30}
    tokens = {"model_dim": 1024, "heads": 16, "number_text_tokens": 255, "start_text_token": 255}
    net = UnifiedVoice(**sizes, **tokens, checkpointing=False).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-5)
    voices, texts, codes = batch(clips)
    lengths = torch.full((clips,), TOKENS), codes, torch.full((clips,), CODES * 1024)
    while True:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            text, speech, _ = net(voices, texts, *lengths)
        (0.01 * text + speech).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield


def ours(method: str, clips: int, dtype: torch.dtype, *, checkpointing: bool) -> tuple[Iterator[object], int]:
    """Updates of `voice train`, and the memory that is counted for it."""
    from difftool.device import return_memory
    from difftool.learning.loop import Trainee, updates
    from difftool.nets.layers import Linear
    from difftool.nets.tortoise.autoregressive import UnifiedVoice
    from difftool.voice.engines.tortoise.tuning.lora import adapted
    from difftool.voice.engines.tortoise.tuning.memory import learned, needed
    from difftool.voice.engines.tortoise.tuning.task import Clipset, CodePrediction, CodePredictor

    return_memory()  # as in a run
    decoder = UnifiedVoice()
    net = CodePredictor(decoder, Linear(1024, 256))
    filled(net).requires_grad_(method == "full")
    net.checkpointing = checkpointing
    if method == "lora":
        for layer in net.modules():
            if isinstance(layer, Linear):
                layer.to(dtype)
        adapted(decoder, 16)
    voices, texts, codes = batch(clips)
    rows = Clipset([*texts], [*codes], voices, [range(k, k + 1) for k in range(clips)])
    train: Any = {"images": 2**40, "planned": 1000 * clips, "batch_size": clips, "lr": 1e-5, "warmup": 0.05}
    train |= {"ema": 0.1, "weight_decay": 0.01, "seed": 0, "length": {}}
    task = CodePrediction(train, net, rows, None, dtype if method == "full" else torch.float32)
    weights = sum(p.numel() * p.element_size() for p in net.parameters())
    count = weights + learned(net) + clips * needed(net, rows.length(0), dtype)
    return updates(Trainee(net, train), task, train), count


if __name__ == "__main__":
    main()
