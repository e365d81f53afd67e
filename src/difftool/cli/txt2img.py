from __future__ import annotations

import shlex
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import counted
from ..outputs import Destination
from ..settings import OUTPUT, WORDS, manifest_of
from ..text2img.settings import Settings
from .console import Console, Result
from .options import DryRun, Output, OutputDir, Overwrite, one_of_each

if TYPE_CHECKING:
    from ..text2img.batch import Drawn, Failures, Planned


@one_of_each(("prompt", "prompts"))
def txt2img(
    console: Console,
    settings: Settings,
    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts",
            metavar="FILE",
            help="A prompt a line, each with options of its own after it, or a JSON object a line; - reads stdin.",
            rich_help_panel=WORDS,
        ),
    ] = None,
    output: Output = None,
    output_dir: OutputDir = None,
    overwrite: Overwrite = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing/--no-skip-existing",
            help="Draw only the pictures that are not there yet.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    dry_run: DryRun = False,
) -> Result:
    """Draw pictures from words: Stable Diffusion 1, 2, XL and 3, their turbo and LCM forms, FLUX.1; and shapes, a small
    model in the package.

    shapes knows one or two of circle, square, triangle, star, cross and ring, in red, green, blue, yellow, orange,
    purple, pink, turquoise, black and white, in the middle, at the left, at the right, at the top or at the bottom, on
    a ground of such a colour.

    Examples:

    difftool txt2img "a red circle on a blue ground"

    difftool txt2img "an orange star at the top and a black ring at the left on a white ground" --count 9

    difftool txt2img "a lighthouse, (storm:1.3)" -n "people, text" --model sdxl --size 1152x896 --count 4 -o storm.png

    difftool txt2img --prompts list.txt --output-dir pictures --skip-existing
    """
    from ..text2img.batch import batch_of, plan_batch

    to = console.destination(output, output_dir, overwrite=overwrite, skip_existing=skip_existing)
    batch = batch_of(settings, prompts, to)
    if not batch.jobs:
        return nothing(batch.failed)
    if not to.keeps:
        console.resume = _resume(to, batch.places.singles[0].parent)
    if batch.is_there:
        count = len(batch.there)
        return Result({"outputs": [], "skipped": count}, [f"all {count} pictures are there"], [])
    planned = plan_batch(batch)
    if not planned.works:
        return nothing(planned.failed)
    return dry(planned) if dry_run else drawn(console, planned)


def _resume(to: Destination, folder: Path) -> str:
    """What draws the rest after a stop."""
    named = to.output or (to.folder and not to.standing)
    place = "" if named else f"--output-dir {shlex.quote(str(folder))} "
    return f"run it again with {place}--skip-existing" + (", without --overwrite" if to.overwrite else "")


def nothing(failed: Failures) -> Result:
    """Where all prompts failed before anything was drawn."""
    from ..text2img.batch import some_failed

    return Result({"outputs": [], "failed": _failed(failed)}, [], [], some_failed(failed, len(failed)))


def drawn(console: Console, planned: Planned) -> Result:
    """Draws what was planned, and tells what was done."""
    from ..text2img.batch import draw_batch

    track = console.track if len(planned.works) == 1 else partial(console.track, what="pictures")
    load = time.monotonic() - console.began
    result = draw_batch(planned, console.run_id, track=track)
    return report(console, result, load)


def report(console: Console, result: Drawn, load: float) -> Result:
    """What was drawn, after `load` seconds of loading."""
    works, error = result.planned.works, result.planned.error
    settings = manifest_of(works[0].plan.settings) if len(works) == 1 else None
    timing = console.timing({"load": load, **result.seconds})
    data = {
        "outputs": result.pictures,
        "grid": None if result.grid is None else str(result.grid),
        "skipped": result.planned.skipped,
        "failed": _failed(result.planned.failed),
        "settings": settings,
        "timing": timing,
    }
    paths = [Path(picture["path"]) for picture in result.pictures]
    paths += [result.grid] if result.grid else []
    return Result(data, [] if error else _summary(result, timing["total"]), paths, error)


def _failed(failed: Failures) -> list[dict[str, object]]:
    return [{"where": where, "code": int(error.code), "message": error.message} for where, error in failed.items()]


def _summary(result: Drawn, seconds: float) -> list[str]:
    pictures, works = result.pictures, result.planned.works
    used = [work.plan.settings for work in works if work.paths]
    samplers = " and ".join(dict.fromkeys(str(settings.sampler) for settings in used))
    steps = _range(settings.steps or 0 for settings in used)
    guidance = _range(settings.guidance or 0.0 for settings in used)
    seeds = _range(picture["seed"] for picture in pictures)
    how = f"{samplers}, {steps} steps, guidance {guidance}, seed {seeds}"
    how += f"; {result.planned.skipped} were there" if result.planned.skipped else ""
    name = works[0].plan.studio.pipeline.name
    lines = [f"{counted(len(pictures), 'picture')} of {name} in {seconds:.1f} s ({how})"]
    lines.append(str(result.grid) if result.grid else pictures[-1]["path"])
    if len(pictures) > 1:
        lines.append(f"singles: {pictures[0]['path']} ...")
    return lines


def dry(planned: Planned) -> Result:
    """What would be done, and its needs."""
    plans = [work.plan for work in planned.works]
    parts = plans[0].studio.pipeline.parts.values()
    weights = sum(p.numel() * p.element_size() for part in parts for p in part.parameters())
    calls = sum(plan.calls * len(plan.batches) for plan in plans)
    paths = [str(path) for work in planned.works for path in work.paths.values()]
    grid = [] if planned.places.grid is None else [str(planned.places.grid)]
    data = {
        "dry_run": True,
        "settings": [manifest_of(plan.settings) for plan in plans],
        "needs": {"weights_bytes": weights, "network_calls": calls},
        "would_write": [*paths, *grid],
        "failed": _failed(planned.failed),
    }
    what = f"{counted(len(paths), 'picture')} of {counted(len(plans), 'prompt')}"
    lines = [f"would draw {what}: {weights / 1e6:,.1f} MB of weights, {calls:,} calls of the network"]
    lines += [f"would write {paths[0]}{' and others' if len(paths) > 1 else ''}"] if paths else []
    return Result(data, lines, [], planned.error)


def _range(numbers: Iterable[float]) -> str:
    """The least and the greatest of some numbers, or the one that all are."""
    every = sorted(numbers)
    ends = (every[0], every[-1])
    return " to ".join(dict.fromkeys(f"{end:g}" if isinstance(end, float) else str(end) for end in ends))
