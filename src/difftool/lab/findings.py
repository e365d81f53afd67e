"""The failures that people meet, recognised from facts: what is seen, why, and the command that mends it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from typing import NamedTuple

from ..errors import pip_install
from .facts import Gpu, Machine, Version, parsed, spelled

FLOORS: dict[int, Version] = {13: (580,), 12: (525, 60, 13), 11: (450, 80, 2)}
"""The oldest driver for Linux with which a CUDA runtime works (NVIDIA, CUDA compatibility, table 2)."""
BUILDS: dict[str, tuple[Version, tuple[int, int], tuple[int, int]]] = {
    "cu130": ((13, 0), (7, 5), (12, 1)),
    "cu128": ((12, 8), (7, 5), (12, 1)),
    "cu126": ((12, 6), (5, 0), (9, 0)),
}
"""PyTorch 2.11's builds, the newest first: the CUDA they bring, and the compute capabilities that they have kernels
for."""
CUDA_SAID = {
    35: (
        "the driver's library is missing or too old",
        "install driver 580 or newer; in a container, start it with --gpus all",
    ),
    100: ("CUDA sees no device", "unset CUDA_VISIBLE_DEVICES"),
    802: ("the fabric manager of this machine is not running", "sudo systemctl start nvidia-fabricmanager"),
}
"""What the runtime's errors mean, and what mends them."""
TIGHT_DISK = 10 * 10**9
ERROR, WARNING, NOTE = "error", "warning", "note"
"""What keeps a GPU from being used; what costs; what is good to know."""


class Finding(NamedTuple):
    """Something about a machine that somebody should know."""

    name: str
    level: str
    what: str
    why: str
    mend: str
    """A command, or what to do."""


def findings(machine: Machine) -> list[Finding]:
    """All that is known to be wrong with a machine, the worst first. What hangs on a probe that failed is not said."""
    failed = dict(machine.failed)
    found = [one for rule, probe in RULES.items() if probe not in failed for one in rule(machine)]
    return sorted(found, key=lambda one: (ERROR, WARNING, NOTE).index(one.level))


def kernels_of(cuda: Version) -> tuple[tuple[int, int], tuple[int, int]]:
    """The least and the greatest compute capability for which a build for this CUDA has kernels."""
    return next(((low, high) for built, low, high in BUILDS.values() if cuda >= built), ((5, 0), (9, 0)))


def build_for(machine: Machine) -> str:
    """The command that installs a PyTorch for this machine's driver and GPUs; a newer driver, where none is."""
    if not machine.gpus and not machine.on_bus:
        return _install("cpu")
    for name, (built, low, high) in BUILDS.items():
        new_enough = machine.driver is None or machine.driver >= FLOORS[built[0]]
        if new_enough and all(low <= gpu.capability <= high for gpu in machine.gpus):
            return _install(name)
    return "install driver 580 or newer, then reboot"


def _install(build: str) -> str:
    again = "--reinstall-package torch --reinstall-package torchaudio"  # or uv is content with another build
    python = shlex.quote(sys.executable)
    return f"uv pip install --python {python} {again} torch==2.11.0 torchaudio==2.11.0 --torch-backend={build}"


def no_gpu(m: Machine) -> list[Finding]:
    if m.gpus or m.on_bus or m.nodes or m.driver or m.runs_on_rocm:
        return []
    others = f"; there is {' and '.join(m.others)}, which this PyTorch does not use" if m.others else ""
    what = f"no GPU of NVIDIA is here{others}"
    return [Finding("no_gpu", NOTE, what, "everything runs on the CPU", "difftool lab plan tells what a GPU would add")]


def no_driver(m: Machine) -> list[Finding]:
    if not m.on_bus or m.driver or m.gpus:
        return []
    what = f"{m.on_bus} GPU of NVIDIA on the bus, and no driver"
    return [
        Finding("no_driver", ERROR, what, "the kernel module is not loaded", "sudo ubuntu-drivers install, then reboot")
    ]


