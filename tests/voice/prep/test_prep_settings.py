"""What is kept of recordings is found again, whatever settings are added."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from difftool.cli.options import parameters
from difftool.errors import DifftoolError
from difftool.settings import setting
from difftool.voice.prep import folder, stages
from difftool.voice.prep.plan import PrepPlan, Source, plan_prep, plan_prep_with
from difftool.voice.prep.settings import Settings, noted, reasons_of

GOLDEN = Path(__file__).parents[2] / "golden"
SOURCE = Source(Path("a.ogg"), "ab" * 32, None)


@dataclass(frozen=True)
class Later(Settings):
    """The settings of a version that has one more."""

    fade: float = setting(0.01, "Seconds.")


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    return Path(shutil.copy(GOLDEN / "speech.ogg", tmp_path / "talk.ogg"))


def by_pauses(talk: Path, **more: Any) -> PrepPlan:
    return plan_prep_with([talk], "me", "self", slice="vad", voices_dir=talk.parent, **more)


def test_keys_are_those_of_the_first_version(talk: Path) -> None:
    by_transcript = plan_prep_with(
        [talk], "me", "synthetic", transcripts=[GOLDEN / "speech.json"], voices_dir=talk.parent
    )
    assert stages.key_of(by_transcript, SOURCE) == "83c25aa7960728f20d0e2d60c70bc590"
    assert folder._key(by_transcript, [SOURCE])[:16] == "96b1fab2b0b752a2"
    other = by_pauses(talk, high_pass=80.0, allow=["reverb", "noise"])
    assert stages.key_of(other, SOURCE) == "f6d1c22918cb5be166ebfda5062b6e41"
    assert folder._key(other, [SOURCE])[:16] == "2dee9a6cc7f3146d"
    assert noted(other.settings) == {
        "slice": "vad",
        "whisper": None,
        "language": None,
        "verify": False,
        "high_pass": 80.0,
        "allow": ["noise", "reverb"],
    }


def test_a_setting_that_is_added_changes_keys_only_where_it_is_given(talk: Path) -> None:
    before = by_pauses(talk)
    after = [
        plan_prep([talk], "me", "self", Later(slice="vad", voices_dir=talk.parent, **more))
        for more in ({}, {"fade": 0.02}, {"threads": 1, "device": "cpu"})
    ]
    keys = [stages.key_of(one, SOURCE) == stages.key_of(before, SOURCE) for one in after]
    assert keys == [True, False, True]
    assert [folder._key(one, [SOURCE]) == folder._key(before, [SOURCE]) for one in after] == keys
    assert noted(after[1].settings)["fade"] == 0.02
    assert parameters(Later)[-1].name == "fade"  # an option of the command too


def test_reasons_are_typed_with_commas() -> None:
    assert reasons_of("noise, Too-Short") == ("noise", "too_short")
    assert reasons_of("") == ()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"high_pass": 5.0}, "from 10 to 1000 Hz, not 5"),
        ({"high_pass": 5000.0}, "from 10 to 1000 Hz, not 5000"),
        ({"allow": ["nois"]}, "did you mean 'noise'"),
        ({"transcripts": ["talk.srt"]}, "cannot use a transcript"),
    ],
)
def test_settings_that_do_not_fit(talk: Path, more: dict[str, Any], message: str) -> None:
    with pytest.raises(DifftoolError, match=message):
        by_pauses(talk, **more)
