"""Existing transcripts: subtitles, and the JSON of speech recognisers."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict, cast

from ...errors import DifftoolError, Exit
from . import notes
from .words import Segment, Word, guessed, joined, whole

HINT = "use the .srt, .vtt or .json that Whisper writes"
SECONDS_A_LETTER = 0.07
"""Duration of the last cue, where it has no length."""
WESTERN = frozenset("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜßàáâãäåæçèéêëìíîïñòóôõöøùúûüÿŒœŸ“”‘’„…–—«»‹›¿¡£€°ªº½¼¾©®™•·§\u00a0")
"""Characters beyond ASCII of a text in Windows-1252; in other one-byte encodings these bytes are other letters."""
FLAGS = ("forced", "sdh", "cc", "hi", "default")
"""Flags at the end of a subtitle's name."""
FOREIGN = 0.5
"""Maximum share of letters beyond ASCII in a Western text."""


class HeardWord(TypedDict):
    """A word of a recogniser, with a confidence under one of several names."""

    start: float
    end: float
    word: NotRequired[str]
    text: NotRequired[str]


class HeardSegment(TypedDict):
    """A segment of openai-whisper, with its scores."""

    start: NotRequired[float | None]
    end: NotRequired[float | None]
    text: NotRequired[str]
    words: NotRequired[Sequence[HeardWord]]


class Offsets(TypedDict("Offsets", {"from": int, "to": int})):
    """Milliseconds."""


class CppItem(TypedDict):
    """A segment, or a piece of a word, of whisper.cpp."""

    offsets: Offsets
    text: str


class Chunk(TypedDict):
    """A segment or a word of transformers."""

    timestamp: Sequence[float | None] | None
    text: str


class Transcription(TypedDict, total=False):
    """The JSON of a recogniser: one of the kinds of segments, or words alone."""

    segments: list[HeardSegment]
    transcription: list[CppItem]
    chunks: list[Chunk]
    words: list[HeardWord]
    text: str


class TranscriptFile(NamedTuple):
    """The content of a transcript."""

    segments: list[Segment]
    language: str | None
    """As it is written in the file"""
    warnings: list[str]


class _Unreadable(ValueError):
    """Why a transcript cannot be read."""


def read_transcript(path: Path) -> TranscriptFile:
    """A transcript from a file. Raises DifftoolError 4 where it cannot be read, or has no words."""
    parse = _from_json if path.suffix.lower() == ".json" else _from_cues
    try:
        text, warning = _decoded(path.read_bytes())
        segments, language = parse(text)
    except OSError as error:
        raise DifftoolError(Exit.FILE, f"cannot read {path}: {error.strerror}", "pass a transcript file") from error
    except _Unreadable as error:
        hint = "save it as UTF-8" if "UTF-8" in str(error) else HINT
        raise DifftoolError(Exit.FILE, f"cannot read the transcript {path}: {error}", hint) from error
    except Exception as error:  # parsers fail on invalid text in many ways
        raise DifftoolError(Exit.FILE, f"{path} is not a valid transcript", HINT) from error
    if not segments:
        raise DifftoolError(Exit.FILE, f"{path} contains no words", HINT)
    warnings = [f"{path.name} {warning}"] if warning else []
    ordered = sorted(segments, key=lambda segment: segment.start)
    return TranscriptFile(ordered, language or None, warnings)


