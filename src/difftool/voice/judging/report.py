"""Judgements as lines for people, as JSON, and as an offline HTML page that plays every recording."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ... import html
from ...audio.files import MP3, RATE, write_short
from ...files import versions
from ...limits import counted
from ..comparison import Comparison
from ..prep.decode import decode
from ..prep.report import outline
from ..prep.stages import wave
from .judge import Identity, Judged, Judgement, Words
from .likeness import spread
from .opinions import JUDGES

MOST_SECONDS = 600
"""Seconds of a recording that the page plays."""
PACKAGES = ("torch", "openai-whisper", "silero-vad", "pyloudnorm")
VERDICTS = {
    "yes": "sounds like {voice}",
    "no": "does not sound like {voice}",
    "unsure": "may or may not be {voice}",
}
STYLES = {"yes": "yes", "no": "no", "unsure": "soft"}
"""A class of the page for each verdict."""


class Card(NamedTuple):
    """A recording as the page shows it."""

    name: str
    length: str
    sound: Path
    width: int
    outline: str
    shortened: str | None
    verdict: str | None
    style: str | None
    words: list[tuple[str, str]]
    """(kind, text): missing, added or right"""
    rows: list[tuple[str, str]]


def rows_of(judgement: Judgement) -> Iterator[tuple[str, str]]:
    """Each figure of a recording with its label."""
    if words := judgement.words:
        yield "words", _words(words)
    if identity := judgement.identity:
        yield "voice", _identity(identity)
    if pitch := judgement.pitch:
        yield "pitch", f"{pitch.median:.0f} Hz ({pitch.low:.0f} to {pitch.high:.0f})"
    if judgement.words_per_second is not None:
        yield "pace", f"{judgement.words_per_second:g} words/s"
    loud = "too short or too quiet" if judgement.loudness is None else f"{judgement.loudness:g} LUFS"
    yield "loudness", f"{loud}, true peak {judgement.peak:g} dB"
    yield "noise", f"floor {judgement.noise_floor:g} dB, SNR {judgement.snr:g} dB"
    faults = ", ".join(f"{name} ({seconds:g} s)" for name, seconds in judgement.faults.items())
    yield "faults", faults or "none"
    for name, score in judgement.opinions.items():
        yield name, f"{score:g} of 5"


def _words(words: Words) -> str:
    by = f"Whisper {words.model}"
    if (found := words.comparison) is None:
        return f"heard by {by}: {words.heard or '(nothing)'}"
    rates = f"WER {100 * found.word_error_rate:.1f} %, CER {100 * found.character_error_rate:.1f} %"
    missing = "word" if found.missing_end == 1 else counted(found.missing_end, "word")
    end = f", the last {missing} missing" if found.missing_end else ""
    return f"{rates}, longest run of wrong words {found.longest_run}{end} ({by})"


def _identity(identity: Identity) -> str:
    scale = identity.scale
    parts = [f"likeness {identity.likeness:.2f} to {scale.voice}"]
    if own := spread(scale.own):
        parts.append(f"its own clips {own[0]:.2f} to {max(scale.own):.2f}")
    if scale.others:
        nearest = max(scale.others, key=lambda name: scale.others[name])
        parts.append(f"nearest other voice {nearest} {scale.others[nearest]:.2f}")
    return ", ".join(parts)


def verdict_of(judgement: Judgement) -> str | None:
    """Whose voice it is, in words."""
    if (identity := judgement.identity) is None:
        return None
    return VERDICTS[identity.verdict].format(voice=identity.scale.voice)


def heading(judgement: Judgement) -> str:
    """The first line on a recording, whatever is in its name."""
    verdict = verdict_of(judgement)
    name = " ".join(str(judgement.path).split("\n"))
    length = f"{judgement.speech:.1f} s of speech in {judgement.seconds:.1f} s"
    return f"{name}: {length}" + (f", {verdict}" if verdict else "")


def as_json(judgement: Judgement) -> dict[str, object]:
    """The figures of a recording for --json."""
    pitch, words, identity = judgement.pitch, judgement.words, judgement.identity
    return {
        "path": str(judgement.path),
        "seconds": judgement.seconds,
        "speech_seconds": judgement.speech,
        "words": _words_json(words) if words else None,
        "identity": _identity_json(identity) if identity else None,
        "pitch": pitch._asdict() if pitch else None,
        "words_per_second": judgement.words_per_second,
        "loudness": judgement.loudness,
        "true_peak": judgement.peak,
        "noise_floor": judgement.noise_floor,
        "snr": judgement.snr,
        "faults": judgement.faults,
        "opinions": judgement.opinions,
    }


def _words_json(words: Words) -> dict[str, object]:
    made: dict[str, object] = {"model": words.model, "heard": words.heard, "text": words.text}
    if found := words.comparison:
        rates = {"word_error_rate": found.word_error_rate, "character_error_rate": found.character_error_rate}
        made |= {name: round(value, 4) for name, value in rates.items()}
        made |= {"longest_run": found.longest_run, "missing_end": found.missing_end}
    return made


def _identity_json(identity: Identity) -> dict[str, object]:
    scale, own = identity.scale, spread(identity.scale.own)
    return {
        "voice": scale.voice,
        "likeness": identity.likeness,
        "verdict": identity.verdict,
        "own": {"lowest": own[0], "median": own[1], "highest": max(scale.own)} if own else None,
        "others": scale.others,
    }


def write(path: Path, judged: Judged) -> None:
    """Writes the page. Raises DifftoolError 4 for a recording that has gone since it was judged."""
    others = {JUDGES[name][0] for judgement in judged.judgements for name in judgement.opinions}
    with tempfile.TemporaryDirectory() as folder:
        cards = [_card(judgement, Path(folder) / f"{k}.mp3") for k, judgement in enumerate(judged.judgements)]
        html.write(
            path,
            "judged.html",
            title=f"{counted(len(cards), 'recording')} judged",
            subtitle="Words are those that Whisper hears; likeness is the cosine of two voiceprints.",
            failed=[error.message for error in judged.failed.values()],
            cards=cards,
            versions=", ".join(f"{name} {version}" for name, version in versions(*PACKAGES, *sorted(others)).items()),
        )


def _card(judgement: Judgement, mp3: Path) -> Card:
    sound = decode(judgement.path, mp3.with_suffix(".f32")).samples  # as it was judged
    played = sound[: MOST_SECONDS * RATE]
    write_short(mp3, played, RATE, **MP3)
    points = wave(played)
    words = judgement.words
    comparison = words.comparison if words else None
    return Card(
        str(judgement.path),
        f"{judgement.seconds:.1f} s",
        mp3,
        len(points) - 1,
        outline(points),
        f"plays the first {MOST_SECONDS // 60} minutes" if len(played) < len(sound) else None,
        verdict_of(judgement),
        STYLES[judgement.identity.verdict] if judgement.identity else None,
        list(_marked(comparison)) if comparison else [],
        list(rows_of(judgement)),
    )


def _marked(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """The text, with what is missing and what was heard instead."""
    for step in comparison.steps:
        if step.kind == "equal":
            yield "right", " ".join(step.text)
            continue
        if step.text:
            yield "missing", " ".join(step.text)
        if step.heard:
            yield "added", " ".join(step.heard)


def partial(judged: Judged) -> str:
    """The message on recordings that could not be judged."""
    total = len(judged.judgements) + len(judged.failed)
    return f"cannot judge {len(judged.failed)} of {counted(total, 'recording')}: " + "; ".join(
        error.message for error in judged.failed.values()
    )
