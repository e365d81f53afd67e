from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..presets import hardware
from .completion import completer, presets
from .console import Console, Line, Result, Styled
from .options import ModelsDir

if TYPE_CHECKING:
    from ..lab.deep import Row
    from ..lab.facts import Machine
    from ..lab.findings import Finding
    from ..lab.upgrades import Stage
    from ..lab.verdicts import Verdict

SCHEMA = "difftool/lab/1"
SHADES = {"fits": "good", "fits with flags": "good", "tight": "fair", "no": "bad", "unknown": "fair"}
"""The style of each verdict."""


def check(
    console: Console,
    presets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PRESET]...",
            help="Presets to check: sdxl, fast, whisper-base, ...",
            autocompletion=completer(presets),
        ),
    ] = None,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep/--no-deep", help="Also run kernels on every device, in separate processes.", show_default=False
        ),
    ] = False,
    models_dir: ModelsDir = None,
) -> Result:
    """Check driver, CUDA, GPUs, memory and tools, and show which presets this machine can run.

    With preset names, the exit code is 3 if one of them cannot run here.

    Examples:

    difftool lab check

    difftool lab check sdxl fast --deep
    """
    from ..lab.findings import findings
    from ..lab.probes import Sources, probe
    from ..lab.verdicts import NO, presets_named, refusal, verdict_of

    rows = presets_named(presets or [])
    machine = probe(Sources(models=models_dir))
    problems = findings(machine)
    kernels: list[Row] = []
    if deep:
        from ..lab import deep as deep_check

        kernels = deep_check.kernels(machine)
        problems += deep_check.findings(kernels)
    verdicts = [verdict_of(machine, preset) for preset in rows]
    data = {
        "lab_schema": SCHEMA,
        "machine": _machine_json(machine),
        "findings": [finding._asdict() for finding in problems],
        "presets": [_verdict_json(verdict) for verdict in verdicts],
        "deep": kernels,
    }
    lines = [*_machine(machine), "", *_findings(problems), *_verdicts(verdicts, _width())]
    if kernels:
        lines.append("")
        lines += [f"{row['device']}: {row['what']}: {row['said']}" for row in kernels]
    error = refusal(verdicts, problems) if presets else None
    runnable = [verdict.preset.name for verdict in verdicts if verdict.verdict != NO]
    return Result(data, lines, runnable, error)


def _machine_json(machine: Machine) -> dict[str, object]:
    """A machine for --json."""

    def plain(value: Any) -> Any:
        if hasattr(value, "_asdict"):
            return {key: plain(part) for key, part in value._asdict().items()}
        return [plain(part) for part in value] if isinstance(value, (tuple, list)) else value

    gpus = [{**plain(gpu), "precisions": list(gpu.precisions)} for gpu in machine.gpus]
    return {**plain(machine), "gpus": gpus}


def _verdict_json(verdict: Verdict) -> dict[str, object]:
    """A verdict for --json."""
    preset = verdict.preset
    needs = {
        "parameters": preset.parameters,
        "weights_bytes": {"fp32": 4 * preset.parameters, "halves": 2 * preset.parameters},
        "ram_bytes": preset.variants[0].ram if preset.variants else 0,
        "vram_bytes": preset.variants[0].vram if preset.variants else 0,
        "disk_bytes": preset.disk,
    }
    judged = {
        "command": preset.command,
        "preset": preset.name,
        "verdict": verdict.verdict,
        "flags": list(verdict.flags),
        "where": verdict.where,
        "need_bytes": verdict.need,
        "has_bytes": verdict.has,
        "has": "total" if verdict.in_total else "free",
        "note": verdict.note,
        "carried_by": verdict.smallest,
    }
    return judged | needs


def _machine(m: Machine) -> Iterator[str]:
    from ..lab.facts import spelled

    surroundings = {"WSL": m.wsl, "in a container": m.container, "from cron": m.cron}
    system = [f"{m.system}, Python {m.python}", *(name for name, applies in surroundings.items() if applies)]
    yield f"system      {', '.join(system)}"
    limit = "" if m.ram_limit is None else f", limit {_gib(m.ram_limit)}"
    cores = f"{m.cores_usable:g} of {m.cores} cores, load {m.load:g}"
    ram = f"{_gib(m.ram)} RAM, {_gib(m.ram_free)} free{limit}"
    yield f"memory      {ram}; {cores}"
    newest = f", CUDA up to {spelled(m.cuda_driver)}" if m.cuda_driver else ""
    yield f"driver      {spelled(m.driver)}{newest}"
    yield f"PyTorch     {m.torch or 'none'} for {_torch_build(m)}, torchaudio {m.torchaudio or 'none'}"
    dnn, tensorrt = spelled(m.cudnn), spelled(m.tensorrt)
    yield f"libraries   CUDA {spelled(m.cuda_runtime)}, cuDNN {dnn}, TensorRT {tensorrt}"
    yield from _gpus(m)
    if m.others:
        used = "AMD GPUs are used through ROCm (untested)" if m.runs_on_rocm else "not used by this PyTorch"
        yield f"others      {', '.join(m.others)}: {used}"
    ffmpeg = m.ffmpeg or ("bundled with imageio-ffmpeg" if m.ffmpeg_bundled else "none")
    yield f"sound       ffmpeg: {ffmpeg}; soundfile {m.sndfile or 'none'}"
    for disk in m.disks:
        free = f"{disk.free / 10**9:,.0f} GB free"
        yield f"disk        {free} for {disk.used_for} ({disk.path})"
    installed = [name for name, state in m.store if state == "whole"]
    yield f"models      {', '.join(installed) or 'none installed'}"
    for path, _ in m.caches:
        yield f"cache       {path}"
    for name, why in m.failed:
        yield f"unknown     {name}: {why}"


