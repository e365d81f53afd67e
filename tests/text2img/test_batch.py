"""Files of prompts from Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import difftool
from difftool.errors import DifftoolError, Exit
from difftool.text2img.batch import Drawn


def test_a_file_of_prompts(tiny_pipeline: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a circle\n[a|b]\na square --seed 9 --count 2\n")
    settings = {"model": tiny_pipeline("sd"), "steps": 1, "size": (32, 32), "seed": 4}

    def draw(**more: bool) -> Drawn:
        return difftool.draw_prompts(tmp_path / "list.txt", tmp_path / "out", **settings, **more)

    drawn = draw()
    assert [Path(picture["path"]).name for picture in drawn.pictures] == ["00000-4.png", "00002-9.png", "00003-10.png"]
    assert drawn.grid == tmp_path / "out" / "grid.png" and drawn.grid.exists()
    assert [(where, error.code) for where, error in drawn.planned.failed.items()] == [("line 2", Exit.USAGE)]
    with pytest.raises(DifftoolError) as error:
        draw()
    assert error.value.code == Exit.FILE
    (tmp_path / "out" / "00002-9.png").unlink()
    again = draw(skip_existing=True)
    assert [picture["index"] for picture in again.pictures] == [2] and again.planned.skipped == 2
    (tmp_path / "list.txt").write_text("[a|b]\n")
    with pytest.raises(DifftoolError) as error:
        draw()
    assert error.value.code == Exit.PARTIAL
