"""Known problems of machines, recognised from facts: what is wrong, why, and how to fix it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..errors import pip_install
from ..limits import counted
from .facts import Gpu, Machine, Version, parsed, spelled

FLOORS: dict[int, Version] = {13: (580,), 12: (525, 60, 13), 11: (450, 80, 2)}
"""The oldest Linux driver for each major version of CUDA (NVIDIA, CUDA compatibility, table 2)."""
BUILDS: dict[str, tuple[Version, tuple[int, int], tuple[int, int]]] = {
    "cu130": ((13, 0), (7, 5), (12, 1)),
    "cu128": ((12, 8), (7, 5), (12, 1)),
    "cu126": ((12, 6), (5, 0), (9, 0)),
}
"""The builds of PyTorch 2.11, newest first: (CUDA, lowest and highest compute capability with kernels)."""
CUDA_ERRORS = {
    35: (
        "the driver library is missing or too old",
        "install driver 580 or newer; start a container with --gpus all",
    ),
    100: ("CUDA sees no device", "unset CUDA_VISIBLE_DEVICES"),
    802: ("the fabric manager is not running", "sudo systemctl start nvidia-fabricmanager"),
}
"""The CUDA runtime's error codes: (cause, fix)."""
TIGHT_DISK = 10 * 10**9
ERROR, WARNING, NOTE = "error", "warning", "note"
"""Blocks the use of a GPU; costs speed or safety; good to know."""


class Finding(NamedTuple):
    """A problem of a machine, or a note about it."""

    name: str
    level: str
    what: str
    why: str
    mend: str
    """The fix: a command, or what to do."""


def findings(machine: Machine) -> list[Finding]:
    """All findings, the worst first; rules whose probe failed are skipped."""
    failed = dict(machine.failed)
    problems: list[Finding] = []
    for rule, probe in RULES.items():
        if probe not in failed:
            problems += rule(machine)
    return sorted(problems, key=lambda finding: (ERROR, WARNING, NOTE).index(finding.level))


def kernels_of(cuda: Version) -> tuple[tuple[int, int], tuple[int, int]]:
    """The lowest and highest compute capability with kernels in a build for this CUDA."""
    for built, low, high in BUILDS.values():
        if cuda >= built:
            return low, high
    return (5, 0), (9, 0)


def build_for(machine: Machine) -> str:
    """The command that installs a PyTorch build for this driver and these GPUs; without one, a driver upgrade."""
    if not machine.gpus and not machine.on_bus:
        return _install("cpu")
    for name, (built, low, high) in BUILDS.items():
        new_enough = machine.driver is None or machine.driver >= FLOORS[built[0]]
        if new_enough and all(low <= gpu.capability <= high for gpu in machine.gpus):
            return _install(name)
    return "install driver 580 or newer, then reboot"


def _install(build: str) -> str:
    again = "--reinstall-package torch --reinstall-package torchaudio"  # without it uv keeps another build
    python = shlex.quote(sys.executable)
    return f"uv pip install --python {python} {again} torch==2.11.0 torchaudio==2.11.0 --torch-backend={build}"


def no_gpu(m: Machine) -> list[Finding]:
    if m.gpus or m.on_bus or m.nodes or m.driver or m.runs_on_rocm:
        return []
    message = "no NVIDIA GPU"
    if m.others:
        message += f"; {' and '.join(m.others)} is not used by this PyTorch"
    fix = "difftool lab plan shows what a GPU would add"
    return [Finding("no_gpu", NOTE, message, "everything runs on the CPU", fix)]


def no_driver(m: Machine) -> list[Finding]:
    if not m.on_bus or m.driver or m.gpus:
        return []
    message = f"{counted(m.on_bus, 'NVIDIA GPU')} on the PCI bus, but no driver"
    fix = "sudo ubuntu-drivers install, then reboot"
    return [Finding("no_driver", ERROR, message, "the kernel module is not loaded", fix)]


def driver_too_old(m: Machine) -> list[Finding]:
    if m.torch_cuda is None or not m.driver:
        return []
    floor = FLOORS.get(m.torch_cuda[0])
    if floor is None or m.driver >= floor:
        return []
    message = f"driver {spelled(m.driver)} is too old for this PyTorch, which needs {spelled(floor)}"
    why = f"PyTorch {m.torch} was built for CUDA {spelled(m.torch_cuda)}"
    return [Finding("driver_too_old", ERROR, message, why, build_for(m))]


