"""Recordings as they come out of cameras, streams and other people's tools, opened the one way for every command."""

from __future__ import annotations

import os
import struct
import subprocess
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import correlate
from torchaudio.functional import resample

from difftool.audio import media
from difftool.audio.files import RATE, ffmpeg, read_sound
from difftool.errors import DifftoolError
from difftool.voice.prep.decode import Recording, decode

SPEECH = Path(__file__).parents[1] / "golden" / "speech.ogg"
PICTURE = ["-f", "lavfi", "-i", "color=size=16x16:rate=5:duration=12"]


def made(path: Path, *options: object) -> Path:
    """A file by ffmpeg."""
    run = [ffmpeg(), "-nostdin", "-y", "-loglevel", "error", *map(str, options), str(path)]
    subprocess.run(run, check=True)
    return path


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds of speech at 24 kHz."""
    return made(tmp_path_factory.mktemp("media") / "talk.wav", "-i", SPEECH, "-t", 12, "-ar", RATE)


@pytest.fixture
def decoded(tmp_path: Path) -> Any:
    return lambda path: decode(path, tmp_path / "raw")


def delay(found: Recording, talk: Path, start: float, end: float) -> float:
    """How much later a stretch of the talk is heard, in seconds."""
    wanted = soundfile.read(talk, dtype="float32")[0][round(start * RATE) : round(end * RATE)]
    heard = correlate(found.samples[:], wanted, "valid", "fft")
    return int(heard.argmax()) / RATE - start


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "mov", "ts"])
def test_late_sound_begins_late(suffix: str, talk: Path, decoded: Any, tmp_path: Path) -> None:
    film = made(
        tmp_path / f"film.{suffix}",
        *(*PICTURE, "-itsoffset", 4, "-i", talk, "-map", "0:v", "-map", "1:a", "-c:a", "aac", "-bf", 2),
    )
    found = decoded(film)
    assert delay(found, talk, 1, 3) == pytest.approx(4, abs=0.05)
    assert np.abs(found.samples[: round(3.9 * RATE)]).max() < 1e-3
    assert "the audio starts 4.0 s after the video" in found.warnings
    on_time = made(tmp_path / f"on-time.{suffix}", *PICTURE, "-i", talk, "-map", "0:v", "-map", "1:a", "-c:a", "aac")
    assert (decoded(on_time).warnings, decoded(on_time).holes) == ((), ())


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts", "ogg"])
def test_lost_packets_are_silence(suffix: str, talk: Path, decoded: Any, tmp_path: Path) -> None:
    codec = "libvorbis" if suffix == "ogg" else "aac"
    whole = made(tmp_path / f"whole.{suffix}", "-i", talk, "-c:a", codec)
    lost = ["-c", "copy", "-bsf:a", "noise=drop='between(pts*tb,5.5,7)'"]
    found = decoded(made(tmp_path / f"lost.{suffix}", "-i", whole, *lost))
    (hole,) = found.holes
    assert hole.seconds == pytest.approx(1.5, abs=0.1)
    assert np.abs(found.samples[round((hole.start + 0.1) * RATE) : round((hole.end - 0.1) * RATE)]).max() < 1e-3
    early, late = delay(found, talk, 1, 3), delay(found, talk, 9, 11)
    assert late == pytest.approx(early, abs=0.05)
    assert "1.5 s of the audio are missing" in found.warnings
    assert decoded(whole).holes == ()


def test_the_track_that_is_marked_is_taken(talk: Path, decoded: Any, tmp_path: Path) -> None:
    tone = ["-f", "lavfi", "-i", "sine=300:sample_rate=24000:duration=3"]
    tracks = [*tone, "-i", talk, "-map", "0:a", "-map", "1:a", "-c:a", "pcm_s16le"]
    film = made(tmp_path / "film.mkv", *tracks, "-disposition:a:0", 0, "-disposition:a:1", "default")
    wanted = soundfile.read(talk, dtype="float32")[0]
    assert np.array_equal(read_sound(film, RATE), wanted)
    found = decoded(film)
    assert np.array_equal(found.samples[:], wanted)
    assert found.warnings == ("it has 2 audio tracks; using track 2 (default)",)
    plain = made(tmp_path / "plain.mkv", *tracks, "-disposition:a:0", 0, "-disposition:a:1", 0)
    assert decoded(plain).warnings == ("it has 2 audio tracks; using track 1",)
    assert len(read_sound(plain, RATE)) == 3 * RATE


@pytest.mark.parametrize(("suffix", "codec"), [("flac", "flac"), ("m4a", "aac"), ("wav", "pcm_s16le")])
def test_low_frequency_effects_are_left_out(suffix: str, codec: str, talk: Path, decoded: Any, tmp_path: Path) -> None:
    sound, _ = soundfile.read(talk, dtype="float32")
    rumble = 0.5 * np.sin(2 * np.pi * 40 * np.arange(len(sound)) / RATE)
    soundfile.write(
        tmp_path / "six.wav", np.stack([sound * 0, sound * 0, sound, rumble, sound * 0, sound * 0], 1), RATE
    )
    layout = ["-af", "channelmap=0|1|2|3|4|5:5.1"]
    path = made(tmp_path / f"film.{suffix}", "-i", tmp_path / "six.wav", *layout, "-c:a", codec, "-b:a", "384k")
    found = decoded(path)
    assert "channel 4 of 6 is a low-frequency effects channel and is ignored" in found.warnings
    for heard in (found.samples[:], read_sound(path, RATE)):
        power = np.abs(np.fft.rfft(heard[: 4 * RATE])) ** 2
        assert power[4 * 38 : 4 * 42].sum() < 0.01 * power.sum()


def test_channels_that_cancel_each_other(talk: Path, tmp_path: Path) -> None:
    sound, _ = soundfile.read(talk, dtype="float32")
    soundfile.write(tmp_path / "a.flac", np.stack([sound, -sound], 1), RATE)
    assert np.array_equal(read_sound(tmp_path / "a.flac", RATE), sound)
    soundfile.write(tmp_path / "b.flac", np.stack([sound, 0 * sound], 1), RATE)
    assert np.array_equal(read_sound(tmp_path / "b.flac", RATE), sound)


def test_a_stream_that_was_kept(talk: Path, decoded: Any, tmp_path: Path) -> None:
    """Headers that were written before anybody knew how long it would be."""
    wanted = soundfile.read(talk, dtype="float32")[0]
    flac = subprocess.run(
        [ffmpeg(), "-loglevel", "error", "-i", talk, "-f", "flac", "-"], capture_output=True, check=True
    )
    (tmp_path / "a.flac").write_bytes(flac.stdout)
    data = talk.read_bytes()
    at = data.index(b"data") + 4
    for name, size in (("b.wav", 0), ("c.wav", 2**32 - 1)):
        (tmp_path / name).write_bytes(data[:at] + struct.pack("<I", size) + data[at + 4 :])
    for name in ("a.flac", "b.wav", "c.wav"):
        assert np.array_equal(read_sound(tmp_path / name, RATE), wanted), name
        assert np.array_equal(decoded(tmp_path / name).samples[:], wanted), name


def test_two_streams_in_one_file(talk: Path, decoded: Any, tmp_path: Path) -> None:
    parts = [made(tmp_path / f"{k}.ogg", "-ss", 3 * k, "-t", 3, "-i", talk, "-c:a", "libvorbis") for k in range(3)]
    (tmp_path / "a.ogg").write_bytes(b"".join(part.read_bytes() for part in parts))
    found = decoded(tmp_path / "a.ogg")
    assert found.seconds == pytest.approx(9, abs=0.1)
    assert len(read_sound(tmp_path / "a.ogg", RATE)) == len(found.samples)
    assert (found.warnings, found.holes) == ((), ())


@pytest.mark.parametrize(("bits", "valid"), [(32, 24), (32, 20), (24, 20), (16, 12)])
def test_fewer_bits_than_there_is_room_for(bits: int, valid: int, talk: Path, decoded: Any, tmp_path: Path) -> None:
    sound, _ = soundfile.read(talk, dtype="float32")
    values = np.round(sound * 2 ** (valid - 1)).astype(np.int64) << (bits - valid)
    width = bits // 8
    data = b"".join(int(value).to_bytes(width, "little", signed=True) for value in values[:RATE])
    guid = bytes.fromhex("0100000000001000800000aa00389b71")
    form = struct.pack("<HHIIHHHHI", 0xFFFE, 1, RATE, RATE * width, width, bits, 22, valid, 4) + guid
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    (tmp_path / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
    for heard in (read_sound(tmp_path / "a.wav", RATE), decoded(tmp_path / "a.wav").samples[:]):
        assert np.abs(heard - sound[:RATE]).max() < 2.0 ** (2 - valid)


@pytest.mark.parametrize("rate", [8_000, 11_111, 16_001, 22_050, 44_056, 96_001, 192_000, 384_000])
def test_any_rate(rate: int, decoded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tone stays the tone, and no filter has as many phases as two numbers without a common factor ask for."""

    def small(sound: torch.Tensor, own: int, new: int) -> torch.Tensor:
        common = np.gcd(own, new)
        assert own // common * (new // common) <= media.MOST_TAPS
        return resample(sound, own, new)

    monkeypatch.setattr(media, "resample", small)
    path = tmp_path / "a.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate), rate, subtype="FLOAT")
    for heard in (read_sound(path, RATE), decoded(path).samples[:]):
        assert len(heard) == pytest.approx(2 * RATE, abs=1)
        wanted = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(heard)) / RATE)
        assert np.abs(heard - wanted)[500:-500].max() < 2e-3


