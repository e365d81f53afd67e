"""How long a text is spoken, and long texts in parts: F5-TTS is told the length of its speech."""

from __future__ import annotations

import re
from collections.abc import Callable

from ....audio.files import RATE
from ....nets.spectrum import HOP
from ...text import Part, parts
from .hanzi import numbers_in_hanzi
from .pace import letters, spoken_seconds
from .prompt import Prompt
from .tokens import JIEBA, RJIEBA, readable, spelled

MOST = 22.0
"""Seconds of the reference and the new speech together: it was trained on up to 30."""
SHORTEST, LETTER, FEW = 0.35, 0.05, 20
"""Minimum seconds of speech, and more for each of the first few letters: a fast voice has no time for single words."""
DOTS = re.compile(r"\.(?:[ \t]\.){2,}|(?:(?<!\.)\.{3,}|…)(?=\w)")
"""An ellipsis that would not end a part."""

SENTENCE = re.compile(r"(?<=[;:,.!?])\s+|(?<=[；：，。！？])")
SHORT_BYTES, SHORT_SPEED = 10, 0.3
"""Below so many bytes f5-tts speaks at this speed."""


def frames(prompt: Prompt, text: str, speed: float = 1.0, compat: bool = False) -> int:
    """Frames of new speech after the reference. `compat` is the rule of f5-tts: a rate of bytes."""
    before = len(prompt.sound) // HOP
    if compat:
        size = len(text.encode())
        own = SHORT_SPEED if size < SHORT_BYTES else speed
        new = int(before / len(prompt.text.encode()) * size / own)
    else:
        new = int(seconds(text, pace(prompt), speed) * RATE / HOP)
    tokens = len(spelled(prompt.text + text, RJIEBA if compat else JIEBA))
    return max(new, tokens + 1 - before, 2)


def pieces(
    text: str, prompt: Prompt, speed: float = 1.0, compat: bool = False, speakable: Callable[[str], bool] = bool
) -> list[Part]:
    """A text in parts that are spoken after the reference within MOST seconds, each with something `speakable` in it.
    `compat` cuts as f5-tts does, at any mark, and leaves the text as it is. Raises DifftoolError as
    `voice.text.parts`."""
    if compat:
        parts(text, bool, whole=True)
        return [Part(chunk, 0.0) for chunk in _chunks(text, prompt, speed)]
    own, room = pace(prompt), MOST - len(prompt.sound) / RATE
    text = numbers_in_hanzi(DOTS.sub("... ", text))
    cut = parts(text, lambda part: seconds(part, own, speed) <= room, lambda part: speakable(readable(part)))
    return [part._replace(text=readable(part.text)) for part in cut]


def seconds(text: str, pace: float, speed: float = 1.0) -> float:
    """Seconds in which a text is spoken at a pace."""
    size = letters(text)
    return max(size * pace, SHORTEST + LETTER * min(size, FEW)) / speed


def pace(prompt: Prompt) -> float:
    """Seconds a letter of a reference, without long pauses in it."""
    return spoken_seconds(prompt.sound.numpy()) / max(1.0, letters(prompt.text))


def _chunks(text: str, prompt: Prompt, speed: float) -> list[str]:
    """The chunks of a text in f5-tts."""
    duration = len(prompt.sound) / RATE
    size = len(prompt.text.encode()) - prompt.text.endswith(" ")  # without the space that it adds later
    most = int(size / duration * (MOST - duration) * speed)
    chunks, chunk = list[str](), ""
    for sentence in filter(None, SENTENCE.split(text)):
        piece = sentence if len(sentence[-1].encode()) > 1 else f"{sentence} "
        if len((chunk + sentence).encode()) <= most:
            chunk += piece
            continue
        if chunk:
            chunks.append(chunk.strip())
        chunk = piece
    return [*chunks, chunk.strip()]
