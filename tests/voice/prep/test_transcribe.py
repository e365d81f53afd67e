"""What is said in a recording: from files, and by Whisper."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_whisper
import torch

from difftool.errors import DifftoolError
from difftool.voice.prep.activity import Span
from difftool.voice.prep.decode import decode
from difftool.voice.prep.transcribe import (
    GAP,
    PORTION,
    Transcript,
    Whisper,
    error_rate,
    found,
    known_language,
    over_speech,
    portions,
)
from difftool.voice.prep.words import Segment, Word, whole

SPEECH = Path(__file__).parents[2] / "golden" / "speech.ogg"
CPU = torch.device("cpu")
SRT = "1\n00:00:01,000 --> 00:00:02,500\nHello <i>there</i>,\nyou.\n\n2\n01:00:03,250 --> 01:00:05,000\nBye.\n"
VTT = "WEBVTT\n\n00:01.000 --> 00:02.500\nHello <b>there</b>,\nyou.\n\n01:00:03.250 --> 01:00:05.000\nBye.\n"
JSON = """{"text": "", "segments": [
 {"start": 1.0, "end": 2.5, "text": " Hello there, you.", "avg_logprob": -0.25, "no_speech_prob": 0.01},
 {"start": 3603.25, "end": 3605.0, "text": " Bye.",
  "words": [{"word": " Bye.", "start": 3603.3, "end": 3604.9, "probability": 0.9}]}]}"""


@pytest.mark.parametrize(
    ("name", "text"), [("a.srt", SRT), ("a.vtt", VTT), ("a.json", JSON), ("b.srt", "\ufeff" + SRT)]
)
def test_transcripts(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    first, second = Transcript(tmp_path / name).segments
    assert (first.start, first.end, first.text) == (1.0, pytest.approx(2.5), "Hello there, you.")
    assert [word.text for word in first.words] == ["Hello", "there,", "you."]
    assert first.words[1].end - first.words[1].start == pytest.approx(1.5 * 7 / 18)
    assert not first.exact
    assert second.text == "Bye."
    if name.endswith("json"):
        assert second.exact
        assert second.words[0] == (3603.3, 3604.9, "Bye.", 0.9)
        assert first.scores == {"avg_logprob": -0.25, "no_speech_prob": 0.01}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.srt", ""),
        ("a.srt", "this is no transcript"),
        ("a.vtt", "WEBVTT\n"),
        ("a.json", "{"),
        ("a.json", "[]"),
        ("a.json", '{"segments": []}'),
        ("a.json", '{"segments": [{"start": 0, "end": NaN, "text": "a"}]}'),
        ("a.json", '{"segments": [{"start": 0, "end": 1, "words": [{"word": "a", "start": 0, "end": Infinity}]}]}'),
        ("a.json", '{"segments": 7}'),
    ],
)
def test_what_is_no_transcript(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DifftoolError) as caught:
        Transcript(tmp_path / name)
    assert caught.value.code == 4


def test_a_transcript_of_another_kind_and_of_none(tmp_path: Path) -> None:
    for name, code in (("a.docx", 2), ("a.srt", 4)):
        with pytest.raises(DifftoolError) as caught:
            Transcript(tmp_path / name)
        assert caught.value.code == code


def test_whisper_hears_a_recording(tmp_path: Path) -> None:
    """A random one, by the path of a real one: its words lie within the recording, and are the same twice."""
    tiny_whisper.save(tmp_path / "whisper-tiny" / "tiny.pt")
    recording = decode(SPEECH, tmp_path / "raw")
    whisper = Whisper("tiny", CPU, "en", tmp_path)
    spans = [Span(0.5, 12.0), Span(20.0, 30.0)]
    heard = list(whisper(recording.samples, spans))
    assert heard
    for segment in heard:
        assert segment.exact
        assert set(segment.scores) == {"avg_logprob", "compression_ratio", "no_speech_prob", "temperature"}
        for word in segment.words:
            assert 0 <= word.start <= word.end
            assert any(span.start - 0.4 <= word.start <= span.end + 0.4 for span in spans)
            assert 0 <= (word.probability or 0) <= 1
    assert list(whisper(recording.samples, spans)) == heard
    assert isinstance(whisper.text_of(recording.samples[: 3 * 24_000]), str)


def test_threads_stay_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library that Whisper looks for the times of words with sets their number for the whole process."""

    def transcribe(*_: object, **more: object) -> dict[str, Any]:
        torch.set_num_threads(3)
        return {"segments": [], "language": "en"}

    tiny_whisper.save(tmp_path / "whisper-tiny" / "tiny.pt")
    whisper = Whisper("tiny", CPU, "en", tmp_path)
    monkeypatch.setattr(whisper.model, "transcribe", transcribe)
    before = torch.get_num_threads()
    assert whisper.text_of(np.zeros(24_000, np.float32)) == ""
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("damage", ["cut", "flip", "other", "code", "empty"])
def test_a_damaged_whisper(damage: str, tmp_path: Path) -> None:
    path = tiny_whisper.save(tmp_path / "tiny.pt")
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        path.write_bytes(data[:-3000] + bytes([data[-3000] ^ 1]) + data[-2999:])
    elif damage == "other":
        torch.save({"weights": torch.zeros(3)}, path)
    elif damage == "code":
        torch.save({"dims": CPU, "model_state_dict": Path}, path)
    else:
        path.write_bytes(b"")
    with pytest.raises(DifftoolError) as caught:
        _ = Whisper(str(path), CPU).model
    assert caught.value.code == 4