@pytest.mark.parametrize("rate", [8_000, 16_001, 24_000, 44_100])
def test_the_beginning_is_that_of_the_whole(rate: int, tmp_path: Path) -> None:
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * rate)
    soundfile.write(tmp_path / "a.wav", sound, rate, subtype="FLOAT")
    whole = read_sound(tmp_path / "a.wav", RATE, centred=False)
    for most in (1, 9_999, len(whole), 10**6):
        beginning = read_sound(tmp_path / "a.wav", RATE, centred=False, most=most)
        assert len(beginning) == min(most, len(whole))
        assert np.abs(beginning - whole[:most]).max() < 1e-6


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_no_more_is_decoded_than_needed(suffix: str, tmp_path: Path) -> None:
    """Of ten minutes a second fits in little memory, and silence is told of where it was heard."""
    sound = np.zeros(600 * 8_000, np.int16)
    sound[8_000:] = 1000
    soundfile.write(tmp_path / f"a.{suffix}", sound, 8_000)
    tracemalloc.start()
    try:
        assert len(read_sound(tmp_path / f"a.{suffix}", 8_000, centred=False, most=8_100)) == 8_100
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < sound.nbytes  # the whole takes twice as much as floats
    with pytest.raises(DifftoolError, match=r"contains only silence in its first 0\.5 s"):
        read_sound(tmp_path / f"a.{suffix}", 8_000, centred=False, most=4_000)


