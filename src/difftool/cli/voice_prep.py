from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import DifftoolError, Exit
from ..limits import counted
from ..voice.prep.settings import Settings, noted
from ..voice.settings import known_voices
from .completion import completer, consents
from .console import Console, Line, Result, graded
from .options import INPUT, OUTPUT, DryRun, Open
from .viewer import open_page
from .voice_library import left_out

if TYPE_CHECKING:
    from ..voice.prep.folder import Prepared
    from ..voice.prep.plan import PrepPlan

SHOWN = 4
"""The number of reasons in a summary."""


def prep(
    console: Console,
    settings: Settings,
    sources: Annotated[list[str], typer.Argument(metavar="FILE...", help="Audio or video files, or folders of them.")],
    voice: Annotated[
        str,
        typer.Option(
            "--voice", help="Voice to create or extend.", rich_help_panel=INPUT, autocompletion=completer(known_voices)
        ),
    ],
    consent: Annotated[
        str,
        typer.Option(
            "--consent",
            help="Consent: self, written:FILE, license:ID or synthetic.",
            rich_help_panel=INPUT,
            autocompletion=completer(consents),
        ),
    ],
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite/--no-overwrite",
            help="Rebuild the voice without its earlier recordings.",
            show_default=False,
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    open_report: Open = False,
    dry_run: DryRun = False,
) -> Result:
    """Build a voice from recordings: cut them into clips, measure the clips and keep the good ones.

    The voice's folder contains the clips, references for voice clone, file lists for trainers, and a report page that
    plays the clips and shows what was rejected and why. Repeat the command with new recordings to add them.

    Examples:

    difftool voice prep talk.mp3 --voice me --consent self

    difftool voice prep recordings/ --voice me --consent self --slice vad
    """
    from ..voice.prep.folder import perform
    from ..voice.prep.plan import plan_prep

    plan = plan_prep(sources, voice, consent, settings)
    if dry_run:
        return _dry(plan)
    done = perform(plan, overwrite=overwrite, track=console.track)
    for warning in done.warnings:
        console.warn(warning)
    result = _result(plan, done, time.monotonic() - console.began)
    if open_report:
        result = result._replace(after=partial(open_page, console, done.folder / "report.html"))
    return result


def _dry(plan: PrepPlan) -> Result:
    """Reports what would be done."""
    count = counted(len(plan.sources), "recording")
    how = f"by the words of Whisper {plan.settings.whisper}" if plan.settings.whisper else "by its transcript"
    how = "by voice activity" if plan.settings.slice == "vad" else how
    sources = [{"path": str(source.path), "sha256": source.sha256} for source in plan.sources]
    data = {
        "dry_run": True,
        "settings": noted(plan.settings),
        "sources": sources,
        "would_write": [str(plan.folder)],
    }
    return Result(data, [f"would cut {count} {how}", f"would write {plan.folder}"], [])


def _result(plan: PrepPlan, done: Prepared, total: float) -> Result:
    """Reports the prepared voice."""
    grade, page = done.grade, str(done.folder / "report.html")
    timing = {name: round(seconds, 3) for name, seconds in done.seconds.items()}
    timing["total"] = round(total, 3)
    kept = {"kept": done.kept, "total": done.total, "left_out": done.reasons}
    data = {
        "outputs": [{"path": str(done.folder)}],
        "report": page,
        "voice": plan.name,
        "consent": plan.consent["kind"],
        "clips": done.clips,
        "seconds": kept,
        "grade": grade._asdict(),
        "fresh": done.fresh,
        "timing": timing,
    }
    worst = dict([*done.reasons.items()][:SHOWN])
    clips = counted(done.clips, "clip")
    summary: list[Line] = [] if done.fresh else ["nothing left to do: the voice is up to date"]
    kept_text = f", {clips}, {done.kept:.0f} of {done.total:.0f} s"
    summary.append((f"voice {plan.name}: grade ", graded(grade.letter), kept_text))
    if worst:
        summary.append(f"left out: {left_out(worst)}")
    summary += [f"{number}. {action}" for number, action in enumerate(grade.actions, 1)]
    summary += [str(done.folder), page]
    return Result(data, summary, [done.folder], _failed(plan, done))


def _failed(plan: PrepPlan, done: Prepared) -> DifftoolError | None:
    """The error that names the unreadable recordings, if any."""
    if not done.failed:
        return None
    reasons = "; ".join(done.failed.values())
    message = (
        f"cannot read {len(done.failed)} of {len(plan.sources)} recordings; the voice in {done.folder} uses the others"
    )
    hint = "replace them with intact copies and run the same command again"
    return DifftoolError(Exit.PARTIAL, f"{message}: {reasons}", hint)
