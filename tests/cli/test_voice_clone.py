"""`difftool voice clone` and `voice consent`, as they are typed and scripted."""

from __future__ import annotations

import itertools
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import ANY_ENGINE, EVERY_ENGINE
from dying import dies
from tiny_tortoise import NEEDS_KERNEL

from difftool.audio.files import samples_of, tags_of
from difftool.device import cpu_computes_bf16

Run = Callable[..., Any]
SENTENCE = "This is a test recording to make AI clone my voice."
STREAMS = ("stdin", "stdout", "stderr")
WATCHED = """
import os, runpy, sys

class Watch:
    def find_spec(self, name, path, target=None):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT"), file=sys.stderr)

sys.meta_path.insert(0, Watch())
runpy.run_module("difftool", run_name="__main__", alter_sys=True)
"""
"""difftool, which says what idle threads do when PyTorch is loaded."""
PARTS = "\n\n".join(f"This is part number {k}." for k in range(1, 11))


@pytest.fixture
def given(engine: str, tortoise: Path, request: pytest.FixtureRequest) -> list[object]:
    """The options of an engine with which it is quick: Tortoise has tiny networks and few steps."""
    if engine == "f5":
        return ["--engine", engine, "--preset", "draft", "--models-dir", request.getfixturevalue("f5")]
    if engine != "tortoise":
        return ["--engine", engine, "--preset", "draft"]
    return ["--models-dir", tortoise, "--preset", "draft", "--steps", 3]


