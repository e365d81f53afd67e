"""Asks the machine. No probe raises, none may hang for long, none imports torch."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeAlias, cast

from .facts import Disk, Gpu, Machine, Process, Version, parsed

PATIENCE = 5.0
"""Seconds that a probe may take."""
NVIDIA, DISPLAY = "0x10de", "0x03"
"""PCI's numbers of the maker, and how the class of everything that shows pictures begins."""
THROTTLED = {
    0x20: "too hot",
    0x40: "too hot",
    0x80: "power brake",
    0x04: "power limit",
    0x08: "slowed down by hardware",
}
"""NVML's reasons why clocks are held down; idling is none."""


Answer: TypeAlias = dict[str, object]
"""Fields of a `Machine`."""


class Sources(NamedTuple):
    """What is asked: the machine's own, or that of a test."""

    root: Path = Path("/")
    """Under which /proc, /sys and /dev lie."""
    env: Mapping[str, str] = os.environ
    nvml: Any = None
    """A module with the functions of pynvml; None is pynvml."""
    library: Callable[[str], Any] = ctypes.CDLL
    """Opens a shared library by name or path. Raises OSError where there is none."""
    site: Path | None = None
    """Where packages are installed; None is where this Python has them."""
    models: Path | None = None
    """Where the store is; None is the user's data folder."""


def probe(sources: Sources | None = None) -> Machine:
    """Everything that can be found out in a few seconds at most, and in a tenth of one where all is well."""
    asked = sources or Sources()
    found: Answer = {}
    failed: dict[str, str] = {}

    def ask(name: str, question: Callable[[Sources], Answer]) -> None:
        try:
            found.update(question(asked))
        except Exception as error:  # a machine may be broken in ways that nobody thought of
            failed[name] = str(error) or type(error).__name__

    threads = {name: threading.Thread(target=ask, args=(name, one), daemon=True) for name, one in PROBES.items()}
    for thread in threads.values():
        thread.start()
    deadline = time.monotonic() + PATIENCE
    for name, thread in threads.items():
        thread.join(max(deadline - time.monotonic(), 0))
        if thread.is_alive():
            failed[name] = f"no answer in {PATIENCE:g} s"
    told = dict(found)  # a thread that is late goes on writing into the other
    told["driver"] = told.get("driver") or told.get("library")  # where the kernel does not say it, NVML does
    base = {"system": sys.platform, "python": platform.python_version()}
    return Machine(**cast(Any, {**base, **told, "failed": tuple(failed.items())}))


