"""Tokens of F5-TTS: letters and signs as they are, Chinese characters as pinyin, and spaces where the official networks
saw them in training."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ....errors import DifftoolError, Exit
from ....files import read_text

SPACE = " "
"""The first token of every vocabulary, which also stands for what the vocabulary lacks."""
JIEBA, RJIEBA = "jieba", "rjieba"
"""How ASCII is cut into words: as in the training of the official networks, or as f5-tts does since 2025-11-28."""
PIECES = {
    JIEBA: re.compile(r"([A-Za-z0-9]+(?:\.[0-9]+)?%?)"),
    RJIEBA: re.compile(r"([A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*%?)"),
}
BLOCK = re.compile(r"[A-Za-z0-9+#&._%-]+|\r\n|.", re.DOTALL)
WORDS = re.compile(r"(AT&T|[Cc]\+\+|[Cc]#)")
"""The words with other signs in the dictionary of jieba."""
QUOTES = {"“": '"', "”": '"', "‘": "'", "’": "'"}
REPLACED = str.maketrans({";": ",", **QUOTES})
"""What f5-tts replaces."""
HANZI = re.compile(r"[\u3007\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
"""Characters with a reading in pinyin."""
RARE = re.compile(r"([\u3400-\u4dff\u9fd6-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])")
"""Those that are no part of words for jieba."""
SPACED = re.compile(r"[\u3100-\u9fff]")
"""Characters with a space token before each."""
INSTALL = "pip install pypinyin rjieba"
SIMILAR = zip("：；，！？『』‚‐<>^|`{}", "，，，！？「」,-    '()", strict=True)
KNOWN = {**QUOTES, **dict(SIMILAR)}
"""Signs that the official vocabulary lacks, and similar ones that it has; its full-width signs stay."""
SMALL = frozenset("ÌÏËÒÔÙÛŒĀĎĒĘĚĜĞĦĪŃŅŇŌŐŘŤŨŪŰŹŻƠƯǍǏǑǓȘΉΊΌΎ")
"""Capital letters that it lacks although it has the small ones."""
AFTER_WIDE_MARK = re.compile(r"(?<=[、。，！？])\s+")
WORD = re.compile(r"[^\W\d_]{2,}")
VOWELS = frozenset("aeiouyæœøıаеиоуыэюяіαεηιουω")
SPELLED = 3
"""Letters of the longest word in capitals that is spelled even if it has a vowel."""


class Vocabulary(NamedTuple):
    """The tokens that a checkpoint was trained with."""

    indices: dict[str, int]
    size: int

    def tokens(self, text: str, cut: str = JIEBA) -> list[int]:
        """The indices of a text; those of what the vocabulary lacks are 0. Raises as `spelled`."""
        return [self.indices.get(token, 0) for token in spelled(text, cut)]

    def missing(self, text: str) -> list[str]:
        """The characters, or syllables in pinyin, of a text that the vocabulary lacks. Raises as `spelled`."""
        lacking = (token for token in spelled(text) if token not in self.indices)
        return list(dict.fromkeys(token for token in lacking if not token.isspace()))

    def can_say(self, text: str) -> bool:
        """Whether the vocabulary has a letter, a digit or a syllable of a text. Raises as `spelled`."""
        return any(token[:1].isalnum() for token in spelled(text) if token in self.indices)


def vocabulary(path: Path) -> Vocabulary:
    """The vocabulary in a vocab.txt, with one token a line. Raises DifftoolError 4 for a file that is missing, or is
    none."""
    lines = re.split("\r\n|\n|\r", read_text(path))
    if not lines[-1]:
        lines.pop()  # after the end of the last line
    hint = "pass the vocab.txt that the checkpoint was trained with"
    if not lines:
        raise DifftoolError(Exit.FILE, f"{path} is empty", hint)
    if lines[0] != SPACE:
        message = f"{path} is not a vocabulary of F5-TTS: its first line is {lines[0][:40]!r}, not a space"
        raise DifftoolError(Exit.FILE, message, hint)
    indices = {token: index for index, token in enumerate(lines)}
    return Vocabulary(indices, len(lines))


def readable(text: str) -> str:
    """A text with similar signs in place of those that the official vocabulary lacks, and without capitals in words
    that it would spell."""
    text = unicodedata.normalize("NFC", text)
    text = "".join(_known(sign) for sign in text)
    sentences = re.split(r"((?<=[.!?])\s+)", AFTER_WIDE_MARK.sub("", text))
    return "".join(_calm(sentence) for sentence in sentences)


def _known(sign: str) -> str:
    if sign.isascii() or sign in KNOWN:
        return KNOWN.get(sign, sign)
    if unicodedata.category(sign) == "Cf":  # such as soft hyphens
        return ""
    is_ligature = "\ufb00" <= sign <= "\ufb06"
    if is_ligature or unicodedata.decomposition(sign).startswith(("<wide>", "<noBreak>")):
        return "".join(KNOWN.get(plain, plain) for plain in unicodedata.normalize("NFKC", sign))
    return sign.lower() if sign in SMALL else sign


def _calm(sentence: str) -> str:
    """A sentence with its words in capitals in small letters, unless they have no vowel or few letters."""
    is_all_capitals = sentence.isupper() and len(WORD.findall(sentence)) >= SPELLED

    def calm(match: re.Match[str]) -> str:
        word = match[0]
        is_word = len(word) > SPELLED or is_all_capitals
        return word.lower() if word.isupper() and is_word and _has_vowel(word) else word

    return WORD.sub(calm, sentence)


def _has_vowel(word: str) -> bool:
    return not VOWELS.isdisjoint(unicodedata.normalize("NFD", word.lower()))


def spelled(text: str, cut: str = JIEBA) -> list[str]:
    """The tokens of a text, as f5-tts makes them. Raises DifftoolError 2 for Chinese where its packages are missing."""
    text = text.translate(REPLACED)
    is_chinese = bool(HANZI.search(text))
    read, segments = (_reading(), _chinese_segments(text, cut)) if is_chinese else (list, _segments(text, cut))
    tokens: list[str] = []
    for segment in segments:
        if segment.isascii():
            if len(segment) > 1 and tokens and tokens[-1] not in " :'\"":
                tokens.append(SPACE)
            tokens += segment
            continue
        readings = read(segment) if len(segment.encode()) == 3 * len(segment) else ()
        if len(readings) != len(segment):  # not all of it is Chinese
            readings = [_alone(sign, read) for sign in segment]
        for sign, reading in zip(segment, readings, strict=True):
            tokens += [SPACE, reading] if SPACED.match(sign) else [reading]
    return tokens


def _alone(sign: str, read: Callable[[str], Sequence[str]]) -> str:
    return read(sign)[0] if SPACED.match(sign) else sign


def _segments(text: str, cut: str) -> Iterator[str]:
    """The segments of a text without Chinese, exactly as of a Chinese word segmenter."""
    for block in BLOCK.findall(text):
        for k, piece in enumerate(WORDS.split(block)):
            is_word, is_short = k % 2, len(piece) == 1
            pieces = [piece] if is_word or is_short or not piece.isascii() else PIECES[cut].split(piece)
            yield from filter(None, pieces)


def _chinese_segments(text: str, cut: str) -> Iterator[str]:
    """The segments of a text with Chinese."""
    import rjieba  # pyright: ignore[reportMissingImports]

    for stretch in RARE.split(text) if cut == JIEBA else [text]:
        for segment in rjieba.cut(stretch):
            is_kept = cut == RJIEBA or not segment.isascii() or len(segment) == 1 or WORDS.fullmatch(segment)
            yield from [segment] if is_kept else filter(None, PIECES[cut].split(segment))


def _reading() -> Callable[[str], Sequence[str]]:
    """A function from a word to the readings of its characters."""
    try:
        import rjieba  # noqa: F401 # pyright: ignore[reportMissingImports]
        from pypinyin import Style, lazy_pinyin  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DifftoolError(
            Exit.USAGE, f"Chinese characters need the package {error.name}", f"run {INSTALL}"
        ) from error
    return lambda word: lazy_pinyin(word, style=Style.TONE3, tone_sandhi=True)
