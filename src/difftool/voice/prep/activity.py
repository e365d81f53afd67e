"""Voice activity by silero-vad, whose network ships with its package."""

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
"""Sample rate of the network."""
WINDOW = 512
"""Samples of one prediction."""
HOP = WINDOW / HEARD
"""Seconds of one prediction."""
ROW, WARM_UP, ROWS = 30 * HEARD // WINDOW * WINDOW, 128 * WINDOW, 16
"""A recording is processed in rows, several at once: samples of a row, of the context before it, and rows at once."""
LOUD = 0.1
"""Root mean square that the loud parts are scaled to."""
LEAST_SPEECH, LEAST_PAUSE = 0.25, 0.25
"""Minimum seconds of speech and of silence."""


def network() -> Any:
    """The network. Its package sets PyTorch to one thread on import; this is undone."""
    threads = torch.get_num_threads()
    from silero_vad import load_silero_vad

    torch.set_num_threads(threads)
    return load_silero_vad()


def speech(samples: Stored, net: Any) -> npt.NDArray[np.float32]:
    """Probability of speech in each HOP of a sound (S,) at RATE.

    Rows of 30 s are processed at once, each after 4 s of context, which is longer than the memory of the network; five
    times as fast as one after the other.
    """
    gain = _gain(samples)
    total = -(-len(samples) * HEARD // RATE)
    per_row = ROW * RATE // HEARD
    warm = WARM_UP * RATE // HEARD
    probabilities = []
    for first in range(0, len(samples), per_row * ROWS):
        last = min(first + per_row * ROWS, len(samples))
        starts = list(range(first, last, per_row))
        rows = np.zeros((len(starts), warm + per_row), np.float32)
        for row, start in zip(rows, starts, strict=True):
            piece = gain * samples[max(0, start - warm) : start + per_row]
            offset = max(0, warm - start)
            row[offset : offset + len(piece)] = piece
        # a lone row need not be longer than the sound
        needed = -(-min(last - first, per_row) * HEARD // (RATE * WINDOW)) * WINDOW
        heard = resample(torch.from_numpy(rows), RATE, HEARD)[:, : WARM_UP + needed]
        net.reset_states()
        with torch.inference_mode():
            windows = [net(heard[:, k : k + WINDOW], HEARD) for k in range(0, heard.shape[1], WINDOW)]
        fresh = torch.cat(windows, 1)[:, WARM_UP // WINDOW :]
        probabilities.append(fresh.flatten().numpy())
    return np.concatenate(probabilities)[: -(-total // WINDOW)]


def _gain(samples: Stored) -> float:
    """The factor that brings the loud parts of a sound to LOUD, so that louder and softer copies give equal results."""
    tick = RATE // 10
    if len(samples) < tick:
        return LOUD / 1e-3
    power = []
    for first in range(0, len(samples), 600 * tick):
        block = samples[first : first + 600 * tick]
        whole = block[: len(block) // tick * tick]
        power.append((whole**2).reshape(-1, tick).mean(1))
    loud = float(np.percentile(np.concatenate(power), 95))
    return LOUD / max(loud**0.5, 1e-3)


def spans(likely: npt.NDArray[np.float32], seconds: float) -> list[Span]:
    """Stretches of speech, separated by pauses of LEAST_PAUSE or more."""
    from silero_vad.utils_vad import get_speech_timestamps_from_probs

    stretches = get_speech_timestamps_from_probs(
        likely.tolist(),
        sampling_rate=HEARD,
        min_speech_duration_ms=round(1000 * LEAST_SPEECH),
        min_silence_duration_ms=round(1000 * LEAST_PAUSE),
        speech_pad_ms=0,
        audio_length_samples=round(seconds * HEARD),
    )
    return [Span(stretch["start"] / HEARD, stretch["end"] / HEARD) for stretch in stretches]
