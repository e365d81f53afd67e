"""Probes of the machine. A failure or a hang of one does not stop the others; none imports torch."""

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
"""Time limit for a probe in seconds."""
NVIDIA, DISPLAY = "0x10de", "0x03"
"""PCI vendor ID of NVIDIA, and the prefix of the class of display controllers."""
THROTTLED = {
    0x20: "overheating",
    0x40: "overheating",
    0x80: "power brake",
    0x04: "power limit",
    0x08: "hardware slowdown",
}
"""NVML's bits of throttle reasons, without idling."""


Answer: TypeAlias = dict[str, object]
"""Fields of a `Machine`."""


class Sources(NamedTuple):
    """What the probes read: the machine, or a simulated one in tests."""

    root: Path = Path("/")
    """The root of /proc, /sys and /dev."""
    env: Mapping[str, str] = os.environ
    nvml: Any = None
    """A module with the functions of pynvml; default: pynvml."""
    library: Callable[[str], Any] = ctypes.CDLL
    """Opens a shared library by name or path. Raises OSError if there is none."""
    site: Path | None = None
    """The folder of installed packages; default: this Python's."""
    models: Path | None = None
    """The folder of the model store; default: the user's data folder."""


def probe(sources: Sources | None = None) -> Machine:
    """Runs all probes, within a few seconds at most; about 0.1 s on a healthy machine."""
    origin = sources or Sources()
    answers: Answer = {}
    failed: dict[str, str] = {}

    def run(name: str, function: Callable[[Sources], Answer]) -> None:
        try:
            answers.update(function(origin))
        except Exception as error:  # machines are broken in unexpected ways
            failed[name] = str(error) or type(error).__name__

    threads = {}
    for name, function in PROBES.items():
        threads[name] = threading.Thread(target=run, args=(name, function), daemon=True)
        threads[name].start()
    deadline = time.monotonic() + PATIENCE
    for name, thread in threads.items():
        thread.join(max(deadline - time.monotonic(), 0))
        if thread.is_alive():
            failed[name] = f"no answer within {PATIENCE:g} s"
    fields = {"system": sys.platform, "python": platform.python_version()} | answers  # late threads write to `answers`
    fields["driver"] = fields.get("driver") or fields.get("library")  # NVML's, if the kernel does not tell
    fields["failed"] = tuple(failed.items())
    return Machine(**cast(Any, fields))


def text_of(path: Path) -> str:
    """The text of a file; "" if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def system(sources: Sources) -> Answer:
    version = text_of(sources.root / "proc/version").lower()
    inside = any((sources.root / name).exists() for name in (".dockerenv", "run/.containerenv"))
    cgroup = text_of(sources.root / "proc/1/cgroup")
    inside |= any(word in cgroup for word in ("docker", "kubepods", "lxc", "containerd"))
    name = f"{platform.system()} {platform.release()}" if sources.root == Path("/") else version
    has_short_path = sources.env.get("PATH", "") in ("/usr/bin:/bin", "/usr/sbin:/usr/bin:/sbin:/bin")
    return {
        "system": name,
        "wsl": "microsoft" in version,
        "container": inside,
        "cron": "TERM" not in sources.env and has_short_path,
        "cuda_order": sources.env.get("CUDA_DEVICE_ORDER"),
        "cuda_visible": sources.env.get("CUDA_VISIBLE_DEVICES"),
    }


def memory(sources: Sources) -> Answer:
    pairs = re.findall(r"^(\w+):\s+(\d+) kB", text_of(sources.root / "proc/meminfo"), re.MULTILINE)
    lines = {name: int(size) * 1024 for name, size in pairs}
    if "MemTotal" in lines:
        total = lines["MemTotal"]
        free = lines.get("MemAvailable", lines.get("MemFree", 0) + lines.get("Cached", 0))
    else:
        import psutil

        total, free = psutil.virtual_memory().total, psutil.virtual_memory().available
    limits = []
    for folder in _groups(sources, "memory"):
        for limit_file, usage_file in CGROUP_FILES:
            limit = text_of(folder / limit_file)
            if limit.isdigit() and int(limit) < total:
                statistics = text_of(folder / "memory.stat")
                match = re.search(r"^(?:total_)?inactive_file (\d+)", statistics, re.MULTILINE)
                cached = int(match[1]) if match else 0
                used = int(text_of(folder / usage_file) or 0) - cached
                limits.append((int(limit), max(used, 0)))
    limit, held = min(limits, key=lambda pair: pair[0] - pair[1], default=(None, 0))
    return {"ram": total, "ram_free": free, "ram_limit": limit, "ram_held": held}


CGROUP_FILES = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
"""(limit, usage) of cgroups of version 2 and of version 1."""


def _groups(sources: Sources, kind: str) -> list[Path]:
    """The folders of this process's cgroups, from the innermost out."""
    folders = []
    for line in text_of(sources.root / "proc/self/cgroup").splitlines() or ["0::/"]:
        number, kinds, place = line.split(":", 2)
        if number == "0" or kind in kinds.split(","):
            top = sources.root / "sys/fs/cgroup" / ("" if number == "0" else kind)
            inner = Path(place.lstrip("/"))
            folders += [top / path for path in (inner, *inner.parents)]
    return folders


