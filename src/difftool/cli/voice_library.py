from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import Console, Result
from .options import Overwrite, VoicesDir

Name = Annotated[str, typer.Argument(metavar="NAME", help="A folder of the voices.")]


def ls(console: Console, voices_dir: VoicesDir = None) -> Result:
    """List the voices that are here, what they are worth, and whether a consent is recorded.

    Example:

    difftool voice list
    """
    from ..voice.library import about, home, names

    voices = [about(name, home(voices_dir)) for name in names(voices_dir)]
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
    from ..voice.library import about, home

    one = about(name, home(voices_dir))
    folder = Path(one["path"])
    found = read_json(folder / "report.json") if (folder / "report.json").exists() else {}
    told = {key: found[key] for key in ("kept_seconds", "total_seconds", "reasons", "grade", "failed") if key in found}
    lines = [f"{name}: {one['clips']} clips, consent: {one['consent'] or 'none'}", str(folder)]
    lines += [f"from {source}" for source in one["sources"]]
    if found:
        grade = found["grade"]
        lost = ", ".join(f"{seconds:.0f} s {reason.replace('_', ' ')}" for reason, seconds in found["reasons"].items())
        sides = ", ".join(f"{side} {value:g} ({grade['letters'][side]})" for side, value in grade["figures"].items())
        lines += [f"grade {grade['letter']}: {sides}", *([f"left out: {lost}"] if lost else [])]
        lines += [f"{number}. {action}" for number, action in enumerate(grade["actions"], 1)]
        lines.append(str(folder / "report.html"))
    return Result(one | told, lines, [folder])


def rm(console: Console, name: Name, voices_dir: VoicesDir = None) -> Result:
    """Remove a voice: its clips, its references, what the networks know of it, and what was kept to prepare it.

    Example:

    difftool voice rm me
    """
    from ..voice.library import home, remove

    gone = remove(name, home(voices_dir))
    return Result({"removed": [str(path) for path in gone], "voice": name}, [f"removed {p}" for p in gone], gone)


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
    from ..errors import pick
    from ..files import expanded
    from ..voice.export import KINDS
    from ..voice.export import export as write
    from ..voice.library import home, named, opened

    pick("format", form, KINDS)
    to = expanded(output) if output else Path(f"{name}-joined.wav" if form == "joined" else f"{name}-{form}")
    made = write(opened(named(name), home(voices_dir)), form, to, overwrite=overwrite)
    data = {"outputs": [{"path": str(path)} for path in made], "voice": name, "format": form}
    return Result(data, [f"{name} as {form}: {KINDS[form]}", *map(str, made)], made)
