"""What a clip must be like, and the reasons for which one is left out."""

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
    """That a figure lies below or above a bound; one that is not known does neither."""

    figure: str
    below: float | None = None
    above: float | None = None

    def holds(self, figures: Mapping[str, float | None]) -> bool:
        value = figures.get(self.figure)
        if value is None:
            return False
        return value < self.below if self.below is not None else self.above is not None and value > self.above

    def __str__(self) -> str:
        return f"below {self.below:g}" if self.below is not None else f"above {self.above:g}"


class Gate(NamedTuple):
    """A reason to leave a clip out: any of its signs, of which each is one bound or several that hold together."""

    advice: str
    """What whoever records can do"""
    signs: tuple[tuple[Bound, ...], ...]

    def found(self, figures: Mapping[str, float | None]) -> tuple[Bound, ...]:
        """The first of its signs that a clip shows."""
        return next((sign for sign in self.signs if all(bound.holds(figures) for bound in sign)), ())


SNR = 18.0
GATES = {
    "damaged": Gate("copy the recording again from where it was made", ((Bound("holes", above=0),),)),
    "reverb": Gate(
        "record in a small room with curtains, carpet or clothes, near the microphone", ((Bound("decay", below=115),),)
    ),
    "music": Gate(
        "switch music and humming machines off",
        ((Bound("tones", above=0.7),), (Bound("snr", below=SNR), Bound("hum", above=6.5))),
    ),
    "phone": Gate(
        "record with a microphone of its own, not over a telephone or a call", ((Bound("treble", below=-26.5),),)
    ),
    "noise": Gate("record where it is quiet, and nearer to the microphone", ((Bound("snr", below=SNR),),)),
    "clipping": Gate(
        "turn the input level down until loud words stay below the top",
        ((Bound("clipped", above=0.05),), (Bound("crowded", above=0.42),)),
    ),
    "coarse": Gate(
        "record with 16 bits or more, and louder", ((Bound("levels", below=COARSE),), (Bound("grain", above=FAINT),))
    ),
    "no_speech": Gate("cut away what is not speech", ((Bound("speech", below=0.6),),)),
    "too_short": Gate("speak in whole sentences, without long pauses inside them", ((Bound("seconds", below=LEAST),),)),
    "too_long": Gate(
        "make a pause of a quarter of a second after each sentence", ((Bound("seconds", above=MOST_SECONDS),),)
    ),
    "too_much_text": Gate("make a pause after each sentence", ((Bound("characters", above=MOST_TEXT),),)),
    "not_understood": Gate("speak clearly, in one language", ((Bound("avg_logprob", below=-1.0),),)),
    "no_words": Gate("cut away what is not speech", ((Bound("no_speech_prob", above=0.6),),)),
    "repetitive": Gate("cut away what is not speech", ((Bound("compression_ratio", above=2.4),),)),
    "too_slow": Gate("speak a little faster, or cut pauses away", ((Bound("characters_per_second", below=6),),)),
    "too_fast": Gate("speak a little slower", ((Bound("characters_per_second", above=25),),)),
    "filler": Gate("leave out um and uh, or read a text aloud", ((Bound("fillers", above=0),),)),
    "stutter": Gate("say a sentence again from its beginning when you trip over it", ((Bound("stutters", above=0),),)),
    "misheard": Gate("speak clearly, or take a larger --whisper", ((Bound("character_error_rate", above=0.10),),)),
    "duplicate": Gate("give each recording once", ((Bound("duplicate", above=0),),)),
}
"""The reasons, the one that explains most first: where several hold, the first is the clip's own."""
SILENCE = "silence"
"""The reason for a stretch in which nobody speaks and nothing is to be heard."""
UNHEARD = "not_transcribed"
"""The reason for speech that the transcript does not have."""

SURELY = frozenset(["uh", "uhh", "uhm", "umm", "erm", "hm", "hmm", "mmm", "äh", "ähm", "öh", "öhm", "euh", "ehm"])
"""Fillers that are no words anywhere."""
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
"""Words that are said twice in good speech."""
ANY_TWICE = frozenset().union(*TWICE.values())
DOUBLING = re.compile("zh|yue|ja|ko|th|lo|km|my|vi|id|ms|jw|su|tl|hi|ur|bn|ta|te|ml|mr|gu|pa|ne|si|tr|az|hy|sw|ht")
"""Languages in which doubling a word is grammar."""
SHARED = re.compile("and|or|to|und|oder|bis|sowie|en|of|tot|och|eller|og|y|o|e|ou|et")
"""What follows a word that leaves its end to a later one: pre- and post-war."""


def reasons(known: Mapping[str, float | None], allowed: Sequence[str] = ()) -> list[str]:
    """The gates that a clip does not pass, from its figures: those of the sound, the scores of its transcript, and
    those that `of_text` counts. A figure that is not known fails no gate."""
    return [name for name, gate in GATES.items() if name not in allowed and gate.found(known)]


def known(
    figures: Figures, scores: Mapping[str, float], words: Sequence[Word], language: str | None = None
) -> dict[str, float | None]:
    """All figures of a clip."""
    return {**figures._asdict(), **scores, **(of_text(words, figures.seconds, language) if words else {})}


def of_text(words: Sequence[Word], seconds: float, language: str | None = None) -> dict[str, float | None]:
    """What can be counted in a clip's text; in a language that is not known only what is no word in any."""
    said = [word for each in words if (word := plain(each.text))]
    text = joined(words)
    letters = sum(each.isalpha() for each in text)
    cased = sum(each.lower() != each.upper() for each in text)  # of Chinese, say, a second has fewer
    broken = sum(
        bool(re.search(r"\w-$", word.text)) and not SHARED.fullmatch(plain(after.text))
        for word, after in itertools.pairwise(words)
    )
    twice = TWICE.get(language or "", ANY_TWICE)
    again = sum(a == b and a not in twice and not a.isdecimal() for a, b in itertools.pairwise(said))
    if DOUBLING.fullmatch(language or ""):
        again = 0
    fillers = FILLERS.get(language or "", SURELY)
    return {
        "characters": len(text),
        "characters_per_second": round(len(text) / max(seconds, 1e-3), 1) if cased > letters / 2 else None,
        "fillers": sum(word in fillers for word in said),
        "stutters": again + broken,
    }