def no_answer(m: Machine) -> list[Finding]:
    """A driver that reports no GPU."""
    if m.gpus or m.hidden or not m.driver or mismatch(m) or container(m):
        return []
    why = m.nvml_error or "a GPU fell off the bus, or MIG has no slices"
    message = f"driver {spelled(m.driver)} is loaded but reports no GPU"
    return [Finding("no_answer", ERROR, message, why, "nvidia-smi -q; sudo dmesg | grep -i nvrm")]


def no_start(m: Machine) -> list[Finding]:
    """The CUDA runtime reports an error."""
    if m.cuda_error in (None, 0) or not m.gpus or driver_too_old(m) or no_uvm(m):
        return []
    why, fix = CUDA_ERRORS.get(m.cuda_error or 0, ("", "reboot, then run difftool lab check --deep"))
    return [Finding("no_start", ERROR, f"CUDA does not start (error {m.cuda_error})", why, fix)]


def mismatch(m: Machine) -> list[Finding]:
    is_reported = "mismatch" in (m.nvml_error or "").lower()
    differs = m.driver and m.library and m.driver != m.library
    if not is_reported and not differs:
        return []
    message = "the driver's kernel module and libraries have different versions"
    why = f"the driver was upgraded and the old module ({spelled(m.driver)}) is still loaded"
    fix = "reboot, or sudo rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia && sudo modprobe nvidia"
    return [Finding("driver_mismatch", ERROR, message, why, fix)]


def no_kernels(m: Machine) -> list[Finding]:
    if m.torch_cuda is None:
        return []
    low, high = kernels_of(m.torch_cuda)
    problems = []
    for gpu in _boards(m):
        if low <= gpu.capability <= high:
            continue
        message = f"this PyTorch has no kernels for {_named(gpu)} (compute capability {spelled(gpu.capability)})"
        why = f"PyTorch {m.torch} was built for {spelled(low)} to {spelled(high)}"
        fix = build_for(m._replace(gpus=(gpu,)))
        problems.append(Finding("no_kernels", ERROR, message, why, fix))
    return problems


def built_for_cpu(m: Machine) -> list[Finding]:
    has_gpu = m.gpus or m.on_bus
    if m.torch is None or m.torch_cuda is not None or not has_gpu:
        return []
    built = f"ROCm {m.torch_rocm}" if m.torch_rocm else "the CPU only"
    message = f"PyTorch {m.torch} is built for {built}, but there is an NVIDIA GPU"
    why = "it was installed from another index or package"
    return [Finding("torch_for_cpu", ERROR, message, why, build_for(m))]


def rocm(m: Machine) -> list[Finding]:
    if not m.runs_on_rocm:
        return []
    message = f"PyTorch {m.torch} is built for ROCm: --device cuda is an AMD GPU"
    why = "difftool is not tested on AMD GPUs; the verdicts are for the CPU"
    return [Finding("rocm", WARNING, message, why, "difftool lab check --deep; if it fails, use --device cpu")]


def no_torch(m: Machine) -> list[Finding]:
    if m.torch is None:
        return [Finding("no_torch", ERROR, "PyTorch is not installed", "", build_for(m))]
    if m.torchaudio is None:
        return []
    ours, theirs = (text.partition("+") for text in (m.torch, m.torchaudio))
    another_cuda = theirs[2].startswith("cu") and ours[2] not in ("", theirs[2])
    if parsed(ours[0]) == parsed(theirs[0]) and not another_cuda:
        return []
    difference = "builds" if another_cuda else "releases"
    message = f"torch {m.torch} and torchaudio {m.torchaudio} are from different {difference}"
    why = "torchaudio can be imported only with the matching torch"
    return [Finding("torch_and_torchaudio", ERROR, message, why, build_for(m))]


