"""What may not be lost or hidden in a library of voices: export, rm, list, links, damage."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from difftool.errors import DifftoolError, Exit
from difftool.voice import library

Run = Callable[..., Any]
GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(autouse=True)
def here(voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DIFFTOOL_VOICES_DIR", raising=False)


@pytest.fixture
def prepared(difftool: Run, voices: Path, tmp_path: Path) -> Path:
    """A voice of some seconds that prep has made."""
    sound, rate = soundfile.read(GOLDEN / "speech.ogg")
    soundfile.write(tmp_path / "talk.flac", sound[: 14 * rate], rate)
    assert prep(difftool, "mine").code == 0
    return voices / "mine"


def prep(difftool: Run, name: str, *more: object) -> Any:
    return difftool("voice", "prep", "talk.flac", "--voice", name, "--consent", "synthetic", "--slice", "vad", *more)


def export(difftool: Run, *args: object) -> Any:
    return difftool("voice", "export", "me", "--format", "tortoise", *args)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestExport:
    def test_it_replaces_what_it_wrote(self, difftool: Run, tmp_path: Path) -> None:
        assert export(difftool, "-o", "out").code == 0
        assert {path.name for path in (tmp_path / "out").iterdir()} == {"1.wav", "2.wav", "3.wav"}
        ended = export(difftool, "-o", "out")
        assert (ended.code, "--overwrite" in ended.err) == (4, True)
        (tmp_path / "voices" / "me" / "refs" / "tortoise" / "2.wav").unlink()
        assert export(difftool, "-o", "out", "--overwrite").code == 0
        assert {path.name for path in (tmp_path / "out").iterdir()} == {"1.wav", "2.wav"}
        (tmp_path / "empty").mkdir()
        assert export(difftool, "-o", "empty").code == 0

    @pytest.mark.parametrize("change", ["foreign", "beside", "edited", "deep"])
    def test_it_replaces_nothing_else(self, difftool: Run, tmp_path: Path, change: str) -> None:
        out = tmp_path / "out"
        if change == "foreign":
            out.mkdir()
        else:
            assert export(difftool, "-o", "out").code == 0
        if change == "edited":
            (out / "1.wav").write_bytes(b"mine")
        else:
            (out / "thesis").mkdir()
            (out / "thesis" / "t.tex").write_text("ten years of work")
        before = everything(tmp_path)
        for more in ((), ("--overwrite",)):
            ended = export(difftool, "-o", "out", *more)
            assert ended.code == 4
            assert "--overwrite" not in ended.err
        assert everything(tmp_path) == before

    def test_places_that_are_none(self, difftool: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "here").mkdir()
        (tmp_path / "link").symlink_to("here")
        (tmp_path / "file").write_text("mine")
        for to, code in ((".", 2), ("..", 2), ("/", 2), ("link", 4), ("file", 4)):
            for more in ((), ("--overwrite",)):
                ended = export(difftool, "-o", to, *more)
                assert (ended.code, "--overwrite" in ended.err) == (code, False), to
        assert (tmp_path / "link").is_symlink()
        assert [*(tmp_path / "here").iterdir()] == []

    def test_one_file(self, difftool: Run, tmp_path: Path) -> None:
        joined = ("voice", "export", "me", "--format", "joined", "-o")
        for kind in ("wav", "mp3", "flac", "ogg"):
            assert difftool(*joined, f"a.{kind}").code == 0
            assert difftool(*joined, f"a.{kind}", "--overwrite").code == 0
        (tmp_path / "b.wav").write_bytes(b"RIFF, and mine")
        assert difftool(*joined, "b.wav", "--overwrite").code == 4
        assert (tmp_path / "b.wav").read_bytes() == b"RIFF, and mine"


class TestRm:
    def test_recordings_of_a_person_stay(self, difftool: Run, refused: Run, voices: Path) -> None:
        refused(4, "voice", "rm", "plain", says="--originals")
        ended = difftool("voice", "rm", "plain", "--originals", "--dry-run")
        assert (ended.code, ended.out) == (0, "would remove voices/plain\n")
        assert len([*(voices / "plain").iterdir()]) == 3
        assert difftool("voice", "rm", "plain", "--originals").code == 0
        assert not (voices / "plain").exists()

    def test_what_prep_made_goes(self, difftool: Run, refused: Run, prepared: Path) -> None:
        (prepared / "latents").mkdir()
        (prepared / "latents" / "tortoise-1.safetensors").touch()
        (prepared / "clips" / "my own.wav").touch()
        refused(4, "voice", "rm", "mine", says="my own.wav")
        (prepared / "clips" / "my own.wav").unlink()
        assert difftool("voice", "rm", "mine").code == 0
        assert {path.name for path in prepared.parent.iterdir()} == {"me", "plain"}

    def test_whole_or_not_at_all(
        self, difftool: Run, refused: Run, prepared: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inner = Path.rename

        def rename(path: Path, target: Path) -> Path:
            if path.name == ".mine.prep":
                raise PermissionError(13, "Permission denied", str(path))
            return inner(path, target)

        monkeypatch.setattr(Path, "rename", rename)
        refused(4, "voice", "rm", "mine", says="nothing was")
        assert sorted(path.name for path in prepared.parent.iterdir()) == [".mine.prep", "me", "mine", "plain"]

    def test_a_folder_that_may_not_be_written_to(
        self, refused: Run, prepared: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inner = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "clips" and inner(path, mode))
        refused(4, "voice", "rm", "mine", says="clips cannot be removed")

    def test_what_a_killed_run_left_is_known(self, difftool: Run, voices: Path) -> None:
        for name in (".mine.prep/0.tmp-00000000", ".mine.tmp-0123abcd"):
            (voices / name).mkdir(parents=True)
            (voices / name / "decoded.f32").touch()
        ended = difftool("voice", "rm", "mine")
        assert ended.code == 0, ended
        assert {path.name for path in voices.iterdir()} == {"me", "plain"}
        assert difftool("voice", "rm", "mine").code == 4

    def test_a_broken_note_keeps_nobody_from_it(self, difftool: Run, voices: Path) -> None:
        (voices / "me" / "voice.json").write_text("{bad")
        assert difftool("voice", "rm", "me").code == 4
        assert difftool("voice", "rm", "me", "--originals").code == 0


class TestLinks:
    def test_a_voice_on_another_disk(self, difftool: Run, prepared: Path, tmp_path: Path) -> None:
        disk = tmp_path / "disk" / "of mine"
        disk.parent.mkdir()
        prepared.rename(disk)
        prepared.symlink_to(disk)
        assert prep(difftool, "mine", "--high-pass", 80).code == 0
        assert difftool("voice", "consent", "mine", "self").code == 0
        assert difftool("voice", "export", "mine", "--format", "tortoise").code == 0
        assert prepared.is_symlink()
        assert json.loads((disk / "voice.json").read_text())["settings"]["high_pass"] == 80
        assert json.loads((disk / "voice.json").read_text())["consent"]["kind"] == "self"
        assert [path.name for path in disk.parent.iterdir()] == ["of mine"]
        assert difftool("voice", "rm", "mine").code == 0
        assert not disk.exists()
        assert {path.name for path in prepared.parent.iterdir()} == {"me", "plain"}

    def test_a_disk_that_is_not_there(self, difftool: Run, refused: Run, prepared: Path) -> None:
        shutil.rmtree(prepared)
        prepared.symlink_to("/nowhere/at/all")
        given = ("talk.flac", "--voice", "mine", "--consent", "synthetic", "--slice", "vad")
        refused(4, "voice", "prep", *given, says="not to a folder")


class TestDamage:
    def test_a_clip_that_is_changed_in_place(
        self, difftool: Run, prepared: Path, tortoise: Path, tmp_path: Path
    ) -> None:
        clip, heard = prepared / "clips" / "0001.wav", prepared / "refs" / "tortoise" / "1.wav"
        before = clip.read_bytes(), heard.read_bytes()
        assert clip.stat().st_nlink == 1
        for path in (clip, heard):
            with path.open("r+b") as file:
                file.seek(1000)
                file.write(b"damage")
        shown = difftool("voice", "show", "mine", "--json").json
        assert shown["data"]["damaged"] == ["clips/0001.wav", "refs/tortoise/1.wav"]
        assert "clips/0001.wav has changed since voice prep" in shown["warnings"][0]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdin", None)
            said = difftool("voice", "clone", "--voice", "mine", "--models-dir", tortoise, "--dry-run")
        assert "refs/tortoise/1.wav was changed after voice prep wrote it" in said.err
        again = prep(difftool, "mine")
        assert "was changed; writing the voice again" in again.err
        assert (clip.read_bytes(), heard.read_bytes()) == before

    def test_what_somebody_put_among_the_clips_stays(self, difftool: Run, prepared: Path) -> None:
        (prepared / "clips" / "my own.wav").write_bytes(b"mine")
        (prepared / "refs" / "f5").mkdir(exist_ok=True)
        (prepared / "refs" / "f5" / "ref.txt").symlink_to("elsewhere")
        assert prep(difftool, "mine", "--high-pass", 80).code == 0
        assert (prepared / "clips" / "my own.wav").read_bytes() == b"mine"
        assert str((prepared / "refs" / "f5" / "ref.txt").readlink()) == "elsewhere"

    def test_clips_made_by_hand_are_not_replaced(self, difftool: Run, prepared: Path, voices: Path) -> None:
        before = everything(voices / "me")
        for more in ((), ("--overwrite",)):
            ended = prep(difftool, "me", *more)
            assert (ended.code, "--overwrite" in ended.err) == (4, False)
        assert everything(voices / "me") == before


@pytest.mark.parametrize(
    "note", ["{bad", "[]", '{"grade": {"a": 1}}', '{"consent": {"kind": []}}', '{"sources": 3, "prep": 3}', None]
)
def test_one_odd_folder_hides_no_voice(difftool: Run, voices: Path, note: str | None) -> None:
    odd = voices / ("R&B" if note is None else "odd")
    odd.mkdir()
    if note is not None:
        (odd / "voice.json").write_text(note)
    ended = difftool("voice", "list", "--json")
    assert ended.code == 0, ended
    told = ended.json
    names = [one["name"] for one in told["data"]["voices"]]
    assert [name for name in names if name != "odd"] == ["me", "plain"]
    assert "odd" in names or any(odd.name in warning for warning in told["warnings"])
    assert difftool("voice", "list").code == 0


def test_voices_in_other_places_are_listed_as_hidden(
    difftool: Run, voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    data = tmp_path / "home" / ".local" / "share" / "difftool" / "voices"
    shutil.copytree(voices / "me", data / "me")
    (data / "me").rename(data / "anna")
    lines = difftool("voice", "list").out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["me", "plain"]
    assert lines[2] == "voices folder: voices (voices in the current folder)"
    assert lines[4] == f"hidden, in {data} (your data folder):"
    assert lines[5].startswith("anna ") and lines[5].endswith("(hidden)")
    assert lines[6] == f"to use them, add --voices-dir {data}"
    assert difftool("voice", "list", "-q").out.split() == ["me", "plain"]
    told = difftool("voice", "list", "--json").json["data"]
    assert ([voice["name"] for voice in told["voices"]], told["folder"]) == (["me", "plain"], "voices")
    assert [(place["folder"], place["used"]) for place in told["places"]] == [("voices", True), (str(data), False)]
    assert [voice["name"] for voice in told["places"][1]["voices"]] == ["anna"]
    monkeypatch.setenv("DIFFTOOL_VOICES_DIR", str(data))
    told = difftool("voice", "list", "--json").json["data"]
    assert [place["origin"] for place in told["places"]] == ["DIFFTOOL_VOICES_DIR", "voices in the current folder"]
    shutil.rmtree(voices)
    assert "hidden" not in difftool("voice", "list").out


def test_a_report_of_something_else(refused: Run, voices: Path) -> None:
    (voices / "me" / "report.json").write_text('{"grade": 3}')
    refused(4, "voice", "show", "me", says="report.json")


def test_hints_are_for_a_shell(voices: Path) -> None:
    (voices / "plain").rename(voices / "x;touch PWNED")
    with pytest.raises(DifftoolError) as refusal:
        library.find("x;touch PWNED", voices)
    assert refusal.value.code == Exit.REFUSED
    assert "difftool voice consent 'x;touch PWNED' self" in refusal.value.hint


def test_a_recording_without_speech_is_named(difftool: Run, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "talk.flac", np.zeros(120_000), 24_000)
    assert "error: talk.flac: no usable speech: 5 s silence" in prep(difftool, "quiet").err


def test_a_recording_whose_name_is_no_text(difftool: Run, prepared: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.flac")
    (tmp_path / "talk.flac").rename(tmp_path / name)
    given = ("--consent", "synthetic", "--slice", "vad", "--json")
    ended = difftool("voice", "prep", name, "--voice", "french", *given)
    assert ended.code == 0, ended
    assert ended.json["data"]["clips"] > 0
    given = ("--format", "joined", "-o", os.fsdecode(b"all\xe9.mp3"))
    assert difftool("voice", "export", "french", *given).code == 0
