from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import processes
from ..core.solve import SAMPLERS
from ..errors import DifftoolError, Exit
from ..files import writable
from ..limits import counted
from ..outputs import Places, animation, figure, pictures, refuse_other, sampled_sounds
from ..pixels.settings import COUNT, ForwardSettings, Settings
from ..sampling import aliases
from ..settings import OUTPUT, SAMPLING, manifest_of
from .completion import completer
from .console import Console, Result
from .options import AnyOutput, DryRun, GridOnly, OutputDir, Overwrite, Show, one_of_each
from .viewer import showing

if TYPE_CHECKING:
    from ..pixels.compare import Row
    from ..pixels.forward import ForwardPlan, Noised
    from ..pixels.plan import SamplePlan
    from ..pixels.write import Written


def _samplers(value: str | None) -> str | None:
    """A callback that rejects unknown and repeated samplers."""
    names = [] if value is None else [aliases.sampler(name) for name in value.split(",")]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise DifftoolError(Exit.USAGE, f"--compare lists {repeated} twice", "list each sampler once")
    return value


UNUSED = (
    *("sampler", "eta", "churn", "ema", "label", "count", "trajectory", "compare", "list_schedules"),
    *("between", "seconds", "init", "strength", "mask", "vocoder"),
    *("guidance", "guidance_mode", "guidance_interval", "guidance_rescale", "autoguide", "dynamic_threshold"),
)
"""Options that `--forward` cannot be combined with, since it calls no network."""


