from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import difftool
from difftool.errors import DifftoolError, Exit
from difftool.pixels import draw
from difftool.pixels.plan import plan_samples_with

Make = Callable[..., Path]


def fails(code: Exit, says: str) -> pytest.RaisesExc[DifftoolError]:
    return pytest.RaisesExc(DifftoolError, match=says, check=lambda error: error.code == code)


def test_what_comes_back(tiny_model: Make) -> None:
    drawn = difftool.sample(tiny_model(channels=3), count=5, steps=4, seed=10)
    assert drawn.pixels.shape == (5, 6, 10, 3)
    assert drawn.pixels.dtype == np.uint8
    assert drawn.items == [{"index": k, "seed": 10 + k, "label": "ab"[k % 2]} for k in range(5)]
    assert drawn.manifest["settings"]["steps"] == 4
    assert drawn.pixels.std() > 0


def test_a_picture_is_its_seed_s_whatever_the_batch(tiny_model: Make) -> None:
    folder = tiny_model()
    settings: dict[str, Any] = {"steps": 5, "sampler": "ddpm", "label": "a"}
    whole = difftool.sample(folder, count=7, **settings).pixels
    for size in (1, 2, 3):
        split = difftool.sample(folder, count=7, batch_size=size, **settings).pixels
        assert np.abs(split.astype(int) - whole).max() <= 1  # a rounding may fall on the other side
    shifted = difftool.sample(folder, count=3, seed=4, **settings).pixels
    assert np.abs(shifted.astype(int) - whole[4:]).max() <= 1


def test_the_same_run_gives_the_same_bits(tiny_model: Make) -> None:
    folder = tiny_model()
    a, b = (difftool.sample(folder, count=4, steps=5, sampler="euler_a") for _ in range(2))
    assert np.array_equal(a.pixels, b.pixels)


def test_part_of_a_run_is_that_part_of_the_run(tiny_model: Make) -> None:
    planned = plan_samples_with(tiny_model(), count=10, batch_size=4, steps=3, sampler="ddpm")
    whole = draw.draw_samples(planned)
    part = draw.draw_samples(planned, only=[2, 9])
    assert [item["index"] for item in part.items] == [2, 9]
    assert np.array_equal(part.pixels, whole.pixels[[2, 9]])


def test_settings_give_the_plan_again(tiny_model: Make) -> None:
    drawn = difftool.sample(
        tiny_model(), count=3, sampler="euler_a", steps=3, guidance=2.0, label="b,a", schedule="karras"
    )
    again = difftool.sample(**drawn.manifest["settings"])
    assert np.array_equal(again.pixels, drawn.pixels)
    assert again.manifest["settings"] == drawn.manifest["settings"]


def test_defaults_of_samplers(tiny_model: Make) -> None:
    folder = tiny_model()
    assert len(plan_samples_with(folder).choice.levels) == 26
    assert len(plan_samples_with(folder, sampler="ddpm").choice.levels) == 1001
    assert len(plan_samples_with(tiny_model("flow", target="flow"), sampler="ddpm").choice.levels) == 1001
    assert plan_samples_with(folder, sampler="ddim", eta=0.0).settings.eta == 0.0
    assert plan_samples_with(folder, sampler="euler_a").settings.eta == 1.0


def test_guidance_leads_towards_the_label(tiny_model: Make) -> None:
    folder = tiny_model()
    off, on, nothing = (
        difftool.sample(folder, count=2, steps=5, label="a", guidance=scale).pixels.astype(int)
        for scale in (1.0, 30.0, 0.0)
    )
    anything = difftool.sample(folder, count=2, steps=5, label="any").pixels.astype(int)
    assert np.abs(nothing - anything).max() <= 1
    assert np.abs(on - off).max() > 1


def test_labels(tiny_model: Make) -> None:
    folder = tiny_model()
    assert plan_samples_with(folder, count=3).labels == ["a", "b", "a"]
    assert plan_samples_with(folder, count=3, label="b").labels == ["b"] * 3
    assert plan_samples_with(folder, count=3, label="b, any").labels == ["b", None, "b"]
    both = plan_samples_with(tiny_model("both", classes=("cats, black", "dogs")), count=2, label="cats, black")
    assert both.labels == ["cats, black"] * 2  # a name with a comma is one name
    assert plan_samples_with(tiny_model("plain", classes=()), count=2).labels == [None, None]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"sampler": "dim"}, "did you mean 'ddim'"),
        ({"schedule": "trailingg"}, "did you mean 'trailing'"),
        ({"steps": 0}, "--steps must be from 1"),
        ({"steps": 1001}, "1000 levels"),
        ({"count": 0}, "--count must be"),
        ({"batch_size": 0}, "--batch-size must be"),
        ({"label": "c"}, "unknown label 'c'"),
        ({"label": ""}, "unknown label ''"),
        ({"label": "any", "guidance": 2.0}, "no labels for guidance"),
        ({"eta": 1.5}, "eta must be"),
        ({"eta": float("nan")}, "eta must be"),
        ({"guidance": float("inf")}, "guidance must be"),
        ({"device": "gpu"}, "unknown device"),
        ({"device": "cpu:1"}, "unknown device"),
        ({"dtype": "fp8"}, "unknown dtype"),
    ],
)
def test_settings_that_do_not_fit(tiny_model: Make, settings: dict[str, Any], says: str) -> None:
    with fails(Exit.USAGE, says):
        plan_samples_with(tiny_model(), **settings)


