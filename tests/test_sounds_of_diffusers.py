"""Folders of diffusers' AudioDiffusionPipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_sounds import MEL, of_diffusers

from difftool import sample
from difftool.audio.mels import format_of
from difftool.core.noise import START, Noise
from difftool.errors import DifftoolError
from difftool.models import open_model
from difftool.pixels.draw import decoded, encoded, states
from difftool.sampling.choice import choose_sampler


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Opens a folder with AudioDiffusionPipeline, whose sounds need librosa and are left out."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DModel
    from diffusers.pipelines.deprecated.audio_diffusion import mel, pipeline_audio_diffusion

    monkeypatch.setattr(mel, "_librosa_can_be_imported", True)
    monkeypatch.setattr(mel.Mel, "image_to_audio", lambda self, image: np.zeros(4))

    def opened(folder: Path) -> Any:
        autoencoder = AutoencoderKL.from_pretrained(folder / "vqvae") if (folder / "vqvae").exists() else None
        net, scheduler = (
            UNet2DModel.from_pretrained(folder / "unet"),
            DDIMScheduler.from_pretrained(folder / "scheduler"),
        )
        made = pipeline_audio_diffusion.AudioDiffusionPipeline(autoencoder, net, mel.Mel(**MEL), scheduler)
        made.set_progress_bar_config(disable=True)
        return made

    return opened


@pytest.mark.parametrize(("latent", "channels"), [(False, 1), (True, 1), (True, 3)])
def test_it_draws_what_the_pipeline_draws(tmp_path: Path, pipeline: Any, latent: bool, channels: int) -> None:
    folder = of_diffusers(tmp_path / "model", latent=latent, channels=channels)
    model = open_model(folder)
    assert model.sound is not None
    assert (model.sound.frames, model.sound.format.mels, model.sound.format.rate) == (16, 16, 4000)
    choice = choose_sampler(model.path, "ddim", 3, "leading")
    *_, state = states(model, choice, [4], [None])
    ours = ((decoded(model, state.x)[0, 0] / 2 + 0.5).clamp(0, 1) * 255).round()
    noise = Noise([4], model.shape)(START) * choice.levels[0].sigma
    theirs = np.asarray(pipeline(folder)(noise=noise, steps=3).images[0])
    assert theirs.std() > 1
    assert np.abs(ours.numpy() - theirs).max() <= 1


def test_a_spectrogram_is_that_of_the_pipeline(tmp_path: Path) -> None:
    """As `Mel` computes it; tests/audio has a golden of librosa, and here are the sizes of another config."""
    form, frames = format_of(MEL)
    sound = torch.sin(torch.arange(frames * form.hop - 1) * 0.3)
    power = (
        torch.stft(sound, 256, 64, window=torch.hann_window(256), pad_mode="constant", return_complex=True).abs() ** 2
    )
    decibels = 10 * (form.filters(sound) @ power).clamp(min=1e-10).log10()
    decibels = (decibels - decibels.max()).clamp(min=-80)
    torch.testing.assert_close(form.encode(sound), 2 * (decibels + 80) / 80 - 1, atol=1e-5, rtol=1e-5)


def test_names_and_files_of_2022(tmp_path: Path) -> None:
    folder = of_diffusers(tmp_path / "model", latent=True)
    now = sample(folder, count=1, steps=2)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for part in ("unet", "vqvae"):
        file = folder / part / "diffusion_pytorch_model.safetensors"
        weights = load_file(file)
        for name in [*weights]:
            for new, before in old.items():
                if f".{new}." in name:
                    weights[name.replace(new, before)] = weights.pop(name)
        assert any(".proj_attn." in name for name in weights)
        torch.save(weights, file.with_suffix(".bin"))
        file.unlink()
    drawn = sample(folder, count=1, steps=2)
    assert np.array_equal(drawn.pixels, now.pixels)
    assert np.array_equal(drawn.sounds[0], now.sounds[0])


def test_code_in_a_file_of_weights_is_not_run(tmp_path: Path) -> None:
    folder = of_diffusers(tmp_path / "model")
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save({"weights": Path("a")}, file.with_suffix(".bin"))
    file.unlink()
    with pytest.raises(DifftoolError, match="would run code"):
        open_model(folder)


def test_what_comes_back_has_a_loudness_and_the_length_of_its_frames(tmp_path: Path) -> None:
    drawn = sample(of_diffusers(tmp_path / "model", latent=True), count=2, steps=2, vocoder="griffin-lim")
    assert drawn.pixels.shape == (2, 16, 16, 1)
    assert [len(sound) for sound in drawn.sounds] == [15 * 64] * 2
    assert all(0.05 < np.abs(sound).max() <= 1 for sound in drawn.sounds)


def test_latents_are_edited_and_longer_too(tmp_path: Path) -> None:
    folder = of_diffusers(tmp_path / "model", latent=True)
    model = open_model(folder)
    mel = torch.rand(16, 16) * 2 - 1
    assert encoded(model, mel).shape == (1, 2, 8, 8)
    assert len(sample(folder, count=1, steps=2, seconds=0.5).sounds[0]) == 2000
    assert sample(folder, count=1, steps=2, seconds=0.5).pixels.shape == (1, 16, 34, 1)


def test_an_autoencoder_that_returns_nan_makes_no_sound(tmp_path: Path) -> None:
    folder = of_diffusers(tmp_path / "model", latent=True)
    file = folder / "vqvae" / "diffusion_pytorch_model.safetensors"
    save_file({name: weight * torch.nan for name, weight in load_file(file).items()}, file)
    with pytest.raises(DifftoolError, match="not finite") as error:
        sample(folder, count=1, steps=1)
    assert error.value.code == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"unet": {"_class_name": "UNet2DConditionModel"}}, "needs an encoding"),
        ({"vqvae": {"_class_name": "VQModel"}}, "is a VQModel"),
        ({"mel": {"y_res": 32}}, "its network draws"),
        ({"mel": {"hop_length": 0}}, "hop_length of its mel"),
        ({"mel": {"n_fft": 255}}, "n_fft, which must be even"),
        ({"mel": {"sample_rate": "22050"}}, "sample_rate of its mel"),
        ({"mel": {"sample_rate": 1}}, "from 1,000 to 1,000,000"),
        ({"mel": {"n_fft": 2**20}}, "n_fft of its mel"),
        ({"mel": {"y_res": 17}, "vqvae": {}}, "bands in multiples of 2"),
        ({"vqvae": {"scaling_factor": 0}}, "scaling_factor"),
        ({"index": {"image_processor": ["diffusers", "A"]}}, "pipeline with a image_processor"),
    ],
)
def test_other_kinds_are_refused(tmp_path: Path, change: dict[str, dict[str, object]], says: str) -> None:
    folder = of_diffusers(tmp_path / "model", latent="vqvae" in change)
    files = {"mel": "mel/mel_config.json", "index": "model_index.json"}
    for part, values in change.items():
        file = folder / files.get(part, f"{part}/config.json")
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
    with pytest.raises(DifftoolError, match=says) as error:
        open_model(folder)
    assert error.value.code == 4
