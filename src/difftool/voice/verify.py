"""Speech that checks itself: Whisper hears each part, and where it is not right another candidate is tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from ..audio.files import Samples
from ..audio.joining import from_bytes, to_bytes
from ..errors import DifftoolError, Exit
from ..files import expanded
from ..progress import timed
from .comparison import Comparison, compare
from .engines import Speaker, Spoken, Steps, finished

if TYPE_CHECKING:
    from .prep.transcribe import Whisper
    from .settings import Settings

LANGUAGE = "en"
"""Of the texts; detected, it would depend on the part that is heard first."""


class Check(TypedDict):
    """How a part was verified, as stored in the manifest of a reading."""

    right: bool
    tries: int
    rank: int
    """The place of the accepted sample among those of its attempt, 0 for the best."""
    sample: int
    last_attempt: int
    """The last seed that was tried; the accepted one is that of the part."""
    errors: int
    wer: float
    heard: str


class Said(NamedTuple):
    """A part that was spoken."""

    candidates: list[Spoken]
    attempt: int
    check: Check | None = None


@dataclass(frozen=True)
class Verifier:
    """Hears speech and compares it with its text."""

    whisper: Whisper
    tries: int
    """Candidates of a part that are tried at most."""
    keep: bool
    """Whether Whisper stays in memory."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Time of its stage."""

    def __call__(self, text: str, sound: Samples) -> tuple[Comparison, str]:
        """The comparison, and what was heard in the sound as it will be stored."""
        with timed(self.seconds, "verify"):
            heard = self.whisper.text_of(from_bytes(to_bytes(sound)))
            if not self.keep:
                self.whisper.release()
            return compare(text, heard), heard


def verifier_of(settings: Settings) -> Verifier:
    """What `--verify` asks for. Raises DifftoolError 2 for an unknown size of Whisper, 4 where it is not installed."""
    from .hearing import listener

    models_dir = None if settings.models_dir is None else expanded(settings.models_dir)
    device, _ = settings.machine()
    otherwise = "name another size with --whisper"
    whisper = listener(settings.whisper, device, LANGUAGE, models_dir, otherwise=otherwise)
    return Verifier(whisper, settings.tries, keep=not settings.low_vram)


def verified(
    speaker: Speaker, verifier: Verifier, text: str, seed_of: Callable[[int], int], attempt: int
) -> Steps[Said]:
    """Speaks a part until it is right: its candidates from the best on, those that were drawn already first, then those
    of further attempts. If none is right, the one with the fewest errors is taken. Yields at the steps of the first."""
    candidates = yield from speaker.say(text, seed_of(attempt))
    waiting = _ranked(speaker, candidates)
    every: list[tuple[Said, Check]] = []
    while len(every) < verifier.tries and not (every and every[-1][1]["right"]):
        if not waiting:
            attempt += 1
            candidates = finished(speaker.say(text, seed_of(attempt)))
            waiting = _ranked(speaker, candidates)
        rank, sample = waiting.pop(0)
        tried = led_by(speaker, candidates, sample)
        check = check_of(*verifier(text, tried[0].sound), rank, sample)
        every.append((Said(tried, attempt, check), check))
    best, check = min(every, key=lambda tried: (not tried[1]["right"], tried[1]["errors"]))
    check.update(tries=len(every), last_attempt=attempt)
    return best


def _ranked(speaker: Speaker, candidates: Sequence[Spoken]) -> list[tuple[int, int]]:
    """(rank, sample) of all that was drawn for a text."""
    return [*enumerate([*(spoken.sample for spoken in candidates), *speaker.others])]


def reverified(verifier: Verifier, text: str, sound: Samples, sample: int, attempt: int) -> Check | None:
    """The check of the best candidate of a part that was spoken before; None where it is not right."""
    words, heard = verifier(text, sound)
    if not words.right:
        return None
    return check_of(words, heard, 0, sample, attempt)


def check_of(words: Comparison, heard: str, rank: int, sample: int, attempt: int = 0) -> Check:
    """The check of a sample that was heard."""
    return {
        "right": words.right,
        "tries": 1,
        "rank": rank,
        "sample": sample,
        "last_attempt": attempt,
        "errors": words.errors,
        "wer": round(words.word_error_rate, 4),
        "heard": heard,
    }


def led_by(speaker: Speaker, candidates: Sequence[Spoken], sample: int) -> list[Spoken]:
    """The candidates of the text said last with this sample as the first, and the others in their order. Raises
    DifftoolError 4 where there is no such sample."""
    first = next((spoken for spoken in candidates if spoken.sample == sample), None)
    if first is None:
        if sample not in speaker.others:
            message = f"the accepted sample {sample} was not drawn"
            raise DifftoolError(Exit.FILE, message, "the manifest is damaged, or belongs to other settings")
        first = speaker.make(sample)
    rest = [spoken for spoken in candidates if spoken.sample != sample]
    return [first, *rest][: len(candidates)]
