"""Parts of speech by a few rules of thumb: as much as decides how a word is read ("to use" and "the use")."""

from __future__ import annotations

from collections.abc import Sequence

DETERMINERS = frozenset(
    "the a an my your his her its our their this these those some any no every each another which whose such what"
    " one two three four five six seven eight nine ten many few several most more less".split()
)
NEVER_OBJECTS = frozenset("i he she we they who".split())
SUBJECTS = NEVER_OBJECTS | frozenset(("you", "it"))
OBJECTS = frozenset("me him them us it you her that myself himself herself themselves".split())
MODALS = frozenset(
    "can could will would shall should may might must do does did cannot let let's please don't doesn't didn't can't"
    " couldn't won't wouldn't shouldn't mustn't mightn't needn't".split()
)
BE = frozenset("is are was were be been being am isn't aren't wasn't weren't become became seem seems seemed".split())
HAVE = frozenset("have has had having haven't hasn't hadn't".split())
PREPOSITIONS = frozenset(
    "of in on at by for with from into over under about through between after before against during without within"
    " along across behind beyond near since until upon as like than per via".split()
)
CONJUNCTIONS = frozenset("and or but nor so because although while if when unless whether that where then".split())
QUESTIONS = frozenset("why when where how what who which if".split())
ADVERBS = frozenset(
    "not never always often also just even still only then hardly usually sometimes now soon both all ever quite very too"
    " really rarely seldom already".split()
)
AFTER_PARTICLE = frozenset("and but or to with for from at on through by when as because".split())
SAYING = frozenset(
    "said say says think thinks thought know knows knew believe believed hope hoped told tell sure so see saw feel felt"
    " found find show shows showed mean means meant fact idea now such given ensure".split()
)
ADJECTIVES = frozenset(
    "close live present content perfect absent abstract subject minute converse compact diffuse incarnate overall nearby"
    " inside underground uphill read learned ragged jagged dogged crooked bass arsenic".split()
)
MARKS = frozenset(";:,.!?")


def part_of_speech(words: Sequence[str], k: int) -> str:
    """The probable part of speech of a word among words and marks, by its name in the Penn Treebank."""
    word, before, after = words[k].lower(), _small(words, k - 1), _small(words, k + 1)
    if word == "a":
        is_letter = after in MARKS or (words[k] == "A" and before not in MARKS)
        return "NN" if is_letter else "DT"
    if word == "i":
        return "CD" if after in MARKS and before not in MARKS and words[k - 1][0].isupper() else "PRP"
    if word == "in":
        return "RP" if after in AFTER_PARTICLE else "IN"
    if word == "that":
        return _that(before, after)
    if word == "used":
        return _used(before, _small(words, k + 2))
    return _open(words, k, word, after)


def _small(words: Sequence[str], k: int) -> str:
    """A word in small letters, and a full stop outside the text."""
    return words[k].lower() if 0 <= k < len(words) else "."


def _that(before: str, after: str) -> str:
    """Pointing at something, or beginning a clause."""
    if after in MARKS or before in PREPOSITIONS or before in MARKS or before in BE:
        return "DT"
    begins = before in SAYING or after in SUBJECTS | DETERMINERS | OBJECTS | BE | HAVE | MODALS | PREPOSITIONS
    return "IN" if begins or "'" in after or before.endswith(("s", "ed")) else "DT"


def _used(before: str, second: str) -> str:
    """Used to something, used to do, and being used for something."""
    if before not in BE and not before.endswith(("'s", "'re", "'m")):
        return "VBD"
    return "JJ" if second in DETERMINERS | OBJECTS or second.endswith("ing") else "VBN"


def _open(words: Sequence[str], k: int, word: str, after: str) -> str:
    """The part of speech of a word that may be a noun, a verb or an adjective."""
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
    if before in MARKS or before in CONJUNCTIONS:
        return "VB" if has_object else _in_phrase(word, after)
    if has_object or (before.endswith("s") and after in PREPOSITIONS | {"to"}) or word in ("live", "lives"):
        return "VB" if _is_asked(words, left) else "VBD"
    return _in_phrase(word, after)


def _in_phrase(word: str, after: str) -> str:
    """A noun, or an adjective before one."""
    is_adjective = word in ADJECTIVES or word.endswith("ate")
    closed = MARKS | PREPOSITIONS | CONJUNCTIONS | BE | HAVE | MODALS | SUBJECTS | {"to"}
    return "JJ" if is_adjective and after not in closed else "NN"


def _is_asked(words: Sequence[str], k: int) -> bool:
    """Whether a modal verb comes before the subject that ends at a word."""
    for place in range(k - 1, max(-1, k - 6), -1):
        if _small(words, place) in MODALS:
            return _small(words, place - 1) in MARKS | QUESTIONS | CONJUNCTIONS
        if _small(words, place) in MARKS:
            return False
    return False
