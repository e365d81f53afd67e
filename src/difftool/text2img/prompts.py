"""Prompts: their syntax, and files with many of them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import DifftoolError, Exit, unknown
from ..files import expanded
from ..settings import EXPECTED, key_of, kind_of, kinds, options
from .settings import Settings

STRONGER = 1.1
"""Factor of a pair of brackets on the weight of its contents."""
MOST_WEIGHT = 100.0
"""Largest weight, positive or negative."""


KEYWORDS = r"\b(?:BREAK|AND|AND_PERP|AND_SALT|AND_TOPK|ADDBASE|ADDCOMM|ADDCOL|ADDROW)\b"
FOREIGN = (
    (KEYWORDS, "{} between prompts is not supported", r"for the word itself, write \{} or use lowercase"),
    (
        r"[\[\]]",
        "square brackets are not supported in prompts",
        r"write (word:0.9) for a lower weight, or \{} for a literal bracket",
    ),
    (
        r"[{}]",
        "braces are not supported in prompts",
        r"write (word:1.1) for a higher weight, or \{} for a literal brace",
    ),
    (r"<\w+:[^>]*>?", "{} is not supported", "the only tag is <lora:name:0.8>"),
    (r"\bembedding:\S+", "{} is not supported: embeddings cannot be applied", "leave it out"),
    (r"__[\w/*-]+__", "{} is a wildcard, which is not supported", "write the words themselves"),
    (
        r"\)(?:\.(?:blend|swap|and)\(|(?:\++|--?)(?=[\s,.;)]|$)|\d*\.\d+)",
        "{} after brackets is not supported",
        "write (word:1.3)",
    ),
    (r"(?:^|\s)--[a-zA-Z]\w*", "the option {} is inside the prompt", "put options after the prompt"),
)
"""(pattern, message, hint): syntax of other tools that is not supported."""


class Prompt(NamedTuple):
    """A parsed prompt."""

    pieces: tuple[tuple[str, float], ...]
    """Consecutive texts, each with its weight."""
    loras: tuple[tuple[str, float], ...]
    """(name, weight) of each ``<lora:name:weight>``."""

    @property
    def plain(self) -> str:
        """The text without weights and brackets."""
        return "".join(text for text, _ in self.pieces)


def parse_prompt(text: str, *, empty: bool = False) -> Prompt:
    """Parses a prompt in the common syntax: ``(word:1.3)`` sets a weight, ``(word)`` multiplies it by 1.1, nested
    brackets multiply, a backslash escapes a bracket or a keyword of `FOREIGN`, and ``<lora:name:0.8>`` applies a LoRA.

    Raises DifftoolError 2 for unbalanced brackets, for syntax of other tools (`FOREIGN`), for a weight beyond
    MOST_WEIGHT, for invalid Unicode, and, unless `empty`, for a prompt without words.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise DifftoolError(Exit.USAGE, "the prompt is not valid UTF-8", "save or type it as UTF-8")
    loras: list[tuple[str, float]] = []

    def lora(match: re.Match[str]) -> str:
        weight = _weight(match[2] or "1", match[0])
        loras.append((match[1].strip(), weight))
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
        message = f"weights must be between -{MOST_WEIGHT:g} and {MOST_WEIGHT:g}: {_short(text)}"
        raise DifftoolError(Exit.USAGE, message, "write (word:1.3)")
    prompt = Prompt(pieces, tuple(loras))
    if not empty and not prompt.plain.strip():
        raise DifftoolError(Exit.USAGE, "the prompt is empty", 'describe the picture, as in "a red circle"')
    return prompt


def _refuse_foreign(bare: str, text: str) -> None:
    """Raises DifftoolError 2 for a prompt with something of `FOREIGN` that is not escaped."""
    plain = re.sub(r"\\.", "", bare, flags=re.DOTALL)
    for pattern, form, hint in FOREIGN:
        for match in re.finditer(pattern, plain):
            if re.fullmatch(KEYWORDS, match[0]) and _among_capitals(plain, match):
                continue
            message = form.format(match[0].strip())
            raise DifftoolError(Exit.USAGE, f"{message}: {_short(text)}", hint.format(match[0]))


