"""What is said in a recording, and when: by Whisper, or from a transcript that is there already."""

from __future__ import annotations

import base64
import gzip
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import torch
from torchaudio.functional import resample

from ... import store
from ...audio.files import RATE, Samples
from ...errors import DifftoolError, Exit, pick
from ...files import digest_of, expanded, unpickled
from ...limits import counted
from . import transcripts
from .activity import HEARD, Span
from .decode import Stored
from .notes import without_notes
from .words import Segment, Word, whole

MOMENT = 0.05
"""Seconds that a segment has at least."""
LEAST_SHARE = 0.1
"""Of a segment in which somebody speaks; the rest of it may be silence."""
PORTION, GAP = 240.0, 5.0
"""Seconds that Whisper is given at a time, and of silence that it is not given, for it would dream up words."""
MARGIN = 0.3
"""Seconds around a portion, but no more than half of what is silent there."""
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
THREE_LETTERS = {
    three: two
    for two, codes in {
        "en": "eng",
        "fr": "fra fre",
        "de": "deu ger",
        "nl": "nld dut",
        "es": "spa",
        "it": "ita",
        "pt": "por",
        "pl": "pol",
        "ru": "rus",
        "uk": "ukr",
        "cs": "ces cze",
        "sv": "swe",
        "da": "dan",
        "no": "nor nob",
        "fi": "fin",
        "hu": "hun",
        "ro": "ron rum",
        "el": "ell gre",
        "tr": "tur",
        "ar": "ara",
        "he": "heb",
        "hi": "hin",
        "zh": "zho chi cmn",
        "ja": "jpn",
        "ko": "kor",
        "th": "tha",
        "vi": "vie",
        "id": "ind",
    }.items()
    for three in codes.split()
}
"""ISO 639-2 codes that files are named with, as Whisper has them."""
SUFFIXES = (".srt", ".vtt", ".json")


class Transcriber(Protocol):
    """Anything that knows what is said in a recording."""

    key: str
    """What its answer depends on, besides the recording."""
    heard_language: str | None
    """The code of the language that is spoken, if it is known; Whisper hears it."""

    def __call__(self, samples: Stored, spans: Sequence[Span]) -> Iterator[Segment]:
        """The segments of a sound (S,) at RATE, in order; `spans` is where somebody speaks."""
        ...


class Transcript:
    """A Transcriber that reads a file: SRT, VTT, or the JSON of Whisper and its relatives. Raises DifftoolError 2 for
    another kind, 4 for one that cannot be read or tells no times."""

    def __init__(self, path: Path, language: str | None = None) -> None:
        self.path = expanded(path)
        if self.path.suffix.lower() not in SUFFIXES:
            what = f"a transcript is {', '.join(SUFFIXES)}, and {path} ends otherwise"
            raise DifftoolError(Exit.USAGE, what, "take the .srt, .vtt or .json that Whisper writes")
        self.segments, written, self.warnings = transcripts.read(self.path)
        self.heard_language = language or code_of(written) or code_of(transcripts.language_in(self.path))
        self.key = f"transcript {digest_of(self.path)} {self.heard_language}"

    def __call__(self, samples: Stored, spans: Sequence[Span]) -> Iterator[Segment]:
        end = len(samples) / RATE
        beyond = [segment for segment in self.segments if segment.end > end + 1]
        if beyond and len(beyond) > len(self.segments) / 2:
            what = f"{self.path} goes on to {beyond[-1].end:.0f} s, and the recording has {end:.0f}"
            raise DifftoolError(Exit.FILE, what, "name the transcript of this recording")
        yield from self.segments


