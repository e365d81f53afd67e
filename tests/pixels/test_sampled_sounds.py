"""Sounds of a model with random weights: their length, editing, vocoders and files."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tiny_sounds import own

from difftool import sample
from difftool.audio.mels import FORMATS
from difftool.core.noise import START, Noise, slerp
from difftool.errors import DifftoolError
from difftool.pixels.plan import plan_samples_with, windows_of

RATE, HOP = 16_000, 256


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return own(tmp_path / "model")


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """0.8 s at another rate, in stereo."""
    t = np.arange(round(0.8 * 22_050)) / 22_050
    sound = 0.3 * np.sin(2 * np.pi * 440 * t) * (1 + np.sin(2 * np.pi * 3 * t)) / 2
    soundfile.write(tmp_path / "talk.wav", np.stack([sound, sound], axis=1), 22_050)
    return tmp_path / "talk.wav"


def test_a_sound_is_its_seed_s_whatever_the_batch(model: Path) -> None:
    whole = sample(model, count=3, steps=2, seed=4, label="a")
    assert whole.mels is not None
    assert whole.mels.shape == (3, 80, 16)
    assert whole.manifest["settings"]["vocoder"] == "griffin-lim"
    assert [len(sound) for sound in whole.sounds] == [15 * HOP] * 3
    again = sample(model, count=3, steps=2, seed=4, label="a")
    assert all(np.array_equal(a, b) for a, b in zip(whole.sounds, again.sounds, strict=True))
    split = sample(model, count=2, steps=2, seed=5, label="a", batch_size=1)
    assert split.mels is not None
    assert np.abs(split.mels - whole.mels[1:]).max() < 1e-4
    assert not np.allclose(whole.sounds[0], whole.sounds[1], atol=1e-3)


@pytest.mark.parametrize("seconds", [0.1, 0.24, 0.7])
def test_a_sound_has_the_length_that_was_asked_for(model: Path, seconds: float) -> None:
    plan = plan_samples_with(model, count=1, steps=2, seconds=seconds)
    frames = max(16, 1 + -(-round(seconds * RATE) // HOP))
    assert plan.model.shape == (1, 80, frames)
    assert plan.calls == 2 * len(windows_of(plan.model))
    assert len(sample(model, count=1, steps=2, seconds=seconds).sounds[0]) == round(seconds * RATE)


def test_a_long_sound_is_guided_and_labelled_in_all_its_windows(model: Path) -> None:
    both = sample(model, count=2, steps=2, seconds=0.7, guidance=2.0, label="a,b")
    one = sample(model, count=1, seed=1, steps=2, seconds=0.7, guidance=2.0, label="b")
    assert both.mels is not None
    assert one.mels is not None
    assert np.abs(both.mels[1:] - one.mels).max() < 1e-4
    other = sample(model, count=1, seed=1, steps=2, seconds=0.7, guidance=2.0, label="a")
    assert other.mels is not None
    assert np.abs(other.mels - one.mels).max() > 1e-3


def test_the_strength_says_how_much_of_a_sound_is_generated_anew(model: Path, talk: Path) -> None:
    heard = torch.from_numpy(soundfile.read(talk, dtype="float32")[0][:, 0])
    form = FORMATS["mel16"]
    from torchaudio.functional import resample

    known = form.encode(resample(heard, 22_050, RATE))
    distances = []
    for strength in (0.02, 0.5, 1.0):
        drawn = sample(model, count=1, steps=4, init=talk, strength=strength)
        assert drawn.mels is not None
        assert len(drawn.sounds[0]) == round(0.8 * RATE)
        distances.append(np.abs(drawn.mels[0, :, :50] - known[:, :50].numpy()).mean())
    assert distances[0] < 0.2
    assert distances[0] < distances[1] < distances[2]
    assert sample(model, count=1, steps=4, init=talk).manifest["settings"]["strength"] == 0.5


def test_a_mask_changes_nothing_outside(model: Path, talk: Path) -> None:
    """Only the inside is made anew, with a fade of 10 ms outside; all other samples are those of the sound."""
    drawn = sample(model, count=1, steps=3, init=talk, mask=(0.3, 0.45))
    assert drawn.manifest["settings"]["strength"] == 1.0
    from difftool.audio.files import read_sound

    before, after, fade = read_sound(talk, RATE), drawn.sounds[0], RATE // 100
    first, last = round(0.3 * RATE), round(0.45 * RATE)
    changed = np.flatnonzero(before != after)
    assert first - fade < changed[0] < first
    assert last <= changed[-1] < last + fade
    assert np.abs(after - before)[first:last].mean() > 0.01
    rising = np.abs(after - before)[first - fade : first - fade + fade // 10]
    assert rising.max() <= 0.1 * 2  # two sounds within [-1, 1], a tenth of the way from one to the other


def test_samples_outside_a_mask_are_those_of_the_file(model: Path, tmp_path: Path) -> None:
    """Bit by bit, where the file has the rate of the model."""
    from difftool.audio.files import to_pcm

    loud = np.random.default_rng(0).integers(-32768, 32767, RATE // 2).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", loud, RATE)
    drawn = sample(model, count=1, steps=2, init=tmp_path / "a.wav", mask=(0.1, 0.2))
    written = np.frombuffer(to_pcm(drawn.sounds[0]), "int16")
    fade = RATE // 100
    assert np.array_equal(written[: RATE // 10 - fade], loud[: RATE // 10 - fade])
    assert np.array_equal(written[RATE // 5 + fade :], loud[RATE // 5 + fade :])


def test_a_mask_may_lie_beyond_the_end_of_the_sound(model: Path, talk: Path) -> None:
    """Out-painting: the sound goes on."""
    longer = sample(model, count=1, steps=2, init=talk, seconds=1.0, mask=(0.8, 1.0)).sounds[0]
    assert len(longer) == RATE
    assert np.abs(longer[round(0.85 * RATE) :]).max() > 1e-4


def test_the_way_between_two_seeds(model: Path) -> None:
    way = sample(model, count=3, steps=3, between=(3, 7), label="a").mels
    ends = [sample(model, count=1, steps=3, seed=seed, label="a").mels for seed in (3, 7)]
    assert way is not None
    for place, end in zip((0, 2), ends, strict=True):
        assert end is not None
        assert np.abs(way[place] - end[0]).max() < 1e-4
    assert np.abs(way[1] - way[0]).max() > 1e-2


def test_noise_on_the_arc_is_unit_noise() -> None:
    first, last = Noise([1, 2], (40, 50))(START)
    assert torch.allclose(slerp(first, last, 0.0), first)
    assert torch.allclose(slerp(first, last, 1.0), last, atol=1e-6)
    halfway = slerp(first, last, 0.5)
    assert torch.allclose(halfway, (first + last) / (first + last).norm() * halfway.norm(), atol=1e-5)
    assert abs(float(halfway.norm() / first.norm()) - 1) < 0.02
    assert torch.allclose(slerp(first, first, 0.3), first, atol=1e-6)


@pytest.mark.parametrize(("form", "vocoder"), [("mel24", "univnet"), ("vocos24", "vocos"), ("vocos24", "mini")])
def test_vocoders(
    tmp_path: Path, tortoise: Path, f5: Path, form: str, vocoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has the length of Griffin-Lim's, hangs on the seed alone, and stands in the manifest with its hash."""
    store = tmp_path / "store"
    store.mkdir()
    (store / "tortoise").symlink_to(tortoise)
    (store / "vocos").symlink_to(f5 / "vocos")
    folder = own(tmp_path / "model", form)
    settings = {"count": 1, "steps": 2, "models_dir": store}
    drawn, again = (sample(folder, vocoder=vocoder, **settings) for _ in range(2))
    assert drawn.sounds[0].shape == (15 * HOP,)
    assert np.array_equal(drawn.sounds[0], again.sounds[0])
    assert drawn.manifest["settings"]["vocoder"] == vocoder
    assert len(drawn.manifest["models"]["vocoder"]) == 64
    expected = vocoder if vocoder != "mini" else "vocos"
    assert plan_samples_with(folder, **settings).settings.vocoder == expected
    assert plan_samples_with(folder, **{**settings, "models_dir": tmp_path}).settings.vocoder == "griffin-lim"


