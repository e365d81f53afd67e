"""Real kernels on every device, in processes of their own: what crashes there is a finding here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TypedDict

from .facts import Machine
from .findings import ERROR, Finding

PATIENCE = 120
"""Seconds that a device may take, importing PyTorch included."""


class Row(TypedDict):
    """What a device said to a kernel."""

    device: str
    what: str
    said: str
    """A time, or the error."""
    well: bool


def kernels(machine: Machine) -> list[Row]:
    """What each device said to a product of matrices in each number format, a convolution and attention; and to a sum
    over all GPUs where there are several. A row for each."""
    devices = [f"cuda:{gpu.number}" for gpu in machine.gpus if not gpu.slice]
    if machine.runs_on_rocm:
        devices = ["cuda:0"]  # NVML, which counts the others, does not count those of AMD
    rows = [row for device in devices or ([] if machine.gpus else ["cpu"]) for row in _child([device])]
    rows += _child(devices) if len(devices) > 1 else []
    for gpu in machine.gpus:  # a process sees one slice, as the first GPU
        if gpu.slice:
            rows += [Row(**{**row, "device": gpu.uuid}) for row in _child(["cuda:0"], CUDA_VISIBLE_DEVICES=gpu.uuid)]
    return rows


def _child(devices: list[str], **more: str) -> list[Row]:
    line = [sys.executable, "-m", "difftool.lab.deep", *devices]
    env = {**os.environ, "CUDA_DEVICE_ORDER": "PCI_BUS_ID", **more}  # as NVML counts
    try:
        done = subprocess.run(line, capture_output=True, timeout=PATIENCE, check=False, env=env)
        out, ended = done.stdout, "" if done.returncode == 0 else f"the process ended with {done.returncode}"
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"])[-1]
    except subprocess.TimeoutExpired as error:
        out, ended, last = error.stdout or b"", f"no end in {PATIENCE} s", "it was stopped"
    rows = [json.loads(one) for one in out.decode(errors="replace").splitlines() if one.startswith("{")]
    if ended:
        rows.append({"device": ", ".join(devices), "what": "process", "said": f"{ended}: {last}", "well": False})
    return rows


def findings(rows: list[Row]) -> list[Finding]:
    """What did not go well."""
    return [
        Finding(
            "deep", ERROR, f"{row['device']}: {row['what']} failed", row["said"], "look for it among the findings above"
        )
        for row in rows
        if not row["well"]
    ]


def _run(devices: list[str]) -> None:
    import torch
    import torch.nn.functional as F

    def tell(what: str, work: Callable[[], object]) -> None:
        device = ", ".join(devices)

        def done() -> float:
            work()
            for one in devices:
                if one != "cpu":
                    torch.cuda.synchronize(one)
            return time.perf_counter()

        try:
            began = done()  # the first time is not the usual one
            ended = done()
            said, well = f"{(ended - began) * 1e3:.1f} ms", True
        except Exception as error:
            said, well = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}", False
        print(json.dumps({"device": device, "what": what, "said": said, "well": well}), flush=True)

    if len(devices) > 1:
        from torch.nn.parallel import comm

        numbers = [int(one.removeprefix("cuda:")) for one in devices]
        parts = [torch.ones(2**24, device=one) for one in devices]
        tell("all-reduce", lambda: comm.broadcast(comm.reduce_add(parts, numbers[0]), numbers))
        return
    (device,) = devices
    for name in ("float32", "float16", "bfloat16"):
        x = torch.randn(1024, 1024, device=device).to(getattr(torch, name))
        tell(f"product of matrices, {name}", lambda x=x: x @ x)
    picture, weight = torch.randn(2, 64, 64, 64, device=device), torch.randn(64, 64, 3, 3, device=device)
    tell("convolution", lambda: F.conv2d(picture, weight, padding=1))
    rows = torch.randn(2, 8, 1024, 64, device=device)
    tell("attention", lambda: F.scaled_dot_product_attention(rows, rows, rows))


if __name__ == "__main__":
    _run(sys.argv[1:])
