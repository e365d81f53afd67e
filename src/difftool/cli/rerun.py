from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..files import unused
from ..replay import is_speech, plan_replay, redraw, source_of
from . import sample, speech, txt2img
from .console import Console, Result
from .options import AnyOutput, DryRun, GridOnly, OutputDir, Overwrite, Show
from .viewer import showing

if TYPE_CHECKING:
    from ..replay import Replay, Replayed

log = logging.getLogger(__name__)


def rerun(
    console: Console,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A picture or sound made by difftool.")],
    output: AnyOutput = None,
    output_dir: OutputDir = None,
    grid_only: GridOnly = False,
    overwrite: Overwrite = False,
    show: Show = False,
    dry_run: DryRun = False,
) -> Result:
    """Reproduce a picture or sound from its stored settings, and report whether the result is identical.

    On the same machine, with the same model and versions, every pixel and sample is identical. A grid is reproduced
    with all its pictures; --grid-only writes only the grid.

    Example:

    difftool rerun digits-00003-3.png -o again.png
    """
    if is_speech(file):
        return _sound(console, file, output, output_dir, overwrite=overwrite, dry_run=dry_run)
    source = source_of(file)
    replay = plan_replay(source, console.destination(output, output_dir, overwrite=overwrite, grid_only=grid_only))
    if dry_run:
        return _dry(replay)
    load = time.monotonic() - console.began
    if output is not None:
        console.resume = "run it again with --overwrite"  # some of the files may exist by then
    done = redraw(replay, track=console.track)
    result = _report(console, done, load)
    unit = "sample" if source.is_sound else "pixel"
    result = _compared(file, result, done.then, done.now, unit, done.identical)
    return showing(console, result) if show else result


def _dry(replay: Replay) -> Result:
    from ..pixels.forward import ForwardPlan
    from ..pixels.plan import SamplePlan

    if isinstance(replay.plan, ForwardPlan):
        return sample.dry_forward(replay.plan, replay.places)
    if isinstance(replay.plan, SamplePlan):
        return sample.dry(replay.plan, replay.places, replay.source.indices)
    return txt2img.dry(replay.plan)


def _report(console: Console, done: Replayed, load: float) -> Result:
    from ..pixels.forward import Noised
    from ..pixels.write import Written
    from ..text2img.batch import Drawn

    if isinstance(done.drawn, Noised):
        return sample.report_forward(console, done.drawn, {"load": load, **done.seconds})
    if isinstance(done.drawn, Drawn):
        return txt2img.report(console, done.drawn, load)
    assert isinstance(done.drawn, Written)
    return sample.report(console, done.drawn, {"load": load, **done.seconds})


def _sound(
    console: Console, file: Path, output: Path | None, output_dir: Path | None, *, overwrite: bool, dry_run: bool
) -> Result:
    from ..voice.replay import replay, respeak

    again = replay(file)
    to = console.destination(output, output_dir, overwrite=overwrite)
    places = speech.places(to, 1, again.plan.settings.seed, suffix=file.suffix)
    if dry_run:
        return speech.dry(again.plan, places)
    unused(places.all, overwrite=overwrite)
    speech.warn_of_signs(console, again.plan)
    if output is not None:
        console.resume = "run it again with --overwrite"  # some of the files may exist by then
    written = respeak(again, places.sounds[0], track=console.track)
    result = speech.report(console, again.plan, places, written)
    then, now = again.versions
    return _compared(file, result, then, now, "sample", again.identical(places.sounds[0]))


def _compared(
    file: Path, result: Result, then: Mapping[str, str], now: Mapping[str, str], unit: str, identical: bool
) -> Result:
    """`result`, with whether the pixels or samples (`unit`) are identical and which versions changed."""
    changed = {}
    for name, version in then.items():
        if now.get(name) != version:
            changed[name] = [version, now.get(name)]
    if changed:
        versions = ", ".join(f"{name} {old}, now {new}" for name, (old, new) in changed.items())
        log.warning(f"made with different versions or files: {versions}")
    if not identical:
        log.warning(f"the {unit}s differ from {file}")
    summary = [*result.summary, f"all {unit}s are identical to {file}"] if identical else result.summary
    data = {**result.data, "identical": identical, "versions_changed": changed}
    return result._replace(data=data, summary=summary)