def driver_too_old(m: Machine) -> list[Finding]:
    floor = FLOORS.get(m.torch_cuda[0]) if m.torch_cuda else None
    if not m.driver or floor is None or m.driver >= floor or m.torch_cuda is None:
        return []
    what = f"driver {spelled(m.driver)} is too old for this PyTorch, which wants {spelled(floor)}"
    why = f"PyTorch {m.torch} was built for CUDA {spelled(m.torch_cuda)}"
    return [Finding("driver_too_old", ERROR, what, why, build_for(m))]


def no_answer(m: Machine) -> list[Finding]:
    """A driver, and no GPU that it knows."""
    if m.gpus or m.hidden or not m.driver or mismatch(m) or container(m):
        return []
    why = m.nvml_error or "a GPU that fell off the bus, or MIG without slices"
    what = f"driver {spelled(m.driver)} is loaded and tells of no GPU"
    return [Finding("no_answer", ERROR, what, why, "nvidia-smi -q; sudo dmesg | grep -i nvrm")]


def no_start(m: Machine) -> list[Finding]:
    """CUDA's runtime says why it does not start."""
    if m.cuda_error in (None, 0) or not m.gpus or driver_too_old(m) or no_uvm(m):
        return []
    why, mend = CUDA_SAID.get(m.cuda_error or 0, ("", "reboot; then difftool lab check --deep"))
    return [Finding("no_start", ERROR, f"CUDA does not start (error {m.cuda_error})", why, mend)]


def mismatch(m: Machine) -> list[Finding]:
    told = "mismatch" in (m.nvml_error or "").lower()
    if not told and (not m.driver or not m.library or m.driver == m.library):
        return []
    what = "the driver's kernel module and its libraries are of two versions"
    why = f"the driver was upgraded and the old module ({spelled(m.driver)}) is still loaded"
    mend = "reboot, or sudo rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia && sudo modprobe nvidia"
    return [Finding("driver_mismatch", ERROR, what, why, mend)]


def no_kernels(m: Machine) -> list[Finding]:
    if m.torch_cuda is None:
        return []
    low, high = kernels_of(m.torch_cuda)
    found = []
    for gpu in _boards(m):
        if not low <= gpu.capability <= high:
            what = f"this PyTorch has no kernels for {_named(gpu)} (compute capability {spelled(gpu.capability)})"
            why = f"PyTorch {m.torch} was built for {spelled(low)} to {spelled(high)}"
            found.append(Finding("no_kernels", ERROR, what, why, build_for(m._replace(gpus=(gpu,)))))
    return found


def built_for_cpu(m: Machine) -> list[Finding]:
    if m.torch is None or m.torch_cuda is not None or not (m.gpus or m.on_bus):
        return []
    built = f"ROCm {m.torch_rocm}" if m.torch_rocm else "the CPU only"
    what = f"PyTorch {m.torch} is built for {built}, and there is a GPU of NVIDIA"
    return [Finding("torch_for_cpu", ERROR, what, "another index or another package was installed", build_for(m))]


def rocm(m: Machine) -> list[Finding]:
    if not m.runs_on_rocm:
        return []
    what = f"PyTorch {m.torch} is built for ROCm: --device cuda is an AMD GPU"
    why = "difftool is not tested on AMD GPUs, and the verdicts are for the CPU"
    return [Finding("rocm", WARNING, what, why, "difftool lab check --deep; where it fails, take --device cpu")]


def no_torch(m: Machine) -> list[Finding]:
    if m.torch is None:
        return [Finding("no_torch", ERROR, "PyTorch is not installed", "", build_for(m))]
    if m.torchaudio is None:
        return []
    ours, theirs = (text.partition("+") for text in (m.torch, m.torchaudio))
    another_cuda = theirs[2].startswith("cu") and ours[2] not in ("", theirs[2])
    if parsed(ours[0]) == parsed(theirs[0]) and not another_cuda:
        return []
    what = f"torch {m.torch} and torchaudio {m.torchaudio} are of two {'builds' if another_cuda else 'releases'}"
    return [Finding("torch_and_torchaudio", ERROR, what, "torchaudio does not import with another torch", build_for(m))]