def test_labels_in_any_case(tiny_model: Make) -> None:
    folder = tiny_model("cased", classes=("Cat", "dog", "DOG", "Cats, Black"))
    for label, labels in (
        ("cat", ["Cat", "Cat"]),
        ("CATS, black", ["Cats, Black"] * 2),
        ("dog, DOG", ["dog", "DOG"]),
        ("ANY, cAT", [None, "Cat"]),
        (["cat", "DOG"], ["Cat", "DOG"]),
    ):
        assert plan_samples_with(folder, count=2, label=label).labels == labels
    for label in ("Dog", ["cat", "doG"]):
        with fails(Exit.USAGE, "is ambiguous: dog or DOG"):
            plan_samples_with(folder, count=2, label=label)
    with fails(Exit.USAGE, "unknown label 'cta'; did you mean 'Cat'"):
        plan_samples_with(folder, count=2, label="cta")
    upper, exact = (difftool.sample(folder, count=1, steps=2, label=label) for label in ("CAT", "Cat"))
    assert np.array_equal(upper.pixels, exact.pixels) and upper.items == exact.items


def test_models_without_labels(tiny_model: Make) -> None:
    folder = tiny_model(classes=())
    assert plan_samples_with(folder, label="Any", count=1).labels == [None]
    with fails(Exit.USAGE, "without labels"):
        plan_samples_with(folder, label="a")
    with fails(Exit.USAGE, "no label"):
        plan_samples_with(folder, guidance=2.0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_said(tiny_model: Make) -> None:
    with fails(Exit.MACHINE, "cuda"):
        plan_samples_with(tiny_model(), device="cuda")


def test_a_batch_without_room_is_halved(tiny_model: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, sizes = tiny_model(), []
    inner = draw.states

    def states(model: Any, choice: Any, seeds: Any, *rest: Any, **options: Any) -> Any:
        sizes.append(len(seeds))
        if len(seeds) > limit:
            raise torch.OutOfMemoryError
        return inner(model, choice, seeds, *rest, **options)

    monkeypatch.setattr(draw, "states", states)
    limit = 3
    drawn = difftool.sample(folder, count=10, batch_size=10, steps=2)
    assert sizes == [10, 5, 2, 2, 2, 2, 2]
    assert drawn.manifest["settings"]["batch_size"] == 2
    assert drawn.pixels.shape[0] == 10
    limit = 0
    with fails(Exit.MEMORY, "does not fit"):
        difftool.sample(folder, count=4, steps=2)


def test_nan_is_an_error(tiny_model: Make) -> None:
    planned = plan_samples_with(tiny_model(), steps=2)
    with torch.no_grad():
        next(planned.model.net.parameters()).fill_(float("nan"))
    with fails(Exit.FAILED, "not finite"):
        draw.draw_samples(planned)


def test_other_errors_are_not_taken_for_a_lack_of_memory(tiny_model: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def states(*_: Any, **__: Any) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(draw, "states", states)
    with pytest.raises(RuntimeError, match="something else"):
        difftool.sample(tiny_model(), steps=2)


@pytest.mark.parametrize(("count", "wide"), [(16, 4), (6, 2), (2, 2), (5, None), (100, 10)])
def test_a_grid_of_two_classes_is_near_to_a_square(tiny_model: Make, count: int, wide: int | None) -> None:
    assert draw.columns(difftool.sample(tiny_model(), count=count, steps=1)) == wide


def test_a_grid_of_ten_classes_has_a_column_for_each() -> None:
    assert draw.columns(difftool.sample(count=30, steps=1)) == 10


def test_a_step_shows_the_first_picture_as_it_is_estimated() -> None:
    shown: list[np.ndarray] = []

    def track(items: Iterable[Any], total: int, label: str = "") -> Iterator[Any]:
        for step in items:
            shown.append(step.preview())
            yield step

    drawn = draw.sample(count=2, steps=3, label="3", track=track)
    assert len(shown) == 3 and shown[0].shape == (8, 8, 1)
    assert (shown[-1] == drawn.pixels[0]).all()  # the last estimate is the picture