def processors(sources: Sources) -> Answer:
    real = sources.root == Path("/")
    counted = len(re.findall(r"^processor\s*:", text_of(sources.root / "proc/cpuinfo"), re.MULTILINE))
    cores = counted or os.cpu_count() or 1
    usable: float = len(os.sched_getaffinity(0)) if real and hasattr(os, "sched_getaffinity") else cores
    for folder in _groups(sources, "cpu"):
        limits = text_of(folder / "cpu.max").split()
        if not limits:  # version 1
            limits = [text_of(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
        if len(limits) == 2 and all(text.isdigit() for text in limits):
            quota, period = map(int, limits)
            usable = min(usable, quota / period) if period else usable
    load = text_of(sources.root / "proc/loadavg").split(" ")[0]
    return {"cores": cores, "cores_usable": usable, "load": float(load) if load else 0.0}


def bus(sources: Sources) -> Answer:
    devices = sources.root / "sys/bus/pci/devices"
    displays = [place for place in _inside(devices) if text_of(place / "class").startswith(DISPLAY)]
    cards = [text_of(place / "vendor") for place in displays]
    makers = {"0x1002": "AMD", "0x8086": "Intel"}
    others = [f"{makers[vendor]} graphics" for vendor in cards if vendor in makers]
    if (sources.root / "sys/class/kfd").exists():
        others.append("AMD with ROCm's driver")
    if platform.system() == "Darwin" and sources.root == Path("/"):
        others.append(f"Apple {platform.machine()}")
    nodes = [path.name for path in _inside(sources.root / "dev")]
    nodes = [name for name in nodes if name.startswith(("nvidia", "dxg"))]
    return {"on_bus": cards.count(NVIDIA), "others": tuple(others), "nodes": tuple(sorted(nodes))}


def _inside(folder: Path) -> list[Path]:
    """The contents of a folder; [] if there is none."""
    with suppress(OSError):
        return sorted(folder.iterdir())
    return []


def driver(sources: Sources) -> Answer:
    """The version of the kernel module, from the kernel or else from nvidia-smi."""
    module = text_of(sources.root / "sys/module/nvidia/version")
    if not module:
        text = text_of(sources.root / "proc/driver/nvidia/version")
        match = re.search(r"Kernel Module\s+(?:for \S+\s+)?([\d.]+)", text)
        module = match[1] if match else ""
    smi = shutil.which("nvidia-smi", path=f"{sources.env.get('PATH', '')}:/usr/lib/wsl/lib")
    if not module and smi and sources.root == Path("/"):
        done = subprocess.run(
            [smi, "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=PATIENCE - 1, check=False,
        )  # fmt: skip
        module = done.stdout.splitlines()[0] if done.returncode == 0 and done.stdout else ""
    return {"driver": parsed(module)}


def cards(sources: Sources) -> Answer:
    """The GPUs, from NVML, the driver's library."""
    nvml = sources.nvml
    if nvml is None:
        import pynvml as nvml
    try:
        nvml.nvmlInit()
    except Exception as error:  # NVML has an exception class for each error
        return {"nvml_error": str(error)}
    try:
        boards = [_card(sources, nvml, k) for k in range(nvml.nvmlDeviceGetCount())]
        shown = visible(sources.env.get("CUDA_VISIBLE_DEVICES"), boards)
        gpus = [gpu._replace(number=k) for k, gpu in enumerate(shown)]
        usable = sum(len(board.usable) for board in boards)
        models = {board.name for board in boards if board.name}
        has_slices = any(gpu.slice for gpu in gpus)
        cuda = int(nvml.nvmlSystemGetCudaDriverVersion_v2())
        return {
            "gpus": tuple(gpus),
            "hidden": usable - len(gpus),
            "mixed": len(models) > 1,
            "peers": () if has_slices else _peers(nvml, [gpu.board for gpu in gpus]),
            "library": parsed(_text(nvml.nvmlSystemGetDriverVersion())),
            "cuda_driver": (cuda // 1000, cuda % 1000 // 10),
        }
    finally:
        nvml.nvmlShutdown()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class Board(NamedTuple):
    """A GPU in NVML's list."""

    name: str = ""
    uuid: str = ""
    usable: tuple[Gpu, ...] = ()
    """The GPU itself, or its MIG slices; () if it does not respond."""


def visible(shown: str | None, boards: Sequence[Board]) -> list[Gpu]:
    """The GPUs that CUDA sees, in its order, if CUDA_VISIBLE_DEVICES is `shown`: indices or prefixes of UUIDs, up to
    the first invalid one; none if one is repeated, and only the first of several slices (NVIDIA, CUDA programming
    guide, environment variables; MIG user guide)."""
    if shown is None:
        return [gpu for board in boards for gpu in board.usable]
    kind = shown.strip()[:4]
    named: list[Gpu] = []
    for entry in (part.strip() for part in shown.split(",")):
        if kind in ("GPU-", "MIG-"):
            gpus = _by_uuid(entry, boards) if entry.startswith(kind) else ()
        else:
            gpus = _by_index(entry, boards)
        if not gpus:
            break
        if gpus[0] in named:
            return []
        named += gpus
        if kind == "MIG-":
            break
    return named


def _by_index(entry: str, boards: Sequence[Board]) -> Sequence[Gpu]:
    digits = re.match(r"\+?\d+", entry)  # CUDA ignores what follows the digits
    if digits is None or int(digits[0]) >= len(boards):
        return ()
    return boards[int(digits[0])].usable


def _by_uuid(start: str, boards: Sequence[Board]) -> Sequence[Gpu]:
    """The board, or else the slice, that has this UUID or is the only one whose UUID starts with it."""
    whole = [(board.uuid, board.usable) for board in boards]
    slices = [(gpu.uuid, (gpu,)) for board in boards for gpu in board.usable if gpu.slice]
    for rows in (whole, slices):
        exact = [gpus for uuid, gpus in rows if uuid == start]
        matches = [gpus for uuid, gpus in rows if uuid.startswith(start)]
        if exact or len(matches) == 1:
            return (exact or matches)[0]
    return ()


def _card(sources: Sources, nvml: Any, k: int) -> Board:
    """The GPU with NVML's index k, and its MIG slices."""

    def query(name: str, *args: Any, otherwise: Any = None, of: Any = None) -> Any:
        """Calls a function of NVML for this GPU; `otherwise` if the GPU does not support it."""
        try:
            value = getattr(nvml, name)(handle if of is None else of, *args)
        except Exception:
            return otherwise
        return otherwise if value is None else value

    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(k)
    except Exception:
        return Board()
    ram = memory(sources)  # shared by a GPU without memory of its own
    shared = SimpleNamespace(total=ram["ram"], free=ram["ram_free"])
    room = query("nvmlDeviceGetMemoryInfo", otherwise=shared)
    older = query("nvmlDeviceGetCurrentClocksThrottleReasons", otherwise=0)
    reasons = query("nvmlDeviceGetCurrentClocksEventReasons", otherwise=older)
    throttled = [reason for bit, reason in THROTTLED.items() if reasons & bit]
    display = query("nvmlDeviceGetDisplayActive")
    running = query("nvmlDeviceGetComputeRunningProcesses", otherwise=[])
    processes = [Process(process.pid, _name(process.pid), process.usedGpuMemory) for process in running]
    widths = query("nvmlDeviceGetCurrPcieLinkWidth"), query("nvmlDeviceGetMaxPcieLinkWidth")
    links = [query("nvmlDeviceGetNvLinkState", link, otherwise=0) for link in range(18)]
    whole = Gpu(
        number=k,
        name=_text(query("nvmlDeviceGetName", otherwise="a GPU")),
        uuid=_text(query("nvmlDeviceGetUUID", otherwise="")),
        capability=tuple(query("nvmlDeviceGetCudaComputeCapability", otherwise=(0, 0))),
        total=room.total or shared.total,
        free=room.free or 0,
        throttled=tuple(dict.fromkeys(throttled)),
        ecc_errors=query("nvmlDeviceGetTotalEccErrors", 1, 0),
        display=None if display is None else bool(display),
        processes=tuple(processes),
        pcie_width=None if None in widths else widths,
        board=k,
        nvlinks=sum(map(bool, links)),
    )
    if not query("nvmlDeviceGetMigMode", otherwise=(0, 0))[0]:
        return Board(whole.name, whole.uuid, (whole,))
    slices = []
    for j in range(query("nvmlDeviceGetMaxMigDeviceCount", otherwise=0)):
        part = query("nvmlDeviceGetMigDeviceHandleByIndex", j)
        room = None if part is None else query("nvmlDeviceGetMemoryInfo", of=part)
        if room is not None:
            name = _text(query("nvmlDeviceGetName", otherwise=whole.name, of=part))
            uuid = _text(query("nvmlDeviceGetUUID", otherwise="", of=part))
            slices.append(whole._replace(name=name, uuid=uuid, total=room.total, free=room.free, slice=True))
    return Board(whole.name, whole.uuid, tuple(slices))


def _name(pid: int) -> str:
    return text_of(Path(f"/proc/{pid}/comm")) or "?"


def _peers(nvml: Any, shown: Sequence[int]) -> tuple[tuple[int, int, bool], ...]:
    """Whether each pair of the boards `shown` reads each other's memory; boards that do not respond are left out."""
    pairs = []
    for a, b in combinations(range(len(shown)), 2):
        with suppress(Exception):
            both = (nvml.nvmlDeviceGetHandleByIndex(shown[k]) for k in (a, b))
            status = nvml.nvmlDeviceGetP2PStatus(*both, 0)  # of reading; 0 is success
            pairs.append((a, b, status == 0))
    return tuple(pairs)


def cuda(sources: Sources) -> Answer:
    """The driver's libcuda, and the runtime, cuDNN and TensorRT installed with PyTorch."""
    facts: Answer = {"libcuda": _opened(sources, "libcuda.so.1") is not None}
    built = cast("Version | None", packages(sources)["torch_cuda"])
    names = {13: "cu13/lib/libcudart.so.13", 12: "cuda_runtime/lib/libcudart.so.12"}  # beside older ones
    name = names.get(built[0]) if built else None
    runtime = _packaged(sources, name) if name else None
    if runtime is not None:
        number, count = ctypes.c_int(), ctypes.c_int()
        if runtime.cudaRuntimeGetVersion(ctypes.byref(number)) == 0:
            facts["cuda_runtime"] = (number.value // 1000, number.value % 1000 // 10)
        facts["cuda_error"] = int(runtime.cudaGetDeviceCount(ctypes.byref(count)))
    dnn = _packaged(sources, "cudnn/lib/libcudnn.so.9")
    if dnn is not None:
        facts["cudnn"] = _three(int(dnn.cudnnGetVersion()))
    engine = _opened(sources, "libnvinfer.so.10") or _packaged(sources, "../tensorrt_libs/libnvinfer.so.10")
    if engine is not None:
        facts["tensorrt"] = _three(int(engine.getInferLibVersion()))
    folders = [Path(name) for name in sources.env.get("LD_LIBRARY_PATH", "").split(":") if name]
    foreign = [str(folder) for folder in folders if _inside(folder) and any(folder.glob("libcudnn*.so*"))]
    facts["foreign_cudnn"] = tuple(foreign)
    return facts


def _three(number: int) -> Version:
    """91900 as (9, 19, 0)."""
    return number // 10000, number % 10000 // 100, number % 100


def _opened(sources: Sources, name: str) -> Any:
    try:
        return sources.library(name)
    except OSError:
        return None


def _packaged(sources: Sources, name: str) -> Any:
    """A library from one of NVIDIA's packages."""
    path = _site(sources) / "nvidia" / name
    return _opened(sources, str(path)) if path.exists() else None


def _site(sources: Sources) -> Path:
    if sources.site is not None:
        return sources.site
    spec = importlib.util.find_spec("torch")
    return Path(spec.origin).parents[1] if spec and spec.origin else Path(sys.prefix)


def packages(sources: Sources) -> Answer:
    """How PyTorch was built, from its files."""
    torch = text_of(_site(sources) / "torch" / "version.py")
    torchaudio = text_of(_site(sources) / "torchaudio" / "version.py")

    def constant(name: str, text: str) -> str | None:
        match = re.search(rf"^{name}(?:\s*:[^=]*)?\s*=\s*'([^']+)'", text, re.MULTILINE)
        return match[1] if match else None

    return {
        "torch": constant("__version__", torch),
        "torch_cuda": parsed(constant("cuda", torch)),
        "torch_rocm": constant("hip", torch),
        "torchaudio": constant("__version__", torchaudio),
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
    """Disks, the state of the model store, and the caches of other tools."""
    from .. import store

    home = store.home(sources.models)
    roles = {"here": Path(), "models": home, "temporary files": Path(sources.env.get("TMPDIR", "/tmp"))}
    disks = []
    for role, path in roles.items():
        with suppress(OSError):  # the current folder may have been removed
            folder = path.absolute()
            existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
            usage = shutil.disk_usage(existing)
            disks.append(Disk(role, str(folder), usage.total, usage.free))
    models = []
    for name, entry in store.entries().items():
        state = _state({file.state for file in store.held(entry, sources.models)})
        if state == "whole" and any(_no_model(home / name / file) for file in entry.files):
            state = "damaged"
        models.append((name, state))
    return {"disks": tuple(disks), "store": tuple(models), "caches": _caches(sources)}


def _state(files: set[str]) -> str:
    """The state of a model, from the states of its files."""
    if files == {"missing"}:
        return "missing"
    return "whole" if files <= {"whole", "unchecked"} else "in part"


def _caches(sources: Sources) -> tuple[tuple[str, int], ...]:
    """The cache folders of other tools, with the number of incomplete downloads in each."""
    home = sources.env.get("HF_HOME") or Path.home() / ".cache/huggingface"
    hub = sources.env.get("HF_HUB_CACHE") or f"{home}/hub"
    caches = []
    for path in (Path(hub), Path.home() / ".cache" / "whisper"):
        if path.is_dir():
            incomplete = [*path.glob("models--*/blobs/*.incomplete")]
            caches.append((str(path), len(incomplete)))
    return tuple(caches)


def _no_model(path: Path) -> bool:
    """Whether a file does not start like weights: a git-lfs pointer or a web page."""
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
