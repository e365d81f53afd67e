"""How long the parts of a run take."""

from __future__ import annotations

import pytest

from difftool import progress


def test_the_seconds_of_a_stage_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of one that failed."""
    clock = iter([10.0, 12.0, 20.0, 23.5, 30.0, 31.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    seconds = {"load": 0.5}
    with progress.timed(seconds, "load"):
        pass
    with progress.timed(seconds, "draw"):
        pass
    with pytest.raises(ValueError, match="wrong"), progress.timed(seconds, "draw"):
        raise ValueError("wrong")
    assert seconds == {"load": 2.5, "draw": 4.5}
