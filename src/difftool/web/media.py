"""Kinds of files that a browser sends, by their first bytes, whatever they are called."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class MediaType(NamedTuple):
    """How a kind of media file is named and sent."""

    suffix: str
    type: str


HEAD = 4096
"""Bytes that are looked at, at the beginning and behind the tags."""
MARKS = (
    (0, b"RIFF", MediaType(".wav", "audio/wav")),
    (0, b"RF64", MediaType(".wav", "audio/wav")),
    (0, b"OggS", MediaType(".ogg", "audio/ogg")),
    (0, b"fLaC", MediaType(".flac", "audio/flac")),
    (0, b"\x1a\x45\xdf\xa3", MediaType(".webm", "audio/webm")),
    (4, b"ftyp", MediaType(".m4a", "audio/mp4")),
)
"""Containers of sound. Playlists are not among them: they may name other files of this machine."""


def kind_of(path: Path) -> MediaType | None:
    """The kind of a file by its content; None for anything but sound."""
    with path.open("rb") as file:
        head = file.read(HEAD)
        for at, mark, kind in MARKS:
            if head[at : at + len(mark)] == mark:
                return kind
        if head[:3] == b"ID3" and len(head) >= 10:
            # the tags, of any length, may be followed by anything, which ffmpeg would open
            size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
            file.seek(size + 10 * (2 if head[5] & 0x10 else 1))
            head = file.read(HEAD).lstrip(b"\0")
    return MediaType(".mp3", "audio/mpeg") if head[:1] == b"\xff" and head[1:2] >= b"\xe0" else None
