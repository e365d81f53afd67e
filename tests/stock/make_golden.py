"""Stores what the original makes of tiny networks, for the tests that run without it:

.venv-stock/bin/python tests/stock/make_golden.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from original import original, outputs  # noqa: E402
from sentences import sentences  # noqa: E402
from tiny_tortoise import STOCK, checkpoint, noise, thinned  # noqa: E402
from tortoise.models.arch_util import TorchMelSpectrogram  # noqa: E402
from tortoise.utils.audio import wav_to_univnet_mel  # noqa: E402
from tortoise.utils.tokenizer import VoiceBpeTokenizer  # noqa: E402

with torch.no_grad():
    stored = dict(outputs(lambda file: original(file, checkpoint(file), STOCK[file])))
    sound = noise(11, 1, 12_000) * 0.2
    stored |= {
        "mel_conditioning": TorchMelSpectrogram()(sound),
        "mel_diffusion": wav_to_univnet_mel(sound, device="cpu"),
    }
np.savez_compressed(TESTS / "golden" / "tortoise.npz", **{name: thinned(made).numpy() for name, made in stored.items()})
tokenizer = VoiceBpeTokenizer()
tokens = [[text, tokenizer.encode(text)] for text in sentences(400)]
lines = ",\n".join(json.dumps(pair) for pair in tokens)
(TESTS / "golden" / "tortoise_tokens.json").write_text(f"[\n{lines}\n]\n")