def text_of(path: Path) -> str:
    """What a file says; nothing where it is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def system(sources: Sources) -> Answer:
    version = text_of(sources.root / "proc/version").lower()
    inside = any((sources.root / name).exists() for name in (".dockerenv", "run/.containerenv"))
    cgroup = text_of(sources.root / "proc/1/cgroup")
    path = sources.env.get("PATH", "")
    return {
        "system": f"{platform.system()} {platform.release()}" if sources.root == Path("/") else version,
        "wsl": "microsoft" in version,
        "container": inside or any(word in cgroup for word in ("docker", "kubepods", "lxc", "containerd")),
        "cron": "TERM" not in sources.env and path in ("/usr/bin:/bin", "/usr/sbin:/usr/bin:/sbin:/bin"),
        "cuda_order": sources.env.get("CUDA_DEVICE_ORDER"),
        "cuda_visible": sources.env.get("CUDA_VISIBLE_DEVICES"),
    }


def memory(sources: Sources) -> Answer:
    lines = {
        k: int(v) * 1024 for k, v in re.findall(r"^(\w+):\s+(\d+) kB", text_of(sources.root / "proc/meminfo"), re.M)
    }
    if "MemTotal" in lines:
        total = lines["MemTotal"]
        free = lines.get("MemAvailable", lines.get("MemFree", 0) + lines.get("Cached", 0))
    else:
        import psutil

        total, free = psutil.virtual_memory().total, psutil.virtual_memory().available
    limits = []
    for folder in _groups(sources, "memory"):
        for limit, held in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            told = text_of(folder / limit)
            if told.isdigit() and int(told) < total:
                cached = re.search(r"^(?:total_)?inactive_file (\d+)", text_of(folder / "memory.stat"), re.M)
                used = int(text_of(folder / held) or 0) - (int(cached[1]) if cached else 0)
                limits.append((int(told), max(used, 0)))
    limit, held = min(limits, key=lambda one: one[0] - one[1], default=(None, 0))
    return {"ram": total, "ram_free": free, "ram_limit": limit, "ram_held": held}


def _groups(sources: Sources, kind: str) -> list[Path]:
    """The folders of the control groups that this process is in, from the innermost out."""
    found = []
    for line in text_of(sources.root / "proc/self/cgroup").splitlines() or ["0::/"]:
        number, kinds, place = line.split(":", 2)
        if number == "0" or kind in kinds.split(","):
            top = sources.root / "sys/fs/cgroup" / ("" if number == "0" else kind)
            inner = Path(place.lstrip("/"))
            found += [top / one for one in (inner, *inner.parents)]
    return found


def processors(sources: Sources) -> Answer:
    real = sources.root == Path("/")
    counted = len(re.findall(r"^processor\s*:", text_of(sources.root / "proc/cpuinfo"), re.MULTILINE))
    cores = counted or os.cpu_count() or 1
    usable: float = len(os.sched_getaffinity(0)) if real and hasattr(os, "sched_getaffinity") else cores
    for folder in _groups(sources, "cpu"):
        told = text_of(folder / "cpu.max").split() or [
            text_of(folder / f"cpu.cfs_{one}_us") for one in ("quota", "period")
        ]
        if len(told) == 2 and all(one.isdigit() for one in told) and int(told[1]):
            usable = min(usable, int(told[0]) / int(told[1]))
    load = text_of(sources.root / "proc/loadavg").split(" ")[0]
    return {"cores": cores, "cores_usable": usable, "load": float(load) if load else 0.0}


def bus(sources: Sources) -> Answer:
    devices = sources.root / "sys/bus/pci/devices"
    kinds = {place: (text_of(place / "vendor"), text_of(place / "class")) for place in _inside(devices)}
    cards = [vendor for vendor, kind in kinds.values() if kind.startswith(DISPLAY)]
    makers = {"0x1002": "AMD", "0x8086": "Intel"}
    others = [f"{makers[vendor]} graphics" for vendor in cards if vendor in makers]
    if (sources.root / "sys/class/kfd").exists():
        others.append("AMD with ROCm's driver")
    if platform.system() == "Darwin" and sources.root == Path("/"):
        others.append(f"Apple {platform.machine()}")
    nodes = [path.name for path in _inside(sources.root / "dev") if path.name.startswith(("nvidia", "dxg"))]
    return {"on_bus": cards.count(NVIDIA), "others": tuple(others), "nodes": tuple(sorted(nodes))}


def _inside(folder: Path) -> list[Path]:
    """What is in a folder; nothing where it is none."""
    with suppress(OSError):
        return sorted(folder.iterdir())
    return []


def driver(sources: Sources) -> Answer:
    """The version of the kernel module: from the kernel, or else from nvidia-smi."""
    module = text_of(sources.root / "sys/module/nvidia/version")
    if not module:
        found = re.search(
            r"Kernel Module\s+(?:for \S+\s+)?([\d.]+)", text_of(sources.root / "proc/driver/nvidia/version")
        )
        module = found[1] if found else ""
    smi = shutil.which("nvidia-smi", path=f"{sources.env.get('PATH', '')}:/usr/lib/wsl/lib")
    if not module and smi and sources.root == Path("/"):
        done = subprocess.run(
            [smi, "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=PATIENCE - 1, check=False,
        )  # fmt: skip
        module = done.stdout.splitlines()[0] if done.returncode == 0 and done.stdout else ""
    return {"driver": parsed(module)}


def cards(sources: Sources) -> Answer:
    """The GPUs as NVML, the driver's own library, tells of them."""
    nvml = sources.nvml
    if nvml is None:
        import pynvml as nvml
    try:
        nvml.nvmlInit()
    except Exception as error:  # its errors are classes of its own, one for each number
        return {"nvml_error": str(error)}
    try:
        boards = [_card(sources, nvml, k) for k in range(nvml.nvmlDeviceGetCount())]
        shown = visible(sources.env.get("CUDA_VISIBLE_DEVICES"), boards)
        found = [gpu._replace(number=k) for k, gpu in enumerate(shown)]
        cuda = int(nvml.nvmlSystemGetCudaDriverVersion_v2())
        return {
            "gpus": tuple(found),
            "hidden": sum(len(one.usable) for one in boards) - len(found),
            "mixed": len({one.name for one in boards if one.name}) > 1,
            "peers": () if any(gpu.slice for gpu in found) else _peers(nvml, [gpu.board for gpu in found]),
            "library": parsed(_text(nvml.nvmlSystemGetDriverVersion())),
            "cuda_driver": (cuda // 1000, cuda % 1000 // 10),
        }
    finally:
        nvml.nvmlShutdown()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class Board(NamedTuple):
    """A GPU as NVML counts them."""

    name: str = ""
    uuid: str = ""
    usable: tuple[Gpu, ...] = ()
    """Itself, or the slices into which it is cut; nothing where it does not answer at all."""


def visible(shown: str | None, boards: Sequence[Board]) -> list[Gpu]:
    """The GPUs that CUDA sees, in its order, where CUDA_VISIBLE_DEVICES is `shown`: numbers, or beginnings of UUIDs, as
    far as they name something; nothing where one is named twice, and the first of several slices (NVIDIA, CUDA
    programming guide, environment variables; MIG user guide)."""
    if shown is None:
        return [gpu for board in boards for gpu in board.usable]
    kind = shown.strip()[:4]
    named: list[Gpu] = []
    for entry in (one.strip() for one in shown.split(",")):
        if kind in ("GPU-", "MIG-"):
            found = _by_uuid(entry, boards) if entry.startswith(kind) else ()
        else:
            digits = re.match(r"\+?\d+", entry)  # what follows the digits is not read
            found = boards[int(digits[0])].usable if digits and int(digits[0]) < len(boards) else ()
        if not found:
            break
        if found[0] in named:
            return []
        named += found
        if kind == "MIG-":
            break
    return named


def _by_uuid(start: str, boards: Sequence[Board]) -> Sequence[Gpu]:
    """What one board, or else one slice, is that has this UUID or alone begins so."""
    whole = [(board.uuid, board.usable) for board in boards]
    slices = [(gpu.uuid, (gpu,)) for board in boards for gpu in board.usable if gpu.slice]
    for rows in (whole, slices):
        exact = [found for uuid, found in rows if uuid == start]
        alike = [found for uuid, found in rows if uuid.startswith(start)]
        if exact or len(alike) == 1:
            return (exact or alike)[0]
    return ()


def _card(sources: Sources, nvml: Any, k: int) -> Board:
    """A GPU with its slices, if it has some."""

    def told(name: str, *args: Any, otherwise: Any = None, of: Any = None) -> Any:
        """What this GPU answers; not every one can answer everything."""
        try:
            value = getattr(nvml, name)(handle if of is None else of, *args)
        except Exception:
            return otherwise
        return otherwise if value is None else value

    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(k)
    except Exception:
        return Board()
    ram = memory(sources)  # which a GPU without memory of its own shares
    shared = SimpleNamespace(total=ram["ram"], free=ram["ram_free"])
    room = told("nvmlDeviceGetMemoryInfo", otherwise=shared)
    older = told("nvmlDeviceGetCurrentClocksThrottleReasons", otherwise=0)
    reasons = told("nvmlDeviceGetCurrentClocksEventReasons", otherwise=older)
    widths = told("nvmlDeviceGetCurrPcieLinkWidth"), told("nvmlDeviceGetMaxPcieLinkWidth")
    running = told("nvmlDeviceGetComputeRunningProcesses", otherwise=[])
    whole = Gpu(
        number=k,
        name=_text(told("nvmlDeviceGetName", otherwise="a GPU")),
        uuid=_text(told("nvmlDeviceGetUUID", otherwise="")),
        capability=tuple(told("nvmlDeviceGetCudaComputeCapability", otherwise=(0, 0))),
        total=room.total or shared.total,
        free=room.free or 0,
        throttled=tuple(dict.fromkeys(why for bit, why in THROTTLED.items() if reasons & bit)),
        ecc_errors=told("nvmlDeviceGetTotalEccErrors", 1, 0),
        display=None if (shown := told("nvmlDeviceGetDisplayActive")) is None else bool(shown),
        processes=tuple(Process(one.pid, _name(one.pid), one.usedGpuMemory) for one in running),
        pcie_width=None if None in widths else widths,
        board=k,
        nvlinks=sum(bool(told("nvmlDeviceGetNvLinkState", link, otherwise=0)) for link in range(18)),
    )
    if not told("nvmlDeviceGetMigMode", otherwise=(0, 0))[0]:
        return Board(whole.name, whole.uuid, (whole,))
    slices = []
    for j in range(told("nvmlDeviceGetMaxMigDeviceCount", otherwise=0)):
        part = told("nvmlDeviceGetMigDeviceHandleByIndex", j)
        room = None if part is None else told("nvmlDeviceGetMemoryInfo", of=part)
        if room is not None:
            name = _text(told("nvmlDeviceGetName", otherwise=whole.name, of=part))
            uuid = _text(told("nvmlDeviceGetUUID", otherwise="", of=part))
            slices.append(whole._replace(name=name, uuid=uuid, total=room.total, free=room.free, slice=True))
    return Board(whole.name, whole.uuid, tuple(slices))


def _name(pid: int) -> str:
    return text_of(Path(f"/proc/{pid}/comm")) or "?"


def _peers(nvml: Any, shown: Sequence[int]) -> tuple[tuple[int, int, bool], ...]:
    """Which pairs of the boards `shown` read each other's memory; those that do not answer are left out."""
    pairs = []
    for a, b in combinations(range(len(shown)), 2):
        with suppress(Exception):
            both = (nvml.nvmlDeviceGetHandleByIndex(shown[k]) for k in (a, b))
            pairs.append((a, b, nvml.nvmlDeviceGetP2PStatus(*both, 0) == 0))  # of reading; 0 is well
    return tuple(pairs)


def cuda(sources: Sources) -> Answer:
    """The driver's libcuda, and the runtime, cuDNN and TensorRT that came with PyTorch."""
    found: Answer = {"libcuda": _opened(sources, "libcuda.so.1") is not None}
    built = cast("Version | None", packages(sources)["torch_cuda"])
    names = {13: "cu13/lib/libcudart.so.13", 12: "cuda_runtime/lib/libcudart.so.12"}  # older ones may lie beside it
    runtime = _packaged(sources, names[built[0]]) if built and built[0] in names else None
    if runtime is not None:
        number, count = ctypes.c_int(), ctypes.c_int()
        if runtime.cudaRuntimeGetVersion(ctypes.byref(number)) == 0:
            found["cuda_runtime"] = (number.value // 1000, number.value % 1000 // 10)
        found["cuda_error"] = int(runtime.cudaGetDeviceCount(ctypes.byref(count)))
    dnn = _packaged(sources, "cudnn/lib/libcudnn.so.9")
    if dnn is not None:
        found["cudnn"] = _three(int(dnn.cudnnGetVersion()))
    engine = _opened(sources, "libnvinfer.so.10") or _packaged(sources, "../tensorrt_libs/libnvinfer.so.10")
    if engine is not None:
        found["tensorrt"] = _three(int(engine.getInferLibVersion()))
    folders = [Path(one) for one in sources.env.get("LD_LIBRARY_PATH", "").split(":") if one]
    found["foreign_cudnn"] = tuple(str(one) for one in folders if _inside(one) and any(one.glob("libcudnn*.so*")))
    return found


def _three(number: int) -> Version:
    """91900 as (9, 19, 0)."""
    return number // 10000, number % 10000 // 100, number % 100


def _opened(sources: Sources, name: str) -> Any:
    try:
        return sources.library(name)
    except OSError:
        return None


def _packaged(sources: Sources, name: str) -> Any:
    """A library that a package of NVIDIA brought."""
    path = _site(sources) / "nvidia" / name
    return _opened(sources, str(path)) if path.exists() else None


def _site(sources: Sources) -> Path:
    if sources.site is not None:
        return sources.site
    spec = importlib.util.find_spec("torch")
    return Path(spec.origin).parents[1] if spec and spec.origin else Path(sys.prefix)


def packages(sources: Sources) -> Answer:
    """PyTorch as it was built, told from its files."""
    about, audio = (text_of(_site(sources) / name / "version.py") for name in ("torch", "torchaudio"))

    def named(name: str, text: str) -> str | None:
        found = re.search(rf"^{name}(?:\s*:[^=]*)?\s*=\s*'([^']+)'", text, re.MULTILINE)
        return found[1] if found else None

    return {
        "torch": named("__version__", about),
        "torch_cuda": parsed(named("cuda", about)),
        "torch_rocm": named("hip", about),
        "torchaudio": named("__version__", audio),
    }


def tools(sources: Sources) -> Answer:
    path = shutil.which("ffmpeg", path=sources.env.get("PATH"))
    bundled = importlib.util.find_spec("imageio_ffmpeg") is not None
    has_sndfile = importlib.util.find_spec("soundfile") is not None
    return {
        "ffmpeg": path,
        "ffmpeg_bundled": bundled,
        "sndfile": importlib.metadata.version("soundfile") if has_sndfile else None,
    }


def places(sources: Sources) -> Answer:
    """Where things are kept, and what of the store is there."""
    from .. import store

    roles = {
        "here": Path(),
        "models": store.home(sources.models),
        "temporary files": Path(sources.env.get("TMPDIR", "/tmp")),
    }
    disks = []
    for role, path in roles.items():
        with suppress(OSError):  # the folder may be gone while somebody stands in it
            whole = path.absolute()
            usage = shutil.disk_usage(next(one for one in (whole, *whole.parents) if one.exists()))
            disks.append(Disk(role, str(whole), usage.total, usage.free))
    held = []
    for name, entry in store.entries().items():
        states = {file.state for file in store.held(entry, sources.models)}
        state = "missing" if states == {"missing"} else "whole" if states <= {"whole", "unchecked"} else "in part"
        broken = state == "whole" and any(_no_model(store.home(sources.models) / name / file) for file in entry.files)
        held.append((name, "damaged" if broken else state))
    hub = sources.env.get("HF_HUB_CACHE") or f"{sources.env.get('HF_HOME') or Path.home() / '.cache/huggingface'}/hub"
    found = [Path(hub), Path.home() / ".cache" / "whisper"]
    caches = [(str(path), len([*path.glob("models--*/blobs/*.incomplete")])) for path in found if path.is_dir()]
    return {"disks": tuple(disks), "store": tuple(held), "caches": tuple(caches)}


def _no_model(path: Path) -> bool:
    """Whether a file begins as no weights do: a pointer of git-lfs, or a page of a web server."""
    if path.suffix not in (".safetensors", ".pt", ".pth") or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(8).startswith((b"version ", b"<"))


PROBES: dict[str, Callable[[Sources], Answer]] = {
    "system": system,
    "memory": memory,
    "processors": processors,
    "bus": bus,
    "driver": driver,
    "cards": cards,
    "cuda": cuda,
    "packages": packages,
    "tools": tools,
    "places": places,
}