def _among_capitals(text: str, match: re.Match[str]) -> bool:
    """Whether the neighbouring words are in capitals too, as in SALT AND PEPPER, so that it is an ordinary word.
    Weights, 8K, and words beyond a comma or a line break do not count."""
    around = re.search(r"(\w*)(\W*)$", text[: match.start()]), re.match(r"(\W*)(\w*)", text[match.end() :])
    assert around[0] and around[1]
    before, gap, next_gap, behind = *around[0].groups(), *around[1].groups()
    if re.search(r"[,;:()\n]", gap + next_gap):
        return False
    words = [word for word in (before, behind) if word]
    return bool(words) and all(word.isalpha() and word.isupper() for word in words)


def _weighted(inner: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """The contents of a pair of brackets, weighted; a number after the last colon is the weight of all of it."""
    factor = STRONGER
    last = inner[-1][0] if inner and inner[-1][1] == 1.0 else ""
    if match := re.fullmatch(r"(.*):\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*", last, re.DOTALL):
        inner, factor = [*inner[:-1], (match[1], 1.0)], float(match[2])
    elif match := re.search(r":\s*([+-]?[\d.,]*\d[\d.,]*%?)\s*$", last):
        raise DifftoolError(Exit.USAGE, f"{match[1]} is not a valid weight", "write (word:1.3), with a decimal point")
    return [(text, weight * factor) for text, weight in inner]


def _joined(pieces: Sequence[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    """Joins neighbours of equal weight, so that a prompt without weights is tokenised as a whole."""
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
        raise DifftoolError(Exit.USAGE, f"{where} has no valid weight", "write <lora:name:0.8>")
    return weight


def _unmatched(text: str) -> DifftoolError:
    hint = r"close each bracket, or write \( and \) for literal brackets"
    return DifftoolError(Exit.USAGE, f"the brackets of this prompt do not match: {_short(text)}", hint)


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


ELSEWHERE = {"p": "prompt", "negative_prompt": "negative", "cfg_scale": "guidance"}
"""Names of options in other tools."""


def lines(text: str) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines with a prompt: not empty, and not beginning with #."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line.strip()


def settings_of(line: str, cls: type = Settings) -> dict[str, object]:
    """The settings in a line: a prompt with options after it, as on the command line (``a red circle --steps 10 --seed
    3``), options only, or a JSON object; by fields of `cls`, for `with_typed`. Raises DifftoolError 2 for an invalid
    line."""
    annotations, known = kinds(cls), options(cls)
    own = [name for name, option in known.items() if option.per_prompt]
    spellings = {key_of(word): name for name in own for word in (name, *known[name].names)} | ELSEWHERE
    values: dict[str, object] = {}
    for word, value in _object(line) if line.startswith("{") else _words(line):
        name = spellings.get(key_of(word))
        if name is None:
            raise unknown("option", word, own)
        values[name] = _value(word, value, known[name].typed or annotations[name])
    if not values.get("prompt"):
        raise DifftoolError(Exit.USAGE, "the line has no prompt", "write the prompt first, then the options")
    return values


def _object(line: str) -> list[tuple[str, object]]:
    """The members of a JSON object."""
    try:
        return list(json.loads(line).items())
    except (ValueError, RecursionError) as error:
        hint = 'write {"prompt": "a red circle", "steps": 10}'
        raise DifftoolError(Exit.USAGE, f"invalid JSON: {error}", hint) from error


def _words(line: str) -> list[tuple[str, object]]:
    """The prompt of a line of text, and the options after it."""
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
            raise DifftoolError(Exit.USAGE, f"{name} does not belong to an option", "put values with spaces in quotes")
        if not sign and not words:
            raise DifftoolError(Exit.USAGE, f"{name} has no value", "add a value after it")
        pairs.append((name, value if sign else words.pop(0)))
    return pairs


def _value(word: str, value: object, annotation: object) -> object:
    """The value of an option, converted to its type."""
    kind = kind_of(annotation)
    try:
        return _converted(value, kind)
    except (TypeError, ValueError, OverflowError) as error:
        message = f"{word} must be {EXPECTED[kind]}, not {value!r}"
        raise DifftoolError(Exit.USAGE, message, "see difftool txt2img --help") from error


def _converted(value: object, kind: type) -> object:
    """A value from text or JSON, converted to a type. Raises ValueError and the like if it is invalid."""
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
    """Whether there is an initial picture. Raises DifftoolError 2 for a mask or a strength without one."""
    for name, value in (("mask", settings.mask), ("strength", settings.strength)):
        if settings.init is None and value is not None:
            raise DifftoolError(Exit.USAGE, f"--{name} needs --init", "pass the picture to start from with --init")
    return settings.init is not None
