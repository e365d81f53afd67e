"""What the settings of all commands that train have in common."""

from __future__ import annotations

from ..device import known_dtype
from ..errors import DifftoolError, Exit
from ..settings import knows

LENGTH, LEARNING = "Length (give one)", "Training"
"""Boxes of the help."""
MOST_ITEMS = 10**12
"""Of any length of a run."""


@knows(lambda: ("auto", "fp32", "bf16"))
def known_dtype_of_training(name: str) -> str:
    """A number format that gradients fit into. Raises DifftoolError 2 for another."""
    if known_dtype(name) == "fp16":
        raise DifftoolError(Exit.USAGE, "training in fp16 loses small gradients", "use --dtype bf16 or fp32")
    return known_dtype(name)
