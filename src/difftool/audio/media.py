"""Decoding of any sound or video file to mono samples, for every command."""

from __future__ import annotations

import logging
import math
import os
import re
import struct
import subprocess
import tempfile
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torchaudio.functional import resample

from ..errors import DifftoolError, Exit, is_out_of_memory, raise_what_ended
from ..files import is_endless
from .files import FILE, command_of, ffmpeg

log = logging.getLogger(__name__)

Samples = npt.NDArray[np.float32]

BLOCK, BLOCK_BYTES = 30, 2**28
"""Maximum seconds and bytes that are in memory at a time."""
RATES = (1_000, 1_000_000)
"""Range of valid sample rates."""
DEAD = -50.0
"""dB below the loudest channel at which a channel counts as dead."""
OPPOSED = -0.9
"""Correlation below which one of two channels is inverted, so that they would cancel each other."""
OFFSET = 2e-3
"""Minimum mean of a sound with a DC offset."""
OVER = 4.0
"""Times full scale above which float samples use another scale, mostly that of an integer format."""
LEAST_INTEGER, INTEGERS = 256.0, (2.0**15, 2.0**23, 2.0**31)
SILENT = 1e-4
"""Largest sample of a silent sound."""
CONTEXT = 64
"""Samples at the lower rate on each side that the resampler's filter may use; it has 6 zero crossings."""
MOST_TAPS = 10**6
"""Maximum size of torchaudio's filter, which has one phase for each sample of a common period of both rates."""
APART = 0.1
"""Seconds by which a packet may be late without a gap."""
LAG, FRAMES = 0.3, 4
"""Seconds, or frames, that ffmpeg may have decoded before it reports an error."""
WAITING = 10
"""Most packets that wait for ffmpeg's decoder, and most frames that wait for its filters."""
UNTIMED = frozenset(["wav", "w64", "flac", "mp3", "aac", "aiff", "au", "caf", "ac3", "amr", "wv"])
"""Formats without timestamps."""
PLAIN = frozenset(["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
"""Uncompressed formats of WAV files."""
HINT = "use another recording"


class Span(NamedTuple):
    """A stretch of a recording, in seconds."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


class Track(NamedTuple):
    """The audio track of a file that is decoded."""

    number: int
    """Index among the audio tracks"""
    lfe: int | None
    """The channel of low-frequency effects, which has no speech"""
    timed: bool
    """Whether packets have timestamps"""
    warnings: tuple[str, ...]


class Mix(NamedTuple):
    """The mix of the channels of a sound to mono."""

    weights: Samples
    """(channels,)"""
    offset: float
    """The DC offset of the mix"""
    peak: float
    warnings: tuple[str, ...]

    def __call__(self, block: Samples) -> Samples:
        """A block (S, channels) as (S,)."""
        return self.centred(block @ self.weights)

    def centred(self, mono: Samples) -> Samples:
        """A mix (S,) without its offset."""
        return mono - np.float32(self.offset) if self.offset else mono


class Timeline(NamedTuple):
    """The start and the gaps of the sound of a video or a stream."""

    late: float = 0.0
    """Seconds from the beginning of the file to the beginning of the sound"""
    gaps: tuple[Span, ...] = ()
    """Missing stretches, in seconds from the beginning of the file"""


class Opened(NamedTuple):
    """A file whose samples can be read once."""

    rate: int
    channels: int
    blocks: Iterator[Samples]
    """(S, channels) each"""
    complaint: Callable[[], str]
    """Returns the last error message of ffmpeg, or nothing; to be called at the end"""


def track_of(path: Path) -> Track:
    """The track that is marked as default, or else the first. Raises DifftoolError 4 where there is no sound."""
    if is_endless(path):
        raise DifftoolError(Exit.FILE, f"{path} is not a regular file", "check the path")
    if not path.is_file():
        raise DifftoolError(Exit.FILE, f"no such recording: {path}", "check the path")
    with _libsndfile(path) as file:
        if file is not None and file.channels <= 2:
            return Track(0, None, timed=False, warnings=())
    output = _complaints(["-hide_banner", "-i", _url(path)])
    streams = [line for line in output if re.match(r"\s*Stream #.*: Audio: ", line)]
    inputs = [match[1] for line in output if (match := re.match(r"Input #0, ([^ ]+), from", line))]
    container = inputs[0] if inputs else None
    if not streams:
        last_line = output[-1] if output else ""
        reason = "it has no audio track" if container else last_line.replace(_shown(path), "").strip(" :")
        raise_what_ended(reason)
        raise DifftoolError(Exit.FILE, f"cannot read {path} as sound: {reason or 'it contains no sound'}", HINT)
    number = next((k for k, line in enumerate(streams) if "(default)" in line), 0)
    warnings = []
    if len(streams) > 1:
        marked = " (default)" if "(default)" in streams[number] else ""
        warnings.append(f"it has {len(streams)} audio tracks; using track {number + 1}{marked}")
    layout = re.search(r" Hz, (\d)\.1\b", streams[number])
    lfe = min(3, int(layout[1])) if layout else None  # after left, right and, where there is one, centre
    timed = not UNTIMED.intersection((container or "").split(","))
    return Track(number, lfe, timed, tuple(warnings))


def timeline_of(path: Path, track: Track) -> Timeline:
    """The start and the gaps of a track, by the timestamps of its packets, which are not decoded."""
    if not track.timed:
        return Timeline()
    kinds: dict[str, str] = {}
    unit: dict[str, float] = {}
    first: dict[str, float] = {}
    own, gaps, long = "", [], []
    lengths: Counter[float] = Counter()
    last: Span | None = None
    copied = ["-map", "0:V?", "-map", "0:a", "-c", "copy", "-copyinkf", "-f", "framecrc", "-"]
    for line in _lines(["-loglevel", "quiet", "-i", _url(path), *copied], "stdout"):
        if header := re.match(r"#(tb|media_type) (\d+): (\S+)", line):
            name, index, value = header.groups()
            if name == "tb":
                numerator, denominator = value.split("/")
                unit[index] = int(numerator) / int(denominator)
            else:
                kinds[index] = value
                sounds = [index for index, kind in kinds.items() if kind == "audio"]
                own = sounds[track.number] if len(sounds) > track.number else own
        elif packet := re.match(r"(\d+), +-?\d+, +(-?\d+), +(\d+),", line):
            index, start = packet[1], int(packet[2]) * unit[packet[1]]
            first[index] = min(start, first.get(index, start))
            if index == own:
                length = int(packet[3]) * unit[index] or (start - last.start if last else 0.0)
                if last and last.seconds and start - last.end > APART:
                    gaps.append(Span(last.end, start))
                last = Span(start, start + length)
                lengths[length] += 1
                if length > APART:
                    long.append(last)
    if own not in first:
        return Timeline()
    usual = lengths.most_common(1)[0][0]  # MP4 lets the packet before a hole last until its end
    gaps += [Span(packet.start + usual, packet.end) for packet in long if packet.seconds > 2 * usual + APART]
    begin = min(first.values())
    late = first[own] - begin
    begin = begin if late > APART else first[own]
    return Timeline(first[own] - begin, tuple(Span(gap.start - begin, gap.end - begin) for gap in sorted(gaps)))


def damage_of(path: Path, track: Track, *, filled: bool = False) -> list[Span]:
    """Stretches that ffmpeg could not decode, in seconds of the samples of `opened`."""
    gaps, errors = list[_Place](), list[_Place]()
    frame, at, ends, length = 0, 0.0, math.nan, 0.0
    for decoded in _decoded(path, track):
        if decoded is None:
            if frame:  # errors before the first frame are from probing
                errors.append(_Place(frame, at, length))
            continue
        starts = ends if math.isnan(decoded.start) else decoded.start
        if starts > ends + length / 2:
            gaps.append(_Place(frame, at, length))
            at += starts - ends if filled else 0.0
        length = decoded.seconds
        frame, at, ends = frame + 1, at + length, starts + length
    # an error is reported while packets and frames before it wait; a gap in the times says where it is
    ahead = 2 * WAITING
    lost = [gap for gap in gaps if _is_any(errors, gap.frame - ahead, gap.frame)]
    spans = [Span(gap.at, gap.at + max(LAG, FRAMES * gap.length)) for gap in lost]
    last = -math.inf
    for error in errors:  # where the decoder made something up, it is somewhere among the waiting frames
        end = error.at + max(LAG, WAITING * error.length)
        if error.at > last and not _is_any(gaps, error.frame, error.frame + ahead):
            spans.append(Span(error.at, end))
            last = end
    return sorted(spans)


class _Place(NamedTuple):
    """A place between decoded frames."""

    frame: int
    """The number of frames before it"""
    at: float
    """Seconds of sound before it"""
    length: float
    """Seconds of the last frame"""


class _Frame(NamedTuple):
    """A decoded frame, in seconds."""

    start: float
    """Its timestamp; NaN without one"""
    seconds: float


def _is_any(places: Sequence[_Place], first: int, last: int) -> bool:
    """Whether one of these places, in order, is behind `first` to `last` frames."""
    k = bisect_left(places, first, key=lambda place: place.frame)
    return k < len(places) and places[k].frame <= last


def _decoded(path: Path, track: Track) -> Iterator[_Frame | None]:
    """The frames of a track, and None where ffmpeg reports an error."""
    # printed in whole lines: one in parts, as by ashowinfo, takes the level from an error between its parts
    numbers = "asetpts='print(1e6*NB_SAMPLES/SR);print(T);PTS'"
    # one thread, so that frames come in order
    options = ["-loglevel", "repeat+level+info", "-threads", "1", "-i", _url(path)]
    options += ["-map", f"0:a:{track.number}", "-af", numbers, "-f", "null", "-"]
    seconds: float | None = None
    for line in _lines(options, "stderr"):
        if number := re.search(r"\[Eval @ .*\] \[info\] (\S+)$", line):
            if seconds is None:
                seconds = float(number[1]) / 1e6
            else:
                yield _Frame(float(number[1]), seconds)
                seconds = None
        elif "[error]" in line:
            yield None


def _filters(track: Track, filled: bool) -> list[str]:
    """ffmpeg filters that insert silence for missing packets, and time samples by their number, since the timestamps of
    a concatenated file start again."""
    return [*(["aresample=async=1"] if filled else []), *(["asetpts=N/SR/TB"] if track.timed else [])]


@contextmanager
def opened(path: Path, track: Track, *, filled: bool = False) -> Iterator[Opened]:
    """The samples of a track, in blocks of whole seconds; with `filled`, silence where packets are missing. Raises
    DifftoolError 4 where it cannot be read."""
    with _libsndfile(path) as file:
        if file is not None:
            rate, channels = _checked(path, file.samplerate, file.channels)
            size = _seconds(rate, channels) * rate
            yield Opened(rate, channels, file.blocks(size, dtype="float32", always_2d=True), lambda: "")
            return
    with _decoding(path, track, filled=filled) as found:
        yield found


@contextmanager
def _libsndfile(path: Path) -> Iterator[Any]:
    """An uncompressed WAV file, open, or None: libsndfile also reads files without a length, or with 24 bits in 32."""
    import soundfile

    try:
        with path.open("rb") as begin:
            wav = begin.read(4) in (b"RIFF", b"RIFX", b"RF64")
        file = soundfile.SoundFile(os.fsencode(path)) if wav else None  # pyright: ignore[reportArgumentType]
    except (soundfile.LibsndfileError, OSError) as error:  # ffmpeg reads more formats
        if is_out_of_memory(error):
            raise
        file = None
    if file is None:
        yield None
        return
    with file:
        known = file.format in ("WAV", "WAVEX") and file.subtype in PLAIN
        yield file if known and 0 < file.frames < 2**40 else None


@contextmanager
def _decoding(path: Path, track: Track, *, filled: bool) -> Iterator[Opened]:
    import ffmpeg as build

    filters = _filters(track, filled)
    sound = {"af": ",".join(filters)} if filters else {}
    # the header of an .au file is the shortest with rate and channels
    out = build.input(FILE).output(
        "pipe:", format="au", acodec="pcm_f32be", vn=None, map=f"0:a:{track.number}", **sound
    )
    with tempfile.TemporaryFile() as complaints:
        run = subprocess.Popen(
            [*command_of(out, path), "-nostdin", "-loglevel", "error"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
        )
        assert run.stdout is not None

        def complaint() -> str:
            run.wait()
            complaints.seek(0)
            lines = complaints.read().decode(errors="replace").splitlines()
            return next((line.strip() for line in reversed(lines) if "message repeated" not in line), "")

        try:
            head = run.stdout.read(24)
            if len(head) < 24:
                reason = complaint() or "it contains no sound"
                raise_what_ended(reason)
                raise DifftoolError(Exit.FILE, f"cannot read {path} as sound: {reason}", HINT)
            start, _, _, rate, channels = struct.unpack(">5I", head[4:])
            run.stdout.read(start - 24)
            _checked(path, rate, channels)
            yield Opened(rate, channels, _blocks(run.stdout, rate, channels), complaint)
        finally:
            run.stdout.close()
            run.kill()
            run.wait()


def _checked(path: Path, rate: int, channels: int) -> tuple[int, int]:
    if not RATES[0] <= rate <= RATES[1] or not channels:
        message = f"{path} has an invalid format: {rate:,} samples a second, {channels} channels"
        raise DifftoolError(Exit.FILE, message, HINT)
    return rate, channels


def _seconds(rate: int, channels: int) -> int:
    """Seconds of a block."""
    return max(1, min(BLOCK, BLOCK_BYTES // (4 * channels * rate)))


def _blocks(stream: IO[bytes], rate: int, channels: int) -> Iterator[Samples]:
    size = 4 * channels * rate * _seconds(rate, channels)
    while data := stream.read(size):
        whole = len(data) // (4 * channels) * 4 * channels
        yield np.frombuffer(data[:whole], ">f4").astype(np.float32).reshape(-1, channels)


def mix_of(path: Path, blocks: Iterable[Samples], lfe: int | None = None, *, centred: bool = True) -> Mix:
    """The mix of the channels of a sound: the average without dead channels and low-frequency effects; of two channels
    of which one is inverted, the first. A DC offset is removed, unless it need not be `centred`, and float samples on
    an integer scale are rescaled; the warnings mention each. Raises DifftoolError 4 for samples that are not finite or
    far out of range."""
    count, total, energy, cross, peak = 0, np.zeros(1), np.zeros(1), 0.0, 0.0
    for block in blocks:
        wide = block.astype(np.float64)
        count += len(wide)
        total = total + wide.sum(0)
        energy = energy + np.einsum("sc,sc->c", wide, wide)
        cross += float(wide[:, 0] @ wide[:, -1])
        peak = max(peak, float(np.abs(wide).max(initial=0))) if np.isfinite(wide).all() else np.inf
    if not peak <= OVER * INTEGERS[-1]:
        raise DifftoolError(Exit.FILE, f"{path} contains invalid samples", HINT)
    means = total / max(count, 1)
    power = energy - count * means**2
    weights, warnings = _weights(power, cross - count * means[0] * means[-1], lfe)
    if peak > OVER:
        full = peak if peak < LEAST_INTEGER else next(scale for scale in INTEGERS if peak <= OVER * scale)
        weights = (weights / full).astype(np.float32)
        warnings.append(f"its samples peak at {peak:,.6g} times full scale; divided by {full:,.6g}")
    offset = float(means @ weights) if len(means) == len(weights) else 0.0
    if centred and abs(offset) > OFFSET:
        warnings.append(f"removed a DC offset of {offset:+.3f} of full scale")
    else:
        offset = 0.0
    return Mix(weights, offset, peak, tuple(warnings))


def _weights(power: npt.NDArray[np.float64], cross: float, lfe: int | None) -> tuple[Samples, list[str]]:
    """The weight of each channel, by its power; `cross` is the cross power of the first and the last."""
    channels = len(power)
    warnings = []
    used = np.ones(channels, bool)
    if lfe is not None and lfe < channels:
        used[lfe] = False
        warnings.append(f"channel {lfe + 1} of {channels} is a low-frequency effects channel and is ignored")
    loudest = float(power[used].max(initial=0))  # 0 where all are silent: then none is dead
    dead = used & (power < loudest * 10 ** (DEAD / 10))
    warnings += [f"channel {k + 1} of {channels} carries no signal and is ignored" for k in np.flatnonzero(dead)]
    used &= ~dead
    if channels == 2 and used.all() and cross < OPPOSED * np.sqrt(power.prod()):
        used[1] = False
        warnings.append("channel 2 is the inverse of channel 1 and would cancel it; only channel 1 is used")
    return np.where(used, 1 / max(1, used.sum()), 0).astype(np.float32), warnings


def mono(path: Path, rate: int, *, centred: bool = True, most: int | None = None) -> Samples:
    """The sound in a file, (S,), mixed as by `mix_of`, at a sample rate of `rate`; with `most`, not more than its first
    samples, and no more is decoded. Raises DifftoolError 4 where it cannot be read or is silent."""
    track = track_of(path)
    with opened(path, track) as source:
        own = source.rate
        parts = list(source.blocks if most is None else _first(source.blocks, _needed(most, own, rate)))
    mix = mix_of(path, parts, track.lfe, centred=centred)
    sound = np.concatenate([mix(part) for part in parts]) if parts else np.zeros(0, np.float32)
    if np.abs(sound).max(initial=0) < SILENT:
        content = "only silence" if len(sound) else "no sound"
        if most is not None and len(sound) * rate > most * own:
            content += f" in its first {most / rate:g} s"
        raise DifftoolError(Exit.FILE, f"{path} contains {content}", HINT)
    for warning in (*track.warnings, *mix.warnings):
        log.warning("%s: %s", path, warning)
    return at_rate(sound, own, rate)[:most].clip(-1, 1)


def _first(blocks: Iterable[Samples], samples: int) -> Iterator[Samples]:
    """The first samples (at least one) of a sound in blocks."""
    for block in blocks:
        yield block[:samples]
        samples -= len(block)
        if samples <= 0:
            return


def _needed(most: int, own: int, rate: int) -> int:
    """The samples of which `at_rate` makes so many."""
    return math.ceil(most * own / rate) + CONTEXT * max(1, own // rate + 1)


def at_rate(sound: Samples, own: int, rate: int) -> Samples:
    """A sound (S,) at another rate, by torchaudio's windowed sinc, or where its filter would be too large, by scipy's
    polyphase filter."""
    common = int(np.gcd(own, rate))
    down, up = own // common, rate // common
    if down == up:
        return sound
    if down * up <= MOST_TAPS:
        return resample(torch.from_numpy(sound), own, rate).numpy()
    from scipy.signal import resample_poly

    return resample_poly(sound.astype(np.float64), up, down).astype(np.float32)


def resampled(blocks: Iterable[Samples], own: int, rate: int) -> Iterator[Samples]:
    """The same sound at another rate, block by block, with the result of a single block."""
    if own == rate:
        yield from blocks
        return
    common = np.gcd(own, rate)
    down, up = int(own // common), int(rate // common)  # `down` samples become `up`
    margin = -(-CONTEXT * max(1, own // rate + 1) // down) * down
    held = np.zeros(margin, np.float32)  # as silence before the beginning
    for block in blocks:
        held = np.concatenate([held, block])
        fresh = (len(held) - 2 * margin) // down * down
        if fresh > 0:
            yield _middle(held[: fresh + 2 * margin], own, rate, margin * up // down)
            held = held[fresh:]
    left = len(held) - margin
    if left > 0:
        padded = np.concatenate([held, np.zeros(margin + -left % down, np.float32)])
        yield _middle(padded, own, rate, margin * up // down)[: -(-left * up // down)]


def _middle(sound: Samples, own: int, rate: int, edge: int) -> Samples:
    resampled = at_rate(sound, own, rate)
    return resampled[edge : len(resampled) - edge]


def _url(path: Path) -> str:
    return f"file:{path}"


def _shown(path: Path) -> str:
    return os.fsencode(_url(path)).decode(errors="replace")


def _complaints(options: Sequence[str]) -> list[str]:
    """The messages of ffmpeg for these options."""
    return list(_lines(options, "stderr"))


def _lines(options: Sequence[str], stream: Literal["stdout", "stderr"]) -> Iterator[str]:
    """The output of ffmpeg for these options, line by line."""
    command = [ffmpeg(), "-nostdin", *options]
    out, err = (subprocess.PIPE if stream == name else subprocess.DEVNULL for name in ("stdout", "stderr"))
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, text=True, errors="replace"
    ) as run:
        lines = run.stdout if stream == "stdout" else run.stderr
        assert lines is not None
        yield from (line.rstrip() for line in lines)