@one_of_each(
    *(("compare", name) for name in ("sampler", "trajectory", "list_schedules")),
    ("seed", "between"),
    *(("forward", name) for name in UNUSED),
)
def sample(
    console: Console,
    settings: Settings,
    list_samplers: Annotated[
        bool,
        typer.Option(
            "--list-samplers/--no-list-samplers",
            help="List the samplers and exit.",
            show_default=False,
            rich_help_panel=SAMPLING,
        ),
    ] = False,
    list_schedules: Annotated[
        bool,
        typer.Option(
            "--list-schedules/--no-list-schedules",
            help="List the noise schedules for MODEL and --steps, and exit.",
            show_default=False,
            rich_help_panel=SAMPLING,
        ),
    ] = False,
    plot: Annotated[
        bool,
        typer.Option(
            "--plot/--no-plot",
            help="With --list-schedules, plot alpha, sigma and the SNR of those in --schedule.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare",
            metavar="A,B,...",
            autocompletion=completer(lambda params: SAMPLERS),
            help="Compare these samplers from the same starting noise, in a table and a figure.",
            callback=_samplers,
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    trajectory: Annotated[
        bool,
        typer.Option(
            "--trajectory/--no-trajectory",
            help="Also write a strip and a GIF of the sampling trajectory.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    forward: Annotated[
        Path | None,
        typer.Option(
            "--forward",
            metavar="FILE",
            help="Show a picture on its way into noise, as a strip and a GIF: x = alpha * x0 + sigma * noise.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    output: AnyOutput = None,
    output_dir: OutputDir = None,
    grid_only: GridOnly = False,
    overwrite: Overwrite = False,
    show: Show = False,
    dry_run: DryRun = False,
) -> Result:
    """Generate pictures or sounds from a model; default: the bundled digits model.

    Examples:

    difftool sample --count 100 -o digits.png --grid-only

    difftool sample outputs/train/RUN --sampler "DPM++ 2M Karras" --label 3 --guidance 2

    difftool sample --compare ddpm,ddim

    difftool sample --list-schedules --plot --schedule trailing,karras -o schedules.png

    difftool sample --forward cat.jpg -o cat-to-noise.png

    difftool sample tones --label bell-A4 -o bell.wav

    difftool sample outputs/train/RUN --init talk.wav --mask 2.0-3.5 -o mended.wav
    """
    if list_samplers:
        return _samplers_known()
    if plot and not list_schedules:
        raise DifftoolError(Exit.USAGE, "--plot needs --list-schedules", "use --list-schedules --plot")
    to = console.destination(output, output_dir, overwrite=overwrite, grid_only=grid_only)
    if list_schedules:
        result = _schedules_known(console, settings, figure(to, "schedules.png") if plot else None, dry_run)
        return showing(console, result) if show and plot and not dry_run else result
    if forward is not None:
        result = _forward(console, forward, settings, animation(to, "forward"), dry_run)
        return showing(console, result) if show else result
    if compare:
        result = _compare(console, compare.split(","), settings, figure(to, "compare.png"), dry_run)
        return showing(console, result) if show else result
    is_one = output is not None and output.suffix.lower() == ".wav" and settings.between is None
    settings = replace(settings, count=settings.count or (1 if is_one else COUNT))
    items = [(k, settings.seed_of(k)) for k in range(settings.count or 0)]
    refuse_other(to.output, "pictures are written as PNG, sounds as WAV", (".png", ".wav"))
    from ..pixels.plan import plan_samples

    plan = plan_samples(settings)
    places = (pictures if plan.sound is None else sampled_sounds)(to, items, trajectory=trajectory)
    if settings.init is not None and any(path.exists() and path.samefile(settings.init) for path in places.all):
        message = f"the result would overwrite {settings.init}, which it is made from"
        raise DifftoolError(Exit.USAGE, message, "choose another name")
    if dry_run:
        return dry(plan, places)
    result = drawn(console, plan, places)
    return showing(console, result) if show else result


def _samplers_known() -> Result:
    """The list of samplers."""
    rows = {}
    for name, row in SAMPLERS.items():
        rows[name] = {"title": row.title, "steps": row.steps, "method": row.solver.__name__, **row.defaults}
    lines = [f"{name:15} {row.title}" for name, row in SAMPLERS.items()]
    return Result({"samplers": rows}, lines, [*SAMPLERS])


def _schedules_known(console: Console, settings: Settings, to: Path | None, dry_run: bool) -> Result:
    """The list of schedules for a model, and with `to` a plot of some of them."""
    from ..pixels.schedules import curves_of, schedules_of, write_plot

    known = schedules_of(settings)
    rows, lines = {}, []
    for row in known.rows:
        rows[row.name] = {"title": row.title, "default": row.is_default, "steps": row.steps, "error": row.error}
        mark = "*" if row.is_default else "-" if row.error else " "
        lines.append(f"{mark} {row.name:16} {row.title}")
    steps = counted(known.steps, "step")
    lines.append(f"* default of {known.model.name}; - has none of {steps} for it")
    data = {"schedules": rows, "model": known.model.name, "steps": known.steps}
    if to is None:
        return Result(data, lines, [*rows])
    curves = curves_of(known)
    which = f"{', '.join(curves)} of {known.model.name} in {steps}"
    if dry_run:
        summary = [f"would plot {which}", f"would write {to}"]
        return Result({**data, "dry_run": True, "would_write": [str(to)]}, summary, [])
    with writable(to.parent):
        write_plot(to, known, curves, console.run_id)
    head = f"plotted {which}"
    return Result({**data, "outputs": [{"path": str(to)}]}, [head, str(to)], [to])


def _forward(console: Console, picture: Path, settings: Settings, places: Places, dry_run: bool) -> Result:
    from ..pixels.forward import noised, plan_forward, write_noised

    settings.machine()  # refuses a device that this machine does not have
    own = ForwardSettings(picture, settings.model, settings.steps, settings.schedule, settings.seed)
    plan = plan_forward(own)
    if dry_run:
        return dry_forward(plan, places)
    loaded = time.monotonic()
    with writable(*places.folders):
        done = noised(plan, places, console.run_id)
        ended = time.monotonic()
        write_noised(done)
    seconds = {"load": loaded - console.began, "sample": ended - loaded, "save": time.monotonic() - ended}
    return report_forward(console, done, seconds)


def dry_forward(plan: ForwardPlan, places: Places) -> Result:
    """Reports which levels a forward process would visit."""
    paths = [str(path) for path in places.all]
    settings = manifest_of(plan.settings)
    head = f"would add noise in {counted(len(plan.levels) - 1, 'step')}: {plan.settings.schedule} of {plan.model.name}"
    summary = [head, f"would write {', '.join(paths)}"]
    return Result({"dry_run": True, "settings": settings, "would_write": paths}, summary, [])


def report_forward(console: Console, done: Noised, seconds: Mapping[str, float]) -> Result:
    """Reports the files of a forward process."""
    settings, model = done.manifest["settings"], done.manifest["model"]
    paths = done.places.all
    levels = [{"t": level.t, "alpha": level.alpha, "sigma": level.sigma} for level in done.levels]
    timing = console.timing(seconds)
    data = {
        "outputs": [{"path": str(path), "seed": settings["seed"]} for path in paths],
        "levels": levels,
        "settings": settings,
        "model": model,
        "timing": timing,
    }
    how = f"{settings['schedule']} of {model['name']}, {counted(settings['steps'], 'step')}, seed {settings['seed']}"
    summary = [f"{counted(len(levels), 'level')} from data to noise ({how})", *map(str, paths)]
    return Result(data, summary, paths)


def drawn(console: Console, plan: SamplePlan, places: Places) -> Result:
    """Generates the items of a plan, writes the files and reports."""
    from ..pixels.draw import draw_samples, with_sounds
    from ..pixels.write import FRAMES, write

    loaded = time.monotonic()
    frames = FRAMES if places.trajectory else 0
    if processes.rank():  # the first process writes the pictures of all
        draw_samples(plan, frames=frames)
        return Result({}, [], [])
    with writable(*places.folders):
        drawn = draw_samples(plan, track=console.track, name=console.run_id, frames=frames)
        made = with_sounds(drawn)
        ended = time.monotonic()
        console.resume = "run it again with --overwrite"  # some of the files may exist by then
        written = write(made, places)
    saving = time.monotonic() - ended
    seconds = {"load": loaded - console.began, "sample": ended - loaded, "save": saving}
    return report(console, written, seconds)


def report(console: Console, written: Written, seconds: Mapping[str, float]) -> Result:
    """Reports the pictures or sounds that were written."""
    from ..models import item_of

    places, drawn = written.places, written.drawn
    settings, model = drawn.manifest["settings"], drawn.manifest["model"]
    timing = console.timing(seconds)
    data = {
        "outputs": written.outputs,
        "grid": str(places.grid) if places.grid else None,
        "trajectory": [*map(str, places.trajectory)],
        "settings": settings,
        "model": model,
        "timing": timing,
    }
    first, last = drawn.items[0]["seed"], drawn.items[-1]["seed"]
    seeds = str(first) if first == last else f"{first} to {last}"
    steps = counted(settings["steps"], "step")
    how = f"{settings['sampler']}, {steps}, guidance {settings['guidance']:g}, seed {seeds}"
    if drawn.sound is not None:
        how += f", {settings['vocoder']}"
    count = counted(len(drawn.items), item_of(drawn.sound))
    head = f"{count} of {model['name']} in {timing['total']:.1f} s"
    summary = [f"{head} ({how})", str(places.results[-1])]
    if drawn.sound is not None:
        more = " ..." if places.singles[1:] else ""
        singles = [f"{path}{more}" for path in places.singles[:1]]
        summary[1:] = [*singles, *([f"spectrograms: {places.grid}"] if places.grid else [])]
    elif places.grid and places.singles:
        summary.append(f"singles: {places.singles[0]} ...")
    if places.trajectory:
        paths = ", ".join(map(str, places.trajectory))
        summary.append(f"trajectory (state above, the network's estimate below): {paths}")
    return Result(data, summary, places.results)


def dry(plan: SamplePlan, places: Places, only: Collection[int] | None = None) -> Result:
    """Reports what would be done (with `only` these pictures) and what it needs."""
    from ..pixels.plan import batches

    settings, used = manifest_of(plan.settings), plan.settings
    parameters = list(plan.model.net.parameters())
    weights = sum(p.numel() * p.element_size() for p in parameters)
    calls = plan.calls * len(batches(plan, plan.batch_size, only))
    needs = {
        "parameters": sum(p.numel() for p in parameters),
        "weights_bytes": weights,
        "network_calls": calls,
        "batch_size": used.batch_size,
    }
    steps = counted(used.steps or 0, "step")
    method = f"{used.sampler}, {steps}, {used.schedule}"
    how = f"{method}, guidance {used.guidance:g}, seed {used.seed}"
    where = f"{plan.model.name} on {used.device} in {used.dtype}"
    count = counted(plan.count if only is None else len(only), plan.model.item)
    size = f"{weights / 1e6:.1f} MB"
    files = counted(len(places.all), "file")
    summary = [
        f"would generate {count} of {where}: {how}",
        f"needs {size} of weights and {calls:,} network calls, batch size {used.batch_size}",
        f"would write {files}, the last {places.results[-1]}",
    ]
    paths = [str(path) for path in places.all]
    return Result({"dry_run": True, "settings": settings, "needs": needs, "would_write": paths}, summary, [])


def _compare(console: Console, samplers: list[str], settings: Settings, to: Path, dry_run: bool) -> Result:
    from ..pixels.compare import DRAWS, STARTS, compared, plans, write

    if dry_run:
        calls = {name: plan.calls for name, plan in plans(samplers, settings).items()}
        costs = ", ".join(f"{name} ({number} network calls)" for name, number in calls.items())
        starts = settings.count or STARTS
        summary = [f"would compare {costs} from {starts} starting noises, {DRAWS} draws each", f"would write {to}"]
        return Result({"dry_run": True, "network_calls": calls, "would_write": [str(to)]}, summary, [])
    with writable(to.parent):
        results = compared(samplers, settings, track=console.track)
        common = write(to, results, console.run_id)
    rows = [result.row for result in results]
    data = {"compared": rows, "outputs": [{"path": str(to)}], "settings": common}
    return Result(data, [*_table(rows, results[0].plan.model.item), str(to)], [to])


def _table(rows: Sequence[Row], item: str) -> list[str]:
    """The table of a comparison of pictures or sounds."""
    width = max(len(row["name"]) for row in rows)
    lines = [f"{'sampler':{width}} steps calls {f'ms/{item}':>12} diversity  same seeds again"]
    for row in rows:
        name = f"{row['name']:{width}}"
        cost = f"{row['steps']:5} {row['network_calls']:5} {row['seconds'] * 1000:12.1f}"
        again = "identical" if row["reproduced"] else "differs"
        lines.append(f"{name} {cost} {row['diversity']:9.0%}  {again}")
    return lines
