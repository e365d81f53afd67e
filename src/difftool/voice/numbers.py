"""English numbers, amounts, times and dates in words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from ..nets.tortoise.tokenizer import in_words
from .units import CODES, COINS, COUNTRIES, IDIOMS, IRREGULAR, LABELS, MONTHS, PARTS, SCALES, UNITS, VULGAR

Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str]]

NUM = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<![\w.])\.[0-9]+)"
ALONE = r"(?<![\w.,:/])"
"""No character before a number that would make it part of something longer."""
ARTICLE = r"(?P<article>\b[Aa]n?\s)?"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LAND = "|".join(sorted(COUNTRIES, key=len, reverse=True))
SIGN = "[" + "".join(COINS) + "]"
SCALE = r"(?:\s?(?P<scale>" + "|".join(sorted(SCALES, key=len, reverse=True)) + r")(?!\w))?"
UNIT = "|".join(map(re.escape, sorted(UNITS, key=len, reverse=True)))
SHORT_UNITS = r"(?:(?<=ft)|(?<=lb)|(?<=lbs)|(?<=oz)|(?<=min)|(?<=mins)|(?<=sec)|(?<=hr)|(?<=hrs)|(?<=yd)|(?<=mi))"
MONTH = r"(?P<month>" + "|".join(f"{name}|{name[:3]}" for name in MONTHS) + r"|Sept)\b\.?"
OTHERWISE = r"(?!\s(?:[a-z]+s|people|men|women|children)\b)"
"""No counted noun follows, as in: May 5 people come?"""
RAISED, LOWERED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "₀₁₂₃₄₅₆₇₈₉"
ROMAN, ENCLOSED, SQUARE = "[Ⅰ-ↂↅ-ↈ]", "[①-⒛⓪⓫-⓿❶-➓]", "[℃℉㍱-㏟]"
"""Characters of their own: Roman numerals; numbers in circles and the like; units."""
CALLS = r"(?:call|phone|telephone|tel|dial|fax|text|ring)(?:s|ed|ing)?"
NO = "".join(rf"(?<!\b{words} )" for words in ("said", "say", "says", "or", "oh", "answer is", "answer was"))
"""No words before a "no." that make it the end of a sentence."""
NUMBERED = r"(?:version|ver\.?|v\.?|release|section|chapter|figure|table|python|ubuntu|windows|ios|android|macos|cuda)"
DATING = re.compile(
    "in|since|until|till|circa|years?|early|late|mid|spring|summer|autumn|fall|winter|" + "|".join(MONTHS), re.I
)
"""Words before a year."""
LOOSELY = re.compile("of|the|by|from|to|before|after|around|for", re.I)
"""Words before a recent year, which may also come before a counted noun."""
COUNTED = re.compile(
    r"(?!(?:this|does|less|across|always|perhaps|besides)\b)(?:[a-z]{3,}s|people|men|women|children|feet|fish|percent)"
)


def numbers_in_words(text: str) -> str:
    """A text with its numbers in words. Raises ValueError for one that has no name."""
    text = re.sub(r"\d", lambda match: str(unicodedata.decimal(match[0])), text)
    for pattern, spoken in RULES:
        text = pattern.sub(spoken, text)
    return text


def number(digits: str) -> str:
    """A number in words: digit by digit after the point, and where it begins with a zero."""
    whole, point, decimals = digits.replace(",", "").partition(".")
    if not point and len(whole) > 1 and whole[0] == "0":
        return by_digit(whole)
    words = in_words(whole) if whole else ""
    return f"{words} point {by_digit(decimals)}".strip() if point else words


def by_digit(digits: str) -> str:
    return " ".join(DIGITS[int(digit)] for digit in digits if digit.isdecimal())


def ordinal(digits: str) -> str:
    """21 as twenty-first."""
    words = in_words(digits)
    head, last = re.fullmatch(r"(.*?)(\w+)", words, re.DOTALL).groups()  # pyright: ignore[reportOptionalMemberAccess]
    odd = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
    odd["twelve"] = "twelfth"
    regular = last[:-1] + "ieth" if last.endswith("y") else last + "th"
    return head + odd.get(last, regular)


def year(digits: str) -> str:
    """1999 as nineteen ninety-nine, 2005 as two thousand five."""
    century, rest = divmod(int(digits), 100)
    if len(digits) != 4 or (century % 10 == 0 and rest < 10):
        return in_words(digits)
    first, second = in_words(str(century)), in_words(str(rest))
    if not rest:
        return f"{first} hundred"
    return f"{first} oh {second}" if rest < 10 else f"{first} {second}"


def many(words: str) -> str:
    """The plural of the last word."""
    if words.endswith("y"):
        return words[:-1] + "ies"
    return words + ("es" if words.endswith("x") else "s")


def _roman(match: re.Match[str]) -> str:
    """Roman numerals in digits: one before a larger one is taken away."""
    values = [int(unicodedata.numeric(sign)) for sign in match[0]]
    pairs = zip(values, [*values[1:], 0], strict=True)
    return str(sum(-value if value < after else value for value, after in pairs))


def _follows(match: re.Match[str], pattern: str) -> re.Match[str] | None:
    """The match of a pattern right after another match."""
    return re.compile(pattern).match(match.string, match.end())


def _grouped(match: re.Match[str]) -> str:
    """Digits with thousands separated by commas instead of spaces or apostrophes, and with a decimal point."""
    whole, comma, decimals = match[0].partition(",")
    return re.sub(r"[^0-9]", ",", whole) + (f".{decimals}" if comma else "")


def _dotted(match: re.Match[str]) -> str:
    whole, comma, decimals = match[0].partition(",")
    parts = whole.split(".")
    if len(parts) == 4 and all(int(part) < 256 for part in parts):  # an address
        return match[0]
    return ",".join(parts) + (f".{decimals}" if comma else "")


def _listed(match: re.Match[str]) -> str:
    """Numbers separated by commas: thousands, decimals of an amount, or else a list."""
    if re.fullmatch(r"[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?", match[0]):
        return match[0]
    before = match.string[max(0, match.start() - 2) : match.start()]
    beside = re.search(SIGN + r"\s?\Z", before) or _follows(match, rf"\s?(?:{SIGN}|(?:{UNIT}|[mbtr]+illion)(?!\w))")
    if beside and re.fullmatch(r"[0-9]+,[0-9]{1,2}", match[0]):
        return match[0].replace(",", ".")
    return match[0].replace(",", ", ")


def _parts(match: re.Match[str]) -> str:
    """A date, a telephone number, an address or a version, with points."""
    parts = match[0].split(".")
    if list(map(len, parts)) == [3, 3, 4]:
        return _telephone(match)
    if len(parts) == 3 and len(parts[2]) == 4:
        date = _date(parts[2], parts[1], parts[0])
        if date:
            return date
    return " point ".join(map(number, parts))


def _date(year_: str, month: str, day: str, *, american: bool = False) -> str:
    """A date in words; empty where it is not valid."""
    if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
        return ""
    name = MONTHS[int(month) - 1]
    words = year(year_) if len(year_) == 4 else number(year_)
    return f"{name} {ordinal(day)}, {words}" if american else f"the {ordinal(day)} of {name}, {words}"


def _slashed(match: re.Match[str]) -> str:
    """A date of which one part can only be the day; otherwise the numbers."""
    first, second, last = match.groups()
    if int(first) > 12 or first == second:
        date = _date(last, second, first, american=first == second)
    else:
        date = _date(last, first, second, american=True) if int(second) > 12 else ""
    return date or f"{number(first)} slash {number(second)} slash {year(last)}"


def _month_first(match: re.Match[str]) -> str:
    name = _month(match["month"])
    day, year_ = match["day"], match["year"]
    if not 1 <= int(day) <= 31:
        return f"{name} {day} {year_}" if year_ else f"{name} {day}"
    return f"{name} {ordinal(day)}, {year(year_)}" if year_ else f"{name} {ordinal(day)}"


def _month(abbreviation: str) -> str:
    """The full name of a month."""
    return next(name for name in MONTHS if name[:3] == abbreviation[:3])


def _day_first(match: re.Match[str]) -> str:
    name, day = _month(match["month"]), match["day"]
    if not 1 <= int(day) <= 31:
        return match[0]
    article = match["the"] or "the "
    ending = f", {year(match['year'])}" if match["year"] else ""
    return f"{article}{ordinal(day)} of {name}{ending}"


def _time(match: re.Match[str]) -> str:
    hour, minute, second = match.groups()
    if int(hour) > 24 or int(minute) > 59:
        return f"{number(hour)} to {number(minute)}"
    spoken = in_words(hour)
    if int(minute):
        spoken += f" {'oh ' if int(minute) < 10 else ''}{in_words(minute)}"
    elif int(hour) in (0, 24):
        spoken = "midnight"
    else:
        spoken += " o'clock" if int(hour) <= 12 else " hundred hours"
    if not second:
        return spoken
    unit = "second" if int(second) == 1 else "seconds"
    return f"{spoken} and {in_words(second)} {unit}"


def _telephone(match: re.Match[str]) -> str:
    plus = "plus " if match[0].startswith("+") else ""
    return plus + ", ".join(map(by_digit, re.findall("[0-9]+", match[0])))


def _local(match: re.Match[str]) -> str:
    """555-0123 is a telephone number, 500-1000 a range."""
    calls = re.search(rf"(?i)\b{CALLS}\W*\Z", match.string[max(0, match.start() - 20) : match.start()])
    return match[0] if match[0].endswith("00") and not calls else _telephone(match)


def _chain(match: re.Match[str]) -> str:
    parts = match[0].split("-")
    if any(len(part) > 2 or part[0] == "0" for part in parts):
        return ", ".join(map(by_digit, parts))
    return " ".join(map(number, parts))


def _range(match: re.Match[str]) -> str:
    sign, first, second = match.groups()
    if _follows(match, r"\s*="):
        return f"{sign}{first} minus {second}"
    return f"{first} to {sign}{second.lstrip(sign or ' ')}"


def _money(match: re.Match[str]) -> str:
    groups = match.groupdict()
    one, more, cent, cents = COINS[groups["sign"]]
    land = f"{COUNTRIES[groups['land']]} " if groups.get("land") else ""
    article, scale = groups.get("article") or "", groups["scale"]
    digits = groups["number"].replace(",", "")
    single = article and _follows(match, r"\s[a-z]")
    whole, point, decimals = digits.partition(".")
    units = whole.lstrip("0")
    minus = "minus " if groups.get("minus") or groups.get("below") else ""
    per = " per " if groups.get("per") else ""
    if scale or not cent or len(decimals) > 2:
        amount = f"{number(digits)} {SCALES[scale]}" if scale else number(digits)
        is_one = single or (digits == "1" and not scale)
        spoken = f"{amount} {land}{one if is_one else more}"
    else:
        hundredths = int(decimals.ljust(2, "0")) if point else 0
        coin = one if single or units == "1" else more
        words = [f"{in_words(whole)} {land}{coin}"] if units or not hundredths else []
        if hundredths:
            words.append(f"{in_words(str(hundredths))} {cent if hundredths == 1 else cents}")
        spoken = " ".join(words)
    return f"{article}{minus}{spoken}{per}"


def _fraction(match: re.Match[str]) -> str:
    whole, above, below = match["whole"], int(match["above"]), int(match["below"])
    if not whole and (idiom := IDIOMS.get(match[0])):
        return idiom
    if 0 < above < below and below in PARTS:
        part = PARTS[below] if above == 1 else "halves" if below == 2 else f"{PARTS[below]}s"
        if whole:
            return f"{number(whole)} and {'a' if above == 1 else in_words(str(above))} {part}"
        return f"{in_words(str(above))} {part}"
    first = f"{whole} " if whole else ""
    if below in (10, 100) and above <= below:
        return f"{first}{above} out of {below}"
    if len(match["above"]) == 4 and len(match["below"]) == 2:  # a season
        return f"{first}{year(match['above'])} to {number(match['below'])}"
    return f"{first}{above} slash {below}"


def _unit(match: re.Match[str]) -> str:
    unit, digits = UNITS[match["unit"]], match["number"]
    article = match["article"] or ""
    single = digits == "1" or (article and _follows(match, r"\s[a-z]"))
    if not single and unit not in ("percent", "per thousand", "hertz") and not unit.endswith("hertz"):
        first, per, rest = unit.partition(" per ")
        first, of, scale = first.partition(" ") if first.startswith("degree ") else (first, "", "")
        unit = IRREGULAR.get(first, many(first)) + of + scale + per + rest
    return f"{article}{number(digits)} {unit}"


def _scaled(match: re.Match[str]) -> str:
    digits, scale = match.groups()
    if scale in "kK" and float(digits.replace(",", "")) < 10:
        return f"{number(digits)} K"
    return f"{number(digits)} {SCALES[scale]}"


def _power(match: re.Match[str]) -> str:
    base, power = match.groups()
    power = "".join(str(unicodedata.digit(char)) if char in RAISED[:10] else char for char in power.lstrip("^"))
    power = power.replace("⁻", "-").replace("⁺", "").strip("{}()")
    if not re.search(r"[0-9]", power):
        return match[0]
    if len(base) > 1 and re.search("(?i)[aeiouy]", base):  # a footnote, which follows words
        return base
    if power in ("2", "3"):
        return f"{base} {'squared' if power == '2' else 'cubed'}"
    minus = "minus " if power.startswith(("-", "−")) else ""
    return f"{base} to the power of {minus}{number(power.lstrip('-−+'))}"


def _decade(digits: str) -> str:
    return many(year(digits) if len(digits) == 4 else number(digits))


def _year(match: re.Match[str]) -> str:
    """Four digits: a year, unless a counted noun follows."""
    digits, value = match[0], int(match[0])
    words = re.findall(r"[A-Za-z]+", match.string[max(0, match.start() - 20) : match.start()])
    before = words[-1] if words else ""
    after = _follows(match, r"\s([a-z]+)")
    is_counted = after and COUNTED.fullmatch(after[1])
    is_recent = LOOSELY.fullmatch(before) and 1900 <= value <= 2099
    is_dated = DATING.fullmatch(before) or is_recent
    if digits[0] == "0":
        return digits
    return year(digits) if is_dated or (1100 <= value <= 2099 and not is_counted) else digits


def _rest(match: re.Match[str]) -> str:
    before = match.string[max(0, match.start() - 1) : match.start()]
    after = _follows(match, r"[^\W\d_]")
    return f"{' ' if before.isalpha() else ''}{number(match[0])}{' ' if after else ''}"


def _rule(pattern: str, spoken: Callable[[re.Match[str]], str] | str) -> Rule:
    return re.compile(pattern), spoken if callable(spoken) else lambda match: match.expand(spoken)


RULES: tuple[Rule, ...] = (
    # how numbers are written
    _rule(f"{ROMAN}+", _roman),
    _rule(rf"(?<=\w)(?={ENCLOSED})|(?<={ENCLOSED})(?=\w)", " "),
    _rule(ENCLOSED, lambda match: str(int(unicodedata.numeric(match[0])))),
    _rule(SQUARE, lambda match: unicodedata.normalize("NFKC", match[0]).translate(str.maketrans("23", "²³"))),
    _rule(f"[{LOWERED}]+", lambda match: "".join(str(unicodedata.digit(char)) for char in match[0])),
    _rule(f"([0-9]) ?(?=[{''.join(VULGAR)}])", r"\1 "),
    _rule(f"[{''.join(VULGAR)}]", lambda match: VULGAR[match[0]]),
    _rule(
        rf"{ALONE}(?<![0-9][ ])[1-9][0-9]{{0,2}}(?:(?:[ \u00a0\u2009\u202f][0-9]{{3}})+|(?:['’][0-9]{{3}})+)"
        r"(?:,[0-9]{1,2})?(?![\w]|[ ,-]?[0-9])",
        _grouped,
    ),
    _rule(
        rf"{ALONE}[1-9][0-9]{{0,2}}(?:(?:\.[0-9]{{3}}){{2,}}|(?:\.[0-9]{{3}})+,[0-9]{{1,2}})(?![\w.]*[0-9])", _dotted
    ),
    _rule(r"(?<![\w.])[0-9]+(?:,[0-9]+)+(?:\.[0-9]+)?", _listed),
    _rule(r"\b(" + "|".join(CODES) + r")\s?(?=[0-9])", lambda match: CODES[match[1]]),
    _rule(r"([0-9])\s?(" + "|".join(CODES) + r")\b", lambda match: match[1] + CODES[match[2]]),
    # dates and times
    _rule(
        r"\b([0-9]{4})([-/])([0-9]{1,2})\2([0-9]{1,2})(?:T(?=[0-9])|\b)",
        lambda match: (
            (_date(match[1], match[3], match[4], american=True) or match[0]) + (" " if match[0][-1] == "T" else "")
        ),
    ),
    _rule(r"\b([0-9]{1,2})/([0-9]{1,2})/([0-9]{4}|[0-9]{2})\b", _slashed),
    _rule(r"(?<![\w.,:])[0-9]+(?:\.[0-9]+){2,}(?![0-9])", _parts),
    _rule(
        rf"\b{MONTH}\s(?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)?(?:,?\s(?P<year>[0-9]{{4}}))?"
        rf"(?![\w:%/]|[.,-][0-9]){OTHERWISE}",
        _month_first,
    ),
    _rule(
        rf"(?P<the>\b[Tt]he\s)?{ALONE}(?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)?(?:\sof)?\s{MONTH}"
        rf"(?:,?\s(?P<year>[0-9]{{4}})(?!\w))?",
        _day_first,
    ),
    _rule(
        r"\b(" + "|".join(name[:3] for name in MONTHS) + r"|Sept)\.?\s(?=[0-9]{4}\b)",
        lambda match: next(name for name in MONTHS if name[:3] == match[1][:3]) + " ",
    ),
    _rule(r"([0-9])\s?([AaPp])[Mm]\b\.?(?!\s?I\b)", lambda match: f"{match[1]} {match[2].lower()}.m."),
    _rule(r"\b([0-9]{1,2})\.([0-5][0-9])(?=\s?[ap]\.m\.)", r"\1:\2"),
    _rule(r"([0-9]:[0-9]{2}|\b[ap]\.m\.)(?:\s?–\s?|\s-\s|-)(?=[0-9]{1,2}(?::[0-9]{2}|\s[ap]\.m\.))", r"\1 to "),
    _rule(rf"{ALONE}([0-9]{{1,2}}):([0-9]{{2}})(?::([0-9]{{2}}))?(?![0-9:]|,[0-9])", _time),
    _rule(rf"(?<![\w:.,])({NUM}):({NUM})(?![0-9:])", lambda match: f"{number(match[1])} to {number(match[2])}"),
    # telephones, ranges and what hangs on hyphens
    _rule(
        r"\+[0-9]{1,3}(?:[ .()-]{1,2}[0-9]{2,}){2,}|\+[0-9]{7,}"
        r"|(?<![\w.])(?:1[ .-])?(?:\([0-9]{3}\) ?|[0-9]{3}[ .-])[0-9]{3}[ .-][0-9]{4}\b",
        _telephone,
    ),
    _rule(
        rf"(?i)\b({CALLS}\.?)\s([0-9]{{3,8}}(?: [0-9]{{2,8}})*)\b(?![.,:/-]?[0-9])(?!\s{COUNTED.pattern}\b)",
        lambda match: f"{match[1]} {_telephone(match)}",
    ),
    _rule(r"(?<![\w.,-])[0-9]{3}-[0-9]{4}(?![\w-]|[.,][0-9])", _local),
    _rule(r"(?<![\w.,-])[0-9]+(?:-[0-9]+){2,}(?![\w-])", _chain),
    _rule(rf"(?<![\w.,–-])({SIGN}?)({NUM})(?:\s?–\s?|\s-\s|-)({SIGN}?{NUM})(?![\w-]*[A-Z])", _range),
    _rule(rf"(?<![\w.,])({NUM}\s?(?:{UNIT}|{'|'.join(SCALES)}))(?:\s?–\s?|\s-\s|-)(?={SIGN}?{NUM})", r"\1 to "),
    # words for what a number is
    _rule(
        rf"(?i){NO}\b(nos?|pp?|vol|ch)\.\s?(?=[0-9])",
        lambda match: (
            (LABELS[match[1].lower()].capitalize() if match[1][0].isupper() else LABELS[match[1].lower()]) + " "
        ),
    ),
    _rule(r"№\s?(?=[0-9])", "number "),
    _rule(
        rf"(?i)\b({NUMBERED})\s?([0-9]+)\.([0-9]+)\b(?!\s?%)",
        lambda match: f"{match[1]} {number(match[2])} point {number(match[3])}",
    ),
    # amounts
    _rule(
        rf"{ARTICLE}(?:(?<![\w.])(?P<minus>[-−]))?(?<![0-9A-Za-z])(?P<land>{LAND})?(?P<sign>{SIGN})\s?(?P<below>[-−])?"
        rf"(?P<number>{NUM}){SCALE}(?:(?<=[0-9])s\b)?(?P<per>/(?=[a-z]))?",
        _money,
    ),
    _rule(
        rf"(?:(?<![\w.])(?P<minus>[-−]))?(?<![\w.,])(?P<number>{NUM}){SCALE}\s?(?P<sign>{SIGN})(?P<per>/(?=[a-z]))?(?![\w])",
        _money,
    ),
    _rule(rf"{ALONE}({NUM})\s?¢", lambda match: f"{number(match[1])} cent{'' if match[1] == '1' else 's'}"),
    _rule(rf"(?<![\w.,])({NUM})[eE]([-+−]?[0-9]{{1,3}})(?!\w)", r"\1 × 10^\2"),
    _rule(r"(?<![\w.)^{])[-−](?=\.?[0-9])", "minus "),
    # fractions, ordinals, decades, factors
    _rule(
        r"(?<![\w.,/])(?:(?P<whole>[0-9]+)\s)?(?P<above>[0-9]{1,6})/(?P<below>[0-9]{1,6})(?![\w/]|[.,][0-9])", _fraction
    ),
    _rule(r"(?<![\w.])([0-9][0-9,]*)(?:st|nd|rd|th|ST|ND|RD|TH)\b", lambda match: ordinal(match[1])),
    _rule(
        r"(?<![\w.,])['’]?(?P<digits>[0-9]{1,4})s\b|(?<![\w.,])(?P<tens>[0-9]{3}0)['’]s\b"
        r"|(?<=\b[Tt]he )(?P<decade>[1-9]0)['’]s\b",
        lambda match: _decade(match["digits"] or match["tens"] or match["decade"]),
    ),
    _rule(
        rf"{ALONE}([0-9]+)['′]\s?([0-9]{{1,2}})(?:[\"″”]|'')",
        lambda match: f"{number(match[1])} foot {number(match[2])}",
    ),
    _rule(
        rf"{ALONE}(?!0x)({NUM})\s?[x×*]\s?(?={NUM})",
        lambda match: f"{match[1]} {'by' if 'x' in match[0] else 'times'} ",
    ),
    _rule(rf"{ALONE}({NUM})[x×](?!\w)", lambda match: f"{number(match[1])} time{'' if match[1] == '1' else 's'}"),
    _rule(rf"{ALONE}({NUM})([kKM])(?![\w])", _scaled),
    _rule(rf"{ALONE}({NUM})m(?=\s{COUNTED.pattern}\b)", lambda match: f"{number(match[1])} million"),
    # units, powers
    _rule(
        rf"{ARTICLE}(?<![\w.,])(?P<number>{NUM})[-\s\u00a0\u202f]?(?P<unit>{UNIT})(?![\w²³/]|-[a-z])(?:{SHORT_UNITS}\.(?=\s+[a-z(]|[,;]))?",
        _unit,
    ),
    _rule(rf"((?<![0-9.,]){NUM}|\b[A-Za-z]+|\))([{RAISED}]+|\^\{{?[-+−]?[0-9]+\}}?)", _power),
    # signs, years, and all that is left
    _rule(r"±\s?(?=\.?[0-9])", "plus or minus "),
    _rule(r"[~≈]\s?(?=\.?[0-9])", "about "),
    _rule(r"<\s?(?=\.?[0-9])", "less than "),
    _rule(r">\s?(?=\.?[0-9])", "more than "),
    _rule(r"≤\s?(?=\.?[0-9])", "at most "),
    _rule(r"≥\s?(?=\.?[0-9])", "at least "),
    _rule(r"(?<=[0-9])(?:\s?÷\s?|\s/\s)(?=[0-9])", " divided by "),
    _rule(r"(?<=[0-9])\s?−\s?(?=[0-9])", " minus "),
    _rule(r"(?<![\w.,])[0-9]{4}(?![\w]|[.,][0-9])", _year),
    _rule(NUM, _rest),
)
"""Patterns and their replacements, in the order in which they are applied."""
