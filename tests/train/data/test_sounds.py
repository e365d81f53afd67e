"""Recordings as training data: what is read, what is left out, and which windows are learned."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from difftool.audio.mels import FORMATS
from difftool.errors import DifftoolError
from difftool.train.data import sound_files, sound_sets
from difftool.train.data.pictures import load
from difftool.train.data.sound_sets import are_sounds, load_sounds
from difftool.train.data.sounds import Recording, Sounds, starts_of
from difftool.train.data.windows import Windows, data_of

pytestmark = pytest.mark.usefixtures("own_cache")

MEL24 = FORMATS["mel24"]


def noise(seconds: float, rate: int = 24_000, seed: int = 0) -> np.ndarray:
    return (0.2 * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32)


def wav(path: Path, sound: np.ndarray, rate: int = 24_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def loaded(folder: Path, frames: int = 16, **more: object) -> Sounds:
    return load_sounds(str(folder), "mel24", frames, **more)  # type: ignore[arg-type]


def failed(folder: Path, code: int, says: str, **more: object) -> None:
    with pytest.raises(DifftoolError, match=says) as error:
        loaded(folder, **more)
    assert error.value.code == code


def test_mels_of_whole_recordings_with_labels_of_folders(tmp_path: Path) -> None:
    sound = noise(0.5)
    wav(tmp_path / "cat/a.wav", sound)
    wav(tmp_path / "dog/b.wav", noise(0.3, seed=1))
    own = loaded(tmp_path)
    assert own.classes == ["cat", "dog"] and own.labels is not None and own.labels.tolist() == [0, 1]
    expected = MEL24.logarithms(torch.from_numpy(sound).clip(-1, 1)).T.half().numpy()
    assert own.recordings[0].name == "cat/a.wav"
    np.testing.assert_array_equal(own.recordings[0].mels, expected)
    assert own.counts.tolist() == [3, 2] and own.items == 5


def test_any_rate_and_channels_in_any_container(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(24_000) / 48_000)
    wav(tmp_path / "f/mono.wav", tone, 48_000)
    wav(tmp_path / "f/stereo.flac", np.stack([tone, tone], 1), 48_000)
    wav(tmp_path / "f/dead.wav", np.stack([tone, np.zeros_like(tone)], 1), 48_000)
    soundfile.write(tmp_path / "f/lossy.ogg", tone, 48_000)
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as packed:
        for path in sorted((tmp_path / "f").iterdir()):
            packed.write(path, path.name)
    for source in (tmp_path / "f", tmp_path / "f.zip"):
        by_name = {each.name: each.mels.astype(np.float32) for each in loaded(source).recordings}
        assert len(by_name) == 4
        loudest = MEL24.centres()[int(by_name["mono.wav"].mean(0).argmax())]
        assert abs(loudest - 1000) < 40
        band = int(by_name["mono.wav"].mean(0).argmax())
        for mels in by_name.values():
            assert mels.shape == (47, 100)
            np.testing.assert_allclose(mels[3:-3, band], by_name["mono.wav"][3:-3, band], atol=0.05)


def test_a_long_recording_a_block_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sound_files._mels(noise(1), MEL24)
    monkeypatch.setattr(sound_files, "BLOCK", 7)
    np.testing.assert_array_equal(sound_files._mels(noise(1), MEL24), whole)


def test_unusable_files_are_named_and_skipped(tmp_path: Path) -> None:
    wav(tmp_path / "good.wav", noise(0.3))
    (tmp_path / "cut.flac").write_bytes(b"fLaC" + bytes(40))
    (tmp_path / "empty.mp3").touch()
    wav(tmp_path / "silent.wav", np.zeros(9000))
    wav(tmp_path / "click.wav", noise(0.005))
    own = loaded(tmp_path)
    assert [each.name for each in own.recordings] == ["click.wav", "good.wav"]
    assert [reason.split(":")[0] for reason in own.skipped] == ["cut.flac", "empty.mp3", "silent.wav"]
    assert own.skipped[2] == "silent.wav: only silence"
    assert not any(str(tmp_path) in reason or "/tmp" in reason for reason in own.skipped)
    assert own.recordings[0].frames == 1


def test_a_sound_in_a_long_silence(tmp_path: Path) -> None:
    """It is used; one below the floor of the format is silence."""
    sparse = np.zeros(48_000, np.float32)
    sparse[24_000:24_020] = 0.5
    wav(tmp_path / "a.wav", sparse)
    wav(tmp_path / "b.wav", np.where(np.arange(48_000) == 24_000, 2e-4, 0))
    sounds = loaded(tmp_path)
    assert [each.name for each in sounds.recordings] == ["a.wav"]
    assert sounds.skipped == ("b.wav: only silence",)
    assert not any("without anything above" in note for note in sounds.notes)


def test_a_small_file_of_many_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound_files, "HOURS", 1 / 3600)
    monkeypatch.setattr(sound_files, "LEAST_BYTES", 10_000)
    soundfile.write(tmp_path / "a.flac", np.eye(1, 48_000)[0], 24_000)
    wav(tmp_path / "b.wav", noise(2))
    (reason,) = loaded(tmp_path).skipped
    assert reason.startswith("a.flac: ")
    assert reason.endswith("hours of sound")


def test_one_recording_cannot_be_held_out(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav", noise(1))
    with pytest.raises(DifftoolError, match="less than one") as error:
        loaded(tmp_path, held_out=0.5)
    assert error.value.hint == "leave out --held-out, or use more recordings"


def test_nothing_but_unusable_files(tmp_path: Path) -> None:
    wav(tmp_path / "a/silent.wav", np.zeros(9000))
    failed(tmp_path / "a", 4, "none of its 1 sounds can be used .silent.wav: only silence")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/notes.pdf").touch()
    failed(tmp_path / "b", 4, "contains no sounds")
    failed(tmp_path / "c", 4, "no such file or folder")
    failed(tmp_path / "a/silent.wav", 4, "is a single sound")


def test_a_mixture_of_pictures_and_sounds(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav", noise(0.3))
    Image.new("RGB", (8, 8)).save(tmp_path / "cover.jpg")
    assert are_sounds(str(tmp_path)) and len(loaded(tmp_path).recordings) == 1
    Image.new("RGB", (8, 8)).save(tmp_path / "cat.png")
    for read in (lambda: are_sounds(str(tmp_path)), lambda: loaded(tmp_path)):
        with pytest.raises(DifftoolError, match=r"both 1 sound \(a.wav\) and 1 picture \(cat.png\)") as error:
            read()
        assert error.value.code == 4


def test_films_among_pictures_stay_aside(tmp_path: Path) -> None:
    for k in range(2):
        Image.new("RGB", (8, 8), (9 * k, 0, 99)).save(tmp_path / f"{k}.png")
    (tmp_path / "IMG_1.mov").touch()
    assert not are_sounds(str(tmp_path))
    assert len(load(str(tmp_path)).pixels) == 2


def test_pictures_are_not_sought_among_sounds(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav", noise(0.3))
    with pytest.raises(DifftoolError, match="contains 1 sound") as error:
        load(str(tmp_path))
    assert error.value.code == 4


def test_captions_and_labels_beside_sounds(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        wav(tmp_path / f"{name}.wav", noise(0.2))
    (tmp_path / "a.txt").write_text("a short noise")
    (tmp_path / "metadata.csv").write_text("file_name,label\na.wav,x\nb.wav,y\nc.wav,x\n")
    own = loaded(tmp_path)
    assert own.captions == ["a short noise", "", ""]
    assert own.classes == ["x", "y"] and own.labels is not None and own.labels.tolist() == [0, 1, 0]
    assert "2 of 3 sounds without a caption" in own.notes


def test_errors_of_a_table_beside_sounds_name_sounds(tmp_path: Path) -> None:
    for name in ("a", "b"):
        wav(tmp_path / f"{name}.wav", noise(0.2))
    table = tmp_path / "metadata.jsonl"
    table.write_text('{"file_name": "a.wav", "label": "x"}\n{"file_name": "b.wav"}\n')
    with pytest.raises(DifftoolError, match="1 sound without a label, the first is number 1") as error:
        loaded(tmp_path)
    assert (error.value.code, error.value.hint) == (4, "give each sound a label, or remove the labels")
    table.write_text('{"file_name": "a.wav", "label": [1, 1]}\n{"file_name": "b.wav", "label": [0, 1]}\n')
    with pytest.raises(DifftoolError, match="several classes or none per sound"):
        loaded(tmp_path)
    table.write_text('{"file_name": "a.wav", "text": ["hum", "buzz"]}\n{"file_name": "b.wav", "text": ["hiss"]}\n')
    assert "several captions per sound; only the first is used" in " ".join(loaded(tmp_path).notes)


def test_silence_is_left_out_and_counted(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav", np.concatenate([noise(1), np.zeros(24_000 * 4), noise(1, seed=1)]))
    own = loaded(tmp_path, frames=32)
    mels = own.recordings[0].mels
    sounding = mels.max(1) > -6
    for start in own.recordings[0].starts:
        assert sounding[start : start + 32].mean() >= 0.25
    assert len(own.recordings[0].starts) > 2 * 62
    (note,) = [note for note in own.notes if "silence" in note]
    assert note.endswith("of 6.0 s left out: silence") and 3 < float(note.split()[0]) < 4.1


def test_narrow_recordings_are_named(tmp_path: Path) -> None:
    wav(tmp_path / "phone.wav", noise(0.5, 8000), 8000)
    wav(tmp_path / "wide.wav", noise(0.5))
    low = np.cumsum(noise(0.5, 48_000))  # at a high rate, but with nothing high in it
    spectrum = np.fft.rfft(low)
    spectrum[2000:] = 0
    wav(tmp_path / "dull.wav", 0.01 * np.fft.irfft(spectrum), 48_000)
    (note,) = [note for note in loaded(tmp_path).notes if "6,000 Hz" in note]
    assert note.startswith("2 sounds (dull.wav, phone.wav) without anything above")


def test_whole_recordings_are_held_out_and_copies_are_not(tmp_path: Path) -> None:
    for k in range(12):
        wav(tmp_path / f"{k:02}.wav", noise(0.3, seed=k % 10))
    own = loaded(tmp_path, held_out=0.5)
    assert own.held_out is not None
    apart = [{each.name for each in part.recordings} for part in (own, own.held_out)]
    assert len(apart[1]) == 6 and not apart[0] & apart[1] and len(apart[0] | apart[1]) == 12
    assert not apart[1] & {"00.wav", "10.wav", "01.wav", "11.wav"}
    assert loaded(tmp_path).held_out is not None  # a tenth of ten or more
    assert loaded(tmp_path, held_out=0.0).held_out is None
    failed(tmp_path, 2, "is less than one", held_out=0.01)


def test_a_test_part_is_held_out(tmp_path: Path) -> None:
    for k, name in enumerate(("train/x/a", "train/y/b", "test/x/c", "test/z/d")):
        wav(tmp_path / f"{name}.wav", noise(0.3, seed=k))
    own = loaded(tmp_path)
    assert own.held_out is not None and [each.name for each in own.held_out.recordings] == ["test/x/c.wav"]
    assert own.classes == ["x", "y"] and own.held_out.labels is not None and own.held_out.labels.tolist() == [0]


def test_spectrograms_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wav(tmp_path / "a.wav", noise(0.5))
    first = loaded(tmp_path)
    monkeypatch.setattr(sound_sets, "decode_sounds", lambda *_: pytest.fail("decoded again"))
    again = loaded(tmp_path)
    assert again.fingerprint == first.fingerprint
    assert loaded(tmp_path, frames=20).fingerprint != first.fingerprint  # other windows, the same spectrograms
    wav(tmp_path / "a.wav", noise(0.5, seed=2))
    with pytest.raises(pytest.fail.Exception):
        loaded(tmp_path)


def made(*lengths: int, frames: int = 8) -> Sounds:
    """Recordings whose frame number k has the value k / 100 - 5 in each band."""
    recordings = []
    for length in lengths:
        mels = np.repeat((np.arange(length) / 100 - 5).astype(np.float16)[:, None], 100, 1)
        recordings.append(Recording("", mels, starts_of(mels, MEL24, frames)))
    labels = np.arange(len(lengths))
    return Sounds("made", MEL24, frames, recordings, labels, [str(k) for k in labels])


def first_frames(x: torch.Tensor) -> list[int]:
    return ((MEL24.bands(x[:, 0, 0, 0]).log() + 5) * 100).round().int().tolist()


def test_a_window_starts_anywhere_in_its_share() -> None:
    windows = Windows(made(32), torch.device("cpu"))
    assert windows.shape == (4, 1, 100, 8)
    seen: dict[int, set[int]] = {k: set() for k in range(4)}
    for draw in np.linspace(0.001, 1, 200):
        draws = torch.full((4, 2), float(draw))
        for k, start in enumerate(first_frames(windows.drawn(torch.arange(4), draws))):
            seen[k].add(start)
    assert set().union(*seen.values()) == set(range(25))
    assert max(seen[0]) <= min(seen[1]) and max(seen[2]) <= min(seen[3])
    assert first_frames(windows[torch.arange(4)]) == [3, 9, 15, 21]


def test_windows_of_short_recordings_end_in_silence_and_stay_in_theirs() -> None:
    data = data_of(made(3, 5), torch.device("cpu"))
    x = data.x[torch.arange(2)]
    assert first_frames(x) == [0, 0]
    assert x[0, 0, :, 3:].eq(-1).all() and x[0, 0, :, :3].gt(-1).all()
    assert x[1, 0, :, 5:].eq(-1).all() and x[1, 0, :, :5].gt(-1).all()
    assert data.cond["label"].tolist() == [0, 1]


def test_gain_changes_the_loudness_but_not_silence() -> None:
    plain, louder = (Windows(made(3, 8), torch.device("cpu"), gain) for gain in (0.0, 3.0))
    numbers = torch.arange(2)
    draws = torch.tensor([[0.5, 1.0], [0.5, 0.25]])
    x, y = plain.drawn(numbers, draws), louder.drawn(numbers, draws)
    change = (MEL24.bands(y) / MEL24.bands(x)).log10() * 20
    torch.testing.assert_close(change[0, :, :, :3], torch.full((1, 100, 3), 3.0), atol=1e-3, rtol=0)
    torch.testing.assert_close(change[1], torch.full((1, 100, 8), -1.5), atol=1e-3, rtol=0)
    assert y[0, 0, :, 3:].eq(-1).all()


def test_windows_of_the_original_format_are_relative() -> None:
    own = FORMATS["audio_diffusion"]
    mels = np.linspace(-20, 4, 40 * 256).reshape(40, 256).astype(np.float16)
    data = Sounds("made", own, 8, [Recording("", mels, starts_of(mels, own, 8))])
    x = Windows(data, torch.device("cpu"))[torch.arange(5)]
    assert x.amax((1, 2, 3)).eq(1).all()
