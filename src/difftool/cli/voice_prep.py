from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import DifftoolError, Exit
from ..limits import counted
from ..voice.prep.settings import Settings, noted
from .console import Console, Result
from .options import INPUT, OUTPUT, DryRun

if TYPE_CHECKING:
    from ..voice.prep.folder import Prepared
    from ..voice.prep.plan import Plan

SHOWN = 4
"""Reasons that a summary names."""


def prep(
    console: Console,
    settings: Settings,
    sources: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Recordings, or folders of them: any sound or video.")
    ],
    voice: Annotated[str, typer.Option("--voice", help="The voice to make, or to add to.", rich_help_panel=INPUT)],
    consent: Annotated[
        str,
        typer.Option("--consent", help="self, written:FILE, license:ID or synthetic.", rich_help_panel=INPUT),
    ],
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite/--no-overwrite",
            help="Begin the voice anew, without its earlier recordings.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    dry_run: DryRun = False,
) -> Result:
    """Make a voice from recordings: cut, measured, and only what is good kept.

    The folder of the voice has the clips, references for voice clone, lists for trainers, and a page that plays all of
    it and says what was left out and why. The same command again does nothing; with new recordings they are added.

    Examples:

    difftool voice prep talk.mp3 --voice me --consent self

    difftool voice prep recordings/ --voice me --consent self --slice vad
    """
    from ..voice.prep.folder import perform
    from ..voice.prep.plan import planned

    plan = planned(sources, voice, consent, settings)
    if dry_run:
        return _dry(plan)
    done = perform(plan, overwrite=overwrite, track=console.track)
    for warning in done.warnings:
        console.warn(warning)
    return _result(plan, done, time.monotonic() - console.began)


def _dry(plan: Plan) -> Result:
    """What would be done."""
    count = counted(len(plan.sources), "recording")
    how = f"by the words of Whisper {plan.settings.whisper}" if plan.settings.whisper else "by its transcript"
    how = "by where somebody speaks" if plan.settings.slice == "vad" else how
    data = {
        "dry_run": True,
        "settings": noted(plan.settings),
        "sources": [{"path": str(source.path), "sha256": source.sha256} for source in plan.sources],
        "would_write": [str(plan.folder)],
    }
    return Result(data, [f"would cut {count} {how}", f"would write {plan.folder}"], [])


def _result(plan: Plan, done: Prepared, total: float) -> Result:
    """What was made, for people and for programs."""
    grade, page = done.grade, str(done.folder / "report.html")
    timing = {name: round(seconds, 3) for name, seconds in done.seconds.items()}
    data = {
        "outputs": [{"path": str(done.folder)}],
        "report": page,
        "voice": plan.name,
        "consent": plan.consent["kind"],
        "clips": done.clips,
        "seconds": {"kept": done.kept, "total": done.total, "left_out": done.reasons},
        "grade": grade._asdict(),
        "fresh": done.fresh,
        "timing": timing | {"total": round(total, 3)},
    }
    worst = [*done.reasons.items()][:SHOWN]
    lost = ", ".join(f"{seconds:.0f} s {reason.replace('_', ' ')}" for reason, seconds in worst)
    clips = counted(done.clips, "clip")
    summary = [
        *([] if done.fresh else ["nothing left to do: all of it is there"]),
        f"the voice {plan.name}: grade {grade.letter}, {clips}, {done.kept:.0f} of {done.total:.0f} s",
        *([f"left out: {lost}"] if lost else []),
        *(f"{number}. {action}" for number, action in enumerate(grade.actions, 1)),
        str(done.folder),
        page,
    ]
    return Result(data, summary, [done.folder], _failed(plan, done))


def _failed(plan: Plan, done: Prepared) -> DifftoolError | None:
    """The error that names the recordings which cannot be read."""
    if not done.failed:
        return None
    which = "; ".join(done.failed.values())
    message = f"{len(done.failed)} of {len(plan.sources)} recordings cannot be read; {done.folder} has the others"
    hint = "take other copies of them, and run the same command again"
    return DifftoolError(Exit.PARTIAL, f"{message}: {which}", hint)
