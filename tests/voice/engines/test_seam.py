"""The seam that engines fit into: an engine that a test adds in one file, tests/voice/engines/beep.py, does all that
Tortoise does. What both do in the same way stands in tests/cli/test_voice_clone.py and tests/voice/test_long_text.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import pytest
import soundfile
import torch
from dying import dies

import difftool
from difftool.errors import DifftoolError, Exit
from difftool.settings import setting
from difftool.voice import engines
from difftool.voice.settings import Settings

Run = Callable[..., Any]
PARTS = "\n\n".join(f"This is part number {k}." for k in range(1, 7))


@pytest.fixture
def clone(difftool: Run, beep: None, voices: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("DIFFTOOL_VOICES_DIR", raising=False)
    return lambda *args: difftool("voice", "clone", *args)


def settings_of(ended: Any) -> dict[str, Any]:
    assert ended.code == 0, ended
    return ended.json["data"]["settings"]


def test_a_sample_that_was_not_drawn_is_not_made(beep: None) -> None:
    module = engines.engine("beep")
    settings, options = module.filled(Settings(text="Hello."), module.Options())
    speaker = module.plan(settings, options, engines.Reference([], [])).speaker()
    with pytest.raises(KeyError, match="7"):
        speaker.make(7)


class TestChoice:
    def test_an_option_of_one_engine_chooses_it(self, clone: Run, tortoise: Path) -> None:
        given = ("--models-dir", tortoise, "--dry-run", "--json", "Hello.")
        assert settings_of(clone(*given))["engine"] == "tortoise"
        assert settings_of(clone(*given, "--pitch", 300))["engine"] == "beep"
        assert settings_of(clone(*given, "--pitch", 220))["engine"] == "beep"  # its default, but it was said
        assert settings_of(clone(*given, "--samples", 4))["engine"] == "tortoise"
        assert settings_of(clone(*given, "--temperature", 0.8))["engine"] == "tortoise"

    def test_the_first_whose_networks_are_here(
        self, clone: Run, refused: Run, beep: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert settings_of(clone("--dry-run", "--json", "Hello."))["engine"] == "mini"
        monkeypatch.setattr(engines.engine("mini"), "AUTOMATIC", False)
        refused(4, "voice", "clone", "Hello.", says="run difftool models pull tortoise")
        monkeypatch.setattr(engines.engine("beep"), "AUTOMATIC", True)
        assert settings_of(clone("--dry-run", "--json", "Hello."))["engine"] == "beep"
        for more in (["--engine", "tortoise"], ["--engine", "native"], ["--samples", "4"], ["--compat", "stock"]):
            refused(4, "voice", "clone", *more, "--voice", "me", "Hi.", says="run difftool models pull tortoise")

    def test_options_that_no_engine_has_together(self, refused: Run, beep: None) -> None:
        line = ("voice", "clone", "Hello.", "--pitch", 300)
        ended = refused(2, *line, "--temperature", 0.5, says="--pitch (beep)")
        assert "--temperature (tortoise or stock)" in ended.err
        refused(2, *line, "--engine", "tortoise", says="the engine tortoise has no --pitch")
        refused(2, *line, "--engine", "native", says="the engine tortoise has no --pitch")
        refused(2, "voice", "clone", "Hello.", "--engine", "beep", "--top-k", 50, says="--engine tortoise or stock")
        refused(2, *line, "--engine", "beeep", says="did you mean 'beep'")

    def test_by_the_environment_and_a_file(self, clone: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "difftool.toml").write_text('[voice.clone]\nvoice = "me"\npitch = 500\n')
        made = settings_of(clone("--dry-run", "--json", "Hello."))
        assert (made["engine"], made["voice"], made["pitch"]) == ("beep", "me", 500)
        monkeypatch.setenv("DIFFTOOL_VOICE_CLONE_PITCH", "600")
        assert settings_of(clone("--dry-run", "--json", "Hello."))["pitch"] == 600
        (tmp_path / "difftool.toml").write_text("[voice.clone]\npicth = 500\n")
        assert "did you mean 'pitch'" in clone("Hello.").err

    def test_from_python(self, beep: None, tortoise: Path) -> None:
        sound = difftool.voice.clone("One two.", pitch=300.0).sounds[0]
        assert np.array_equal(sound, difftool.voice.clone("One two.", pitch=300.0, engine="beep").sounds[0])
        for settings, says in (
            ({"pitch": 300.0, "top_k": 9}, "no engine has all of these options"),
            ({"pich": 300.0}, "did you mean 'pitch'"),
            ({"pitch": "high"}, "--pitch must be a number, not high"),
            ({"engine": "bep"}, "did you mean 'beep'"),
            ({"pitch": 300.0, "preset": "fats"}, "did you mean 'fast'"),
        ):
            with pytest.raises(DifftoolError, match=says) as error:
                difftool.voice.clone("One two.", **settings)
            assert error.value.code == Exit.USAGE

    def test_clips_in_the_place_of_a_voice(self, beep: None) -> None:
        sound = difftool.voice.tts_with_preset("One two.", [torch.zeros(99)], "draft", engine="beep")
        assert sound.shape[:2] == (1, 1)


class TestBeeps:
    def test_its_presets_and_options(self, clone: Run) -> None:
        seconds = {}
        for name in engines.PRESETS:
            made = settings_of(clone("--engine", "beep", "--preset", name, "Hello.", "--json", "-o", f"{name}.wav"))
            assert (made["preset"], made["pitch"]) == (name, 220.0)
            seconds[name] = soundfile.info(f"{name}.wav").duration
            assert seconds[name] == pytest.approx(made["beep_seconds"], abs=1e-3)
        assert len({*seconds.values()}) == 5
        help = clone("--help").out
        assert "Hertz of a beep (20 to 10,000); default: 220.0." in " ".join(help.split())

    def test_json_tells_of_what_it_has(self, clone: Run) -> None:
        ended = clone("--pitch", 300, "--voice", "me", "Hello there.", "-o", "a.wav", "--json").json
        assert list(ended["data"]["timing"]) == ["load", "speaking", "total"]
        assert (ended["data"]["models"], ended["warnings"]) == ({}, [])
        assert ended["data"]["settings"].keys() == {
            *("text", "voice", "voices_dir", "preset", "candidates", "seed", "engine", "models_dir", "batch_size"),
            *("device", "dtype", "threads", "pitch", "beep_seconds"),
        }
        dry = clone("--pitch", 300, PARTS, "--dry-run", "--json").json["data"]
        assert dry["needs"] == {"networks": [], "steps": 12, "folder": None}
        assert "needs no models and up to 2 steps" in clone("--pitch", 300, "Hello.", "--dry-run").out

    def test_it_tells_of_no_stages(self, refused: Run, beep: None) -> None:
        line = ("voice", "clone", "--engine", "beep", "Hello.", "-o", "a.wav", "--save-stages", "a.npz")
        refused(2, *line, says="the engine beep does not support --save-stages")

    def test_its_own_references_and_no_latents(self, clone: Run, refused: Run, voices: Path) -> None:
        heard = clone("--engine", "beep", "--voice", "me", "Hi.", "--json").json["data"]["voices"][0]["sha256"]
        own = voices / "me" / "refs" / "beep"
        own.mkdir()
        soundfile.write(own / "a.wav", np.sin(np.arange(9000) / 9) / 9, 24_000)
        now = clone("--engine", "beep", "--voice", "me", "Hi.", "--json").json["data"]["voices"][0]["sha256"]
        assert now != heard
        (voices / "kept").mkdir()
        (voices / "kept" / "voice.json").write_text('{"consent": {"kind": "self"}}')
        torch.save((torch.zeros(1, 64), torch.zeros(1, 128)), voices / "kept" / "kept.pth")
        refused(4, "voice", "clone", "--engine", "beep", "--voice", "kept", "Hi.", says="use --engine tortoise")

    def test_consent(self, clone: Run) -> None:
        assert clone("--engine", "beep", "--voice", "plain", "Hi.", "-o", "a.wav").code == 7
        assert not Path("a.wav").exists()

    def test_rerun_names_the_engine(self, clone: Run, difftool: Run, tmp_path: Path, tortoise: Path) -> None:
        given = ("--pitch", 300, "--voice", "me", "--candidates", 2, "Hello.", "-o", "a.wav", "--models-dir", tortoise)
        assert clone(*given).code == 0
        for name in ("a.wav", "a-00001-0.wav"):
            ended = difftool("rerun", name, "-o", f"again-{name}", "--json").json
            assert ended["data"]["identical"] is True
            assert ended["data"]["settings"]["engine"] == "beep"
            assert (tmp_path / name).read_bytes() == (tmp_path / f"again-{name}").read_bytes()

    def test_a_kill_changes_no_byte(self, clone: Run, tmp_path: Path) -> None:
        """SIGKILL in the midst of it, then the same command: the file of an undisturbed run."""
        given = ("--engine", "beep", "--preset", "draft", "--voice", "me", PARTS, "-o")
        assert clone(*given, "whole.wav").code == 0
        killed = dies(signal.SIGKILL, 30, "*", "voice", "clone", *given, "book.wav", cwd=tmp_path)
        assert killed.returncode == -signal.SIGKILL
        assert 0 < clone(*given, "book.wav", "--json").json["data"]["said_now"] < 6
        assert (tmp_path / "book.wav").read_bytes() == (tmp_path / "whole.wav").read_bytes()


class TestOfYesterday:
    """Sounds made before an option was added, or an engine had the name of now."""

    def test_what_it_does_not_tell_has_its_default(self, clone: Run, difftool: Run) -> None:
        from difftool.audio.notes import load
        from difftool.voice.provenance import save

        assert clone("--pitch", 220, "Hello.", "-o", "a.wav").code == 0
        manifest = json.loads(Path("a.json").read_text())
        del manifest["settings"]["pitch"], manifest["settings"]["candidates"]
        samples = soundfile.read("a.wav", dtype="int16")[0].tobytes()
        save(Path("old.wav"), [samples], manifest)
        assert "pitch" not in (load(Path("old.wav"))[1] or {})["settings"]
        assert difftool("rerun", "old.wav", "-o", "new.wav", "--json").json["data"]["identical"] is True

    def test_the_name_of_yesterday(self, clone: Run, difftool: Run, tortoise: Path) -> None:
        from difftool.voice.provenance import save

        given = ("--models-dir", tortoise, "--preset", "draft", "--steps", 3, "Hello.", "-o", "a.wav")
        assert clone(*given, "--engine", "native").code == 0
        manifest = json.loads(Path("a.json").read_text())
        assert manifest["settings"]["engine"] == "tortoise"
        manifest["settings"]["engine"] = "native"
        save(Path("old.wav"), [soundfile.read("a.wav", dtype="int16")[0].tobytes()], manifest)
        assert difftool("rerun", "old.wav", "-o", "new.wav", "--json").json["data"]["identical"] is True

    def test_a_reading_goes_on(self, clone: Run, tortoise: Path) -> None:
        """What was begun when the engine was called native has the same parts."""
        given = ("--models-dir", tortoise, "--preset", "draft", "--steps", 3, "One.\n\nTwo.", "-o", "a.wav")
        assert clone(*given).code == 0
        book = json.loads(Path("a.parts/manifest.json").read_text())
        assert book["config"]["engine"] == "native"
        key = json.dumps([book["config"], ["One.", 0], 0], sort_keys=True)
        assert book["parts"][0]["key"] == hashlib.sha256(key.encode()).hexdigest()


ROOT = Path(__file__).parents[3]
ROW = '    "beep": "difftool.voice.engines.beep",\n'


def test_the_guide_has_this_engine() -> None:
    """CONTRIBUTING.md shows the very file that is tested here."""
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    section = guide.split("## How to add a voice engine")[1].split("\n## ")[0]
    code = (Path(__file__).parent / "beep.py").read_text()
    indented = "".join(f"    {line}" if line.strip() else line for line in code.splitlines(keepends=True))
    assert indented in section
    assert ROW in section


@pytest.mark.slow
def test_what_the_guide_says_done_on_disk(tmp_path: Path) -> None:
    """The file and the row in a copy of the tree."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    place = tmp_path / "src" / "difftool" / "voice" / "engines"
    shutil.copy(Path(__file__).parent / "beep.py", place)
    table = (place / "__init__.py").read_text()
    (place / "__init__.py").write_text(table.replace("ENGINES = {\n", f"ENGINES = {{\n{ROW}"))
    command = [sys.executable, "-m", "difftool"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    for line in (["voice", "clone", "--pitch", "300", "One two.", "-o", "a.wav"], ["rerun", "a.wav", "-o", "b.wav"]):
        done = subprocess.run([*command, *line], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


class TestTable:
    def test_options_are_listed_without_a_library(self) -> None:
        code = (
            "import sys; from difftool.voice.engines import united; from difftool.voice.settings import Settings;"
            "united(); print({'torch', 'numpy', 'diffusers', 'tortoise'} & {*sys.modules})"
        )
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"

    @pytest.mark.parametrize("name", engines.ENGINES)
    def test_each_has_every_preset(self, name: str) -> None:
        assert {*engines.PRESETS} <= {*engines.engine(name).presets()}

    def test_one_name_has_one_type(self, monkeypatch: pytest.MonkeyPatch) -> None:
        @dataclass(frozen=True)
        class Options:
            temperature: str = setting("hot", "How hot.")

        module = ModuleType("other")
        module.Options = Options  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "other", module)
        monkeypatch.setitem(engines.ENGINES, "other", "other")
        with pytest.raises(TypeError, match="temperature is a <class 'str'> in the engine other"):
            engines.united()

    def test_defaults_and_bounds_that_differ(self, monkeypatch: pytest.MonkeyPatch) -> None:
        @dataclass(frozen=True)
        class Options:
            temperature: float = setting(0.5, "How hot.", least=0, most=1)
            exclusive: ClassVar = (("temperature", "steps"),)

        module = ModuleType("other")
        module.Options = Options  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "other", module)
        monkeypatch.setitem(engines.ENGINES, "other", "other")
        united = engines.united()
        assert united.exclusive == (("temperature", "steps"),)  # type: ignore[attr-defined]
        option = united.__dataclass_fields__["temperature"].metadata["option"]
        assert option.help == ("Decoder temperature; default: 0.8 (tortoise and stock). How hot; default: 0.5 (other).")
        assert (option.least, option.most) == (0, None)

    @pytest.mark.parametrize("name", ["tortoise", "mini"])
    def test_cfg_pp_guides_by_itself(self, name: str) -> None:
        engine, settings = engines.engine(name), Settings(engine=name)

        def guidance(**given: Any) -> float:
            return engine.filled(settings, engine.Options(**given))[1].guidance

        assert guidance() > 1
        assert guidance(sampler="Euler CFG++") == 1
        assert guidance(sampler="euler_cfg_pp", guidance=2) == 2


def test_a_long_text_from_python(beep: None, tmp_path: Path) -> None:
    file = tmp_path / "book.wav"
    reading = difftool.voice.read_out(PARTS, file, engine="beep", preset="draft")
    assert (reading.parts, reading.said, reading.joined) == (6, 6, True)
    assert soundfile.info(file).duration == pytest.approx(reading.written.items[0]["seconds"], abs=1e-3)
    again = difftool.voice.read_out(PARTS, file, engine="beep", preset="draft")
    assert (again.said, again.joined) == (0, False)
    before = file.read_bytes()
    redone = difftool.voice.read_out(PARTS, file, engine="beep", preset="draft", redo="2")
    assert redone.said == 1
    assert file.read_bytes() != before
    with pytest.raises(DifftoolError, match="2 candidates need 2 output files"):
        difftool.voice.read_out(PARTS, file, engine="beep", candidates=2)
    with pytest.raises(DifftoolError, match="other settings: seed") as error:
        difftool.voice.read_out(PARTS, file, engine="beep", preset="draft", seed=9)
    assert error.value.code == Exit.FILE
