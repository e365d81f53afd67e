"""What is known of a machine: facts, without a word on what they mean. None stands for what could not be found out."""

from __future__ import annotations

import re
from typing import NamedTuple

Version = tuple[int, ...]


class Written(Version):
    """The numbers of a version, to be compared, with the text they were read from."""

    text = ""


class Process(NamedTuple):
    """A process that holds memory of a GPU."""

    pid: int
    name: str
    used: int | None
    """bytes"""


class Gpu(NamedTuple):
    """A GPU of NVIDIA, or a slice of one."""

    number: int
    """As CUDA counts those that it is shown, from 0."""
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
    """Why its clocks are held down now."""
    ecc_errors: int | None = None
    """That could not be corrected."""
    display: bool | None = None
    """Whether a screen hangs on it."""
    processes: tuple[Process, ...] = ()
    pcie_width: tuple[int, int] | None = None
    """Lanes in use, and lanes there are."""
    nvlinks: int = 0
    board: int = 0
    """The number that NVML and nvidia-smi give the GPU that it is, or is a slice of."""

    @property
    def precisions(self) -> tuple[str, ...]:
        """The number formats its kernels compute in at speed, by its compute capability."""
        steps = {"fp32": (0, 0), "fp16": (7, 0), "bf16": (8, 0), "tf32": (8, 0), "fp8": (8, 9), "fp4": (10, 0)}
        return tuple(name for name, least in steps.items() if self.capability >= least)


class Disk(NamedTuple):
    """Where something is kept."""

    role: str
    path: str
    total: int
    free: int


class Machine(NamedTuple):
    """Everything that was found out."""

    system: str
    python: str
    wsl: bool = False
    container: bool = False
    cron: bool = False
    gpus: tuple[Gpu, ...] = ()
    on_bus: int = 0
    """Graphics processors of NVIDIA on the PCI bus, whether a driver knows them or not."""
    others: tuple[str, ...] = ()
    """Accelerators of other makers."""
    peers: tuple[tuple[int, int, bool], ...] = ()
    """(GPU, GPU, whether they read each other's memory)."""
    driver: Version | None = None
    """Of the kernel module."""
    library: Version | None = None
    """Of the driver's libraries, which must be the same."""
    nvml_error: str | None = None
    cuda_driver: Version | None = None
    """The newest CUDA that the driver knows."""
    cuda_runtime: Version | None = None
    """The CUDA that came with PyTorch."""
    cuda_error: int | None = None
    """What the runtime said when it was asked for devices; 0 is well."""
    libcuda: bool = False
    nodes: tuple[str, ...] = ()
    """Of /dev: nvidia0, nvidia-uvm, ..."""
    cudnn: Version | None = None
    foreign_cudnn: tuple[str, ...] = ()
    """Folders of LD_LIBRARY_PATH with a cuDNN of their own."""
    tensorrt: Version | None = None
    torch: str | None = None
    torch_cuda: Version | None = None
    """What PyTorch was built for; None is no CUDA."""
    torch_rocm: str | None = None
    """The same for ROCm, on which AMD GPUs answer to the name cuda."""
    torchaudio: str | None = None
    cuda_order: str | None = None
    """CUDA_DEVICE_ORDER"""
    cuda_visible: str | None = None
    """CUDA_VISIBLE_DEVICES"""
    hidden: int = 0
    """GPUs and slices that it hides."""
    mixed: bool = False
    """Whether the GPUs of this machine, hidden or not, are of several kinds."""
    ram: int = 0
    ram_free: int = 0
    ram_limit: int | None = None
    """Of a cgroup."""
    ram_held: int = 0
    """By the processes of that cgroup."""
    cores: int = 1
    cores_usable: float = 1
    load: float = 0.0
    disks: tuple[Disk, ...] = ()
    ffmpeg: str | None = None
    ffmpeg_bundled: bool = False
    sndfile: str | None = None
    store: tuple[tuple[str, str], ...] = ()
    """(model, whole, in part, damaged or missing)."""
    caches: tuple[tuple[str, int], ...] = ()
    """(folder where other tools keep models, files in it that were broken off)."""
    failed: tuple[tuple[str, str], ...] = ()
    """(probe, why it found nothing)."""

    @property
    def runs_on_rocm(self) -> bool:
        """Whether PyTorch is built for ROCm, and there is an AMD GPU for it."""
        return self.torch_rocm is not None and any(one.startswith("AMD") for one in self.others)

    @property
    def memory(self) -> int:
        """Bytes of RAM that a process can have now."""
        return self.ram_free if self.ram_limit is None else min(self.ram_free, self.ram_limit - self.ram_held)

    @property
    def most(self) -> int:
        """Bytes of RAM that a process could have if no other held any."""
        return self.ram if self.ram_limit is None else min(self.ram, self.ram_limit)


def parsed(text: str | None) -> Version | None:
    """A version such as 580.65.06 or 12.8 as numbers."""
    found = re.match(r"\d+(?:\.\d+)*", text or "")
    if not found:
        return None
    version = Written(int(part) for part in found[0].split("."))
    version.text = found[0]
    return version


def spelled(version: Version | None) -> str:
    """A version as it was written, where it was read."""
    return "none" if version is None else getattr(version, "text", ".".join(map(str, version)))