def _decoded(data: bytes) -> tuple[str, str | None]:
    """Text from bytes, and a warning where its encoding was guessed."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16"), None
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros = data[first::2].count(0)
        if data and zeros > len(data) / 4:
            return data.decode(encoding), None
    try:
        return data.decode("utf-8-sig"), None
    except UnicodeDecodeError as error:
        text = data.decode("cp1252", "replace")
        letters = [char for char in text if char.isalpha()]
        beyond = sum(not char.isascii() for char in letters)
        western = all(char.isascii() or char in WESTERN for char in text)
        # UTF-8 with a few wrong bytes, and signs inside words
        broken = re.search(r"[ÂÃ][^\w\s]|â€|\w[¿¡ªº½¼¾©®•§](?=[^\W\d])", text)
        is_foreign = not western or beyond > FOREIGN * len(letters)
        if is_foreign or broken or "\0" in text:
            message = f"it is neither UTF-8 nor UTF-16 (byte {error.start})"
            raise _Unreadable(message) from error
        return text, "is not in UTF-8 and was read as Windows-1252"


def _from_cues(text: str) -> tuple[list[Segment], str | None]:
    from pysubs2 import SSAFile

    language = None
    if text.startswith("WEBVTT"):
        header, *blocks = re.split(r"\n{2,}", text.replace("\r\n", "\n").replace("\r", "\n"))
        match = re.search(r"(?m)^Language:[ \t]*([\w-]+)", header)
        language = match[1] if match else None
        # notes and styles have no times, and a line above the times of a cue is its name
        with_times = [block for block in [header, *blocks] if "-->" in block]
        timed = [block[block.rfind("\n", 0, block.index("-->")) + 1 :] for block in with_times]
        body = "\n\n".join(["WEBVTT", *timed])
        text = re.sub(r"<[\d:.]+>", "", body) + "\n"  # times of words, which look like those of a cue
    cues = [cue for cue in SSAFile.from_string(text) if cue.is_text]
    shown = list(notes.unrolled([notes.untagged(cue.plaintext) for cue in cues]))
    names = notes.speakers(shown)
    starts = [cue.start / 1000 for cue in cues]
    segments = []
    for cue, start, each in zip(cues, starts, shown, strict=True):
        if start < 0:
            continue
        spoken = notes.without_notes(each, names)
        end = _end(start, cue.end / 1000, starts, spoken)
        if words := guessed(start, end, spoken):
            segments.append(Segment(words, False, {}))
    return segments, language


def _end(start: float, end: float, starts: Sequence[float], text: str) -> float:
    """The end of a cue; one without a length lasts until the next one begins."""
    if end > start:
        return end
    later = [time for time in starts if time > start]
    return min(later, default=start + SECONDS_A_LETTER * len(text))


def _from_json(text: str) -> tuple[list[Segment], str | None]:
    try:
        value: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise _Unreadable(f"it is not JSON ({error})") from error
    if isinstance(value, list):
        value = {"segments": value}
    if not isinstance(value, Mapping):
        raise _Unreadable("it is not an object with segments")
    language = value.get("language")
    for name in ("result", "info", "params"):  # of whisper.cpp and faster-whisper
        if language is None and isinstance(value.get(name), Mapping):
            language = value[name].get("language")
    spoken = list(_spoken(cast(Transcription, value)))
    starts = [_time(heard, "start") for heard in spoken]
    segments = [segment for heard in spoken if (segment := _segment(heard, starts))]
    words = [word for segment in segments for word in segment.words]
    if not all(math.isfinite(time) for word in words for time in (word.start, word.end)):
        raise _Unreadable("some of its times are not numbers")
    return segments, language if isinstance(language, str) else None


def _spoken(value: Transcription) -> Iterator[HeardSegment]:
    """The segments of the JSON of Whisper and similar programs, in the form of openai-whisper."""
    words = value.get("words")
    if isinstance(segments := value.get("segments"), list):
        if words and not any(segment.get("words") for segment in segments):  # OpenAI's interface has them apart
            segments = _with_words(segments, words)
        yield from segments
    elif isinstance(items := value.get("transcription"), list):  # whisper.cpp
        yield from _of_cpp(items)
    elif isinstance(chunks := value.get("chunks"), list):  # transformers
        yield from _of_chunks(chunks, value.get("text", ""))
    elif isinstance(words, list):
        yield {"words": words, "text": value.get("text", "")}
    else:
        raise _Unreadable("it has no segments in the format of Whisper, WhisperX or whisper.cpp")


def _of_chunks(chunks: Sequence[Chunk], text: str) -> Iterator[HeardSegment]:
    """Segments of transformers, which may write each word as a chunk of its own."""
    segments: list[HeardSegment] = []
    for chunk in chunks:
        times = chunk["timestamp"] or [None]
        segments.append({"start": times[0], "end": times[-1], "text": chunk["text"]})
    are_words = all(len(chunk["text"].split()) == 1 for chunk in chunks)
    if segments and are_words:
        segments = [{"words": cast(Sequence[HeardWord], segments), "text": text}]
    yield from segments


def _with_words(segments: Sequence[HeardSegment], words: Sequence[HeardWord]) -> Iterator[HeardSegment]:
    """Each segment with the words whose middle lies in it, or before the next one begins."""

    def middle(word: HeardWord) -> float:
        return (word["start"] + word["end"]) / 2

    words = sorted(words, key=middle)
    segments = sorted(segments, key=_start)
    begins = [bisect_left(words, _start(segment), key=middle) for segment in segments[1:]]
    edges = [0, *begins, len(words)]
    for segment, (first, last) in zip(segments, pairwise(edges), strict=True):
        yield {**segment, "words": words[first:last]}


def _start(segment: HeardSegment) -> float:
    return cast(float, cast(Mapping[str, object], segment)["start"])


def _of_cpp(items: Sequence[CppItem]) -> Iterator[HeardSegment]:
    """Segments of whisper.cpp, which has milliseconds, and may write each piece of a word as an item of its own."""
    segments: list[HeardSegment] = []
    for item in items:
        start, end = item["offsets"]["from"] / 1000, item["offsets"]["to"] / 1000
        segments.append({"start": start, "end": end, "text": str(item["text"])})
    are_pieces = all(len(str(item["text"]).split()) <= 1 for item in items)
    if len(segments) > 1 and are_pieces:
        segments = [{"words": cast(Sequence[HeardWord], segments)}]
    yield from segments


def _segment(heard: HeardSegment, starts: Sequence[float]) -> Segment | None:
    """A segment with words, by their own times or by those of the segment; None for one without words."""
    pieces = []
    for word in heard.get("words") or ():
        text = str(word.get("word") or word.get("text") or "")
        pieces.append(Word(_time(word, "start"), _time(word, "end"), text, _probability(word)))
    text = str(heard.get("text") or "")
    span = _time(heard, "start"), _time(heard, "end")
    if any(not math.isnan(piece.start + piece.end) for piece in pieces):
        words = whole(pieces, text, None if math.isnan(sum(span)) else span)
        return Segment(words, True, scores(heard)) if words else None
    text = text or joined(pieces)
    if not text.strip():
        return None
    if math.isnan(span[0]):
        raise _Unreadable("it has words without times")
    start = max(0.0, span[0])
    words = guessed(start, _end(start, span[1], starts, text), text)
    return Segment(words, False, scores(heard)) if words else None


def _time(item: Mapping[str, object], name: str) -> float:
    """Seconds, or NaN where there are none."""
    if item.get(name) is None:
        return math.nan
    time = float(cast(float, item[name]))
    if not math.isfinite(time):
        raise _Unreadable("some of its times are not numbers")
    return time


def _probability(word: Mapping[str, object]) -> float | None:
    """The confidence of a recogniser in a word, under any of its names."""
    for name in ("probability", "score", "confidence"):
        if word.get(name) is not None:
            return float(cast(float, word[name]))
    return None


def scores(segment: Mapping[str, object]) -> dict[str, float]:
    """Whisper's scores of a segment."""
    names = ("avg_logprob", "compression_ratio", "no_speech_prob", "temperature")
    known = [name for name in names if segment.get(name) is not None]
    return {name: round(float(cast(float, segment[name])), 4) for name in known}


def language_in(path: Path) -> str | None:
    """A possible language in the name of a file, as in talk.fr.srt and talk.en.forced.srt."""
    before = [part[1:] for part in path.suffixes[:-1]]
    if len(before) > 1 and before[-1].lower() in FLAGS:
        before.pop()
    return before[-1] if before else None


def bases(path: Path) -> list[str]:
    """The names that the recording of a transcript may have: talk.en.srt is that of talk.en.mp3 or of talk.mp3."""
    parts = path.stem.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), max(0, len(parts) - 3), -1)]
