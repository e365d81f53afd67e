"""Quality gates for clips: bounds on figures, and the reasons for which a clip is left out."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .cut import LEAST, MOST_SECONDS, MOST_TEXT
from .decode import COARSE
from .measure import FAINT, Figures
from .transcribe import plain
from .words import Word, joined


class Bound(NamedTuple):
    """A condition that a figure lies below or above a bound; an unknown figure does not meet it."""

    figure: str
    below: float | None = None
    above: float | None = None

    def holds(self, figures: Mapping[str, float | None]) -> bool:
        value = figures.get(self.figure)
        if value is None:
            return False
        if self.below is not None:
            return value < self.below
        return self.above is not None and value > self.above

    def __str__(self) -> str:
        return f"below {self.below:g}" if self.below is not None else f"above {self.above:g}"


class Gate(NamedTuple):
    """A reason to leave a clip out: any of its signs; a sign is one bound, or several that hold together."""

    advice: str
    """How to record better"""
    signs: tuple[tuple[Bound, ...], ...]

    def found(self, figures: Mapping[str, float | None]) -> tuple[Bound, ...]:
        """The first of its signs that applies to a clip."""
        for sign in self.signs:
            if all(bound.holds(figures) for bound in sign):
                return sign
        return ()


SNR = 18.0
GATES = {
    "damaged": Gate("copy the recording again from the original device", ((Bound("holes", above=0),),)),
    "reverb": Gate(
        "record in a small room with curtains, carpet or clothes, near the microphone", ((Bound("decay", below=115),),)
    ),
    "music": Gate(
        "turn off music and humming machines",
        ((Bound("tones", above=0.7),), (Bound("snr", below=SNR), Bound("hum", above=6.5))),
    ),
    "phone": Gate("record with a microphone, not over a phone or video call", ((Bound("treble", below=-26.5),),)),
    "noise": Gate("record in a quiet place, closer to the microphone", ((Bound("snr", below=SNR),),)),
    "clipping": Gate(
        "lower the input level until loud words no longer clip",
        ((Bound("clipped", above=0.05),), (Bound("crowded", above=0.42),)),
    ),
    "coarse": Gate(
        "record with at least 16 bits, and at a higher level",
        ((Bound("levels", below=COARSE),), (Bound("grain", above=FAINT),)),
    ),
    "no_speech": Gate("remove everything that is not speech", ((Bound("speech", below=0.6),),)),
    "too_short": Gate("speak in whole sentences, without long pauses", ((Bound("seconds", below=LEAST),),)),
    "too_long": Gate("pause for a quarter of a second after each sentence", ((Bound("seconds", above=MOST_SECONDS),),)),
    "too_much_text": Gate("pause after each sentence", ((Bound("characters", above=MOST_TEXT),),)),
    "not_understood": Gate("speak clearly, in one language", ((Bound("avg_logprob", below=-1.0),),)),
    "no_words": Gate("remove everything that is not speech", ((Bound("no_speech_prob", above=0.6),),)),
    "repetitive": Gate("remove everything that is not speech", ((Bound("compression_ratio", above=2.4),),)),
    "too_slow": Gate("speak a little faster, or remove pauses", ((Bound("characters_per_second", below=6),),)),
    "too_fast": Gate("speak a little slower", ((Bound("characters_per_second", above=25),),)),
    "filler": Gate("avoid um and uh, or read a text aloud", ((Bound("fillers", above=0),),)),
    "stutter": Gate("after a slip, repeat the whole sentence", ((Bound("stutters", above=0),),)),
    "misheard": Gate("speak clearly, or use a larger --whisper model", ((Bound("character_error_rate", above=0.10),),)),
    "other_speaker": Gate("record one person alone", ((Bound("other_speaker", above=0),),)),
    "duplicate": Gate("use each recording once", ((Bound("duplicate", above=0),),)),
}
"""The reasons in order of precedence: where several apply, the first is reported as the reason of the clip."""
SILENCE = "silence"
"""The reason for a stretch of silence."""
UNHEARD = "not_transcribed"
"""The reason for speech that is missing from the transcript."""

SURELY = frozenset(["uh", "uhh", "uhm", "umm", "erm", "hm", "hmm", "mmm", "äh", "ähm", "öh", "öhm", "euh", "ehm"])
"""Fillers that are not words in any language."""
FILLERS = {
    language: SURELY | frozenset(words.split())
    for language, words in {
        "en": "um er ah eh mm",
        "de": "ähh mhm",
        "nl": "eh",
        "fr": "heu",
        "es": "em",
        "it": "mm",
        "pt": "hã ahn",
        "pl": "yyy eee",
        "sv": "öhh",
        "da": "øh øhm",
        "no": "øh øhm",
        "fi": "öö ööö",
        "ru": "э ээ эээ эм мм ммм",
        "uk": "е-е ммм",
        "tr": "ııı eee",
        "ja": "えー えーと えっと ええと あのー うーん",
        "zh": "呃 嗯",
        "ko": "음 어",
    }.items()
}
"""By language: "um" and "er" are words in German and in Dutch."""
TWICE = {
    language: frozenset(words.split())
    for language, words in {
        "en": "very so no yes had that really ha bye please come there again more many la now is",
        "de": "sehr so nein ja die der das sie den ganz viel viele nie mehr bitte komm ha la immer",
        "nl": "heel nee ja die dat zo veel ze heel bitte kom ha la",
        "fr": "très si non oui nous vous bien plus trop tout jamais ha la",
        "es": "muy no sí ya más nunca casi ha la que",
        "it": "molto no sì così piano via poco ha la ciao",
        "pt": "muito não sim já mais nunca ha la que",
    }.items()
}
"""Words that are doubled in normal speech."""
ANY_TWICE = frozenset().union(*TWICE.values())
DOUBLING = re.compile("zh|yue|ja|ko|th|lo|km|my|vi|id|ms|jw|su|tl|hi|ur|bn|ta|te|ml|mr|gu|pa|ne|si|tr|az|hy|sw|ht")
"""Languages in which doubling a word is grammar."""
SHARED = re.compile("and|or|to|und|oder|bis|sowie|en|of|tot|och|eller|og|y|o|e|ou|et")
"""Words after a hanging hyphen, as in: pre- and post-war."""


def reasons(known: Mapping[str, float | None], allowed: Sequence[str] = ()) -> list[str]:
    """The gates that a clip does not pass, by its figures: those of the sound, the scores of its transcript, and the
    counts of `of_text`. An unknown figure fails no gate."""
    return [name for name, gate in GATES.items() if name not in allowed and gate.found(known)]


def known(
    figures: Figures, scores: Mapping[str, float], words: Sequence[Word], language: str | None = None
) -> dict[str, float | None]:
    """All figures of a clip."""
    counts = of_text(words, figures.seconds, language) if words else {}
    return {**figures._asdict(), **scores, **counts}


def of_text(words: Sequence[Word], seconds: float, language: str | None = None) -> dict[str, float | None]:
    """Counts in a clip's text; in an unknown language only those that hold in every language."""
    spoken = [word for each in words if (word := plain(each.text))]
    text = joined(words)
    letters = sum(char.isalpha() for char in text)
    cased = sum(char.lower() != char.upper() for char in text)  # Chinese, say, has fewer characters a second
    pairs = [(word, after) for word, after in itertools.pairwise(words) if re.search(r"\w-$", word.text)]
    broken = sum(not SHARED.fullmatch(plain(after.text)) for _, after in pairs)
    twice = TWICE.get(language or "", ANY_TWICE)
    repeated = [a for a, b in itertools.pairwise(spoken) if a == b]
    again = sum(word not in twice and not word.isdecimal() for word in repeated)
    if DOUBLING.fullmatch(language or ""):
        again = 0
    fillers = FILLERS.get(language or "", SURELY)
    rate = round(len(text) / max(seconds, 1e-3), 1)
    return {
        "characters": len(text),
        "characters_per_second": rate if cased > letters / 2 else None,
        "fillers": sum(word in fillers for word in spoken),
        "stutters": again + broken,
    }