def _torch_build(m: Machine) -> str:
    """What PyTorch is built for."""
    from ..lab.facts import spelled

    if m.torch_cuda:
        return f"CUDA {spelled(m.torch_cuda)}"
    return f"ROCm {m.torch_rocm}" if m.torch_rocm else "the CPU"


def _gpus(m: Machine) -> Iterator[str]:
    from ..lab.facts import spelled

    for gpu in m.gpus:
        kind = "slice" if gpu.slice else f"cuda:{gpu.number}"
        memory = f"{_gib(gpu.free)} of {_gib(gpu.total)} free"
        yield f"{kind:11} {gpu.name}, compute capability {spelled(gpu.capability)}, {memory}"
        yield f"            {', '.join(gpu.precisions)}; {gpu.uuid}"
    for a, b, is_direct in m.peers:
        exchange = "read each other's memory directly" if is_direct else "exchange data through RAM"
        yield f"            cuda:{a} and cuda:{b} {exchange}"


def _findings(problems: Sequence[Finding]) -> Iterator[Line]:
    for finding in problems:
        why = f" ({finding.why})" if finding.why else ""
        yield Styled(f"{finding.level}:", finding.level), f" {finding.what}{why}"
        yield "  ", Styled("fix:", "fix"), f" {finding.mend}"
    if problems:
        yield ""


def _verdicts(verdicts: Sequence[Verdict], width: int) -> Iterator[Line]:
    """A line for each preset, or two on a narrow terminal."""
    from ..lab.verdicts import memory_text

    labels = [_label(verdict) for verdict in verdicts]
    memories = ["" if verdict.preset.uncounted else memory_text(verdict) for verdict in verdicts]
    name_width = max((len(verdict.preset.name) for verdict in verdicts), default=0)
    label_width, memory_width = (max(map(len, texts), default=0) for texts in (labels, memories))
    command = ""
    for verdict, label, memory in zip(verdicts, labels, memories, strict=True):
        preset = verdict.preset
        if preset.command != command:
            command = preset.command
            yield command
        upgrade = f"{verdict.smallest} can run it" if verdict.smallest else ""
        notes = "; ".join(part for part in (verdict.note, upgrade) if part)
        name = f"  {preset.name:{name_width}}  "
        shown = Styled(f"{label:{label_width}}", SHADES[verdict.verdict])
        length = len(name) + label_width + memory_width + 2
        if not notes:
            yield name, shown, f"  {memory}".rstrip()
        elif length + 2 + len(notes) <= width:
            yield name, shown, f"  {memory:{memory_width}}  {notes}"
        else:
            yield name, shown, f"  {memory}".rstrip()
            yield f"  {'':{name_width}}  {notes}"


def _label(verdict: Verdict) -> str:
    from ..lab.verdicts import FLAGS

    return f"fits with {' '.join(verdict.flags)}" if verdict.verdict == FLAGS else verdict.verdict


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"


def _width() -> int:
    import shutil
    import sys

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 10**6


def plan(
    console: Console,
    preset: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="PRESET",
            help="Stop at the first stage that can run this preset.",
            autocompletion=completer(presets),
        ),
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(
            "--stage",
            help="Show only this stage: first, year1 or year2.",
            autocompletion=completer(lambda params: hardware().stages),
        ),
    ] = None,
) -> Result:
    """Show a hardware upgrade path and the presets that each stage adds.

    Examples:

    difftool lab plan

    difftool lab plan --for flux
    """
    from ..lab.upgrades import path

    stages = path(preset, stage)
    data = {"stages": [row._asdict() for row in stages]}
    lines = [line for row in stages for line in _stage(row)]
    return Result(data, lines, [row.name for row in stages])


def _stage(stage: Stage) -> Iterator[str]:
    yield f"{stage.name}: {stage.about}"
    for k, gpu in enumerate(stage.gpus):
        row = hardware().gpus[gpu]
        heading = "" if k else "GPU"
        instead = f"; or {stage.instead}" if stage.instead and not k else ""
        yield f"  {heading:12} {gpu}, {row.vram} GB: {row.suits}; drawback: {row.drawback}{instead}"
    for name, part in stage.parts.items():
        yield f"  {name:12} {part}"
    yield f"  adds         {', '.join(stage.adds) or 'capacity, no further presets'}"
    yield ""
