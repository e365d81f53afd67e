from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from difftool.errors import DifftoolError, Exit
from difftool.settings import setting
from difftool.text2img.prompts import Prompt, lines, parse_prompt, settings_of
from difftool.text2img.settings import Settings


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a cat", [("a cat", 1.0)]),
        ("a (red:1.3) cat", [("a ", 1.0), ("red", 1.3), (" cat", 1.0)]),
        ("(a) b", [("a", 1.1), (" b", 1.0)]),
        ("((a))", [("a", pytest.approx(1.21))]),
        ("(a (b:2) c:0.5)", [("a ", 0.5), ("b", 1.0), (" c", 0.5)]),
        (r"a \(b\) \[c\] \\", [("a (b) [c] \\", 1.0)]),
        ("(cat: a story)", [("cat: a story", 1.1)]),
        ("(a:-0.5)", [("a", -0.5)]),
        ("12:30, 4:3", [("12:30, 4:3", 1.0)]),
    ],
)
def test_brackets_weigh(text: str, pieces: list[tuple[str, float]]) -> None:
    assert list(parse_prompt(text).pieces) == pieces


def test_a_lora_is_named() -> None:
    assert parse_prompt("a cat <lora:paper cut:0.8> <lora:ink>") == Prompt(
        (("a cat  ", 1.0),), (("paper cut", 0.8), ("ink", 1.0))
    )


@pytest.mark.parametrize(
    "text", ["", "  ", "()", "(a", "a)", ")(", "[a]", "[a:b:0.5]", "(a:999)", "<lora:x:y> a", "<lora:x>"]
)
def test_what_is_no_prompt(text: str) -> None:
    with pytest.raises(DifftoolError) as found:
        parse_prompt(text)
    assert found.value.code == Exit.USAGE


@pytest.mark.parametrize(
    "text",
    [
        *(
            "red hair BREAK blue dress",
            "a cat AND a dog",
            "a cat :1.2 AND\na dog",
            "\u732b AND \u72ac",
            "a cat AND_PERP b",
            "UHD, 8K BREAK RAW photo",
            "HDR,\nBREAK\nRAW photo",
            "a cat :1.2 AND 3 dogs",
        ),
        *(
            "{a|b} cat",
            "{{a}} cat",
            "a }",
            "a {2$$b|c}",
            "<lyco:x:1> a",
            "<hypernet:x> a",
            "<embedding:x> a",
            "<lora:x a",
        ),
        *("a <random:b,c>", "embedding:easy, a", "a __colour__ cat", "(a:1,3)", "(a:1.2.3)", "(a:130%)", "(a:1.3,)"),
        *("a (b)1.3", "(b)++, a", '("a", "b").blend(0.5, 0.5)', "a cat --ar 16:9", "[a]", "[a:b:0.5]", "[a|b]"),
    ],
)
def test_what_means_something_elsewhere_is_refused(text: str) -> None:
    for empty in (False, True):
        with pytest.raises(DifftoolError) as found:
            parse_prompt(text, empty=empty)
        assert found.value.code == Exit.USAGE


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("SALT AND PEPPER", None),
        ("a sign that says SALT AND PEPPER", None),
        ("TAKE A BREAK", None),
        ("a brand, a band and a sand break", None),
        ("<3 hearts, a < b > c, x | y", None),
        ("well -- known, snake_case, my__name", None),
        (r"an \AND gate \{a\}", "an AND gate {a}"),
        ("(chapter 3: 1,000 soldiers), (red)-haired", "chapter 3: 1,000 soldiers, red-haired"),
    ],
)
def test_what_means_itself(text: str, plain: str | None) -> None:
    assert parse_prompt(text).plain == (plain or text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse_prompt(text)
    except DifftoolError as error:
        assert error.code == Exit.USAGE
        return
    assert found.plain.strip()
    if not set(text) & set("()[]\\<"):
        assert found.pieces == ((text, 1.0),)


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ("a red circle", {"prompt": "a red circle"}),
        ("a b --steps 10 --seed=3", {"prompt": "a b", "steps": 10, "seed": 3}),
        ("a -n 'blue, \"text\"' --cfg 0", {"prompt": "a", "negative": 'blue, "text"', "guidance": 0.0}),
        ("--prompt 'a b' --size 64x48", {"prompt": "a b", "size": "64x48"}),
        ('{"prompt": "a, b", "clip-skip": 2}', {"prompt": "a, b", "clip_skip": 2}),
        ("well-known - and 3 - 2", {"prompt": "well-known - and 3 - 2"}),
    ],
)
def test_a_line_says_more_than_its_prompt(line: str, settings: dict) -> None:
    assert settings_of(line) == settings


@pytest.mark.parametrize(
    "line",
    [
        "a --stps 3",
        "a --steps",
        "a --steps x",
        "a --steps 2.5",
        "--steps 3",
        "a -n 'x",
        "{",
        '{"steps": 3}',
        "a --steps 3 4",
        '{"prompt": 3}',
        '{"prompt": "a", "steps": 2.5}',
        '{"prompt": "a", "seed": true}',
    ],
)
def test_a_line_that_says_nothing(line: str) -> None:
    with pytest.raises(DifftoolError) as found:
        settings_of(line)
    assert found.value.code == Exit.USAGE


def test_a_setting_that_prompts_may_have_is_an_option_of_lines() -> None:
    @dataclass(frozen=True)
    class Wider(Settings):
        tiled: bool = setting(False, "In tiles.", "--tiled", "-t", per_prompt=True)
        shared: int = setting(0, "Of all prompts.")

    for text, value in (("true", True), ("False", False)):
        assert settings_of(f"a -t {text} --init x.png", Wider) == {
            "prompt": "a",
            "tiled": value,
            "init": Path("x.png"),
        }
    assert settings_of('{"prompt": "a", "tiled": true}', Wider) == {"prompt": "a", "tiled": True}
    for line in ("a --tiled 1", '{"prompt": "a", "tiled": 1}', "a --shared 3", "a --model sd15"):
        with pytest.raises(DifftoolError) as found:
            settings_of(line, Wider)
        assert found.value.code == Exit.USAGE


def test_lines_are_numbered() -> None:
    assert list(lines("# head\n\na\n  b \n")) == [(3, "a"), (4, "b")]
