"""Makes speaker.npz: what Resemblyzer 0.1.4 itself returns for stretches of speech.ogg, with its own weights and with
those of assets/speaker.

Needs Resemblyzer and what it imports (librosa, webrtcvad; a scipy below 1.15).

python tests/golden/make_speaker.py
"""

from pathlib import Path

import numpy as np
import soundfile
import torch
from resemblyzer import VoiceEncoder
from safetensors.torch import load_file
from torchaudio.functional import resample

HERE = Path(__file__).parent
HALVES = HERE.parents[1] / "src" / "difftool" / "assets" / "speaker" / "model.safetensors"
STRETCHES = ((0.6, 1.0), (0.5, 2.6), (0.5, 5.5), (8.0, 20.0))
"""Seconds, from and to: shorter than a window, one window with and without a second, several."""

if __name__ == "__main__":
    sound, rate = soundfile.read(HERE / "speech.ogg", dtype="float32")
    heard = resample(torch.from_numpy(sound), rate, 16_000).numpy()
    encoder, made = VoiceEncoder("cpu", verbose=False), {}
    for name in ("original", "halves"):
        if name == "halves":
            encoder.load_state_dict({key: value.float() for key, value in load_file(HALVES).items()}, strict=False)
        cut = [heard[round(16_000 * start) : round(16_000 * end)] for start, end in STRETCHES]
        made[name] = np.stack([encoder.embed_utterance(stretch) for stretch in cut])
    np.savez_compressed(HERE / "speaker.npz", stretches=np.array(STRETCHES), **made)
