"""Long texts: nothing that stops them costs more than the part that was being said."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ENGINES

from difftool.errors import DifftoolError, Exit
from difftool.settings import setting
from difftool.voice import engines, long_text
from difftool.voice.long_text import numbers, read_aloud
from difftool.voice.plan import SpeechPlan, plan_speech_with
from difftool.voice.reading import LIST, finished, joining, made_here

TEXT = "\n\n".join(f"This is part {word}." for word in ("one", "two", "three", "four"))


ANY_ENGINE = pytest.mark.parametrize("engine", ENGINES, indirect=True)


@pytest.fixture
def given(engine: str, tortoise: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The settings of an engine with which it is quick."""
    if engine == "f5":
        return {"engine": engine, "preset": "draft", "models_dir": request.getfixturevalue("f5")}
    if engine != "tortoise":
        return {"engine": engine, "preset": "draft"}
    return {"preset": "draft", "steps": 3, "samples": 2, "models_dir": tortoise}


def planned(given: dict[str, Any], text: str = TEXT, **settings: Any) -> SpeechPlan:
    return plan_speech_with(text, **{**given, **settings})


def fails(code: Exit, says: str) -> pytest.RaisesExc[DifftoolError]:
    return pytest.RaisesExc(DifftoolError, match=says, check=lambda error: error.code == code)


def sounds(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.wav")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out.parts").mkdir()
    return tmp_path / "out.parts"


def stopping(after: int) -> Any:
    """A `Track` that is interrupted at some step."""

    def track(items: Any, total: int) -> Any:
        for k, item in enumerate(items):
            if k == after:
                raise KeyboardInterrupt
            yield item

    return track


