"""Pictures made again from Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import difftool
from difftool.errors import DifftoolError, Exit
from difftool.pictures.png import read_png, write_png


def test_a_picture_is_made_again(
    tiny_model: Callable[..., Path], tiny_pipeline: Callable[[str], Path], tmp_path: Path
) -> None:
    from difftool.outputs import Destination, pictures
    from difftool.pixels.write import write

    drawn = difftool.sample(tiny_model(), steps=1, count=3)
    write(drawn, pictures(Destination("sample", "RUN", tmp_path / "a.png"), [(k, k) for k in range(3)]))
    (tmp_path / "list.txt").write_text("a red circle")
    difftool.draw_prompts(tmp_path / "list.txt", tmp_path, model=tiny_pipeline("sd"), steps=1)
    for name in ("a.png", "a-00001-1.png", "00000-0.png"):
        again = difftool.rerun(tmp_path / name, tmp_path / "again.png", overwrite=True)
        assert again.identical and again.then == again.now
        assert np.array_equal(read_png(tmp_path / "again.png")[0], read_png(tmp_path / name)[0])
        with pytest.raises(DifftoolError) as error:
            difftool.rerun(tmp_path / name, tmp_path / "again.png")
        assert error.value.code == Exit.FILE
    pixels, _, manifest = read_png(tmp_path / "a.png")
    write_png(tmp_path / "other.png", 255 - pixels, manifest)
    assert not difftool.rerun(tmp_path / "other.png", output_dir=tmp_path / "out").identical


def test_names_of_files_may_be_texts(
    tiny_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from difftool.outputs import Destination, pictures
    from difftool.pixels.write import write

    monkeypatch.chdir(tmp_path)
    drawn = difftool.sample(tiny_model(), steps=1, count=1)
    write(drawn, pictures(Destination("sample", "RUN", tmp_path / "a.png"), [(0, 0)]))
    assert difftool.rerun("a.png", "b.png").identical
    assert difftool.rerun("a.png", output_dir="folder").identical
    with pytest.raises(DifftoolError, match="--steps must be a whole number, not 3"):
        difftool.sample(tmp_path / "tiny", steps="3")
