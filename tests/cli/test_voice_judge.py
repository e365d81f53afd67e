"""`difftool voice judge`, as it is typed and scripted."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny_whisper
import torch
from torchaudio.functional import resample

import difftool as package
from difftool.audio.files import RATE, read_sound
from difftool.audio.joining import to_bytes
from difftool.voice.prep.transcribe import Whisper
from difftool.voice.provenance import save

Run = Callable[..., Any]
GOLDEN = Path(__file__).parents[1] / "golden"
TEXT = "The house stands on a hill above the river, and nobody has lived there for years."


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """A sentence of the speech of the tests; the library has its voice, recorded from other sentences, and another one:
    no consent is recorded."""
    sound, rate = soundfile.read(GOLDEN / "speech.ogg", dtype="float32")
    higher = resample(torch.from_numpy(sound), 13 * rate // 10, rate).numpy()
    for name, voice in (("me", sound), ("anna", higher)):
        (tmp_path / "voices" / name).mkdir(parents=True)
        for k in range(3):
            part = voice[(6 + 5 * k) * rate : (11 + 5 * k) * rate]
            soundfile.write(tmp_path / "voices" / name / f"{k}.wav", part, rate)
    soundfile.write(tmp_path / "speech.wav", sound[: 6 * rate], rate)
    return tmp_path / "speech.wav"


@pytest.fixture
def whisper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with a Whisper that hears what `heard.txt` says."""

    def text_of(self: Whisper, clip: np.ndarray) -> str:
        self.heard_language = "en"
        return (tmp_path / "heard.txt").read_text()

    monkeypatch.setattr(Whisper, "text_of", text_of)
    tiny_whisper.save(tmp_path / "models" / "whisper-tiny.en" / "tiny.en.pt")
    return tmp_path / "models"


def test_figures_without_whisper(difftool: Run, speech: Path) -> None:
    ended = difftool("voice", "judge", "speech.wav", "--voice", "me", "--text", TEXT, "--json")
    assert ended.code == 0, ended
    assert [re.findall(r"difftool models pull \S+", warning) for warning in ended.json["warnings"]] == [
        ["difftool models pull whisper-base"]
    ]
    (found,) = ended.json["data"]["files"]
    assert found["words"] is None
    identity = found["identity"]
    assert (identity["voice"], identity["verdict"]) == ("me", "yes")
    assert identity["likeness"] >= 0.85
    assert identity["own"]["lowest"] <= identity["own"]["median"] <= identity["own"]["highest"]
    assert list(identity["others"]) == ["anna"]
    assert identity["others"]["anna"] < identity["own"]["lowest"]
    assert found["pitch"]["median"] == pytest.approx(101, abs=5)  # as espeak-ng is set
    assert found["pitch"]["low"] < found["pitch"]["median"] < found["pitch"]["high"]
    assert found["words_per_second"] == pytest.approx(16 / 4.9, abs=0.4)
    assert found["loudness"] == pytest.approx(-27.5, abs=1)
    assert found["noise_floor"] == pytest.approx(-70, abs=3)
    assert (found["snr"] > 35, found["faults"], found["opinions"]) == (True, {}, {})


def test_another_voice_with_faults(difftool: Run, speech: Path) -> None:
    sound, rate = soundfile.read(speech)
    top = np.quantile(np.abs(sound), 0.97)
    soundfile.write("clipped.flac", sound.clip(-top, top), rate)
    ended = difftool("voice", "judge", "clipped.flac", "--voice", "anna")
    assert ended.code == 0, ended
    assert ended.out.splitlines()[0].endswith("does not sound like anna")
    assert re.search(r"faults +clipping \(\d", ended.out)
    assert "words " not in ended.out


