"""Where recordings are cut."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from difftool.audio.files import RATE
from difftool.voice.prep import cut
from difftool.voice.prep.activity import Span, network, spans, speech
from difftool.voice.prep.cut import (
    BREAK,
    BREATH,
    LEAST,
    LONG,
    MOST_SECONDS,
    MOST_TEXT,
    Unit,
    groups,
    of_words,
    pieces,
    split,
)
from difftool.voice.prep.decode import Recording, decode
from difftool.voice.prep.transcribe import Segment, Transcript, Word

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return decode(GOLDEN / "speech.ogg", tmp_path_factory.mktemp("cut") / "raw")


@pytest.fixture(scope="module")
def told() -> list[Segment]:
    return Transcript(GOLDEN / "speech.json").segments


@pytest.fixture(scope="module")
def heard(recording: Recording) -> list[Span]:
    """Where somebody speaks in it."""
    return spans(speech(recording.samples, network()), recording.seconds)


def words_of(segments: list[Segment]) -> list[Word]:
    return [word for segment in segments for word in segment.words]


def test_speech_is_found_where_it_is(heard: list[Span], told: list[Segment]) -> None:
    for segment in told:
        inside = sum(max(0.0, min(s.end, segment.end) - max(s.start, segment.start)) for s in heard)
        assert inside / (segment.end - segment.start) > 0.8, segment.text
    assert sum(span.seconds for span in heard) < 1.1 * sum(segment.end - segment.start for segment in told)


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
        assert LEAST <= piece.seconds <= MOST_SECONDS
        assert piece.units[-1].closed
    for a, b in itertools.pairwise(made):
        assert a.end <= b.start
    assert sum(6 <= piece.seconds <= 10 for piece in made) >= 3


def test_a_cut_lies_at_the_quietest_point(recording: Recording, told: list[Segment]) -> None:
    made = list(pieces(recording.samples, of_words(told, [])))
    after = made[0].units[-1].end
    power = recording.samples[round(after * RATE) : round((after + 0.4) * RATE)] ** 2
    at = round((made[0].end - after) * RATE)
    assert BREATH - 0.09 < made[0].end - after < BREATH + 0.09
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
            assert group[-1].end - group[0].start + 2 * BREATH <= MOST_SECONDS + 1e-9
            assert sum(len(unit.words[0].text) + 1 for unit in group) - 1 <= MOST_TEXT
            assert all(b.start - a.end <= BREAK for a, b in itertools.pairwise(group))


def test_sentences_of_two_seconds_become_clips_of_six_to_ten() -> None:
    made = groups(units_of([(2.0, 0.4, True)] * 30))
    assert all(6 <= group[-1].end - group[0].start + 2 * BREATH <= LONG for group in made)


def test_clips_end_with_sentences_where_they_can() -> None:
    lengths = [(2.0, 0.4, k % 3 == 2) for k in range(30)]
    assert all(group[-1].closed for group in groups(units_of(lengths)))


def test_the_silence_of_a_subtitle_is_no_speech() -> None:
    cues = [Segment((Word(0, 2, "Hello", None), Word(2, 5, "there.", None)), False, {})]
    assert of_words(cues, [Span(1.0, 3.0), Span(6.0, 7.0)])[0][:2] == (1.0, 3.0)


SHIFTS = {
    "late": lambda a, b, following: (a + 0.4, b + 0.4),
    "early": lambda a, b, following: (a - 0.4, b - 0.4),
    "tight": lambda a, b, following: (a + 0.3, b - 0.3),
    "wide": lambda a, b, following: (a - 0.4, b + 0.4),
    "rounded": lambda a, b, following: (round(a), round(b)),
    "until the next": lambda a, b, following: (a, following),
    "half": lambda a, b, following: (a, (a + b) / 2 if b - a < 1.9 else b),
}
"""How times of cues miss those of what is said."""


@pytest.mark.parametrize("how", SHIFTS)
def test_cues_are_moved_to_the_pauses(how: str, heard: list[Span], told: list[Segment]) -> None:
    """Every cue has its own sentence, as a whole, whatever its times are like."""
    following = [*(segment.start for segment in told[1:]), heard[-1].end + 1]
    cues = []
    for segment, after in zip(told, following, strict=True):
        start, end = SHIFTS[how](segment.start, segment.end, after)
        text = Word(max(0.0, start), end, segment.text, None)
        cues.append(Segment((text,), False, {}))
    units = of_words(cues, heard)
    assert [unit.words[0].text for unit in units] == [segment.text for segment in told]
    pauses = [(a.end, b.start) for a, b in itertools.pairwise(heard)]
    for unit, segment in zip(units, told, strict=True):
        for edge, time in ((unit.start, segment.start), (unit.end, segment.end)):
            if any(a - 0.2 < time < b + 0.2 for a, b in pauses):  # in one place is no pause, but a new sentence
                assert edge == pytest.approx(time, abs=0.15), segment.text


def test_a_pause_inside_a_cue_is_not_its_end() -> None:
    """Lines that break a sentence where nobody pauses stay where they are."""
    lines = ["We walked up", "the path, and then", "we went home."]
    cues = [Segment((Word(2.0 * k, 2.0 * k + 2, text, None),), False, {}) for k, text in enumerate(lines)]
    units = of_words(cues, [Span(0.1, 3.2), Span(3.6, 6.1)])
    assert [unit.start for unit in units] == [0.1, 2.0, pytest.approx(3.6, abs=0.5)]


def test_speech_that_no_cue_has_stays_out() -> None:
    """Between two cues somebody speaks who is in none of them."""
    cues = [Segment((Word(1.0, 3.2, "One.", None),), False, {}), Segment((Word(9.0, 12, "Two.", None),), False, {})]
    units = of_words(cues, [Span(1.1, 3.0), Span(5.0, 7.0), Span(9.2, 11.8)])
    assert [(unit.start, unit.end) for unit in units] == [(1.1, 3.0), (9.2, 11.8)]


TIMES = st.floats(0, 30)


@given(
    st.lists(st.tuples(TIMES, st.floats(0, 4), st.booleans()), min_size=1, max_size=12),
    st.lists(st.tuples(st.floats(0.25, 3), st.floats(0.25, 4)), min_size=1, max_size=10),
    st.booleans(),
)
def test_units_stay_in_order(cues: list[tuple[float, float, bool]], speech: list[tuple[float, float]], exact: bool):
    """Whatever the times of a transcript are, no unit overlaps another, and all words are in one."""
    words = [Word(a, a + b, f"w{k}{'.' * dot}", None) for k, (a, b, dot) in enumerate(sorted(cues))]
    at, heard = 0.0, []
    for pause, length in speech:
        heard.append(Span(at + pause, at + pause + length))
        at = heard[-1].end
    units = of_words([Segment((word,), exact, {}) for word in words], heard)
    assert [word for unit in units for word in unit.words] == words
    edges = [edge for unit in units for edge in unit[:2]]
    assert edges == sorted(edges)


def test_what_is_beside_a_hole_is_no_speech() -> None:
    speech = [Span(1, 5), Span(6, 9)]
    assert cut.without(speech, [Span(3, 3)]) == [Span(1, 2.75), Span(3.25, 5), Span(6, 9)]
    assert cut.without(speech, [Span(4.9, 6.1), Span(8, 8.5)]) == [Span(1, 4.65), Span(6.35, 7.75), Span(8.75, 9)]
    assert cut.without(speech, [Span(5.4, 5.6)]) == speech
    assert cut.without(speech, []) == speech


def test_words_that_overlap_are_told_apart() -> None:
    words = (Word(0, 1.2, "One.", 1), Word(1.0, 2, "Two.", 1))
    first, second = of_words([Segment(words, True, {})], [])
    assert first.end == second.start == pytest.approx(1.1)


def test_words_of_two_who_speak_at_a_time() -> None:
    def said(*starts: float) -> Segment:
        return Segment(tuple(Word(at, at + 0.25, "so", None) for at in starts), True, {})

    units = of_words([said(1.0, 1.3, 4.0, 4.3), said(3.0, 3.3), said(6.3, 6.6)], [Span(0.9, 5.0), Span(6.2, 7.0)])
    times = [time for unit in units for time in (unit.start, unit.end)]
    assert times == sorted(times)
    assert sum(len(unit.words) for unit in units) == 8


def test_a_clip_is_split_at_its_longest_pause(recording: Recording, told: list[Segment]) -> None:
    units = tuple(of_words(told[:3], []))
    piece = cut.Piece(0.4, units[-1].end + 0.1, units)
    halves = split(recording.samples, piece)
    assert [unit for half in halves for unit in half.units] == list(units)
    gaps = [b.start - a.end for a, b in itertools.pairwise(units)]
    assert len(halves[0].units) == gaps.index(max(gaps)) + 1
    assert split(recording.samples, piece._replace(units=units[:1])) == []


def test_a_short_sound_is_heard_no_longer_than_it_is() -> None:
    net, calls = network(), []

    class Counted:
        reset_states = net.reset_states

        def __call__(self, *args: object) -> object:
            calls.append(args)
            return net(*args)

    sound = np.sin(np.arange(2 * RATE) / 20).astype(np.float32)
    assert len(speech(sound, Counted())) == 63
    assert len(calls) == 128 + 63  # after the context
