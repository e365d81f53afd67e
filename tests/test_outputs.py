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


def test_many_singles_have_a_folder_beside_a_named_grid(to: Destination, tmp_path: Path) -> None:
    few, many = [(k, k) for k in range(25)], [(k, k) for k in range(26)]
    named, folder = replace(to, output=tmp_path / "a.png"), tmp_path / "a-singles"
    assert pictures(named, few).singles[24] == tmp_path / "a-00024-24.png"
    places = pictures(named, many)
    assert (places.singles[25], places.grid) == (folder / "00025-25.png", tmp_path / "a.png")
    assert places.folders == [folder, tmp_path]
    assert pictures(to, many).singles[25] == tmp_path / "00025-25.png"  # a folder that was named


def test_a_kept_single_is_found_in_either_place(to: Destination, tmp_path: Path) -> None:
    """A list of prompts may have grown beyond the limit, or shrunk, since its pictures were made."""
    few, many = [(k, k) for k in range(2)], [(k, k) for k in range(26)]
    named, folder = replace(to, output=tmp_path / "a.png", skip_existing=True), tmp_path / "a-singles"
    made(tmp_path / "a-00000-0.png")
    assert pictures(named, many).singles[:2] == [tmp_path / "a-00000-0.png", folder / "00001-1.png"]
    folder.mkdir()
    made(folder / "00001-1.png")
    assert pictures(named, few).singles == [tmp_path / "a-00000-0.png", folder / "00001-1.png"]
    assert pictures(replace(named, overwrite=True), few).singles[1] == tmp_path / "a-00001-1.png"


def test_only_the_grid(to: Destination, tmp_path: Path) -> None:
    alone = replace(to, grid_only=True)
    assert pictures(alone, TWO).all == [tmp_path / "grid.png"]
    assert pictures(alone, TWO).files(2) == [tmp_path / "grid.png"] * 2
    assert pictures(replace(alone, output=tmp_path / "a.png"), TWO).all == [tmp_path / "a.png"]
    assert pictures(alone, TWO[:1]).all == [tmp_path / "00000-7.png"]  # one picture has no grid
    made(tmp_path / "00001-8.png")
    pictures(alone, TWO)
    made(tmp_path / "grid.png")
    refused(Exit.FILE, pictures, alone, TWO)


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
