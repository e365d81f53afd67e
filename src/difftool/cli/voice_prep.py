from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from ..errors import DifftoolError, Exit
from ..limits import counted
from ..voice import SLICES
from .console import Console, Result
from .options import INPUT, OUTPUT, Device, DryRun, ModelsDir, Threads, VoicesDir, one_of

CUTTING = "Cutting"


def prep(
    console: Console,
    sources: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Recordings, or folders of them: any sound or video.")
    ],
    voice: Annotated[str, typer.Option("--voice", help="The voice to make, or to add to.", rich_help_panel=INPUT)],
    consent: Annotated[
        str,
        typer.Option("--consent", help="self, written:FILE, license:ID or synthetic.", rich_help_panel=INPUT),
    ],
    voices_dir: VoicesDir = None,
    transcript: Annotated[
        list[Path] | None,
        typer.Option(
            "--transcript",
            metavar="FILE",
            help="What is said: .srt, .vtt or Whisper's .json; one for each recording, of its name.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option("--language", help="That is spoken; found out unless given.", rich_help_panel=INPUT),
    ] = None,
    slice: Annotated[
        str,
        typer.Option(
            "--slice",
            help="words: at sentence ends; vad: at pauses, without a transcript.",
            callback=one_of("way to cut", SLICES),
            rich_help_panel=CUTTING,
        ),
    ] = "words",
    whisper: Annotated[
        str,
        typer.Option("--whisper", help="Its size, such as base or large-v3, or a .pt file.", rich_help_panel=CUTTING),
    ] = "base",
    verify: Annotated[
        bool,
        typer.Option("--verify/--no-verify", help="Let Whisper hear each clip once more.", rich_help_panel=CUTTING),
    ] = True,
    high_pass: Annotated[
        float,
        typer.Option("--high-pass", metavar="HZ", help="Take what is lower away; 0 is off.", rich_help_panel=CUTTING),
    ] = 0.0,
    allow: Annotated[
        str | None,
        typer.Option(
            "--allow", metavar="noise,reverb", help="Leave no clip out for these reasons.", rich_help_panel=CUTTING
        ),
    ] = None,
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
    models_dir: ModelsDir = None,
    device: Device = "auto",
    threads: Threads = None,
) -> Result:
    """Make a voice from recordings: cut, measured, and only what is good kept.

    The folder of the voice has the clips, references for voice clone, lists for trainers, and a page that plays all of
    it and says what was left out and why. The same command again does nothing; with new recordings they are added.

    Examples:

    difftool voice prep talk.mp3 --voice me --consent self

    difftool voice prep recordings/ --voice me --consent self --slice vad
    """
    from ..voice.prep.folder import perform
    from ..voice.prep.plan import plan

    planned = plan(
        sources,
        voice,
        consent,
        slice=slice,
        whisper=whisper,
        language=language,
        transcripts=transcript or (),
        verify=verify,
        high_pass=high_pass,
        allow=[word.strip().lower().replace("-", "_") for word in allow.split(",")] if allow else (),
        device=device,
        threads=threads,
        voices_dir=voices_dir,
        models_dir=models_dir,
    )
    if dry_run:
        count = counted(len(planned.sources), "recording")
        how = f"by the words of Whisper {whisper}" if planned.settings["whisper"] else "by its transcript"
        how = "by where somebody speaks" if slice == "vad" else how
        data = {
            "dry_run": True,
            "settings": planned.settings,
            "sources": [{"path": str(source.path), "sha256": source.sha256} for source in planned.sources],
            "would_write": [str(planned.folder)],
        }
        return Result(data, [f"would cut {count} {how}", f"would write {planned.folder}"], [])
    done = perform(planned, overwrite=overwrite, track=console.track)
    for warning in done.warnings:
        console.warn(warning)
    failed = None
    if done.failed:
        which = "; ".join(done.failed.values())
        what = f"{len(done.failed)} of {len(planned.sources)} recordings cannot be read; {done.folder} has the others"
        hint = "take other copies of them, and run the same command again"
        failed = DifftoolError(Exit.PARTIAL, f"{what}: {which}", hint)
    total = time.monotonic() - console.began
    timing = {name: round(seconds, 3) for name, seconds in done.seconds.items()} | {"total": round(total, 3)}
    grade = done.grade
    data = {
        "outputs": [{"path": str(done.folder)}],
        "report": str(done.folder / "report.html"),
        "voice": planned.name,
        "consent": planned.consent["kind"],
        "clips": done.clips,
        "seconds": {"kept": done.kept, "total": done.total, "left_out": done.reasons},
        "grade": grade._asdict(),
        "fresh": done.fresh,
        "timing": timing,
    }
    lost = ", ".join(
        f"{seconds:.0f} s {reason.replace('_', ' ')}" for reason, seconds in list(done.reasons.items())[:4]
    )
    clips = counted(done.clips, "clip")
    summary = [
        f"the voice {planned.name}: grade {grade.letter}, {clips}, {done.kept:.0f} of {done.total:.0f} s",
        *([f"left out: {lost}"] if lost else []),
        *(f"{number}. {action}" for number, action in enumerate(grade.actions, 1)),
        str(done.folder),
        str(done.folder / "report.html"),
    ]
    if not done.fresh:
        summary = ["nothing left to do: all of it is there", *summary]
    return Result(data, summary, [done.folder], failed)
