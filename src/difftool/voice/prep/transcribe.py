"""What is said in a recording, and when: by Whisper, or from a transcript that is there already."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torchaudio.functional import resample

from ... import store
from ...errors import DifftoolError, Exit, pick
from ...files import expanded, unpickled
from ..library import digest_of
from ..sound import RATE, Samples
from .activity import HEARD, Span
from .decode import Stored

PORTION, GAP = 240.0, 5.0
"""Seconds that Whisper is given at a time, and of silence that it is not given, for it would dream up words."""
MARGIN = 0.3
"""Seconds around a portion, but no more than half of what is silent there."""
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
SUFFIXES = (".srt", ".vtt", ".json")


class Word(NamedTuple):
    """A word and when it is said, in seconds from the beginning of the recording."""

    start: float
    end: float
    text: str
    probability: float | None


class Segment(NamedTuple):
    """What was heard in one go."""

    words: tuple[Word, ...]
    exact: bool
    """Whether the times are those of words, and not only of the segment."""
    scores: dict[str, float]
    """Whisper's own: avg_logprob, compression_ratio, no_speech_prob, temperature; of a transcript none."""

    @property
    def start(self) -> float:
        return self.words[0].start

    @property
    def end(self) -> float:
        return self.words[-1].end

    @property
    def text(self) -> str:
        return joined(self.words)


class Transcriber(Protocol):
    """Anything that knows what is said in a recording."""

    key: str
    """What its answer depends on, besides the recording."""

    def __call__(self, samples: Stored, spans: Sequence[Span]) -> Iterator[Segment]:
        """The segments of a sound (S,) at RATE, in order; `spans` is where somebody speaks."""
        ...


def joined(words: Sequence[Word]) -> str:
    return " ".join(word.text for word in words)


class Transcript:
    """A Transcriber that reads a file: SRT, VTT, or the JSON of Whisper. Raises DifftoolError 2 for another kind, 4
    for one that cannot be read or tells no times."""

    def __init__(self, path: Path) -> None:
        self.path = expanded(path)
        if self.path.suffix.lower() not in SUFFIXES:
            what = f"a transcript is {', '.join(SUFFIXES)}, and {path} ends otherwise"
            raise DifftoolError(Exit.USAGE, what, "take the .srt, .vtt or .json that Whisper writes")
        self.segments = _read(self.path)
        self.key = f"transcript {digest_of(self.path)}"

    def __call__(self, samples: Stored, spans: Sequence[Span]) -> Iterator[Segment]:
        end = len(samples) / RATE
        beyond = [segment for segment in self.segments if segment.end > end + 1]
        if beyond and len(beyond) > len(self.segments) / 2:
            what = f"{self.path} goes on to {beyond[-1].end:.0f} s, and the recording has {end:.0f}"
            raise DifftoolError(Exit.FILE, what, "name the transcript of this recording")
        yield from (segment for segment in self.segments if segment.end <= end + 1)


def _read(path: Path) -> list[Segment]:
    hint = "take the .srt, .vtt or .json that Whisper writes"
    try:
        text = path.read_text("utf-8-sig")
        found = _from_json(text) if path.suffix.lower() == ".json" else _from_cues(text)
    except OSError as error:
        raise DifftoolError(Exit.FILE, f"cannot read {path}: {error.strerror}", "name a transcript") from error
    except Exception as error:  # foreign text trips over its parsers in any way there is
        raise DifftoolError(Exit.FILE, f"{path} is no transcript that can be read", hint) from error
    if not found:
        raise DifftoolError(Exit.FILE, f"{path} tells of no words", hint)
    return sorted(found, key=lambda segment: segment.start)


def _from_cues(text: str) -> list[Segment]:
    from pysubs2 import SSAFile

    cues = [(cue.start / 1000, cue.end / 1000, cue.plaintext) for cue in SSAFile.from_string(text) if cue.is_text]
    return [segment for cue in cues if (segment := _guessed(*cue))]


def _from_json(text: str) -> list[Segment]:
    found = []
    for one in json.loads(text)["segments"]:
        words = tuple(
            Word(float(word["start"]), float(word["end"]), str(word["word"]).strip(), word.get("probability"))
            for word in one.get("words", [])
            if str(word["word"]).strip()
        )
        whole = None if words else _guessed(float(one["start"]), float(one["end"]), str(one["text"]))
        if words:
            found.append(Segment(words, True, _scores(one)))
        elif whole:
            found.append(whole._replace(scores=_scores(one)))
        else:
            continue
        if not all(np.isfinite([word.start, word.end]).all() for word in found[-1].words):
            raise ValueError("times are finite")
    return found


def _scores(segment: dict[str, Any]) -> dict[str, float]:
    names = ("avg_logprob", "compression_ratio", "no_speech_prob", "temperature")
    return {name: round(float(segment[name]), 4) for name in names if segment.get(name) is not None}


def _guessed(start: float, end: float, text: str) -> Segment | None:
    """A segment whose words are taken to last as long as they are written."""
    words = text.split()
    if not words or not end > start >= 0:
        return None
    ends = np.cumsum([0, *(len(word) + 1 for word in words)])
    times = start + (end - start) * ends / ends[-1]
    told = zip(times[:-1].tolist(), times[1:].tolist(), words, strict=True)
    return Segment(tuple(Word(a, b, word, None) for a, b, word in told), False, {})


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
            words = tuple(
                Word(
                    round(first / RATE + float(word["start"]), 3),
                    round(first / RATE + float(word["end"]), 3),
                    word["word"].strip(),
                    round(float(word["probability"]), 4),
                )
                for word in one.get("words", [])
                if word["word"].strip()
            )
            if words:
                made.append(Segment(words, True, _scores(one)))
        return made

    def text_of(self, clip: Samples) -> str:
        """What is said in a clip (S,) at RATE."""
        return " ".join(one["text"].strip() for one in self._heard(clip, words=False))

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

    word = language.strip().lower()
    return pick("language", word, {code: code for code in LANGUAGES} | TO_LANGUAGE_CODE)


def found(size: str, models: Path | None = None) -> tuple[Path, str, bytes | None]:
    """The file of a size of Whisper, its hash, and which of its heads tell times. Raises as Whisper."""
    import whisper

    if size.endswith(".pt"):
        path = expanded(size)
        return path, digest_of(path), None
    sizes = {name.removeprefix("whisper-"): name for name in store.entries() if name.startswith("whisper-")}
    entry = store.entry(pick("size of Whisper", size, sizes))
    places = [store.home(models) / entry.name / entry.files[0], expanded("~/.cache/whisper") / entry.files[0]]
    if not (path := next((place for place in places if place.is_file()), None)):
        what = f"Whisper {size} is not here"
        hint = f"run difftool models pull {entry.name}, give a --transcript, or cut without words: --slice vad"
        raise DifftoolError(Exit.FILE, what, hint)
    return path, digest_of(path), whisper._ALIGNMENT_HEADS.get(size)


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
    return " ".join(re.sub(r"[^\w\s]", "", text.lower()).split())


def error_rate(heard: str, text: str) -> float:
    """Characters that differ, over those of the text."""
    from rapidfuzz.distance import Levenshtein

    a, b = plain(heard), plain(text)
    return Levenshtein.distance(a, b) / max(1, len(b))