def test_a_vocoder_after_tortoise_has_spoken(tmp_path: Path, tortoise: Path) -> None:
    """The official file may be gone, the converted one is read."""
    import shutil

    from difftool.voice.engines.tortoise.networks import open_network

    shutil.copytree(tortoise, tmp_path / "tortoise")
    folder = own(tmp_path / "model", "mel24")
    settings = {"count": 1, "steps": 2, "models_dir": tmp_path, "vocoder": "univnet"}
    before = sample(folder, **settings).sounds[0]
    open_network("vocoder", tmp_path / "tortoise")
    (tmp_path / "tortoise" / "vocoder.pth").unlink()
    assert np.allclose(sample(folder, **settings).sounds[0], before, atol=1e-5)


def test_a_vocoder_of_another_format_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(DifftoolError, match="cannot decode the sound format mel16") as error:
        sample(model, vocoder="vocos")
    assert error.value.code == 2
    with pytest.raises(DifftoolError, match="is not installed") as error:
        sample(own(tmp_path / "other", "mel24"), vocoder="univnet", models_dir=tmp_path)
    assert error.value.code == 4
    assert "models pull tortoise" in error.value.hint


Make = Callable[..., Path]


@pytest.mark.parametrize(
    "settings",
    [{"seconds": 2.0}, {"init": Path("a.wav")}, {"init": Path("a.wav"), "mask": (1.0, 2.0)}, {"vocoder": "vocos"}],
)
def test_pictures_have_no_options_of_sounds(tiny_model: Make, settings: dict[str, object]) -> None:
    with pytest.raises(DifftoolError, match="is for sounds, and tiny is a model of pictures") as error:
        sample(tiny_model(), **settings)
    assert error.value.code == 2


