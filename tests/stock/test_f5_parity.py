"""Our networks against f5-tts 1.1.22 and vocos 0.1.0, with the same random weights, in float32."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from tiny_f5 import outputs as our_outputs
from tiny_tortoise import off

pytest.importorskip("f5_tts", reason="f5-tts is not installed: make test-f5")

from original_f5 import outputs


@pytest.fixture(autouse=True)
def no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.mark.parametrize("dtype", [None, torch.float32], ids=["as trained", "as it runs"])
def test_tiny_networks_agree(dtype: torch.dtype | None) -> None:
    for (stage, found), (same, wanted) in zip(our_outputs(dtype), outputs(), strict=True):
        assert stage == same
        difference = off(found, wanted)
        print(f"{stage}: {difference:.1e}")
        assert difference < 1e-5, stage
