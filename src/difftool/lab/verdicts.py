"""Which presets a machine carries: what each needs, from counted tables, beside what there is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import NamedTuple

from ..errors import DifftoolError, Exit, nearest
from ..presets import hardware, needs, typed
from ..presets.rows import PicturePreset, TrainNeeds, TrainPreset, VoiceNeeds, VoicePreset, WhisperRow
from .facts import Gpu, Machine, spelled
from .findings import ERROR, Finding, kernels_of

CONTEXT = 600 * 2**20
"""What CUDA takes for itself on a GPU before anything is computed: 0.4 to 0.8 GB."""
BARE = 900 * 10**6
"""What Python with PyTorch and the libraries of a command takes in RAM."""
CONVOLVED, ATTENDED = 2.9, 4.0
"""What a GPU really reserves at most, as multiples of what is counted as live, for cuDNN's workspace and the rounding
of the allocator: of an autoencoder by InvokeAI's formula (2,200 bytes a pixel and byte: 4.3 GiB for 1024x1024 in
halves, of which 1.5 are counted), of a network by Forge's (1.4 GB for SDXL with guidance, of which 0.33 are)."""
TRAINED = 20
"""Bytes of a parameter in training: weights, gradients, two moments and the average, in float32."""
WORKSPACE = 1.5
"""What a batch takes in training, as a multiple of what it keeps for the way back."""
KEPT = 4
"""By which checkpointing of gradients divides what a picture keeps: four blocks to a level."""
LAYER = 2**30
"""What a layer of the largest networks, and its neighbours on their way, take where only it lies on the GPU."""
UNPACKED = 6.1
"""Bytes of a parameter of Whisper while it is opened: the file's halves beside the network, measured with the small."""
HALVES = (8, 0)
"""The compute capability from which on voices and training compute in bf16; txt2img computes in halves on all."""
FITS, TIGHT, FLAGS, NO, UNKNOWN = "fits", "tight", "fits with flags", "no", "unknown"
RANKS = (FITS, FLAGS, TIGHT, NO)
SPARING = {"--low-vram", "--checkpointing"}
"""Flags that cost time, where another GPU does not."""


class Way(NamedTuple):
    """A way to run a preset, and what it takes."""

    flags: tuple[str, ...]
    vram: int
    ram: int
    note: str = ""


class Preset(NamedTuple):
    """A preset, and what it needs of a machine."""

    command: str
    name: str
    ways: tuple[Way, ...]
    """On a GPU, the usual one first."""
    wide: tuple[Way, ...]
    """The same on a GPU below `HALVES`."""
    on_cpu: tuple[Way, ...]
    """The same without a GPU."""
    disk: int
    """Bytes of its weights' files, or of a run."""
    parameters: int
    uncounted: str = ""
    """What is missing, where its needs are not known: then there are no ways."""


class Verdict(NamedTuple):
    """What a machine says to a preset."""

    preset: Preset
    verdict: str
    flags: tuple[str, ...]
    where: str
    """cuda:0, cpu, or the RAM, where that decides."""
    need: int
    has: int
    """Bytes of the memory that decides: of that which is free, or where it is a matter of the machine of all."""
    note: str = ""
    carried_by: str = ""
    """Hardware of the guide on which it runs without flags, where this machine is too small."""


def presets() -> list[Preset]:
    """Those of all commands, with their needs."""
    return [*_training(), *_painting(), *_speaking(), *_transcribing()]


def chosen(names: list[str]) -> list[Preset]:
    """The presets of these names, in the order of all: `sdxl`, or `txt2img/sdxl`; names of the store count too. Without
    names all. Raises DifftoolError 2 for a name that is none."""
    known = presets()
    wanted = set()
    for name in names:
        command, _, row = name.rpartition("/")
        plain = _plain(row).removesuffix(".en")
        fits = [
            one
            for one in known
            if _plain(one.name) in (plain, _plain(STORED.get(plain, "")))
            and command in ("", *one.command.split(), one.command)
        ]
        if not fits:
            near = nearest(name, [one.name for one in known])
            hint = f"did you mean {near}?" if near else f"known: {', '.join(one.name for one in known)}"
            raise DifftoolError(Exit.USAGE, f"unknown preset {name!r}", hint)
        wanted |= {(one.command, one.name) for one in fits}
    return [one for one in known if not names or (one.command, one.name) in wanted]


