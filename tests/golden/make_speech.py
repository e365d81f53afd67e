"""Makes speech.ogg and speech.json: a known text spoken by espeak-ng, and the time of each of its words.

Needs its library (Debian: libespeak-ng1).

python tests/golden/make_speech.py
"""

import ctypes
import json
from pathlib import Path

import numpy as np
import soundfile

TEXT = """The house stands on a hill above the river, and nobody has lived there for years.
In the summer the windows are open.
Children from the village say that they have seen a light behind them, late in the evening, when the fields are dark.
Nobody believes a word of it!
My grandmother kept the keys in a small box made of tin.
She said that a house without people is only a heap of stones, and that it would rather be a barn.
Who would want to live so far away from everything?
Once a year we walked up the path and cleaned the kitchen, the two rooms and the stairs.
The water was cold, the wood was damp.
I still remember the smell of smoke and apples."""
GAPS = (0.55, 0.4, 0.7, 0.35, 0.9, 0.5, 0.3, 0.6, 0.45)
"""Seconds of silence between two sentences."""


class Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("id", ctypes.c_uint),
        ("position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("value", ctypes.c_char * 8),
    )


library = ctypes.CDLL("libespeak-ng.so.1")
RATE = library.espeak_Initialize(2, 0, None, 0)
library.espeak_SetVoiceByName(b"en")
library.espeak_SetParameter(1, 150, 0)
pieces, events = [], []


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))
def heard(wave, count, event):
    if count > 0:
        pieces.append(np.ctypeslib.as_array(wave, (count,)).copy())
    k = 0
    while event[k].type:
        if event[k].type == 1:  # a word
            events.append((event[k].position - 1, event[k].length, event[k].milliseconds / 1000))
        k += 1
    return 0


def spoken(text: str) -> tuple[np.ndarray, list[str], list[float]]:
    """The sound, the words (several in one where they are spoken as one) and when each begins."""
    pieces.clear()
    events.clear()
    data = text.encode()
    library.espeak_Synth(data, len(data) + 1, 0, 0, 0, 1, None, None)
    library.espeak_Synchronize()
    kept = [events[0]]
    for event in events[1:]:
        if event[0] > kept[-1][0] and text[event[0] - 1] == " ":
            kept.append(event)
    places = [position for position, _, _ in kept]
    said = [text[a:b].strip() for a, b in zip(places, [*places[1:], None], strict=True)]
    return np.concatenate(pieces).astype(np.float32) / 32768, said, [start for _, _, start in kept]


if __name__ == "__main__":
    library.espeak_SetSynthCallback(heard)
    rng = np.random.default_rng(0)
    sound, words, at = [np.zeros(RATE // 2, np.float32)], [], 0.5
    for sentence, gap in zip(TEXT.splitlines(), (*GAPS, 0.5), strict=True):
        wave, said, starts = spoken(sentence)
        loud = np.flatnonzero(np.abs(wave) > 0.005)
        wave = wave[: loud[-1] + 1]
        ends = [*starts[1:], len(wave) / RATE]
        told = zip(said, starts, ends, strict=True)
        words.append([{"word": w, "start": round(at + a, 3), "end": round(at + b, 3)} for w, a, b in told])
        silence = np.zeros(round(gap * RATE), np.float32)
        sound += [wave, silence]
        at += (len(wave) + len(silence)) / RATE
    whole = np.concatenate(sound)
    whole = 0.4 * whole / np.abs(whole).max() + 3e-4 * rng.normal(size=len(whole)).astype(np.float32)
    here = Path(__file__).parent
    soundfile.write(here / "speech.ogg", whole, RATE, format="OGG", subtype="VORBIS", compression_level=0.8)
    segments = [{"text": line, "words": told} for line, told in zip(TEXT.splitlines(), words, strict=True)]
    (here / "speech.json").write_text(json.dumps({"segments": segments}) + "\n")
