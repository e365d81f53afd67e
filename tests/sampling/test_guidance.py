from __future__ import annotations

import pytest
import torch

from difftool.core import Denoised, Flow, Level, cfg
from difftool.errors import DifftoolError
from difftool.sampling.choice import choose_sampler
from difftool.sampling.guidance import check_guidance, guided, started
from difftool.sampling.settings import GuidanceSettings, interval_of, known_mode
from difftool.voice.engines.tortoise.synthesis import PATH


def linear(gain: float):
    return lambda x, level: Denoised(gain * x + torch.tanh(x / gain))


def test_modes_by_name() -> None:
    assert [known_mode(name) for name in ("APG", "cfg-zero", "cfg_zero_star", "CFG-Zero*")] == [
        "apg",
        "cfg_zero",
        "cfg_zero",
        "cfg_zero",
    ]
    with pytest.raises(DifftoolError, match="apg") as caught:
        known_mode("agp")
    assert caught.value.code == 2
    for name in ("cfg_pp", "CFG++"):
        with pytest.raises(DifftoolError) as caught:
            known_mode(name)
        assert "--sampler euler_cfg_pp" in caught.value.hint


def test_intervals() -> None:
    assert interval_of("0.2, 0.8") == interval_of([0.2, 0.8]) == (0.2, 0.8)
    for wrong in ("", "0.2", "0.8,0.2", "0.2,0.2", "-0.1,1", "0,1.1", "a,b", "0.1,0.2,0.3", "nan,1", "0,inf"):
        with pytest.raises(DifftoolError, match="guidance-interval must be"):
            interval_of(wrong)


def test_the_defaults_are_plain_guidance() -> None:
    """Bit for bit."""
    choice = choose_sampler(Flow(), "euler", 10)
    x = torch.randn(2, 3, 4, 4)
    ours = started(
        GuidanceSettings(), choice, guided(GuidanceSettings(), choice, linear(2.0), linear(1.0), 3.0, x[0].numel())
    )
    for level in choice.levels[:-1]:
        assert ours(x, level).x0.equal(cfg(linear(2.0), linear(1.0), 3.0)(x, level).x0)


def test_interval_and_rescale_reach_every_mode() -> None:
    choice, x = choose_sampler(Flow(), "euler", 10), torch.randn(2, 3, 4, 4)
    for mode in ("cfg", "apg", "cfg_zero", "tcfg", "cfg_norm"):
        settings = GuidanceSettings(mode, (0.3, 0.6), 1.0)
        predict = guided(settings, choice, linear(2.0), linear(1.0), 5.0, x[0].numel())
        outside, inside = Flow().level(0.7), Flow().level(0.5)
        assert predict(x, outside).x0.equal(linear(2.0)(x, outside).x0)
        deviations = [y.flatten(1).std(dim=1) for y in (predict(x, inside).x0, linear(2.0)(x, inside).x0)]
        torch.testing.assert_close(*deviations)


@pytest.mark.parametrize(("steps", "still"), [(4, 0), (25, 1), (50, 2)])
def test_cfg_zero_stands_still_at_first(steps: int, still: int) -> None:
    """For 4 % of the steps, of runs from pure noise."""
    settings, x = GuidanceSettings("cfg_zero"), torch.randn(1, 3)
    for start in (1.0, 0.5):
        choice = choose_sampler(Flow(), "euler", steps, start=start)
        predict = started(settings, choice, linear(2.0))
        same = [predict(x, level).x0.equal(x) for level in choice.levels[:-1]]
        assert sum(same) == (still if start == 1.0 else 0)
        assert all(same[: sum(same)])


def test_what_has_no_meaning_is_refused() -> None:
    flow, vp = choose_sampler(Flow(), "euler", 10), choose_sampler(PATH, "ddim", 10)
    check_guidance(GuidanceSettings(), vp, "it", False, "")
    check_guidance(GuidanceSettings("cfg_zero"), flow, "it", True, "")
    cases = [
        (GuidanceSettings("apg"), flow, False, "--guidance-mode has no effect without guidance"),
        (GuidanceSettings(guidance_rescale=0.5), flow, False, "--guidance-rescale has no effect"),
        (GuidanceSettings(guidance_interval=(0.0, 0.5)), flow, False, "--guidance-interval has no effect"),
        (GuidanceSettings("cfg_zero"), vp, True, "cfg_zero is for flow models, and it is not one"),
        (GuidanceSettings(guidance_interval=(0.01, 0.05)), flow, True, "no step lies in the guidance interval"),
    ]
    for settings, choice, is_on, says in cases:
        with pytest.raises(DifftoolError, match=says) as caught:
            check_guidance(settings, choice, "it", is_on, "add it")
        assert caught.value.code == 2


def test_churn_is_for_some_samplers() -> None:
    for name in ("euler", "heun", "dpm2", "dpm2_a"):
        x, levels = torch.randn(1, 2, 3), []

        def predict(x: torch.Tensor, level: Level) -> Denoised:
            levels.append(level)  # noqa: B023
            return Denoised(x * 0.5)

        def run(churn: float | None, name: str = name, x: torch.Tensor = x) -> torch.Tensor:
            noise = torch.Generator().manual_seed(0)
            choice = choose_sampler(PATH, name, 10, churn=churn)
            *_, last = choice.run(predict, x, lambda i, j: torch.randn(1, 2, 3, generator=noise))
            return last.x

        assert run(None).equal(run(0.0))
        before = [*levels]
        assert not run(3.0).equal(run(0.0))
        assert len(levels) == 2 * len(before)  # a churned run has as many calls
        assert levels[len(before)].sigma > before[0].sigma
    for name in ("ddim", "euler_a", "lms", "dpmpp_2m"):
        with pytest.raises(DifftoolError, match="does not use churn"):
            choose_sampler(PATH, name, 10, churn=1.0)
        choose_sampler(PATH, name, 10, churn=0.0)
