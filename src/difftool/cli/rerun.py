from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import DifftoolError, Exit
from ..provenance import beside, located
from ..replay import damaged, planned, redraw, settings_of, source_of
from . import sample, speech, txt2img
from .console import Console, Result
from .options import MOST, DryRun, Output, OutputDir, Overwrite
from .speech import FORMATS

if TYPE_CHECKING:
    from ..replay import Replay, Replayed

log = logging.getLogger(__name__)


def rerun(
    console: Console,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A picture or a sound that difftool made.")],
    output: Output = None,
    output_dir: OutputDir = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
) -> Result:
    """Make a picture or a sound again from the settings it carries, and say whether it came out the same.

    On the same machine, with the same model and versions, every pixel and sample does. A grid makes all its pictures
    again.

    Examples:

    difftool rerun digits-00003-3.png -o again.png
    """
    if file.suffix.lower() in FORMATS:
        return _sound(console, file, output, output_dir, overwrite=overwrite, dry_run=dry_run)
    source = source_of(file)
    replay = planned(source, console.destination(output, output_dir, overwrite=overwrite))
    if dry_run:
        return _dry(replay)
    load = time.monotonic() - console.began
    if output is not None:
        console.resume = "run it again with --overwrite"  # some of the files may be there by then
    done = redraw(replay, track=console.track)
    result = _report(console, done, load)
    return _compared(file, result, done.then, done.now, "pixel", done.identical)


def _dry(replay: Replay) -> Result:
    from ..pixels.plan import Plan

    if isinstance(replay.plan, Plan):
        return sample.dry(replay.plan, replay.places, replay.source.indices)
    return txt2img.dry(replay.plan)


def _report(console: Console, done: Replayed, load: float) -> Result:
    from ..pixels.write import Written

    if isinstance(done.drawn, Written):
        return sample.report(console, done.drawn, {"load": load, **done.seconds})
    return txt2img.report(console, done.drawn, load)


def _sound(
    console: Console, file: Path, output: Path | None, output_dir: Path | None, *, overwrite: bool, dry_run: bool
) -> Result:
    from ..audio.files import RATE, read
    from ..voice.plan import plan
    from ..voice.provenance import load
    from ..voice.speak import described

    _, note = load(file)
    if note is None:
        raise DifftoolError(Exit.FILE, f"{file} carries no settings of difftool", "name a sound that difftool made")
    before = read(file, RATE)
    if (note.get("schema"), note.get("command")) != ("difftool/manifest/1", "voice clone"):
        what = f"{file} was not made by a command that this version can repeat"
        raise DifftoolError(Exit.FILE, what, "see difftool meta FILE")
    settings, attempts, index = _read_note(file, note)
    settings = located(note, file)
    to = speech.places("rerun", console.run_id, 1, settings["seed"], output, output_dir, suffix=file.suffix)
    to = speech.anew(console, to, output, overwrite=overwrite)
    with settings_of(file):
        planned = plan(**settings)
    now = described(planned, console.run_id)
    for what in ("models", "voices"):
        if [*_hashes(now[what])] != [*_hashes(note[what])]:
            raise DifftoolError(Exit.FILE, f"the {what} are not those that made {file}", "put them back")
    if dry_run:
        return speech.dry(planned, to)
    told = speech.carry_out(console, planned, to, overwrite=overwrite, attempts=attempts, only=index)
    after = read(to.sounds[0], RATE)
    identical = len(after) == len(before) and bool((after == before).all())
    return _compared(file, told, note["versions"], now["versions"], "sample", identical)


def _compared(
    file: Path, told: Result, then: Mapping[str, str], now: Mapping[str, str], what: str, identical: bool
) -> Result:
    """What was told, and whether it came out the same with the same versions."""
    changed = {name: [was, now.get(name)] for name, was in then.items() if now.get(name) != was}
    if changed:
        which = ", ".join(f"{name} {was}, now {here}" for name, (was, here) in changed.items())
        log.warning(f"made with other versions or files: {which}")
    if not identical:
        log.warning(f"the {what}s differ from {file}")
    summary = [*told.summary, f"every {what} as in {file}"] if identical else told.summary
    return told._replace(data={**told.data, "identical": identical, "versions_changed": changed}, summary=summary)


def _hashes(told: Any) -> Iterator[str]:
    """The hashes of a note's models, or of its voices."""
    return iter(told.values()) if isinstance(told, dict) else (one["sha256"] for one in told)


def _read_note(file: Path, note: dict[str, Any]) -> tuple[dict[str, Any], list[int], int]:
    """(settings, attempts of the parts, rank of the candidate) of a note. Raises DifftoolError 4 where they are not
    what `voice clone` writes, or the text is missing."""
    fits = False
    settings, attempts, index = {}, [], 0
    with suppress(KeyError, TypeError, AttributeError):
        settings, attempts, index = note["settings"], note.get("attempts", []), note["item"]["index"]
        if "text" not in settings and "text_sha256" in note:
            what = f"the text of {file} is long, and stands in {beside(file).name}, which is not its own"
            raise DifftoolError(Exit.FILE, what, "put that file back beside it")
        fits = (
            settings.keys() == SPOKEN.keys()
            and all(type(value) in SPOKEN[key] for key, value in settings.items())
            and all(type(attempt) is int and 0 <= attempt <= MOST for attempt in attempts)
            and type(index) is int
            and 0 <= index < settings["candidates"]
            and all(isinstance(one, str) for part in ("versions", "models") for one in note[part].values())
            and all(isinstance(one["sha256"], str) for one in note["voices"])
        )
    if not fits:
        raise damaged(file)
    return settings, attempts, index


NUMBER = (float, int)
SPOKEN: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("text", "voice", "preset", "engine", "sampler", "schedule", "device", "dtype"), (str,)),
    **dict.fromkeys(("samples", "candidates", "top_k", "max_mel_tokens", "steps", "seed", "threads"), (int,)),
    **dict.fromkeys(("temperature", "top_p", "repetition_penalty", "guidance", "diffusion_temperature"), NUMBER),
    **dict.fromkeys(("compat", "ar_checkpoint", "voices_dir", "models_dir"), (str, NoneType)),
    "eta": (*NUMBER, NoneType),
    "batch_size": (int, NoneType),
}
"""The settings of `voice clone` in a note, and what they are; `plan` checks their ranges."""
