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
from ..outputs import Places, figure, pictures
from ..pixels.settings import COUNT, Settings
from ..sampling import aliases
from ..settings import OUTPUT, SAMPLING, manifest_of
from .completion import completer
from .console import Console, Result
from .options import DryRun, GridOnly, Output, OutputDir, Overwrite, Show, one_of_each
from .viewer import showing

if TYPE_CHECKING:
    from ..pixels.compare import Row
    from ..pixels.plan import SamplePlan
    from ..pixels.write import Written


def _samplers(value: str | None) -> str | None:
    """A callback that rejects unknown and repeated samplers."""
    names = [] if value is None else [aliases.sampler(name) for name in value.split(",")]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise DifftoolError(Exit.USAGE, f"--compare lists {repeated} twice", "list each sampler once")
    return value


@one_of_each(("compare", "sampler"), ("compare", "trajectory"))
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
    output: Output = None,
    output_dir: OutputDir = None,
    grid_only: GridOnly = False,
    overwrite: Overwrite = False,
    show: Show = False,
    dry_run: DryRun = False,
) -> Result:
    """Generate pictures from a model; default: the bundled digits model.

    Examples:

    difftool sample --count 100 -o digits.png --grid-only

    difftool sample outputs/train/RUN --sampler "DPM++ 2M Karras" --label 3 --guidance 2

    difftool sample --compare ddpm,ddim
    """
    if list_samplers:
        return _samplers_known()
    to = console.destination(output, output_dir, overwrite=overwrite, grid_only=grid_only)
    if compare:
        result = _compare(console, compare.split(","), settings, figure(to, "compare.png"), dry_run)
        return showing(console, result) if show else result
    settings = replace(settings, count=settings.count or COUNT)
    items = [(k, settings.seed + k) for k in range(settings.count or 0)]
    places = pictures(to, items, trajectory=trajectory)
    from ..pixels.plan import plan_samples

    plan = plan_samples(settings)
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


def drawn(console: Console, plan: SamplePlan, places: Places) -> Result:
    """Generates the pictures of a plan, writes the files and reports."""
    from ..pixels.draw import draw_samples
    from ..pixels.write import FRAMES, write

    loaded = time.monotonic()
    frames = FRAMES if places.trajectory else 0
    if processes.rank():  # the first process writes the pictures of all
        draw_samples(plan, frames=frames)
        return Result({}, [], [])
    with writable(*places.folders):
        pictures = draw_samples(plan, track=console.track, name=console.run_id, frames=frames)
        ended = time.monotonic()
        console.resume = "run it again with --overwrite"  # some of the files may exist by then
        written = write(pictures, places)
    saving = time.monotonic() - ended
    seconds = {"load": loaded - console.began, "sample": ended - loaded, "save": saving}
    return report(console, written, seconds)


def report(console: Console, written: Written, seconds: Mapping[str, float]) -> Result:
    """Reports the pictures that were written."""
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
    count = counted(len(drawn.items), "picture")
    head = f"{count} of {model['name']} in {timing['total']:.1f} s"
    summary = [f"{head} ({how})", str(places.all[-1])]
    if places.grid and places.singles:
        summary.append(f"singles: {places.singles[0]} ...")
    if places.trajectory:
        paths = ", ".join(map(str, places.trajectory))
        summary.append(f"trajectory (state above, the network's estimate below): {paths}")
    return Result(data, summary, places.all)


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
    count = counted(plan.count if only is None else len(only), "picture")
    size = f"{weights / 1e6:.1f} MB"
    files = counted(len(places.all), "file")
    summary = [
        f"would generate {count} of {where}: {how}",
        f"needs {size} of weights and {calls:,} network calls, batch size {used.batch_size}",
        f"would write {files}, the last {places.all[-1]}",
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
    return Result(data, [*_table(rows), str(to)], [to])


def _table(rows: Sequence[Row]) -> list[str]:
    """The table of a comparison."""
    width = max(len(row["name"]) for row in rows)
    lines = [f"{'sampler':{width}} steps calls   ms/picture diversity  same seeds again"]
    for row in rows:
        name = f"{row['name']:{width}}"
        cost = f"{row['steps']:5} {row['network_calls']:5} {row['seconds'] * 1000:12.1f}"
        again = "identical" if row["reproduced"] else "differs"
        lines.append(f"{name} {cost} {row['diversity']:9.0%}  {again}")
    return lines
