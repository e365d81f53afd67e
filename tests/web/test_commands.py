"""Settings as command lines."""

from __future__ import annotations

import pytest

from difftool.errors import DifftoolError
from difftool.pixels.settings import Settings as Sample
from difftool.settings import kinds, options
from difftool.text2img.settings import Settings as Pictures
from difftool.voice.engines import united
from difftool.voice.settings import Settings as Speech
from difftool.web.commands import KINDS, line_of, settings_in
from difftool.web.errors import shareable

CLASSES = {"speech": (Speech, united()), "pictures": (Pictures,), "sample": (Sample,)}


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_page_may_set_is_an_option_and_no_file(kind: str) -> None:
    known = {name: str(kinds(cls)[name]) for cls in CLASSES[kind] for name in options(cls)}
    assert {*KINDS[kind].settings} <= {*known}
    assert [name for name in KINDS[kind].settings if "Path" in known[name]] in ([], ["model"])


def test_a_value_is_one_word() -> None:
    settings = {"text": "--output=x", "voice": "a b", "seed": -3, "speed": 1.5, "preset": None}
    line = line_of("speech", settings, {})
    assert line.words() == ["voice", "clone", "--voice=a b", "--seed=-3", "--speed=1.5", "--", "--output=x"]
    assert line.typed == "difftool voice clone '--voice=a b' --seed=-3 --speed=1.5 -- --output=x"


def test_only_what_a_job_may_have_is_taken_from_a_file() -> None:
    stored = {"text": "\ud800", "voice": "x" * 300_000, "speed": float("nan"), "seed": True, "steps": [3], "top_k": 5}
    assert settings_in({"command": "voice clone", "settings": stored}, {}) == ("speech", {"top_k": 5})


@pytest.mark.parametrize(
    ("text", "message"), [("a\x1b[2J", "control characters"), ("a" * 200_001, "more than 200,000")]
)
def test_a_text_that_cannot_be_spoken_is_refused(text: str, message: str) -> None:
    with pytest.raises(DifftoolError, match=f"text has {message}"):
        line_of("speech", {"text": text}, {})


def test_a_model_is_called_by_its_name() -> None:
    assert line_of("sample", {"model": "mine"}, {"mine": "outputs/train/mine"}).arguments == ("outputs/train/mine",)
    with pytest.raises(DifftoolError, match="did you mean 'mine'"):
        line_of("sample", {"model": "mined"}, {"mine": "x"})


def test_settings_of_a_manifest_fit_the_form() -> None:
    note = {"command": "txt2img", "item": {"index": 1, "seed": 8}}
    stored = {"prompt": "x", "size": [64, 32], "seed": 7, "count": 4, "device": "cpu", "model": "shapes", "init": "/x"}
    kind, settings = settings_in({**note, "settings": stored}, {"pictures": {"shapes": "shapes"}}) or ("", {})
    assert kind == "pictures"
    assert settings == {"prompt": "x", "size": "64x32", "seed": 8, "count": 1, "model": "shapes"}
    assert settings_in({"command": "train", "settings": {}}, {}) is None


@pytest.mark.parametrize(
    ("text", "shared"),
    [
        ("cannot read /home/me/x y: no", "cannot read x y: no"),
        ("there is no voice 'x' in /data/voices", "there is no voice 'x' in voices"),
        ("see https://example.org/a/b", "see https://example.org/a/b"),
        ("1/2 of outputs/sample/x", "1/2 of outputs/sample/x"),
        ("/usr/bin/python -m pip", "python -m pip"),
    ],
)
def test_messages_do_not_tell_folders(text: str, shared: str) -> None:
    assert shareable(text) == shared