def foreign_cudnn(m: Machine) -> list[Finding]:
    if not m.foreign_cudnn:
        return []
    what = f"LD_LIBRARY_PATH brings a cuDNN of its own: {', '.join(m.foreign_cudnn)}"
    why = f"it takes the place of cuDNN {spelled(m.cudnn)}, which PyTorch was built with"
    return [Finding("foreign_cudnn", WARNING, what, why, "unset LD_LIBRARY_PATH")]


def no_uvm(m: Machine) -> list[Finding]:
    """Of a bare system: what a container is given is another matter."""
    gone = bool(m.nodes) and "nvidia-uvm" not in m.nodes and m.cuda_error not in (None, 0)
    if not m.driver or m.wsl or m.container or not (m.cuda_error == 999 or gone):
        return []
    what = "CUDA does not start, though the driver is there"
    why = "the module nvidia_uvm is gone or stuck, as after a suspend"
    return [Finding("no_uvm", ERROR, what, why, "sudo modprobe -r nvidia_uvm && sudo modprobe nvidia_uvm")]


def wsl(m: Machine) -> list[Finding]:
    if not m.wsl or m.libcuda:
        return []
    what = "WSL does not find libcuda, which Windows' driver of NVIDIA brings"
    why = "no GPU of NVIDIA, a driver for Linux installed inside WSL, or /usr/lib/wsl/lib is not searched"
    mend = "update the driver on Windows, remove any inside WSL; export LD_LIBRARY_PATH=/usr/lib/wsl/lib"
    return [Finding("wsl_without_cuda", WARNING, what, why, mend)]


def container(m: Machine) -> list[Finding]:
    if not m.container or not m.driver or m.gpus or any(one.startswith("nvidia") for one in m.nodes):
        return []
    what = "the machine has a driver, and this container sees no GPU"
    return [Finding("container", ERROR, what, "it was started without them", "docker run --gpus all ...")]


def order(m: Machine) -> list[Finding]:
    """Where the numbers of GPUs depend on which CUDA takes for the fastest; by their UUIDs they do not."""
    by_uuid = (m.cuda_visible or "").strip().startswith(("GPU-", "MIG-"))
    if not m.gpus or not m.mixed or by_uuid or m.cuda_order == "PCI_BUS_ID":
        return []
    what = "the GPUs differ, and CUDA numbers them otherwise than this list, the fastest first"
    return [Finding("cuda_order", WARNING, what, "cuda:0 may be another one", "export CUDA_DEVICE_ORDER=PCI_BUS_ID")]


def hidden(m: Machine) -> list[Finding]:
    """What CUDA_VISIBLE_DEVICES keeps from CUDA."""
    if not m.hidden:
        return []
    level, some = (NOTE, "") if m.gpus else (WARNING, "all ")
    what = f"CUDA_VISIBLE_DEVICES={m.cuda_visible} hides {some}{m.hidden} GPUs or slices of them"
    return [Finding("hidden", level, what, "CUDA numbers those that it shows", "unset CUDA_VISIBLE_DEVICES")]


