"""Sound in files: mono, as float32 samples within [-1, 1]."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DifftoolError, Exit, raise_what_ended
from ..files import is_endless, replacing
from . import FORMATS

Samples = npt.NDArray[np.float32]

RATE = 24_000
"""Sample rate of all output."""
KINDS = (
    *(*FORMATS, ".m4a", ".m4b", ".opus", ".oga", ".aac", ".ac3", ".aif", ".aiff", ".au", ".caf", ".wma", ".wv", ".w64"),
    *(".amr", ".mp2", ".mka", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".wmv", ".flv"),
)
"""Suffixes of supported recordings."""

FILE = "file:"
"""Placeholder for a file in a command of ffmpeg-python, which does not support names that are not UTF-8."""


def command_of(stream: Any, path: Path) -> list[str]:
    """The command line of an ffmpeg-python stream, with FILE replaced by `path`."""
    return [f"file:{path}" if part == FILE else part for part in stream.compile(cmd=ffmpeg())]


def ffmpeg() -> str:
    """The system's ffmpeg, or the one of imageio-ffmpeg."""
    if path := shutil.which("ffmpeg"):
        return path
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


def read_sound(path: Path, rate: int) -> Samples:
    """The sound in a file, (S,), mixed as by `media.mono`, at a sample rate of `rate`.

    Raises DifftoolError 4 where it cannot be read.
    """
    from .media import mono

    return mono(path, rate)


def seconds_of(path: Path) -> float:
    """Duration in seconds of a sound file that difftool wrote."""
    import soundfile

    return round(soundfile.info(path).duration, 3)


def samples_of(path: Path) -> bytes:
    """The 16-bit samples of a mono WAV file that difftool wrote. Raises DifftoolError 4 where it cannot be read."""
    import soundfile

    try:
        return soundfile.read(path, dtype="int16")[0].tobytes()
    except (soundfile.LibsndfileError, OSError) as error:
        raise DifftoolError(Exit.FILE, f"cannot read {path}: {error}", "run the same command again") from error


def write_short(path: Path, sound: Samples, rate: int, **kind: Any) -> None:
    """Writes a short sound with libsndfile, through memory, since libsndfile does not report a full disk."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, sound, rate, **{"format": "WAV", **kind})
    path.write_bytes(buffer.getbuffer())


def write_sound(path: Path, pieces: Iterable[bytes], tags: Mapping[str, str]) -> None:
    """Writes a sound file atomically, in the format of its suffix, with tags, from pieces of 16-bit mono samples at
    RATE. Only one piece is in memory at a time, and equal pieces give equal bytes."""
    import ffmpeg as build

    with replacing(path) as written:
        given = build.input("pipe:", format="s16le", ac=1, ar=RATE)
        plain = [f"{key}={value}".encode(errors="replace").decode() for key, value in tags.items()]
        options = {f"metadata:g:{k}": tag for k, tag in enumerate(plain)}
        exact = {"fflags": "+bitexact", "flags:a": "+bitexact", "map_metadata": "-1"}
        kind = FORMATS[path.suffix.lower()]
        qualities = {"mp3": {"audio_bitrate": "128k"}, "ogg": {"acodec": "libvorbis", "aq": 5}}
        quality = qualities.get(kind, {})
        command = command_of(given.output(FILE, format=kind, **quality, **exact, **options), written)
        encoder = subprocess.Popen(
            [*command, "-loglevel", "error", "-nostdin"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert encoder.stdin is not None
        try:
            for piece in pieces:
                encoder.stdin.write(piece)
            _, output = encoder.communicate()
        except BrokenPipeError:
            _, output = encoder.communicate()
        except BaseException:
            encoder.kill()
            encoder.wait()
            raise
        if encoder.returncode:
            lines = output.decode(errors="replace").strip().splitlines()
            reason = lines[-1] if lines else "unknown error"
            raise_what_ended(f"{path}: {reason}")
            raise DifftoolError(Exit.FAILED, f"ffmpeg could not write {path}: {reason}", "check the free disk space")


def tags_of(path: Path) -> dict[str, str]:
    """The tags of a sound file. Raises DifftoolError 4 for another kind of file."""
    if is_endless(path):
        raise DifftoolError(Exit.FILE, f"{path} is not a regular file", "pass a sound file made by difftool")
    place = "0:s:0" if path.suffix.lower() in (".ogg", ".opus") else "0"  # Ogg keeps them with the stream
    run = [ffmpeg(), "-nostdin", "-loglevel", "error", "-i", f"file:{path}"]
    run += ["-map_metadata", place, "-f", "ffmetadata", "-"]
    done = subprocess.run(run, capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise DifftoolError(Exit.FILE, f"{path} contains no sound that can be read", "use another copy of the file")
    tags, text = {}, done.stdout.decode("utf-8", errors="replace").replace("\\\n", "\0")
    for line in text.split("\n"):
        key, separator, value = line.partition("=")
        if separator and not line.startswith(";"):
            tags[key.lower()] = re.sub(r"\\(.)", r"\1", value).replace("\0", "\n")
    return tags
