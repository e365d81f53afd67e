"""Export of a voice to the formats of other programs."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torchaudio.functional import resample

from ..audio.files import FORMATS, RATE, Samples, read_sound, write_short, write_sound
from ..audio.joining import join, to_bytes
from ..errors import DifftoolError, Exit, pick
from ..files import read_json, read_text, replace_folder, temporary, unused, writable, write_json, write_text
from .engines.f5.clip import LONGEST
from .engines.f5.prompt import ended, recorded
from .library import Voice, changed_files, digests, opened

SCHEMA = "difftool/export/1"
LJSPEECH = 22_050
"""Sample rate of LJSpeech and of tortoise-tts."""
PAUSE = 0.5
"""Seconds of silence between joined clips."""
KINDS = {
    "ljspeech": "wavs/*.wav at 22,050 Hz and metadata.csv, for training tools",
    "tortoise": "the reference clips for tortoise-tts, at 22,050 Hz",
    "f5": "the best clip, of at most 12 s, and its words, for F5-TTS",
    "joined": "all clips in one file, .wav, .flac, .mp3 or .ogg",
}


def export(voice: Voice, kind: str, to: Path, *, overwrite: bool = False) -> list[Path]:
    """Writes a voice in another format into the folder `to`, or for "joined" into that file, and returns the paths.

    Raises DifftoolError: 2 for an unknown format, 4 where the voice lacks what it needs, or `to` exists and, with
    `overwrite`, is not an export.
    """
    fitting(kind, to)
    if kind == "joined":
        unused([to], overwrite=overwrite)
        with writable(to.parent, option="-o"):
            comment = {"schema": SCHEMA, "voice": voice.name, "format": kind}
            tags = {"title": voice.name, "comment": json.dumps(comment)}
            sounds = (to_bytes(read_sound(path, RATE)) for path in _clips(voice))
            write_sound(to, join((sound, 0.0, PAUSE) for sound in sounds), tags)
        return [to]
    _is_free(to, overwrite=overwrite)
    with writable(to.parent, option="-o"):
        new = temporary(to)
        try:
            new.mkdir()
            writer = {"ljspeech": _ljspeech, "tortoise": _tortoise, "f5": _f5}[kind]
            names = [str(path.relative_to(new)) for path in writer(voice, new)]
            note = {"schema": SCHEMA, "voice": voice.name, "format": kind, "files": digests(new)}
            write_json(_note(to), note)
            replace_folder(new, to)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return [to / name for name in names]


def fitting(kind: str, to: Path) -> None:
    """Raises DifftoolError 2 for an unknown format, or where `to` is not possible for it."""
    pick("form", kind, KINDS)
    if kind == "joined" and to.suffix.lower() not in FORMATS:
        hint = f"try -o {shlex.quote(f'{to}.wav')}"
        raise DifftoolError(Exit.USAGE, f"supported formats are {', '.join(FORMATS)}", hint)
    if kind != "joined" and Path.cwd().is_relative_to(to.absolute().resolve()):
        message = f"{to} is the current folder, or one that contains it"
        raise DifftoolError(Exit.USAGE, message, "choose a separate folder with -o")


def _note(to: Path) -> Path:
    """The JSON file beside a folder that lists its files."""
    return to.with_name(f"{to.name}.export.json")


def _is_free(to: Path, *, overwrite: bool) -> None:
    """Raises DifftoolError 4 for a folder that is not empty, except with `overwrite` for one that holds only an
    unchanged export."""
    hint = "choose a separate folder with -o"
    if to.is_symlink():
        raise DifftoolError(Exit.FILE, f"{to} is a symbolic link", hint)
    if to.exists() and not to.is_dir():
        raise DifftoolError(Exit.FILE, f"{to} is not a folder", hint)
    unused([_note(to)], overwrite=True)
    if not to.is_dir() or not any(to.iterdir()):
        return
    files = read_json(_note(to)).get("files") if _note(to).exists() else None
    known = files if isinstance(files, Mapping) else {}
    foreign = next(changed_files(to, known), None)
    if foreign is not None:
        message = f"{to} contains a file that was changed or not exported by difftool: {foreign.relative_to(to)}"
        raise DifftoolError(Exit.FILE, message, hint)
    if not overwrite:
        raise DifftoolError(Exit.FILE, f"{to} exists already", "choose another path with -o, or add --overwrite")


def _clips(voice: Voice) -> list[Path]:
    """The clips of a voice, or where it has none its sound files."""
    return sorted((voice.folder / "clips").glob("*.wav")) or list(voice.clips)


def texts_of(voice: Voice) -> dict[str, tuple[str, str]]:
    """The text of each clip of a voice, as transcribed and normalised, by its number. Raises DifftoolError 4 where
    there is none, two lines are about one clip, or a clip is not one of the voice's own."""
    path = voice.folder / "metadata.csv"
    lines = read_text(path).splitlines() if path.is_file() else []
    rows = [line.split("|") for line in lines]
    texts: dict[str, tuple[str, str]] = {}
    for name, text, words in (row for row in rows if len(row) == 3 and row[1]):
        if Path(name).name != name:
            message = f"{path} names a clip outside of the folder clips: {name!r}"
            raise DifftoolError(Exit.FILE, message, "use names of files in it, without .wav")
        if name in texts:
            raise DifftoolError(Exit.FILE, f"{path} has two lines for the clip {name!r}", "keep one of them")
        texts[name] = text, words
    if not texts:
        raise _no_texts(voice)
    return texts


def _no_texts(voice: Voice) -> DifftoolError:
    hint = "run difftool voice prep with Whisper or a --transcript, without --slice vad"
    return DifftoolError(Exit.FILE, f"the clips of {voice.name} have no transcripts", hint)


def _at(path: Path, rate: int) -> Samples:
    sound = read_sound(path, RATE)
    return resample(torch.from_numpy(sound), RATE, rate).numpy()


def _ljspeech(voice: Voice, folder: Path) -> Iterator[Path]:
    (folder / "wavs").mkdir()
    lines = []
    for name, (text, words) in texts_of(voice).items():
        sound = _at(voice.folder / "clips" / f"{name}.wav", LJSPEECH)
        write_short(folder / "wavs" / f"{name}.wav", sound, LJSPEECH)
        lines.append(f"{name}|{text}|{words}\n")
    write_text(folder / "metadata.csv", "".join(lines))
    yield from (folder / "wavs", folder / "metadata.csv")


def _tortoise(voice: Voice, folder: Path) -> Iterator[Path]:
    for number, path in enumerate(voice.clips, 1):
        target = folder / f"{number}.wav"
        write_short(target, _at(path, LJSPEECH), LJSPEECH, subtype="FLOAT")
        yield target


def _f5(voice: Voice, folder: Path) -> Iterator[Path]:
    clip = recorded(opened(voice.name, voice.folder.parent, "f5"))
    if clip.text is None:
        raise _no_texts(voice)
    if clip.seconds > LONGEST:
        message = f"{voice.name} has no clip of at most {LONGEST:g} s with its words"
        raise DifftoolError(Exit.FILE, message, "run difftool voice prep, which cuts recordings with their words")
    write_short(folder / "ref.wav", read_sound(clip.path, RATE), RATE, subtype="PCM_16")
    write_text(folder / "ref.txt", ended(clip.text.strip()))
    yield from (folder / "ref.wav", folder / "ref.txt")
