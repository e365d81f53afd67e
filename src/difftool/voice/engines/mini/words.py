"""A word as phonemes: from the lexicon, from a stem and an ending, from the parts of a compound, letter by letter, or
from the network. The rules are those of misaki, by which the teacher reads."""

from __future__ import annotations

import lzma
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from ....files import load_tensors
from .files import FOLDER, reading

if TYPE_CHECKING:
    from ....nets.mini.letters import LetterNet

SOUNDS = "AIOTWYᵊbdfhijklmnpstuvwzɑɐæɔðʤəɛɜɡɪŋθɹʃʧʊʌʒˈˌᵻ"
"""Phonemes and stress marks, as the network numbers them."""
VOWELS = frozenset("AIOWYiuæɑɔəɛɜɪʊʌᵻ")
CONSONANTS = frozenset("bdfhjklmnpstvwzðŋɡɹʃʒʤʧθ")
LONG = frozenset("AIOWYʤʧ")
"""Phonemes that count twice in the weight of a part of a compound."""
BEFORE_FLAP = frozenset("AIOWYiuæɑəɛɪɹʊʌ")
"""After these, and before -ed or -ing, t becomes a flap."""
CONTRACTED = {"'d": "əd", "'ll": "ᵊl", "'re": "əɹ", "'ve": "əv"}
"""Phonemes of endings that the lexicon does not have with every word."""
LONGEST_NAME = 5
"""Letters of a word in capitals that is spelled rather than looked for among rare words."""
LONGEST = 40
"""Letters that the network sees at once."""


class Following(NamedTuple):
    """What comes after a word."""

    vowel: bool | None = None
    """Whether a vowel; None where a pause follows."""
    to: bool = False


def first_sound(sounds: str, otherwise: bool | None) -> bool | None:
    """Whether a word begins with a vowel."""
    return next((sound in VOWELS for sound in sounds if sound in VOWELS or sound in CONSONANTS), otherwise)


def said(word: str, part: str, following: Following) -> str:
    """The phonemes of a word, as a part of speech, before what follows."""
    if "." in word:
        return _spelled(word)
    for form in (word, word.strip("'")):
        if sounds := _function_word(form, part, following) or _known(form, part, following):
            return sounds
    return _compound(word.strip("'-"), part, following)


@cache
def lexicon() -> tuple[dict[str, str], dict[str, str]]:
    """Common words and rare ones, with their readings. Raises DifftoolError 4 where the file is missing or damaged."""
    with reading():
        text = lzma.decompress((FOLDER / "lexicon.xz").read_bytes()).decode()
        common, rare = (dict(line.split(" ", 1) for line in part.split("\n")) for part in text.split("\n\n"))
    return common, rare


def _function_word(word: str, part: str, following: Following) -> str | None:
    """Words that sound by what surrounds them."""
    small = word.lower()
    if small == "a":
        return "ˈA" if part == "NN" else "ɐ"
    if small == "an":
        return "ɐn"
    if word == "am":
        return "æm" if following.vowel is None else "ɐm"
    if word == "I":
        return "ˌI" if part == "PRP" else "ˈI"
    if small == "to":
        return {None: "tu", False: "tə", True: "tʊ"}[following.vowel]
    if small == "in":
        return "ˈɪn" if following.vowel is None else "ɪn"
    if small == "the":
        return "ði" if following.vowel else "ðə"
    if small == "used":
        return "jˈust" if following.to and part == "VBD" else "jˈuzd"
    return None


# words and endings


def _known(word: str, part: str, following: Following) -> str | None:
    """A word of the lexicon, or one with an ending."""
    form = _small_if_known(word)
    if _is_word(form):
        return _stressed(_entry(form, part, following), word)
    for stem, attached in _stems(form):
        if _is_word(stem):
            sounds = _stressed(_entry(stem, part, following), word)
            return attached(_marked(sounds, "ˌ") if attached is _ing else sounds)
    return None


def _small_if_known(word: str) -> str:
    """A word in small letters, where the lexicon has these with some ending, or where it is too long to be spelled."""
    if word.islower() or _is_common(word) or len(word) < 2:
        return word
    small = word.lower()
    stems = [stem for stem, _ in _stems(small)]
    if word.isupper():
        is_read = len(word) > LONGEST_NAME or (len(word) > 3 and any(map(_is_common, stems)))
    else:
        is_read = word[1:].islower() and not _in_lexicon(word) and any(map(_in_lexicon, stems))
    return small if is_read else word


