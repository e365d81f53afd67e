"""F5-TTS through the command line, with tiny networks. What every engine does stands in tests/cli/test_voice_clone.py
and tests/voice/test_long_text.py."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from difftool.core.grid import grid
from difftool.core.paths import Flow
from difftool.errors import DifftoolError, Exit
from difftool.presets import family
from difftool.settings import checked
from difftool.voice import engines
from difftool.voice.engines.f5.files import CHECKPOINT, VOCABULARY, architecture_of
from difftool.voice.engines.f5.options import Options, choice_of, filled
from difftool.voice.plan import plan_speech_with
from difftool.voice.settings import Settings

Run = Callable[..., Any]
LINE = "The ferry leaves at nine."


@pytest.fixture
def given(voices: Path, spoken_words: None, f5: Path) -> dict[str, Any]:
    return {"voices_dir": voices, "models_dir": f5, "engine": "f5", "steps": 2, "voice": "me"}


@pytest.fixture
def clone(difftool: Run, given: dict[str, Any]) -> Run:
    usual = [part for name, value in given.items() for part in (f"--{name}", value)]
    return lambda *args: difftool("voice", "clone", *usual, *args)


def sound(file: str) -> Any:
    return soundfile.read(file, dtype="float32")[0]


class TestSpeech:
    def test_every_file_tells_of_the_licence(self, clone: Run) -> None:
        ended = clone(LINE, "--steps", 7, "-o", "a.wav", "--json").json
        settings = ended["data"]["settings"]
        assert (settings["architecture"], settings["sway"], settings["schedule"]) == ("v1", -1.0, "epss")
        files = [Path(CHECKPOINT).name, Path(VOCABULARY).name, "pytorch_model.bin"]
        assert [*ended["data"]["models"]] == files
        assert list(ended["data"]["timing"]) == ["load", "conditioning", "flow", "vocoder", "total"]
        assert "CC-BY-NC-4.0" in json.loads(Path("a.json").read_text())["terms"]["licence"]
        assert 0.8 < soundfile.info("a.wav").duration < 4

    def test_candidates_do_not_depend_on_the_batch(self, clone: Run) -> None:
        for size in (1, 3):
            assert clone(LINE, "--candidates", size, "--batch-size", size, "-o", f"{size}.wav").code == 0
        assert clone(LINE, "--candidates", 3, "--batch-size", 2, "-o", "2.wav").code == 0
        for name in ("{}.wav", "{}-00001-0.wav", "{}-00002-0.wav"):
            two, three = sound(name.format(2)), sound(name.format(3))
            assert np.abs(two - three).max() <= 2 / 32767
        assert np.abs(sound("1.wav") - sound("3.wav")).max() <= 2 / 32767
        assert not np.array_equal(sound("3.wav"), sound("3-00001-0.wav"))

    def test_a_random_voice_is_one_voice(self, clone: Run) -> None:
        """It has no reference: what it says first is the reference of all parts."""
        assert clone("One, and two.\n\nThree.", "--voice", "random", "-o", "a.wav", "--json").json["ok"]
        assert clone("Three.\n\nOne, and two.", "--voice", "random", "-o", "b.wav").code == 0
        assert listed("a") == listed("b")

    def test_rerun(self, clone: Run, difftool: Run, voices: Path) -> None:
        ended = clone(LINE, "--sampler", "dpmpp_2m", "--steps", 5, "--guidance", 1, "--low-vram", "-o", "a.wav")
        assert ended.code == 0
        assert "--low-vram has no effect with the engine f5" in ended.err
        assert difftool("rerun", "a.wav", "-o", "b.wav", "--json").json["data"]["identical"] is True
        for clip in (voices / "me").rglob("*.wav"):
            clip.with_suffix(".txt").write_text("That is what was said.")
        changed = difftool("rerun", "a.wav", "-o", "c.wav")
        assert (changed.code, "the words of the reference have changed" in changed.err) == (Exit.FILE, True)

    def test_parts_depend_on_the_words_of_the_reference(self, clone: Run, difftool: Run, voices: Path) -> None:
        text = "It is one.\n\nIt is two."
        assert clone(text, "-o", "a.wav").code == 0
        for words in voices.glob("me/refs/tortoise/*.txt"):
            words.write_text("That is what was heard.")
        ended = clone(text, "-o", "a.wav")
        assert ended.code == Exit.FILE and "other settings: words" in ended.err
        assert "the words of the reference have changed" in difftool("rerun", "a.wav", "-o", "b.wav").err
        assert clone(text, "-o", "a.wav", "--overwrite", "--json").json["data"]["said_now"] == 2

    def test_letters_that_the_vocabulary_lacks(self, clone: Run) -> None:
        ended = clone("नमस्ते दुनिया।", "-o", "a.wav")
        assert ended.code == Exit.USAGE and "nothing in the text can be spoken" in ended.err
        ended = clone("Hello नमस्ते.", "-o", "a.wav")
        assert ended.code == 0 and "skipped: न" in ended.err

    @pytest.mark.parametrize("compat", [(), ("--compat", "package")])
    def test_chinese_without_its_packages(
        self, clone: Run, voices: Path, monkeypatch: pytest.MonkeyPatch, compat: tuple[str, ...]
    ) -> None:
        """Nothing begins, whether the text or the words of the reference are Chinese."""
        monkeypatch.setitem(sys.modules, "rjieba", None)
        for words, text in (("This is what was said.", "你好。"), ("你好，我們說了話。", LINE)):
            for path in voices.glob("me/refs/tortoise/*.txt"):
                path.write_text(words, "utf-8")
            ended = clone(text, "-o", "a.wav", *compat)
            assert ended.code == Exit.USAGE and "pip install" in ended.err
            assert "0 of 1" not in ended.err

    def test_as_the_package(self, clone: Run) -> None:
        """One part, with the seed of the run: f5-tts cuts and joins itself."""
        text = "It is late, and all is calm. " * 9
        dry = clone(text, "--compat", "package", "--dry-run", "--json").json["data"]
        assert (dry["needs"]["steps"], dry["parts"]) == (2 * 2, [{"text": text, "pause": 0.0}])
        ended = clone(LINE, "--compat", "package", "-o", "a.wav", "--json").json
        assert len(ended["data"]["outputs"][0]["parts"]) == 1

    def test_a_quiet_reference_gives_quiet_speech(self, given: dict[str, Any], voices: Path) -> None:
        loud = plan_speech_with(LINE, **given).work.prompt  # type: ignore[attr-defined]
        for clip in (voices / "me" / "refs" / "tortoise").glob("*.wav"):
            samples, rate = soundfile.read(clip)
            soundfile.write(clip, samples / 4, rate, subtype="FLOAT")
        quiet = plan_speech_with(LINE, **given).work.prompt  # type: ignore[attr-defined]
        assert quiet.gain == pytest.approx(4 * loud.gain, rel=0.1)
        assert torch.allclose(quiet.sound, loud.sound, atol=1e-2)

    def test_half_precision_and_text_in_float32(self, given: dict[str, Any]) -> None:
        speaker = plan_speech_with(LINE, dtype="bf16", **given).work.speaker()
        nets = speaker.nets  # type: ignore[attr-defined]
        assert nets.dit.blocks[0].qkv.bias.dtype == torch.bfloat16
        assert nets.text.blocks[0].widen.bias.dtype == torch.float32


def listed(stem: str) -> dict[str, bytes]:
    """The sound of each part of a reading."""
    folder = Path(f"{stem}.parts")
    parts = json.loads((folder / "manifest.json").read_text())["parts"]
    return {part["text"]: sound(str(folder / part["takes"][0]["file"])).tobytes() for part in parts}


class TestOptions:
    def test_presets(self) -> None:
        assert {*engines.PRESETS} == {*family("f5")}
        for name, row in family("f5").items():
            _, own = filled(Settings(preset=name), Options())
            table = "epss" if row["steps"] < 32 else "trailing"
            assert (own.sampler, own.steps, own.guidance, own.sway) == ("euler", row["steps"], 3.0, -1.0)
            assert own.schedule == table

    @pytest.mark.parametrize(
        ("given", "schedule", "sway"),
        [
            ({"steps": 7}, "epss", -1.0),
            ({"steps": 8}, "trailing", -1.0),
            ({"steps": 7, "sway": 0.5}, "epss", 0.5),
            ({"steps": 7, "schedule": "epss"}, "epss", 0.0),
            ({"steps": 7, "schedule": "epss", "sway": -1.0}, "epss", -1.0),
            ({"steps": 9, "schedule": "sway"}, "sway", 0.0),
            ({"steps": 9, "sampler": "DPM++ 2M Karras"}, "karras", 0.0),
        ],
    )
    def test_sway_is_on_top_of_the_schedule(self, given: dict[str, Any], schedule: str, sway: float) -> None:
        _, own = filled(Settings(), checked(Options(**given)))
        assert (own.schedule, own.sway) == (schedule, sway)
        path = Flow(clock=lambda s: 1 - s, sway=sway)
        assert choice_of(own).levels == grid(path, given["steps"], schedule)
        assert filled(Settings(), own)[1] == own

    @pytest.mark.parametrize(
        ("more", "says"),
        [
            (["--sampler", "heun"], "does not support heun"),
            (["--schedule", "karras"], "does not support the schedule karras"),
            (["--guidance-mode", "apg"], "does not support --guidance-mode"),
            (["--seed", str(2**64)], "64-bit seeds"),
            (["--voice", "random"], "needs a reference"),
        ],
    )
    def test_what_the_package_does_not_do(self, clone: Run, more: list[str], says: str) -> None:
        ended = clone(LINE, "--compat", "package", *more)
        assert ended.code == Exit.USAGE
        assert says in ended.err


class TestFiles:
    def test_missing_networks(self, clone: Run, tmp_path: Path, f5: Path) -> None:
        ended = clone(LINE, "--models-dir", tmp_path / "none")
        assert ended.code == Exit.FILE
        assert f"models pull f5 vocos --models-dir {tmp_path / 'none'}" in ended.err
        assert not engines.engine("f5").installed(tmp_path / "none")
        assert engines.engine("f5").installed(f5)
        ended = clone(LINE, "--checkpoint", "none.pt")
        assert (ended.code, "no such file" in ended.err, "--checkpoint" in ended.err) == (Exit.FILE, True, True)

    def test_auto_takes_it_before_the_voice_in_the_package(self, f5: Path, tortoise: Path, tmp_path: Path) -> None:
        assert engines.choose_engine("auto", {}, f5) == "f5"
        assert engines.choose_engine("auto", {}, f5, quantised=True) == "tortoise"
        assert engines.choose_engine("auto", {}, tmp_path) == "mini"
        assert engines.choose_engine("auto", {}, tortoise) == "tortoise"
        assert engines.choose_engine("auto", {"speed": 1.0}, f5) == "f5"
        assert engines.choose_engine("auto", {"sway": 0.0}, tmp_path) == "f5"

    def test_auto_takes_the_engine_that_knows_a_mode(self, f5: Path, tortoise: Path, tmp_path: Path) -> None:
        for place in (f5, tortoise, tmp_path):
            assert engines.choose_engine("auto", {"compat": "package"}, place) == "f5"
            assert engines.choose_engine("auto", {"compat": "stock"}, place) == "tortoise"
        assert engines.choose_engine("auto", {"compat": "other"}, f5) == "f5"

    def test_the_architecture_is_stated(self, clone: Run, difftool: Run, f5: Path, tmp_path: Path) -> None:
        place = (f5 / "f5" / CHECKPOINT).parent
        shutil.copytree(place, tmp_path / "own")
        own = tmp_path / "own" / Path(CHECKPOINT).name
        v1 = clone(LINE, "--checkpoint", own, "-o", "v1.wav", "--json").json["data"]["settings"]
        assert (v1["architecture"], v1["checkpoint"]) == ("v1", str(own))
        assert clone(LINE, "--checkpoint", own, "--architecture", "v0", "-o", "v0.wav").code == 0
        assert not np.array_equal(sound("v0.wav"), sound("v1.wav"))
        assert str(tmp_path).encode() not in Path("v0.wav").read_bytes()
        assert difftool("rerun", "v0.wav", "-o", "again.wav", "--json").json["data"]["identical"] is True
        (tmp_path / "own" / "config.json").unlink()
        ended = clone(LINE, "--checkpoint", own)
        assert ended.code == Exit.USAGE
        assert "nothing states the architecture" in ended.err
        assert "--architecture" in ended.err

    def test_architectures_of_official_folders(self, tmp_path: Path) -> None:
        for folder, name in (("F5TTS_Base", "v0"), ("F5TTS_v1_Base", "v1"), ("F5TTS_Small", "v0-small")):
            assert architecture_of(tmp_path / folder / "model_1.pt", None)[0] == name
        assert architecture_of(tmp_path / "F5TTS_Base" / "model_1.pt", "v1")[0] == "v1"

    @pytest.mark.parametrize(
        "config",
        [
            '{"architecture": "v9"}',
            '{"architecture": "v1", "depth": 0}',
            '{"architecture": "v1", "depht": 2}',
            '{"architecture": "v1", "dim": 1001}',
            '{"architecture": "v1", "text": 33}',
            '{"architecture": "v1", "mels": 80}',
        ],
    )
    def test_invalid_configs(self, config: str, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text(config)
        with pytest.raises(DifftoolError) as error:
            architecture_of(tmp_path / "model.pt", None)
        assert error.value.code == Exit.FILE

    def test_a_config_of_another_program_says_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text('{"model_type": "f5", "hidden": 9}')
        with pytest.raises(DifftoolError, match="nothing states"):
            architecture_of(tmp_path / "model.pt", None)
