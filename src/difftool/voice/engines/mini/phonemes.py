"""English text as phonemes, as the teacher of the voice reads it: a lexicon, endings, compounds, spelled letters, and a
small network for words that none of these know."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from unidecode import unidecode

from ...text import TITLES
from .parts import part_of_speech
from .words import SOUNDS, Following, first_sound, said

MARKS, ELLIPSIS = ";:,.!?", "..."
SYMBOLS = f"{MARKS} {SOUNDS}"
"""All that `phonemes` returns: one character a phoneme, and stress marks before the vowel."""
UNSEEN, BREAK = ("Cf", "Mn"), "\u200b"
"""Categories of signs that are not letters of their own, such as soft hyphens, and one of them that ends a word."""
QUOTES = dict.fromkeys("‘’ʼʻ´`", "'")
PLAIN = str.maketrans({**QUOTES, "‐": "-", "‑": "-", "…": "...", "/": " ", "_": " ", "*": " "})
NAMED = r"(?P<named>\b(?:" + "|".join(TITLES) + r")\.)"
INITIALS = r"(?P<initials>\b(?:[A-Za-z]{1,2}\.)+[A-Za-z]{1,2}\b\.?|\b[A-HJ-Z]\.(?=\s[A-Z]))"
WORD = r"(?P<word>'?[A-Za-z]+(?:['-][A-Za-z]+)*'?)"
DOT = r"(?P<dot>(?<=[A-Za-z][A-Za-z])\.(?=[a-z][a-z]))"
PAUSE = rf"(?P<dots>\.\.+)|(?P<mark>[{MARKS}])|(?P<pause>--+|[—–()\[\]{{}}]|\s-\s)"
TOKEN = re.compile("|".join((NAMED, INITIALS, WORD, DOT, PAUSE)))
SILENT = ("Z", "Cc", "Pc", "Pd", "Pe", "Pf", "Pi", "Ps")
"""Beginnings of categories of signs that a reader passes over: white space, quotes, brackets, dashes."""
READ = re.compile(rf"""[A-Za-z\s{MARKS}"'*/|()\[\]{{}}¿¡-]*""")
"""Signs that are read, or passed over."""


class Token(NamedTuple):
    """A word, or a mark of MARKS."""

    text: str
    is_word: bool


def phonemes(text: str) -> str:
    """The phonemes of a normalised text, all of them in SYMBOLS. What `unspoken` names is left out."""
    tokens = _tokens(text)
    words = [token.text for token in tokens]
    following, parts = Following(), []
    for k in reversed(range(len(tokens))):
        word, is_word = tokens[k]
        if is_word:
            sounds = said(word, part_of_speech(words, k), following)
            parts.append(f" {sounds}")
            following = Following(first_sound(sounds, following.vowel), word.lower() == "to")
        else:
            parts.append(word)
            following = Following()
    return _tidy("".join(reversed(parts)))


def unspoken(text: str) -> list[str]:
    """What `phonemes` leaves out: words, or parts of words, in letters that it cannot say, such as Chinese or Cyrillic
    ones, and signs such as emoji, with the marks that belong to them."""
    composed = unicodedata.normalize("NFC", text.translate(PLAIN))
    left = "".join(sign if _is_mark(sign) or _is_left_out(sign) else " " for sign in composed)
    return list(dict.fromkeys(piece for piece in left.split() if not all(map(_is_mark, piece))))


def _is_mark(sign: str) -> bool:
    """Whether a sign belongs to the one before, as an accent does, or joins two."""
    category = unicodedata.category(sign)
    return category == "Cf" or category[0] == "M"


def _is_left_out(sign: str) -> bool:
    return not unicodedata.category(sign).startswith(SILENT) and not READ.fullmatch(_folded(sign))


def _folded(text: str) -> str:
    """Letters of the Latin script without accents, and plain quotes."""
    composed = unicodedata.normalize("NFKC", text.translate(PLAIN))
    shown = (sign for sign in composed if unicodedata.category(sign) not in UNSEEN or sign == BREAK)
    return "".join(_letter(sign) for sign in shown).translate(PLAIN)


def _letter(sign: str) -> str:
    if sign.isascii() or not unicodedata.name(sign, "").startswith("LATIN "):
        return sign
    plain = unidecode(sign)
    return plain if plain.isalpha() else sign


def _tokens(text: str) -> list[Token]:
    """Words, and what is a pause between them."""
    tokens = []
    text = _folded(text)
    for match in TOKEN.finditer(text):
        kind, found = match.lastgroup, match[0]
        if kind == "named":
            tokens.append(Token(TITLES[found[:-1]], True))
        elif kind == "dot":
            tokens.append(Token("dot", True))
        elif kind == "mark":
            tokens.append(Token(found, False))
        elif kind in ("dots", "pause"):
            tokens.append(Token(ELLIPSIS if kind == "dots" else ",", False))
        else:
            tokens.append(Token(found, True))
        if tokens[-1].is_word and found[-1] == "." and not text[match.end() :].strip("\"' )"):
            tokens.append(Token(".", False))  # which ends the text too
    return tokens


def _tidy(line: str) -> str:
    """No mark before the first word, and no comma beside another mark."""
    line = re.sub(rf"[{MARKS}]{{2,}}", lambda match: _strongest(match[0]), line)
    return line.lstrip(f"{MARKS} ")


def _strongest(marks: str) -> str:
    ends = "".join(dict.fromkeys(mark for mark in marks if mark in "!?"))
    return ends or next((dots for dots in (ELLIPSIS, ".") if dots in marks), marks[0])