@pytest.mark.parametrize("rate", [0, 2**31, 2**32 - 1])
def test_a_rate_that_nothing_has(rate: int, talk: Path, decoded: Any, tmp_path: Path) -> None:
    data = bytearray(talk.read_bytes())
    data[24:28] = struct.pack("<I", rate)
    (tmp_path / "a.wav").write_bytes(data)
    for opened in (decoded, lambda path: read_sound(path, RATE)):
        with pytest.raises(DifftoolError) as caught:
            opened(tmp_path / "a.wav")
        assert caught.value.code == 4


def test_the_offset_of_a_recorder_is_taken_away(talk: Path, decoded: Any, tmp_path: Path) -> None:
    sound, _ = soundfile.read(talk, dtype="float32")
    soundfile.write(tmp_path / "a.wav", sound * 0.5 + 0.12, RATE, subtype="FLOAT")
    found = decoded(tmp_path / "a.wav")
    assert "removed a DC offset of +0.120 of full scale" in found.warnings
    for heard in (found.samples[:], read_sound(tmp_path / "a.wav", RATE)):
        assert abs(heard.mean()) < 1e-4
        assert np.abs(heard - sound * 0.5).max() < 1e-3


@pytest.mark.parametrize("scale", [2.0**15, 2.0**23, 2.0**31])
def test_floats_on_the_scale_of_integers(scale: float, talk: Path, decoded: Any, tmp_path: Path) -> None:
    sound, _ = soundfile.read(talk, dtype="float32")
    soundfile.write(tmp_path / "a.wav", sound * np.float32(scale), RATE, subtype="FLOAT")
    found = decoded(tmp_path / "a.wav")
    assert f"divided by {scale:,.6g}" in found.warnings[0]
    for heard in (found.samples[:], read_sound(tmp_path / "a.wav", RATE)):
        assert np.abs(heard - sound).max() < 1e-5


@pytest.mark.parametrize("level", [0.0, 0.25])
def test_silence_is_no_voice(level: float, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full((RATE, 2), level), RATE)
    with pytest.raises(DifftoolError, match="only silence") as caught:
        read_sound(tmp_path / "a.wav", RATE)
    assert caught.value.code == 4


def test_one_sample_is_a_sound(decoded: Any, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.5]), RATE, subtype="FLOAT")
    assert len(decoded(tmp_path / "a.wav").samples) == 1