def _stems(word: str) -> Iterator[tuple[str, Callable[[str], str]]]:
    """What a word may be without its ending, and the function that attaches this again to its phonemes."""
    size = len(word)
    if size > 2 and word.endswith("s"):
        if not word.endswith("ss"):
            yield word[:-1], _s
        if word.endswith("'s") or (size > 4 and word.endswith("es") and not word.endswith("ies")):
            yield word[:-2], _s
        if size > 4 and word.endswith("ies"):
            yield f"{word[:-3]}y", _s
    if size > 3 and word.endswith("d") and not word.endswith("dd"):
        yield word[:-1], _ed
    if size > 4 and word.endswith("ed") and not word.endswith("eed"):
        yield word[:-2], _ed
    if size > 4 and word.endswith("ied"):
        yield f"{word[:-3]}y", _ed
    if size > 4 and word.endswith("ing"):
        if size > 5:
            yield word[:-3], _ing
        yield f"{word[:-3]}e", _ing
        if size > 5 and re.search(r"([bcdgklmnprstvxz])\1ing$|cking$", word):
            yield word[:-4], _ing


def _s(stem: str) -> str:
    if stem[-1] in "ptkfθ":
        return f"{stem}s"
    return f"{stem}ᵻz" if stem[-1] in "szʃʒʧʤ" else f"{stem}z"


def _ed(stem: str) -> str:
    if stem[-1] in "pkfθʃsʧ":
        return f"{stem}t"
    if stem[-1] in "td":
        return f"{_flapped(stem)}ᵻd"
    return f"{stem}d"


def _ing(stem: str) -> str:
    return f"{_flapped(stem)}ɪŋ"


def _flapped(stem: str) -> str:
    return f"{stem[:-1]}T" if stem[-1] == "t" and stem[-2:-1] in BEFORE_FLAP else stem


# the lexicon


def _in(words: dict[str, str], word: str) -> str | None:
    """An entry of small letters also serves a word with a capital, and the other way round."""
    found = words.get(word)
    if found or len(word) < 2:
        return found
    if word.islower():
        return words.get(word.capitalize())
    return words.get(word.lower()) if word == word.capitalize() else None


def _in_lexicon(word: str) -> bool:
    return any(_in(words, word) is not None for words in lexicon())


def _is_common(word: str) -> bool:
    common, _ = lexicon()
    return _in(common, word) is not None or _in(common, word.lower()) is not None


def _is_word(word: str) -> bool:
    """Whether the lexicon has it, or it is spelled: a letter, or all in capitals but perhaps the first."""
    return _in_lexicon(word) or (word.isalpha() and (len(word) == 1 or word[1:].isupper()))


def _entry(word: str, part: str, following: Following) -> str:
    """The phonemes of a word for which `_is_word` holds."""
    common, rare = lexicon()
    is_name = word.isupper() and _in(common, word) is None
    if is_name:
        word = word.lower()
    line = _in(common, word) or ("" if is_name else _in(rare, word)) or ""
    sounds = _reading(line, part, following)
    is_spelled = not sounds or (is_name and len(word) < 3 and "ˈ" not in sounds)
    return _spelled(word) if is_spelled else sounds


def _reading(line: str, part: str, following: Following) -> str:
    """The reading of a part of speech in a line of the lexicon; empty where the word is spelled."""
    default, *others = line.split(" ")
    readings = dict(other.split("=") for other in others)
    if following.vowel is None and "None" in readings:
        return readings["None"]
    return readings.get(part, readings.get(_kind(part), default))


def _kind(part: str) -> str:
    kinds = {"VB": "VERB", "NN": "NOUN", "RB": "ADV", "JJ": "ADJ"}
    return kinds.get(part[:2], part)


# stress


def _stressed(sounds: str, word: str) -> str:
    """A word with a capital is not left without stress, and one in capitals has the strongest."""
    if word.islower():
        return sounds
    if word.upper() != word:
        return _marked(sounds, "ˌ")
    return _marked(sounds if "ˈ" in sounds else sounds.replace("ˌ", "ˈ"), "ˈ")


