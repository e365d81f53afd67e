"""Configs of diffusers' schedulers: the noise path and prediction target of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .core.paths import DiscreteVP, betas
from .core.predict import TARGETS, Target

MOST_LEVELS = 10**5
"""Maximum number of levels of a discrete path."""


def _vp(kind: str, T: int, ends: tuple[float | None, float | None], zero_snr: bool) -> DiscreteVP:
    if not 1 <= T <= MOST_LEVELS or zero_snr not in (False, True):
        message = f"a path needs 1 to {MOST_LEVELS:,} levels and a boolean zero_snr, not {T} and {zero_snr!r}"
        raise ValueError(message)
    path = DiscreteVP(betas(kind, T, *ends))
    return path.zero_snr() if zero_snr else path


def discrete_path(scheduler: Mapping[str, Any]) -> DiscreteVP:
    """The path of a diffusers scheduler's config. Raises ValueError for an unsupported one."""
    if scheduler["_class_name"] not in _SCHEDULERS:
        raise ValueError(f"its scheduler is a {scheduler['_class_name']}, which is not supported")
    if scheduler.get("trained_betas") is not None:
        path = DiscreteVP(scheduler["trained_betas"])
        return path.zero_snr() if scheduler.get("rescale_betas_zero_snr") else path
    kind = _known(_BETAS, scheduler.get("beta_schedule", "linear"))
    ends = (None, None) if kind == "cosine" else (scheduler.get("beta_start", 1e-4), scheduler.get("beta_end", 0.02))
    zero = scheduler.get("rescale_betas_zero_snr", False)
    return _vp(kind, scheduler.get("num_train_timesteps", 1000), ends, zero)


def target_of(scheduler: Mapping[str, Any]) -> Target:
    """The prediction target of a network with such a scheduler."""
    named = {theirs: ours for ours, theirs in PREDICTIONS.items()}
    return TARGETS[_known(named, scheduler.get("prediction_type", "epsilon"))]


_SCHEDULERS = {
    *("DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"),
    *("HeunDiscreteScheduler", "LMSDiscreteScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler"),
    *(
        "DPMSolverSinglestepScheduler",
        "DEISMultistepScheduler",
        "LCMScheduler",
        "TCDScheduler",
        "KDPM2DiscreteScheduler",
    ),
}
"""Schedulers whose configs describe the training with the same keys."""
_BETAS = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine"}
_VARIANCES = {
    **dict.fromkeys(("fixed_small", "fixed_small_log"), "small"),
    **dict.fromkeys(("fixed_large", "fixed_large_log"), "large"),
    "learned_range": "learned",
}
PREDICTIONS = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
"""Prediction targets on a discrete path to their names in schedulers."""


def _known(table: Mapping[str, str], name: str) -> str:
    if name not in table:
        raise ValueError(f"unknown value {name!r} (known: {', '.join(table)})")
    return table[name]
