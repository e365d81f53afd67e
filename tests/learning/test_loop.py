from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any

import pytest
import torch

from difftool.learning import loop, tasks
from difftool.learning.loop import Trainee, Update, held_out, learning_rate, line_fit, updates
from difftool.learning.tasks import Data, Denoising, indices, seeded
from difftool.models import build_net

CPU = torch.device("cpu")
PIXELS = torch.arange(20 * 1 * 6 * 10, dtype=torch.int64).remainder(251).to(torch.uint8).reshape(20, 1, 6, 10)
LABELS = torch.arange(20) % 2


@pytest.fixture
def config() -> dict[str, Any]:
    return {
        "net": {"type": "unet", "channels": 1, "width": 8, "mults": [1, 2], "classes": 2, "dropout": 0.1},
        "path": {"type": "discrete_vp", "betas": "cosine", "T": 1000},
        "target": "v",
        "size": [6, 10],
        "classes": ["a", "b"],
        "train": {
            "images": 96,
            "batch_size": 8,
            "lr": 1e-2,
            "warmup": 0.25,
            "ema": 0.1,
            "label_dropout": 0.5,
            "weight_decay": 0.01,
            "seed": 0,
        },
    }


def begin(
    config: dict[str, Any], labels: torch.Tensor | None = LABELS, dtype: torch.dtype = torch.float32
) -> tuple[Trainee, Denoising]:
    data = Data(PIXELS, {}, {}) if labels is None else Data(PIXELS, {"label": labels}, {"label": torch.tensor(2)})
    net = seeded(config["train"]["seed"], lambda: build_net(config["net"]))
    task = Denoising(config, net, data, data, dtype)
    return Trainee(task.net, config["train"]), task


def made(
    config: dict[str, Any], labels: torch.Tensor | None = LABELS, dtype: torch.dtype = torch.float32, **settings: Any
) -> list[Update]:
    return list(updates(*begin(config, labels, dtype), config["train"], **settings))


def run(config: dict[str, Any], **settings: Any) -> Trainee:
    trainee, task = begin(config)
    for _ in updates(trainee, task, config["train"], **settings):
        pass
    return trainee


def same(a: Trainee, b: Trainee) -> bool:
    (one, left), (two, right) = a.state(), b.state()
    return left == right and one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_each_epoch_is_a_permutation() -> None:
    order = indices(seed=1, n=7, first=0, count=35).reshape(5, 7)
    assert all(sorted(epoch.tolist()) == list(range(7)) for epoch in order)
    assert len({tuple(epoch.tolist()) for epoch in order}) > 1
    # any stretch of the run is that stretch
    assert indices(1, 7, 12, 9).tolist() == order.flatten()[12:21].tolist()
    assert indices(2, 7, 0, 35).tolist() != order.flatten().tolist()


class Sliced(list[float]):
    """A list that counts what is copied out of it."""

    copied = 0

    def __getitem__(self, key: Any) -> Any:
        part = super().__getitem__(key)
        self.copied += len(part) if isinstance(key, slice) else 0
        return part


