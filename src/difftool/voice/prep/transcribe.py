"""Words of a recording with their times: by Whisper, or from an existing transcript."""

from __future__ import annotations

import base64
import gzip
import re
import shlex
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
from .settings import WHISPER, known_size
from .words import Segment, Word, whole

MOMENT = 0.05
"""Minimum seconds of a segment."""
LEAST_SHARE = 0.1
"""Minimum share of a segment with speech."""
PORTION, GAP = 240.0, 5.0
"""Seconds that Whisper transcribes at a time, and of silence that it skips, since it would hallucinate words there."""
MARGIN = 0.3
"""Seconds around a portion, at most half of the silence there."""
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
"""ISO 639-2 codes in file names, and Whisper's codes for them."""
SUFFIXES = (".srt", ".vtt", ".json")


class Transcriber(Protocol):
    """A source of the words of a recording."""

    key: str
    """Everything that its result depends on, besides the recording."""
    heard_language: str | None
    """The code of the spoken language, if it is known; Whisper detects it."""

    def __call__(self, samples: Stored, spans: Sequence[Span]) -> Iterator[Segment]:
        """The segments of a sound (S,) at RATE, in order; `spans` are the stretches with speech."""
        ...


class Transcript:
    """A Transcriber that reads a file: SRT, VTT, or the JSON of Whisper and similar programs. Raises DifftoolError 2
    for another kind, 4 for a file that cannot be read or has no times."""

    def __init__(self, path: Path, language: str | None = None) -> None:
        self.path = expanded(path)
        if self.path.suffix.lower() not in SUFFIXES:
            message = f"a transcript must be one of {', '.join(SUFFIXES)}, not {path}"
            raise DifftoolError(Exit.USAGE, message, "use a .srt, .vtt or .json file written by Whisper")
        self.segments, written, self.warnings = transcripts.read_transcript(self.path)
        self.heard_language = language or code_of(written) or code_of(transcripts.language_in(self.path))
        self.key = f"transcript {digest_of(self.path)} {self.heard_language}"

    def __call__(self, samples: Stored, spans: Sequence[Span]) -> Iterator[Segment]:
        end = len(samples) / RATE
        beyond = [segment for segment in self.segments if segment.end > end + 1]
        if beyond and len(beyond) > len(self.segments) / 2:
            last = beyond[-1].end
            message = f"{self.path} ends at {last:.0f} s, but the recording has only {end:.0f} s"
            raise DifftoolError(Exit.FILE, message, "use the transcript of this recording")
        yield from self.segments


