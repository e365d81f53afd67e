"""The sound of a reference: cut, trimmed, and not too quiet."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
import torch
from torch import Tensor
from torchaudio.transforms import Resample

from ....audio.files import RATE, Samples, read_sound
from ....audio.joining import to_bytes
from ....errors import DifftoolError, Exit
from .pace import TICK, loud_ticks

if TYPE_CHECKING:
    from pydub import AudioSegment

LONGEST, ENOUGH = 12.0, 6.0
"""Seconds of a reference at most; a longer sound is cut where it is quietest after the second."""
LEVEL = 0.1
"""Root mean square that a quieter reference is raised to."""
BEFORE, AFTER, SILENCE = 0.2, 0.4, 0.3
"""Seconds kept before and after speech, and of silence at the end at least."""
DIP = 0.2
"""Seconds of a pause."""


def raised(sound: Tensor) -> tuple[Tensor, float]:
    """A sound (S,) that is no quieter than LEVEL, and what it was multiplied by."""
    gain = max(1.0, LEVEL / float(sound.square().mean().sqrt()))
    return sound * gain, gain


def trimmed(sound: Samples) -> Samples:
    """A sound (S,) at RATE with little silence at its ends; an empty one where it is silent."""
    loud = loud_ticks(sound)
    if not len(loud):
        return sound[:0]
    start, end = TICK * int(loud[0]), TICK * int(loud[-1] + 1)
    kept = sound[round(max(0.0, start - BEFORE) * RATE) : round((end + AFTER) * RATE)]
    lacking = round((end + SILENCE) * RATE) - len(sound)
    return np.pad(kept, (0, max(0, lacking)))


def is_long(sound: Samples) -> bool:
    """Whether a trimmed sound (S,) at RATE must be cut."""
    return len(sound) > (LONGEST + SILENCE) * RATE


def cut(sound: Samples) -> Samples:
    """The beginning of a long sound (S,) at RATE, up to a pause within LONGEST seconds."""
    size = round(DIP * RATE)
    first, last = round(ENOUGH * RATE), round((LONGEST - SILENCE) * RATE)
    total = np.cumsum(sound[first:last].astype(np.float64) ** 2)
    quietest = int((total[size:] - total[:-size]).argmin())
    return sound[: first + quietest + size // 2]


def as_package(source: Path | Samples) -> tuple[Tensor, float]:
    """The reference (S,) at RATE that f5-tts makes of a file, or of a sound at RATE, and what it was multiplied by; an
    empty one of a silent sound. A sound longer than LONGEST is cut, whatever its words are."""
    clip = _package_cut(_segment(source))
    scale = 2 ** (8 * clip.sample_width - 1)
    samples = torch.tensor(clip.get_array_of_samples(), dtype=torch.float64).float() / scale
    mono = samples.reshape(-1, clip.channels).mean(1)
    if not mono.any():
        return mono[:0], 1.0
    sound, gain = raised(mono)
    return Resample(clip.frame_rate, RATE)(sound), gain


def _segment(source: Path | Samples) -> AudioSegment:
    """A sound with its own rate and channels."""
    pydub = _pydub()
    if isinstance(source, Path):
        try:
            kind = soundfile.info(source).subtype
            is_float = kind in ("FLOAT", "DOUBLE")  # which libsndfile reads as integers without scaling them
            wanted = "float64" if is_float else "int16" if kind == "PCM_16" else "int32"
            data, rate = soundfile.read(source, dtype=wanted, always_2d=True)
            if is_float:
                if not np.isfinite(data).all():
                    raise DifftoolError(Exit.FILE, f"{source} contains invalid samples", "use another recording")
                data = (data * 2**31).round().clip(-(2**31), 2**31 - 1).astype(np.int32)
            return pydub.AudioSegment(
                data.tobytes(), sample_width=data.itemsize, frame_rate=rate, channels=data.shape[1]
            )
        except (soundfile.LibsndfileError, OSError):
            source = read_sound(source, RATE)
    return pydub.AudioSegment(to_bytes(source), sample_width=2, frame_rate=RATE, channels=1)


def _package_cut(sound: AudioSegment) -> Any:
    """The reference that f5-tts takes of a sound: without long silence, at most 12 s, 50 ms of silence at its end."""
    pydub = _pydub()
    longest = round(1000 * LONGEST)
    for least, level in ((1000, -50), (100, -40)):
        pieces = pydub.silence.split_on_silence(
            sound, min_silence_len=least, silence_thresh=level, keep_silence=1000, seek_step=10
        )
        clip = _first(pieces)
        if len(clip) <= longest:
            break
    if len(clip) > longest:
        clip = clip[:longest]
    clip = clip[pydub.silence.detect_leading_silence(clip, silence_threshold=-42) :]
    if silent := pydub.silence.detect_leading_silence(clip.reverse(), silence_threshold=-42):
        clip = clip[: len(clip) - silent]
    return clip + pydub.AudioSegment.silent(duration=50)


def _first(pieces: Iterable[AudioSegment]) -> Any:
    """The first pieces: more than 6 s where there are as many, but not more than 12."""
    clip = _pydub().AudioSegment.silent(duration=0)
    for piece in pieces:
        if len(clip) > 1000 * ENOUGH and len(clip + piece) > 1000 * LONGEST:
            break
        clip += piece
    return clip


def _pydub() -> Any:
    with warnings.catch_warnings(action="ignore"):  # it warns of a missing ffmpeg, which is not needed here
        import pydub
        import pydub.silence
    return pydub
