from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ..errors import DifftoolError, Exit
from ..limits import counted
from .console import Console, Result
from .options import DryRun, Overwrite, VoicesDir

if TYPE_CHECKING:
    from ..voice.prep.shapes import Summary

Name = Annotated[str, typer.Argument(metavar="NAME", help="A folder of the voices.")]


def ls(console: Console, voices_dir: VoicesDir = None) -> Result:
    """List the voices that are here, what they are worth, and whether a consent is recorded.

    Example:

    difftool voice list
    """
    from ..voice.library import about, home, names

    voices = []
    for name in names(voices_dir):
        try:
            voices.append(about(name, home(voices_dir)))
        except (DifftoolError, OSError) as error:
            console.warn(f"{home(voices_dir) / name} is no voice that can be read: {error}")
    rows = [
        f"{one['name']:<20} {one['grade'] or '-':<2} {one['clips']:>4} clips  consent: {one['consent'] or 'none'}"
        for one in voices
    ]
    data = {"voices": voices, "folder": str(home(voices_dir))}
    return Result(data, rows or [f"there is no voice in {home(voices_dir)}"], [one["name"] for one in voices])


def show(console: Console, name: Name, voices_dir: VoicesDir = None) -> Result:
    """Show what is known of a voice: where it comes from, its clips, its grade, and what would make it better.

    Example:

    difftool voice show me
    """
    from ..files import read_json
    from ..voice.library import about, damaged, home, note_of, written

    one = about(name, home(voices_dir))
    folder = Path(one["path"])
    found = read_json(folder / "report.json") if (folder / "report.json").exists() else {}
    told = {key: found[key] for key in ("kept_seconds", "total_seconds", "reasons", "grade", "failed") if key in found}
    lines = [f"{name}: {counted(one['clips'], 'clip')}, consent: {one['consent'] or 'none'}", str(folder)]
    lines += [f"from {source}" for source in one["sources"]]
    try:
        lines += [*_graded(cast("Summary", found)), str(folder / "report.html")] if found else []
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"{folder / 'report.json'} is not what voice prep writes"
        raise DifftoolError(Exit.FILE, what, "prepare the voice again") from error
    changed = damaged(folder, written(note_of(folder)))
    for part in changed:
        console.warn(f"{folder / part} is not as voice prep wrote it; the same voice prep again mends it")
    return Result(one | told | {"damaged": changed}, lines, [folder])


def _graded(report: Summary) -> Iterator[str]:
    """What a report says of a voice, for people."""
    grade = report["grade"]
    lost = ", ".join(f"{seconds:.0f} s {reason.replace('_', ' ')}" for reason, seconds in report["reasons"].items())
    sides = ", ".join(f"{side} {value:g} ({grade['letters'][side]})" for side, value in grade["figures"].items())
    yield f"grade {grade['letter']}: {sides}"
    if lost:
        yield f"left out: {lost}"
    yield from (f"{number}. {action}" for number, action in enumerate(grade["actions"], 1))


def rm(
    console: Console,
    name: Name,
    originals: Annotated[
        bool, typer.Option("--originals/--no-originals", help="Also files that you put there.", show_default=False)
    ] = False,
    voices_dir: VoicesDir = None,
    dry_run: DryRun = False,
) -> Result:
    """Remove a voice: its clips, its references, what the networks know of it, and what was kept to prepare it.

    Recordings and other files that difftool did not make are removed with --originals only.

    Example:

    difftool voice rm me
    """
    from ..voice.library import home, remove

    gone = remove(name, home(voices_dir), originals=originals, dry_run=dry_run)
    what = "would remove" if dry_run else "removed"
    data = {"removed": [str(path) for path in gone], "voice": name}
    return Result(data | ({"dry_run": True} if dry_run else {}), [f"{what} {path}" for path in gone], gone)


def export(
    console: Console,
    name: Name,
    form: Annotated[str, typer.Option("--format", help="ljspeech, tortoise, f5, or joined.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A folder; of joined a sound file.")] = None,
    overwrite: Overwrite = False,
    voices_dir: VoicesDir = None,
) -> Result:
    """Write a voice as other tools take it: for trainers, for tortoise-tts, for F5-TTS, or as one file.

    Examples:

    difftool voice export me --format ljspeech -o me-ljspeech

    difftool voice export me --format joined -o me.flac
    """
    from ..files import expanded
    from ..voice.export import KINDS, fitting
    from ..voice.export import export as write
    from ..voice.library import home, named, opened

    to = expanded(output) if output else Path(f"{name}-joined.wav" if form == "joined" else f"{name}-{form}")
    fitting(form, to)
    made = write(opened(named(name), home(voices_dir)), form, to, overwrite=overwrite)
    data = {"outputs": [{"path": str(path)} for path in made], "voice": name, "format": form}
    return Result(data, [f"{name} as {form}: {KINDS[form]}", *map(str, made)], made)
