"""Judges of quality from other packages, where they are installed: a mean opinion score from 1 to 5, without a text or
a reference."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cache
from importlib.util import find_spec
from io import StringIO
from typing import Any

import numpy as np
import torch
from torchaudio.functional import resample

from ...audio.files import RATE, Samples

log = logging.getLogger(__name__)

HEARD = 16_000
"""Sample rate of all of them."""
MOST_SECONDS = 60
"""Seconds of speech that they judge."""


def _dnsmos(sound: Samples) -> float:
    """Overall quality by DNSMOS P.835 (Microsoft, MIT)."""
    from speechmos import dnsmos  # type: ignore[import-not-found]

    return float(dnsmos.run(sound.clip(-1, 1), HEARD)["ovrl_mos"])


@cache
def _distillmos_net() -> Any:
    from distillmos import ConvTransformerSQAModel  # type: ignore[import-not-found]

    with redirect_stdout(StringIO()):  # it tells where its weights are
        return ConvTransformerSQAModel().eval()


def _distillmos(sound: Samples) -> float:
    """Quality by DistillMOS (Microsoft, MIT)."""
    with torch.inference_mode():
        return float(_distillmos_net()(torch.from_numpy(sound)[None]))


JUDGES: dict[str, tuple[str, Callable[[Samples], float]]] = {
    "DNSMOS": ("speechmos", _dnsmos),
    "DistillMOS": ("distillmos", _distillmos),
}
"""Name to the package on PyPI, and what gives the score of a sound at HEARD."""


def opinions(speech: Samples) -> dict[str, float]:
    """The scores of speech (S,) at RATE, by each judge that is installed."""
    installed = {name: judge for name, (package, judge) in JUDGES.items() if find_spec(package)}
    if not installed:
        return {}
    some = np.ascontiguousarray(speech[: MOST_SECONDS * RATE])
    heard = resample(torch.from_numpy(some), RATE, HEARD).numpy()
    scores = {}
    for name, judge in installed.items():
        try:
            scores[name] = round(judge(heard), 2)
        except ImportError as error:
            log.warning("%s is left out: %s", name, error)
    return scores
