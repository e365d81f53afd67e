"""Our networks against f5-tts 1.1.22 and vocos 0.1.0, with the same random weights, in float32."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tiny_f5 import chains as our_chains
from tiny_f5 import outputs as our_outputs
from tiny_f5 import weights
from tiny_tortoise import integers, off
from torch import Tensor

from difftool.nets.f5.architecture import V1
from difftool.nets.f5.official import VOCABULARY, checkpoint_of, load
from difftool.voice import clone

pytest.importorskip("f5_tts", reason="f5-tts is not installed: make test-f5")

from original_f5 import chains, dit, outputs, speech


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("dtype", [None, torch.float32], ids=["as trained", "as it runs"])
def test_tiny_networks_agree(dtype: torch.dtype | None) -> None:
    for (stage, found), (same, wanted) in zip(our_outputs(dtype), outputs(), strict=True):
        assert stage == same
        difference = off(found, wanted)
        print(f"{stage}: {difference:.1e}")
        assert difference < 1e-5, stage


@pytest.mark.parametrize("dtype", [None, torch.float32], ids=["as trained", "as it runs"])
def test_chains_agree(dtype: torch.dtype | None) -> None:
    """7 and 16 steps of the pruned tables and 32 even ones, all with sway and guidance."""
    for (name, found), (same, wanted) in zip(our_chains(dtype), chains(), strict=True):
        assert name == same
        print(f"{name}: {off(found, wanted):.1e}")
        assert off(found, wanted) < 1e-3, name


@pytest.mark.parametrize("text", ["Hello there, it is late.", "Hi!", "No follow-up is so late; it is. " * 8])
def test_compat_agrees(text: str, f5: Path, voices: Path, tmp_path: Path) -> None:
    """From a quiet file to the sound: the clip, its words, tokens, lengths, noise, and chunks that are joined."""
    clip, words = voices / "me" / "refs" / "tortoise" / "0.wav", "This is what was said"
    for other in clip.parent.iterdir():
        other.unlink()
    wave = np.random.default_rng(1).standard_normal(50_000) * 0.03
    wave[20_000:21_000] = wave[:3000] = 0
    soundfile.write(clip, wave, 22_050, subtype="PCM_16")
    clip.with_suffix(".txt").write_text(words)
    settings = {"voices_dir": voices, "models_dir": f5, "engine": "f5", "seed": 3, "steps": 7, "compat": "package"}
    found = torch.from_numpy(clone(text, "me", **settings).sounds[0])
    wanted = speech(f5, clip, words, text, 7, 3).float().clamp(-1, 1)
    print(f"{len(found)} samples: {off(found, wanted):.1e}")
    assert off(found, wanted) < 1e-3


@pytest.mark.slow
def test_networks_of_full_size_agree(tmp_path: Path) -> None:
    """From an official file, mapped, as they run."""

    def draw(seed: int, *shape: int) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    made, path = weights(checkpoint_of(V1), draw), tmp_path / "model_1250000.safetensors"
    save_file({f"ema_model.transformer.{name}": tensor for name, tensor in made.items()}, path)
    tokens, reference, x = integers(0, 0, VOCABULARY, 30), draw(1, 40, 100) - 4, draw(2, 100, 100)
    original = dit(V1, VOCABULARY, made)
    known = F.pad(reference, (0, 0, 0, 60))
    wanted = original(x[None], known[None], tokens[None], torch.tensor(0.3))
    del original, made
    modulations = load("time", path, V1)(torch.tensor([0.3]))
    text, net = load("text", path, V1), load("dit", path, V1)
    found = net(x[None], modulations, net.condition([reference], [text(tokens, 100)]))
    print(f"full size: {off(found, wanted):.1e}")
    assert off(found, wanted) < 1e-4
