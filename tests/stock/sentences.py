from __future__ import annotations

import random

SPELLED = """the quick brown fox|jumps over|a lazy dog|said nothing|I'm sure it'll be|WAIT|street|company|and so, then;
naïve café|Straße|Zürich|¡Olé!|½ cup|x²|“quoted” ‘so’|a — b – c…|北京|Ελλάδα|Москва|😀|→|™|№ 5|ﬁne|Ⅳ|１２３|é
\u00a0|\u200b|50%|#1|[sadly]|R&B|a@b.com|snake_case|C++|tab\there|«x»|honorable mention|two  spaces"""
TITLES = "Mr|Mrs|Dr|St|Co|Jr|Maj|Gen|Drs|Rev|Lt|Hon|Sgt|Capt|Esq|Ltd|Col|Ft|Prof|Inc"
ROUND = [0, 1, 7, 10, 13, 99, 100, 101, 999, 1000, 1001, 1900, 1984, 2000, 2005, 2010, 2999, 3000]


def sentences(n: int) -> list[str]:
    """English sentences with all that is read aloud in another way than it is written: numbers, money, dates, times,
    abbreviations, signs, letters of other languages."""
    drawn = random.Random(0)
    some, below = drawn.choice, drawn.randrange
    make = [
        lambda: str(some(ROUND)),
        lambda: str(below(10 ** drawn.randint(1, 13))),
        lambda: f"{below(10**9):,}",
        lambda: f"{below(1000)}.{below(1000)}",
        lambda: f"${some(['', '1', '2', '1,234', '3,000', '12'])}{some(['', '.01', '.50', '.5', '.00', '.1.2'])}5",
        lambda: f"${below(5)}.{some(['00', '01', '99'])}",
        lambda: f"£{below(5000):,}",
        lambda: f"€{below(50)}",
        lambda: f"{below(200)}{some(['st', 'nd', 'rd', 'th'])}",
        lambda: f"{some(['January', 'May', 'Dec.'])} {below(32)}, {drawn.randint(1700, 2100)}",
        lambda: f"{below(24)}:{below(60):02} on {below(13)}/{below(32)}/{below(100):02}",
        lambda: f"{some(TITLES.split('|'))}. O'Neil",
        lambda: f"{some(TITLES.split('|'))}.{some(TITLES.split('|'))}.{some(TITLES.split('|')).upper()}.",
        *[lambda: some(SPELLED.replace("\n", "|").split("|"))] * 3,
    ]
    return [
        some(["", '"', "("])
        + " ".join(some(make)() for _ in range(drawn.randint(1, 7)))
        + some([".", "!", "?", "...", "", '"'])
        for _ in range(n)
    ]
