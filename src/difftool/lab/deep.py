"""Runs real kernels on every device, in separate processes: a crash there becomes a finding."""

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
"""Time limit for a device in seconds, including the import of PyTorch."""


class Row(TypedDict):
    """The result of a kernel on a device."""

    device: str
    what: str
    said: str
    """The time, or the error."""
    well: bool


def kernels(machine: Machine) -> list[Row]:
    """Runs a matrix product in each number format, a convolution and attention on each device, and a sum over all GPUs
    if there are several. A row for each."""
    devices = [f"cuda:{gpu.number}" for gpu in machine.gpus if not gpu.slice]
    if machine.runs_on_rocm:
        devices = ["cuda:0"]  # NVML does not list AMD GPUs
    if not machine.gpus and not devices:
        devices = ["cpu"]
    rows = []
    for device in devices:
        rows += _child([device])
    if len(devices) > 1:
        rows += _child(devices)
    for gpu in machine.gpus:  # a process sees one slice, as the first GPU
        if gpu.slice:
            sliced = _child(["cuda:0"], CUDA_VISIBLE_DEVICES=gpu.uuid)
            rows += [Row(**{**row, "device": gpu.uuid}) for row in sliced]
    return rows


def _child(devices: list[str], **env: str) -> list[Row]:
    """The rows of a process that runs the kernels on these devices."""
    command = [sys.executable, "-m", "difftool.lab.deep", *devices]
    env = {**os.environ, "CUDA_DEVICE_ORDER": "PCI_BUS_ID", **env}  # NVML's order
    failure = ""
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False, env=env)
        output = done.stdout
        if done.returncode != 0:
            errors = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            failure = f"the process exited with {done.returncode}: {errors[-1]}"
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        failure = f"stopped after a timeout of {PATIENCE} s"
    lines = output.decode(errors="replace").splitlines()
    rows = [json.loads(line) for line in lines if line.startswith("{")]
    if failure:
        rows.append({"device": ", ".join(devices), "what": "process", "said": failure, "well": False})
    return rows


def findings(rows: list[Row]) -> list[Finding]:
    """A finding for each kernel that failed."""
    failed = []
    for row in rows:
        if not row["well"]:
            message = f"{row['device']}: {row['what']} failed"
            failed.append(Finding("deep", ERROR, message, row["said"], "see the findings above"))
    return failed


def _run(devices: list[str]) -> None:
    import torch
    import torch.nn.functional as F

    def measure(name: str, kernel: Callable[[], object]) -> None:
        """Runs a kernel twice and prints its row."""

        def run() -> float:
            kernel()
            for device in devices:
                if device != "cpu":
                    torch.cuda.synchronize(device)
            return time.perf_counter()

        try:
            began = run()  # warms up
            ended = run()
            result, succeeded = f"{(ended - began) * 1e3:.1f} ms", True
        except Exception as error:
            first_line = next(iter(str(error).splitlines()), "")
            result, succeeded = f"{type(error).__name__}: {first_line}", False
        row = Row(device=", ".join(devices), what=name, said=result, well=succeeded)
        print(json.dumps(row), flush=True)

    if len(devices) > 1:
        from torch.nn.parallel import comm

        numbers = [int(device.removeprefix("cuda:")) for device in devices]
        parts = [torch.ones(2**24, device=device) for device in devices]
        measure("all-reduce", lambda: comm.broadcast(comm.reduce_add(parts, numbers[0]), numbers))
        return
    (device,) = devices
    for name in ("float32", "float16", "bfloat16"):
        x = torch.randn(1024, 1024, device=device).to(getattr(torch, name))
        measure(f"matrix product, {name}", lambda x=x: x @ x)
    picture = torch.randn(2, 64, 64, 64, device=device)
    weight = torch.randn(64, 64, 3, 3, device=device)
    measure("convolution", lambda: F.conv2d(picture, weight, padding=1))
    rows = torch.randn(2, 8, 1024, 64, device=device)
    measure("attention", lambda: F.scaled_dot_product_attention(rows, rows, rows))


if __name__ == "__main__":
    _run(sys.argv[1:])
