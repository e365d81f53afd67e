"""The engine: one way to sample, whatever is sampled.

    levels = grid(path, 25)                                  # which noise levels a run visits
    predict = clip(denoiser(net, V))                         # what the network says about the clean data there
    for state in first_order(predict, x, levels): ...        # the run

Pure mathematics on tensors: nothing here knows a file, a picture or a voice. Levels, grids and solvers do not even
import torch, so a command line can name every sampler at once; what does (`noise`, `objective`, `ema`) is imported on
first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .grid import SPACINGS, grid
from .guide import cfg, clip
from .level import CLEAN, DiscreteVP, Flow, Level, Path, betas
from .predict import EPS, FLOW, TARGETS, X0, Denoised, Predict, Target, V, denoiser
from .solve import SAMPLERS, Sampler, State, first_order

if TYPE_CHECKING:
    from .ema import EMA
    from .noise import START, Noise
    from .objective import loss, times, training_level

__all__ = [
    "CLEAN",
    "EMA",
    "EPS",
    "FLOW",
    "SAMPLERS",
    "SPACINGS",
    "START",
    "TARGETS",
    "X0",
    "Denoised",
    "DiscreteVP",
    "Flow",
    "Level",
    "Noise",
    "Path",
    "Predict",
    "Sampler",
    "State",
    "Target",
    "V",
    "betas",
    "cfg",
    "clip",
    "denoiser",
    "first_order",
    "grid",
    "loss",
    "times",
    "training_level",
]

_WITH_TORCH = {
    "EMA": "ema",
    "START": "noise",
    "Noise": "noise",
    "loss": "objective",
    "times": "objective",
    "training_level": "objective",
}


def __getattr__(name: str) -> Any:
    if name not in _WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_WITH_TORCH[name]}", __name__), name)