def test_words_by_whisper(difftool: Run, speech: Path, whisper: Path, tmp_path: Path) -> None:
    (tmp_path / "heard.txt").write_text("The house stands on a hill, and nobody has lived there.")
    (tmp_path / "text.txt").write_text(TEXT)
    arguments = ("voice", "judge", "speech.wav", "--textfile", "text.txt", "--models-dir", "models")
    ended = difftool(*arguments, "--report", "judged.html")
    assert ended.code == 0, ended
    line = "WER 31.2 %, CER 31.2 %, longest run of wrong words 3, the last 2 words missing (Whisper tiny.en)"
    assert re.sub("CER [0-9.]+", "CER 31.2", ended.out.splitlines()[1].split("words", 1)[1].strip()) == line
    assert ended.out.splitlines()[-1] == "judged.html"
    page = Path("judged.html").read_text()
    assert page.count("<audio ") == page.count("data:audio/mpeg;base64,") == 1
    assert re.findall(r"<del>(.*?)</del>", page) == ["above the river", "for years"]
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert difftool(*arguments, "--report", "judged.html").code == 4
    again = difftool(*arguments, "--report", "judged.html", "--overwrite", "--json")
    assert again.code == 0, again
    words = again.json["data"]["files"][0]["words"]
    assert (words["model"], words["text"], words["longest_run"], words["missing_end"]) == ("tiny.en", TEXT, 3, 2)
    assert words["word_error_rate"] == pytest.approx(5 / 16, abs=1e-4)


def test_text_and_voice_of_a_manifest(
    speech: Path, whisper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "heard.txt").write_text(TEXT)
    Path("made").mkdir()
    note = {"schema": "difftool/result/1", "settings": {"text": TEXT, "voice": "me", "voices_dir": None}}
    for name, voice in (("made", "me"), ("gone", "nobody"), ("random", "random")):
        own = {**note, "settings": {**note["settings"], "voice": voice}}
        save(tmp_path / "made" / f"{name}.wav", [to_bytes(read_sound(speech, RATE))], own)
    judged = package.voice.judge("made", models_dir="models")
    gone, made, random = judged.judgements
    for each in judged.judgements:
        assert each.words and each.words.comparison
        assert (each.words.text, each.words.comparison.word_error_rate) == (TEXT, 0)
    assert made.identity and made.identity.verdict == "yes"
    assert gone.identity is None and random.identity is None
    assert judged.failed == {}


def test_wrong_input(refused: Run, difftool: Run, speech: Path, tmp_path: Path) -> None:
    soundfile.write("silence.wav", np.zeros(24_000), 24_000)
    Path("broken.wav").write_bytes(b"RIFF but no sound")
    Path("empty.txt").touch()
    Path("folder").mkdir()
    Path("own.html").write_text("mine")
    for code, says, *arguments in (
        (4, "missing.wav", "missing.wav"),
        (4, "broken.wav", "broken.wav"),
        (4, "silence.wav", "silence.wav"),
        (4, "no recordings", "folder"),
        (4, "'me'", "speech.wav", "--voice", "mee"),
        (2, "--textfile", "speech.wav", "--text", "a", "--textfile", "empty.txt"),
        (2, "empty", "speech.wav", "--textfile", "empty.txt"),
        (2, "empty", "speech.wav", "--text", " "),
        (4, "gone.txt", "speech.wav", "--textfile", "gone.txt"),
        (2, ".html", "speech.wav", "--report", "judged.pdf"),
        (4, "own.html", "speech.wav", "--report", "own.html", "--overwrite"),
        (2, "--report", "speech.wav", "--open"),
        (2, "base", "speech.wav", "--whisper", "bass"),
        (4, "difftool models pull whisper-small", "speech.wav", "--whisper", "small"),
        (4, "check the path", "speech.wav", "--whisper", "gone.pt"),
        (2, "random", "speech.wav", "--voice", "random"),
        (2, "empty", ""),
    ):
        refused(code, "voice", "judge", *arguments, says=says)
    Path("file").touch()
    ended = refused(4, "voice", "judge", "speech.wav", "--report", "file/a.html", says="cannot write")
    assert "done" not in ended.err  # nothing was judged yet
    partial = difftool("voice", "judge", "speech.wav", "broken.wav", "silence.wav", "--json")
    assert partial.code == 5, partial
    assert [each["path"] for each in partial.json["data"]["files"]] == ["speech.wav"]
    assert [*partial.json["data"]["failed"]] == ["broken.wav", "silence.wav"]


def test_the_page_escapes_what_it_shows(difftool: Run, speech: Path) -> None:
    name = "<script>alert('a & b')<script>.wav"
    speech.rename(speech.with_name(name))
    assert difftool("voice", "judge", name, "--report", "a.html").code == 0
    assert "<script" not in Path("a.html").read_text()
