import lzma
import re
from functools import cache

from ....models import ASSETS

SYMBOLS = ";:,.!? AIOTWYᵊbdfhijklmnpstuvwzɑɐæɔðʤəɛɜɡɪŋθɹʃʧʊʌʒˈˌᵻ"


@cache
def lexicon():
    text = lzma.decompress((ASSETS / "mini" / "lexicon.xz").read_bytes()).decode()
    return [dict(line.split(" ", 1) for line in part.split("\n")) for part in text.split("\n\n")]


def phonemes(text):
    c, r = lexicon()
    out = []
    for w in re.findall(r"[\w']+|[,.;:!?]| ", text):
        p = c.get(w) or c.get(w.lower()) or r.get(w.lower()) or (w if w in ",.;:!? " else "")
        out.append("".join(x for x in p.split("|")[0] if x in SYMBOLS))
    return "".join(out)


def unspoken(text):
    return ""