def test_where_whisper_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(DifftoolError, match="not installed") as caught:
        found("base", tmp_path)
    assert caught.value.code == 4
    assert "models pull whisper-base" in caught.value.hint
    own = tmp_path / "home" / ".cache" / "whisper" / "base.pt"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"its own place")
    path, sha256, heads = found("base", tmp_path)
    assert (path, len(sha256)) == (own, 64)
    assert heads
    with pytest.raises(DifftoolError, match="did you mean 'large-v") as caught:
        found("larg", tmp_path)
    assert caught.value.code == 2


def test_languages() -> None:
    assert [known_language(word) for word in ("en", "German", "de", None)] == ["en", "de", "de", None]
    with pytest.raises(DifftoolError) as caught:
        known_language("klingon")
    assert caught.value.code == 2


def test_portions_are_short_enough_and_have_no_long_silence() -> None:
    spans = [Span(12.0 * k + 0.1, 12.0 * k + 11.7) for k in range(60)] + [Span(800, 803)]
    made = portions(spans)
    assert made[0].start == 0.0  # there is no more room for a margin
    assert made[-1] == pytest.approx((799.7, 803.3))
    assert all(portion.seconds <= PORTION + 0.6 for portion in made)
    assert all(any(p.start <= s.start and s.end <= p.end for p in made) for s in spans)
    assert all(a.end <= b.start for a, b in pairwise(made))
    assert len(portions([Span(0, 1), Span(1 + GAP, 3 + GAP)])) == 2
    assert portions([]) == []


@pytest.mark.parametrize(
    ("heard", "text", "rate"),
    [("Hello, there!", "hello there", 0), ("hello", "hallo", 0.2), ("", "abcd", 1), ("abcdef", "abc", 1)],
)
def test_error_rate(heard: str, text: str, rate: float) -> None:
    assert error_rate(heard, text) == pytest.approx(rate)


def read(path: Path, text: str | bytes) -> Transcript:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Transcript(path)


def pieces(*texts: str) -> list[dict[str, object]]:
    """As Whisper tells them, a second each."""
    return [{"word": text, "start": k, "end": k + 1, "probability": 1 - k / 10} for k, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("heard", "words"),
    [
        ([" My", " well", "-known", " $3", ".50", " at", " 9", ":30", " p", ".m."], "My|well-known|$3.50|at|9:30|p.m."),
        ([" 10", ",000", " at", " 50", "%."], "10,000|at|50%."),
        ([" Aujourd", "'hui,", " c", "'est", " l", "'été"], "Aujourd'hui,|c'est|l'été"),
        (["今天", "天", "气", "很好，", "有", "10", ",000", "人。"], "今天|天|气|很好，|有|10,000|人。"),
        (["ไป", "ไหน", " มา"], "ไป|ไหน| มา"),
        (["一", " Python", "的"], "一| Python|的"),
    ],
)
def test_words_are_whole(heard: list[str], words: str, tmp_path: Path) -> None:
    segment = {"start": 0, "end": 9, "text": "".join(heard), "words": pieces(*heard)}
    for text in (segment, segment | {"text": ""}):
        found = read(tmp_path / "a.json", json.dumps({"segments": [text]})).segments[0]
        assert [word.text for word in found.words] == words.split("|")
        assert found.text == "".join(heard).strip()
        assert (found.words[0].start, found.words[-1].end) == (0, len(heard))


