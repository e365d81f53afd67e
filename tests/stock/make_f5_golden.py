"""Stores what f5-tts and vocos make of tiny networks, for the tests that run without them:

.venv-f5/bin/python tests/stock/make_f5_golden.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from original_f5 import outputs  # noqa: E402
from tiny_tortoise import thinned  # noqa: E402

with torch.no_grad():
    stored = {name: thinned(made, 500).numpy() for name, made in outputs()}
np.savez_compressed(TESTS / "golden" / "f5.npz", **stored)
