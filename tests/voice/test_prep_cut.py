"""Where recordings are cut."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from difftool.voice.prep import cut
from difftool.voice.prep.activity import Span, network, spans, speech
from difftool.voice.prep.cut import BREAK, LEAST, LONG, MOST, MOST_TEXT, PAD, Unit, groups, of_words, pieces, split
from difftool.voice.prep.decode import Recording, decode
from difftool.voice.prep.transcribe import Segment, Transcript, Word
from difftool.voice.sound import RATE

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return decode(GOLDEN / "speech.ogg", tmp_path_factory.mktemp("cut") / "raw")


@pytest.fixture(scope="module")
def told() -> list[Segment]:
    return Transcript(GOLDEN / "speech.json").segments


def words_of(segments: list[Segment]) -> list[Word]:
    return [word for segment in segments for word in segment.words]


def test_speech_is_found_where_it_is(recording: Recording, told: list[Segment]) -> None:
    found = spans(speech(recording.samples, network()), recording.seconds)
    for segment in told:
        inside = sum(max(0.0, min(s.end, segment.end) - max(s.start, segment.start)) for s in found)
        assert inside / (segment.end - segment.start) > 0.8, segment.text
    assert sum(span.seconds for span in found) < 1.1 * sum(segment.end - segment.start for segment in told)


def test_rows_are_heard_as_one(tmp_path: Path, recording: Recording) -> None:
    """The rows of a long recording against the network's own way, one window after the other."""
    import torch
    from torchaudio.functional import resample

    sound = np.tile(recording.samples[:], 3)
    sound.tofile(tmp_path / "long")
    from difftool.voice.prep.decode import Stored

    rows = speech(Stored(tmp_path / "long"), network())
    net = network()
    heard = resample(torch.from_numpy(sound), RATE, 16_000)
    heard = torch.nn.functional.pad(heard, (0, -len(heard) % 512))
    with torch.inference_mode():
        whole = [float(net(heard[k : k + 512], 16_000)) for k in range(0, len(heard), 512)]
    assert len(rows) == len(whole)
    assert np.mean((np.array(whole) > 0.5) != (rows > 0.5)) < 0.01


@pytest.mark.parametrize("early", [0.0, 0.15])
def test_no_cut_goes_into_a_word(early: float, recording: Recording, told: list[Segment]) -> None:
    """Also where Whisper says that each word before a pause ended earlier than it did."""
    real = words_of(told)
    seen = []
    for segment in told:
        *others, last = segment.words
        seen.append(segment._replace(words=(*others, last._replace(end=max(last.start + 0.05, last.end - early)))))
    made = list(pieces(recording.samples, of_words(seen, [])))
    assert [word for piece in made for word in piece.words] == words_of(seen)
    for piece in made:
        for at in (piece.start, piece.end):
            assert not any(word.start + 0.03 < at < word.end - 0.03 for word in real), (at, piece.text)
        assert LEAST <= piece.seconds <= MOST
        assert piece.units[-1].closed
    for a, b in itertools.pairwise(made):
        assert a.end <= b.start
    assert sum(6 <= piece.seconds <= 10 for piece in made) >= 3


def test_a_cut_lies_at_the_quietest_point(recording: Recording, told: list[Segment]) -> None:
    made = list(pieces(recording.samples, of_words(told, [])))
    after = made[0].units[-1].end
    power = recording.samples[round(after * RATE) : round((after + 0.25) * RATE)] ** 2
    at = round((made[0].end - after) * RATE)
    assert PAD - 0.09 < made[0].end - after < PAD + 0.09
    assert power[at - 120 : at + 120].mean() < power[1500:].mean()


def units_of(lengths: list[tuple[float, float, bool]]) -> list[Unit]:
    at, made = 0.0, []
    for seconds, gap, closed in lengths:
        made.append(Unit(at, at + seconds, (Word(at, at + seconds, "x" * round(12 * seconds), 1.0),), (0,), closed))
        at += seconds + gap
    return made


@given(st.lists(st.tuples(st.floats(0.1, 14), st.floats(0.25, 3), st.booleans()), min_size=1, max_size=40))
def test_groups_keep_all_units_and_the_limits(lengths: list[tuple[float, float, bool]]) -> None:
    units = units_of(lengths)
    made = groups(units)
    assert [unit for group in made for unit in group] == units
    for group in made:
        if len(group) > 1:
            assert group[-1].end - group[0].start + 2 * PAD <= MOST + 1e-9
            assert sum(len(unit.words[0].text) + 1 for unit in group) - 1 <= MOST_TEXT
            assert all(b.start - a.end <= BREAK for a, b in itertools.pairwise(group))


def test_sentences_of_two_seconds_become_clips_of_six_to_ten() -> None:
    made = groups(units_of([(2.0, 0.4, True)] * 30))
    assert all(6 <= group[-1].end - group[0].start + 2 * PAD <= LONG for group in made)


def test_clips_end_with_sentences_where_they_can() -> None:
    lengths = [(2.0, 0.4, k % 3 == 2) for k in range(30)]
    assert all(group[-1].closed for group in groups(units_of(lengths)))


def test_the_silence_of_a_subtitle_is_no_speech() -> None:
    cues = [Segment((Word(0, 2, "Hello", None), Word(2, 5, "there.", None)), False, {})]
    assert of_words(cues, [Span(1.0, 3.0), Span(6.0, 7.0)])[0][:2] == (1.0, 3.0)


def test_words_that_overlap_are_told_apart() -> None:
    words = (Word(0, 1.2, "One.", 1), Word(1.0, 2, "Two.", 1))
    first, second = of_words([Segment(words, True, {})], [])
    assert first.end == second.start == pytest.approx(1.1)


def test_a_clip_is_split_at_its_longest_pause(recording: Recording, told: list[Segment]) -> None:
    units = tuple(of_words(told[:3], []))
    piece = cut.Piece(0.4, units[-1].end + 0.1, units)
    halves = split(recording.samples, piece)
    assert [unit for half in halves for unit in half.units] == list(units)
    gaps = [b.start - a.end for a, b in itertools.pairwise(units)]
    assert len(halves[0].units) == gaps.index(max(gaps)) + 1
    assert split(recording.samples, piece._replace(units=units[:1])) == []
