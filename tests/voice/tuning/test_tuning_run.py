"""A voice is trained: the run in its folder, what stops it, and what speaks afterwards. The engine is that of
tests/voice/engines/beep.py, with a network of one weight."""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from dying import dies

from difftool.files import load_tensors
from difftool.voice import tuning
from difftool.voice.tuning.report import Figures, Recorded, Sentence

Run = Callable[..., Any]
FIGURES = Figures({"likeness": 0.5}, {"likeness": 0.75}, {"likeness": 1.0})
KILLS = 20


@pytest.fixture
def trainable(beep: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine that beeps can be trained."""
    import beep_tuning

    monkeypatch.setattr(tuning, "TRAINABLE", (*tuning.TRAINABLE, "beep"))
    monkeypatch.setitem(sys.modules, "beep.tuning", beep_tuning)


def voice(folder: Path, name: str = "me", count: int = 20, text: str = "One two three", consent: bool = True) -> Path:
    """The folder of a voice as voice prep makes it: clips of a second and more, two of each recording."""
    own = folder / name
    (own / "clips").mkdir(parents=True)
    rng, lines = np.random.default_rng(len(name)), []
    for k in range(1, count + 1):
        sound = rng.standard_normal(24_000 + 240 * k).astype(np.float32) * 0.1
        soundfile.write(own / "clips" / f"{k:04d}.wav", sound, 24_000, subtype="PCM_16")
        lines.append(f"{k:04d}|{text}|{text}\n")
    (own / "metadata.csv").write_text("".join(lines))
    takes = [{"id": f"{k:04d}", "source": f"{(k - 1) // 2}.mp3"} for k in range(1, count + 1)]
    (own / "report.json").write_text(json.dumps({"takes": takes}))
    note: dict[str, Any] = {"schema": "difftool/voice/1", "name": name}
    if consent:
        note["consent"] = {"kind": "self", "date": "2026-11-26"}
    (own / "voice.json").write_text(json.dumps(note))
    return own


@pytest.fixture
def me(tmp_path: Path, trainable: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the voice me, below that of this test. Runs have one preview, and are judged in no time."""
    from difftool.learning import driver
    from difftool.voice.judging import tuned

    monkeypatch.delenv("DIFFTOOL_VOICES_DIR", raising=False)
    monkeypatch.setattr(driver, "PREVIEWS", 1)
    monkeypatch.setattr(tuned, "judge_with", lambda *args: lambda sentences, clips: FIGURES)
    return voice(tmp_path / "voices")


TRAIN = ("voice", "train", "me", "--engine", "beep")


def weights(own: Path) -> bytes:
    return (own / "trained" / "beep" / "voice.safetensors").read_bytes()


class TestRun:
    def test_learns_and_reports(self, difftool: Run, me: Path) -> None:
        ended = difftool(*TRAIN, "--steps", 100, "--json")
        assert ended.code == 0, ended
        data, folder = ended.json["data"], me / "trained" / "beep"
        assert [Path(row["path"]).resolve() for row in data["outputs"]] == [folder / "voice.safetensors"]
        second = float(load_tensors(folder / "voice.safetensors").tensors["seconds"])
        assert second == pytest.approx(1.1 / 3, abs=0.03)
        assert data["held_out"]["after"] < 0.1 < data["held_out"]["before"]
        assert data["quality"] == {"likeness": 0.75, "likeness_before": 0.5, "likeness_recorded": 1.0}
        page = (folder / "report.html").read_text()
        assert page.count("<audio") == 2 + 3 * 2
        assert "<b>0.75</b><span>before: 0.5</span><span>real: 1</span>" in page
        names = {path.name for path in folder.iterdir()}
        assert {"config.json", "log.jsonl", "loss.png", "report.html", "samples"} <= names
        assert not {"last.safetensors", "previous.safetensors", "averages"} & names

    def test_finished_is_finished(self, difftool: Run, me: Path) -> None:
        assert difftool(*TRAIN, "--steps", 10).code == 0
        before = weights(me)
        again = difftool(*TRAIN, "--steps", 10, "--json")
        assert (again.code, again.json["data"]["finished_before"]) == (0, True)
        assert "finished before" in difftool(*TRAIN, "--steps", 10).out
        dry = difftool(*TRAIN, "--steps", 10, "--dry-run", "--json")
        assert dry.json["data"]["finished_before"]
        other = difftool(*TRAIN, "--steps", 10, "--lr", 0.2)
        assert other.code == 4
        assert "--lr: 0.05 there, 0.2 here" in other.err
        assert "hint: add --overwrite to start over" in other.err
        assert difftool(*TRAIN, "--steps", 11).code == 4
        assert weights(me) == before
        assert difftool(*TRAIN, "--steps", 11, "--overwrite").code == 0
        assert weights(me) != before

    def test_started_over_it_speaks_with_the_earlier_weights_until_there_are_others(
        self, difftool: Run, me: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import beep_tuning

        assert difftool(*TRAIN, "--steps", 10).code == 0
        before = weights(me)
        with monkeypatch.context() as patch:
            patch.setattr(beep_tuning.Beeping, "make", lambda *args: (_ for _ in ()).throw(MemoryError))
            assert difftool(*TRAIN, "--steps", 20, "--overwrite").code == 6
        assert weights(me) == before
        ended = difftool(*TRAIN, "--steps", 20, "--json")  # what was not begun needs no --overwrite
        assert (ended.code, ended.json["data"]["finished_before"]) == (0, False)
        assert weights(me) != before

    def test_the_report_tells_what_each_preview_says(self, me: Path) -> None:
        from difftool.voice.tuning.plan import prepared
        from difftool.voice.tuning.report import _sounds
        from difftool.voice.tuning.run import train
        from difftool.voice.tuning.settings import Settings

        train("me", engine="beep", steps=2, voices_dir=me.parent, text="First.")
        job = prepared(Settings(voice="me", engine="beep", steps=2, voices_dir=me.parent, text="Second."))
        assert next(iter(_sounds(job))) == "“First.” before"

    def test_a_voice_that_speaks_another_language(self, difftool: Run, me: Path) -> None:
        note = json.loads((me / "voice.json").read_text())
        (me / "voice.json").write_text(json.dumps({**note, "language": "de"}))
        ended = difftool("voice", "train", "me", "--engine", "mini", "--dry-run")
        assert "mini speaks only English, and the language of me is de" in ended.err

    def test_without_its_weights_a_run_is_not_finished(self, difftool: Run, me: Path) -> None:
        assert difftool(*TRAIN, "--steps", 10).code == 0
        before = weights(me)
        (me / "trained" / "beep" / "voice.safetensors").unlink()
        assert not difftool(*TRAIN, "--steps", 10, "--json").json["data"]["finished_before"]
        assert weights(me) == before

    def test_clips_that_cannot_be_used_are_named(self, difftool: Run, me: Path) -> None:
        clips, table = me / "clips", me / "metadata.csv"
        (clips / "0001.wav").write_bytes(b"RIFF")
        soundfile.write(clips / "0002.wav", np.zeros(24_000, np.float32), 24_000)
        shutil.copy(clips / "0003.wav", clips / "0004.wav")
        shutil.copy(clips / "0005.wav", clips / "extra.wav")
        (clips / "0006.wav").unlink()
        soundfile.write(clips / "0007.wav", soundfile.read(clips / "0007.wav")[0][:14_399], 24_000)
        table.write_text("\ufeff" + table.read_text(), "utf-8")  # as some editors write it
        found = difftool(*TRAIN, "--dry-run", "--json").json["data"]["left_out"]
        assert sorted(found) == ["0001", "0002", "0004", "0006", "0007", "extra"]
        assert "cannot read" in found["0001"]
        assert "only silence" in found["0002"]
        assert [found[name] for name in ("0004", "0006", "0007", "extra")] == [
            "it repeats 0003",
            "the file is missing",
            "it is shorter than 0.6 s",
            "it has no text",
        ]

    def test_other_clips_are_another_run(self, difftool: Run, me: Path) -> None:
        assert difftool(*TRAIN, "--steps", 10).code == 0
        table = me / "metadata.csv"
        table.write_text(table.read_text().replace("0003|One two three|One two three", "0003|One two|One two"))
        ended = difftool(*TRAIN, "--steps", 10)
        assert ended.code == 4
        assert "clips of the voice: " in ended.err

    def test_dry_run_says_what_it_would_do(self, difftool: Run, me: Path) -> None:
        ended = difftool(*TRAIN, "--minutes", 3, "--dry-run", "--json")
        data = ended.json["data"]
        assert (data["held_out"], data["config"]["train"]["length"]) == (4, {"minutes": 3.0})
        assert not (me / "trained").exists()

    def test_the_best_weights_are_kept(self, difftool: Run, me: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The held-out loss rises after the third measurement."""
        from difftool.learning import driver

        measured: list[dict[str, Any]] = []

        def add(line: Any, trainee: Any, task: Any) -> None:
            line["held_out"] = abs(len(measured) - 2) + 1.0
            measured.append({name: value.clone() for name, value in trainee.averaged().items()})

        monkeypatch.setattr(driver, "_add_held_out_loss", add)
        ended = difftool(*TRAIN, "--steps", 64, "--json")
        assert ended.code == 0, ended
        assert len(measured) > 4
        kept = load_tensors(me / "trained" / "beep" / "voice.safetensors").tensors["seconds"]
        assert kept == measured[2]["weight"].half()
        assert any(
            "it only memorises; the weights of that moment are kept" in note for note in ended.json["data"]["notes"]
        )

    def test_the_judge_hears_both_and_the_held_out_clips(self, me: Path) -> None:
        from difftool.voice.tuning.run import train

        heard: list[tuple[list[Sentence], list[Recorded]]] = []

        def judge(sentences: Any, clips: Any) -> Figures:
            heard.append((sentences, clips))
            return FIGURES

        done = train("me", engine="beep", steps=10, voices_dir=me.parent, judge=judge)
        ((sentences, clips),) = heard
        assert (len(sentences), len(clips)) == (2, 4)
        assert [len(clip.sound) / 24_000 for clip in clips] == pytest.approx([clip.seconds for clip in done.held])
        assert len(sentences[0].before) == len(sentences[0].after)
        assert not np.array_equal(sentences[0].before, sentences[0].after)
        assert done.quality == {"likeness": 0.75, "likeness_before": 0.5, "likeness_recorded": 1.0}


def finish(difftool: Run, me: Path, kills: list[int]) -> None:
    """A run that is killed at these moments ends in the weights of one that was left alone."""
    assert difftool(*TRAIN, "--steps", 40).code == 0
    whole = weights(me)
    shutil.rmtree(me / "trained")
    for count in kills:
        died = dies(signal.SIGKILL, count, "*", *TRAIN, "--steps", 40, "-q", cwd=me.parents[1])
        assert died.returncode == -signal.SIGKILL, died.stderr
    ended = difftool(*TRAIN, "--steps", 40)
    assert ended.code == 0, ended
    assert weights(me) == whole
    assert not [path for path in me.rglob("*") if ".tmp-" in path.name]


class TestKills:
    def test_one_loses_nothing(self, difftool: Run, me: Path) -> None:
        finish(difftool, me, [40])

    @pytest.mark.slow
    def test_twenty_lose_nothing(self, difftool: Run, me: Path) -> None:
        rng = random.Random(0)
        finish(difftool, me, [rng.randrange(1, 30) for _ in range(KILLS)])

    @pytest.mark.slow
    def test_ctrl_c_keeps_the_state(self, difftool: Run, me: Path) -> None:
        ended = dies(signal.SIGINT, 1, "last.safetensors", *TRAIN, "--steps", 40, cwd=me.parents[1])
        assert ended.returncode == 130
        assert "hint: resume with the same command, without --overwrite" in ended.stderr


class TestSpeaking:
    @pytest.fixture
    def clone(self, difftool: Run, me: Path) -> Run:
        def run(name: str, *args: object) -> Any:
            return difftool(
                "voice", "clone", "--voice", "me", "--engine", "beep", "Hello.", "-o", name, "--json", *args
            )

        return run

    def test_uses_what_was_learned_and_says_so(self, difftool: Run, clone: Run, me: Path, tmp_path: Path) -> None:
        plain = clone("plain.wav")
        assert plain.json["data"]["trained"] == {}
        assert difftool(*TRAIN, "--steps", 10).code == 0
        assert (
            "in the voice me, trained (fast"
            in difftool("voice", "clone", "--voice", "me", "--engine", "beep", "Hi.").out
        )
        with_it, _ = clone("with.wav"), clone("without.wav", "--no-trained")
        sha256 = with_it.json["data"]["trained"]["beep"]
        assert len(sha256) == 64
        note = json.loads((tmp_path / "with.json").read_text())
        assert note["trained"] == {"beep": sha256}
        assert "trained" not in json.loads((tmp_path / "without.json").read_text())
        sounds = {name: (tmp_path / name).read_bytes() for name in ("plain.wav", "with.wav", "without.wav")}
        assert sounds["plain.wav"] == sounds["without.wav"] != sounds["with.wav"]

    def test_is_reproduced_or_refused(self, difftool: Run, clone: Run, me: Path) -> None:
        clone("plain.wav")
        assert difftool(*TRAIN, "--steps", 10).code == 0
        clone("with.wav")
        for name in ("plain.wav", "with.wav"):
            again = difftool("rerun", name, "-o", f"again-{name}", "--json")
            assert again.json["data"]["identical"], again
        assert difftool(*TRAIN, "--steps", 20, "--overwrite").code == 0
        changed = difftool("rerun", "with.wav", "-o", "third.wav")
        assert changed.code == 4
        assert "what voice train learned of the voice has changed since" in changed.err
        assert difftool("rerun", "plain.wav", "-o", "fourth.wav").code == 0

    def test_says_that_the_clips_have_changed_since(self, difftool: Run, clone: Run, me: Path) -> None:
        assert difftool(*TRAIN, "--steps", 10).code == 0
        assert clone("a.wav").json["warnings"] == []
        clips, table = me / "clips", me / "metadata.csv"
        shutil.copy(clips / "0005.wav", clips / "0021.wav")
        (clips / "0003.wav").unlink()
        soundfile.write(clips / "0004.wav", soundfile.read(clips / "0004.wav")[0] / 2, 24_000)
        lines = table.read_text().replace("0007|One two three|One two three", "0007|One two|One two")
        table.write_text(f"{lines}0021|Four|Four\n")
        (warning,) = clone("b.wav").json["warnings"]
        assert "since me was trained: 1 clip added, 2 clips edited, 1 clip removed; to train it again run" in warning
        assert "difftool voice train me --engine beep --overwrite" in warning
        assert clone("c.wav", "--no-trained").json["warnings"] == []
        assert difftool(*TRAIN, "--steps", 10, "--overwrite").code == 0
        assert clone("d.wav").json["warnings"] == []
        (me / "trained" / "beep" / "learned.json").unlink()  # as before it was written
        table.write_text(lines)
        assert clone("e.wav").json["warnings"] == []

    def test_another_engine_is_told_of_it(self, difftool: Run, me: Path) -> None:
        assert difftool(*TRAIN, "--steps", 10).code == 0
        other = difftool("voice", "clone", "--voice", "me", "--engine", "mini", "--dry-run", "Hello.")
        assert "me was trained for beep; --engine beep speaks so" in other.err
        assert "trained" not in difftool("voice", "clone", "--dry-run", "--engine", "mini", "Hello.").err

    def test_a_voice_is_removed_with_it(self, difftool: Run, me: Path) -> None:
        assert difftool(*TRAIN, "--steps", 10).code == 0
        for path in [*me.iterdir()]:
            if path.name not in ("voice.json", "trained"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert difftool("voice", "rm", "me").code == 0
        assert not me.exists()


class TestRefused:
    @pytest.mark.parametrize(
        ("code", "args", "says"),
        [
            (4, ("you",), "there is no voice 'you'"),
            (2, ("me", "--engine", "f5"), "the engine f5 cannot be trained"),
            (2, ("me", "--engine", "bep"), "unknown engine 'bep'"),
            (2, ("me", "--method", "full", "--rank", 8), "the method full has no --rank"),
            (2, ("me", "--method", "half"), "unknown method 'half'"),
            (2, ("me", "--engine", "mini", "--method", "lora"), "the engine mini has no method lora; it has full"),
            (2, ("me", "--engine", "mini", "--method", "lora"), "leave out --method, or use --engine tortoise"),
            (2, ("me", "--engine", "mini", "--rank", 8), "leave it out, or use --engine tortoise"),
            (2, ("me", "--engine", "mini", "--checkpointing"), "has no --checkpointing"),
            (2, ("me", "--minutes", 1, "--steps", 1), "cannot be used together"),
            (2, ("me", "--steps", 0), "steps"),
            (2, ("me", "--dtype", "fp16"), "training in fp16"),
            (2, ("a&b",), "not a valid voice name"),
            (2, ("random",), "reserved"),
            (4, ("alma",), "is in the package, which is not changed"),
        ],
    )
    def test_what_is_not_valid(self, refused: Run, me: Path, code: int, args: tuple[object, ...], says: str) -> None:
        engine = () if "--engine" in args else ("--engine", "beep")
        refused(code, "voice", "train", *args, *engine, says=says)

    def test_voices_that_cannot_be_learned_from(self, refused: Run, me: Path) -> None:
        voice(me.parent, "few", 11)
        voice(me.parent, "nobody", consent=False)
        voice(me.parent, "mute", text="")
        voice(me.parent, "quiet", text="About silence")
        for name, code, says in (
            ("few", 4, "has only 11 clips to learn from"),
            ("nobody", 7, "no consent is recorded"),
            ("mute", 4, "have no transcripts"),
            ("quiet", 4, "20 more clips left out: it is about silence"),
        ):
            refused(code, "voice", "train", name, "--engine", "beep", says=says)

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ("../../you/clips/0001|Hello.|Hello.", "names a clip outside of the folder clips"),
            ("0003|Hello.|Hello.", "has two lines for the clip '0003'"),
            ("0021|caf\udce9|caf\udce9", "is not UTF-8 text"),
        ],
    )
    def test_lines_that_are_not_valid(self, refused: Run, me: Path, line: str, says: str) -> None:
        voice(me.parent, "you", consent=False)
        with (me / "metadata.csv").open("a", errors="surrogateescape") as table:
            table.write(line + "\n")
        refused(4, *TRAIN, says=says)
        refused(4, "voice", "export", "me", "--format", "ljspeech", "-o", "lj", says=says)

    def test_a_folder_of_others_is_left_alone(self, refused: Run, me: Path) -> None:
        (me / "trained" / "beep").mkdir(parents=True)
        (me / "trained" / "beep" / "voice.safetensors").write_bytes(b"mine")
        refused(4, *TRAIN, says="contains files that are not a run")
        refused(4, *TRAIN, "--overwrite", says="contains files that are not a run")

    def test_while_another_process_trains(self, refused: Run, me: Path) -> None:
        from difftool.files import lock

        folder = me / "trained" / "beep"
        folder.mkdir(parents=True)
        with lock(folder):
            refused(75, *TRAIN)
            refused(75, "voice", "rm", "me", "--originals")