class Whisper:
    """A Transcriber by openai-whisper: one of its sizes, or a .pt file in its format.

    Raises DifftoolError 2 for an unknown size or language, 4 where its file is missing, and on the first use 4 where
    the file is damaged.
    """

    def __init__(self, size: str, device: torch.device, language: str | None = None, models: Path | None = None):
        self.size, self.device, self.language, self.models = size, device, known_language(language), models
        self.path, sha256, self.heads = found(size, models)
        self.key = f"whisper {sha256} {self.language}"
        self.heard_language: str | None = None

    @cached_property
    def model(self) -> Any:
        """The network."""
        import whisper

        again = "use another file, or a size such as base"
        if self.heads:
            again = pull_hint(self.size, self.models)
        checkpoint = unpickled(self.path, "Whisper model", again)
        try:
            model = whisper.Whisper(whisper.model.ModelDimensions(**checkpoint["dims"]))
            model.load_state_dict(checkpoint["model_state_dict"])
        except (KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise DifftoolError(Exit.FILE, f"{self.path} does not contain a Whisper model", again) from error
        if self.heads is not None and _fits(self.heads, model):
            model.set_alignment_heads(self.heads)
        return model.to(self.device).eval()

    def release(self) -> None:
        """Frees the memory of the network, which the next use loads again."""
        self.__dict__.pop("model", None)

    def __call__(self, samples: Stored, spans: Sequence[Span]) -> Iterator[Segment]:
        for portion in portions(spans):
            yield from self.listen(samples, portion)

    def listen(self, samples: Stored, portion: Span) -> list[Segment]:
        """The segments in one of the `portions` of a recording. The language is detected in the first one, if none was
        given: `heard_language` is None before it."""
        first = round(portion.start * RATE)
        offset = first / RATE
        segments = []
        for result in self._transcribed(samples[first : round(portion.end * RATE)]):
            pieces = []
            for word in result.get("words", []):
                start, end = offset + float(word["start"]), offset + float(word["end"])
                probability = round(float(word["probability"]), 4)
                pieces.append(Word(round(start, 3), round(end, 3), word["word"], probability))
            if words := whole(pieces, result["text"]):
                segments.append(Segment(words, True, transcripts.scores(result)))
        return segments

    def text_of(self, clip: Samples) -> str:
        """The text of a clip (S,) at RATE."""
        results = self._transcribed(clip, words=False)
        text = "".join(result["text"] for result in results)
        return " ".join(without_notes(text).split())

    def _transcribed(self, sound: Samples, words: bool = True) -> list[dict[str, Any]]:
        audio = resample(torch.from_numpy(sound), RATE, HEARD).numpy()
        model = self.model  # which draws random numbers while it is built
        torch.manual_seed(0)  # the fallback to higher temperatures samples
        threads = torch.get_num_threads()
        result: Any = model.transcribe(
            audio,
            language=self.language or self.heard_language,
            temperature=TEMPERATURES,
            condition_on_previous_text=False,
            word_timestamps=words,
            fp16=self.device.type == "cuda",
            verbose=None,
        )
        torch.set_num_threads(threads)  # numba, used for word times, sets OpenMP to all cores
        self.heard_language = self.heard_language or result["language"]
        return result["segments"]


def _fits(heads: bytes, model: Any) -> bool:
    """Whether a table of alignment heads of openai-whisper matches this network; for another network under the same
    name all late heads are used."""
    mask = gzip.decompress(base64.b85decode(heads))
    return len(mask) == model.dims.n_text_layer * model.dims.n_text_head


def known_language(language: str | None) -> str | None:
    """The code of a language that Whisper knows, from its code or its name. Raises DifftoolError 2 for others."""
    if language is None:
        return None
    from whisper.tokenizer import LANGUAGES, TO_LANGUAGE_CODE

    known = dict.fromkeys(LANGUAGES) | TO_LANGUAGE_CODE
    return code_of(language) or pick("language", language.strip().lower(), known)


def code_of(language: str | None) -> str | None:
    """The code of a language, from its name or its tag (French, fra, fr-CA), or None where Whisper does not know it."""
    from whisper.tokenizer import LANGUAGES, TO_LANGUAGE_CODE

    word = re.split("[-_]", (language or "").strip().lower())[0]
    word = THREE_LETTERS.get(word, word)
    return word if word in LANGUAGES else TO_LANGUAGE_CODE.get(word)


def pull_hint(size: str, models: Path | None = None) -> str:
    """The hint to install a size of Whisper, in the folder of models where it was looked for."""
    place = f" --models-dir {shlex.quote(str(models))}" if models else ""
    return f"run difftool models pull whisper-{size}{place}"


def found(size: str, models: Path | None = None) -> tuple[Path, str, bytes | None]:
    """The file of a size of Whisper, its hash, and its alignment heads. Raises as Whisper."""
    import whisper

    if size.endswith(".pt"):
        path = expanded(size)
        return path, digest_of(path), None
    entry = store.entry(f"whisper-{known_size(size)}")
    folders = [store.home(models) / entry.name, expanded("~/.cache/whisper")]
    places = [folder / entry.files[0] for folder in folders]
    path = next((place for place in places if place.is_file()), None)
    if not path:
        hint = f"{pull_hint(size, models)}, pass a --transcript, or cut at pauses with --slice vad"
        raise DifftoolError(Exit.FILE, f"Whisper {size} is not installed", hint)
    return path, digest_of(path), whisper._ALIGNMENT_HEADS.get(size)


def installed_size(models_dir: Path | None = None) -> str | None:
    """The size of Whisper to listen with: the default one, else the largest that is installed; None without any."""
    sizes = [name.removeprefix("whisper-") for name in store.entries() if name.startswith("whisper-")]
    for size in (WHISPER, *reversed(sizes)):
        if _is_installed(size, models_dir):
            return size
    return None


def _is_installed(size: str, models_dir: Path | None) -> bool:
    try:
        found(size, models_dir)
    except DifftoolError:
        return False
    return True


def over_speech(segments: Sequence[Segment], spans: Sequence[Span]) -> tuple[list[Segment], str | None]:
    """The segments that contain speech, and a warning about the others, which are hallucinated or not spoken."""
    kept: list[Segment] = []
    silent: list[Segment] = []
    for segment in segments:
        has_speech = _spoken_share(segment, spans) >= LEAST_SHARE
        (kept if has_speech else silent).append(segment)
    if not silent:
        return kept, None
    texts = "; ".join(segment.text for segment in silent[:3])
    more = "; ..." if silent[3:] else ""
    return kept, f"left out {counted(len(silent), 'segment')} without speech: {texts}{more}"


def _spoken_share(segment: Segment, spans: Sequence[Span]) -> float:
    """The share of a segment with speech; a short segment is extended to MOMENT."""
    start, end = min(segment.start, segment.end - MOMENT), max(segment.end, segment.start + MOMENT)
    low = bisect_left(spans, start, key=lambda span: span.end)
    high = bisect_left(spans, end, key=lambda span: span.start)
    overlaps = [min(span.end, end) - max(span.start, start) for span in spans[low:high]]
    return sum(overlaps) / (end - start)


def portions(spans: Sequence[Span]) -> list[Span]:
    """Stretches of at most PORTION seconds of speech without a GAP in them, with MARGIN around each where there is
    room."""
    merged: list[Span] = []
    for span in spans:
        last = merged[-1] if merged else None
        if last and span.start - last.end < GAP and span.end - last.start <= PORTION:
            merged[-1] = Span(last.start, span.end)
        else:
            merged.append(span)
    if not merged:
        return []
    inner = [b.start - a.end for a, b in pairwise(merged)]
    gaps = [merged[0].start * 2, *inner, 2 * MARGIN]
    padded = []
    for span, (before, after) in zip(merged, pairwise(gaps), strict=True):
        start, end = span.start - min(MARGIN, before / 2), span.end + min(MARGIN, after / 2)
        padded.append(Span(start, end))
    return padded


def plain(text: str) -> str:
    """A text as it can be compared with speech: in lower case, without punctuation."""

    def is_heard(char: str) -> bool:
        return char.isalnum() or char.isspace() or unicodedata.category(char)[0] == "M"

    text = unicodedata.normalize("NFC", text).lower()
    return " ".join("".join(filter(is_heard, text)).split())


def error_rate(heard: str, text: str) -> float:
    """Character error rate: edit distance over the length of the text."""
    from rapidfuzz.distance import Levenshtein

    a, b = plain(heard), plain(text)
    return Levenshtein.distance(a, b) / max(1, len(b))
