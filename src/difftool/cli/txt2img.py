from __future__ import annotations

import shlex
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..limits import counted
from ..outputs import Destination
from ..settings import OUTPUT, WORDS, manifest_of
from ..text2img.settings import Settings
from .console import Console, Result
from .options import DryRun, GridOnly, Output, OutputDir, Overwrite, Show, one_of_each
from .viewer import showing

if TYPE_CHECKING:
    from ..text2img.batch import BatchPlan, Drawn, Failures


@one_of_each(("prompt", "prompts"))
def txt2img(
    console: Console,
    settings: Settings,
    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts",
            metavar="FILE",
            help="File with one prompt and its options, or one JSON object, per line; - for stdin.",
            rich_help_panel=WORDS,
        ),
    ] = None,
    output: Output = None,
    output_dir: OutputDir = None,
    grid_only: GridOnly = False,
    overwrite: Overwrite = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing/--no-skip-existing",
            help="Skip pictures that already exist.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    show: Show = False,
    dry_run: DryRun = False,
) -> Result:
    """Generate pictures from a prompt: Stable Diffusion 1, 2, XL and 3, their turbo and LCM variants, FLUX.1, and
    shapes, a small bundled model.

    Words that shapes knows: circle, square, triangle, star, cross and ring (one or two of them); red, green, blue,
    yellow, orange, purple, pink, turquoise, black and white; in the middle, at the left, right, top and bottom; on a
    ground of any of these colours.

    Examples:

    difftool txt2img "a red circle on a blue ground"

    difftool txt2img "an orange star at the top and a black ring at the left on a white ground" --count 9

    difftool txt2img "a lighthouse, (storm:1.3)" -n "people, text" --model sdxl --size 1152x896 --count 4 -o storm.png

    difftool txt2img --prompts list.txt --output-dir pictures --skip-existing
    """
    from ..text2img.batch import batch_of, plan_batch

    to = console.destination(output, output_dir, overwrite=overwrite, skip_existing=skip_existing, grid_only=grid_only)
    batch = batch_of(settings, prompts, to)
    if not batch.jobs:
        return nothing(batch.failed)
    if batch.places.singles and not to.keeps:
        console.resume = _resume(to, batch.places.folders[-1])
    if batch.is_there:
        count = batch.skipped
        return Result(
            {"outputs": [], "skipped": count}, [f"nothing left to do: all {count} pictures exist already"], []
        )
    planned = plan_batch(batch)
    if not planned.works:
        return nothing(planned.failed)
    if dry_run:
        return dry(planned)
    result = drawn(console, planned, batch.to.run_id)
    return showing(console, result) if show else result


def _resume(to: Destination, folder: Path) -> str:
    """How to resume after an interruption, for hints."""
    is_named = to.output or (to.folder and not to.standing)
    place = "" if is_named else f"--output-dir {shlex.quote(str(folder))} "
    without = ", without --overwrite" if to.overwrite else ""
    return f"run it again with {place}--skip-existing{without}"


def nothing(failed: Failures) -> Result:
    """The result if every prompt failed before sampling."""
    from ..text2img.batch import some_failed

    return Result({"outputs": [], "failed": _failed(failed)}, [], [], some_failed(failed, len(failed)))


def drawn(console: Console, planned: BatchPlan, run: str) -> Result:
    """Generates the pictures of a plan and reports; `run` is the ID in their manifests."""
    from ..text2img.batch import draw_batch

    track = console.track if len(planned.works) == 1 else partial(console.track, what="pictures")
    load = time.monotonic() - console.began
    result = draw_batch(planned, run, track=track)
    return report(console, result, load)


def report(console: Console, result: Drawn, load: float) -> Result:
    """Reports the pictures; `load` is the loading time in seconds."""
    works, error = result.planned.works, result.planned.error
    settings = manifest_of(works[0].plan.settings) if len(works) == 1 else None
    timing = console.timing({"load": load, **result.seconds})
    grid = None if result.grid is None else str(result.grid)
    outputs = result.pictures if result.planned.places.singles else _grid_row(result)
    data = {
        "outputs": outputs,
        "grid": grid,
        "skipped": result.planned.skipped,
        "failed": _failed(result.planned.failed),
        "settings": settings,
        "timing": timing,
    }
    paths = [Path(str(row["path"])) for row in outputs]
    paths += [result.grid] if result.grid and result.grid not in paths else []
    summary = [] if error else _summary(result, timing["total"])
    return Result(data, summary, paths, error)


def _grid_row(result: Drawn) -> list[dict[str, object]]:
    """The grid alone as an output for --json."""
    return [{"path": str(result.grid), "seed": result.pictures[0]["seed"]}] if result.grid else []


def _failed(failed: Failures) -> list[dict[str, object]]:
    """Failed prompts for --json."""
    rows = []
    for where, error in failed.items():
        rows.append({"where": where, "code": int(error.code), "message": error.message})
    return rows


def _summary(result: Drawn, seconds: float) -> list[str]:
    pictures, works = result.pictures, result.planned.works
    used = [work.plan.settings for work in works if work.paths]
    samplers = " and ".join(dict.fromkeys(str(settings.sampler) for settings in used))
    steps = _range(settings.steps or 0 for settings in used)
    guidance = _range(settings.guidance or 0.0 for settings in used)
    seeds = _range(picture["seed"] for picture in pictures)
    how = f"{samplers}, {steps} steps, guidance {guidance}, seed {seeds}"
    if result.planned.skipped:
        how += f"; {result.planned.skipped} existed already"
    name = works[0].plan.session.pipeline.name
    count = counted(len(pictures), "picture")
    lines = [f"{count} of {name} in {seconds:.1f} s ({how})"]
    lines.append(str(result.grid) if result.grid else pictures[-1]["path"])
    if len(pictures) > 1 and result.planned.places.singles:
        lines.append(f"singles: {pictures[0]['path']} ...")
    return lines


def dry(planned: BatchPlan) -> Result:
    """Reports what would be done and what it needs."""
    plans = [work.plan for work in planned.works]
    parts = plans[0].session.pipeline.parts.values()
    weights = 0
    for part in parts:
        weights += sum(p.numel() * p.element_size() for p in part.parameters())
    calls = sum(plan.calls * len(plan.batches) for plan in plans)
    paths = [str(path) for work in planned.works for path in work.paths.values()]
    grid = [] if planned.places.grid is None else [str(planned.places.grid)]
    files = [*dict.fromkeys([*paths, *grid])]
    settings = [manifest_of(plan.settings) for plan in plans]
    data = {
        "dry_run": True,
        "settings": settings,
        "needs": {"weights_bytes": weights, "network_calls": calls},
        "would_write": files,
        "failed": _failed(planned.failed),
    }
    pictures, prompts = counted(len(paths), "picture"), counted(len(plans), "prompt")
    cost = f"{weights / 1e6:,.1f} MB of weights, {calls:,} network calls"
    lines = [f"would generate {pictures} of {prompts}: {cost}"]
    if paths:
        others = " and others" if len(files) > 1 else ""
        lines.append(f"would write {files[0]}{others}")
    return Result(data, lines, [], planned.error)


def _range(numbers: Iterable[float]) -> str:
    """The smallest and the largest number, or the only one."""
    ordered = sorted(numbers)
    texts = [f"{end:g}" if isinstance(end, float) else str(end) for end in (ordered[0], ordered[-1])]
    return " to ".join(dict.fromkeys(texts))
