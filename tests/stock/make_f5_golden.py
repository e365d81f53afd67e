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

from original_f5 import chains, outputs  # noqa: E402
from tiny_tortoise import thinned  # noqa: E402

with torch.no_grad():
    for file, made in (("f5", outputs()), ("f5_chains", chains())):
        stored = {name: thinned(tensor, 500).numpy() for name, tensor in made}
        np.savez_compressed(TESTS / "golden" / f"{file}.npz", **stored)