@pytest.mark.parametrize("suffix", ["mp3", "flac", "aac", "ogg", "m4a"])
def test_what_is_damaged_is_a_hole(suffix: str, talk: Path, decoded: Any, tmp_path: Path) -> None:
    codec = ["-c:a", "libvorbis"] if suffix == "ogg" else []
    path = made(tmp_path / f"a.{suffix}", "-i", talk, "-b:a", "64k", *codec)
    assert decoded(path).holes == ()
    data = bytearray(path.read_bytes())
    first = round(len(data) * 0.45)
    data[first : first + len(data) // 16] = bytes(len(data) // 16)
    path.write_bytes(data)
    found = decoded(path)
    assert any("damaged in places" in warning for warning in found.warnings)
    wanted = soundfile.read(talk, dtype="float32")[0]
    frame = 1024
    for at in range(0, min(len(found.samples), len(wanted)) - 8 * frame, 4 * frame):  # where it departs from the talk
        heard = found.samples[at : at + 8 * frame]
        near = wanted[max(0, at - 3 * frame) : at + 11 * frame]
        like = np.correlate(near, heard, "valid").max() / (np.linalg.norm(heard) * np.linalg.norm(near) + 1e-3)
        if like < 0.3 and np.linalg.norm(near) > 3:
            assert min(abs(hole.start - at / RATE) for hole in found.holes) < 0.7
            break
    assert 4 < found.holes[0].start < 7


@pytest.mark.parametrize(("suffix", "codec"), [("mp3", "libmp3lame"), ("ogg", "libvorbis")])
def test_damage_is_found_in_the_same_place_each_time(suffix: str, codec: str, talk: Path, tmp_path: Path) -> None:
    path = made(tmp_path / f"a.{suffix}", "-i", talk, "-b:a", "64k", "-c:a", codec)
    data = bytearray(path.read_bytes())
    for share in (0.3, 0.6):
        first = round(len(data) * share)
        data[first : first + len(data) // 24] = bytes(len(data) // 24)
    path.write_bytes(data)
    track = media.track_of(path)
    for filled in (False, True):
        found = [media.damage_of(path, track, filled=filled) for _ in range(4)]
        assert all(spans == found[0] for spans in found)
        assert len(found[0]) == 2 and 2 < found[0][0].start < 4.5 < found[0][1].start < 8


@pytest.mark.parametrize("early", [0, 1, 9, 20])
def test_damage_is_where_the_times_have_a_gap(early: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many frames before it ffmpeg's threads report it. Frames of 0.1 s; the one at 3 s is lost, and one at 9 s
    was made up."""
    lines: list[str] = []
    for k in range(120):
        if k != 30:
            lines += [f"[Eval @ 0x1] [info] {number:f}" for number in (1e5, k / 10)]
    lines.insert(2 * (30 - min(early, 29)), "[mp3float @ 0x2] [error] Header missing")
    lines.insert(2 * 89 + 1, "[mp3float @ 0x2] [error] overread")
    monkeypatch.setattr(media, "_lines", lambda options, stream: lines)
    track = media.Track(0, None, timed=True, warnings=())
    for filled, later in ((False, 8.9), (True, 9.0)):
        lost, concealed = media.damage_of(Path("a.mp3"), track, filled=filled)
        assert lost == pytest.approx((3, 3.4))
        assert concealed == pytest.approx((later, later + 1))


def test_what_breaks_off(talk: Path, decoded: Any, tmp_path: Path) -> None:
    for suffix in ("flac", "m4a"):
        path = made(tmp_path / f"a.{suffix}", "-i", talk)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 4 < decoded(tmp_path / "a.flac").seconds < 8
    with pytest.raises(DifftoolError) as caught:
        decoded(tmp_path / "a.m4a")
    assert caught.value.code == 4


def test_a_film_without_sound(decoded: Any, tmp_path: Path) -> None:
    with pytest.raises(DifftoolError, match="it has no audio track") as caught:
        decoded(made(tmp_path / "film.mp4", *PICTURE))
    assert caught.value.code == 4


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_names_that_are_no_text(suffix: str, talk: Path, decoded: Any, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9." + suffix.encode()))
    try:
        path.write_bytes(made(tmp_path / f"a.{suffix}", "-i", talk).read_bytes())
    except OSError:
        pytest.skip("this file system knows no such names")
    assert len(read_sound(path, RATE)) == len(decoded(path).samples) == 12 * RATE


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [("wav", "PCM_16"), ("wav", "PCM_24"), ("wav", "FLOAT"), ("flac", "PCM_16"), ("flac", "PCM_24")],
)
@pytest.mark.parametrize("rate", [22_050, 24_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_references_are_what_they_were(
    suffix: str, subtype: str, rate: int, channels: int, talk: Path, tmp_path: Path
) -> None:
    """To the bit, so that speech of yesterday can be made again."""
    sound = soundfile.read(talk, dtype="float64")[0][: 3 * RATE]
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.stack([sound, 0.7 * np.roll(sound, 999)], 1)[:, :channels], rate, subtype=subtype)
    plain = soundfile.read(path, dtype="float32", always_2d=True)[0].mean(1)
    wanted = plain if rate == 22_050 else resample(torch.from_numpy(plain), rate, 22_050).numpy()
    assert np.array_equal(read_sound(path, 22_050), wanted.clip(-1, 1))


@pytest.mark.parametrize("channels", [1, 2])
def test_in_silence_no_channel_is_dead(channels: int, tmp_path: Path) -> None:
    mix = media.mix_of(tmp_path / "a.wav", [np.zeros((100, channels), np.float32)])
    assert mix.warnings == ()
