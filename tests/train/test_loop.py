from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch

from difftool.train.loop import Trainee, indices, learning_rate, updates

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


def run(config: dict[str, Any], trainee: Trainee | None = None) -> Trainee:
    trainee = trainee or Trainee(config, CPU)
    for _ in updates(trainee, config, PIXELS, LABELS, torch.float32):
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


def test_the_learning_rate_rises_and_falls(config: dict[str, Any]) -> None:
    rates = [learning_rate(config, step) for step in range(13)]
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
    part = Trainee(config, CPU)
    for update in updates(part, config, PIXELS, LABELS, torch.float32):
        if update.step == 5:
            break
    tensors, numbers = part.state()
    fresh = Trainee(config, CPU)
    fresh.restore({name: value.clone() for name, value in tensors.items()}, numbers)
    assert fresh.step == 5
    assert same(run(config, fresh), whole)


def test_it_learns(config: dict[str, Any]) -> None:
    config["train"] |= {"images": 8 * 150, "label_dropout": 0.1}
    losses = [update.loss for update in updates(Trainee(config, CPU), config, PIXELS, LABELS, torch.float32)]
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])


def test_without_labels(config: dict[str, Any]) -> None:
    config["net"]["classes"], config["classes"] = 0, []
    trainee = Trainee(config, CPU)
    assert len(list(updates(trainee, config, PIXELS, None, torch.float32))) == 12


def test_an_update_that_is_not_finite_is_not_made(config: dict[str, Any]) -> None:
    trainee = Trainee(config, CPU)
    made = updates(trainee, config, PIXELS, LABELS, torch.float32)
    next(made)
    before = copy.deepcopy(trainee.state())
    hook = trainee.params[0].register_hook(lambda grad: grad * math.nan)
    update = next(made)
    assert not update.finite
    assert math.isnan(update.norm)
    hook.remove()
    tensors, numbers = trainee.state()
    assert all(torch.equal(tensors[name], before[0][name]) for name in tensors)
    assert numbers == {"step": "2", "taken": "1"}
    assert next(made).finite
    assert all(p.isfinite().all() for p in trainee.params)


def test_the_average_lags_behind_the_weights(config: dict[str, Any]) -> None:
    trainee = run(config)
    averaged = trainee.averaged()
    assert averaged.keys() == dict(trainee.net.named_parameters()).keys()
    far = sum(float((averaged[name] - p.detach()).norm() ** 2) for name, p in trainee.net.named_parameters())
    start = Trainee(config, CPU)
    began = sum(float((averaged[name] - p.detach()).norm() ** 2) for name, p in start.net.named_parameters())
    assert 0 < far < began


def test_bf16(config: dict[str, Any]) -> None:
    trainee = Trainee(config, CPU)
    made = list(updates(trainee, config, PIXELS, LABELS, torch.bfloat16))
    assert all(update.finite for update in made)
    assert {p.dtype for p in trainee.params} == {torch.float32}
    plain = [update.loss for update in updates(Trainee(config, CPU), config, PIXELS, LABELS, torch.float32)]
    assert made[1].loss == pytest.approx(plain[1], rel=0.02)  # the first is of a network that returns zeros
    assert made[1].loss != plain[1]