STORED = {"sd15": "sd", "sd-turbo": "turbo", "sdxl-turbo": "turbo"}
"""Names of the store for what is a preset under another."""


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _training() -> Iterator[Preset]:
    for name, row in typed(TrainPreset).items():
        if row.needs is None:
            yield _uncounted("train", name)
            continue
        need, size = row.needs, row.batch_size
        data = math.prod(need.shape) * need.pictures
        half = _measured(_training_ways(need, size, 2), need.measured)
        cpu = tuple(
            Way((), 0, BARE + _trained(need, pictures, 4), note)
            for pictures, note in ((size, ""), (max(1, size // 8), half[1].note))
        )
        wide = _training_ways(need, size, 4)
        yield Preset("train", name, half, wide, cpu, 40 * need.parameters + data, need.parameters)


def _training_ways(need: TrainNeeds, size: int, width: int) -> tuple[Way, ...]:
    """The ways to train on a GPU with numbers of `width` bytes."""
    fewer, ram = max(1, size // 8), BARE + math.prod(need.shape) * need.pictures
    return (
        Way((), _trained(need, size, width) + CONTEXT, ram),
        Way((), _trained(need, fewer, width) + CONTEXT, ram, f"{fewer} of {size} at once, by itself"),
        Way(("--checkpointing",), _trained(need, 1 / KEPT, width) + CONTEXT, ram, "one at a time"),
    )


def _trained(need: TrainNeeds, pictures: float, width: int) -> int:
    """Bytes that training takes with so many pictures at once, in numbers of `width` bytes."""
    data = math.prod(need.shape) * need.pictures
    batch = pictures * need.picture * WORKSPACE * width / 4
    return int(TRAINED * need.parameters + data + batch)


def _painting() -> Iterator[Preset]:
    for name, row in typed(PicturePreset).items():
        if row.needs is None:
            yield _uncounted("txt2img", name)
            continue
        need = row.needs
        sizes, live = asdict(need.parameters), need.live
        weights = {part: 2 * count for part, count in sizes.items()}
        at_work = {
            "text": int(live.text * ATTENDED),
            "network": int(live.network * ATTENDED),
            "vae": int(live.vae * CONVOLVED),
        }
        tile, whole = int(live.tile * CONVOLVED), sum(weights.values())
        part = max(weights[name] + (tile if name == "vae" else at_work[name]) for name in weights)
        ram = BARE + whole  # where it is opened, before it goes to the GPU
        ways = (
            Way((), whole + max(at_work.values()) + CONTEXT, ram),
            Way((), whole + max(at_work["network"], tile) + CONTEXT, ram, "decoded in tiles, by itself"),
            Way(("--low-vram",), part + CONTEXT, ram, "a part at a time"),
            Way(("--low-vram",), LAYER + max(at_work["network"], tile) + CONTEXT, ram, "a layer at a time, slow"),
        )
        large, small = max(live.network, live.vae), max(live.network, live.tile)
        cpu = (
            Way((), 0, BARE + 2 * (whole + large)),
            Way(("--low-vram",), 0, BARE + 2 * (whole + small), "decoded in tiles"),
            Way(("--low-vram", "--dtype bf16"), 0, BARE + whole + small, "in halves"),
        )
        ways = _measured(ways, need.measured)
        yield Preset("txt2img", name, ways, ways, cpu, need.stored * sum(sizes.values()), sum(sizes.values()))


def _speaking() -> Iterator[Preset]:
    usual = needs("voice").get("tortoise")  # what all presets need that do not say otherwise
    for name, row in typed(VoicePreset).items():
        need = row.needs or usual
        if need is None:
            yield _uncounted("voice clone", name)
            continue
        sizes, live = need.parameters, need.live
        half, wide = _measured(_speaking_ways(need, 2), need.measured), _speaking_ways(need, 4)
        cpu = (Way((), 0, BARE + max(sizes[net] * 4 + live[net] for net in sizes)),)
        yield Preset("voice clone", name, half, wide, cpu, 8 * sum(sizes.values()), sum(sizes.values()))


def _speaking_ways(need: VoiceNeeds, width: int) -> tuple[Way, ...]:
    """The ways to speak on a GPU with numbers of `width` bytes."""
    sizes, live = need.parameters, need.live
    work = {net: sizes[net] * width + int(live[net] * ATTENDED * width / 4) for net in sizes}
    whole = sum(sizes.values()) * width + int(max(live.values()) * ATTENDED * width / 4)
    return (
        Way((), whole + CONTEXT, 2 * BARE),
        Way(("--low-vram",), max(work.values()) + CONTEXT, 2 * BARE, "a network at a time"),
    )


def _transcribing() -> Iterator[Preset]:
    for name, row in typed(WhisperRow).items():
        if row.needs is None:
            yield _uncounted("voice prep", f"whisper-{name}", "whisper", name)
            continue
        count, live = row.needs.parameters, row.needs.live
        opened = BARE + int(count * UNPACKED)
        ways = _measured((Way((), 4 * count + int(live * ATTENDED) + CONTEXT, opened),), row.needs.measured)
        cpu = (Way((), 0, opened + live),)
        yield Preset("voice prep", f"whisper-{name}", ways, ways, cpu, 2 * count, count)


def _uncounted(command: str, name: str, file: str = "", row: str = "") -> Preset:
    """A preset without needs, of which nothing can be said but that."""
    file = file or command.split()[0]
    return Preset(command, name, (), (), (), 0, 0, f"its needs are not counted: [{row or name}.needs] in {file}.toml")


def _measured(ways: tuple[Way, ...], measured: int | None) -> tuple[Way, ...]:
    """The ways to run a preset, the usual one with what it took on a GPU, where a table says that."""
    usual, *others = ways
    return (usual if measured is None else usual._replace(vram=measured), *others)


def judge(machine: Machine, preset: Preset) -> Verdict:
    """Whether a machine carries a preset: on the GPU that a command takes by itself, the first, or if that is better on
    another with the flag that chooses it; on the CPU where PyTorch sees no GPU of NVIDIA."""
    if preset.uncounted:
        return Verdict(preset, UNKNOWN, (), "", 0, 0, preset.uncounted)
    if unseen := _unseen(machine):
        return _on_cpu(machine, preset)._replace(note=unseen)
    if not machine.gpus:
        return _on_cpu(machine, preset)
    found = [_on_gpu(machine, gpu, preset) for gpu in machine.gpus]
    return min(found, key=lambda one: (RANKS.index(one.verdict), not SPARING.isdisjoint(one.flags)))


def _unseen(machine: Machine) -> str:
    """Why the CPU is judged on a machine with a GPU; nothing where PyTorch sees GPUs of NVIDIA, or there are none."""
    if machine.runs_on_rocm:
        return "on the CPU: the memory of AMD GPUs is not measured"
    if not machine.gpus:
        return ""
    if machine.torch_rocm is not None:
        return "on the CPU: this PyTorch is built for ROCm"
    if machine.torch is not None and machine.torch_cuda is None:
        return "on the CPU, for which this PyTorch is built"
    if machine.cuda_error not in (None, 0):
        return f"on the CPU: CUDA does not start (error {machine.cuda_error})"
    return ""


def _on_gpu(machine: Machine, gpu: Gpu, preset: Preset) -> Verdict:
    where, ways = f"cuda:{gpu.number}", preset.ways if gpu.capability >= HALVES else preset.wide
    choice = (f"CUDA_VISIBLE_DEVICES={gpu.uuid}" if gpu.slice else f"--device {where}",) if gpu.number else ()
    low, high = kernels_of(machine.torch_cuda) if machine.torch_cuda else ((0, 0), (99, 0))
    if not low <= gpu.capability <= high:
        note = f"this PyTorch has no kernels for compute capability {spelled(gpu.capability)}"
        return Verdict(preset, NO, (), where, ways[0].vram, gpu.free, note)
    for way in ways:
        if way.vram <= gpu.free and way.ram <= machine.memory:
            flags = (*choice, *way.flags)
            return Verdict(preset, FLAGS if flags else FITS, flags, where, way.vram, gpu.free, way.note)
    for way in ways:
        if way.vram <= gpu.total and way.ram <= machine.most:
            held = way.vram > gpu.free
            note = "not beside what other programs hold now" if held else "not with the RAM that is free now"
            has = (where, way.vram, gpu.free) if held else ("RAM", way.ram, machine.memory)
            return Verdict(preset, TIGHT, (*choice, *way.flags), *has, note)
    least = min(ways, key=lambda way: way.vram)
    has = (where, least.vram, gpu.total) if least.vram > gpu.total else ("RAM", least.ram, machine.most)
    return Verdict(preset, NO, (), *has, "", carrier(preset))


def _on_cpu(machine: Machine, preset: Preset) -> Verdict:
    for way in preset.on_cpu:
        if way.ram <= machine.memory:
            return Verdict(preset, FLAGS if way.flags else FITS, way.flags, "cpu", way.ram, machine.memory, way.note)
    least = min(way.ram for way in preset.on_cpu)
    if least <= machine.most:
        return Verdict(preset, TIGHT, (), "cpu", least, machine.memory, "not with the RAM that is free now")
    return Verdict(preset, NO, (), "cpu", least, machine.most, "", carrier(preset))


def refusal(verdicts: Sequence[Verdict], findings: Sequence[Finding]) -> DifftoolError | None:
    """The error for presets that do not run here: 3, with what would help; None where all run."""
    refused = [verdict for verdict in verdicts if verdict.verdict == NO]
    if not refused:
        return None
    first = refused[0]
    worst = next((finding for finding in findings if finding.level == ERROR), None)
    names = ", ".join(verdict.preset.name for verdict in refused)
    hint = f"{first.carried_by} would carry it" if first.carried_by or worst is None else f"{worst.what}: {worst.mend}"
    return DifftoolError(Exit.MACHINE, f"this machine does not carry {names}: {first.note or amount(first)}", hint)


def amount(verdict: Verdict) -> str:
    """What a preset needs of what there is, for people."""
    return f"{verdict.need / 2**30:.1f} of {verdict.has / 2**30:.1f} GiB on {verdict.where}"


def carrier(preset: Preset) -> str:
    """The smallest GPU of the guide that carries a preset without flags."""
    sizes = {name: row.vram * 2**30 * 0.95 for name, row in hardware().gpus.items()}
    return next((name for name, size in sizes.items() if preset.ways[0].vram <= size), "none of the guide's GPUs alone")
