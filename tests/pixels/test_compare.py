from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import difftool
from difftool.errors import DifftoolError
from difftool.pixels import compare as compare_module
from difftool.pixels.compare import DRAWS, compare

Make = Callable[..., Path]


def test_the_experiment_of_ddpm_and_ddim(tiny_model: Make) -> None:
    """From one start DDIM always ends in one picture, DDPM in another each time, and both are made again bit for
    bit."""
    folder = tiny_model()
    ddpm, ddim = compare(["ddpm", "ddim"], model=folder, steps=6, count=3, seed=5)
    assert ddpm.pixels.shape == ddim.pixels.shape == (3, DRAWS, 6, 10, 1)
    assert ddim.diversity == 0
    assert (ddim.pixels == ddim.pixels[:, :1]).all()
    assert 0.2 < ddpm.diversity < 1.5
    assert ddpm.reproduced
    assert ddim.reproduced
    assert ddpm.plan.calls == ddim.plan.calls == 6


def test_the_first_draw_is_what_sample_draws(tiny_model: Make) -> None:
    folder = tiny_model()
    for name in ("euler_a", "dpmpp_2m_sde", "dpmpp_sde"):
        (found,) = compare([name], model=folder, steps=4, count=3, seed=9)
        assert np.array_equal(
            found.pixels[:, 0], difftool.sample(folder, sampler=name, steps=4, count=3, seed=9).pixels
        )
        assert not np.array_equal(found.pixels[:, 0], found.pixels[:, 1])


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_figure_shows_every_kind_of_picture(tiny_model: Make, tmp_path: Path, channels: int) -> None:
    found = compare(["ddim"], model=tiny_model(channels=channels), steps=1, count=2)
    compare_module.write(tmp_path / "compared.png", found, "run")
    if channels == 2:
        points = [found[0]._replace(pixels=found[0].pixels[:, :, :1, :1])]
        compare_module.write(tmp_path / "points.png", points, "run")


def test_without_noise_every_sampler_is_one(tiny_model: Make) -> None:
    found = compare(["ddpm", "dpmpp_3m_sde", "dpm2_a"], model=tiny_model(), steps=4, count=2, eta=0.0)
    assert [one.diversity for one in found] == [0, 0, 0]


def test_batches_and_progress(tiny_model: Make) -> None:
    folder, ticks = tiny_model(), []

    def track(items, total):
        for item in items:
            ticks.append(total)
            yield item

    small = compare(["heun", "ddim"], model=folder, steps=3, count=5, batch_size=2, track=track)
    assert len(ticks) == ticks[0] == (DRAWS + 1) * 3 * 3 * 2
    large = compare(["heun", "ddim"], model=folder, steps=3, count=5)
    for a, b in zip(small, large, strict=True):
        assert np.abs(a.pixels.astype(int) - b.pixels).max() <= 1
    assert [one.plan.calls for one in large] == [5, 3]


def test_wrong_settings(tiny_model: Make) -> None:
    with pytest.raises(DifftoolError, match="heun does not use eta"):
        compare(["ddim", "heun"], model=tiny_model(), eta=0.5)


def test_one_start_tells_nothing(tiny_model: Make) -> None:
    with pytest.raises(DifftoolError, match="needs a --count of at least 2"):
        compare(["ddim"], model=tiny_model(), count=1)


def test_nan_is_an_error(tiny_model: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_model()
    inner = compare_module.plan_samples

    def broken(*args, **options):
        planned = inner(*args, **options)
        with torch.no_grad():
            next(planned.model.net.parameters()).fill_(float("nan"))
        return planned

    monkeypatch.setattr(compare_module, "plan_samples", broken)
    with pytest.raises(DifftoolError, match="not finite"):
        compare(["ddim"], model=folder, steps=2, count=2)
