from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..presets import hardware
from .console import Console, Result
from .options import ModelsDir

if TYPE_CHECKING:
    from ..lab.facts import Machine
    from ..lab.findings import Finding
    from ..lab.upgrades import Stage
    from ..lab.verdicts import Verdict

SCHEMA = "difftool/lab/1"


def check(
    console: Console,
    presets: Annotated[
        list[str] | None, typer.Argument(metavar="[PRESET]...", help="Judge these only: sdxl, fast, whisper-base, ...")
    ] = None,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep/--no-deep", help="Compute something on every device, in processes of their own.", show_default=False
        ),
    ] = False,
    models_dir: ModelsDir = None,
) -> Result:
    """Say what this machine carries: driver, CUDA, GPUs, memory, tools, and a verdict on every preset of every command.

    With names it ends with 3 where one of them does not run here.

    Examples:

    difftool lab check

    difftool lab check sdxl fast --deep
    """
    from ..lab.findings import findings
    from ..lab.probes import Sources, probe
    from ..lab.verdicts import NO, chosen, judge, refusal

    rows = chosen(presets or [])
    machine = probe(Sources(models=models_dir))
    found, ran = findings(machine), []
    if deep:
        from ..lab import deep as really

        ran = really.kernels(machine)
        found += really.findings(ran)
    verdicts = [judge(machine, one) for one in rows]
    data = {
        "lab_schema": SCHEMA,
        "machine": _plain(machine),
        "findings": [one._asdict() for one in found],
        "presets": [_told(one) for one in verdicts],
        "deep": ran,
    }
    lines = [*_machine(machine), "", *_findings(found), *_verdicts(verdicts, _width())]
    lines += ["", *(f"{one['device']}: {one['what']}: {one['said']}" for one in ran)] if ran else []
    error = refusal(verdicts, found) if presets else None
    return Result(data, lines, [one.preset.name for one in verdicts if one.verdict != NO], error)


def _plain(machine: Machine) -> dict[str, object]:
    """As JSON takes it."""

    def plain(value: Any) -> Any:
        if hasattr(value, "_asdict"):
            return {key: plain(part) for key, part in value._asdict().items()}
        return [plain(part) for part in value] if isinstance(value, (tuple, list)) else value

    gpus = [{**plain(gpu), "precisions": list(gpu.precisions)} for gpu in machine.gpus]
    return {**plain(machine), "gpus": gpus}


def _told(one: Verdict) -> dict[str, object]:
    preset = one.preset
    return {
        "command": preset.command,
        "preset": preset.name,
        "verdict": one.verdict,
        "flags": list(one.flags),
        "where": one.where,
        "need_bytes": one.need,
        "has_bytes": one.has,
        "note": one.note,
        "carried_by": one.carried_by,
        "parameters": preset.parameters,
        "weights_bytes": {"fp32": 4 * preset.parameters, "halves": 2 * preset.parameters},
        "ram_bytes": preset.ways[0].ram if preset.ways else 0,
        "vram_bytes": preset.ways[0].vram if preset.ways else 0,
        "disk_bytes": preset.disk,
    }


