"""Kinds of files that a browser sends, by their first bytes, whatever they are called."""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of media file."""

    suffix: str
    type: str


HEAD = 4096
"""Bytes that are looked at."""
MARKS = (
    (0, b"RIFF", Kind(".wav", "audio/wav")),
    (0, b"RF64", Kind(".wav", "audio/wav")),
    (0, b"OggS", Kind(".ogg", "audio/ogg")),
    (0, b"fLaC", Kind(".flac", "audio/flac")),
    (0, b"\x1a\x45\xdf\xa3", Kind(".webm", "audio/webm")),
    (4, b"ftyp", Kind(".m4a", "audio/mp4")),
)
"""Containers of sound. Playlists are not among them: they may name other files of this machine."""


def kind_of(head: bytes) -> Kind | None:
    """The kind of a file that begins with these bytes; None for anything but sound."""
    for at, mark, kind in MARKS:
        if head[at : at + len(mark)] == mark:
            return kind
    is_mp3 = _is_frame(head)
    if head[:3] == b"ID3" and len(head) >= 10:
        # the text may be followed by anything, which ffmpeg would open
        size = sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        is_mp3 = size + 12 > len(head) or _is_frame(head[size + 10 :])
    return Kind(".mp3", "audio/mpeg") if is_mp3 else None


def _is_frame(data: bytes) -> bool:
    """Whether data begins with the head of an MPEG frame."""
    return len(data) >= 2 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0
