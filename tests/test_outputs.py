"""Where the files of a run lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from difftool.errors import DifftoolError, Exit
from difftool.files import manifest
from difftool.outputs import Destination, figure, pictures, sounds
from difftool.pictures.png import write_png

TWO = [(0, 7), (1, 8)]


@pytest.fixture
def to(tmp_path: Path) -> Destination:
    return Destination("sample", "RUN", folder=tmp_path)


def made(path: Path) -> None:
    """A result of difftool."""
    write_png(path, np.zeros((1, 1, 1), np.uint8), manifest("sample", "RUN", {}))


def test_names(to: Destination, tmp_path: Path) -> None:
    places = pictures(to, TWO, trajectory=True)
    assert [path.name for path in places.singles] == ["00000-7.png", "00001-8.png"]
    assert places.grid == tmp_path / "grid.png"
    assert [path.name for path in places.trajectory] == ["trajectory.png", "trajectory.gif"]
    named = replace(to, output=tmp_path / "a.png")
    assert [path.name for path in pictures(named, TWO).all] == ["a-00000-7.png", "a-00001-8.png", "a.png"]
    assert pictures(named, TWO[:1]).all == [tmp_path / "a.png"]
    assert [path.name for path in sounds(to, TWO)] == ["00000-7.wav", "00001-8.wav"]
    assert [path.name for path in sounds(to, TWO[:1], ".mp3")] == ["00000-7.mp3"]
    spoken = replace(to, output=tmp_path / "a.flac")
    assert [path.name for path in sounds(spoken, TWO, suffixes=(".wav", ".flac"))] == ["a.flac", "a-00001-8.flac"]
    assert figure(to, "compare.png") == tmp_path / "compare.png"
    nowhere = Destination("voice clone", "RUN")
    assert sounds(nowhere, TWO[:1]) == [Path("outputs/voice-clone/RUN/00000-7.wav")]


def test_a_folder_of_every_run(to: Destination, tmp_path: Path) -> None:
    """Where names in it are taken, the run has a folder of its own there, all of its files."""
    made(tmp_path / "00001-8.png")
    made(tmp_path / "compare.png")
    (tmp_path / "00000-7.wav").touch()
    standing = replace(to, standing=True)
    assert {path.parent for path in pictures(standing, TWO).all} == {tmp_path / "RUN"}
    assert {path.parent for path in sounds(standing, TWO)} == {tmp_path / "RUN"}
    assert figure(standing, "compare.png") == tmp_path / "RUN" / "compare.png"
    for other in (replace(standing, overwrite=True), replace(standing, skip_existing=True)):
        assert {path.parent for path in pictures(other, TWO).all} == {tmp_path}
    assert pictures(standing, [(5, 5)]).all == [tmp_path / "00005-5.png"]


def test_what_is_there_stays(to: Destination, tmp_path: Path) -> None:
    made(tmp_path / "00001-8.png")
    for draw in (pictures, lambda to, _: figure(to, "00001-8.png")):
        refused(Exit.FILE, draw, to, TWO)
        draw(replace(to, overwrite=True), TWO)
    pictures(replace(to, skip_existing=True), TWO)
    (tmp_path / "00001-8.png").write_text("precious")
    refused(Exit.FILE, pictures, replace(to, overwrite=True), TWO)


def test_another_kind_of_file(to: Destination, tmp_path: Path) -> None:
    named = replace(to, output=tmp_path / "a.txt")
    for make in (pictures, sounds, lambda to, _: figure(to, "x.png")):
        refused(Exit.USAGE, make, named, TWO)


def refused(code: Exit, make: Callable, *args: object) -> None:
    with pytest.raises(DifftoolError) as error:
        make(*args)
    assert error.value.code == code
