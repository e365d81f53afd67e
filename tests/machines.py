"""Machines that are not here: trees of /proc, /sys and /dev, an NVML, and libraries, as `lab.probes` asks them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from difftool.lab.facts import Machine
from difftool.lab.probes import Sources, probe

GIB = 2**30


class Card(NamedTuple):
    """A GPU of a simulated machine."""

    name: str
    capability: tuple[int, int]
    total: float
    """GiB"""
    free: float
    slices: tuple[tuple[str, float], ...] = ()
    reasons: int = 0
    ecc: int = 0
    lanes: tuple[int, int] = (16, 16)
    processes: tuple[tuple[int, float], ...] = ()


class Nvml:
    """The functions of pynvml that are asked, for these cards."""

    def __init__(self, cards: tuple[Card, ...], driver: str, cuda: int, error: str = "", peers: bool = True) -> None:
        self.cards, self.driver, self.cuda, self.error, self.peers = cards, driver, cuda, error, peers

    def nvmlInit(self) -> None:
        if self.error:
            raise RuntimeError(self.error)

    def nvmlShutdown(self) -> None:
        pass

    def nvmlSystemGetDriverVersion(self) -> bytes:
        return self.driver.encode()

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return self.cuda

    def nvmlDeviceGetCount(self) -> int:
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, k: int) -> Any:
        return self.cards[k]

    def nvmlDeviceGetName(self, card: Any) -> str:
        return card.name

    def nvmlDeviceGetUUID(self, card: Any) -> str:
        return f"{'MIG' if ' MIG ' in card.name else 'GPU'}-{card.name}"

    def nvmlDeviceGetCudaComputeCapability(self, card: Any) -> tuple[int, int]:
        return card.capability

    def nvmlDeviceGetMemoryInfo(self, card: Any) -> Any:
        return SimpleNamespace(total=int(card.total * GIB), free=int(card.free * GIB))

    def nvmlDeviceGetCurrentClocksEventReasons(self, card: Any) -> int:
        return card.reasons

    def nvmlDeviceGetTotalEccErrors(self, card: Any, kind: int, counter: int) -> int:
        return card.ecc

    def nvmlDeviceGetDisplayActive(self, card: Any) -> int:
        raise RuntimeError("Not Supported")

    def nvmlDeviceGetComputeRunningProcesses(self, card: Any) -> list[Any]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=int(used * GIB)) for pid, used in card.processes]

    def nvmlDeviceGetCurrPcieLinkWidth(self, card: Any) -> int:
        return card.lanes[0]

    def nvmlDeviceGetMaxPcieLinkWidth(self, card: Any) -> int:
        return card.lanes[1]

    def nvmlDeviceGetNvLinkState(self, card: Any, link: int) -> int:
        raise RuntimeError("Not Supported")

    def nvmlDeviceGetP2PStatus(self, a: Any, b: Any, kind: int) -> int:
        return 0 if self.peers else 3

    def nvmlDeviceGetMigMode(self, card: Any) -> tuple[int, int]:
        return (1, 1) if card.slices else (0, 0)

    def nvmlDeviceGetMaxMigDeviceCount(self, card: Any) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: Any, k: int) -> Any:
        name, size = card.slices[k]
        return card._replace(name=name, total=size, free=size - 0.2, slices=())


class Cuda:
    """A CUDA runtime of PyTorch's, a cuDNN, a driver's library."""

    def __init__(self, runtime: int = 13000, error: int = 0) -> None:
        self.runtime, self.error = runtime, error

    def cudaRuntimeGetVersion(self, place: Any) -> int:
        place._obj.value = self.runtime
        return 0

    def cudaGetDeviceCount(self, place: Any) -> int:
        return self.error

    def cudnnGetVersion(self) -> int:
        return 91900


def machine(
    tmp_path: Path,
    *cards: Card,
    driver: str = "580.65.06",
    library: str | None = None,
    cuda: int = 13000,
    torch: tuple[str, str | None] = ("2.11.0+cu130", "13.0"),
    torchaudio: str | None = None,
    rocm: str | None = None,
    amd: bool = False,
    ram: float = 64,
    limit: float | None = None,
    cores: int = 16,
    nodes: tuple[str, ...] = ("nvidia0", "nvidia-uvm"),
    error: int = 0,
    nvml_error: str = "",
    wsl: bool = False,
    libcuda: bool = True,
    on_bus: int | None = None,
    env: Mapping[str, str] | None = None,
    peers: bool = True,
) -> Machine:
    """What the probes find on such a machine."""
    root, site = tmp_path / "root", tmp_path / "site"

    def write(place: str, text: str) -> None:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text)

    kernel = "Linux version 6.6.87-microsoft-standard-WSL2" if wsl else "Linux version 6.8.0-generic"
    write("proc/version", kernel)
    write("proc/meminfo", f"MemTotal: {int(ram * 2**20)} kB\nMemAvailable: {int(ram * 0.9 * 2**20)} kB\n")
    write("proc/cpuinfo", "".join(f"processor\t: {k}\n" for k in range(cores)))
    write("proc/loadavg", "0.50 0.40 0.30 1/200 1000")
    if limit is not None:
        write("sys/fs/cgroup/memory.max", str(int(limit * GIB)))
    if driver:
        write("sys/module/nvidia/version", driver)
    for k in range(len(cards) if on_bus is None else on_bus):
        write(f"sys/bus/pci/devices/0000:0{k}:00.0/vendor", "0x10de\n")
        write(f"sys/bus/pci/devices/0000:0{k}:00.0/class", "0x030000\n")
    if amd:
        write("sys/bus/pci/devices/0000:63:00.0/vendor", "0x1002\n")
        write("sys/bus/pci/devices/0000:63:00.0/class", "0x030000\n")
    for node in nodes:
        write(f"dev/{node}", "")
    (site / "torch").mkdir(parents=True)
    build = "None" if torch[1] is None else repr(torch[1])
    versions = f"__version__ = '{torch[0]}'\ncuda: Optional[str] = {build}\nhip: Optional[str] = {rocm!r}\n"
    (site / "torch" / "version.py").write_text(versions)
    (site / "torchaudio").mkdir()
    (site / "torchaudio" / "version.py").write_text(f"__version__ = '{torchaudio or torch[0]}'\n")
    wheel = "cu13/lib/libcudart.so.13" if (torch[1] or "").startswith("13") else "cuda_runtime/lib/libcudart.so.12"
    for name in (wheel, "cudnn/lib/libcudnn.so.9") if torch[1] else ():
        (site / "nvidia" / name).parent.mkdir(parents=True)
        (site / "nvidia" / name).write_text("")

    def opened(name: str) -> Any:
        if "nvinfer" in name or (name == "libcuda.so.1" and not libcuda):
            raise OSError(name)
        return Cuda(13000 if (torch[1] or "").startswith("13") else 12060, error)

    nvml = Nvml(
        cards, library or driver, cuda, nvml_error or ("" if driver else "NVML Shared Library Not Found"), peers
    )
    return probe(
        Sources(
            root=root, env={"PATH": "/usr/bin", "TERM": "xterm", **(env or {})}, nvml=nvml, library=opened, site=site
        )
    )
