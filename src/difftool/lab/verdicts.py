"""Which presets a machine can run: the memory that each needs, from counted tables, against what there is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import NamedTuple

from ..errors import DifftoolError, Exit, nearest
from ..presets import family, hardware, needs, typed
from ..presets.rows import (
    PictureNeeds,
    PicturePreset,
    TrainNeeds,
    TrainPreset,
    TuningNeeds,
    VoiceNeeds,
    VoicePreset,
    WhisperRow,
)
from .facts import Gpu, Machine, spelled
from .findings import ERROR, Finding, kernels_of

CONTEXT = 600 * 2**20
"""Memory of the CUDA context on a GPU: 0.4 to 0.8 GB."""
BARE = 900 * 10**6
"""RAM of Python with PyTorch and the libraries of a command."""
CONVOLVED, ATTENDED = 2.9, 4.0
"""Memory that a GPU reserves at most, as a multiple of the counted live memory, for cuDNN's workspace and the
allocator's rounding: for an autoencoder by InvokeAI's formula (2,200 bytes per pixel and byte: 4.3 GiB for 1024x1024 in
half precision, of which 1.5 are counted), for a network by Forge's (1.4 GB for SDXL with guidance, of which 0.33 are).
"""
TRAINED = 20
"""Bytes per parameter in training: weights, gradients, two moments and the average, in float32."""
LEARNED = 16
"""Bytes per parameter that is learned beside the weights: gradients, two moments and the average, in float32."""
WORKSPACE = 1.5
"""Memory of a batch in training, as a multiple of what it keeps for the backward pass."""
KEPT = 4
"""Factor by which gradient checkpointing reduces what a picture keeps: four blocks per level."""
LAYER = 2**30
"""GPU memory of layer offloading: a layer of the largest networks and its neighbours in transfer."""
UNPACKED = 6.1
"""Bytes per parameter while Whisper loads: the file in half precision beside the network, measured with small."""
HALVES = (8, 0)
"""The lowest compute capability on which voices and training use bf16; txt2img uses half precision on all."""
FITS, TIGHT, FLAGS, NO, UNKNOWN = "fits", "tight", "fits with flags", "no", "unknown"
RANKS = (FITS, FLAGS, TIGHT, NO)
SPARING = {"--low-vram", "--checkpointing"}
"""Flags that cost speed, unlike the choice of another GPU."""


class Variant(NamedTuple):
    """A way to run a preset: its flags and the memory it needs."""

    flags: tuple[str, ...]
    vram: int
    ram: int
    note: str = ""


class Preset(NamedTuple):
    """A preset and the memory that it needs."""

    command: str
    name: str
    variants: tuple[Variant, ...]
    """On a GPU, the default first."""
    wide: tuple[Variant, ...]
    """On a GPU below `HALVES`."""
    on_cpu: tuple[Variant, ...]
    """Without a GPU."""
    disk: int
    """Bytes of its weight files, or of a training run."""
    parameters: int
    uncounted: str = ""
    """Why its needs are unknown, if they are; then `variants` is empty."""


class Verdict(NamedTuple):
    """Whether a machine can run a preset."""

    preset: Preset
    verdict: str
    flags: tuple[str, ...]
    where: str
    """cuda:0, cpu or RAM: the memory that decides."""
    need: int
    has: int
    """Bytes of the deciding memory: free, or in total if even an idle machine has too little."""
    note: str = ""
    smallest: str = ""
    """The smallest GPU of the guide that can run it without flags, if this machine cannot."""
    in_total: bool = False
    """Whether `has` counts all of the memory, not what is free."""


def presets() -> list[Preset]:
    """The presets of all commands, with their needs."""
    spoken = (*_speaking(), *_speaking_by_flow(), *_speaking_small())
    return [*_training(), *_painting(), *spoken, *_tuning(), *_transcribing()]


def presets_named(names: list[str]) -> list[Preset]:
    """The presets with these names, such as `sdxl` or `txt2img/sdxl`, in table order; names of the store are accepted.
    Without names, all. Raises DifftoolError 2 for an unknown name."""
    known = presets()
    if not names:
        return known
    selected = set()
    for name in names:
        matches = [preset for preset in known if _is_named(preset, name)]
        if not matches:
            all_names = [*dict.fromkeys(preset.name for preset in known)]
            near = nearest(name, all_names)
            hint = f"did you mean {near}?" if near else f"known: {', '.join(all_names)}"
            raise DifftoolError(Exit.USAGE, f"unknown preset {name!r}", hint)
        selected |= {(preset.command, preset.name) for preset in matches}
    return [preset for preset in known if (preset.command, preset.name) in selected]


def _is_named(preset: Preset, name: str) -> bool:
    """Whether `name`, with or without its command before a slash, means this preset."""
    command, _, row = name.rpartition("/")
    plain = _normalised(row).removesuffix(".en")
    names = (plain, _normalised(STORED.get(plain, "")))
    commands = ("", *preset.command.split(), preset.command)
    return _normalised(preset.name) in names and command in commands


STORED = {"sd15": "sd", "sd-turbo": "turbo", "sdxl-turbo": "turbo"}
"""Names of the store whose preset has another name."""


def _normalised(name: str) -> str:
    return name.lower().replace("_", "-")


def _training() -> Iterator[Preset]:
    for name, row in typed(TrainPreset).items():
        if row.needs is None:
            yield _uncounted("train", name)
            continue
        need, size = row.needs, row.batch_size
        data = math.prod(need.shape) * need.pictures
        half = _measured(_training_variants(need, size, 2), need.measured)
        fewer = max(1, size // 8)
        cpu = (
            Variant((), 0, BARE + _trained(need, size, 4)),
            Variant((), 0, BARE + _trained(need, fewer, 4), half[1].note),
        )
        wide = _training_variants(need, size, 4)
        yield Preset("train", name, half, wide, cpu, 40 * need.parameters + data, need.parameters)


def _training_variants(need: TrainNeeds, size: int, width: int) -> tuple[Variant, ...]:
    """The variants to train on a GPU with numbers of `width` bytes."""
    fewer = max(1, size // 8)
    ram = BARE + math.prod(need.shape) * need.pictures
    whole = _trained(need, size, width) + CONTEXT
    reduced = _trained(need, fewer, width) + CONTEXT
    single = _trained(need, 1 / KEPT, width) + CONTEXT
    return (
        Variant((), whole, ram),
        Variant((), reduced, ram, f"{fewer} of {size} at a time, automatically"),
        Variant(("--checkpointing",), single, ram, "one at a time"),
    )


def _trained(need: TrainNeeds, pictures: float, width: int) -> int:
    """Bytes that training needs with batches of `pictures`, in numbers of `width` bytes."""
    data = math.prod(need.shape) * need.pictures
    batch = pictures * need.picture * WORKSPACE * width / 4
    return int(TRAINED * need.parameters + data + batch)


def _painting() -> Iterator[Preset]:
    for name, row in typed(PicturePreset).items():
        if row.needs is None:
            yield _uncounted("txt2img", name)
            continue
        need = row.needs
        count = sum(asdict(need.parameters).values())
        variants = _measured(_painting_variants(need), need.measured)
        yield Preset("txt2img", name, variants, variants, _painting_on_cpu(need), need.stored * count, count)


def _painting_variants(need: PictureNeeds) -> tuple[Variant, ...]:
    """The variants to generate pictures on a GPU, in half precision."""
    live = need.live
    weights = {part: 2 * count for part, count in asdict(need.parameters).items()}
    text, network = int(live.text * ATTENDED), int(live.network * ATTENDED)
    vae, tile = int(live.vae * CONVOLVED), int(live.tile * CONVOLVED)
    whole = sum(weights.values())
    ram = BARE + whole  # while it loads, before it goes to the GPU
    # --low-vram: one part on the GPU at a time, decoded in tiles
    working = {"text": text, "network": network, "vae": tile}
    part = max(weights[name] + working[name] for name in weights)
    tiled = max(network, tile)
    return (
        Variant((), whole + max(text, network, vae) + CONTEXT, ram),
        Variant((), whole + tiled + CONTEXT, ram, "decoded in tiles, automatically"),
        Variant(("--low-vram",), part + CONTEXT, ram, "one network at a time"),
        Variant(("--low-vram",), LAYER + tiled + CONTEXT, ram, "one layer at a time, slow"),
    )


def _painting_on_cpu(need: PictureNeeds) -> tuple[Variant, ...]:
    live = need.live
    whole = 2 * sum(asdict(need.parameters).values())  # in half precision
    large, small = max(live.network, live.vae), max(live.network, live.tile)
    return (
        Variant((), 0, BARE + 2 * (whole + large)),
        Variant(("--low-vram",), 0, BARE + 2 * (whole + small), "decoded in tiles"),
        Variant(("--low-vram", "--dtype bf16"), 0, BARE + whole + small, "in half precision"),
    )


def _speaking() -> Iterator[Preset]:
    usual = needs("voice").get("tortoise")  # the needs of presets without needs of their own
    for name, row in typed(VoicePreset).items():
        need = row.needs or usual
        if need is None:
            yield _uncounted("voice clone", name)
            continue
        sizes, live = need.parameters, need.live
        half, wide = _measured(_speaking_variants(need, 2), need.measured), _speaking_variants(need, 4)
        largest = max(sizes[net] * 4 + live[net] for net in sizes)
        cpu = (Variant((), 0, BARE + largest),)
        count = sum(sizes.values())
        yield Preset("voice clone", name, half, wide, cpu, 8 * count, count)


def _speaking_by_flow() -> Iterator[Preset]:
    """The presets of F5-TTS. The network of the times, in float32, is in memory before the others are."""
    need = needs("f5")["f5"]
    sizes, live = need.parameters, max(need.live.values())
    small = 4 * (sizes["text"] + sizes["vocoder"])

    def on_gpu(width: int) -> tuple[Variant, ...]:
        whole = small + sizes["dit"] * width + int(live * ATTENDED * width / 4)
        return (Variant((), max(whole, 4 * sizes["time"]) + CONTEXT, 2 * BARE),)

    cpu = (Variant((), 0, BARE + max(small + 4 * sizes["dit"] + live, 4 * sizes["time"])),)
    count = sum(sizes.values())
    for name in family("f5"):
        yield Preset("voice clone", f"f5-{name}", _measured(on_gpu(2), need.measured), on_gpu(4), cpu, 4 * count, count)


def _speaking_small() -> Iterator[Preset]:
    """The presets of the voice in the package, whose networks are all in memory."""
    need = needs("mini")["mini"]
    half, wide = _speaking_variants(need, 2)[:1], _speaking_variants(need, 4)[:1]
    count = sum(need.parameters.values())
    cpu = (Variant((), 0, BARE + 4 * count + max(need.live.values())),)
    for name in family("mini"):
        yield Preset("voice clone", f"mini-{name}", _measured(half, need.measured), wide, cpu, 2 * count, count)


def _speaking_variants(need: VoiceNeeds, width: int) -> tuple[Variant, ...]:
    """The variants to speak on a GPU with numbers of `width` bytes."""
    sizes, live = need.parameters, need.live
    working = {net: int(live[net] * ATTENDED * width / 4) for net in sizes}
    largest = max(sizes[net] * width + working[net] for net in sizes)
    whole = sum(sizes.values()) * width + int(max(live.values()) * ATTENDED * width / 4)
    return (
        Variant((), whole + CONTEXT, 2 * BARE),
        Variant(("--low-vram",), largest + CONTEXT, 2 * BARE, "one network at a time"),
    )


def _tuning() -> Iterator[Preset]:
    """Engines that are trained on a voice, one clip at a time; more are taken where they fit."""
    for name, need in needs("tuning").items():
        spares = name.startswith("tortoise")
        half, wide = (_tuning_variants(need, width, CONTEXT, 2 * BARE, spares=spares) for width in (2, 4))
        cpu = tuple(
            Variant(flags, 0, BARE + size, note)
            for flags, size, _, note in _tuning_variants(need, 4, 0, 0, spares=spares)
        )
        disk = 2 * (LEARNED - 4) * need.learned  # two checkpoints
        yield Preset("voice train", name, _measured(half, need.measured), wide, cpu, disk, need.parameters)


def _tuning_variants(need: TuningNeeds, width: int, more: int, ram: int, *, spares: bool) -> tuple[Variant, ...]:
    """The variants to train with numbers of `width` bytes, with `more` memory besides; `spares`: with --checkpointing,
    too."""
    weights = 4 * need.parameters + LEARNED * need.learned + more
    clip = need.clip * WORKSPACE * width / 4
    whole = Variant((), int(weights + clip), ram)
    less = Variant(("--checkpointing",), int(weights + clip / KEPT), ram, "also automatically")
    return (whole, less) if spares else (whole,)


def _transcribing() -> Iterator[Preset]:
    for name, row in typed(WhisperRow).items():
        if row.needs is None:
            yield _uncounted("voice prep", f"whisper-{name}", "whisper", name)
            continue
        count, live = row.needs.parameters, row.needs.live
        opened = BARE + int(count * UNPACKED)
        vram = 4 * count + int(live * ATTENDED) + CONTEXT
        variants = _measured((Variant((), vram, opened),), row.needs.measured)
        cpu = (Variant((), 0, opened + live),)
        yield Preset("voice prep", f"whisper-{name}", variants, variants, cpu, 2 * count, count)


def _uncounted(command: str, name: str, file: str = "", row: str = "") -> Preset:
    """A preset whose needs are unknown."""
    file = file or command.split()[0]
    note = f"unknown needs: no [{row or name}.needs] in {file}.toml"
    return Preset(command, name, (), (), (), 0, 0, note)


def _measured(variants: tuple[Variant, ...], measured: int | None) -> tuple[Variant, ...]:
    """The variants to run a preset, the first with the VRAM measured on a GPU, if the table has it."""
    if measured is None:
        return variants
    first, *others = variants
    return (first._replace(vram=measured), *others)


def verdict_of(machine: Machine, preset: Preset) -> Verdict:
    """Whether a machine can run a preset: on its first GPU, or on a better one with the flag that selects it; on the
    CPU if PyTorch sees no NVIDIA GPU."""
    if preset.uncounted:
        return Verdict(preset, UNKNOWN, (), "", 0, 0, preset.uncounted)
    if unused := _unused_gpu(machine):
        return _on_cpu(machine, preset)._replace(note=unused)
    if not machine.gpus:
        return _on_cpu(machine, preset)
    verdicts = [_on_gpu(machine, gpu, preset) for gpu in machine.gpus]
    return min(verdicts, key=_rank)


def _rank(verdict: Verdict) -> tuple[int, bool]:
    """Sorts verdicts, the best first."""
    is_slow = not SPARING.isdisjoint(verdict.flags)
    return RANKS.index(verdict.verdict), is_slow


def _unused_gpu(machine: Machine) -> str:
    """Why the verdict is for the CPU although there is a GPU; "" if PyTorch sees NVIDIA GPUs or there are none."""
    if machine.runs_on_rocm:
        return "on the CPU: AMD GPU memory is not measured"
    if not machine.gpus:
        return ""
    if machine.torch_rocm is not None:
        return "on the CPU: this PyTorch is built for ROCm"
    if machine.torch is not None and machine.torch_cuda is None:
        return "on the CPU: this PyTorch is built for the CPU only"
    if machine.cuda_error not in (None, 0):
        return f"on the CPU: CUDA does not start (error {machine.cuda_error})"
    return ""


def _on_gpu(machine: Machine, gpu: Gpu, preset: Preset) -> Verdict:
    where = f"cuda:{gpu.number}"
    variants = preset.variants if gpu.capability >= HALVES else preset.wide
    selection = f"CUDA_VISIBLE_DEVICES={gpu.uuid}" if gpu.slice else f"--device {where}"
    choice = (selection,) if gpu.number else ()
    low, high = kernels_of(machine.torch_cuda) if machine.torch_cuda else ((0, 0), (99, 0))
    if not low <= gpu.capability <= high:
        note = f"this PyTorch has no kernels for compute capability {spelled(gpu.capability)}"
        return Verdict(preset, NO, (), where, variants[0].vram, gpu.free, note)
    for variant in variants:
        if variant.vram <= gpu.free and variant.ram <= machine.memory:
            flags = (*choice, *variant.flags)
            return Verdict(preset, FLAGS if flags else FITS, flags, where, variant.vram, gpu.free, variant.note)
    for variant in variants:
        if variant.vram <= gpu.total and variant.ram <= machine.most:
            flags = (*choice, *variant.flags)
            if variant.vram > gpu.free:
                note = "not enough while other programs use the GPU"
                return Verdict(preset, TIGHT, flags, where, variant.vram, gpu.free, note)
            return Verdict(preset, TIGHT, flags, "RAM", variant.ram, machine.memory, LITTLE_RAM)
    least = min(variants, key=lambda variant: variant.vram)
    if least.vram > gpu.total:
        return Verdict(preset, NO, (), where, least.vram, gpu.total, "", smallest_gpu(preset), in_total=True)
    return Verdict(preset, NO, (), "RAM", least.ram, machine.most, "", smallest_gpu(preset), in_total=True)


LITTLE_RAM = "not enough RAM is free now"


def _on_cpu(machine: Machine, preset: Preset) -> Verdict:
    for variant in preset.on_cpu:
        if variant.ram <= machine.memory:
            verdict = FLAGS if variant.flags else FITS
            return Verdict(preset, verdict, variant.flags, "cpu", variant.ram, machine.memory, variant.note)
    least = min(variant.ram for variant in preset.on_cpu)
    if least <= machine.most:
        return Verdict(preset, TIGHT, (), "cpu", least, machine.memory, LITTLE_RAM)
    return Verdict(preset, NO, (), "cpu", least, machine.most, "", smallest_gpu(preset), in_total=True)


def refusal(verdicts: Sequence[Verdict], findings: Sequence[Finding]) -> DifftoolError | None:
    """The error (exit code 3) for presets that cannot run here, with what would help; None if all can."""
    refused = [verdict for verdict in verdicts if verdict.verdict == NO]
    if not refused:
        return None
    first = refused[0]
    worst = next((finding for finding in findings if finding.level == ERROR), None)
    names = ", ".join(verdict.preset.name for verdict in refused)
    hint = f"{first.smallest} can run it"
    if worst is not None and not first.smallest:
        hint = f"{worst.what}: {worst.mend}"
    whose = f"{first.preset.name} " if refused[1:] and not first.note else ""
    reason = whose + (first.note or memory_text(first))
    return DifftoolError(Exit.MACHINE, f"this machine cannot run {names}: {reason}", hint)


def memory_text(verdict: Verdict) -> str:
    """The memory a preset needs and the memory there is, as text."""
    need, has = verdict.need / 2**30, verdict.has / 2**30
    kind = "in total" if verdict.in_total else "free"
    return f"needs {need:.1f} of {has:.1f} GiB {kind} on {verdict.where}"


def smallest_gpu(preset: Preset) -> str:
    """The smallest GPU of the guide that can run a preset without flags."""
    for name, row in hardware().gpus.items():
        if preset.variants[0].vram <= row.vram * 2**30 * 0.95:
            return name
    return "no single GPU of the guide"