def foreign_cudnn(m: Machine) -> list[Finding]:
    if not m.foreign_cudnn:
        return []
    message = f"LD_LIBRARY_PATH contains another cuDNN: {', '.join(m.foreign_cudnn)}"
    why = f"it replaces cuDNN {spelled(m.cudnn)}, which PyTorch was built with"
    return [Finding("foreign_cudnn", WARNING, message, why, "unset LD_LIBRARY_PATH")]


def no_uvm(m: Machine) -> list[Finding]:
    """Bare systems only: in a container the device nodes come from outside."""
    if not m.driver or m.wsl or m.container:
        return []
    is_missing = bool(m.nodes) and "nvidia-uvm" not in m.nodes and m.cuda_error not in (None, 0)
    if m.cuda_error != 999 and not is_missing:
        return []
    message = "CUDA does not start, although the driver is loaded"
    why = "the module nvidia_uvm is missing or stuck, as after a suspend"
    return [Finding("no_uvm", ERROR, message, why, "sudo modprobe -r nvidia_uvm && sudo modprobe nvidia_uvm")]


def wsl(m: Machine) -> list[Finding]:
    if not m.wsl or m.libcuda:
        return []
    message = "WSL does not find libcuda, which comes with NVIDIA's Windows driver"
    why = "no NVIDIA GPU, a Linux driver installed inside WSL, or /usr/lib/wsl/lib is not searched"
    fix = "update the Windows driver, remove any driver inside WSL; export LD_LIBRARY_PATH=/usr/lib/wsl/lib"
    return [Finding("wsl_without_cuda", WARNING, message, why, fix)]


def container(m: Machine) -> list[Finding]:
    sees_gpu = m.gpus or any(node.startswith("nvidia") for node in m.nodes)
    if not m.container or not m.driver or sees_gpu:
        return []
    message = "the machine has a driver, but this container sees no GPU"
    return [Finding("container", ERROR, message, "it was started without GPUs", "docker run --gpus all ...")]


def order(m: Machine) -> list[Finding]:
    """CUDA numbers different GPUs by speed, unless they are selected by UUID."""
    by_uuid = (m.cuda_visible or "").strip().startswith(("GPU-", "MIG-"))
    if not m.gpus or not m.mixed or by_uuid or m.cuda_order == "PCI_BUS_ID":
        return []
    message = "the GPUs differ, and CUDA numbers them fastest first, unlike this list"
    why = "cuda:0 may be another GPU"
    return [Finding("cuda_order", WARNING, message, why, "export CUDA_DEVICE_ORDER=PCI_BUS_ID")]


def hidden(m: Machine) -> list[Finding]:
    """GPUs hidden by CUDA_VISIBLE_DEVICES."""
    if not m.hidden:
        return []
    level, quantity = (NOTE, m.hidden) if m.gpus else (WARNING, f"all {m.hidden}")
    message = f"CUDA_VISIBLE_DEVICES={m.cuda_visible} hides {quantity} GPUs or MIG slices"
    return [Finding("hidden", level, message, "CUDA numbers only the visible ones", "unset CUDA_VISIBLE_DEVICES")]


def cards(m: Machine) -> list[Finding]:
    problems = []
    for gpu in _boards(m):
        problems += _card(gpu)
    return problems


def _card(gpu: Gpu) -> Iterator[Finding]:
    name = _named(gpu)
    if gpu.ecc_errors:
        message = f"{name} has {gpu.ecc_errors:,} uncorrected memory errors"
        yield Finding("ecc", ERROR, message, "its memory is failing", f"nvidia-smi -q -i {gpu.board} -d ECC")
    if reasons := [reason for reason in gpu.throttled if reason != "power limit"]:
        message = f"{name} is throttled: {', '.join(reasons)}"
        yield Finding("throttled", WARNING, message, "it runs below its full speed", "check its cooling and power")
    if gpu.pcie_width and gpu.pcie_width[0] < gpu.pcie_width[1]:
        used, available = gpu.pcie_width
        message = f"{name} uses {used} of {available} PCIe lanes"
        fix = "try another slot; it matters only if layers are kept in RAM"
        yield Finding("pcie", NOTE, message, "limited by the slot or a riser", fix)
    if taken := sum(process.used or 0 for process in gpu.processes):
        processes = ", ".join(f"{process.name} ({process.pid})" for process in gpu.processes)
        message = f"{_gib(taken)} of {name} are in use by {processes}"
        yield Finding("taken", NOTE, message, "", "end these processes, or wait")