def test_the_folder_of_models_may_be_set_for_all(tiny_model: Make, tmp_path: Path) -> None:
    """As by DIFFTOOL_MODELS_DIR, which no model of pictures refuses."""
    assert plan_samples_with(tiny_model(), count=1, models_dir=tmp_path).sound is None


def test_one_item_is_not_between_two_seeds(model: Path) -> None:
    with pytest.raises(DifftoolError, match="--count of at least 2") as error:
        sample(model, count=1, steps=1, between=(3, 7))
    assert error.value.code == 2


@pytest.mark.parametrize("seeds", [(1, 2, 3), (1.5, 2), 5])
def test_two_seeds_are_two_whole_numbers(model: Path, seeds: object) -> None:
    with pytest.raises(DifftoolError) as error:
        sample(model, count=2, steps=1, between=seeds)
    assert error.value.code == 2


def test_pictures_between_two_seeds(tiny_model: Make) -> None:
    folder = tiny_model()
    way = sample(folder, count=3, steps=3, between=(3, 7), label="a").pixels
    end = sample(folder, count=1, steps=3, seed=7, label="a").pixels
    assert np.abs(way[2].astype(int) - end[0]).max() <= 1


@pytest.mark.parametrize(
    ("mask", "says"),
    [((0.5, 0.9), "ends at 0.9 s, but the sound at 0.80 s"), ((0.401, 0.402), "contains no frame")],
)
def test_masks_that_fit_no_sound(model: Path, talk: Path, mask: tuple[float, float], says: str) -> None:
    with pytest.raises(DifftoolError, match=says) as error:
        sample(model, init=talk, mask=mask)
    assert error.value.code == 2


def test_of_a_long_recording_only_the_beginning_is_decoded(model: Path, tmp_path: Path) -> None:
    """Twelve minutes, of which 0.3 s are needed, or as many as a sound may have."""
    path = tmp_path / "long.wav"
    soundfile.write(path, np.full(720 * 8_000, 1000, np.int16), 8_000)
    tracemalloc.start()
    try:
        drawn = sample(model, init=path, seconds=0.3, count=1, steps=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(drawn.sounds[0]) == round(0.3 * RATE)
    assert peak < 720 * 8_000 * 2
    with pytest.raises(DifftoolError, match="is longer than 600 s") as error:
        sample(model, init=path)
    assert error.value.code == 2
