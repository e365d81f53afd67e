"""The engine: one way to sample, whatever is sampled.

    levels = grid(path, 25)                                  # which noise levels a run visits
    predict = clip(denoiser(net, V))                         # the network's estimate of the clean data there
    for state in first_order(predict, x, levels): ...        # the run

Pure mathematics on tensors: nothing here knows a file, a picture or a voice. Levels, grids and solvers do not import
torch, so a command line can name every sampler at once; `noise`, `objective` and `ema` do, and come on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .grid import SPACINGS, grid
from .guide import (
    apg,
    autoguide,
    cfg,
    cfg_norm,
    cfg_zero,
    clip,
    dynamic_threshold,
    inpaint,
    skip_layers,
    tcfg,
    windows,
    zero_init,
)
from .paths import CLEAN, DiscreteVP, Flow, Karras, Level, Path, betas, dynamic_shift, flux2_shift
from .predict import EDM, EPS, FLOW, FLOW_REV, TARGETS, X0, Denoised, Predict, Target, V, denoiser, edm_scale
from .solve import (
    SAMPLERS,
    Churn,
    Sampler,
    State,
    deis,
    dpm2,
    er_sde,
    euler,
    euler_ge,
    first_order,
    heun,
    heunpp,
    ipndm,
    lms,
    multistep,
    pndm,
    sa_solver,
    seeds,
    singlestep,
    unipc,
)

if TYPE_CHECKING:
    from .ema import EMA, posthoc
    from .noise import START, Noise
    from .objective import DENSITIES, WEIGHTS, loss, times, training_level

_LATER = ("DENSITIES", "EMA", "Noise", "START", "WEIGHTS", "loss", "posthoc", "times", "training_level")
"""What needs torch, for `dir`."""


def __getattr__(name: str) -> Any:
    from importlib import import_module

    for module in () if name.startswith("_") else ("noise", "objective", "ema"):
        home = import_module(f".{module}", __name__)
        if hasattr(home, name):
            return getattr(home, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
