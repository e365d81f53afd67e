"""Parts of speech by a few rules of thumb: as much as decides how a word is read ("to use" and "the use")."""

from __future__ import annotations

from collections.abc import Sequence


def _words(line: str) -> frozenset[str]:
    return frozenset(line.split())


DETERMINERS = _words(
    "the a an my your his her its our their this these those some any no every each another which whose such what"
    " one two three four five six seven eight nine ten many few several most more less"
)
SUBJECTS = _words("i he she we they who you it")
OBJECTS = _words(
    "me him them us it you her that myself yourself himself herself itself ourselves yourselves themselves"
)
MODALS = _words(
    "can could will would shall should may might must do does did cannot let let's please don't doesn't didn't can't"
    " couldn't won't wouldn't shouldn't mustn't mightn't needn't"
)
BE = _words("is are was were be been being am isn't aren't wasn't weren't become became seem seems seemed")
HAVE = _words("have has had having haven't hasn't hadn't")
PREPOSITIONS = _words(
    "of in on at by for with from into over under about through between after before against during without within"
    " along across behind beyond near since until upon as like than per via"
)
CONJUNCTIONS = _words("and or but nor so because although while if when unless whether that where then")
QUESTIONS = _words("why when where how what who which if")
ADVERBS = _words(
    "not never always often also just even still only then hardly usually sometimes now soon both all ever quite very"
    " too really rarely seldom already"
)
TAKING = _words(
    "want wants wanted need like likes liked take took get got give gave do did use used hear heard see saw know"
)
SAYING = _words(
    "said say says think thinks thought know knows knew believe believed hope hoped told tell sure so see saw feel felt"
    " found find show shows showed mean means meant fact idea now such given ensure"
)
ADJECTIVES = _words(
    "close live present content perfect absent abstract subject converse compact diffuse incarnate overall nearby"
    " inside underground uphill read learned ragged jagged dogged crooked bass arsenic"
)
MARKS = frozenset(";:,.!?")
CLOSED = MARKS | PREPOSITIONS | CONJUNCTIONS | BE | HAVE | MODALS | SUBJECTS | {"to"}
"""What no adjective stands before."""


def part_of_speech(words: Sequence[str], k: int) -> str:
    """The probable part of speech of a word among words and marks, by its name in the Penn Treebank."""
    word, before, after = words[k].lower(), _small(words, k - 1), _small(words, k + 1)
    if word == "a":
        is_letter = after in MARKS or (words[k] == "A" and before not in MARKS)
        return "NN" if is_letter else "DT"
    if word == "i":
        return "NN" if after in MARKS and (before in BE | MODALS or words[k - 1].isupper()) else "PRP"
    if word == "that" or word.startswith("that'"):
        return "DT" if _points(before, after if word == "that" else "is") else "IN"
    if word == "used":
        return "VBN" if before in BE | HAVE | {"get", "got"} or before.endswith(("'s", "'re", "'m")) else "VBD"
    return _open(words, k, word, after)


def _small(words: Sequence[str], k: int) -> str:
    """A word in small letters, and a full stop outside the text."""
    return words[k].lower() if 0 <= k < len(words) else "."


def _points(before: str, after: str) -> bool:
    """Whether "that" points at something, rather than beginning a clause."""
    if after in MARKS or before in PREPOSITIONS | MARKS | BE:
        return True
    if after in BE | MODALS and before in SAYING | CONJUNCTIONS:
        return True
    begins = after in SUBJECTS | DETERMINERS | OBJECTS | BE | HAVE | MODALS | PREPOSITIONS or "'" in after
    return not begins and not after.endswith(("s", "ed")) and before in TAKING | OBJECTS | CONJUNCTIONS | QUESTIONS


def _open(words: Sequence[str], k: int, word: str, after: str) -> str:
    """The part of speech of a word that may be a noun, a verb or an adjective; empty where nothing tells."""
    left = k - 1
    while left >= 0 and (_small(words, left) in ADVERBS or _small(words, left).endswith("ly")):
        left -= 1
    before = _small(words, left)
    if before == "to" or before in MODALS or before.endswith("'ll"):
        return "VB"
    if before in HAVE or before.endswith("'ve"):
        return "VBN"
    if before in SUBJECTS:
        return "VB" if _is_asked(words, left) else "VBD"
    if before in BE or before.endswith(("'re", "'m")) or before in ("it's", "he's", "she's", "that's", "there's"):
        return "VBN" if word in ("read", "reread", "wound") else "JJ"
    if before in DETERMINERS or before in PREPOSITIONS or before.endswith("'s"):
        return _in_phrase(word, after)
    has_object = after in DETERMINERS or after in OBJECTS
    if word == "close":
        return "VB" if has_object else "RB"
    if before in MARKS or before in CONJUNCTIONS:
        return "VB" if has_object else _in_phrase(word, after) if after in CLOSED else ""
    if has_object or (before.endswith("s") and after in PREPOSITIONS | {"to"}) or word in ("live", "lives"):
        return "VB" if _is_asked(words, left) else "VBD"
    return _in_phrase(word, after)


def _in_phrase(word: str, after: str) -> str:
    """A noun, or an adjective before one."""
    is_adjective = word in ADJECTIVES or word.endswith("ate")
    return "JJ" if is_adjective and after not in CLOSED else "NN"


def _is_asked(words: Sequence[str], k: int) -> bool:
    """Whether a modal verb comes before the subject that ends at a word."""
    for place in range(k - 1, max(-1, k - 6), -1):
        if _small(words, place) in MODALS:
            return _small(words, place - 1) in MARKS | QUESTIONS | CONJUNCTIONS
        if _small(words, place) in MARKS:
            return False
    return False
