"""Sound files, and parts that become one sound."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from difftool.audio.files import FORMATS, RATE, Mark, chapters_of, read_sound, samples_of, tags_of, write_sound
from difftool.audio.joining import FADE, from_bytes, gain, join, starts, to_bytes
from difftool.audio.loudness import loudness
from difftool.errors import DifftoolError, Exit
from difftool.files import RESULT, made_here

TONE = (np.sin(np.arange(48_000) * 2 * np.pi * 200 / RATE) * 0.3).astype(np.float32)


def fails(says: str) -> pytest.RaisesExc[DifftoolError]:
    return pytest.RaisesExc(DifftoolError, match=says, check=lambda error: error.code == Exit.FILE)


def test_a_tag_without_its_null_characters(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav", [bytes(480)], {"title": "a\0b"})
    assert tags_of(tmp_path / "a.wav")["title"] == "ab"


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_every_kind_of_wav_is_read(subtype: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([TONE, TONE / 2], axis=1), RATE, subtype=subtype)
    found = read_sound(tmp_path / "a.wav", RATE)
    assert found.dtype == np.float32
    assert np.abs(found - TONE * 0.75).max() < (0.01 if subtype == "PCM_U8" else 1e-4)  # the mean of both channels


def test_other_rates_are_resampled(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", TONE, RATE, subtype="FLOAT")
    found = read_sound(tmp_path / "a.wav", 22_050)
    wanted = np.sin(np.arange(len(found)) * 2 * np.pi * 200 / 22_050) * 0.3
    assert len(found) == 44_100
    assert np.abs(found - wanted)[200:-200].max() < 1e-3


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_written_can_be_read(kind: str, tmp_path: Path) -> None:
    path, tags = tmp_path / f"a{kind}", {"title": "Synthetic speech", "comment": '{"a": "x=1; #2\\n\\"q\\""}'}
    data = to_bytes(TONE)
    write_sound(path, [data[:1001], data[1001:]], tags)
    once = path.read_bytes()
    write_sound(path, [data], tags)
    assert path.read_bytes() == once  # equal samples make equal bytes
    assert tags.items() <= tags_of(path).items()
    found = read_sound(path, RATE)
    assert abs(len(found) - len(TONE)) < 3000
    error = np.abs(found[: len(TONE)] - TONE[: len(found)])[3000:-3000].max()
    assert error < (1e-4 if kind in (".wav", ".flac") else 0.05)
    assert [other.name for other in tmp_path.iterdir()] == [path.name]


def test_a_wav_says_it_to_any_program(tmp_path: Path) -> None:
    write_sound(tmp_path / "a.wav", [to_bytes(TONE)], {"title": "Synthetic speech", "comment": "{}"})
    with soundfile.SoundFile(tmp_path / "a.wav") as file:
        assert (file.title, file.comment, file.samplerate, file.subtype) == ("Synthetic speech", "{}", RATE, "PCM_16")
    assert samples_of(tmp_path / "a.wav") == to_bytes(TONE)


@settings(max_examples=15)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=60))
def test_tags_come_back_as_they_were(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.flac"
        write_sound(path, [bytes(200)], {"comment": f"<{text}>"})
        assert tags_of(path)["comment"] == f"<{text}>"


@settings(max_examples=8, deadline=None)
@example("a\\")
@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=40))
def test_chapters_come_back_as_they_were(title: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.m4b"
        write_sound(path, [bytes(48_000)], {"comment": "{}"}, [Mark(title, 0, 7_200), Mark("[=;#]", 7_200, 24_000)])
        assert chapters_of(path) == [(title.rstrip("\\"), 0.0, 0.3), ("[=;#]", 0.3, 1.0)]


@pytest.mark.parametrize("kind", FORMATS)
def test_difftool_knows_its_files(kind: str, tmp_path: Path) -> None:
    """Also where a large cover stands before the comment and the comment is long."""
    noise = np.random.default_rng(0).integers(0, 255, (700, 700, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    comment = '{"schema": "difftool/manifest/1", "x": "' + "x" * 3000 + '"}'
    path = tmp_path / f"a{kind}"
    write_sound(path, [bytes(480_000)], {"comment": comment}, [Mark("One", 0, 240_000)], buffer.getvalue())
    assert made_here(path, RESULT)
    assert tags_of(path)["comment"] == comment


def test_what_is_no_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with fails("no such recording"):
        read_sound(path, RATE)
    for data in (b"", b"<html>no</html>", b"RIFF\x24\x00\x00\x00WAVEfmt "):
        path.write_bytes(data)
        with fails("as sound: |contains"):
            read_sound(path, RATE)
        with fails("no sound"):
            tags_of(path)
    os.mkfifo(tmp_path / "pipe.wav")
    for reader in (lambda: read_sound(tmp_path / "pipe.wav", RATE), lambda: tags_of(tmp_path / "pipe.wav")):
        with fails("not a regular file"):  # and is not waited for
            reader()
    soundfile.write(path, np.full(100, np.nan, np.float32), RATE, subtype="FLOAT")
    with fails("contains invalid samples"):
        read_sound(path, RATE)
    soundfile.write(path, np.zeros(0, np.float32), RATE)
    with fails("no sound"):
        read_sound(path, RATE)


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def pieces():
        yield bytes(100)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sound(tmp_path / "a.wav", pieces(), {})
    assert [*tmp_path.iterdir()] == []


def test_one_part_is_left_as_it_is() -> None:
    data = to_bytes(TONE)
    assert b"".join(join([(data, 0.0, 0.0)])) == data
    assert np.abs(from_bytes(data) - TONE).max() < 1 / 32767


def test_parts_are_joined_with_their_pauses() -> None:
    """The length is that of the parts and pauses without what flows together; the pause is silent."""
    data = to_bytes(TONE)
    pieces = [*join([(data, 0.0, 0.5), (data, 0.0, 0.0), (data, 0.0, 0.0)])]
    whole = from_bytes(b"".join(pieces))
    fade = FADE * RATE // 1000
    assert len(whole) == 3 * len(TONE) + RATE // 2 - 3 * fade
    quiet = whole[len(TONE) : len(TONE) + RATE // 2 - 2 * fade]
    assert np.abs(quiet).max() == 0
    assert np.abs(whole[: len(TONE) - fade] - TONE[:-fade]).max() < 1e-4
    assert max(map(len, pieces)) <= 2 * len(data)  # no more than two parts at a time


def test_parts_shorter_than_a_fade_are_joined() -> None:
    short = to_bytes(TONE[:100])
    whole = b"".join(join([(short, 0.0, 0.01), (b"", 0.0, 0.0), (short, 0.0, 0.0)]))
    assert 200 <= len(whole) // 2 <= 440


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3000), st.sampled_from([0.0, 0.0005, 0.01, 0.15, 2.0])), min_size=1, max_size=5)
)
def test_where_parts_begin(parts: list[tuple[int, float]]) -> None:
    """The positions and the length are those of the joined sound, to the sample."""
    joined = [b"".join(join((bytes(2 * length), 0.0, pause) for length, pause in parts[:k])) for k in range(1, 6)]
    positions = starts(parts)
    assert positions[-1] == len(joined[len(parts) - 1]) // 2
    assert positions[0] == 0
    for k, position in enumerate(positions[1:-1]):
        assert 0 <= len(joined[k]) // 2 - position <= FADE * RATE // 1000 + 12  # half a millisecond by rounding


def test_loudness() -> None:
    """BS.1770 of a sine of 997 Hz at full scale is -3.01 LUFS."""
    sine = np.sin(np.arange(RATE * 3) * 2 * np.pi * 997 / RATE).astype(np.float32)
    assert loudness(sine) == pytest.approx(-3.01, abs=0.1)
    assert loudness(sine * 0.1) == pytest.approx(-23.01, abs=0.1)
    assert loudness(sine[: RATE // 3]) is None
    assert loudness(sine * 0) is None


def test_parts_are_brought_to_one_loudness() -> None:
    assert gain(-30.0, 0.1, -24.0) == pytest.approx(6.0)
    assert gain(-20.0, 0.9, -24.0) == pytest.approx(-4.0)
    assert gain(-30.0, 0.8, -24.0) == pytest.approx(-1 - 20 * np.log10(0.8))  # no sample beyond -1 dB
    assert gain(-30.0, 1.0, -24.0) == 0.0
    assert gain(-80.0, 0.001, -24.0) == 12.0
    assert gain(None, 0.5, -24.0) == gain(-24.0, 0.5, None) == 0.0
