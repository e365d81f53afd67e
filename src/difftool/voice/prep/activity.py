"""Where somebody speaks: silero-vad, whose network comes with its package."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torchaudio.functional import resample

from ...audio.files import RATE
from ...audio.media import Span
from .decode import Stored

HEARD = 16_000
"""Samples a second that the network hears."""
WINDOW = 512
"""Of them it judges at a time."""
HOP = WINDOW / HEARD
"""Seconds of one judgement."""
ROW, WARM_UP, ROWS = 30 * HEARD // WINDOW * WINDOW, 128 * WINDOW, 16
"""A recording is heard in rows, many at once: samples of a row, of what it hears before, and how many."""
LOUD = 0.1
"""Root mean square of the loud parts of what is heard."""
LEAST_SPEECH, LEAST_PAUSE = 0.25, 0.25
"""Seconds of speech and of silence that count."""


def network() -> Any:
    """The network. Its package turns PyTorch down to one thread when it is imported, which is undone."""
    threads = torch.get_num_threads()
    from silero_vad import load_silero_vad

    torch.set_num_threads(threads)
    return load_silero_vad()


def speech(samples: Stored, net: Any) -> npt.NDArray[np.float32]:
    """How likely somebody speaks, in each HOP of a sound (S,) at RATE.

    Rows of 30 s are heard at once, each after 4 s of what came before it, which is as long as the network remembers
    anything that matters; five times as fast as one after the other.
    """
    gain = _gain(samples)
    total = -(-len(samples) * HEARD // RATE)
    per_row = ROW * RATE // HEARD
    warm = WARM_UP * RATE // HEARD
    found = []
    for first in range(0, len(samples), per_row * ROWS):
        starts = list(range(first, min(first + per_row * ROWS, len(samples)), per_row))
        rows = np.zeros((len(starts), warm + per_row), np.float32)
        for row, start in zip(rows, starts, strict=True):
            piece = gain * samples[max(0, start - warm) : start + per_row]
            offset = max(0, warm - start)
            row[offset : offset + len(piece)] = piece
        heard = resample(torch.from_numpy(rows), RATE, HEARD)
        net.reset_states()
        with torch.inference_mode():
            judged = [net(heard[:, k : k + WINDOW], HEARD) for k in range(0, heard.shape[1], WINDOW)]
        found.append(torch.cat(judged, 1)[:, WARM_UP // WINDOW :].flatten().numpy())
    return np.concatenate(found)[: -(-total // WINDOW)]


def _gain(samples: Stored) -> float:
    """What brings the loud parts of a sound to LOUD, so that a copy that is louder or softer is heard alike."""
    tick = RATE // 10
    power = [
        (samples[first : first + 600 * tick][: (min(600 * tick, len(samples) - first)) // tick * tick] ** 2)
        .reshape(-1, tick)
        .mean(1)
        for first in range(0, len(samples), 600 * tick)
    ]
    loud = float(np.percentile(np.concatenate(power), 95)) if len(samples) >= tick else 0.0
    return LOUD / max(loud**0.5, 1e-3)


def spans(likely: npt.NDArray[np.float32], seconds: float) -> list[Span]:
    """Where speech is, apart by pauses of LEAST_PAUSE or more."""
    from silero_vad.utils_vad import get_speech_timestamps_from_probs

    found = get_speech_timestamps_from_probs(
        likely.tolist(),
        sampling_rate=HEARD,
        min_speech_duration_ms=round(1000 * LEAST_SPEECH),
        min_silence_duration_ms=round(1000 * LEAST_PAUSE),
        speech_pad_ms=0,
        audio_length_samples=round(seconds * HEARD),
    )
    return [Span(one["start"] / HEARD, one["end"] / HEARD) for one in found]
