"""The reference of F5-TTS: which clip, cut where, with which words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from difftool.errors import DifftoolError, Exit
from difftool.files import save_tensors
from difftool.voice.engines import CLIP_HZ, Reference
from difftool.voice.engines.f5 import prompt
from difftool.voice.engines.f5.prompt import Prompt, prompt_of, recorded
from difftool.voice.library import opened
from difftool.voice.settings import Settings

RATE = 24_000


def speech(seconds: float, level: float = 0.05) -> np.ndarray:
    """As loud as speech, all the time."""
    wave = np.sin(np.arange(round(seconds * RATE)) * 0.06)
    return wave * level * 2**0.5


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE))


def write(path: Path, *sounds: np.ndarray, text: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.concatenate(sounds), RATE)
    if text is not None:
        path.with_suffix(".txt").write_text(text, "utf-8")


class Ear:
    """A Whisper that always hears the same."""

    heard: list[float]
    key, heard_language = "an ear", "en"

    def __init__(self, size: str, device: Any, language: str | None, models: Path | None) -> None:
        self.language = language

    def text_of(self, clip: np.ndarray) -> str:
        self.heard.append(len(clip) / RATE)
        return "It is 20 past 7, and these are some words that are heard"


@pytest.fixture
def ear(monkeypatch: pytest.MonkeyPatch) -> type[Ear]:
    monkeypatch.setattr(Ear, "heard", [], raising=False)
    monkeypatch.setattr(prompt, "Whisper", Ear)
    monkeypatch.setattr(prompt, "installed_size", lambda models_dir: "base")
    return Ear


Make = Callable[..., Prompt]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """The prompt of the voice me."""
    monkeypatch.setenv("HOME", str(tmp_path))

    def made(*, compat: bool = False, **settings: Any) -> Prompt:
        own = Settings(voice="me", models_dir=tmp_path / "models", device="cpu", **settings)
        return prompt_of(Reference([opened("me", tmp_path, "f5")], []), own, compat=compat)

    return made


WORDS = "It is 20 past 7, and “these” are the words of a VOICE"


def test_a_clip_and_its_words(tmp_path: Path, make: Make) -> None:
    write(tmp_path / "me" / "refs" / "f5" / "1.wav", silence(1), speech(4), silence(2), text=f"{WORDS}\n")
    write(tmp_path / "me" / "clips" / "0001.wav", speech(9), text="Another one.")
    made = make()
    assert made.text == 'It is twenty past seven, and "these" are the words of a voice. '
    assert len(made.sound) / RATE == pytest.approx(0.2 + 4 + 0.4, abs=0.02)
    assert float(made.sound.square().mean().sqrt()) == pytest.approx(0.1, rel=1e-4)
    assert made.gain == pytest.approx(2 * (4.6 / 4) ** 0.5, rel=0.01)


def test_a_loud_clip_stays_and_gets_silence_at_its_end(tmp_path: Path, make: Make) -> None:
    write(tmp_path / "me" / "1.wav", speech(4, 0.3), text="这是一个人的声音。今天天气很好。")
    made = make()
    assert (made.text, made.gain) == ("这是一个人的声音。今天天气很好。", 1.0)
    assert len(made.sound) == round(4.3 * RATE)
    assert not made.sound[-round(0.29 * RATE) :].any()


@pytest.mark.parametrize("text", ["Short.", "x" * 200])
def test_words_that_cannot_have_been_said(text: str, tmp_path: Path, make: Make) -> None:
    write(tmp_path / "me" / "1.wav", speech(4), text=text)
    with pytest.raises(DifftoolError) as caught:
        make()
    assert caught.value.code == Exit.FILE
    assert "characters per second, not 6 to 25" in caught.value.message
    assert str(tmp_path / "me" / "1.txt") in caught.value.hint
    assert make(compat=True).text == f"{text.rstrip('.')}.  "


@pytest.mark.parametrize("compat", [True, False])
def test_unknown_words_without_whisper(compat: bool, tmp_path: Path, make: Make) -> None:
    write(tmp_path / "me" / "1.wav", speech(4))
    with pytest.raises(DifftoolError) as caught:
        make(compat=compat)
    assert caught.value.code == Exit.FILE
    assert "Whisper is not installed" in caught.value.message
    assert "difftool models pull whisper-base --models-dir" in caught.value.hint
    assert str(tmp_path / "me" / "1.txt") in caught.value.hint


@pytest.mark.parametrize("compat", [True, False])
def test_silence(compat: bool, tmp_path: Path, make: Make) -> None:
    write(tmp_path / "me" / "1.wav", silence(4), speech(0), text=WORDS)
    with pytest.raises(DifftoolError) as caught:
        make(compat=compat)
    assert caught.value.code == Exit.FILE


def test_a_long_recording_is_cut_at_a_pause_and_its_words_with_it(
    tmp_path: Path, make: Make, ear: type[Ear], caplog: pytest.LogCaptureFixture
) -> None:
    write(
        tmp_path / "me" / "1.wav", speech(7), silence(0.5), speech(13), text="It has the words of twenty seconds. " * 8
    )
    made = make()
    assert len(made.sound) / RATE == pytest.approx(7.3, abs=0.11)
    assert ear.heard == [len(made.sound) / RATE]
    assert "using only the first 7." in caplog.text
    assert made.text == "It is twenty past seven, and these are some words that are heard. "


def test_what_was_heard_is_kept(tmp_path: Path, make: Make, ear: type[Ear]) -> None:
    write(tmp_path / "me" / "1.wav", speech(5))
    first, second = make(), make()
    assert first.text == second.text
    assert ear.heard == [5.3]
    (kept,) = (tmp_path / "me" / "latents").iterdir()
    kept.write_bytes(b"damaged")
    assert make().text == first.text
    save_tensors(kept, {"other": torch.zeros(1)})
    assert make().text == first.text
    kept.unlink()
    assert make(cache=False).text == first.text
    assert len(ear.heard) == 4
    assert not kept.exists()


def test_the_clip_that_suits_best(tmp_path: Path) -> None:
    own = tmp_path / "me"
    for number, seconds in enumerate((7, 8, 9, 13, 3, 10), 1):
        write(own / "clips" / f"{number}.wav", speech(seconds))
    voice = opened("me", tmp_path, "f5")
    assert recorded(voice).path.stem == "2"  # without words, by its length alone
    rows = [f"{number}|words of {number}|words of it\n" for number in (1, 3, 4, 5, 6)]
    (own / "metadata.csv").write_text("".join(rows))
    clip = recorded(voice)
    assert (clip.path.stem, clip.text, clip.words) == ("1", "words of 1", own / "metadata.csv")
    (own / "clips" / "1.txt").write_text("\n")  # an empty file hides no words
    assert recorded(voice)[:3] == clip[:3]
    takes = [
        {"id": str(number), "figures": {"snr": snr}} for number, snr in ((1, 20), (3, 40), (4, 90), (5, 80), (6, None))
    ]
    (own / "report.json").write_text(json.dumps({"takes": [*takes, {"figures": {}}]}))
    assert recorded(voice).path.stem == "3"
    for damaged in ("{", "[]", '{"takes": 5}', '{"takes": [5]}', '{"takes": [{"id": "1", "figures": null}]}'):
        (own / "report.json").write_text(damaged)
        assert recorded(voice).path.stem == "1"


def test_invalid_samples(tmp_path: Path, make: Make) -> None:
    (tmp_path / "me").mkdir()
    soundfile.write(tmp_path / "me" / "1.wav", np.append(speech(4), np.nan), RATE, subtype="FLOAT")
    (tmp_path / "me" / "1.txt").write_text(WORDS)
    for compat in (False, True):
        with pytest.raises(DifftoolError, match="invalid samples"):
            make(compat=compat)


def test_voices_that_it_has_not(tmp_path: Path) -> None:
    write(tmp_path / "me" / "1.wav", speech(4), text=WORDS)
    voice = opened("me", tmp_path, "f5")
    for voices in ([], [voice, voice]):
        with pytest.raises(DifftoolError) as caught:
            prompt_of(Reference(voices, []), Settings())
        assert caught.value.code == Exit.USAGE


def test_clips_instead_of_a_voice(tmp_path: Path, ear: type[Ear]) -> None:
    clips = [torch.sin(torch.arange(seconds * CLIP_HZ) / 20) * 0.2 for seconds in (2, 6, 15)]
    made = prompt_of(Reference([], clips), Settings(device="cpu"))
    assert ear.heard == [pytest.approx(6.3, abs=0.01)]
    assert made.text.startswith("It is twenty past")


@pytest.mark.parametrize(
    ("sounds", "seconds"),
    [
        ((speech(20),), 12.05),
        ((speech(3), silence(3), speech(3)), 8.05),
        ((silence(1), speech(5), silence(2)), 5.05),
        ((speech(7), silence(0.2), speech(4), silence(0.2), speech(4)), 11.25),
    ],
)
def test_as_f5_tts_prepares_it(sounds: tuple[np.ndarray, ...], seconds: float, tmp_path: Path, make: Make) -> None:
    write(tmp_path / "me" / "1.wav", *sounds, text="What 20 people say!")
    made = make(compat=True)
    assert made.text == "What 20 people say!.  "
    assert len(made.sound) / RATE == pytest.approx(seconds, abs=0.011)
    assert not made.sound[-round(0.049 * RATE) :].any()
    assert float(made.sound.square().mean().sqrt()) == pytest.approx(0.1, rel=1e-3)
