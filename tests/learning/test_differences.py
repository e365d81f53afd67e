from __future__ import annotations

from typing import Any

import pytest

from difftool.learning.differences import decisive, described, differences
from difftool.train.recipe import meanings, option_names, prepare


def told(there: dict[str, Any], here: dict[str, Any]) -> str:
    options = option_names()
    return described(decisive(differences(there, here, meanings()), options), options)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, ""),
        ({"lr": 3e-4}, "--lr: 0.004 there, 0.0003 here"),
        ({"minutes": 3}, "--minutes: 2 there, 3 here"),
        ({"steps": 50}, "--minutes: 2 there, not given here; --steps: not given there, 50 here"),
        ({"flip": True}, "--flip: no there, yes here"),
        ({"weight": "min_snr"}, "--weight: plain there, min_snr here"),
        ({"times": "log_normal"}, "--times: even there, log_normal here"),
        ({"learned_range": True, "target": "v"}, "--learned-range: no there, yes here; --target: flow there, v here"),
        ({"target": "edm"}, "--target: flow there, edm here; --times: even there, log_normal here"),
        ({"target": "v", "betas": "linear"}, "--target: flow there, v here"),
        ({"seed": 1, "batch_size": 8}, "--batch-size: 64 there, 8 here; --seed: 0 there, 1 here"),
        (
            {"preset": "mnist", "data": "digits"},
            "--preset: digits there, mnist here; --minutes: 2 there, 10 here; --lr: ",
        ),
        ({"micro_batch": 2, "save_every": 100}, ""),
        ({"init_from": "digits"}, "--from: not given there, digits here"),
    ],
)
def test_differences_are_told_by_option(settings: dict[str, Any], says: str) -> None:
    said = told(prepare().config, prepare(**settings).config)
    assert said.startswith(says) and bool(said) == bool(says)
    assert "train." not in said and "net." not in said and "path." not in said


def test_what_has_no_option_is_told_in_words() -> None:
    config: Any = prepare().config
    net, data = config["net"], config["train"]["data"]
    assert told(config, config | {"net": net | {"width": 32}}) == "width of the network: 24 there, 32 here"
    other = {**config, "train": config["train"] | {"data": data | {"sha256": "f" * 64}}}
    assert told(config, other) == f"sha256 of the data: {data['sha256'][:12]} there, {'f' * 12} here"
    other = {**config, "train": config["train"] | {"warmup": 0.5}}
    assert told(config, other) == "warmup of the recipe: 0.05 there, 0.5 here"
    assert told(config, config | {"size": [4, 6]}) == "--size: 8x8 there, 6x4 here"
    assert len(told(config, config | {"target": "v" * 10**6})) < 200
