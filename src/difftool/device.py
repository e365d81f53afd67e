"""Selects device, number format and threads. A requested GPU is never silently replaced by the CPU."""

from __future__ import annotations

import logging
import os
import platform
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from . import processes
from .errors import DifftoolError, Exit, is_out_of_memory, pick
from .limits import counted
from .settings import MACHINE, knows, setting

if TYPE_CHECKING:
    import torch
    from torch import Tensor

log = logging.getLogger(__name__)

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""Names on the command line to names in torch."""
MOST_THREADS = 1024
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
"""Of malloc.h."""
IDLE_SPINS = "1000"
"""Checks of a waiting thread before it sleeps. GNU OpenMP itself makes so few where it has more threads than cores."""
ROCM_BF16 = r"gfx(908|90a|9[45]|1[12])"
"""AMD architectures with native bf16: CDNA, and RDNA 3 and newer. Older ones emulate it."""


@knows(lambda: ("auto", "cpu", "cuda"))
def spelled(device: object) -> str:
    """`device` as text, if it is auto, cpu, cuda or cuda:N. Raises DifftoolError 2 otherwise."""
    device = str(device)
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", device):
        raise DifftoolError(Exit.USAGE, f"unknown device {device!r}", "known: auto, cpu, cuda, cuda:0, cuda:1, ...")
    return device


@knows(lambda: ("auto", *DTYPES))
def known_dtype(name: str) -> str:
    """The canonical name of a number format, or auto. Raises DifftoolError 2 for any other name."""
    return pick("dtype", name.strip().lower(), {known: known for known in ("auto", *DTYPES)})


def device_setting() -> Any:
    """The device setting of a command."""
    return setting("auto", "Device: auto, cpu, cuda or cuda:N.", panel=MACHINE, check=spelled)


def threads_setting() -> Any:
    """The threads setting of a command."""
    return setting(None, "Number of CPU threads.", panel=MACHINE, least=1, most=MOST_THREADS, filled=True)


@dataclass(frozen=True)
class DeviceSettings:
    """Device and threads, for runs that do not let users choose the number format."""

    device: str = device_setting()
    threads: int | None = threads_setting()


@dataclass(frozen=True)
class MachineSettings:
    """Device, number format and threads of a run."""

    device: str = device_setting()
    dtype: str = setting("auto", "Number format: auto, fp32, bf16 or fp16.", panel=MACHINE, check=known_dtype)
    half: bool = setting(False, "Same as --dtype fp16.", panel=MACHINE, stored=False)
    threads: int | None = threads_setting()

    exclusive: ClassVar[tuple[tuple[str, ...], ...]] = (("dtype", "half"),)
    """Mutually exclusive settings."""

    def machine(self) -> tuple[torch.device, torch.dtype]:
        """(device, dtype), from `choose`."""
        return choose(self.device, "fp16" if self.half else self.dtype, self.threads)

    def connect(self) -> None:
        """Connects several processes (torchrun), each with a GPU of its own as cuda; does nothing for a single one."""
        if processes.count() > 1:
            processes.begin(self.machine()[0])


def machine_used(device: torch.device, dtype: torch.dtype) -> dict[str, object]:
    """The settings that select this device and number format again, with the current number of threads."""
    import torch

    return {"device": str(device), "dtype": name_of(dtype), "half": False, "threads": torch.get_num_threads()}


def choose(
    device: str | torch.device = "auto", dtype: str = "auto", threads: int | None = None
) -> tuple[torch.device, torch.dtype]:
    """Sets the number of CPU threads, lets the process `keep_memory`, and resolves ``auto|cpu|cuda[:i]`` and
    ``auto|fp32|bf16|fp16``.

    auto is the first GPU, else the CPU; and bf16 on a GPU that supports it, else fp32. PyTorch for ROCm calls its GPUs
    cuda too; they are used, with a warning. Raises DifftoolError 3 for a GPU that does not exist, 2 for an unknown name
    or threads outside 1 to MOST_THREADS.
    """
    device = spelled(device)
    pick("dtype", dtype, {"auto": "", **DTYPES})
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        message = f"threads must be at least 1 and at most {MOST_THREADS:,}, not {threads}"
        raise DifftoolError(Exit.USAGE, message, "leave out --threads")
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    keep_memory()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu" and not torch.cuda.is_available():
        raise DifftoolError(Exit.MACHINE, f"{device}: {_without_gpu()}", "use --device cpu to run on the CPU")
    selected = torch.device(device)
    is_gpu = selected.type == "cuda"
    if is_gpu and (selected.index or 0) >= torch.cuda.device_count():
        message = f"{device}: this machine has {counted(torch.cuda.device_count(), 'GPU')}"
        raise DifftoolError(Exit.MACHINE, message, "GPUs are numbered from cuda:0")
    if is_gpu and torch.version.hip:
        log.warning("this PyTorch is built for ROCm; difftool is not tested on AMD GPUs")
    if dtype == "auto":
        dtype = "bf16" if is_gpu and _computes_bf16(selected) else "fp32"
    return selected, getattr(torch, DTYPES[dtype])


def machine_name(device: torch.device) -> str:
    """The name of a GPU, or of the CPU with the number of threads that are used."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_name()}, {counted(torch.get_num_threads(), 'thread')}"