@pytest.fixture
def clone(difftool: Run, given: list[object], voices: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs the command where nothing is piped in."""
    monkeypatch.setattr("sys.stdin", None)
    monkeypatch.delenv("DIFFTOOL_VOICES_DIR", raising=False)
    return lambda *args: difftool("voice", "clone", *given, *args)


def in_a_shell(*args: object, **settings: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "difftool", "voice", "clone", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, **settings)


@EVERY_ENGINE
def test_a_sentence(clone: Run, tmp_path: Path) -> None:
    ended = clone("--voice", "me", "Hello there.", "-o", "said/a.wav")
    assert ended.code == 0, ended
    assert "of speech in the voice me" in ended.out
    assert "said/a.wav" in ended.out
    with soundfile.SoundFile(tmp_path / "said" / "a.wav") as file:
        assert (file.samplerate, file.channels, file.subtype) == (24_000, 1, "PCM_16")
        assert file.frames > 5000
    assert sorted(path.name for path in (tmp_path / "said").iterdir()) == ["a.json", "a.wav"]


def test_it_says_that_it_is_synthetic(clone: Run, tmp_path: Path) -> None:
    clone("--voice", "me", "Hello there.", "-o", "a.wav")
    tags = tags_of(tmp_path / "a.wav")
    assert tags["title"] == "Synthetic speech: Hello there."
    note = json.loads((tmp_path / "a.json").read_text())
    assert note["synthetic"] is True
    assert note["voices"][0]["consent"]["kind"] == "self"
    assert len(note["models"]["autoregressive.pth"]) == 64
    inside = json.loads(tags["comment"])
    assert {**inside["settings"], "models_dir": note["settings"]["models_dir"]} == note["settings"]
    assert "/" not in inside["settings"]["models_dir"].removeprefix("./")  # a sound may be given to anybody
    assert "created" not in inside  # so that equal speech is an equal file
    first = (tmp_path / "a.wav").read_bytes()
    assert clone("--voice", "me", "Hello there.", "-o", "b.wav").code == 0
    assert (tmp_path / "b.wav").read_bytes() == first


@ANY_ENGINE
def test_where_texts_come_from(clone: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = lambda *args: clone("--json", *args).json["data"]["settings"]["text"]  # noqa: E731
    assert text() == SENTENCE  # stdin is closed
    (tmp_path / "text.txt").write_bytes(b"\xef\xbb\xbfFrom a file.")
    assert text("--textfile", "text.txt") == "From a file."
    monkeypatch.setattr("sys.stdin", (tmp_path / "text.txt").open())
    assert text() == "From a file."
    monkeypatch.setattr("sys.stdin", (tmp_path / "text.txt").open())
    assert text("--textfile", "-") == "From a file."
    with Path(os.devnull).open() as nowhere:
        monkeypatch.setattr("sys.stdin", nowhere)
        assert text() == SENTENCE


def test_a_pipe(tortoise: Path, tmp_path: Path, voices: Path) -> None:
    given = ("--models-dir", tortoise, "--preset", "draft", "--steps", 3, "--json")
    ended = in_a_shell(*given, input="From a pipe.", cwd=tmp_path)
    assert json.loads(ended.stdout)["data"]["settings"]["text"] == "From a pipe."
    ended = in_a_shell(*given, input=" \n", cwd=tmp_path)
    assert ended.returncode == 2
    assert "the text from stdin is empty" in ended.stderr


def test_the_line_of_the_guide_on_a_terminal(tortoise: Path, tmp_path: Path, voices: Path) -> None:
    """Exactly as it stands there, in a checkout with voices and with the models in the store."""
    store = tmp_path / "data" / "difftool" / "models"
    store.mkdir(parents=True)
    (store / "tortoise").symlink_to(tortoise)
    env = {"XDG_DATA_HOME": str(tmp_path / "data"), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    env |= {"DIFFTOOL_SAMPLES": "4", "DIFFTOOL_STEPS": "3", "DIFFTOOL_THREADS": "1"}
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "difftool", "voice", "clone", "--voice", "me", "--preset", "fast"]
    running = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, cwd=tmp_path, env=env, close_fds=True)
    os.close(slave)
    seen = b""
    while True:
        try:
            more = os.read(master, 4096)
        except OSError:
            break
        if not more:
            break
        seen += more
    os.close(master)
    assert running.wait() == 0, seen
    assert b"no text given" in seen
    assert b"in the voice me (fast: 4 samples" in seen
    (files,) = (tmp_path / "outputs" / "voice-clone").rglob("*.wav")
    assert files.name == "00000-0.wav"


def test_without_models(clone: Run, refused: Run, voices: Path, tmp_path: Path) -> None:
    line = ("voice", "clone", "--engine", "tortoise", "--voice", "me", "Hello.")
    ended = refused(4, *line, says="run difftool models pull tortoise")
    assert "autoregressive.pth, clvp2.pth, diffusion_decoder.pth, vocoder.pth of Tortoise are not in" in ended.err


def test_from_an_empty_environment(tmp_path: Path, voices: Path) -> None:
    """As cron has it: no terminal, no variables, nothing to read."""
    line = ("--voice", "me", "--preset", "fast", "--engine", "tortoise")
    ended = in_a_shell(*line, cwd=tmp_path, env={}, stdin=subprocess.DEVNULL)
    assert ended.returncode == 4
    assert ended.stdout == ""
    assert [line.split(":")[0] for line in ended.stderr.splitlines()[-2:]] == ["error", "hint"]


@ANY_ENGINE
def test_candidates(clone: Run, tmp_path: Path) -> None:
    told = clone("Hello there.", "--candidates", 3, "-o", "a.flac", "--json").json["data"]
    assert [output["path"] for output in told["outputs"]] == ["a.flac", "a-00001-0.flac", "a-00002-0.flac"]
    scores = [output["parts"][0]["score"] for output in told["outputs"]]
    assert scores == [None] * 3 or scores == sorted(scores, reverse=True)
    paths = clone("Hello there.", "--candidates", 2, "--output-dir", "d", "-q").out.splitlines()
    assert paths == ["d/00000-0.wav", "d/00001-0.wav"]
    first = soundfile.read(tmp_path / "a.flac")[0]
    assert np.array_equal(first, soundfile.read(tmp_path / "d" / "00000-0.wav")[0])


def test_json_tells_of_every_stage(clone: Run) -> None:
    told = clone("--voice", "me", "Hello there.", "-o", "a.wav", "--json").json["data"]
    stages = ["load", "conditioning", "autoregressive", "clvp", "diffusion", "vocoder", "total"]
    assert list(told["timing"]) == stages
    assert all(told["timing"][stage] > 0 for stage in stages)
    assert told["rtf"] == pytest.approx(told["timing"]["total"] / told["outputs"][0]["seconds"], rel=0.01)


def test_stages_are_kept(clone: Run, refused: Run, tmp_path: Path) -> None:
    assert clone("--voice", "me", "Hello there.", "-o", "a.wav", "--save-stages", "a.npz").code == 0
    stages = np.load(tmp_path / "a.npz")
    assert {name: stages[name].shape for name in stages if name not in ("codes", "mel")} == {
        "conditioning_ar": (64,),
        "conditioning_diffusion": (128,),
        "clvp": (4,),
    }
    assert stages["codes"].shape[0] == 4
    assert stages["codes"].max() == 8193  # as sampled, with the code that stops
    assert stages["mel"].shape[0] == 100
    assert clone("--voice", "me", "Hello there.", "-o", "b.wav", "--save-stages", "a.npz").code == 4
    assert clone("--voice", "me", "Hello there.", "-o", "b.wav", "--save-stages", "a.npy").code == 2
    assert clone("--voice", "me", PARTS, "-o", "b.wav", "--save-stages", "b.npz").code == 2
    assert not (tmp_path / "b.wav").exists()


def test_the_ways_of_the_original(clone: Run) -> None:
    codes = {}
    for mode in ("stock", "stock-kv", "stock_kv"):
        ended = clone(
            "Hello there.", "--compat", mode, "--sampler", "ddpm", "-o", f"{mode}.wav", "--save-stages", f"{mode}.npz"
        )
        assert ended.code == 0, ended
        codes[mode] = np.load(f"{mode}.npz")["codes"]
    assert np.array_equal(codes["stock-kv"], codes["stock_kv"])
    assert codes["stock"].shape != codes["stock-kv"].shape or not np.array_equal(codes["stock"], codes["stock-kv"])


def test_what_has_no_effect_is_said(clone: Run) -> None:
    given = ("--sampler", "ddpm", "--no-cache", "--low-vram", "--dry-run", "--json", "Hello.")
    assert clone(*given).json["warnings"] == []
    assert clone("--engine", "stock", *given).json["warnings"] == [
        "--no-cache has no effect with the engine stock",
        "--low-vram has no effect with the engine stock",
    ]


@ANY_ENGINE
@pytest.mark.parametrize("name", ["2026-01-01T10:00.wav", "-a.wav", "a b%d.flac"])
def test_names_that_others_might_take_for_something_else(name: str, clone: Run, difftool: Run) -> None:
    assert clone("Hello there.", f"--output={name}").code == 0
    assert Path(name).exists()
    assert difftool("meta", f"./{name}").code == 0


@pytest.mark.parametrize("name", ["ddpm", "DDPM", "DDPMScheduler"])
def test_a_sampler_by_any_name_has_the_steps_of_the_preset(name: str, difftool: Run, tortoise: Path) -> None:
    given = ("voice", "clone", "--models-dir", tortoise, "--preset", "fast", "--dry-run", "--json", "Hello.")
    found = difftool(*given, "--sampler", name).json["data"]["settings"]
    assert (found["steps"], found["schedule"]) == (80, "openai")


def test_dry_run_writes_nothing(clone: Run, tmp_path: Path) -> None:
    before = {*tmp_path.rglob("*")}
    told = clone(PARTS, "-o", "a.mp3", "--dry-run", "--json").json["data"]
    assert len(told["parts"]) == 10
    assert told["needs"]["networks"][0] == "autoregressive.pth"
    assert "would speak 10 parts" in clone(PARTS, "-o", "a.mp3", "--dry-run").out
    assert {*tmp_path.rglob("*")} == before


class TestLongTexts:
    @ANY_ENGINE
    def test_they_are_said_in_parts(self, clone: Run, refused: Run, tmp_path: Path, given: list[object]) -> None:
        told = clone(PARTS, "-o", "book.ogg", "--json").json["data"]
        assert (told["parts"], told["said_now"]) == (10, 10)
        assert told["manifest"] == "book.parts/manifest.json"
        assert len([*(tmp_path / "book.parts").glob("*.wav")]) == 10
        before = {path: path.read_bytes() for path in tmp_path.rglob("book*") if path.is_file()}
        ended = clone(PARTS, "-o", "book.ogg")
        assert (ended.code, ended.out.splitlines()[0]) == (0, "nothing left to do: all 10 parts are done")
        assert {path: path.read_bytes() for path in before} == before
        again = ("voice", "clone", *given)
        refused(4, *again, PARTS.replace("10", "11"), "-o", "book.ogg", says="exists already")
        refused(4, *again, PARTS, "-o", "book.ogg", "--seed", 5, says="other settings: seed")
        refused(2, *again, PARTS, "-o", "book.ogg", "--redo", "3,11", says="no part 11")

    @ANY_ENGINE
    def test_nothing_of_others_is_overwritten(
        self, engine: str, refused: Run, tmp_path: Path, given: list[object], voices: Path
    ) -> None:
        clone = ("voice", "clone", *given, PARTS)
        (tmp_path / "book.json").write_text("{}")
        refused(4, *clone, "-o", "book.wav", says="book.json exists already")
        (tmp_path / "other.wav").write_bytes(b"")
        refused(4, *clone, "-o", "other.wav", says="other.wav exists already")
        (voices / "me" / "refs" / "tortoise" / "1.wav").write_bytes(b"<html>")
        refused(4, *clone, "--voice", "me", "-o", "new.wav", says="1.wav as sound: ")
        assert not (tmp_path / "new.parts").exists()

    @ANY_ENGINE
    def test_parts_are_said_again(self, clone: Run, tmp_path: Path) -> None:
        clone(PARTS, "-o", "book.wav")
        before = (tmp_path / "book.wav").read_bytes()
        told = clone(PARTS, "-o", "book.wav", "--redo", "3,7-8", "--json").json["data"]
        assert told["said_now"] == 3
        assert (tmp_path / "book.wav").read_bytes() != before

    @ANY_ENGINE
    def test_time_that_ends(self, clone: Run, tmp_path: Path) -> None:
        codes = []
        while not codes or codes[-1] == 75:
            codes.append(clone(PARTS, "-o", "book.wav", "--max-minutes", 0, "-q").code)
        assert codes == [75] * 9 + [0]
        assert clone(PARTS, "-o", "other.wav").code == 0
        assert (tmp_path / "book.wav").read_bytes() == (tmp_path / "other.wav").read_bytes()

    @ANY_ENGINE
    def test_two_at_a_time(self, clone: Run, tmp_path: Path) -> None:
        from difftool.files import lock

        (tmp_path / "book.parts").mkdir()
        with lock(tmp_path / "book.parts"):
            assert clone(PARTS, "-o", "book.wav").code == 75

    @pytest.mark.slow
    def test_a_kill_changes_no_byte(self, clone: Run, tortoise: Path, tmp_path: Path, voices: Path) -> None:
        """SIGKILL again and again at any moment, then the end: the file of an undisturbed run."""
        assert clone("--voice", "me", PARTS, "-o", "whole.wav").code == 0
        given = ("--models-dir", tortoise, "--preset", "draft", "--steps", 3, "--voice", "me", "-o", "book.wav", PARTS)
        moments = itertools.count(4, 4)
        while (
            code := dies(signal.SIGKILL, next(moments), "*", "voice", "clone", *given, cwd=tmp_path).returncode
        ) != 0:
            assert code == -signal.SIGKILL
        assert next(moments) > 30
        assert (tmp_path / "book.wav").read_bytes() == (tmp_path / "whole.wav").read_bytes()
        names = {path.name for path in (tmp_path / "book.parts").iterdir() if ".tmp-" not in path.name}
        assert len(names) == 11

    @pytest.mark.slow
    def test_memory_stays_flat(self, tortoise: Path, tmp_path: Path) -> None:
        """10,000 characters take no more memory than 2,000 do."""
        peaks = []
        for count in (2_000, 10_000):
            text = ("This is a sentence of a book that goes on for a long time. " * 200)[:count]
            code = (
                "import resource, sys; from difftool.cli.app import main; code = main(sys.argv[1:]);"
                "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
            )
            given = ["voice", "clone", "--models-dir", tortoise, "--preset", "draft", "--steps", 3, "-q"]
            command = [sys.executable, "-c", code, *map(str, given), "-o", f"{count}.wav", text]
            done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            peaks.append(int(done.stdout.split()[-1]) / 1024)
        assert peaks[1] < peaks[0] + 30, peaks


def test_ctrl_c_leaves_nothing_half_written(tortoise: Path, tmp_path: Path) -> None:
    given = ["--models-dir", tortoise, "--preset", "fast", "--steps", "4000", "-o", "a.wav", "Hello there."]
    command = [sys.executable, "-m", "difftool", "voice", "clone", *map(str, given)]
    running = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    for line in running.stderr:
        if "voice clone: 0 of" in line:
            break
    running.send_signal(signal.SIGINT)
    assert running.wait() == 130
    assert [*tmp_path.iterdir()] == []


@ANY_ENGINE
def test_a_sound_tells_no_path(clone: Run, difftool: Run, tmp_path: Path) -> None:
    (tmp_path / "paper of anna.txt").write_text("I agree.")
    assert difftool("voice", "consent", "plain", f"written:{tmp_path / 'paper of anna.txt'}").code == 0
    for kind in ("wav", "mp3", "flac", "ogg"):
        given = ("--voices-dir", tmp_path / "voices", "-o", tmp_path / f"said.{kind}")
        assert clone("--voice", "plain", "Hello there.", *given).code == 0
        assert str(tmp_path).encode() not in (tmp_path / f"said.{kind}").read_bytes()
        note = tmp_path / ("said.json" if kind == "wav" else f"said.{kind}.json")  # each has its own
        assert json.loads(note.read_text())["settings"]["voices_dir"] == str(tmp_path / "voices")
        assert clone("--voice", "plain", "Hello there.", *given, "--overwrite").code == 0  # it knows its own
    note.unlink()
    (tmp_path / "other").mkdir()
    (tmp_path / "said.ogg").rename(tmp_path / "other" / "found.ogg")
    assert difftool("rerun", "other/found.ogg", "-o", "again.ogg", "--json").json["data"]["identical"] is True


@ANY_ENGINE
def test_a_sound_of_yesterday_is_made_again(clone: Run, difftool: Run, tmp_path: Path) -> None:
    """Its tags hold paths, and its note has another name."""
    from difftool.audio import files, notes

    assert clone("Hello there.", "-o", "a.flac").code == 0
    note = json.loads((tmp_path / "a.flac.json").read_text())
    brief = {key: value for key, value in note.items() if key not in (*notes.PASSING, "said")}
    pieces = [files.samples_of(tmp_path / "a.flac")]
    files.write_sound(tmp_path / "a.flac", pieces, {"title": "Synthetic speech", "comment": json.dumps(brief)})
    (tmp_path / "a.flac.json").rename(tmp_path / "a.json")
    assert difftool("rerun", "a.flac", "-o", "again.flac", "--json").json["data"]["identical"] is True


@NEEDS_KERNEL
@pytest.mark.parametrize("engine", ["tortoise"])
def test_weights_of_8_bits_are_noted_and_made_again(clone: Run, difftool: Run, tmp_path: Path) -> None:
    usual = "int8_bf16" if cpu_computes_bf16() else "int8_fp32"
    noted = {"fp32": "fp32", "int8": usual, "int8_fp32": "int8_fp32", "int8_bf16": "int8_bf16"}
    for dtype, used in noted.items():
        ended = clone("Hello there.", "--dtype", dtype, "-o", f"{dtype}.wav")
        assert ended.code == 0, ended
        assert json.loads((tmp_path / f"{dtype}.json").read_text())["settings"]["dtype"] == used
    sounds = {dtype: samples_of(tmp_path / f"{dtype}.wav") for dtype in noted}
    assert sounds["int8"] == sounds[usual] and len({*sounds.values()}) == 3
    assert difftool("rerun", "int8.wav", "-o", "again.wav", "--json").json["data"]["identical"] is True


def test_a_dry_rerun_writes_and_converts_nothing(clone: Run, difftool: Run, tortoise: Path, tmp_path: Path) -> None:
    assert clone("--voice", "me", "Hello there.", "-o", "a.wav").code == 0
    mine = tmp_path / "models"
    shutil.copytree(tortoise, mine, ignore=shutil.ignore_patterns("*.difftool.safetensors"))
    note = json.loads((tmp_path / "a.json").read_text())
    note["settings"]["models_dir"] = str(mine)
    (tmp_path / "a.json").write_text(json.dumps(note))
    shutil.rmtree(tmp_path / "home")  # where it was before
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    ended = difftool("rerun", "a.wav", "--dry-run", "-o", "b.wav")
    assert ended.code == 0, ended
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


class TestRerunAndMeta:
    @EVERY_ENGINE
    def test_a_sound_is_made_again(self, clone: Run, difftool: Run, tmp_path: Path) -> None:
        clone("--voice", "me", "Hello there.", "--candidates", 2, "-o", "a.wav")
        for name in ("a.wav", "a-00001-0.wav"):
            ended = difftool("rerun", name, "-o", f"again-{name}", "--json")
            assert ended.code == 0, ended
            assert ended.json["data"]["identical"] is True
        (tmp_path / "a.json").unlink()
        assert "all samples are identical to a.wav" in difftool("rerun", "a.wav", "--output-dir", "more").out

    @ANY_ENGINE
    def test_a_long_text_is_made_again(self, clone: Run, difftool: Run, refused: Run, tmp_path: Path) -> None:
        text = "\n\n".join([PARTS] * 5)
        clone(text, "-o", "book.flac")
        assert clone(text, "-o", "book.flac", "--redo", "2").code == 0
        assert difftool("rerun", "book.flac", "-o", "again.flac", "--json").json["data"]["identical"] is True
        (tmp_path / "book.flac.json").unlink()
        refused(4, "rerun", "book.flac", says="the long text of book.flac")

    @ANY_ENGINE
    def test_what_is_not_the_same_is_said(self, clone: Run, difftool: Run, refused: Run, tmp_path: Path) -> None:
        clone("--voice", "me", "Hello there.", "-o", "a.wav")
        (tmp_path / "voices" / "me" / "refs" / "tortoise" / "0.wav").unlink()
        refused(4, "rerun", "a.wav", says="the voices have changed since a.wav was made")
        (tmp_path / "voices" / "me" / "voice.json").unlink()
        refused(7, "rerun", "a.wav", says="consent")

    @ANY_ENGINE
    def test_meta(self, clone: Run, difftool: Run, refused: Run, tmp_path: Path) -> None:
        for kind in ("wav", "flac", "mp3", "ogg"):
            clone("Hello\u2028there.", "-o", f"a-{kind}.{kind}")
            ended = difftool("meta", f"a-{kind}.{kind}")
            assert "title: Synthetic speech: Hello there." in ended.out
            told = difftool("meta", f"a-{kind}.{kind}", "--json").json["data"]
            assert told["manifest"]["settings"]["text"] == "Hello\u2028there."
        soundfile.write(tmp_path / "other.wav", np.zeros(100), 8000)
        refused(4, "meta", "other.wav", says="no tags")
        refused(4, "rerun", "other.wav", says="no settings")
        (tmp_path / "broken.wav").write_bytes(b"RIFF")
        refused(4, "meta", "broken.wav", says="no sound")
        refused(4, "rerun", "nothing.wav", says="nothing.wav does not exist")

    @pytest.mark.parametrize(
        "change",
        [{"samples": "many"}, {"candidates": 0}, {"sampler": "ddmi"}, {"extra": 1}, {"seed": 1.5}],
    )
    def test_settings_that_were_tampered_with(
        self, change: dict[str, Any], clone: Run, refused: Run, tmp_path: Path
    ) -> None:
        from difftool.audio.joining import to_bytes
        from difftool.voice.provenance import save

        clone("Hello there.", "-o", "a.wav")
        note = json.loads((tmp_path / "a.json").read_text())
        bad = note | {"settings": note["settings"] | change}
        save(tmp_path / "b.wav", [to_bytes(np.zeros(100, np.float32))], bad)
        refused(4, "rerun", "b.wav", says="b.wav")

    def test_settings_of_a_wrong_kind(self, clone: Run, difftool: Run, tmp_path: Path) -> None:
        """Every field but the words and the voice."""
        from difftool.audio.joining import to_bytes
        from difftool.voice.provenance import save

        clone("Hello there.", "-o", "a.wav")
        note = json.loads((tmp_path / "a.json").read_text())
        may_be_none = ("compat", "ar_checkpoint", "voices_dir", "models_dir", "eta", "batch_size")
        settings = [key for key in note["settings"] if key not in ("text", "voice")]
        for key in settings:
            for value in (None, True):
                if (value is None and key in may_be_none) or key in ("voices_dir", "models_dir"):
                    continue
                bad = note | {"settings": note["settings"] | {key: value}}
                save(tmp_path / "b.wav", [to_bytes(np.zeros(100, np.float32))], bad)
                ended = difftool("rerun", "b.wav", "--dry-run")
                assert (ended.code, ended.err.count("\n")) == (4, 2), (key, value, ended)
        for key in ("settings", "models", "voices", "versions", "item"):
            for value in (1, [1]):
                _tagged(tmp_path / "b.wav", note | {key: value})
                ended = difftool("rerun", "b.wav", "--dry-run")
                assert (ended.code, ended.err.count("\n")) == (4, 2), (key, value, ended)


def _tagged(path: Path, note: dict[str, Any]) -> None:
    """A sound that carries this note, whatever it is."""
    from difftool.audio.files import write_sound

    write_sound(path, [bytes(200)], {"comment": json.dumps(note)})


class TestWrongInput:
    @pytest.mark.parametrize(
        ("args", "code", "says"),
        [
            (["[I am sad,] hello"], 2, "brackets"),
            ([""], 2, "the text is empty"),
            (["  "], 2, "the text is empty"),
            (["..."], 2, "nothing in the text"),
            (["9" * 50], 2, "too large"),
            (["--textfile", "nothing.txt"], 4, "cannot read nothing.txt"),
            (["--textfile", "empty.txt"], 2, "empty.txt is empty"),
            (["--textfile", "latin.txt"], 4, "not UTF-8"),
            (["--textfile", "empty.txt", "Hello."], 2, "cannot be used together"),
            (["--voice", "nobody", "Hello."], 4, "there is no voice 'nobody'"),
            (["--voice", "pain", "Hello."], 4, "did you mean 'plain'"),
            (["--voice", "../me", "Hello."], 2, "not a valid voice name"),
            (["--voice", "plain", "Hello."], 7, "difftool voice consent plain self"),
            (["--voice", "plain", "--models-dir", "nowhere", "Hello."], 7, "no consent"),
            (["--voice", "me&random", "Hello."], 2, "cannot be mixed"),
            (["--preset", "fats", "Hello."], 2, "did you mean 'fast'"),
            (["--sampler", "ddmi", "Hello."], 2, "did you mean"),
            (["--engine", "other", "Hello."], 2, "unknown engine"),
            (["--compat", "other", "Hello."], 2, "unknown compat"),
            (["--steps", "0", "Hello."], 2, "--steps"),
            (["--samples", "0", "Hello."], 2, "--samples"),
            (["--candidates", "5", "Hello."], 2, "candidates must be"),
            (["--candidates", "1000000000", "Hello."], 2, "--candidates"),
            (["--max-minutes", "5", PARTS], 2, "-o FILE"),
            (["--temperature", "hot", "Hello."], 2, "--temperature"),
            (["--temperature", "nan", "Hello."], 2, "temperature must be"),
            (["--top-p", "2", "Hello."], 2, "--top-p"),
            (["--max-mel-tokens", "9999", "Hello."], 2, "max-mel-tokens must be"),
            (["--redo", "1", "Hello."], 2, "--redo needs a text"),
            (["--max-minutes", "nan", "Hello."], 2, "max-minutes"),
            (["--steps", "5000", "Hello."], 2, "4000 levels"),
            (["caf\udce9"], 2, "UTF-8"),
            (["-o", "a.txt", "Hello."], 2, "unsupported file type"),
            (["-o", "voices", "Hello."], 4, "is a folder"),
            (["-o", "latin.wav", "Hello."], 4, "exists already"),
            (["-o", "note.wav", "Hello."], 4, "note.json exists already"),
            (["--ar-checkpoint", "nothing.pth", "Hello."], 4, "no such checkpoint"),
            (["--ar-checkpoint", "latin.wav", "Hello."], 4, "latin.wav"),
            (["--device", "cuda", "Hello."], 3, "cuda"),
            (["--engine", "stock", "--sampler", "ddim", "Hello."], 2, "does not support ddim"),
        ],
        ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
    )
    def test_it_is_refused(
        self, args: list[str], code: int, says: str, clone: Run, refused: Run, tmp_path: Path, tortoise: Path
    ) -> None:
        (tmp_path / "empty.txt").write_text("")
        (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
        (tmp_path / "latin.wav").write_bytes(b"here")
        (tmp_path / "note.json").write_text("{}")
        given = ["--models-dir", tortoise, "--preset", "draft", "--steps", 3, "--sampler", "ddpm"]
        refused(code, "voice", "clone", *given, *args, says=says)
        refused(code, "voice", "clone", *given, *args, "--json", says=says)

    @ANY_ENGINE
    def test_a_clip_that_is_no_sound(self, clone: Run, refused: Run, voices: Path, tortoise: Path) -> None:
        (voices / "me" / "refs" / "tortoise" / "1.wav").write_bytes(b"<html>")
        refused(
            4,
            "voice",
            "clone",
            "--models-dir",
            tortoise,
            "--preset",
            "draft",
            "--voice",
            "me",
            "Hi.",
            says="1.wav as sound: ",
        )

    def test_a_damaged_checkpoint(self, clone: Run, refused: Run, tmp_path: Path) -> None:
        from tiny_tortoise import official

        own = official(tmp_path / "own")
        (own / "clvp2.pth").write_bytes((own / "clvp2.pth").read_bytes()[:-500])
        ended = clone("--models-dir", own, "Hello.", "-o", "a.wav")
        assert ended.code == 4
        assert "clvp2.pth is damaged" in ended.err
        assert not (tmp_path / "a.wav").exists()

    def test_signs_that_have_no_sound_are_named(self, clone: Run) -> None:
        assert "characters without a pronunciation were skipped: ~ {" in clone("Hello ~ {there", "-o", "a.wav").err

    def test_speech_that_was_cut_off_is_told(self, clone: Run) -> None:
        ends = set()
        for seed in range(6):
            told = clone("Hello there.", "--max-mel-tokens", 12, "--samples", 1, "--seed", seed, "--json").json
            stopped = told["data"]["outputs"][0]["parts"][0]["stopped"]
            assert stopped != any("cut off" in warning for warning in told["warnings"])
            ends.add(stopped)
        assert ends == {True, False}


class TestSettings:
    def test_from_a_file_and_the_environment(self, clone: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "difftool.toml").write_text('[voice.clone]\nvoice = "me"\ntemperature = 0.5\nguidance = 0\n')
        monkeypatch.setenv("DIFFTOOL_VOICE_CLONE_TEMPERATURE", "0.6")
        found = clone("Hello there.", "--json").json["data"]["settings"]
        assert (found["voice"], found["temperature"], found["guidance"]) == ("me", 0.6, 0.0)
        (tmp_path / "difftool.toml").write_text("[voice.clone]\nvioce = 1\n")
        assert "did you mean 'voice'" in clone("Hello there.").err

    def test_presets(self, difftool: Run, clone: Run, tortoise: Path) -> None:
        wanted = {
            "ultra_fast": (16, 30, 1.0),
            "fast": (96, 80, 3.0),
            "standard": (256, 200, 3.0),
            "high-quality": (256, 400, 3.0),
        }
        for name, (samples, steps, guidance) in wanted.items():
            given = ("--models-dir", tortoise, "--preset", name, "--dry-run", "--json")
            found = difftool("voice", "clone", *given, "Hello.").json["data"]["settings"]
            assert (found["samples"], found["steps"], found["guidance"]) == (samples, steps, guidance)
            assert (found["sampler"], found["schedule"], found["temperature"], found["top_p"]) == (
                "ddpm",
                "openai",
                0.8,
                0.8,
            )
            assert found["max_mel_tokens"] == 60  # of the tiny network; 500 of the official one


@EVERY_ENGINE
def test_consent(difftool: Run, refused: Run, clone: Run, voices: Path) -> None:
    assert clone("--voice", "plain", "Hello.", "-o", "a.wav").code == 7
    ended = difftool("voice", "consent", "plain", "self")
    assert ended.out.splitlines() == ["consent of plain recorded: self", "voices/plain/voice.json"]
    assert clone("--voice", "plain", "Hello.", "-o", "a.wav").code == 0
    assert (
        difftool("voice", "consent", "plain", "license:CC0", "--voices-dir", voices, "-q")
        .out.strip()
        .endswith("voice.json")
    )
    refused(2, "voice", "consent", "plain", "yes", says="use self, written:FILE")
    refused(2, "voice", "consent", "../plain", "self", says="not a valid voice name")
    refused(4, "voice", "consent", "nobody", "self", says="no voice")
    refused(4, "voice", "consent", "plain", "written:gone.pdf", says="gone.pdf")
    refused(2, "voice", "consent", "plain", says="KIND")


@pytest.mark.parametrize(
    ("engine", "env", "spins"),
    [
        ("tortoise", {}, "1000"),
        ("tortoise", {"GOMP_SPINCOUNT": "7"}, "7"),
        ("tortoise", {"OMP_WAIT_POLICY": "active"}, "None"),
        ("mini", {}, "None"),
        ("auto", {}, "1000"),
    ],
)
def test_idle_threads_are_settled_before_pytorch_is_loaded(
    engine: str, env: dict[str, str], spins: str, tortoise: Path, tmp_path: Path
) -> None:
    usual = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    (tmp_path / "book.md").write_text("# First\n\nHello.\n\n# Second\n\nHello again.\n")
    command = [sys.executable, "-c", WATCHED, "voice", "clone", "--engine", engine, "--models-dir", tortoise]
    command += ["--textfile", "book.md", "--chapters", "2", "--dry-run"]  # chapters are chosen before the networks
    done = subprocess.run(command, cwd=tmp_path, env=usual | env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.split()[0] == spins
