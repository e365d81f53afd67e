"""Recordings of any kind, decoded in a stream."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import resample_poly
from torchaudio.functional import resample

from difftool.audio.files import RATE, ffmpeg
from difftool.audio.loudness import CEILING, WANTED, loudness, normalised, true_peak
from difftool.audio.media import resampled
from difftool.errors import DifftoolError
from difftool.voice.prep.decode import TICK, decode

SPEECH = Path(__file__).parents[2] / "golden" / "speech.ogg"


@pytest.fixture(scope="module")
def speech() -> tuple[np.ndarray, int]:
    return soundfile.read(SPEECH, dtype="float32")


@pytest.mark.parametrize(("own", "rate"), [(44_100, 24_000), (22_050, 24_000), (8_000, 24_000), (24_000, 16_000)])
def test_a_sound_in_blocks_is_resampled_as_one(own: int, rate: int) -> None:
    sound = np.random.default_rng(0).normal(size=own * 3 + 17).astype(np.float32)
    whole = resample(torch.from_numpy(sound), own, rate).numpy()
    blocks = iter(np.split(sound, [1, 2000, own, own + 5, 2 * own]))
    made = np.concatenate(list(resampled(blocks, own, rate)))
    assert abs(len(made) - len(whole)) <= 1
    assert np.abs(made[: len(whole)] - whole[: len(made)]).max() < 1e-6


@pytest.mark.parametrize(
    "kind", ["pcm_s16le.wav", "pcm_s24le.wav", "pcm_f32le.wav", "libmp3lame.mp3", "aac.m4a", "flac.flac"]
)
def test_formats(kind: str, speech: tuple[np.ndarray, int], tmp_path: Path) -> None:
    codec, _, suffix = kind.rpartition(".")
    path = tmp_path / f"talk.{suffix}"
    subprocess.run([ffmpeg(), "-v", "error", "-i", SPEECH, "-c:a", codec, path], check=True)
    found = decode(path, tmp_path / "raw")
    assert (found.rate, found.channels, found.warnings) == (22_050, 1, ())
    wanted = resample(torch.from_numpy(speech[0]), speech[1], RATE).numpy()
    assert found.seconds == pytest.approx(len(speech[0]) / speech[1], abs=0.1)
    made = found.samples[5 * RATE : 15 * RATE]
    late = np.correlate(wanted[5 * RATE : 15 * RATE], made[2400:-2400], "valid").argmax() - 2400  # a codec's delay
    lagged = wanted[5 * RATE + late + 2400 : 15 * RATE + late - 2400]
    assert np.linalg.norm(lagged - made[2400:-2400]) / np.linalg.norm(lagged) < 0.15


def test_the_sound_of_a_video(tmp_path: Path) -> None:
    picture = ["-f", "lavfi", "-i", "color=size=32x32:duration=3"]
    path = tmp_path / "film.mkv"
    subprocess.run([ffmpeg(), "-v", "error", *picture, "-i", SPEECH, "-t", "3", "-c:a", "aac", path], check=True)
    assert decode(path, tmp_path / "raw").seconds == pytest.approx(3, abs=0.1)


def test_a_dead_channel_is_left_out(speech: tuple[np.ndarray, int], tmp_path: Path) -> None:
    sound, rate = speech
    soundfile.write(tmp_path / "a.flac", np.stack([np.zeros_like(sound), sound], 1), rate)
    found = decode(tmp_path / "a.flac", tmp_path / "raw")
    assert found.warnings == ("channel 1 of 2 carries no signal and is ignored",)
    assert np.abs(found.samples[:]).max() == pytest.approx(np.abs(sound).max(), rel=0.02)


def test_channels_are_averaged_but_not_cancelled(speech: tuple[np.ndarray, int], tmp_path: Path) -> None:
    sound, rate = speech
    other = np.roll(sound, rate)
    soundfile.write(tmp_path / "a.flac", np.stack([sound, other], 1), rate, subtype="PCM_24")
    found = decode(tmp_path / "a.flac", tmp_path / "raw")
    wanted = resample(torch.from_numpy((sound + other) / 2), rate, RATE).numpy()
    assert not found.warnings
    assert np.abs(found.samples[: 20 * RATE] - wanted[: 20 * RATE]).max() < 1e-5
    soundfile.write(tmp_path / "b.flac", np.stack([sound, -sound], 1), rate)
    found = decode(tmp_path / "b.flac", tmp_path / "raw")
    assert "channel 2 is the inverse of channel 1" in found.warnings[0]
    assert np.abs(found.samples[:]).max() > 0.3


@pytest.mark.parametrize("data", [b"", b"no sound at all, but a text of some length\n" * 99, b"RIFF\0\0\0\0WAVE"])
def test_what_is_no_sound(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(DifftoolError) as caught:
        decode(tmp_path / "a.wav", tmp_path / "raw")
    assert caught.value.code == 4


def test_numbers_that_are_no_sound(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0, np.nan] * 5000, np.float32), 8000, subtype="FLOAT")
    with pytest.raises(DifftoolError, match="invalid samples"):
        decode(tmp_path / "a.wav", tmp_path / "raw")


def test_flat_tops_and_coarse_steps_are_seen_in_the_source(speech: tuple[np.ndarray, int], tmp_path: Path) -> None:
    sound, rate = speech
    soundfile.write(tmp_path / "a.wav", sound.clip(-0.1, 0.1), rate, subtype="PCM_16")
    found = decode(tmp_path / "a.wav", tmp_path / "raw")
    share = np.mean(np.abs(sound) > 0.1)
    assert len(found.flat) == pytest.approx(found.seconds / TICK, abs=2)
    assert found.flat.mean() == pytest.approx(share, rel=0.3)
    soundfile.write(tmp_path / "b.wav", sound, rate, subtype="PCM_U8")
    assert np.median(decode(tmp_path / "b.wav", tmp_path / "raw").levels) <= 128
    soundfile.write(tmp_path / "c.wav", sound, rate, subtype="PCM_16")
    found = decode(tmp_path / "c.wav", tmp_path / "raw")
    assert np.median(found.levels) > 1000
    assert found.flat.max() == 0


@pytest.mark.parametrize("gain", [0.001, 0.05, 1.0])
def test_one_loudness(gain: float, speech: tuple[np.ndarray, int]) -> None:
    made = normalised(gain * resample(torch.from_numpy(speech[0][: 9 * speech[1]]), speech[1], RATE).numpy())
    assert loudness(made) == pytest.approx(WANTED, abs=0.05)
    assert true_peak(made) <= CEILING


def test_the_peak_goes_before_the_loudness() -> None:
    sound = np.random.default_rng(0).normal(size=2 * RATE).astype(np.float32) * 0.01
    sound[RATE : RATE + 4] = 0.3, 0.9, 0.9, 0.3  # a click, whose true peak lies between samples
    made = normalised(sound)
    assert np.abs(made).max() < 10 ** (CEILING / 20)
    assert CEILING - 0.1 < true_peak(made) <= CEILING
    assert 20 * np.log10(np.abs(resample_poly(made, 16, 1)).max()) <= CEILING
    assert 20 * np.log10(np.abs(made).max()) < CEILING - 0.5
    assert (loudness(made) or 0) < WANTED
