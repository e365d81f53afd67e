from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from difftool.core import (
    EPS,
    SAMPLERS,
    START,
    Denoised,
    DiscreteVP,
    Flow,
    Level,
    Noise,
    V,
    apg,
    autoguide,
    betas,
    cfg,
    cfg_norm,
    cfg_zero,
    clip,
    denoiser,
    dynamic_threshold,
    first_order,
    grid,
    inpaint,
    skip_layers,
    tcfg,
    windows,
    zero_init,
)
from difftool.core.guide import MODES, window_starts

PATH = DiscreteVP(betas("cosine"))
LEVEL = PATH.level(500)


def says(x0: Tensor):
    return lambda x, level: Denoised(x0)


def test_guidance_is_the_same_on_x0_and_on_what_the_network_returns() -> None:
    """As diffusers and others do it, on the noise or on v."""
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    cond, free = torch.randn_like(x), torch.randn_like(x)
    for target in (EPS, V):
        on_x0 = cfg(denoiser(lambda x, t: cond, target), denoiser(lambda x, t: free, target), 7.5)(x, LEVEL).x0
        on_output = denoiser(lambda x, t: free + 7.5 * (cond - free), target)(x, LEVEL).x0
        torch.testing.assert_close(on_x0, on_output, rtol=1e-9, atol=1e-9)


def test_the_spread_is_the_conditional_one() -> None:
    spread = torch.full((1, 2), 0.3)
    cond = lambda x, level: Denoised(x * 2, spread)  # noqa: E731
    assert cfg(cond, says(torch.zeros(1, 2)), 3.0)(torch.ones(1, 2), LEVEL).spread is spread


def test_one_call_answers_for_both() -> None:
    """Guidance by two calls, and by one that is given every item twice; of both only the conditional spread is kept."""
    x, spread = torch.randn(2, 3, 8, 8), torch.rand(4, 3, 8, 8)
    gain = torch.tensor([3.0, 5.0, 1.0, 2.0]).reshape(4, 1, 1, 1)

    def both(x: Tensor, level: Level) -> Denoised:
        return Denoised(x * gain, spread)

    found = cfg(both, None, 2.5)(x, LEVEL)
    wanted = cfg(says(x * gain[:2]), says(x * gain[2:]), 2.5)(x, LEVEL)
    assert torch.equal(found.x0, wanted.x0)
    assert torch.equal(found.spread, spread[:2])
    assert torch.equal(cfg(both, None, 1.0)(x, LEVEL).x0, x * gain[:2])
    assert cfg(lambda x, level: Denoised(x), None, 2.0)(x, LEVEL).spread is None


@pytest.mark.parametrize("phi", [0.0, 0.7, 1.0])
def test_rescale(phi: float) -> None:
    """Each item's deviation goes the share phi of the way back to that of the conditional estimate."""
    cond, free = torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8)
    plain = cfg(says(cond), says(free), 7.5)(cond, LEVEL).x0
    ours = cfg(says(cond), says(free), 7.5, rescale=phi)(cond, LEVEL).x0
    for k in range(4):
        factor = float(cond[k].std() / plain[k].std())
        torch.testing.assert_close(ours[k], plain[k] * (phi * factor + 1 - phi))


def test_interval() -> None:
    def never(x: Tensor, level: Level) -> Denoised:
        raise AssertionError("called")

    x = torch.ones(1, 2)
    inside, outside = Level(0, 0.5, 0.5), Level(0, 0.1, 0.9)
    guided = cfg(says(x * 2), says(x), 3.0, interval=(0.2, 0.8))
    assert guided(x, inside).x0.tolist() == [[4.0, 4.0]]
    assert cfg(says(x * 2), never, 3.0, interval=(0.2, 0.8))(x, outside).x0.tolist() == [[2.0, 2.0]]


def test_autoguidance() -> None:
    x = torch.ones(1, 2)
    assert autoguide(says(x * 2), says(x * 1.5), 3.0)(x, LEVEL).x0.tolist() == [[3.0, 3.0]]


