"""Prompts: what their brackets say, and files with many of them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import DifftoolError, Exit, unknown
from ..files import expanded
from ..settings import EXPECTED, kind_of, kinds, options
from .settings import Settings

STRONGER = 1.1
"""What a pair of brackets multiplies the weight of what stands in it by."""
MOST_WEIGHT = 100.0
"""Weight of a word at most, either way."""


KEYWORDS = r"\b(?:BREAK|AND|AND_PERP|AND_SALT|AND_TOPK|ADDBASE|ADDCOMM|ADDCOL|ADDROW)\b"
FOREIGN = (
    (KEYWORDS, "{} between prompts has no meaning here", r"for the word itself write \{}, or small letters"),
    (
        r"[\[\]]",
        "square brackets have no meaning in a prompt here",
        r"write (word:0.9) for less of it, and \{} for the sign",
    ),
    (r"[{}]", "braces have no meaning in a prompt here", r"write (word:1.1) for more of it, and \{} for the sign"),
    (r"<\w+:[^>]*>?", "{} has no meaning here", "only <lora:name:0.8> has, and closes with >"),
    (r"\bembedding:\S+", "{} has no meaning here", "embeddings cannot be applied: leave it out"),
    (r"__[\w/*-]+__", "{} stands for words of a file elsewhere, and for none here", "write the words themselves"),
    (
        r"\)(?:\.(?:blend|swap|and)\(|(?:\++|--?)(?=[\s,.;)]|$)|\d*\.\d+)",
        "{} behind brackets has no meaning here",
        "write (word:1.3)",
    ),
    (r"(?:^|\s)--[a-zA-Z]\w*", "{} stands in the prompt, where it says nothing", "give options behind the prompt"),
)
"""(pattern, what is wrong, hint): what has a meaning in prompts of other tools, but none here."""


class Prompt(NamedTuple):
    """What a prompt says."""

    pieces: tuple[tuple[str, float], ...]
    """Texts in a row, each with its weight."""
    loras: tuple[tuple[str, float], ...]
    """(name, weight) of each ``<lora:name:weight>``."""

    @property
    def plain(self) -> str:
        """The text without its signs."""
        return "".join(text for text, _ in self.pieces)


def read(text: str, *, empty: bool = False) -> Prompt:
    """A prompt in the notation that most tools share: ``(word:1.3)`` has that weight, ``(word)`` 1.1 times as much as
    what is around it, brackets within brackets multiply, a backslash makes a bracket or a word of `FOREIGN` a plain
    one, and ``<lora:name:0.8>`` applies a LoRA.

    Raises DifftoolError 2 for brackets that do not match, for what other tools give a meaning that it does not have
    here (`FOREIGN`), for a weight beyond MOST_WEIGHT, for what is no text in Unicode, and, unless it may be `empty`,
    for a prompt without words.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise DifftoolError(Exit.USAGE, "the prompt is no text in UTF-8", "save or type it as UTF-8")
    loras: list[tuple[str, float]] = []

    def lora(found: re.Match[str]) -> str:
        loras.append((found[1].strip(), _weight(found[2] or "1", found[0])))
        return ""

    bare = re.sub(r"<lora:([^:>]+)(?::([^>]*))?>", lora, text)
    _refuse_foreign(bare, text)
    stack: list[list[tuple[str, float]]] = [[]]
    for sign in re.findall(rf"\\(?:[\\()\[\]{{}}]|{KEYWORDS})|[()]|[^\\()]+|\\", bare):
        if sign == "(":
            stack.append([])
        elif sign == ")":
            if len(stack) == 1:
                raise _unmatched(text)
            inner = stack.pop()
            stack[-1] += _weighted(inner)
        else:
            stack[-1].append((sign[1:] if len(sign) > 1 and sign[0] == "\\" else sign, 1.0))
    if len(stack) > 1:
        raise _unmatched(text)
    pieces = _joined(stack[0])
    if any(abs(weight) > MOST_WEIGHT for _, weight in pieces):
        what = f"a weight lies between -{MOST_WEIGHT:g} and {MOST_WEIGHT:g}: {_short(text)}"
        raise DifftoolError(Exit.USAGE, what, "write (word:1.3)")
    found = Prompt(pieces, tuple(loras))
    if not empty and not found.plain.strip():
        raise DifftoolError(Exit.USAGE, "the prompt is empty", 'say what to draw, as in "a red circle"')
    return found


def _refuse_foreign(bare: str, text: str) -> None:
    """Raises DifftoolError 2 where a prompt has something of `FOREIGN` in it, which no backslash makes plain."""
    plain = re.sub(r"\\.", "", bare, flags=re.DOTALL)
    for pattern, what, hint in FOREIGN:
        for match in re.finditer(pattern, plain):
            if re.fullmatch(KEYWORDS, match[0]) and _among_capitals(plain, match):
                continue
            raise DifftoolError(Exit.USAGE, f"{what.format(match[0].strip())}: {_short(text)}", hint.format(match[0]))


def _among_capitals(text: str, match: re.Match[str]) -> bool:
    """Whether the words before and behind are in capitals too, as in SALT AND PEPPER, so that it is a word as they
    are. Weights, 8K and what a comma or a new line sets apart are no such words."""
    around = re.search(r"(\w*)(\W*)$", text[: match.start()]), re.match(r"(\W*)(\w*)", text[match.end() :])
    assert around[0] and around[1]
    before, gap, next_gap, behind = *around[0].groups(), *around[1].groups()
    if re.search(r"[,;:()\n]", gap + next_gap):
        return False
    words = [word for word in (before, behind) if word]
    return bool(words) and all(word.isalpha() and word.isupper() for word in words)