def _machine(m: Machine) -> Iterator[str]:
    from ..lab.facts import spelled

    yield f"system      {m.system}, Python {m.python}" + "".join(
        f", {word}" for word, said in (("WSL", m.wsl), ("in a container", m.container), ("from cron", m.cron)) if said
    )
    limit = "" if m.ram_limit is None else f", {_gib(m.ram_limit)} allowed"
    cores = f"{m.cores_usable:g} of {m.cores} cores, load {m.load:g}"
    yield f"memory      {_gib(m.ram)} of RAM, {_gib(m.ram_free)} free{limit}; {cores}"
    yield f"driver      {spelled(m.driver)}" + (f", CUDA up to {spelled(m.cuda_driver)}" if m.cuda_driver else "")
    built = f"CUDA {spelled(m.torch_cuda)}" if m.torch_cuda else f"ROCm {m.torch_rocm}" if m.torch_rocm else "the CPU"
    yield f"PyTorch     {m.torch or 'none'} for {built}, torchaudio {m.torchaudio or 'none'}"
    yield f"libraries   CUDA {spelled(m.cuda_runtime)}, cuDNN {spelled(m.cudnn)}, TensorRT {spelled(m.tensorrt)}"
    for gpu in m.gpus:
        kind = "slice" if gpu.slice else f"cuda:{gpu.number}"
        room = f"{_gib(gpu.free)} of {_gib(gpu.total)} free"
        yield f"{kind:11} {gpu.name}, compute capability {spelled(gpu.capability)}, {room}"
        yield f"            {', '.join(gpu.precisions)}; {gpu.uuid}"
    for a, b, well in m.peers:
        yield f"            cuda:{a} and cuda:{b} {'read each other directly' if well else 'exchange through RAM'}"
    if m.others:
        used = "AMD is used through ROCm, untested" if m.runs_on_rocm else "not used by this PyTorch"
        yield f"others      {', '.join(m.others)}: {used}"
    ffmpeg = m.ffmpeg or ("that of imageio-ffmpeg" if m.ffmpeg_bundled else "none")
    yield f"sound       ffmpeg: {ffmpeg}; soundfile {m.sndfile or 'none'}"
    for disk in m.disks:
        yield f"disk        {disk.free / 10**9:,.0f} GB free for {disk.role} ({disk.path})"
    here = [name for name, state in m.store if state == "whole"]
    yield f"models      {', '.join(here) or 'none in the store'}"
    for path, _ in m.caches:
        yield f"cache       {path}"
    for name, why in m.failed:
        yield f"not known   {name}: {why}"


def _findings(found: Sequence[Finding]) -> Iterator[str]:
    for one in found:
        yield f"{one.level}: {one.what}" + (f" ({one.why})" if one.why else "")
        yield f"  mend: {one.mend}"
    if found:
        yield ""


def _verdicts(verdicts: Sequence[Verdict], width: int) -> Iterator[str]:
    """A line for each preset, in two where the terminal is narrow."""
    from ..lab.verdicts import amount

    said = [f"fits with {' '.join(one.flags)}" if one.verdict == "fits with flags" else one.verdict for one in verdicts]
    names, words = (max(map(len, column), default=0) for column in ([one.preset.name for one in verdicts], said))
    command = ""
    for one, word in zip(verdicts, said, strict=True):
        if one.preset.command != command:
            command = one.preset.command
            yield command
        carried = f"{one.carried_by} would carry it" if one.carried_by else ""
        more = "; ".join(part for part in (one.note, carried) if part)
        needed = "" if one.preset.uncounted else amount(one)
        line = f"  {one.preset.name:{names}}  {word:{words}}  {needed:26}"
        together = f"{line}  {more}".rstrip()
        yield from [together] if len(together) <= width or not more else [line.rstrip(), f"  {'':{names}}  {more}"]


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"


def _width() -> int:
    import shutil
    import sys

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 10**6


def plan(
    console: Console,
    preset: Annotated[
        str | None, typer.Option("--for", metavar="PRESET", help="Until the stage that carries this one.")
    ] = None,
    stage: Annotated[str | None, typer.Option("--stage", help="Only this stage: first, year1 or year2.")] = None,
) -> Result:
    """The guide's way from a first machine to a laboratory, and which presets each step adds.

    Examples:

    difftool lab plan

    difftool lab plan --for flux
    """
    from ..lab.upgrades import path

    wanted = path(preset, stage)
    data = {"stages": [one._asdict() for one in wanted]}
    lines = [line for one in wanted for line in _stage(one)]
    return Result(data, lines, [one.name for one in wanted])


def _stage(one: Stage) -> Iterator[str]:
    yield f"{one.name}: {one.about}"
    for k, gpu in enumerate(one.gpus):
        row = hardware().gpus[gpu]
        instead = f"; or {one.instead}" if one.instead and not k else ""
        yield f"  {'' if k else 'GPU':12} {gpu}, {row.vram} GB: {row.suits}; consider: {row.drawback}{instead}"
    for name, what in one.parts.items():
        yield f"  {name:12} {what}"
    yield f"  adds         {', '.join(one.adds) or 'room, and no preset'}"
    yield ""