def item(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear(gain: float, pull: float):
    """A network that calls for both the state and something of its own."""
    return lambda x, level: Denoised(gain * x * level.alpha + pull * torch.tanh(x))


TOWARDS, AWAY = linear(0.8, 0.3), linear(0.5, -0.2)


def test_apg_without_its_parts_is_cfg() -> None:
    x = item(0, 3, 2, 4, 4)
    whole = apg(TOWARDS, AWAY, 5.0, parallel=1.0)(x, LEVEL).x0
    torch.testing.assert_close(whole, cfg(TOWARDS, AWAY, 5.0)(x, LEVEL).x0, rtol=1e-12, atol=1e-12)


def test_apg_projects_and_limits() -> None:
    """What it adds to cond is orthogonal to it, and no longer than the limit times the scale - 1."""
    x = item(0, 3, 2, 4, 4)
    cond, free = TOWARDS(x, LEVEL).x0, AWAY(x, LEVEL).x0
    added = apg(TOWARDS, AWAY, 4.0)(x, LEVEL).x0 - cond
    assert float((added * cond).sum((1, 2, 3)).abs().max()) < 1e-10
    lengths = (cond - free).flatten(1).norm(dim=1)
    limit = float(lengths.median())
    short = apg(TOWARDS, AWAY, 4.0, parallel=1.0, limit=limit)(x, LEVEL).x0 - cond
    torch.testing.assert_close(short.flatten(1).norm(dim=1), 3 * lengths.clamp(max=limit))


def test_momentum_starts_anew_with_a_run() -> None:
    """It counts from step to step, not from one run of the same function to the next."""
    x, levels = item(0, 2, 3), grid(PATH, 4)
    predict = apg(TOWARDS, AWAY, 3.0, momentum=-0.5)
    first, again = ([predict(x, level).x0 for level in levels[:-1]] for _ in range(2))
    plain = [apg(TOWARDS, AWAY, 3.0)(x, level).x0 for level in levels[:-1]]
    assert all(map(torch.equal, first, again))
    assert torch.equal(first[0], plain[0])
    assert not torch.allclose(first[1], plain[1])


def test_cfg_zero_on_velocities() -> None:
    """The formula of the paper; where the velocities are parallel, what is left is cond itself."""
    x, level = item(0, 3, 2, 4, 4), Flow().level(0.7)
    found = cfg_zero(TOWARDS, AWAY, 4.0)(x, level).x0
    for k in range(3):
        c, u = ((x[k] - side(x, level).x0[k]) / level.sigma for side in (TOWARDS, AWAY))
        best = float((c * u).sum() / (u * u).sum())
        torch.testing.assert_close(found[k], x[k] - level.sigma * (best * u + 4.0 * (c - best * u)))
    parallel = lambda x, level: Denoised(x - 3 * (x - TOWARDS(x, level).x0))  # noqa: E731
    torch.testing.assert_close(cfg_zero(TOWARDS, parallel, 4.0)(x, level).x0, TOWARDS(x, level).x0)


def test_zero_init_stands_still_without_a_call() -> None:
    def never(x: Tensor, level: Level) -> Denoised:
        raise AssertionError("called")

    x, levels = item(0, 2, 3), grid(Flow(), 25)
    *_, state = first_order(zero_init(never, levels[1].share), x, levels[:2])
    torch.testing.assert_close(state.x, x)
    assert zero_init(TOWARDS, levels[1].share)(x, levels[1]).x0.equal(TOWARDS(x, levels[1]).x0)


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_is_per_item_and_batches_both(mode: str) -> None:
    """Each item alone, all at once, and both predictions in one call give the same; scale 1 is cond."""
    x, level, guide = item(0, 3, 2, 4, 4), Flow().level(0.6), MODES[mode]
    both = lambda x, level: Denoised(torch.cat([TOWARDS(x[:3], level).x0, AWAY(x[3:], level).x0]))  # noqa: E731
    found = guide(TOWARDS, AWAY, 4.0, rescale=0.5)(x, level).x0
    torch.testing.assert_close(guide(both, None, 4.0, rescale=0.5)(x, level).x0, found)
    for k in range(3):
        torch.testing.assert_close(guide(TOWARDS, AWAY, 4.0, rescale=0.5)(x[k : k + 1], level).x0[0], found[k])
    kept = guide(TOWARDS, AWAY, 4.0, keep=True)(x, level)
    assert kept.free is not None and kept.free.equal(AWAY(x, level).x0)
    assert guide(TOWARDS, AWAY, 1.0)(x, level).x0.equal(TOWARDS(x, level).x0)
    assert guide(TOWARDS, AWAY, 4.0, interval=(0.0, 0.5))(x, level).x0.equal(TOWARDS(x, level).x0)


@pytest.mark.parametrize("mode", ["cfg", "apg", "cfg_norm", "tcfg"])
def test_a_mode_is_the_same_on_all_paths(mode: str) -> None:
    """A state on the VP path is one of the VE path times alpha; both give one estimate."""
    x, there = item(0, 3, 2, 4, 4), LEVEL._replace(alpha=1.0, sigma=LEVEL.sigma / LEVEL.alpha)
    net = [lambda x, level, k=k: Denoised(torch.tanh(k * x / level.alpha)) for k in (0.3, 0.7)]
    torch.testing.assert_close(MODES[mode](*net, 4.0)(x, LEVEL).x0, MODES[mode](*net, 4.0)(x / LEVEL.alpha, there).x0)


@pytest.mark.parametrize("mode", MODES)
def test_a_guided_run_goes_on_from_any_state(mode: str) -> None:
    x, levels = item(0, 2, 3), grid(Flow(), 6)
    states = [*first_order(MODES[mode](TOWARDS, AWAY, 3.0), x, levels)]
    *_, last = first_order(MODES[mode](TOWARDS, AWAY, 3.0), states[2], levels)
    assert torch.equal(last.x, states[-1].x)


def test_tangential_guidance_of_a_flow() -> None:
    """On velocities with `chart` 1; parallel velocities are those of cfg; pure noise of another path is guided."""
    x, level = item(0, 3, 2, 4, 4), Flow().level(0.7)
    axis = torch.linalg.svd(torch.stack([(x - p(x, level).x0).flatten(1) for p in (TOWARDS, AWAY)], 1))[2][:, :1]
    c, u = ((x - side(x, level).x0).flatten(1)[:, None] for side in (TOWARDS, AWAY))
    on = (u * axis).sum(2, keepdim=True) * axis
    wanted = x - (on + 4.0 * (c - on)).reshape(x.shape)
    torch.testing.assert_close(tcfg(TOWARDS, AWAY, 4.0, chart=1.0)(x, level).x0, wanted)
    pure = Level(0, 0.0, 1.0)
    assert tcfg(TOWARDS, AWAY, 4.0)(x, pure).x0.equal(cfg(TOWARDS, AWAY, 4.0)(x, pure).x0)


def test_no_norm_grows() -> None:
    x = item(0, 3, 2, 4, 4)
    cond, found = TOWARDS(x, LEVEL).x0, cfg_norm(TOWARDS, AWAY, 4.0)(x, LEVEL).x0
    assert bool((found.norm(dim=1) <= cond.norm(dim=1) * (1 + 1e-9)).all())


def test_skip_layer_guidance_adds_to_cfg() -> None:
    """With cond guided by the share scale / s, guidance of scale s is cfg plus scale * (cond - skipped), as in
    diffusers."""
    x, weak = item(0, 3, 2, 4, 4), linear(0.6, 0.1)
    found = cfg(skip_layers(TOWARDS, weak, 2.8 / 7.0), AWAY, 7.0)(x, LEVEL).x0
    plain, both = cfg(TOWARDS, AWAY, 7.0)(x, LEVEL).x0, (TOWARDS(x, LEVEL).x0, weak(x, LEVEL).x0)
    torch.testing.assert_close(found, plain + 2.8 * (both[0] - both[1]))
    outside = skip_layers(TOWARDS, weak, 2.8, interval=(0.99, 1))(x, LEVEL).x0
    assert outside.equal(both[0])


def test_dynamic_threshold() -> None:
    """What lies within [-1, 1] stays; else the quantile of each item becomes 1, and what is larger is cut."""
    small = torch.rand(2, 100) * 2 - 1
    assert torch.equal(dynamic_threshold(says(small))(small, LEVEL).x0, small)
    wide = torch.stack([torch.linspace(-3, 3, 101), torch.linspace(-1, 1, 101)])
    out = dynamic_threshold(says(wide), q=0.5)(wide, LEVEL).x0
    s = wide[0].abs().quantile(0.5)
    torch.testing.assert_close(out[0], wide[0].clamp(-s, s) / s)
    assert torch.equal(out[1], wide[1])
    capped = dynamic_threshold(says(wide), q=1.0, cap=2.0)(wide, LEVEL).x0
    torch.testing.assert_close(capped[0], wide[0].clamp(-2, 2) / 2)


@pytest.mark.parametrize("name", SAMPLERS)
def test_inpainting_keeps_what_is_known(name: str) -> None:
    """Known values come out as they were (lms and pndm end near them), and the rest is drawn to fit, here for a network
    that thinks all values of an item are equal."""
    known = torch.full((2, 1, 4, 8), 0.6)
    mask = torch.zeros(1, 1, 4, 8)
    mask[..., 4:] = 1

    def average(x: Tensor, level: Level) -> Denoised:
        mean = x.mean((1, 2, 3), keepdim=True)
        n = x[0].numel()
        return Denoised((mean * (level.alpha / (level.alpha**2 + level.sigma**2 / n))).expand_as(x))

    noise = Noise(range(2), (1, 4, 8))
    levels = grid(PATH, 50)
    row = SAMPLERS[name]
    for kept in (None, noise(START)):
        predict = clip(inpaint(average, known, mask, kept))
        *_, last = row.solver(predict, levels[0].sigma * noise(START), levels, **row.defaults, noise=noise, path=PATH)
        off = 0.02 if name in ("lms", "pndm") else 1e-5
        assert float((last.x - known)[..., :4].abs().max()) < off
        assert float(last.x[..., 4:].mean()) == pytest.approx(0.6, abs=0.2)


def test_the_network_sees_the_known_part_with_the_given_noise() -> None:
    seen = {}

    def predict(x: Tensor, level: Level) -> Denoised:
        seen["x"] = x
        return Denoised(torch.zeros_like(x))

    x, known, noise = (torch.randn(1, 6) for _ in range(3))
    mask = torch.tensor([[1.0, 1, 1, 0, 0, 0]])
    out = inpaint(predict, known, mask, noise)(x, LEVEL).x0
    torch.testing.assert_close(seen["x"][:, :3], x[:, :3])
    torch.testing.assert_close(seen["x"][:, 3:], (LEVEL.alpha * known + LEVEL.sigma * noise)[:, 3:])
    torch.testing.assert_close(out, torch.cat([torch.zeros(1, 3), known[:, 3:]], dim=1))


def local(x: Tensor, level: Level) -> Denoised:
    """A prediction that hangs on the place in the window and on all of it, as a network's does."""
    place = torch.arange(x.shape[-1], dtype=x.dtype) / x.shape[-1]
    return Denoised(x.mean(-1, keepdim=True) + x * place, (x * 0.1).sigmoid())


def test_a_state_of_one_window_is_predicted_as_without_windows() -> None:
    x = torch.randn(3, 1, 5, 16)
    whole, plain = windows(local, 16, 8)(x, LEVEL), local(x, LEVEL)
    assert torch.equal(whole.x0, plain.x0)
    assert torch.equal(whole.spread, plain.spread)
    assert whole.free is None


@pytest.mark.parametrize(("length", "hop"), [(40, 8), (24, 8), (37, 8), (17, 16), (48, 16), (29, 5)])
def test_windows_are_the_mean_of_their_predictions_weighted_by_the_distance_to_their_ends(length, hop) -> None:
    x = torch.randn(2, 1, 3, length, dtype=torch.float64)
    sums, weights = torch.zeros_like(x), torch.zeros(length)
    starts = window_starts(length, 16, hop)
    assert starts[0] == 0
    assert starts[-1] == length - 16
    assert max(b - a for a, b in pairwise(starts)) <= hop
    for start in starts:
        estimate = local(x[..., start : start + 16], LEVEL).x0
        for k in range(16):
            weight = min(k + 1, 16 - k)
            sums[..., start + k] += weight * estimate[..., k]
            weights[start + k] += weight
    torch.testing.assert_close(windows(local, 16, hop)(x, LEVEL).x0, sums / weights, rtol=1e-12, atol=1e-12)


def test_windows_keep_what_they_agree_on() -> None:
    """A constant stays one, and a prediction that depends on nothing beside a place is that without windows."""
    x = torch.randn(2, 1, 3, 61, dtype=torch.float64)
    constant = windows(lambda x, level: Denoised(torch.full_like(x, 0.3)), 16, 8)(x, LEVEL).x0
    torch.testing.assert_close(constant, torch.full_like(x, 0.3), rtol=1e-15, atol=0)
    pointwise = lambda x, level: Denoised(x / 2, x.sigmoid(), x / 3)  # noqa: E731
    for given, expected in zip(windows(pointwise, 16, 8)(x, LEVEL), pointwise(x, LEVEL), strict=True):
        torch.testing.assert_close(given, expected, rtol=1e-14, atol=1e-14)


def test_windows_of_an_item_do_not_depend_on_its_batch_and_get_its_condition() -> None:
    x, labels = torch.randn(3, 1, 5, 40), torch.tensor([1.0, 2.0, 3.0])

    def labelled(labels):
        repeated = labels.repeat_interleave(len(window_starts(40, 16, 8)))
        return windows(lambda x, level: Denoised(local(x, level).x0 + repeated[:, None, None, None]), 16, 8)

    together = labelled(labels)(x, LEVEL).x0
    for k in range(3):
        assert torch.equal(labelled(labels[k : k + 1])(x[k : k + 1], LEVEL).x0, together[k : k + 1])


def test_a_run_in_windows_has_no_seam() -> None:
    """Of a network that would draw the same in each window, the whole is that, shifted; every sampler step included."""
    x = Noise([1], (1, 2, 48))(START)
    *_, end = first_order(windows(lambda x, level: Denoised(x * 0 + 0.5), 16, 8), x, grid(PATH, 6))
    torch.testing.assert_close(end.x, torch.full_like(x, 0.5))


@pytest.mark.parametrize(("length", "hop"), [(15, 8), (40, 0), (40, 17)])
def test_windows_refuse_what_leaves_gaps(length, hop) -> None:
    with pytest.raises(ValueError, match="windows of 16"):
        windows(local, 16, hop)(torch.zeros(1, 1, 1, length), LEVEL)
