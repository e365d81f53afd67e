"""Makes the pronouncing lexicon, FOLDER/lexicon.xz, from those of misaki (Apache-2.0) that hibari-tts carries.

It has one word a line with its phonemes and the readings of a part of speech, an empty line, and then the words of the
second lexicon, which holds the rarer ones.
"""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path

from fetch import vocabulary

from difftool.errors import DifftoolError, Exit
from difftool.voice.engines.mini.words import SOUNDS

Readings = str | dict[str, str | None]
SHORTER = str.maketrans("ɾʔ", "Tt")
"""Phonemes of the lexicon that the teacher replaces."""
ADDED = """
Angela ˈænʤələ, Beethoven bˈAtOvən, Carolyn kˈɛɹələn, Catherine kˈæθɹən, Cheryl ʃˈɛɹəl, Danielle dænjˈɛl,
Denise dənˈis, Diane dIˈæn, Diego diˈAɡO, Donald dˈɑnᵊld, Douglas dˈʌɡləs, Dylan dˈɪlən, Ethan ˈiθən,
Evelyn ˈɛvələn, Garcia ɡɑɹsˈiə, Gerald ʤˈɛɹəld, Gonzalez ɡɑnzˈɑləs, Harris hˈɛɹəs, Harvard hˈɑɹvəɹd,
Hernandez hɜɹnˈændɛz, Jacqueline ʤˈækələn, Joan ʤˈOn, Jose hOzˈA, Juan wˈɑn, Katherine kˈæθɹən, Kathryn kˈæθɹən,
Kevin kˈɛvən, Lauren lˈɔɹən, Lucas lˈukəs, Marie məɹˈi, Megan mˈɛɡən, Mozart mˈOtsɑɹt, Natalie nˈæTəli,
Nathan nˈAθən, Nguyen wˈɪn, Nicole nəkˈOl, Olivia Olˈɪviə, Pamela pˈæmələ, Patrick pˈætɹɪk, Perez pˈɛɹɛz,
Ramirez ɹəmˈɪɹɛz, Raymond ɹˈAmənd, Rivera ɹəvˈɛɹə, Robinson ɹˈɑbənsən, Rodriguez ɹɑdɹˈiɡəs, Ronald ɹˈɑnᵊld,
Russell ɹˈʌsᵊl, Sanchez sˈænʧɛz, Sara sˈɛɹə, Sean ʃˈɔn, Sophia sOfˈiə, Teresa təɹˈisə, Theresa təɹˈisə,
Thompson tˈɑmpsən, Zachary zˈækəɹi, cetera sˈɛTəɹə, config kˈɑnfɪɡ, denoise dˌinˈYz, denoiser dˌinˈYzəɹ,
difftool dˈɪftˌul, et ɛt, frontend fɹˈʌntˌɛnd, wifi wˈIfˌI
"""
"""Words that are in neither lexicon, mostly names."""
FILTER = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0, "pb": 0}


def make(folder: Path, end: float) -> None:
    """The stage."""
    assets = vocabulary(folder).parent
    common, rare = (_read(assets / f"lexicon_us_{name}.json.gz") for name in ("gold", "silver"))
    common |= dict(pair.split() for pair in ADDED.split(","))
    others = {word: rare[word] for word in rare.keys() - common.keys()}
    text = f"{_lines(common)}\n\n{_lines(others)}"
    if unknown := sorted(sign for sign in set(text) - set(SOUNDS) if not sign.isascii()):
        message = f"the lexicon has phonemes that the voice does not know: {' '.join(unknown)}"
        raise DifftoolError(
            Exit.FILE, message, "add them to SOUNDS of difftool.voice.engines.mini.words, or to SHORTER"
        )
    lexicon_path(folder).write_bytes(lzma.compress(text.encode(), filters=[FILTER]))


def lexicon_path(folder: Path) -> Path:
    """The file."""
    return folder / "lexicon.xz"


def _read(path: Path) -> dict[str, Readings]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return json.load(file)


def _lines(lexicon: dict[str, Readings]) -> str:
    """The words in order, one a line."""
    return "\n".join(f"{word} {_line(readings)}" for word, readings in sorted(lexicon.items()))


def _line(readings: Readings) -> str:
    """The usual reading of a word, and those of its parts of speech."""
    if isinstance(readings, str):
        return readings.translate(SHORTER)
    others = (f"{part}={sounds or ''}" for part, sounds in readings.items() if part != "DEFAULT")
    return " ".join((readings["DEFAULT"] or "", *others)).translate(SHORTER)
