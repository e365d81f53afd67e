"""Our networks against tortoise-tts 3.0.0, with the same random weights, in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_tortoise import STOCK, checkpoint, learned_row, network, off, talkative, text_head
from tiny_tortoise import outputs as our_outputs
from torch import Tensor

from difftool.audio.files import read_sound
from difftool.nets.tortoise.mel import conditioning_mel, diffusion_mel
from difftool.nets.tortoise.official import CHECKPOINTS
from difftool.nets.tortoise.tokenizer import tokenize
from difftool.voice.engines.tortoise.networks import open_network
from difftool.voice.engines.tortoise.tuning.task import CodePredictor
from difftool.voice.plan import plan_speech_with
from difftool.voice.speak import clone, speak_plan

pytest.importorskip("tortoise", reason="tortoise-tts is not installed: make test-stock")

from original import losses, original, outputs, speaker, speech
from sentences import sentences

TEXT = "Hello there, Dr. Smith."


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


def agree(ours: Iterator[tuple[str, Tensor]], theirs: Iterator[tuple[str, Tensor]]) -> None:
    """A pass of a network to 1e-4, a whole chain to 1e-3."""
    for (stage, found), (same, wanted) in zip(ours, theirs, strict=True):
        assert stage == same
        difference = off(found, wanted)
        print(f"{stage}: {difference:.1e}")
        assert difference < (1e-3 if stage.startswith("chain") else 1e-4), stage


def test_tiny_networks_agree() -> None:
    agree(our_outputs(network), outputs(lambda file: original(file, checkpoint(file), STOCK[file])))


def test_tiny_networks_agree_as_they_run() -> None:
    agree(
        our_outputs(lambda name: network(name, torch.float32)),
        outputs(lambda file: original(file, checkpoint(file), STOCK[file])),
    )


def test_losses_agree() -> None:
    predictor = CodePredictor(network("autoregressive"), text_head())
    voice, text, codes = learned_row()
    decoder = original("autoregressive.pth", checkpoint("autoregressive.pth"), STOCK["autoregressive.pth"])
    wanted = losses(decoder, voice, text, codes)
    for found, name in zip(predictor(voice, [text[0]], [codes[0]]), ("text", "codes"), strict=True):
        assert float(found) == pytest.approx(wanted[name], rel=1e-5)


@pytest.mark.slow
def test_networks_of_full_size_agree(tmp_path: Path) -> None:
    """From official files, converted and mapped, as they run."""

    def fast(seed: int, *shape: int) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    def drawn(file: str) -> dict[str, Tensor]:
        return checkpoint(file, {}, fast)

    for file, row in CHECKPOINTS.items():
        torch.save({row.inside: drawn(file)} if row.inside else drawn(file), tmp_path / file)
    agree(our_outputs(lambda name: open_network(name, tmp_path)), outputs(lambda file: original(file, drawn(file), {})))


@pytest.mark.parametrize("mode", ["stock", "stock-kv"])
@pytest.mark.parametrize("seed", [3, 4])
def test_tiny_speech_is_identical(mode: str, seed: int, tortoise: Path, voices: Path) -> None:
    """The same codes for a seed, and the same sound to rounding; in two batches, two candidates, guided."""
    says(
        talkative,
        STOCK,
        tortoise,
        voices,
        mode,
        seed,
        samples=8,
        max_mel_tokens=40,
        steps=10,
        guidance=3.0,
        batch_size=4,
    )


@pytest.mark.slow
def test_speech_of_full_size_is_identical(tmp_path: Path, voices: Path) -> None:
    """With the cache of keys and values, as anybody who has the time runs the original."""

    def weights(file: str) -> dict[str, Tensor]:
        drawn = checkpoint(
            file, {}, lambda seed, *shape: torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        )
        if file == "autoregressive.pth":
            drawn["mel_head.bias"][8192:] += torch.tensor([-9.0, 0.0])
        return drawn

    for file, row in CHECKPOINTS.items():
        torch.save({row.inside: weights(file)} if row.inside else weights(file), tmp_path / file)
    says(
        weights,
        {},
        tmp_path,
        voices,
        "stock-kv",
        0,
        samples=16,
        max_mel_tokens=60,
        steps=5,
        guidance=3.0,
        batch_size=16,
    )


def says(
    weights: Callable[[str], dict[str, Tensor]],
    sizes: dict[str, Any],
    folder: Path,
    voices: Path,
    mode: str,
    seed: int,
    **settings: Any,
) -> None:
    """Compares what we say in a mode with what the original says, of a random voice or (even seeds) one of clips."""
    named = {"voice": "random" if seed % 2 else "me", "voices_dir": voices}
    stages: dict[str, Tensor] = {}
    planned = plan_speech_with(TEXT, **named, compat=mode, seed=seed, candidates=2, models_dir=folder, **settings)
    done = speak_plan(planned, stages=stages)
    tts = speaker(weights, sizes, kv_cache=mode == "stock-kv", batch=settings["batch_size"])
    clips = [torch.from_numpy(read_sound(path, 22_050))[None] for path in sorted((voices / "me").rglob("*.wav"))]
    wanted, sounds = speech(
        tts,
        TEXT,
        voice_samples=None if seed % 2 else clips,
        k=2,
        num_autoregressive_samples=settings["samples"],
        max_mel_tokens=settings["max_mel_tokens"],
        diffusion_iterations=settings["steps"],
        cond_free=True,
        cond_free_k=settings["guidance"] - 1,
        use_deterministic_seed=seed,
    )
    assert torch.equal(stages["codes"], wanted["codes"])
    agree(
        iter([("clvp", stages["clvp"]), ("chain", stages["mel"][None])]),
        iter([("clvp", wanted["clvp"]), ("chain", wanted["mel"])]),
    )
    for found, sound in zip(done.sounds, sounds, strict=True):
        assert off(torch.from_numpy(found), sound) < 1e-3


def test_the_original_itself(tortoise: Path, voices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--engine stock` says what `--compat stock-kv` says: it is opened from the same folder and given the same."""
    from tortoise import api

    tiny = speaker(talkative, STOCK, kv_cache=True, batch=4)
    monkeypatch.setattr(api, "TextToSpeech", lambda **settings: asked.append(settings) or tiny)
    asked: list[dict[str, Any]] = []
    given: dict[str, Any] = {
        "samples": 8,
        "candidates": 2,
        "steps": 5,
        "guidance": 2.0,
        "max_mel_tokens": 40,
        "batch_size": 4,
    }
    own = {"voice": "me", "voices_dir": voices, "models_dir": tortoise, "seed": 8}
    stock, ours = clone(TEXT, engine="stock", **own, **given), clone(TEXT, compat="stock-kv", **own, **given)
    assert asked[0]["kv_cache"]
    assert asked[0]["autoregressive_batch_size"] == 4
    for one, other in zip(stock.sounds, ours.sounds, strict=True):
        assert off(torch.from_numpy(one), torch.from_numpy(other)) < 1e-3


def test_mels_agree() -> None:
    from tortoise.models.arch_util import TorchMelSpectrogram
    from tortoise.utils.audio import wav_to_univnet_mel

    torch.manual_seed(0)
    for sound in (torch.randn(2, 30_000) * 0.3, torch.zeros(1, 20_000), torch.sin(torch.arange(132_300) / 20)[None]):
        assert off(conditioning_mel(sound), TorchMelSpectrogram()(sound)) < 1e-5
        assert off(diffusion_mel(sound), wav_to_univnet_mel(sound, device="cpu")) < 1e-4


def test_tokens_are_identical() -> None:
    from tortoise.utils.tokenizer import VoiceBpeTokenizer

    stock = VoiceBpeTokenizer()
    said = sentences(2500)
    assert len(set(said)) > 2000
    for text in said:
        assert tokenize(text) == stock.encode(text), text