@ANY_ENGINE
def test_it_goes_on_where_it_was_stopped(given: dict[str, Any], tmp_path: Path, folder: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = read_aloud(planned(given), tmp_path / "whole")
    assert whole.said == 4
    for done in (0.1, 1.1, 2.4):
        with pytest.raises(KeyboardInterrupt):
            read_aloud(planned(given), folder, track=stopping(int(done * planned(given).steps)))
    again = read_aloud(planned(given), folder)
    assert 0 < again.said < 4
    assert sounds(folder) == sounds(tmp_path / "whole")
    joined = [
        b"".join(long_text.pieces(place, parts.parts, 0))
        for place, parts in ((folder, again), (tmp_path / "whole", whole))
    ]
    assert joined[0] == joined[1]
    assert read_aloud(planned(given), folder).said == 0


@ANY_ENGINE
def test_only_what_changed_is_said_again(given: dict[str, Any], folder: Path) -> None:
    read_aloud(planned(given), folder)
    with joining(folder, []):
        pass
    before = sounds(folder)
    changed = TEXT.replace("two", "twelve").replace("This is part one.\n\n", "") + "\n\nThis is part five."
    done = read_aloud(planned(given, changed), folder)
    assert done.said == 2
    assert len(sounds(folder)) == 4
    assert len(before.items() & sounds(folder).items()) == 2  # what is no more part of the text is gone


@ANY_ENGINE
def test_parts_of_another_text_are_not_dropped_unasked(given: dict[str, Any], folder: Path) -> None:
    read_aloud(planned(given), folder)
    before = sounds(folder)
    with fails(Exit.FILE, "another, unfinished text"):
        read_aloud(planned(given, "Something else.\n\nAnd more."), folder)
    assert sounds(folder) == before
    assert read_aloud(planned(given, "Something else.\n\nAnd more."), folder, overwrite=True).said == 2


@ANY_ENGINE
def test_other_pauses_are_another_result(given: dict[str, Any], folder: Path) -> None:
    output = folder.with_name("out.wav")
    read_aloud(planned(given, "Yes. | No."), folder)
    with joining(folder, [output]):
        output.write_bytes(b"the result")
    assert read_aloud(planned(given, "Yes.\n\nNo."), folder).said == 0
    assert not finished(folder, [output])


@ANY_ENGINE
def test_a_sentence_that_comes_twice_is_said_twice(given: dict[str, Any], folder: Path) -> None:
    read_aloud(planned(given, "Yes.\n\nYes.\n\nYes."), folder)
    assert len({*sounds(folder).values()}) == 3


@ANY_ENGINE
def test_parts_are_said_again_in_another_way(given: dict[str, Any], folder: Path) -> None:
    first = read_aloud(planned(given), folder)
    before = sounds(folder)
    again = read_aloud(planned(given), folder, redo={2, 4})
    assert again.said == 2
    assert [part["attempt"] for part in again.parts] == [0, 1, 0, 1]
    kept = before.items() & sounds(folder).items()
    assert {name for name, _ in kept} == {first.parts[k]["takes"][0]["file"] for k in (0, 2)}
    assert read_aloud(planned(given), folder).said == 0  # which is how they stay
    for done in (0.1, 1.1):  # in the first part, and in the second: what is said again is said so once
        with pytest.raises(KeyboardInterrupt):
            read_aloud(planned(given), folder, redo={1, 3}, track=stopping(int(done * planned(given).steps)))
    assert [part["attempt"] for part in read_aloud(planned(given), folder, redo={1, 3}).parts] == [1, 1, 1, 1]
    with joining(folder, []):
        pass
    assert [part["attempt"] for part in read_aloud(planned(given), folder, redo={1, 3}).parts] == [2, 1, 2, 1]


def test_other_settings_are_another_reading(
    given: dict[str, Any], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_aloud(planned(given), folder)
    before = sounds(folder)
    with fails(Exit.FILE, "other settings: seed, temperature"):
        read_aloud(planned(given, seed=1, temperature=0.7), folder)
    assert sounds(folder) == before
    assert read_aloud(planned(given, batch_size=1), folder).said == 0
    assert read_aloud(planned(given, seed=1), folder, overwrite=True).said == 4
    assert not before.keys() & sounds(folder).keys()


@pytest.mark.parametrize("damage", ["gone", "cut", "bit"])
@ANY_ENGINE
def test_a_part_that_is_damaged_is_said_again(
    damage: str, given: dict[str, Any], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_aloud(planned(given), folder)
    before = sounds(folder)
    path = min(folder.glob("*.wav"))
    data = path.read_bytes()
    path.unlink() if damage == "gone" else path.write_bytes(data[:-9] if damage == "cut" else data[:-1] + b"\x7f")
    assert read_aloud(planned(given), folder).said == 1
    assert "part 1 was changed after it was written" in caplog.text
    assert sounds(folder) == before


@pytest.mark.parametrize("note", ["{", "[]", '{"config": 1}', '{"parts": [{}]}', '{"parts": 5}'])
def test_a_manifest_that_is_damaged(note: str, given: dict[str, Any], folder: Path) -> None:
    read_aloud(planned(given), folder)
    (folder / LIST).write_text(note)
    with fails(Exit.FILE, "JSON|damaged|settings"):
        read_aloud(planned(given), folder)
    (folder / LIST).unlink()
    assert read_aloud(planned(given), folder).said == 4


@ANY_ENGINE
def test_time_that_ends(given: dict[str, Any], folder: Path) -> None:
    """At least one part is said in every run, and no part is begun that would not be ended in time."""
    for left in (3, 2, 1):
        with fails(Exit.LATER, f"{4 - left} of 4 parts"):
            read_aloud(planned(given), folder, until=time.monotonic())
    assert read_aloud(planned(given), folder, until=time.monotonic()).said == 1


@ANY_ENGINE
def test_parts_that_fail_are_named_and_the_rest_is_said(
    given: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = planned(given)
    speaker = type(wanted.work.speaker())
    inner = speaker.say

    def failing(self: Any, text: str, *args: Any) -> Any:
        if "two" in text or "four" in text:
            raise DifftoolError(Exit.FAILED, "numbers that are not finite", "try --dtype fp32")
        return (yield from inner(self, text, *args))

    monkeypatch.setattr(speaker, "say", failing)
    with fails(Exit.PARTIAL, r"2 of 4 parts failed \(2, 4\): numbers"):
        read_aloud(wanted, folder)
    book = json.loads((folder / LIST).read_text())
    assert [part["state"] for part in book["parts"]] == ["done", "failed", "done", "failed"]
    monkeypatch.setattr(speaker, "say", inner)
    assert read_aloud(planned(given), folder).said == 2


@ANY_ENGINE
def test_candidates_of_each_part(given: dict[str, Any], folder: Path) -> None:
    done = read_aloud(planned(given, candidates=2), folder)
    assert len(sounds(folder)) == 8
    first, second = (b"".join(long_text.pieces(folder, done.parts, rank)) for rank in (0, 1))
    assert first != second
    for part in done.parts:
        best, other = (take["score"] for take in part["takes"])
        assert best is other is None or best >= other


def test_what_was_made_here(given: dict[str, Any], folder: Path) -> None:
    output, wanted = folder.with_name("out.wav"), planned(given)
    assert not made_here(wanted, folder, [output])
    output.write_bytes(b"somebody else's")
    assert not made_here(wanted, folder, [output])
    read_aloud(wanted, folder)
    assert not made_here(wanted, folder, [output])
    assert not finished(folder, [output])
    with joining(folder, [output]):
        output.write_bytes(b"the result")
        assert made_here(wanted, folder, [output])  # as it would be after a kill
        assert not finished(folder, [output])
    assert made_here(wanted, folder, [output])
    assert finished(folder, [output])
    assert not made_here(wanted, folder, [output.with_suffix(".mp3")])
    assert not made_here(planned(given, "Another text.\n\nOf two parts."), folder, [output])
    read_aloud(wanted, folder, redo={1})
    assert made_here(wanted, folder, [output])
    assert not finished(folder, [output])
    output.write_bytes(b"changed")
    assert not made_here(wanted, folder, [output])


def test_lists_of_parts() -> None:
    assert numbers(None, 9) == set()
    assert numbers("3, 7-9", 9) == {3, 7, 8, 9}
    for text, says in (
        ("0", "no part 0"),
        ("10", "no part 10: the text has only 9"),
        ("3-10", "no part 3-10"),
        ("5-4", "no part"),
        ("a", "not a list"),
        ("3-", "not a list"),
        ("-3", "not a list"),
        ("", "not a list"),
        ("1,,2", "not a list"),
        ("9" * 30, "not a list"),
        ("²", "not a list"),
    ):
        with fails(Exit.USAGE, says):
            numbers(text, 9)


def test_threads_do_not_change_what_is_said(given: dict[str, Any], folder: Path) -> None:
    before = torch.get_num_threads()
    try:
        read_aloud(planned(given), folder)
        assert read_aloud(planned(given, threads=1), folder).said == 0
    finally:
        torch.set_num_threads(before)


def test_a_reading_goes_on_after_an_option_was_added(
    beep: None, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sung(**settings: Any) -> SpeechPlan:
        return plan_speech_with(TEXT, engine="beep", **settings)

    assert read_aloud(sung(), folder).said == 4
    module = engines.engine("beep")
    before: type = module.Options

    @dataclass(frozen=True)
    class Options(before):
        warmth: float = setting(1.0, "Warmth.")

    monkeypatch.setattr(module, "Options", Options)
    assert read_aloud(sung(), folder).said == 0
    with fails(Exit.FILE, "other settings: warmth"):
        read_aloud(sung(warmth=2.0), folder)