def test_what_is_drawn_ahead_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute went by before the first update of `train moons --batch-size 8`."""
    inner, made = tasks.times, []
    monkeypatch.setattr(tasks, "times", lambda *args: made.append(Sliced(inner(*args))) or made[-1])
    tasks._draw_updates(0, 0, 300, range(2, 5), 8, torch.Size([2, 1, 1]), CPU)
    assert made[0].copied == 300 * 3


@pytest.mark.parametrize("rows", [range(8), range(2, 5)])
def test_drawing_ahead_changes_nothing(rows: range, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks, inner = [], tasks._draw_updates_cached
    monkeypatch.setattr(tasks, "_draw_updates_cached", lambda *args: blocks.append(args[2]) or inner(*args))
    shape = torch.Size([2, 1, 1])
    for step in (0, 511, 512, 100_000):
        ahead, alone = (
            tasks.draw_batch(3, step, rows, 8, shape, CPU),
            tasks._draw_updates(3, step, 1, rows, 8, shape, CPU)[0],
        )
        assert ahead.times == alone.times
        assert all(torch.equal(a, b) for a, b in zip(ahead[1:], alone[1:], strict=True))
    assert set(blocks) == {512}  # however small the pictures are


def test_the_learning_rate_rises_and_falls(config: dict[str, Any]) -> None:
    rates = [learning_rate(config["train"], step) for step in range(13)]
    assert rates[0] == pytest.approx(1e-2 / 3)
    assert max(rates) == rates[2] > 0.9e-2
    assert rates[12] == pytest.approx(0, abs=1e-12)
    assert rates[7] == pytest.approx(1e-2 * 0.5 * (1 + math.cos(math.pi * 7 / 12)))


def test_the_same_config_gives_the_same_weights(config: dict[str, Any]) -> None:
    torch.manual_seed(1)
    first = run(config)
    torch.manual_seed(2)  # what others draw changes nothing
    second = run(config)
    assert first.step == first.taken == 12
    assert same(first, second)
    config["train"]["seed"] = 5
    assert not same(first, run(config))


def test_going_on_from_a_state_is_never_having_stopped(config: dict[str, Any]) -> None:
    whole = run(config)
    part, task = begin(config)
    for update in updates(part, task, config["train"]):
        if update.step == 5:
            break
    tensors, numbers = part.state()
    fresh, task = begin(config)
    fresh.restore({name: value.clone() for name, value in tensors.items()}, numbers)
    assert fresh.step == 5
    for _ in updates(fresh, task, config["train"]):
        pass
    assert same(fresh, whole)


@pytest.mark.parametrize("micro", [1, 3, 4])
def test_how_many_are_taken_at_once_changes_nothing_but_rounding(config: dict[str, Any], micro: int) -> None:
    """Dropout included: a row's mask hangs on no other row."""
    config["train"] |= {"images": 32, "lr": 1e-3}
    whole, parts = run(config), run(config, micro=micro)
    # AdamW divides by the size of the gradient, so that rounding shows where it is next to nothing
    for a, b in zip(whole.params, parts.params, strict=True):
        assert torch.allclose(a, b, atol=2e-4)
    losses = [[update.loss for update in made(config, micro=m)] for m in (None, micro)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.slow
def test_compiled_is_the_same_but_for_rounding(config: dict[str, Any]) -> None:
    """Dropout included, and going on as well."""
    config["train"] |= {"images": 32, "lr": 1e-3}
    plain = [update.loss for update in made(config)]
    config["train"]["compile"] = True
    whole = run(config)
    assert [update.loss for update in made(config)] == pytest.approx(plain, rel=1e-4)
    part, task = begin(config)
    next(updates(part, task, config["train"]))
    tensors, numbers = part.state()
    fresh, task = begin(config)
    fresh.restore({name: value.clone() for name, value in tensors.items()}, numbers)
    for _ in updates(fresh, task, config["train"]):
        pass
    assert same(fresh, whole)


def test_where_memory_ends_half_as_many_are_taken(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    inner = Denoising.losses

    def large(task: Denoising, first: int, rows: range) -> Any:
        if len(rows) > 2:
            raise MemoryError
        return inner(task, first, rows)

    config["train"] |= {"images": 32, "lr": 1e-3}
    plain = [update.loss for update in made(config)]
    with monkeypatch.context() as small:
        small.setattr(Denoising, "losses", large)
        assert [update.loss for update in made(config)] == pytest.approx(plain, rel=1e-4)
    monkeypatch.setattr(Denoising, "losses", lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        made(config)


def test_two_probes_give_a_line() -> None:
    # 10 beside 5 a picture: 90 % of 200 holds 34
    assert line_fit(2, 20, 30, 200, most=100) == 34
    assert line_fit(2, 20, 30, 200, most=16) == 16
    assert line_fit(2, 20, 30, 5, most=16) == 1
    assert line_fit(2, 20, 20, 5, most=16) == 16


def test_a_probe_finds_that_all_fit_and_leaves_nothing(config: dict[str, Any]) -> None:
    trainee, task = begin(config)
    assert loop.items_that_fit(task, config["train"]) == 8
    assert all(p.grad is None for p in trainee.params)


def test_a_probe_takes_the_largest_items(config: dict[str, Any]) -> None:
    _, task = begin(config)
    probed: list[int] = []

    def heaviest(rows: range) -> tuple[torch.Tensor, torch.Tensor]:
        probed.append(len(rows))
        return task.losses(8, rows)

    task.heaviest = heaviest  # type: ignore[attr-defined]
    loop.items_that_fit(task, config["train"])
    assert probed == [1, 2]


def test_memory_grows_with_the_batch(config: dict[str, Any]) -> None:
    _, task = begin(config)
    losses = partial(task.losses, 0)
    one, four = (
        loop._peak(CPU, lambda rows=rows: loop._backward(losses, range(rows), rows, rows, CPU)) for rows in (2, 8)
    )
    assert 1.5 * one < four < 4.5 * one


def test_the_loss_by_noise_is_a_share_of_the_whole(config: dict[str, Any]) -> None:
    for update in made(config):
        known = [band for band in update.bands if band is not None]
        assert len(known) == 4  # stratified times fill every band
        assert sum(known) / 4 == pytest.approx(update.loss)


def test_held_out_pictures_have_the_same_noise_each_time(config: dict[str, Any]) -> None:
    trainee, task = begin(config)
    first = held_out(trainee, task)
    torch.manual_seed(5)
    assert held_out(trainee, task) == first
    for _ in updates(trainee, task, config["train"]):
        pass
    last = held_out(trainee, task)
    assert first is not None
    assert last is not None
    assert sum(last) < sum(first)  # type: ignore[arg-type]
    assert trainee.net.training


def test_held_out_pictures_that_lie_class_by_class_are_watched_from_all(config: dict[str, Any]) -> None:
    held = Data(torch.zeros(600, 1, 6, 10, dtype=torch.uint8), {"label": torch.arange(600) // 300}, {})
    data = Data(PIXELS, {"label": LABELS}, {"label": torch.tensor(2)})
    seen: list[torch.Tensor] = []
    task = Denoising(config, build_net(config["net"]), data, held)
    task._losses = lambda net, x0, when, eps, cond: seen.append(cond["label"]) or torch.zeros(len(x0))  # type: ignore
    task.held_losses({}, range(task.held_out))
    assert abs(float(seen[0].double().mean()) - 0.5) < 0.1


@pytest.mark.parametrize(
    ("target", "path", "more"),
    [
        ("edm", {"type": "karras", "lo": 0.002, "hi": 80.0}, {"times": "log_normal"}),
        ("flow", {"type": "flow", "shift": 1.0, "clock": 1000}, {"times": "logit_normal", "flip": True}),
        ("flow_rev", {"type": "flow", "shift": 1.0, "clock": 1000}, {"weight": "p2"}),
        ("eps", {"type": "discrete_vp", "betas": "linear", "T": 1000}, {"weight": "min_snr", "learned": True}),
        ("x0", {"type": "discrete_vp", "betas": "sigmoid", "T": 1000}, {"weight": "edm"}),
        ("v", {"type": "discrete_vp", "betas": "cosine", "T": 1000}, {"learned": True, "checkpointing": True}),
    ],
)
def test_every_recipe_learns(config: dict[str, Any], target: str, path: dict[str, Any], more: dict[str, Any]) -> None:
    config |= {"path": path, "target": target}
    config["net"]["learned_range"] = more.pop("learned", False)
    config["train"] |= {"images": 8 * 120, "label_dropout": 0.1, **more}
    losses = [update.loss for update in made(config)]
    assert all(math.isfinite(loss) for loss in losses)
    assert sum(losses[-20:]) < 0.9 * sum(losses[:20])


def test_checkpointing_changes_nothing_but_memory(config: dict[str, Any]) -> None:
    plain = run(config)
    config["train"]["checkpointing"] = True
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(plain.params, run(config).params, strict=True))


def test_mirrored_pictures(config: dict[str, Any]) -> None:
    config["train"] |= {"flip": True, "images": 8}
    _, task = begin(config)
    seen: list[torch.Tensor] = []
    task.forward = lambda x, t, label: (seen.append(x), torch.zeros_like(x))[1]
    task.losses(0, range(8))
    config["train"]["flip"] = False
    task.losses(0, range(8))
    mirrored = [not torch.equal(a, b) for a, b in zip(*seen, strict=True)]
    assert 0 < sum(mirrored) < 8


def test_it_learns(config: dict[str, Any]) -> None:
    config["train"] |= {"images": 8 * 150, "label_dropout": 0.1}
    losses = [update.loss for update in made(config)]
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])


def test_without_labels(config: dict[str, Any]) -> None:
    config["net"]["classes"], config["classes"] = 0, []
    assert len(made(config, None)) == 12


def test_an_update_that_is_not_finite_is_not_made(config: dict[str, Any]) -> None:
    trainee, task = begin(config)
    making = updates(trainee, task, config["train"])
    next(making)
    before = copy.deepcopy(trainee.state())
    hook = trainee.params[0].register_hook(lambda grad: grad * math.nan)
    update = next(making)
    assert not update.finite
    assert math.isnan(update.norm)
    hook.remove()
    tensors, numbers = trainee.state()
    assert all(torch.equal(tensors[name], before[0][name]) for name in tensors)
    assert numbers == {"step": "2", "taken": "1"}
    assert next(making).finite
    assert all(p.isfinite().all() for p in trainee.params)


def test_the_average_lags_behind_the_weights(config: dict[str, Any]) -> None:
    trainee = run(config)
    averaged = trainee.averaged()
    assert averaged.keys() == dict(trainee.net.named_parameters()).keys()
    far = sum(float((averaged[name] - p.detach()).norm() ** 2) for name, p in trainee.net.named_parameters())
    start, _ = begin(config)
    began = sum(float((averaged[name] - p.detach()).norm() ** 2) for name, p in start.net.named_parameters())
    assert 0 < far < began


def test_bf16(config: dict[str, Any]) -> None:
    trainee, task = begin(config, dtype=torch.bfloat16)
    halves = list(updates(trainee, task, config["train"]))
    assert all(update.finite for update in halves)
    assert {p.dtype for p in trainee.params} == {torch.float32}
    plain = [update.loss for update in made(config)]
    assert halves[1].loss == pytest.approx(plain[1], rel=0.02)  # the first is of a network that returns zeros
    assert halves[1].loss != plain[1]


def test_an_extension_is_a_function_of_the_config_and_the_step(config: dict[str, Any]) -> None:
    """A run that is extended has the same bits as all updates in one go by the extended config."""
    trainee, task = begin(config)
    assert len([*updates(trainee, task, config["train"])]) == 12
    config["train"] |= {"more": [{"length": {"images": 64}, "after": 96}], "images": 160}
    assert len([*updates(trainee, task, config["train"])]) == 8
    assert same(trainee, run(config))


def test_the_rates_of_extensions() -> None:
    """Each warms up by itself, to the cosine of a run that ends where it ends."""
    train: Any = {"images": 80, "batch_size": 4, "lr": 2.0, "warmup": 0.2}
    whole = [learning_rate(train, step) for step in range(20)]
    short = [learning_rate({**train, "images": 40}, step) for step in range(10)]
    train["more"] = [{"length": {"images": 40}, "after": 40}]
    rates = [learning_rate(train, step) for step in range(20)]
    assert rates[:10] == short
    assert rates[10] == whole[10] / 2  # the first of two that warm up
    assert rates[11:] == pytest.approx(whole[11:])
    assert short[-1] < rates[10] < rates[11] > rates[12]
    # a part that ran out of time has the rates that were planned for it, and so has what comes after it
    train["more"][0]["planned"] = 60
    assert [learning_rate(train, step) for step in range(10)] == [
        learning_rate({**train, "more": [], "images": 60}, step) for step in range(10)
    ]
    assert [learning_rate(train, step) for step in range(10, 20)] == rates[10:]
