"""Pictures made again from Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import difftool
from difftool.errors import DifftoolError, Exit
from difftool.pictures.png import read_png, write_png
from difftool.sampling.choice import choose_sampler


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


@pytest.mark.parametrize(
    ("name", "schedule", "clocks"),
    [
        ("simple", "trailing", [1000, 923.0769, 846.1538]),
        ("normal", "trailing", [1000, 923.0769, 846.1538]),
        ("ddim_uniform", "leading", [924.0769, 847.1538, 770.2308]),
    ],
)
def test_a_picture_of_a_name_that_has_changed(name: str, schedule: str, clocks: list[float], tmp_path: Path) -> None:
    """Made with this --schedule when it was another grid: the file names the grid, not what was typed."""
    from difftool.outputs import Destination
    from difftool.replay import plan_replay, source_of

    file = Path(__file__).parent / "golden" / f"sample_{name}.png"
    replay = plan_replay(source_of(file), Destination("rerun", "RUN", tmp_path / "again.png"))
    assert replay.plan.choice.schedule == schedule  # type: ignore[union-attr]
    assert [level.t for level in replay.plan.choice.levels[:3]] == pytest.approx(clocks)  # type: ignore[union-attr]
    difftool.rerun(file, tmp_path / "again.png")
    again, before = (read_png(path)[0].astype(int) for path in (tmp_path / "again.png", file))
    assert np.abs(again - before).max() <= 1  # another processor may round another way
    assert choose_sampler(replay.plan.choice.path, "ddim", 13, name).levels != replay.plan.choice.levels  # type: ignore[union-attr]
