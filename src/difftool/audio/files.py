"""Sound in files: mono, as float32 samples within [-1, 1]."""

from __future__ import annotations

import io
import re
import shutil
import struct
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import DifftoolError, Exit, raise_what_ended
from ..files import is_endless, replacing
from . import FORMATS

Samples = npt.NDArray[np.float32]

RATE = 24_000
"""Sample rate of all output."""
KINDS = (
    *(*FORMATS, ".opus", ".oga", ".aac", ".ac3", ".aif", ".aiff", ".au", ".caf", ".wma", ".wv", ".w64"),
    *(".amr", ".mp2", ".mka", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".wmv", ".flv"),
)
"""Suffixes of supported recordings."""

MPEG4 = (".m4b", ".m4a")
COVERED = ("ipod", "mp3")
"""Formats, by ffmpeg's names, that can hold a cover and chapters. FLAC would store the cover before the comment, where
`files.made_here` does not find it."""
QUALITIES: dict[str, dict[str, Any]] = {
    "mp3": {"audio_bitrate": "128k"},
    "ogg": {"acodec": "libvorbis", "aq": 5},
    "ipod": {"acodec": "aac", "audio_bitrate": "64k", "movflags": "+faststart"},
}
BRANDS = {".m4b": {"brand": "M4B "}}
"""How audiobooks differ from other MPEG-4 files."""
BRAND_TAGS = ("major_brand", "minor_version", "compatible_brands")
"""What ffmpeg lists among the tags of an MPEG-4 file."""

MP3 = {"format": "MP3", "compression_level": 0.75, "bitrate_mode": "VARIABLE"}
"""A kind of `write_short`, for pages that play it."""
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


def read_sound(path: Path, rate: int, *, centred: bool = True, most: int | None = None) -> Samples:
    """The sound in a file, (S,), mixed as by `media.mono`, at a sample rate of `rate`; with `most`, not more than its
    first samples.

    Raises DifftoolError 4 where it cannot be read.
    """
    from .media import mono

    return mono(path, rate, centred=centred, most=most)


def length_of(path: Path) -> int:
    """Samples in a WAV file that difftool wrote. Raises DifftoolError 4 where it cannot be read."""
    import soundfile

    try:
        return int(soundfile.info(path).frames)
    except (soundfile.LibsndfileError, OSError) as error:
        raise DifftoolError(Exit.FILE, f"cannot read {path}: {error}", "run the same command again") from error


def samples_of(path: Path) -> bytes:
    """The 16-bit samples of a mono WAV file that difftool wrote. Raises DifftoolError 4 where it cannot be read."""
    import soundfile

    try:
        return soundfile.read(path, dtype="int16")[0].tobytes()
    except (soundfile.LibsndfileError, OSError) as error:
        raise DifftoolError(Exit.FILE, f"cannot read {path}: {error}", "run the same command again") from error


def to_pcm(sound: Samples) -> bytes:
    """16-bit samples of a sound within [-1, 1]; those that were read of a 16-bit file are the same again."""
    return np.round(sound * 32768).clip(-32768, 32767).astype("<i2").tobytes()


def write_short(path: Path, sound: Samples, rate: int, **kind: Any) -> None:
    """Writes a short sound with libsndfile, through memory, since libsndfile does not report a full disk."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, sound, rate, **{"format": "WAV", **kind})
    path.write_bytes(buffer.getbuffer())


class Mark(NamedTuple):
    """A chapter of a sound."""

    title: str
    start: int
    """Its first sample."""
    end: int
    """The sample after its last one."""


def write_sound(
    path: Path,
    pieces: Iterable[bytes],
    tags: Mapping[str, str],
    marks: Sequence[Mark] = (),
    cover: bytes | None = None,
    *,
    rate: int = RATE,
) -> None:
    """Writes a sound file atomically, in the format of its suffix, with tags, from pieces of 16-bit mono samples at a
    `rate`; where the format has them, also with chapters (at RATE) and a cover (JPEG or PNG). Only one piece is in
    memory at a time, and equal pieces give equal bytes."""
    has_extras = marks or cover
    with replacing(path) as written, TemporaryDirectory() if has_extras else nullcontext(path.parent) as folder:
        extras = _extras(path, Path(folder), marks, cover)
        _encode(path, pieces, _command(path, written, tags, extras, rate, chapters=bool(marks)))
        if path.suffix.lower() in MPEG4:
            with written.open("ab") as file:
                file.write(_free_box(tags.get("comment", "")))


def _command(
    path: Path, written: Path, tags: Mapping[str, str], extras: Sequence[str], rate: int, *, chapters: bool
) -> list[str]:
    """The command line that encodes samples from stdin to the file `written` in the format of `path`."""
    import ffmpeg as build

    given = build.input("pipe:", format="s16le", ac=1, ar=rate)
    plain = [f"{key}={value}".replace("\0", "").encode(errors="replace").decode() for key, value in tags.items()]
    options = {f"metadata:g:{k}": tag for k, tag in enumerate(plain)}
    # the file of the chapters has no tags of its own; without any tags there would be no titles of chapters either
    exact = {"fflags": "+bitexact", "flags:a": "+bitexact", "map_metadata": "1" if chapters else "-1"}
    suffix = path.suffix.lower()
    kind = FORMATS[suffix]
    quality = {**QUALITIES.get(kind, {}), **BRANDS.get(suffix, {})}
    command = command_of(given.output(FILE, format=kind, **quality, **exact, **options), written)
    place = command.index("pipe:") + 1
    return [*command[:place], *extras, *command[place:], "-loglevel", "error"]


def _extras(path: Path, folder: Path, marks: Sequence[Mark], cover: bytes | None) -> list[str]:
    """Arguments of ffmpeg for chapters and a cover, which are in files in `folder`."""
    inputs, outputs = list[str](), list[str]()
    if marks:
        lines = [";FFMETADATA1"]
        for mark in marks:
            lines += ["[CHAPTER]", f"TIMEBASE=1/{RATE}", f"START={mark.start}", f"END={mark.end}"]
            lines.append(f"title={_escaped(mark.title)}")
        (folder / "chapters").write_text("\n".join(lines) + "\n", encoding="utf-8", errors="replace")
        inputs += ["-f", "ffmetadata", "-i", f"file:{folder / 'chapters'}"]
        outputs += ["-map_chapters", "1"]
    if cover and FORMATS[path.suffix.lower()] in COVERED:
        (folder / "cover").write_bytes(cover)
        kind = "png_pipe" if cover.startswith(b"\x89PNG") else "jpeg_pipe"
        inputs += ["-f", kind, "-i", f"file:{folder / 'cover'}"]
        outputs += ["-map", "0:a", "-map", f"{2 if marks else 1}:v", "-c:v", "copy", "-disposition:v", "attached_pic"]
    return [*inputs, *outputs]


def _escaped(text: str) -> str:
    """A value in ffmpeg's metadata format, which cannot end with a backslash."""
    return re.sub(r"([=;#\\\n])", r"\\\1", text.rstrip("\\"))