def _marked(sounds: str, mark: str) -> str:
    """Phonemes with a mark before the first vowel, where they have none at all."""
    if "ˈ" in sounds or "ˌ" in sounds:
        return sounds
    place = next((k for k, sound in enumerate(sounds) if sound in VOWELS), None)
    return sounds if place is None else sounds[:place] + mark + sounds[place:]


def _weaker(sounds: str) -> str:
    """Phonemes with their stress as a secondary one."""
    return sounds.replace("ˌ", "").replace("ˈ", "ˌ") if "ˈ" in sounds else sounds


def _spelled(word: str) -> str:
    """Letter by letter, with the stress on the last."""
    common, _ = lexicon()
    letters = "".join(common[letter.upper()] for letter in word if letter.isalpha())
    return "ˈ".join(_weaker(letters).rsplit("ˌ", 1))


# compounds and unknown words


def _compound(word: str, part: str, following: Following) -> str:
    """Parts between hyphens, each the longest from the right that is known, and an unknown one from the network."""
    pieces = re.split("-+", word)
    said_pieces: list[tuple[str, str]] = []
    while pieces:
        start, sounds = _last(pieces, part, following)
        said_pieces.insert(0, ("-".join(pieces[start:]), sounds))
        following = Following(first_sound(sounds, following.vowel))
        del pieces[start:]
    return _balanced(said_pieces)


def _last(pieces: list[str], part: str, following: Following) -> tuple[int, str]:
    """Where the last known part of a compound begins, and its phonemes."""
    for start in range(len(pieces)):
        form = "-".join(pieces[start:])
        if sounds := _function_word(form, "IN", following) or _known(form, part, following):
            return start, sounds
    return len(pieces) - 1, _joined(pieces[-1], part, following)


def _joined(word: str, part: str, following: Following) -> str:
    """A word with capitals inside or with a rare contraction, or one that is unknown."""
    stem, ending = re.fullmatch(r"(.+?)('(?:s|d|ll|re|ve))?", word).groups()  # pyright: ignore[reportOptionalMemberAccess]
    if ending:
        sounds = _known(stem, part, following) or _joined(stem, part, following)
        return _s(sounds) if ending == "'s" else sounds + CONTRACTED[ending]
    pieces = re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+", word)
    known = [(piece, _known(piece, part, following)) for piece in pieces]
    found = [(piece, sounds) for piece, sounds in known if sounds]
    if len(found) == len(pieces) > 1:
        return _balanced(found)
    return _guessed(word.lower())


def _balanced(pieces: list[tuple[str, str]]) -> str:
    """The phonemes of a compound, where at most half of its parts keep a primary stress."""
    parts = [sounds for _, sounds in pieces]
    strong = sum("ˈ" in sounds for sounds in parts)
    if len(parts) == 2 and len(pieces[0][0]) == 1:
        parts[1] = _weaker(parts[1])
    elif len(parts) > 1 and strong > (len(parts) + 1) // 2:
        lightest = sorted(range(len(parts)), key=lambda k: ("ˈ" in parts[k], _weight(parts[k])))
        for k in lightest[: len(parts) // 2]:
            parts[k] = _weaker(parts[k])
    return "".join(parts)


def _weight(sounds: str) -> int:
    return len(sounds) + sum(sound in LONG for sound in sounds)


@cache
def network() -> LetterNet:
    from ....nets.mini.letters import LetterNet

    net = LetterNet(SOUNDS)
    with reading():
        weights = load_tensors(FOLDER / "letters.safetensors").tensors
        net.load_state_dict({name: weight.float() for name, weight in weights.items()})
    return net.eval()


@cache
def _guessed(word: str) -> str:
    """The phonemes of a word that only the network can say, or its letters where it has no vowel."""
    vowels = "".join(VOWELS)
    sounds = "".join(network().pronounce(re.findall(f".{{1,{LONGEST}}}", word)))
    sounds = re.sub(f"[ˈˌ](?![{vowels}])", "", sounds)
    if not re.search("[aeiouy]", word) or not re.search(f"[{vowels}]", sounds):
        return _spelled(word)
    return sounds if "ˈ" in sounds else _marked(sounds.replace("ˌ", "ˈ"), "ˈ")