def test_a_whole_word_lasts_as_long_as_its_pieces(tmp_path: Path) -> None:
    segment = {"start": 0, "end": 3, "text": " a 10,000", "words": pieces(" a", " 10", ",000")}
    words = read(tmp_path / "a.json", json.dumps({"segments": [segment]})).segments[0].words
    assert words == ((0, 1, "a", 1), (1, 3, "10,000", 0.8))


WORDS = [{"word": "Hello", "start": 0, "end": 1}, {"word": "you", "start": 2, "end": 3}]
TIMED = [("Hello,", 0, 1), ("you.", 2, 3)]


@pytest.mark.parametrize(
    ("value", "language", "words"),
    [
        ({"segments": [{"start": 0, "end": 3, "text": "Hello, you.", "words": WORDS}], "language": "en"}, "en", TIMED),
        (
            {"segments": [{"start": 0, "end": 3, "text": " Hello, you."}], "words": WORDS, "language": "english"},
            "en",
            TIMED,
        ),
        ({"text": "Hello, you.", "words": WORDS}, None, TIMED),
        ([{"start": 0, "end": 3, "text": " Hello, you.", "words": WORDS}], None, TIMED),
        (
            {"chunks": [{"text": " Hello,", "timestamp": [0, 1]}, {"text": " you.", "timestamp": [2, 3]}]},
            None,
            TIMED,
        ),
        (
            {
                "result": {"language": "fr"},
                "transcription": [
                    {"offsets": {"from": 0, "to": 500}, "text": " Hel"},
                    {"offsets": {"from": 500, "to": 1000}, "text": "lo,"},
                    {"offsets": {"from": 2000, "to": 3000}, "text": " you."},
                ],
            },
            "fr",
            TIMED,
        ),
        (  # WhisperX has no times for numbers
            {
                "segments": [
                    {
                        "start": 0,
                        "end": 9,
                        "text": " in 16, I",
                        "words": [WORDS[0] | {"word": "in"}, {"word": "16,"}, WORDS[1] | {"word": "I"}],
                    }
                ]
            },
            None,
            [("in", 0, 1), ("16,", 1, 2), ("I", 2, 3)],
        ),
    ],
)
def test_json_of_others(
    value: object, language: str | None, words: list[tuple[str, float, float]], tmp_path: Path
) -> None:
    found = read(tmp_path / "a.json", json.dumps(value))
    assert found.heard_language == language
    assert [(word.text, word.start, word.end) for segment in found.segments for word in segment.words] == words


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.json", '{"results": {}}', "no segments in the format of Whisper"),
        ("a.json", '{"segments": [{"text": "a", "words": [{"word": "a"}]}]}', "words without times"),
        ("a.json", "{", "not JSON"),
        ("a.srt", SRT.replace("Hello", "Привет, друзья").encode("cp1251"), "neither UTF-8 nor UTF-16"),
        ("a.srt", SRT.replace("Hello", "zażółć").encode("cp1250"), "neither UTF-8 nor UTF-16"),
        ("a.srt", SRT.replace("Hello", "今天天气很好").encode("gbk"), "neither UTF-8 nor UTF-16"),
        ("a.srt", bytes(range(256)), "neither UTF-8 nor UTF-16"),
    ],
)
def test_why_a_transcript_cannot_be_read(name: str, text: str | bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(DifftoolError, match=says) as caught:
        read(tmp_path / name, text)
    assert caught.value.code == 4


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    found = read(tmp_path / "a.srt", SRT.replace("Hello", "Là-bas, l’été").encode(encoding))
    assert found.segments[0].text == "Là-bas, l’été there, you."
    assert bool(found.warnings) == (encoding == "cp1252")


@pytest.mark.parametrize(
    ("name", "text", "language"),
    [
        ("talk.srt", SRT, None),
        ("talk.fr.srt", SRT, "fr"),
        ("talk.pt-BR.srt", SRT, "pt"),
        ("talk.ger.srt", SRT, "de"),
        ("talk.en.forced.srt", SRT, "en"),
        ("talk.v2.srt", SRT, None),
        ("talk.vtt", VTT.replace("WEBVTT", "WEBVTT\nKind: captions\nLanguage: fr-CA"), "fr"),
        ("talk.json", JSON.replace('"text": "",', '"text": "", "language": "German",'), "de"),
        ("talk.json", JSON.replace('"text": "",', '"text": "", "language": "klingon",'), None),
    ],
)
def test_the_language_of_a_transcript(name: str, text: str, language: str | None, tmp_path: Path) -> None:
    assert read(tmp_path / name, text).heard_language == language
    assert Transcript(tmp_path / name, "nl").heard_language == "nl"


def cue(text: str) -> str:
    return f"WEBVTT\n\n00:01.000 --> 00:02.500\n{text}\n\n00:03.000 --> 00:04.000\nBye.\n"


@pytest.mark.parametrize(
    ("shown", "spoken"),
    [
        ("Tom &amp; Jerry&#39;s&nbsp;river", "Tom & Jerry's river"),
        ("&gt;&gt; Nobody", "Nobody"),
        (">>> JOHN: Hi. >> MARY: Yes.", "Hi. Yes."),
        ("[rain] NARRATOR: The river. ♪", "The river."),
        ("♪ la la ♪", "la la"),
        ("- Hello.\n- DR. SMITH (V.O.): No.", "Hello. No."),
        ("-5 degrees", "-5 degrees"),
        ("(applause)\nSo it (which is true) ends. (laughs)", "So it (which is true) ends."),
        ("(DOOR SLAMS) Who is it?", "Who is it?"),
        ("[door\nopens] so", "so"),
        ("falls on] so [thunder", "so"),
        ("【音楽】（笑）はい", "はい"),
        ("<v Roger Bingham><c.red>New</c> <i>York</i> {\\an8}now", "New York now"),
        ("&lt;i&gt;now&lt;/i&gt; a &lt; b", "now a < b"),
        ("a<00:01.100><c> b</c><00:01.300><c> c</c>", "a b c"),
        ("[SPEAKER_00]: yes", "yes"),
        ("Speaker 1: yes", "yes"),
        ("Remember: at 10:05", "Remember: at 10:05"),
        ("1984", "1984"),
        ("WARNING: hot", "WARNING: hot"),
        ("We are # 1", "We are # 1"),
        ("»Hallo«, sagte er.", "»Hallo«, sagte er."),
        ("» Bonjour", "Bonjour"),
        ("the World Health Organization (WHO) says", "the World Health Organization (WHO) says"),
        ("Hi (BEEP) there", "Hi there"),
    ],
)
def test_what_a_subtitle_holds_besides_speech(shown: str, spoken: str, tmp_path: Path) -> None:
    assert read(tmp_path / "a.vtt", cue(shown)).segments[0].text == spoken


def test_names_that_come_again_are_who_speaks(tmp_path: Path) -> None:
    text = cue("Bob: Hi.") + "\n00:05.000 --> 00:06.000\nBob: Note: it is late.\n"
    assert [segment.text for segment in read(tmp_path / "a.vtt", text).segments] == ["Hi.", "Bye.", "Note: it is late."]


def test_words_before_a_colon_that_come_again_are_said(tmp_path: Path) -> None:
    text = cue("So: Hi.") + "\n00:05.000 --> 00:06.000\nSo: it is late.\n"
    assert [segment.text for segment in read(tmp_path / "a.vtt", text).segments] == [
        "So: Hi.",
        "Bye.",
        "So: it is late.",
    ]


def test_notes_and_styles_of_a_vtt(tmp_path: Path) -> None:
    block = "STYLE\n::cue { color: red }\n\nNOTE to whom\nit concerns\n\nintro\n00:01"
    text = cue("Hello.").replace("00:01", block).replace("00:03", "NOTE more\n\n2\n00:03")
    assert [segment.text for segment in read(tmp_path / "a.vtt", text).segments] == ["Hello.", "Bye."]


def test_rolling_captions_are_said_once(tmp_path: Path) -> None:
    cues = [
        ("00.000", "02.550", " \nhello<00:00:01.000><c> there</c><00:00:02.000><c> you</c>"),
        ("02.550", "02.560", "hello there you\n "),
    ]
    cues += [("02.560", "05.000", "hello there you\nmy<00:00:03.000><c> name</c>"), ("05.000", "05.010", "my name\n ")]
    cues += [("05.010", "07.000", "my name\n[Music]")]
    text = "WEBVTT\n\n" + "\n\n".join(f"00:00:{a} --> 00:00:{b} align:start\n{shown}" for a, b, shown in cues)
    first, second = read(tmp_path / "a.vtt", text).segments
    assert (first.start, first.end, first.text) == (0, pytest.approx(2.55), "hello there you")
    assert (second.start, second.end, second.text) == (2.56, pytest.approx(5), "my name")


def test_a_word_that_happens_to_come_again_is_said_again(tmp_path: Path) -> None:
    text = cue("I like it").replace("Bye.", "it is good") + "\n00:05.000 --> 00:06.000\nso there\n"
    assert [segment.text for segment in read(tmp_path / "a.vtt", text).segments] == [
        "I like it",
        "it is good",
        "so there",
    ]


def test_a_cue_without_length_lasts_until_the_next_one(tmp_path: Path) -> None:
    found = read(tmp_path / "a.vtt", cue("Hello.").replace("00:02.500", "00:01.000")).segments
    assert (found[0].start, found[0].end, found[0].text) == (1, 3, "Hello.")


def test_what_is_said_over_silence_is_left_out(tmp_path: Path) -> None:
    told = read(tmp_path / "a.vtt", cue("Thanks for watching!")).segments
    kept, warning = over_speech(told, [Span(0.0, 1.05), Span(2.9, 4.0)])
    assert [segment.text for segment in kept] == ["Bye."]
    assert "Thanks for watching!" in (warning or "")
    assert over_speech(told, [Span(1.5, 4.0)]) == (told, None)


def test_words_between_two_segments_are_kept(tmp_path: Path) -> None:
    words = [{"word": word, "start": at, "end": at + 0.3} for word, at in (("Hello", 0.0), ("you", 2.3), ("Bye", 3.0))]
    segments = [{"start": 0, "end": 2.2, "text": " Hello, you."}, {"start": 2.7, "end": 4, "text": " Bye."}]
    told = read(tmp_path / "a.json", json.dumps({"segments": segments, "words": words}))
    assert [segment.text for segment in told.segments] == ["Hello, you.", "Bye."]


def test_no_text_is_no_word(tmp_path: Path) -> None:
    segments = [{"start": 0, "end": 1, "text": None}, {"start": 1, "end": 2, "text": "Hi."}]
    assert [one.text for one in read(tmp_path / "a.json", json.dumps({"segments": segments})).segments] == ["Hi."]


def test_a_moment_in_speech_is_said() -> None:
    told = [Segment((Word(at, at, "Yes.", None),), True, {}) for at in (5.0, 9.0)]
    kept, warning = over_speech(told, [Span(4.0, 6.0)])
    assert kept == told[:1]
    assert warning is not None


def test_long_transcripts_are_read_at_once() -> None:
    words = tuple(Word(at / 2, at / 2 + 0.4, f" word{at}", None) for at in range(20_000))
    began = time.process_time()
    assert whole(words, "".join(word.text for word in words))[-1] == words[-1]._replace(text="word19999")
    told = [Segment((word,), True, {}) for word in words]
    assert over_speech(told, [Span(word.start, word.end) for word in words]) == (told, None)
    assert time.process_time() - began < 8  # seconds; quadratic, it took a minute