def _free_box(comment: str) -> bytes:
    """A part of an MPEG-4 file that players skip, with the beginning of the comment: `files.made_here` looks for it at
    the end, while the tags are somewhere in the middle."""
    data = comment.encode(errors="replace")[:200]
    return struct.pack(">I4s", 8 + len(data), b"free") + data


def _encode(path: Path, pieces: Iterable[bytes], command: Sequence[str]) -> None:
    """Runs ffmpeg on pieces of samples. Raises DifftoolError 1 where it fails; `path` is the name in the message."""
    encoder = subprocess.Popen([*command, "-nostdin"], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
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
    place = "0:s:0" if path.suffix.lower() in (".ogg", ".opus") else "0"  # Ogg keeps them with the stream
    own = _metadata(path, "-map_metadata", place).partition("\n[")[0]
    tags = _values(own)
    return {key.lower(): value for key, value in tags.items() if key not in BRAND_TAGS}


def chapters_of(path: Path) -> list[tuple[str, float, float]]:
    """(title, first second, last second) of the chapters in a sound file. Raises DifftoolError 4 for another kind of
    file."""
    chapters = []
    for section in _metadata(path, "-copyts").split("\n[CHAPTER]\n")[1:]:
        values = _values(section)
        unit = Fraction(values["TIMEBASE"])
        start, end = (round(float(int(values[key]) * unit), 3) for key in ("START", "END"))
        chapters.append((values.get("title", ""), start, end))
    return chapters


def cover_of(path: Path) -> bytes | None:
    """The picture in a sound file, as it was stored."""
    run = [ffmpeg(), "-nostdin", "-loglevel", "error", "-i", f"file:{path}", "-map", "0:v", "-c", "copy"]
    done = subprocess.run([*run, "-f", "image2pipe", "-"], capture_output=True, stdin=subprocess.DEVNULL)
    return done.stdout or None


def _metadata(path: Path, *options: str) -> str:
    """The metadata of a sound file in ffmpeg's format, with escaped line ends as null bytes."""
    if not path.exists():
        raise DifftoolError(Exit.FILE, f"{path} does not exist", "pass a sound file made by difftool")
    if is_endless(path):
        raise DifftoolError(Exit.FILE, f"{path} is not a regular file", "pass a sound file made by difftool")
    run = [ffmpeg(), "-nostdin", "-loglevel", "error", "-i", f"file:{path}"]
    run += [*options, "-f", "ffmetadata", "-"]
    done = subprocess.run(run, capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise DifftoolError(Exit.FILE, f"{path} contains no sound that can be read", "use another copy of the file")
    text = done.stdout.decode("utf-8", errors="replace")
    return re.sub(r"\\(.)", lambda escape: "\0" if escape[1] == "\n" else escape[0], text, flags=re.DOTALL)


def _values(text: str) -> dict[str, str]:
    """The keys and values of one section of ffmpeg's metadata format."""
    values = {}
    for line in text.split("\n"):
        key, separator, value = line.partition("=")
        if separator and not line.startswith(";"):
            values[key] = re.sub(r"\\(.)", r"\1", value).replace("\0", "\n")
    return values