class Whisper:
    """A Transcriber that listens: openai-whisper of one of its sizes, or from a .pt file in its format.

    Raises DifftoolError 2 for a size or a language that is not known, 4 where its file is missing; it is opened when
    there is something to be heard, and then 4 where it is damaged.
    """

    def __init__(self, size: str, device: torch.device, language: str | None = None, models: Path | None = None):
        self.size, self.device, self.language = size, device, known_language(language)
        self.path, sha256, self.heads = found(size, models)
        self.key = f"whisper {sha256} {self.language}"
        self.heard_language: str | None = None

    @cached_property
    def model(self) -> Any:
        """The network."""
        import whisper

        again = (
            f"run difftool models pull whisper-{self.size}" if self.heads else "name another, or a size such as base"
        )
        checkpoint = unpickled(self.path, "Whisper model", again)
        try:
            model = whisper.Whisper(whisper.model.ModelDimensions(**checkpoint["dims"]))
            model.load_state_dict(checkpoint["model_state_dict"])
        except (KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise DifftoolError(Exit.FILE, f"{self.path} holds no Whisper model", again) from error
        if self.heads is not None and _fits(self.heads, model):
            model.set_alignment_heads(self.heads)
        return model.to(self.device).eval()

    def __call__(self, samples: Stored, spans: Sequence[Span]) -> Iterator[Segment]:
        for portion in portions(spans):
            yield from self.listen(samples, portion)

    def listen(self, samples: Stored, portion: Span) -> list[Segment]:
        """What is said in one of the `portions` of a recording. Its first one decides on the language, if none was
        named: `heard_language` is None before it."""
        first = round(portion.start * RATE)
        made = []
        for one in self._heard(samples[first : round(portion.end * RATE)]):
            pieces = [
                Word(
                    round(first / RATE + float(word["start"]), 3),
                    round(first / RATE + float(word["end"]), 3),
                    word["word"],
                    round(float(word["probability"]), 4),
                )
                for word in one.get("words", [])
            ]
            if words := whole(pieces, one["text"]):
                made.append(Segment(words, True, transcripts.scores(one)))
        return made

    def text_of(self, clip: Samples) -> str:
        """What is said in a clip (S,) at RATE."""
        return " ".join(without_notes("".join(one["text"] for one in self._heard(clip, words=False))).split())

    def _heard(self, sound: Samples, words: bool = True) -> list[dict[str, Any]]:
        heard = resample(torch.from_numpy(sound), RATE, HEARD).numpy()
        model = self.model  # which draws while it is built
        torch.manual_seed(0)  # the fallback to higher temperatures draws
        threads = torch.get_num_threads()
        told: Any = model.transcribe(
            heard,
            language=self.language or self.heard_language,
            temperature=TEMPERATURES,
            condition_on_previous_text=False,
            word_timestamps=words,
            fp16=self.device.type == "cuda",
            verbose=None,
        )
        torch.set_num_threads(threads)  # numba, which looks for the times of words, takes all cores for all of OpenMP
        self.heard_language = self.heard_language or told["language"]
        return told["segments"]


def _fits(heads: bytes, model: Any) -> bool:
    """Whether a table of heads, as openai-whisper keeps it, is one of this network; of another kept under the same
    name all late heads tell times."""
    mask = gzip.decompress(base64.b85decode(heads))
    return len(mask) == model.dims.n_text_layer * model.dims.n_text_head


def known_language(language: str | None) -> str | None:
    """The code of a language that Whisper knows, from its code or its name. Raises DifftoolError 2 for others."""
    if language is None:
        return None
    from whisper.tokenizer import LANGUAGES, TO_LANGUAGE_CODE

    return code_of(language) or pick("language", language.strip().lower(), dict.fromkeys(LANGUAGES) | TO_LANGUAGE_CODE)


def code_of(language: str | None) -> str | None:
    """The code of a language, from its name or its tag (French, fra, fr-CA), or None where it is none that Whisper
    knows."""
    from whisper.tokenizer import LANGUAGES, TO_LANGUAGE_CODE

    word = re.split("[-_]", (language or "").strip().lower())[0]
    word = THREE_LETTERS.get(word, word)
    return word if word in LANGUAGES else TO_LANGUAGE_CODE.get(word)


def known_size(size: str) -> str:
    """What the store calls a size of Whisper; a .pt file as it stands. Raises DifftoolError 2 for others."""
    if size.endswith(".pt"):
        return size
    sizes = {name.removeprefix("whisper-"): name for name in store.entries() if name.startswith("whisper-")}
    return pick("size of Whisper", size, sizes)


def found(size: str, models: Path | None = None) -> tuple[Path, str, bytes | None]:
    """The file of a size of Whisper, its hash, and which of its heads tell times. Raises as Whisper."""
    import whisper

    if size.endswith(".pt"):
        path = expanded(size)
        return path, digest_of(path), None
    entry = store.entry(known_size(size))
    places = [store.home(models) / entry.name / entry.files[0], expanded("~/.cache/whisper") / entry.files[0]]
    if not (path := next((place for place in places if place.is_file()), None)):
        what = f"Whisper {size} is not here"
        hint = f"run difftool models pull {entry.name}, give a --transcript, or cut without words: --slice vad"
        raise DifftoolError(Exit.FILE, what, hint)
    return path, digest_of(path), whisper._ALIGNMENT_HEADS.get(size)


def over_speech(segments: Sequence[Segment], spans: Sequence[Span]) -> tuple[list[Segment], str | None]:
    """The segments in which somebody speaks, and a warning that tells of the others: what was dreamt up, or is meant
    to be read only."""
    kept, silent = [], []
    for segment in segments:
        (kept if _spoken_share(segment, spans) >= LEAST_SHARE else silent).append(segment)
    if not silent:
        return kept, None
    texts = "; ".join(segment.text for segment in silent[:3]) + ("; ..." if silent[3:] else "")
    return kept, f"left out {counted(len(silent), 'segment')} where nobody speaks: {texts}"


def _spoken_share(segment: Segment, spans: Sequence[Span]) -> float:
    """The share of a segment in which somebody speaks; of a moment, by what is around it."""
    start, end = min(segment.start, segment.end - MOMENT), max(segment.end, segment.start + MOMENT)
    low, high = (
        bisect_left(spans, start, key=lambda span: span.end),
        bisect_left(spans, end, key=lambda span: span.start),
    )
    spoken = sum(min(span.end, end) - max(span.start, start) for span in spans[low:high])
    return spoken / (end - start)


def portions(spans: Sequence[Span]) -> list[Span]:
    """Stretches of at most PORTION seconds of speech that have no GAP in them, with MARGIN around each where there is
    room."""
    made: list[Span] = []
    for span in spans:
        if made and span.start - made[-1].end < GAP and span.end - made[-1].start <= PORTION:
            made[-1] = Span(made[-1].start, span.end)
        else:
            made.append(span)
    if not made:
        return []
    gaps = [made[0].start * 2, *(b.start - a.end for a, b in pairwise(made)), 2 * MARGIN]
    return [
        Span(one.start - min(MARGIN, before / 2), one.end + min(MARGIN, after / 2))
        for one, (before, after) in zip(made, pairwise(gaps), strict=True)
    ]


def plain(text: str) -> str:
    """A text as far as it can be heard: without case and signs."""
    text = unicodedata.normalize("NFC", text).lower()
    kept = (char for char in text if char.isalnum() or char.isspace() or unicodedata.category(char)[0] == "M")
    return " ".join("".join(kept).split())


def error_rate(heard: str, text: str) -> float:
    """Characters that differ, over those of the text."""
    from rapidfuzz.distance import Levenshtein

    a, b = plain(heard), plain(text)
    return Levenshtein.distance(a, b) / max(1, len(b))