def _cpu_name() -> str:
    with suppress(OSError):
        if found := re.search(r"^model name\s*: (.+)", Path("/proc/cpuinfo").read_text(errors="replace"), re.M):
            return found[1]
    return platform.processor() or platform.machine()


def _without_gpu() -> str:
    """Why PyTorch has no usable GPU."""
    import torch

    if torch.version.hip:
        return "this PyTorch is built for ROCm and finds no usable AMD GPU"
    if torch.version.cuda is None:
        return "this PyTorch is built for the CPU only"
    return "PyTorch finds no usable NVIDIA GPU"


def cpu_computes_bf16() -> bool:
    """Whether the CPU multiplies in bf16 (AMX, AVX512-BF16), not just converts to it."""
    from torch import cpu

    return cpu._is_amx_tile_supported() or cpu._is_avx512_bf16_supported()  # pyright: ignore[reportPrivateUsage]


def _computes_bf16(gpu: torch.device) -> bool:
    import torch

    if torch.version.hip:  # compute capability does not tell: 9.0 from Vega to the MI250
        return re.match(ROCM_BF16, torch.cuda.get_device_properties(gpu).gcnArchName) is not None
    return torch.cuda.get_device_capability(gpu)[0] >= 8


def rest_idle_threads() -> None:
    """Makes threads of GNU OpenMP that wait for others sleep soon, if PyTorch is not loaded yet and the environment
    does not say otherwise. By default they spin for milliseconds, which keeps other processes, and then their own, from
    the cores. For networks with large products only: waking up takes longer than a small product."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", IDLE_SPINS)


def keep_memory() -> None:
    """Makes glibc keep freed memory. By default it returns large blocks to the system at once, and getting them back
    page by page takes a third of a training step on a CPU."""
    import ctypes

    mallopt = getattr(ctypes.CDLL(None) if os.name == "posix" else None, "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def return_memory() -> None:
    """Makes glibc return blocks of a megabyte and more at once, after `keep_memory`: where large blocks of many sizes
    come and go, kept ones leave gaps that take half as much memory again."""
    import ctypes

    mallopt = getattr(ctypes.CDLL(None) if os.name == "posix" else None, "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 2**16)
        mallopt(M_MMAP_THRESHOLD, 2**20)


def halved(size: int, error: BaseException, smallest: DifftoolError | None = None) -> int:
    """Half of a batch size, after an out-of-memory error. Re-raises any other error; if not even one item fits, raises
    `smallest`, or else the error itself."""
    if is_out_of_memory(error) and size <= 1 and smallest is not None:
        raise smallest from error
    if not is_out_of_memory(error) or size <= 1:
        raise error
    log.warning(f"out of memory; batch size reduced to {size // 2}")
    return size // 2


def finite(x: Tensor, source: str = "the network", hint: str = "try --dtype fp32") -> Tensor:
    """The output of a network. Raises DifftoolError 1 if it has values that are not finite."""
    if not x.isfinite().all():
        raise DifftoolError(Exit.FAILED, f"{source} returned values that are not finite", hint)
    return x


def name_of(dtype: torch.dtype) -> str:
    """The command-line name of a number format."""
    return next(name for name, known in DTYPES.items() if str(dtype) == f"torch.{known}")
