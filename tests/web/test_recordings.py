"""Takes and uploads, and the grade of a take."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest
from studios import SOUND, gate, open_gate, serving

from difftool.audio.files import RATE, read_sound, write_short
from difftool.files import write_json
from difftool.voice.library import PACKAGE, opened
from difftool.voice.prep.audition import audition, write_passage
from difftool.web.media import kind_of
from difftool.web.sentences import SENTENCES
from difftool.web.takes import heard, length

WAV = {"Content-Type": "audio/wav"}


@pytest.mark.parametrize(
    ("head", "suffix"),
    [
        (b"RIFF....WAVE", ".wav"),
        (b"OggS\0", ".ogg"),
        (b"fLaC", ".flac"),
        (b"\x1a\x45\xdf\xa3\x01", ".webm"),
        (b"\0\0\0\x20ftypM4A ", ".m4a"),
        (b"ID3\x04\0\0\0\0\0\x01x\xff\xfb\x90", ".mp3"),
        (b"\xff\xf3\x40", ".mp3"),
        (b"ID3\x04\0\0\0\0\x28\0" + bytes(5120) + b"\0\xff\xfb\x90", ".mp3"),
        (b"ID3\x04\0\0\0\0\0\x01x#EXTM3U", None),
        (b"ID3\x04\0\0\0\0\x28\0" + bytes(5120) + b"#EXTM3U", None),
        (b"ID3\x04\0\0\0\0\x28\0", None),
        (b"#EXTM3U\n", None),
        (b"ffconcat version 1.0", None),
        (b"<html>", None),
        (b"", None),
    ],
)
def test_kinds_of_files(head: bytes, suffix: str | None, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(head)
    kind = kind_of(path)
    assert (kind.suffix if kind else None) == suffix


def test_sentences_can_be_read_aloud() -> None:
    assert len({*SENTENCES}) == len(SENTENCES) >= 20
    assert all(6 <= len(sentence.split()) <= 14 for sentence in SENTENCES)


def speech() -> np.ndarray:
    (path,) = opened("alma", PACKAGE).clips
    return read_sound(path, RATE)[: 5 * RATE]


def test_a_take_is_graded_as_a_clip_of_a_voice(tmp_path: Path) -> None:
    clean, noisy, silent = (tmp_path / f"{name}.wav" for name in ("clean", "noisy", "silent"))
    sound, hiss = speech(), np.random.default_rng(0).standard_normal(5 * RATE).astype(np.float32)
    write_short(clean, sound, RATE)
    write_short(noisy, (sound + 0.05 * hiss[: len(sound)]).clip(-1, 1), RATE)
    write_short(silent, 1e-4 * hiss, RATE)
    good, bad, none = (audition(path) for path in (clean, noisy, silent))
    assert good.grade in "AB" and not good.reasons and good.span is not None
    assert (
        bad.grade == "F"
        and "noise" in bad.reasons
        and "record in a quiet place, closer to the microphone" in bad.advice
    )
    assert (none.grade, none.reasons, none.span) == ("F", ["no_speech"], None)
    spans = write_passage([(clean, good.span), (clean, good.span)], tmp_path / "passage.wav")
    whole = audition(tmp_path / "passage.wav")
    assert whole.span is not None and len(spans) == 2
    assert spans[1][1] == pytest.approx(whole.span[1], abs=0.3) and whole.seconds > spans[0][1] + 0.2


def test_uploads_are_kept_listed_and_removed(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        raw = client("POST", "/api/uploads?name=talk.wav", SOUND, WAV).json
        assert raw == {"id": raw["id"], "name": "talk.wav", "seconds": 0.021, "url": f"/api/uploads/{raw['id']}"}
        form = (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="../../a\tb"\r\n\r\n'
            + SOUND
            + b"\r\n--x--\r\n"
        )
        sent = client("POST", "/api/uploads", form, {"Content-Type": "multipart/form-data; boundary=x"}).json
        assert sent["name"] == "recording"
        pdf = b"%PDF", {"Content-Type": "application/pdf"}
        paper = client("POST", "/api/uploads?name=letter.pdf&paper=1", *pdf).json
        assert paper["seconds"] is None
        assert client("POST", "/api/uploads?name=letter.pdf", *pdf).status == 415
        assert client("GET", raw["url"]).body == SOUND
        assert [note["id"] for note in client("GET", "/api/uploads").json] == sorted(
            [raw["id"], sent["id"], paper["id"]]
        )
        assert client("DELETE", raw["url"]).status == 204 and client("GET", raw["url"]).status == 404
        consent = f"written:{paper['id']}"
        job = client.job("voice", name="me", consent=consent, uploads=[sent["id"]])
        folder = "outputs/.studio/uploads"
        assert f"--consent=written:{folder}/{paper['id']}.bin" in job["command"]
        assert job["command"].endswith(f"-- {folder}/{sent['id']}.wav") and "--slice=vad" in job["command"]


def test_what_a_killed_server_left_is_removed(tmp_path: Path) -> None:
    scratch = tmp_path / "outputs/.studio/scratch"
    (scratch / "x.part").mkdir(parents=True)
    (scratch / "x.part/decoded.f32").touch()
    (scratch / "y.part.png").touch()
    with serving(tmp_path) as client:
        assert client("POST", "/api/uploads?name=a", SOUND, WAV).status == 201
        assert not (scratch / "x.part").exists() and not (scratch / "y.part.png").exists()
    assert [*scratch.iterdir()] == []


def test_a_take_that_is_too_long_is_not_graded(tmp_path: Path) -> None:
    path = tmp_path / "days.wav"
    write_short(path, np.zeros(90 * RATE, np.float32), RATE)
    assert 60.0 < length(print, path, 60.0) < 91.0 and length(print, path) == 90.0
    assert heard(print, path, "x") is None


def test_nothing_is_left_of_an_upload_that_is_cut_off(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        with socket.create_connection(("127.0.0.1", client.port)) as connection:
            head = b"POST /api/uploads?name=x HTTP/1.1\r\nHost: localhost\r\nContent-Type: audio/wav\r\n"
            connection.sendall(head + b"Content-Length: 100000\r\n\r\n" + SOUND)
            folder = tmp_path / "outputs/.studio/uploads"
            while not folder.exists() or not [*folder.iterdir()]:
                pass
        while [*folder.iterdir()]:
            pass
        assert client("GET", "/api/uploads").json == []


def test_a_voice_is_made_of_the_good_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFTOOL_VOICES_DIR", str(tmp_path / "voices"))
    (tmp_path / "voices/me").mkdir(parents=True)
    folder = tmp_path / "outputs/.studio/takes"
    folder.mkdir(parents=True)
    for k, grade in enumerate("AFB"):
        name = f"20260101T00000{k}Z-000000"
        write_short(folder / f"{name}.wav", speech(), RATE)
        note = {
            "id": name,
            "suffix": ".wav",
            "type": "audio/wav",
            "text": SENTENCES[k],
            "grade": grade,
            "span": [0.5, 4.5],
        }
        (folder / f"{name}.json").write_text(json.dumps(note))
    with serving(tmp_path) as client:
        takes = [note["id"] for note in client("GET", "/api/takes").json]
        client.job("sample", label=gate(tmp_path))
        job = client.job("voice", name="me", consent="self", takes=takes)
        assert job["warnings"] == ["1 take of grade F left out"]
        (words,) = (folder / "passages").glob("*.json")
        segments = json.loads(words.read_text())["segments"]
        assert [segment["text"] for segment in segments] == [SENTENCES[0], SENTENCES[2]]
        assert job["command"].endswith(f"-- outputs/.studio/takes/passages/{words.stem}.wav")
        note = {"sources": [{"path": str(words.with_suffix(".wav"))}]}
        write_json(tmp_path / "voices" / "me" / "voice.json", note)
        again = client.job("voice", name="me", consent="self", takes=takes)
        assert "--overwrite" not in job["command"] and "--overwrite" in again["command"]
        fewer = client.job("voice", name="me", consent="self", takes=takes[:1])
        assert "--overwrite" not in fewer["command"]  # the others are not lost
        assert client("DELETE", f"/api/takes/{takes[0]}").status == 409  # a voice is being made of it
        open_gate(tmp_path, "gate")
        client.wait(fewer)
        client("DELETE", f"/api/takes/{takes[2]}")
        assert client("DELETE", f"/api/takes/{takes[0]}").status == 204 and not [*(folder / "passages").iterdir()]
