"""What is set aside of the clips of a voice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from difftool.voice.tuning import Clip
from difftool.voice.tuning.clips import split


def clips(*sizes: int) -> list[Clip]:
    """Recordings of so many clips."""
    return [Clip(f"{s}-{k}", Path("x"), "Hello.", 2.0, f"{s}.mp3") for s, size in enumerate(sizes) for k in range(size)]


def test_whole_recordings_are_set_aside_where_some_are_small() -> None:
    every = clips(*[5] * 20)
    parts = split(every)
    assert Counter(clip.source for clip in parts.held).most_common() == [(parts.held[0].source, 5)]
    assert {clip.source for clip in parts.train}.isdisjoint(clip.source for clip in parts.held)
    assert len(parts.train) == 95


def test_single_clips_are_set_aside_of_a_long_recording() -> None:
    for count, held in ((12, 4), (100, 5), (1000, 50)):
        parts = split(clips(count))
        assert (len(parts.held), len(parts.train)) == (held, count - held)
        assert split(clips(count)) == parts


def test_small_and_large_recordings_together() -> None:
    """A recording that is too large stays whole in what is learned from."""
    parts = split(clips(90, 3, 3))
    assert len(parts.held) == 6
    assert {clip.source for clip in parts.held} == {"1.mp3", "2.mp3"}
