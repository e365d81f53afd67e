"""English text as the teacher of the voice reads it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difftool.models import ASSETS
from difftool.voice.engines.mini.phonemes import SYMBOLS, phonemes, unspoken
from difftool.voice.text import spoken

READ = [
    ("Hello there.", "həlˈO ðˈɛɹ."),
    # by what follows
    ("the apple, the house", "ði ˈæpᵊl, ðə hˈWs"),
    ("to end, to start, to.", "tʊ ˈɛnd, tə stˈɑɹt, tu."),
    ("a box in a house", "ɐ bˈɑks ɪn ɐ hˈWs"),
    ("an apple", "ɐn ˈæpᵊl"),
    ("vitamin A.", "vˈITəmən ˈA."),
    ("I am late, I am.", "ˌI ɐm lˈAt, ˌI æm."),
    ("come in, in time", "kˈʌm ˈɪn, ɪn tˈIm"),
    ("I used to; it is used to.", "ˌI jˈust tu; ɪt ɪz jˈuzd tu."),
    ("He can. He can go.", "hˌi kˈæn. hˌi kæn ɡˌO."),
    ("that is what that man said that he saw", "ðˈæt ɪz wˌʌt ðˈæt mˈæn sˈɛd ðæt hi sˈɔ"),
    # endings
    ("copied", "kˈɑpid"),
    ("unpicked, unpotted, unpitying", "ˌʌnpˈɪkt, ʌnpˈɑTᵻd, ˌʌnpˈɪTiɪŋ"),
    ("the dogs' and Peter's", "ðə dˈɔɡz ænd pˈiTəɹz"),
    # compounds, letters, contractions, accents
    ("twenty-four state-of-the-art x-rays", "twˈɛntifˌɔɹ stˈAtʌvðiˈɑɹt ˈɛksɹˌAz"),
    ("the U.S., NASA and the BBC at five p.m. sharp", "ðə jˌuˈɛs, nˈæsə ænd ðə bˌibˌisˈi æt fˈIv pˌiˈɛm ʃˈɑɹp"),
    ("YouTube, PCs", "jˈutˌub, pˌisˈiz"),
    ("THE PARTS DO NOT", "ðə pˈɑɹts dˈu nˈɑt"),
    ("AT and T, GPUs, mp three", "ˌAtˈi ænd tˈi, ʤˌipˌijˈuz, ˌɛmpˈi θɹˈi"),
    ("www, zzkt's", "dˌʌbᵊljudˌʌbᵊljudˈʌbᵊlju, zˌizˌikˌAtˈiz"),
    ("shouldn't've", "ʃˈʊdᵊntəv"),
    ("well-worn, twelve-year-old", "wˌɛlwˈɔɹn, twˈɛlvjˌɪɹˈOld"),
    ("they'll don't I'd you're 'em", "ðAl dˈOnt ˌId jʊɹ əm"),
    ("Café Noël", "kæfˈA nOˈɛl"),
    ("Mr. Smith", "mˈɪstəɹ smˈɪθ"),
]


@pytest.mark.parametrize(("text", "right"), READ)
def test_reading(text: str, right: str) -> None:
    assert phonemes(text) == right


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [
        ("I read it to her yesterday", "I will read it", "read"),
        ("the use of it", "to use it", "use"),
        ("close the door", "a close friend", "close"),
        ("the record is old", "we must record it", "record"),
        ("this object is blue", "they object to it", "object"),
        ("the present", "he will present it", "present"),
        ("the wind", "to wind it", "wind"),
        ("people live here", "a live show", "live"),
        ("a tear", "don't tear it", "tear"),
        ("separate rooms", "to separate them", "separate"),
    ],
)
def test_a_word_with_two_readings(first: str, second: str, word: str) -> None:
    one, other = (phonemes(text).split()[text.lower().split().index(word)] for text in (first, second))
    assert one != other


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ('"Yes," he said - (no) ...', "jˈɛs, hi sˈɛd, nˈO..."),
        ("Well... yes", "wˈɛl... jˈɛs"),
        ("What?! No!!", "wˌʌt?! nˈO!"),
        ("One; two: three", "wˈʌn; tˈu: θɹˈi"),
        ("...yes", "jˈɛs"),
        ("in the U.S.", "ɪn ðə jˌuˈɛs."),
        ("example.com", "ɪɡzˈæmpəl dˈɑt kˈɑm"),
        ("and/or", "ænd ɔɹ"),
        ("", ""),
    ],
)
def test_marks(text: str, right: str) -> None:
    assert phonemes(text) == right


def test_what_cannot_be_said_is_named_and_left_out() -> None:
    assert unspoken("Say 你好, Привет and café, 你好! 😀") == ["你好", "Привет", "😀"]
    assert phonemes("Say 你好, Привет!") == "sˈA!"
    assert unspoken("👍🏽 👨\u200d👩\u200d👧 ❤\ufe0f हिन्दी 🇩🇪 ♥→a") == [
        "👍🏽",
        "👨\u200d👩\u200d👧",
        "❤\ufe0f",
        "हिन्दी",
        "🇩🇪",
        "♥→",
    ]
    assert unspoken("² ¹ µ a~b <c> ^ \\ $ † ©") == ["²", "¹", "µ", "~", "<", ">", "^", "\\", "$", "†", "©"]
    assert unspoken('"q" “q” ‘q’ (a) [b] {c} *d* _e_ f/g - — ¿Qué? ¡Sí! » e\u0301 so\u00adft ʻokina ‼ |') == []
    assert unspoken("ＡＢ ﬁne naïve Łódź straße") == []


def test_an_unknown_word_has_a_stress() -> None:
    for word in ("blorf", "zorblaxian", "Quendrith's", "banana" * 90):
        assert "ˈ" in phonemes(word)


@given(st.text(max_size=60))
@settings(max_examples=40, deadline=None)
def test_any_text_becomes_symbols(text: str) -> None:
    assert set(phonemes(text)) <= set(SYMBOLS)


def test_numbers_dates_and_money() -> None:
    said = phonemes(spoken("On March 3, 2021 it cost $12.50, or 3/4 of £20."))
    assert said.startswith("ˌɔn mˈɑɹʧ θˈɜɹd, twˈɛnti twˌɛntiwˈʌn ɪt kˈɔst twˈɛlv dˈɑləɹz")


def test_a_stress_stands_before_a_vowel() -> None:
    for word in ("speetroiskoift", "clowm", "zorblaxian", "blou"):
        assert not re.search(r"[ˈˌ](?![AIOWYiuæɑɔəɛɜɪʊʌᵻ])", phonemes(word))


def test_the_symbols() -> None:
    assert len(SYMBOLS) == len(set(SYMBOLS)) == 53


def test_the_lexicon_is_small() -> None:
    assert (ASSETS / "mini" / "lexicon.xz").stat().st_size <= 1_200_000


@pytest.mark.parametrize(
    ("text", "same"),
    [("soft\u00adhy\u00adphen", "softhyphen"), ("don\u00b4t", "don't"), ("x\u2011ray", "x-ray"), ("l\u0300a", "la")],
)
def test_signs_that_are_not_seen_or_have_another_form(text: str, same: str) -> None:
    assert phonemes(text) == phonemes(same)
