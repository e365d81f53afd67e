from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ..errors import DifftoolError, Exit
from ..limits import counted
from ..voice.settings import known_voices
from .completion import completer, formats
from .console import Console, Line, Result, graded
from .options import DryRun, Open, Overwrite, VoicesDir
from .viewer import open_page

if TYPE_CHECKING:
    from ..voice.library import About
    from ..voice.prep.shapes import Summary

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the voice.", autocompletion=completer(known_voices))]


def ls(console: Console, voices_dir: VoicesDir = None) -> Result:
    """List the voices in every folder of voices, with grade, clips and consent.

    Other commands use only one folder: --voices-dir (or DIFFTOOL_VOICES_DIR), else ./voices if it exists, else the one
    in your data folder. Voices in the other folders are marked as hidden. Those in the package can always be used,
    unless you have one of the same name.

    Example:

    difftool voice list
    """
    from ..voice.library import PACKAGE, names, places, replaced

    used, *others = places(voices_dir)
    folder, voices = used.folder, _readable(console, used.folder)
    lines = [_row(voice) for voice in voices] or [f"no voices in {folder}"]
    lines.append(f"voices folder: {folder} ({used.origin})")
    rows = [{"folder": str(folder), "origin": used.origin, "used": True, "voices": voices}]
    for place in others:
        try:
            hidden = _readable(console, place.folder)
        except DifftoolError as error:
            console.warn(error.message)
            continue
        rows.append({"folder": str(place.folder), "origin": place.origin, "used": False, "voices": hidden})
        if hidden:
            lines += ["", f"hidden, in {place.folder} ({place.origin}):"]
            lines += [f"{_row(voice)}  (hidden)" for voice in hidden]
            lines.append(f"to use them, add --voices-dir {shlex.quote(str(place.folder))}")
    packaged, absent = names(PACKAGE), replaced(folder)
    shown = (f"{name} (replaced by yours)" if name in absent else name for name in packaged)
    lines += ["", f"in the package: {', '.join(shown)}"]
    data = {"voices": voices, "folder": str(folder), "places": rows, "packaged": packaged, "replaced": absent}
    return Result(data, lines, [voice["name"] for voice in voices])


def _readable(console: Console, folder: Path) -> list[About]:
    """The voices of a folder; warns of those that cannot be read. Raises DifftoolError 4 if the folder cannot."""
    from ..voice.library import about, names

    voices = []
    for name in names(folder):
        try:
            voices.append(about(name, folder))
        except (DifftoolError, OSError) as error:
            console.warn(f"cannot read the voice {folder / name}: {error}")
    return voices


def _row(voice: About) -> str:
    """The line of a voice."""
    head = f"{voice['name']:<20} {voice['grade'] or '-':<2} {voice['clips']:>4} clips"
    return f"{head}  consent: {voice['consent'] or 'none'}"


def show(console: Console, name: Name, voices_dir: VoicesDir = None, open_report: Open = False) -> Result:
    """Show the sources, clips and grade of a voice, and how to improve it.

    Example:

    difftool voice show me
    """
    from ..files import read_json
    from ..voice.library import about, damaged, home, note_of, written

    voice = about(name, home(voices_dir))
    folder = Path(voice["path"])
    path = folder / "report.json"
    report = read_json(path) if path.exists() else {}
    shown = ("kept_seconds", "total_seconds", "reasons", "grade", "failed")
    summary = {key: report[key] for key in shown if key in report}
    count = counted(voice["clips"], "clip")
    lines: list[Line] = [f"{name}: {count}, consent: {voice['consent'] or 'none'}", str(folder)]
    lines += [f"from {source}" for source in voice["sources"]]
    try:
        lines += [*_graded(cast("Summary", report)), str(folder / "report.html")] if report else []
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DifftoolError(Exit.FILE, f"{path} was not written by voice prep", "run voice prep again") from error
    changed = damaged(folder, written(note_of(folder)))
    for part in changed:
        console.warn(f"{folder / part} has changed since voice prep; run the same voice prep again to restore it")
    result = Result(voice | summary | {"damaged": changed}, lines, [folder])
    if not open_report:
        return result
    if not report:
        raise DifftoolError(Exit.FILE, f"{folder} has no report", "run voice prep, which writes one")
    return result._replace(after=partial(open_page, console, folder / "report.html"))


def left_out(reasons: Mapping[str, float]) -> str:
    """Seconds that voice prep left out, by reason."""
    return ", ".join(f"{seconds:.0f} s {reason.replace('_', ' ')}" for reason, seconds in reasons.items())


def _graded(report: Summary) -> Iterator[Line]:
    """The lines of a report on a voice."""
    grade = report["grade"]
    lost = left_out(report["reasons"])
    sides = [f"{side} {value:g} ({grade['letters'][side]})" for side, value in grade["figures"].items()]
    yield "grade ", graded(grade["letter"]), f": {', '.join(sides)}"
    if lost:
        yield f"left out: {lost}"
    yield from (f"{number}. {action}" for number, action in enumerate(grade["actions"], 1))


def rm(
    console: Console,
    name: Name,
    originals: Annotated[
        bool,
        typer.Option(
            "--originals/--no-originals", help="Also remove files that difftool did not make.", show_default=False
        ),
    ] = False,
    voices_dir: VoicesDir = None,
    dry_run: DryRun = False,
) -> Result:
    """Remove a voice: its clips, references, cached latents and intermediate files.

    Recordings and other files that difftool did not make are removed only with --originals.

    Example:

    difftool voice rm me
    """
    from ..voice.library import home, remove

    removed = remove(name, home(voices_dir), originals=originals, dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    data: dict[str, object] = {"removed": [str(path) for path in removed], "voice": name}
    if dry_run:
        data["dry_run"] = True
    return Result(data, [f"{verb} {path}" for path in removed], removed)


def export(
    console: Console,
    name: Name,
    form: Annotated[
        str,
        typer.Option("--format", help="Format: ljspeech, tortoise, f5 or joined.", autocompletion=completer(formats)),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Output folder, or for joined an audio file.")
    ] = None,
    overwrite: Overwrite = False,
    voices_dir: VoicesDir = None,
) -> Result:
    """Export a voice for trainers (LJSpeech), tortoise-tts or F5-TTS, or as one sound file.

    Examples:

    difftool voice export me --format ljspeech -o me-ljspeech

    difftool voice export me --format joined -o me.flac
    """
    from ..files import expanded
    from ..voice.export import KINDS, fitting
    from ..voice.export import export as write
    from ..voice.library import home, named, opened

    default = f"{name}-joined.wav" if form == "joined" else f"{name}-{form}"
    to = expanded(output) if output else Path(default)
    fitting(form, to)
    voice = opened(named(name), home(voices_dir))
    paths = write(voice, form, to, overwrite=overwrite)
    outputs = [{"path": str(path)} for path in paths]
    data = {"outputs": outputs, "voice": name, "format": form}
    return Result(data, [f"{name} as {form}: {KINDS[form]}", *map(str, paths)], paths)
