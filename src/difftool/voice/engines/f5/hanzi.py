"""Numbers in Chinese text, as they are said."""

from __future__ import annotations

import re

DIGITS = "零一二三四五六七八九"
POWERS = ("千", "百", "十", "")
GROUPS = ("", "万", "亿", "万亿")
"""Names of the powers of ten thousand."""
CHINESE = re.compile(r"[\u3001-\u9fff，！？：；（）]")
NUMBER = re.compile(
    r"(?<![A-Za-z0-9])(?<![0-9][.,/:-])"
    r"(?P<whole>[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.(?P<decimals>[0-9]+))?(?P<percent>%?)"
    r"(?![A-Za-z0-9]|[.,/:-][0-9])"
)
COUNTED = frozenset("个只条张位本件名天次种家间辆")
"""Characters before which two is another word."""
LONGEST = 8
"""Digits of the longest number that is no code, such as that of a telephone."""


def numbers_in_hanzi(text: str) -> str:
    """A text with its numbers in Chinese characters, where they stand beside such, and not beside Latin letters."""
    return NUMBER.sub(_said, text)


def _said(match: re.Match[str]) -> str:
    before = match.string[max(0, match.start() - 2) : match.start()].rstrip(" ")[-1:]
    after = match.string[match.end() : match.end() + 2].lstrip(" ")[:1]
    is_latin = any(sign.isascii() and sign.isalpha() for sign in before + after)
    if is_latin or not (CHINESE.match(before) or CHINESE.match(after)):
        return match[0]
    digits = match["whole"].replace(",", "")
    is_year = len(digits) == 4 and after == "年"
    is_code = len(digits) > LONGEST and "," not in match["whole"]
    if is_year or is_code or (digits[0] == "0" and len(digits) > 1):
        said = _by_digit(digits)
    elif digits == "2" and after in COUNTED and before != "第" and not match["decimals"]:
        said = "两"
    else:
        said = cardinal(int(digits))
    if match["decimals"]:
        said += f"点{_by_digit(match['decimals'])}"
    return f"百分之{said}" if match["percent"] else said


def _by_digit(digits: str) -> str:
    return "".join(DIGITS[int(digit)] for digit in digits)


def cardinal(number: int) -> str:
    """A number below 10,000 to the power of four in Chinese characters; a larger one digit by digit."""
    if number >= 10_000 ** len(GROUPS):
        return _by_digit(str(number))
    said = ""
    for name in GROUPS:
        number, group = divmod(number, 10_000)
        pairs = zip(f"{group:04}", POWERS, strict=True)
        words = "".join(DIGITS[int(digit)] + power if digit != "0" else DIGITS[0] for digit, power in pairs)
        words = re.sub("零+", "零", words).removesuffix("零")
        if group:
            said = words + name + said
        elif said and said[0] != "零":
            said = f"零{said}"
    return said.removeprefix("零").removeprefix("一") if re.match("零?一十", said) else said.removeprefix("零") or "零"
