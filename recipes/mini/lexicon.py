"""Makes the pronouncing lexicon in the package: `python recipes/mini/lexicon.py PACKAGES OUT`.

PACKAGES is the folder where hibari-tts 0.2.1 is unpacked, which carries the lexicons of misaki (Apache-2.0). OUT is the
file: one word a line with its phonemes and the readings of a part of speech, an empty line, and then the words of the
second lexicon, which holds the rarer ones.
"""

from __future__ import annotations

import gzip
import json
import lzma
import sys
from pathlib import Path

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


def main(packages: Path, out: Path) -> None:
    common, rare = (_read(packages / "hibari" / "assets" / f"lexicon_us_{name}.json.gz") for name in ("gold", "silver"))
    common |= dict(pair.split() for pair in ADDED.split(","))
    text = "\n\n".join((_lines(common), _lines({word: rare[word] for word in rare.keys() - common.keys()})))
    if unknown := set(text) - set(SOUNDS) - set(map(chr, range(128))):
        raise SystemExit(f"error: the lexicon has phonemes that the voice does not know: {' '.join(sorted(unknown))}")
    out.write_bytes(lzma.compress(text.encode(), filters=[FILTER]))


def _read(path: Path) -> dict[str, Readings]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return json.load(file)


def _lines(lexicon: dict[str, Readings]) -> str:
    return "\n".join(f"{word} {_line(readings)}" for word, readings in sorted(lexicon.items()))


def _line(readings: Readings) -> str:
    if isinstance(readings, str):
        return readings.translate(SHORTER)
    others = (f"{part}={sounds or ''}" for part, sounds in readings.items() if part != "DEFAULT")
    return " ".join((readings["DEFAULT"] or "", *others)).translate(SHORTER)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