def room(m: Machine) -> list[Finding]:
    problems = []
    if m.ram_limit is not None:
        message = f"a cgroup limits RAM to {_gib(m.ram_limit)} of {_gib(m.ram)}"
        why, fix = "the limit of a container or service", "raise it: docker run --memory"
        problems.append(Finding("cgroup", WARNING, message, why, fix))
    if m.cores_usable < m.cores:
        message = f"only {m.cores_usable:g} of {m.cores} cores are usable"
        problems.append(Finding("cores", NOTE, message, "a CPU affinity or quota", "start difftool without that limit"))
    tight = {disk.path: disk for disk in m.disks if disk.free < TIGHT_DISK}
    for disk in tight.values():
        message = f"only {disk.free / 10**9:.1f} GB free for {disk.used_for} ({disk.path})"
        fix = "free some space, or set DIFFTOOL_MODELS_DIR"
        problems.append(Finding("disk", WARNING, message, "models are large", fix))
    vram = sum(gpu.total for gpu in m.gpus if not gpu.slice)
    if vram and m.ram < 2 * vram * 0.9:
        message = f"only {_gib(m.ram)} of RAM for {_gib(vram)} of VRAM"
        why = "the guide recommends twice as much RAM as VRAM"
        problems.append(Finding("ram", NOTE, message, why, "add RAM; it matters only if networks are kept in RAM"))
    return problems


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"


def tools(m: Machine) -> list[Finding]:
    problems = []
    if m.ffmpeg is None and not m.ffmpeg_bundled:
        fix = "sudo apt install ffmpeg"
        problems.append(Finding("ffmpeg", ERROR, "ffmpeg is not installed", "sound files cannot be decoded", fix))
    if m.sndfile is None:
        problems.append(Finding("sndfile", ERROR, "soundfile is not installed", "", pip_install("soundfile")))
    problems += _models(m)
    if m.cron:
        message = "this looks like cron, which has a short PATH"
        problems.append(Finding("cron", NOTE, message, "", "call difftool by its full path"))
    return problems


def _models(m: Machine) -> Iterator[Finding]:
    """Incomplete and damaged models, and incomplete downloads of other tools."""
    partial = [name for name, state in m.store if state == "in part"]
    if partial:
        message = f"incomplete models: {', '.join(partial)}"
        yield Finding("store", WARNING, message, "a download was interrupted", f"difftool models pull {partial[0]}")
    damaged = [name for name, state in m.store if state == "damaged"]
    for name in damaged:
        message = f"a file of {name} is not a model but a git-lfs pointer or a web page"
        fix = f"difftool models rm {name} && difftool models pull {name}"
        yield Finding("damaged", ERROR, message, "it was not downloaded by models pull", fix)
    for path, count in m.caches:
        if count:
            message = f"{counted(count, 'incomplete download')} in {path}"
            yield Finding("cache", NOTE, message, "they take up space", f"find {path} -name '*.incomplete' -delete")


def _boards(m: Machine) -> list[Gpu]:
    """The GPUs; of a GPU with MIG slices, the first slice."""
    shown: list[Gpu] = []
    seen: set[int] = set()
    for gpu in m.gpus:
        if not gpu.slice or gpu.board not in seen:
            shown.append(gpu)
        seen.add(gpu.board)
    return shown


def _named(gpu: Gpu) -> str:
    kind = "the GPU of slice" if gpu.slice else "GPU"
    return f"{kind} {gpu.number} ({gpu.name})"


RULES: dict[Callable[[Machine], list[Finding]], str] = {
    no_torch: "packages",
    built_for_cpu: "packages",
    rocm: "packages",
    no_driver: "driver",
    mismatch: "driver",
    driver_too_old: "packages",
    no_answer: "cards",
    no_kernels: "packages",
    no_uvm: "cuda",
    no_start: "cuda",
    wsl: "cuda",
    container: "cards",
    cards: "cards",
    foreign_cudnn: "cuda",
    order: "cards",
    hidden: "cards",
    room: "memory",
    tools: "tools",
    no_gpu: "bus",
}
"""Each rule with the probe that it depends on."""