def _weighted(inner: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """What stands in a pair of brackets; a number after its last colon is the weight of all of it."""
    factor = STRONGER
    last = inner[-1][0] if inner and inner[-1][1] == 1.0 else ""
    if found := re.fullmatch(r"(.*):\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*", last, re.DOTALL):
        inner, factor = [*inner[:-1], (found[1], 1.0)], float(found[2])
    elif found := re.search(r":\s*([+-]?[\d.,]*\d[\d.,]*%?)\s*$", last):
        raise DifftoolError(Exit.USAGE, f"{found[1]} is no weight", "write (word:1.3), with a point")
    return [(text, weight * factor) for text, weight in inner]


def _joined(pieces: Sequence[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    """Neighbours of one weight as one, so that a prompt without weights is read as a whole."""
    joined: list[tuple[str, float]] = []
    for text, weight in pieces:
        if joined and joined[-1][1] == weight:
            joined[-1] = joined[-1][0] + text, weight
        elif text:
            joined.append((text, weight))
    return tuple(joined)


def _weight(text: str, where: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = float("nan")
    if not abs(weight) <= MOST_WEIGHT:
        raise DifftoolError(Exit.USAGE, f"{where} has no weight", "write <lora:name:0.8>")
    return weight


def _unmatched(text: str) -> DifftoolError:
    hint = r"close each bracket, or write \( and \) for the signs themselves"
    return DifftoolError(Exit.USAGE, f"the brackets of this prompt do not match: {_short(text)}", hint)


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


ELSEWHERE = {"p": "prompt", "negative_prompt": "negative", "cfg_scale": "guidance"}
"""What prompts' options are called by other tools."""


def lines(text: str) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines that hold a prompt: not the empty ones, nor those that begin with #."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line.strip()


def settings_of(line: str, cls: type = Settings) -> dict[str, object]:
    """What a line says: a prompt and, after it, options as on the command line (``a red circle --steps 10 --seed 3``),
    options only, or an object of JSON; by the names of the fields of `cls`, as `with_typed` takes them. Raises
    DifftoolError 2 where it says nothing that can be understood."""
    annotations, known = kinds(cls), options(cls)
    own = [name for name, option in known.items() if option.per_prompt]
    spellings = {_plain(word): name for name in own for word in (name, *known[name].names)} | ELSEWHERE
    values: dict[str, object] = {}
    for word, value in _object(line) if line.startswith("{") else _words(line):
        name = spellings.get(_plain(word))
        if name is None:
            raise unknown("option", word, own)
        values[name] = _value(word, value, known[name].typed or annotations[name])
    if not values.get("prompt"):
        raise DifftoolError(Exit.USAGE, "the line has no prompt", "write the prompt first, then its options")
    return values


def _plain(word: str) -> str:
    return word.lstrip("-").replace("-", "_")


def _object(line: str) -> list[tuple[str, object]]:
    """The members of an object of JSON."""
    try:
        return list(json.loads(line).items())
    except (ValueError, RecursionError) as error:
        hint = 'write {"prompt": "a red circle", "steps": 10}'
        raise DifftoolError(Exit.USAGE, f"no JSON: {error}", hint) from error


def _words(line: str) -> list[tuple[str, object]]:
    """The prompt of a line of text, and the options behind it."""
    prompt, *rest = re.split(r"(?:^|\s)(?=--?[a-zA-Z])", line, maxsplit=1)
    if len(prompt) > 1 and prompt[0] == prompt[-1] and prompt[0] in "'\"":
        prompt = prompt[1:-1]
    pairs: list[tuple[str, object]] = [("prompt", prompt)] if prompt else []
    return pairs + (_options(rest[0]) if rest else [])


def _options(text: str) -> list[tuple[str, object]]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise DifftoolError(Exit.USAGE, f"{_short(text)}: {error}", "close the quotes") from error
    pairs: list[tuple[str, object]] = []
    while words:
        name, sign, value = words.pop(0).partition("=")
        if not re.match(r"--?[a-zA-Z]", name):
            raise DifftoolError(Exit.USAGE, f"{name} belongs to no option", "put what has blanks in quotes")
        if not sign and not words:
            raise DifftoolError(Exit.USAGE, f"{name} has no value", "give it one")
        pairs.append((name, value if sign else words.pop(0)))
    return pairs


def _value(word: str, value: object, annotation: object) -> object:
    """What was written for an option, in the type that it has."""
    kind = kind_of(annotation)
    try:
        return _converted(value, kind)
    except (TypeError, ValueError, OverflowError) as error:
        what = f"{word} wants {EXPECTED[kind]}, not {value!r}"
        raise DifftoolError(Exit.USAGE, what, "see difftool txt2img --help") from error


def _converted(value: object, kind: type) -> object:
    """A value of text or JSON in a type. Raises ValueError and the like where it is none of it."""
    if kind is bool:
        return ("false", "true").index(str(value).lower()) == 1
    if kind in (str, Path):
        if not isinstance(value, str):
            raise TypeError(value)
        return expanded(value) if kind is Path else value
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise TypeError(value)
    number = kind(value)
    if isinstance(value, float) and number != value:
        raise ValueError(value)
    return number


def begun_from(settings: Settings) -> bool:
    """Whether there is a picture to begin from. Raises DifftoolError 2 for what belongs to one, where there is none."""
    needs = (
        (settings.mask, "a mask says what of a picture is drawn"),
        (settings.strength, "strength belongs to a picture"),
    )
    for value, what in needs:
        if settings.init is None and value is not None:
            raise DifftoolError(Exit.USAGE, what, "name the picture with --init")
    return settings.init is not None
