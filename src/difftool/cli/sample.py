from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.solve import SAMPLERS
from ..errors import DifftoolError, Exit
from ..files import default_dir, manifest, unused, writable
from ..pixels.settings import Settings
from ..sampling import aliases
from ..settings import OUTPUT, SAMPLING, manifest_of
from .console import Console, Result
from .options import DryRun, Output, OutputDir, Overwrite, one_of_each
from .outputs import carry_out, dry, is_png, places

if TYPE_CHECKING:
    from ..pixels.compare import Compared

COUNT, SHOWN = 16, 6
"""Pictures unless told otherwise, and starts of a comparison that its figure shows."""


def _samplers(value: str | None) -> str | None:
    found = [] if value is None else [aliases.sampler(name) for name in value.split(",")]
    if doubled := next((named for named in found if found.count(named) > 1), None):
        raise DifftoolError(Exit.USAGE, f"{doubled} is to be compared with itself", "name each sampler once")
    return value


@one_of_each(("compare", "sampler"), ("compare", "trajectory"))
def sample(
    console: Console,
    settings: Settings,
    list_samplers: Annotated[
        bool,
        typer.Option(
            "--list-samplers/--no-list-samplers",
            help="Print the samplers, and end.",
            show_default=False,
            rich_help_panel=SAMPLING,
        ),
    ] = False,
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare",
            metavar="A,B,...",
            help="Draw each start several times with each of these samplers: a table and a figure.",
            callback=_samplers,
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    trajectory: Annotated[
        bool,
        typer.Option(
            "--trajectory/--no-trajectory",
            help="Also a strip and a GIF of the way from noise.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    output: Output = None,
    output_dir: OutputDir = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> Result:
    """Draw pictures from a model; without one, from the digits in the package.

    Examples:

    difftool sample --count 100 -o digits.png

    difftool sample outputs/train/RUN --sampler "DPM++ 2M Karras" --label 3 --guidance 2

    difftool sample --compare ddpm,ddim
    """
    if list_samplers:
        rows = {name: {"title": row.title, "steps": row.steps, **row.defaults} for name, row in SAMPLERS.items()}
        return Result({"samplers": rows}, [f"{name:13} {row.title}" for name, row in SAMPLERS.items()], [*SAMPLERS])
    if compare:
        to = output or (output_dir or default_dir("sample", console.run_id)) / "compare.png"
        if console.standing_folder and output is None and to.exists() and not overwrite:
            to = to.parent / console.run_id / to.name
        is_png(to)
        unused([to], overwrite=overwrite)
        return _compared(console, compare.split(","), settings, to, dry_run)
    settings = replace(settings, count=settings.count or COUNT)
    items = [(k, settings.seed + k) for k in range(settings.count or 0)]
    rules = {"overwrite": overwrite, "standing": console.standing_folder, "trajectory": trajectory}
    to = places("sample", console.run_id, items, output, output_dir, **rules)
    from ..pixels.plan import planned

    plan = planned(settings)
    if dry_run:
        return dry(plan, to)
    return carry_out(console, plan, to)[1]


def _compared(console: Console, samplers: list[str], settings: Settings, to: Path, dry_run: bool) -> Result:
    from ..pictures.plots import plot_compared
    from ..pixels.compare import DRAWS, STARTS, compared, plans

    if dry_run:
        calls = {name: one.calls for name, one in plans(samplers, settings).items()}
        told = ", ".join(f"{name} ({number} calls of the network)" for name, number in calls.items())
        starts = settings.count or STARTS
        summary = [f"would compare {told}: {starts} starts, {DRAWS} draws of each", f"would write {to}"]
        return Result({"dry_run": True, "network_calls": calls, "would_write": [str(to)]}, summary, [])
    with writable(to.parent):
        found = compared(samplers, settings, track=console.track)
        rows = [_row(one) for one in found]
        own = ("sampler", "steps", "schedule", "eta")
        common = {key: value for key, value in manifest_of(found[0].plan.settings).items() if key not in own}
        note = manifest("compare", console.run_id, {**common, "draws": DRAWS}, found[0].plan.model.packages)
        blocks = [(_caption(one), one.pixels[:SHOWN]) for one in found]
        title = "a row: one start; a column: fresh noise in the steps"
        plot_compared(to, blocks, title, {**note, "compared": rows})
    wide = max(len(one.name) for one in found)
    head = f"{'sampler':{wide}} {'steps':>5} {'calls':>5} {'ms a picture':>12} {'diversity':>9}  same seeds again"
    lines = [
        f"{row['name']:{wide}} {row['steps']:5} {row['network_calls']:5} {row['seconds'] * 1000:12.1f} "
        f"{row['diversity']:9.0%}  {'every bit' if row['reproduced'] else 'differs'}"
        for row in rows
    ]
    data = {"compared": rows, "outputs": [{"path": str(to)}], "settings": note["settings"]}
    return Result(data, [head, *lines, str(to)], [to])


def _row(one: Compared) -> dict[str, Any]:
    return {
        "name": one.name,
        **{key: getattr(one.plan.settings, key) for key in ("sampler", "steps", "schedule", "eta")},
        "network_calls": one.plan.calls,
        "seconds": round(one.seconds, 5),
        "diversity": round(one.diversity, 4),
        "reproduced": one.reproduced,
    }


def _caption(one: Compared) -> str:
    return f"{one.name}: {one.plan.calls} calls\ndiversity {one.diversity:.0%}, {one.seconds * 1000:.1f} ms"
