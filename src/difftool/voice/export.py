"""A voice as others want it."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torchaudio.functional import resample

from ..audio.files import FORMATS, RATE, Samples, read, store, write
from ..audio.joining import join, to_bytes
from ..errors import DifftoolError, Exit, pick
from ..files import read_json, replace_folder, temporary, unused, writable, write_json, write_text
from .library import Voice, digests, strangers

SCHEMA = "difftool/export/1"
LJSPEECH = 22_050
"""Samples a second of LJSpeech, and of tortoise-tts."""
F5_SHORTEST, F5_LONGEST = 6.0, 11.0
"""Seconds of a reference that F5-TTS takes well."""
F5_TAIL, PAUSE = 0.7, 0.5
"""Seconds of silence that F5-TTS wants at the end, and between clips that are joined."""
KINDS = {
    "ljspeech": "wavs/*.wav at 22,050 Hz and metadata.csv, for trainers",
    "tortoise": "the references as the clips that tortoise-tts takes, at 22,050 Hz",
    "f5": "the best clip of 6 to 11 s and its text, for F5-TTS",
    "joined": "all clips in one file, .wav, .flac, .mp3 or .ogg",
}


def export(voice: Voice, kind: str, to: Path, *, overwrite: bool = False) -> list[Path]:
    """Writes a voice in another form into the folder `to`, or for "joined" into that file, and returns what is there.

    Raises DifftoolError: 2 for a form that is not known, 4 where the voice lacks what it needs, or `to` exists and,
    with `overwrite`, is anything but an export.
    """
    fitting(kind, to)
    if kind == "joined":
        unused([to], overwrite=overwrite)
        with writable(to.parent, option="-o"):
            tags = {"title": voice.name, "comment": json.dumps({"schema": SCHEMA, "voice": voice.name, "format": kind})}
            write(to, join((to_bytes(read(path, RATE)), 0.0, PAUSE) for path in _clips(voice)), tags)
        return [to]
    _is_free(to, overwrite=overwrite)
    with writable(to.parent, option="-o"):
        new = temporary(to)
        try:
            new.mkdir()
            names = [
                str(path.relative_to(new))
                for path in {"ljspeech": _ljspeech, "tortoise": _tortoise, "f5": _f5}[kind](voice, new)
            ]
            write_json(_note(to), {"schema": SCHEMA, "voice": voice.name, "format": kind, "files": digests(new)})
            replace_folder(new, to)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return [to / name for name in names]


def fitting(kind: str, to: Path) -> None:
    """Raises DifftoolError 2 for a form that is not known, or where `to` can be no place for it."""
    pick("form", kind, KINDS)
    if kind == "joined" and to.suffix.lower() not in FORMATS:
        hint = f"try -o {shlex.quote(f'{to}.wav')}"
        raise DifftoolError(Exit.USAGE, f"sound is written as {', '.join(FORMATS)}", hint)
    if kind != "joined" and Path.cwd().is_relative_to(to.absolute().resolve()):
        what = f"{to} is the folder you are in, or one around it"
        raise DifftoolError(Exit.USAGE, what, "name a folder of its own with -o")


def _note(to: Path) -> Path:
    """The file beside a folder that tells what was written into it."""
    return to.with_name(f"{to.name}.export.json")


def _is_free(to: Path, *, overwrite: bool) -> None:
    """Raises DifftoolError 4 for a folder that is not empty, but with `overwrite` for one with an export in it that
    nobody has touched since."""
    hint = "name a folder of its own with -o"
    if to.is_symlink():
        raise DifftoolError(Exit.FILE, f"{to} is a link", hint)
    if to.exists() and not to.is_dir():
        raise DifftoolError(Exit.FILE, f"{to} is no folder", hint)
    unused([_note(to)], overwrite=True)
    if not to.is_dir() or not any(to.iterdir()):
        return
    files = read_json(_note(to)).get("files") if _note(to).exists() else None
    if (strange := next(strangers(to, files if isinstance(files, Mapping) else {}), None)) is not None:
        what = f"{to} holds a file that is not as an export of difftool wrote it: {strange.relative_to(to)}"
        raise DifftoolError(Exit.FILE, what, hint)
    if not overwrite:
        raise DifftoolError(Exit.FILE, f"{to} exists already", "choose another -o, or add --overwrite")


def _clips(voice: Voice) -> list[Path]:
    """The clips of a voice, or where it has none the sound files that it is made of."""
    return sorted((voice.folder / "clips").glob("*.wav")) or list(voice.clips)


def _said(voice: Voice) -> dict[str, tuple[str, str]]:
    """What is said in each clip of a voice, as it was heard and in words, by its number."""
    path = voice.folder / "metadata.csv"
    rows = [line.split("|") for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
    said = {row[0]: (row[1], row[2]) for row in rows if len(row) == 3 and row[1]}
    if not said:
        what = f"no texts of the clips of {voice.name} are known"
        raise DifftoolError(
            Exit.FILE, what, "run difftool voice prep with Whisper or a --transcript, and not with --slice vad"
        )
    return said


def _at(path: Path, rate: int) -> Samples:
    sound = read(path, RATE)
    return resample(torch.from_numpy(sound), RATE, rate).numpy()


def _ljspeech(voice: Voice, folder: Path) -> Iterator[Path]:
    said = _said(voice)
    (folder / "wavs").mkdir()
    lines = []
    for name, (text, words) in said.items():
        store(folder / "wavs" / f"{name}.wav", _at(voice.folder / "clips" / f"{name}.wav", LJSPEECH), LJSPEECH)
        lines.append(f"{name}|{text}|{words}\n")
    write_text(folder / "metadata.csv", "".join(lines))
    yield from (folder / "wavs", folder / "metadata.csv")


def _tortoise(voice: Voice, folder: Path) -> Iterator[Path]:
    for number, path in enumerate(voice.clips, 1):
        target = folder / f"{number}.wav"
        store(target, _at(path, LJSPEECH), LJSPEECH, subtype="FLOAT")
        yield target


def _f5(voice: Voice, folder: Path) -> Iterator[Path]:
    said = _said(voice)
    takes = read_json(voice.folder / "report.json")["takes"]
    fit = [t for t in takes if t.get("id") in said and F5_SHORTEST <= t["figures"]["seconds"] <= F5_LONGEST]
    if not fit:
        what = f"{voice.name} has no clip of {F5_SHORTEST:g} to {F5_LONGEST:g} s"
        raise DifftoolError(Exit.FILE, what, "add a recording with longer sentences")
    best = max(fit, key=lambda take: take["figures"]["snr"])["id"]
    sound = np.concatenate(
        [read(voice.folder / "clips" / f"{best}.wav", RATE), np.zeros(round(F5_TAIL * RATE), np.float32)]
    )
    store(folder / "ref.wav", sound, RATE, subtype="PCM_16")
    write_text(folder / "ref.txt", said[best][0] + "\n")
    yield from (folder / "ref.wav", folder / "ref.txt")
