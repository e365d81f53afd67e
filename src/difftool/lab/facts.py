"""Facts about a machine, without interpretation. None is unknown."""

from __future__ import annotations

import re
from typing import NamedTuple

Version = tuple[int, ...]


class Written(Version):
    """The numbers of a version, for comparison, with the text they were parsed from."""

    text = ""


PRECISIONS = {"fp32": (0, 0), "fp16": (7, 0), "bf16": (8, 0), "tf32": (8, 0), "fp8": (8, 9), "fp4": (10, 0)}
"""Number formats and the compute capability that each needs."""


class Process(NamedTuple):
    """A process that uses memory of a GPU."""

    pid: int
    name: str
    used: int | None
    """bytes"""


class Gpu(NamedTuple):
    """An NVIDIA GPU, or a MIG slice of one."""

    number: int
    """CUDA's index among the visible devices."""
    name: str
    uuid: str
    capability: tuple[int, int]
    total: int
    """bytes"""
    free: int
    """bytes"""
    slice: bool = False
    """Whether it is a MIG slice."""
    throttled: tuple[str, ...] = ()
    """Why its clocks are throttled now."""
    ecc_errors: int | None = None
    """Uncorrected ECC errors."""
    display: bool | None = None
    """Whether it drives a display."""
    processes: tuple[Process, ...] = ()
    pcie_width: tuple[int, int] | None = None
    """(lanes in use, lanes available)"""
    nvlinks: int = 0
    board: int = 0
    """The index of the GPU (for a slice, of its GPU) in NVML and nvidia-smi."""

    @property
    def precisions(self) -> tuple[str, ...]:
        """The number formats it supports natively, by compute capability."""
        return tuple(name for name, least in PRECISIONS.items() if self.capability >= least)


class Disk(NamedTuple):
    """A folder in use, and its disk."""

    role: str
    path: str
    total: int
    free: int

    @property
    def used_for(self) -> str:
        return "the current folder" if self.role == "here" else self.role


class Machine(NamedTuple):
    """All facts about a machine."""

    system: str
    python: str
    wsl: bool = False
    container: bool = False
    cron: bool = False
    gpus: tuple[Gpu, ...] = ()
    on_bus: int = 0
    """NVIDIA GPUs on the PCI bus, with or without a driver."""
    others: tuple[str, ...] = ()
    """Accelerators of other vendors."""
    peers: tuple[tuple[int, int, bool], ...] = ()
    """(GPU, GPU, whether they read each other's memory directly)"""
    driver: Version | None = None
    """Version of the kernel module."""
    library: Version | None = None
    """Version of the driver's libraries; must equal that of the kernel module."""
    nvml_error: str | None = None
    cuda_driver: Version | None = None
    """The newest CUDA that the driver supports."""
    cuda_runtime: Version | None = None
    """The CUDA runtime installed with PyTorch."""
    cuda_error: int | None = None
    """The runtime's status code for counting devices; 0 is success."""
    libcuda: bool = False
    nodes: tuple[str, ...] = ()
    """Device nodes in /dev: nvidia0, nvidia-uvm, ..."""
    cudnn: Version | None = None
    foreign_cudnn: tuple[str, ...] = ()
    """Folders in LD_LIBRARY_PATH that contain a cuDNN."""
    tensorrt: Version | None = None
    torch: str | None = None
    torch_cuda: Version | None = None
    """The CUDA that PyTorch was built for; None without CUDA."""
    torch_rocm: str | None = None
    """The ROCm that PyTorch was built for; AMD GPUs are then called cuda."""
    torchaudio: str | None = None
    cuda_order: str | None = None
    """CUDA_DEVICE_ORDER"""
    cuda_visible: str | None = None
    """CUDA_VISIBLE_DEVICES"""
    hidden: int = 0
    """GPUs and slices hidden by CUDA_VISIBLE_DEVICES."""
    mixed: bool = False
    """Whether the machine has different GPU models, hidden ones included."""
    ram: int = 0
    ram_free: int = 0
    ram_limit: int | None = None
    """The limit of the cgroup."""
    ram_held: int = 0
    """Memory in use by the processes of that cgroup."""
    cores: int = 1
    cores_usable: float = 1
    load: float = 0.0
    disks: tuple[Disk, ...] = ()
    ffmpeg: str | None = None
    ffmpeg_bundled: bool = False
    sndfile: str | None = None
    store: tuple[tuple[str, str], ...] = ()
    """(model, state: whole, in part, damaged or missing)"""
    caches: tuple[tuple[str, int], ...] = ()
    """(cache folder of another tool, number of incomplete downloads in it)"""
    failed: tuple[tuple[str, str], ...] = ()
    """(probe, why it failed)"""

    @property
    def runs_on_rocm(self) -> bool:
        """Whether PyTorch is built for ROCm and there is an AMD GPU."""
        return self.torch_rocm is not None and any(name.startswith("AMD") for name in self.others)

    @property
    def memory(self) -> int:
        """Bytes of RAM available to a process now."""
        if self.ram_limit is None:
            return self.ram_free
        return min(self.ram_free, self.ram_limit - self.ram_held)

    @property
    def most(self) -> int:
        """Bytes of RAM available to a process on an idle machine."""
        return self.ram if self.ram_limit is None else min(self.ram, self.ram_limit)


def parsed(text: str | None) -> Version | None:
    """Parses a version such as 580.65.06 or 12.8."""
    match = re.match(r"\d+(?:\.\d+)*", text or "")
    if not match:
        return None
    version = Written(int(part) for part in match[0].split("."))
    version.text = match[0]
    return version


def spelled(version: Version | None) -> str:
    """A version as text, in its original spelling if it was parsed."""
    return "none" if version is None else getattr(version, "text", ".".join(map(str, version)))