def cards(m: Machine) -> list[Finding]:
    found = []
    for gpu in _boards(m):
        if gpu.ecc_errors:
            what = f"{_named(gpu)} has {gpu.ecc_errors:,} memory errors that could not be corrected"
            found.append(Finding("ecc", ERROR, what, "its memory is failing", f"nvidia-smi -q -i {gpu.board} -d ECC"))
        if hot := [why for why in gpu.throttled if why != "power limit"]:
            what = f"{_named(gpu)} is held down: {', '.join(hot)}"
            found.append(
                Finding("throttled", WARNING, what, "it is slower than it could be", "look to its air and power")
            )
        if gpu.pcie_width and gpu.pcie_width[0] < gpu.pcie_width[1]:
            what = f"{_named(gpu)} has {gpu.pcie_width[0]} of {gpu.pcie_width[1]} PCIe lanes"
            found.append(
                Finding(
                    "pcie", NOTE, what, "the slot, or a riser", "matters where layers are kept in RAM: try another slot"
                )
            )
        if taken := sum(one.used or 0 for one in gpu.processes):
            names = ", ".join(f"{one.name} ({one.pid})" for one in gpu.processes)
            what = f"{taken / 2**30:.1f} GiB of {_named(gpu)} are taken by {names}"
            found.append(Finding("taken", NOTE, what, "", "end them, or wait"))
    return found


def room(m: Machine) -> list[Finding]:
    found = []
    if m.ram_limit is not None:
        what = f"a control group allows {m.ram_limit / 2**30:.1f} of {m.ram / 2**30:.0f} GiB of RAM"
        found.append(
            Finding("cgroup", WARNING, what, "a container or a service has a limit", "raise it: docker run --memory")
        )
    if m.cores_usable < m.cores:
        what = f"{m.cores_usable:g} of {m.cores} cores may be used"
        found.append(Finding("cores", NOTE, what, "an affinity or a quota", "start it without that limit"))
    for path in {disk.path: disk for disk in m.disks if disk.free < TIGHT_DISK}.values():
        what = f"{path.free / 10**9:.1f} GB are free for {path.role} ({path.path})"
        found.append(Finding("disk", WARNING, what, "models are large", "make room, or set DIFFTOOL_MODELS_DIR"))
    whole = sum(gpu.total for gpu in m.gpus if not gpu.slice)
    if whole and m.ram < 2 * whole * 0.9:
        what = f"{m.ram / 2**30:.0f} GiB of RAM beside {whole / 2**30:.0f} GiB of VRAM"
        found.append(
            Finding("ram", NOTE, what, "the guide wants twice the VRAM", "matters where parts are kept in RAM")
        )
    return found


def tools(m: Machine) -> list[Finding]:
    found = []
    if m.ffmpeg is None and not m.ffmpeg_bundled:
        found.append(
            Finding("ffmpeg", ERROR, "there is no ffmpeg", "sounds cannot be decoded", "sudo apt install ffmpeg")
        )
    if m.sndfile is None:
        found.append(Finding("sndfile", ERROR, "soundfile is not installed", "", pip_install("soundfile")))
    part = [name for name, state in m.store if state == "in part"]
    if part:
        what = f"{', '.join(part)} lies only in part in the store"
        found.append(Finding("store", WARNING, what, "a download was broken off", f"difftool models pull {part[0]}"))
    for name in (name for name, state in m.store if state == "damaged"):
        what = f"a file of {name} in the store is no model, but a pointer of git-lfs or a web page"
        mend = f"difftool models rm {name} && difftool models pull {name}"
        found.append(Finding("damaged", ERROR, what, "it was fetched by something else than models pull", mend))
    for path, count in m.caches:
        if count:
            what = f"{count} downloads in {path} were broken off"
            found.append(Finding("cache", NOTE, what, "they take room", f"find {path} -name '*.incomplete' -delete"))
    if m.cron:
        what = "this looks like cron, whose PATH is short"
        found.append(Finding("cron", NOTE, what, "", "call difftool by its whole path"))
    return found


def _boards(m: Machine) -> list[Gpu]:
    """The GPUs, of each that is cut into slices the first one."""
    return [
        gpu for k, gpu in enumerate(m.gpus) if not (gpu.slice and any(other.board == gpu.board for other in m.gpus[:k]))
    ]


def _named(gpu: Gpu) -> str:
    return f"{'the GPU of slice' if gpu.slice else 'GPU'} {gpu.number} ({gpu.name})"


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
"""Each with the probe that it hangs on."""
