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

from original import losses, original, outputs, speaker, speech  # noqa: E402
from sentences import sentences  # noqa: E402
from tiny_tortoise import STOCK, checkpoint, learned_row, noise, talkative, thinned  # noqa: E402
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
    decoder = original("autoregressive.pth", checkpoint("autoregressive.pth"), STOCK["autoregressive.pth"])
    row = losses(decoder, *learned_row())
np.savez_compressed(TESTS / "golden" / "tortoise.npz", **{name: thinned(made).numpy() for name, made in stored.items()})
(TESTS / "golden" / "tortoise_losses.json").write_text(json.dumps(row) + "\n")
tokenizer = VoiceBpeTokenizer()
tokens = [[text, tokenizer.encode(text)] for text in sentences(400)]
lines = ",\n".join(json.dumps(pair) for pair in tokens)
(TESTS / "golden" / "tortoise_tokens.json").write_text(f"[\n{lines}\n]\n")

SPEECH = {"stock": False, "stock-kv": True}
spoken: dict[str, np.ndarray] = {}
for mode, kv_cache in SPEECH.items():
    tts = speaker(talkative, STOCK, kv_cache=kv_cache, batch=4)
    for seed in (5, 6):
        clips = [noise(20 + k, 1, 150_000) * 0.1 for k in range(2)] if seed == 6 else None
        stages, sounds = speech(
            tts,
            "Hello there, Dr. Smith.",
            voice_samples=clips,
            k=2,
            num_autoregressive_samples=8,
            max_mel_tokens=40,
            diffusion_iterations=10,
            cond_free=True,
            use_deterministic_seed=seed,
        )
        made = {
            "codes": stages["codes"].to(torch.int16),
            "clvp": stages["clvp"],
            "mel": thinned(stages["mel"][0]),
            **{f"sound_{k}": thinned(sound) for k, sound in enumerate(sounds)},
        }
        spoken |= {f"{mode}_{seed}_{name}": tensor.numpy() for name, tensor in made.items()}
np.savez_compressed(TESTS / "golden" / "tortoise_speech.npz", **spoken)
