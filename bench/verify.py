"""How well `voice clone --verify` hears: twenty sentences as they are, with three words in a row removed, repeated or
replaced, and without their end, spoken by a synthesiser.

    python bench/verify.py WHISPER COMMAND...

WHISPER is a size or a .pt file. In the command, {text} stands for a sentence and {file} for the WAV to be written:

    python bench/verify.py tiny.en.pt flite -voice slt -t {text} -o {file}
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from difftool.audio.files import RATE, read_sound
from difftool.voice.prep.transcribe import Whisper
from difftool.voice.verify import LANGUAGE, Verifier

SENTENCES = """The house stands on a hill above the river, and nobody has lived there for years.
Children from the village say that they have seen a light behind the windows.
My grandmother kept the keys in a small box made of tin.
Once a year we walked up the path and cleaned the kitchen and the stairs.
The water was cold, and the wood in the shed was damp.
He opened the letter slowly, because he knew the writing on it.
Two ships left the harbour before the storm reached the coast.
She bought seven oranges and a loaf of bread at the market.
The train to the north was forty minutes late that evening.
Nobody in the office could remember where the old maps were kept.
If you turn left after the bridge, you will see a red door.
The doctor told him to rest for a week and drink warm tea.
A dog ran across the field and disappeared behind the barn.
They painted the walls of the hospital green and the ceiling white.
In winter the lake freezes, and people skate to the other side.
The teacher wrote three questions on the board and left the room.
I have never understood why the clock in the tower stopped.
We had lunch in the garden, although the sky was getting dark.
Her brother plays the violin in an orchestra in another city.
The museum is closed on Mondays, but the park is always open.""".splitlines()
OTHER = ("purple", "mountain", "seldom", "careful", "engine", "yesterday")
"""Words of no sentence."""


def altered(sentence: str, k: int) -> Iterator[tuple[str, str]]:
    """(kind, text) of what is spoken for a sentence."""
    words = sentence.split()
    at = 1 + (5 * k) % (len(words) - 4)  # in the middle; the end has a test of its own
    removed, other = words[at : at + 3], [OTHER[(k + i) % len(OTHER)] for i in range(3)]
    yield "right", sentence
    yield "removed", " ".join([*words[:at], *words[at + 3 :]])
    yield "repeated", " ".join([*words[: at + 3], *removed, *words[at + 3 :]])
    yield "replaced", " ".join([*words[:at], *other, *words[at + 3 :]])
    yield "cut off", " ".join(words[:-2])


def main() -> None:
    size, command = sys.argv[1], sys.argv[2:]
    verifier = Verifier(Whisper(size, torch.device("cpu"), LANGUAGE), tries=1, keep=True)
    passed: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "said.wav"
        for k, sentence in enumerate(SENTENCES):
            for kind, text in altered(sentence, k):
                filled = [word.replace("{text}", text).replace("{file}", str(file)) for word in command]
                subprocess.run(filled, check=True, capture_output=True)
                words, heard = verifier(sentence, read_sound(file, RATE))
                passed[kind] = passed.get(kind, 0) + words.right
                if words.right != (kind == "right"):
                    print(f"{kind}: {text}\n  heard: {heard}", flush=True)
    for kind, count in passed.items():
        print(f"{kind:10} {count:2} of {len(SENTENCES)} pass")
    print(f"{verifier.seconds['verify'] / len(SENTENCES) / len(passed):.2f} s a sentence")


if __name__ == "__main__":
    main()
