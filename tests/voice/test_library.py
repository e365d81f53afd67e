"""Where voices live, what a voice is, and who agreed."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

from difftool.errors import DifftoolError, Exit
from difftool.voice import library


def fails(code: Exit, says: str) -> pytest.RaisesExc[DifftoolError]:
    return pytest.RaisesExc(DifftoolError, match=says, check=lambda error: error.code == code)


def test_where_voices_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("DIFFTOOL_VOICES_DIR", raising=False)
    assert library.home() == tmp_path / "data" / "difftool" / "voices"
    (tmp_path / "voices").mkdir()
    assert library.home() == Path("voices")
    monkeypatch.setenv("DIFFTOOL_VOICES_DIR", str(tmp_path / "named"))
    assert library.home() == tmp_path / "named"
    assert library.home(tmp_path / "said") == tmp_path / "said"


def test_a_voice_is_its_references_else_its_clips_else_its_sounds(voices: Path) -> None:
    (voice,) = library.find("me", voices)
    assert [path.name for path in voice.clips] == ["0.wav", "1.wav", "2.wav"]
    assert voice.clips[0].parent.name == "tortoise"
    plain = library.opened("plain", voices)
    assert [path.parent.name for path in plain.clips] == ["plain"] * 3
    (voices / "plain" / "clips").mkdir()
    (voices / "plain" / "0.wav").rename(voices / "plain" / "clips" / "0.WAV")
    assert [path.name for path in library.opened("plain", voices).clips] == ["0.WAV"]


def test_its_hash_is_that_of_what_is_heard(voices: Path) -> None:
    before = library.opened("plain", voices).sha256
    (voices / "plain" / "0.wav").rename(voices / "plain" / "z.wav")
    assert library.opened("plain", voices).sha256 == before
    (voices / "plain" / "z.wav").unlink()
    assert library.opened("plain", voices).sha256 != before


def test_nobody_is_cloned_without_consent(voices: Path) -> None:
    with fails(Exit.REFUSED, "no consent is recorded for the voice 'plain'"):
        library.find("plain", voices)
    with fails(Exit.REFUSED, "plain"):
        library.find("me&plain", voices)
    path = library.record("plain", "self", voices)
    assert path == voices / "plain" / "voice.json"
    (voice,) = library.find("plain", voices)
    assert voice.consent is not None
    assert voice.consent["kind"] == "self"
    assert voice.consent["date"].startswith("20")


@pytest.mark.parametrize("note", [{}, {"consent": None}, {"consent": "self"}, {"consent": {"kind": "maybe"}}])
def test_what_is_no_consent(voices: Path, note: dict[str, object]) -> None:
    (voices / "plain" / "voice.json").write_text(json.dumps(note))
    with fails(Exit.REFUSED, "consent"):
        library.find("plain", voices)


def test_kinds_of_consent(voices: Path, tmp_path: Path) -> None:
    paper = tmp_path / "paper.txt"
    paper.write_text("I agree.")
    library.record("plain", f"written:{paper}", voices)
    note = json.loads((voices / "plain" / "voice.json").read_text())
    assert note["consent"]["file"] == str(paper)
    assert len(note["consent"]["sha256"]) == 64
    library.record("plain", "license:CC-BY-4.0", voices)
    assert json.loads((voices / "plain" / "voice.json").read_text())["consent"]["license"] == "CC-BY-4.0"
    library.record("me", "synthetic", voices)
    assert json.loads((voices / "me" / "voice.json").read_text())["name"] == "me"  # the rest of the note stays
    for kind in ("", "me", "written", "written:", "license", "self:yes", "synthetic:"):
        if kind != "synthetic:":
            with fails(Exit.USAGE, "invalid consent"):
                library.record("plain", kind, voices)
    with fails(Exit.FILE, "no such file"):
        library.record("plain", "written:nothing.pdf", voices)
    with fails(Exit.FILE, "no voice 'nobody'"):
        library.record("nobody", "self", voices)


@pytest.mark.parametrize(
    "name", ["", " ", "a/b", "../me", "/tmp/me", ".", "..", ".hidden", "~me", "me&", "me&&me", "a\\b"]
)
def test_what_is_no_name(name: str, voices: Path) -> None:
    with fails(Exit.USAGE, "not a valid voice name"):
        library.find(name, voices)


def test_a_random_voice_is_alone(voices: Path) -> None:
    assert library.find("random", voices) == []
    with fails(Exit.USAGE, "cannot be mixed"):
        library.find("random&me", voices)


def test_voices_that_cannot_be_found(voices: Path, tmp_path: Path) -> None:
    with fails(Exit.FILE, "did you mean 'plain'"):
        library.find("plane", voices)
    with fails(Exit.FILE, "there is no voice"):
        library.find("me", tmp_path / "nowhere")
    (voices / "empty").mkdir()
    with fails(Exit.FILE, "no recording"):
        library.find("empty", voices)
    (voices / "me" / "voice.json").write_text("{")
    with fails(Exit.FILE, "not JSON"):
        library.find("me", voices)


def test_latents_of_the_original(tmp_path: Path) -> None:
    path = tmp_path / "me.pth"
    torch.save((torch.ones(1, 4), torch.zeros(1, 8, dtype=torch.float64)), path)
    first, second = library.load_latents(path, (4, 8))
    assert first.dtype == second.dtype == torch.float32
    for bad in (
        (torch.ones(1, 4),),
        torch.ones(2, 4),
        (torch.ones(1, 8), torch.zeros(1, 4)),
        {"a": torch.ones(1, 4)},
        (torch.full((1, 4), float("nan")), torch.zeros(1, 8)),
        (torch.ones(1, 4, dtype=torch.long), torch.zeros(1, 8)),
    ):
        torch.save(bad, path)
        with fails(Exit.FILE, "latents|finite"):
            library.load_latents(path, (4, 8))
    for data in (b"", b"<html>", path.read_bytes()[:100]):
        path.write_bytes(data)
        with fails(Exit.FILE, "latents"):
            library.load_latents(path, (4, 8))


def test_latents_run_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "me.pth"
    torch.save((Evil(), torch.zeros(1, 8)), path)
    with fails(Exit.FILE, "run code"):
        library.load_latents(path, (4, 8))
    path.write_bytes(pickle.dumps(Evil()))
    with fails(Exit.FILE, "code|latents"):
        library.load_latents(path, (4, 8))
    assert not (tmp_path / "ran").exists()
