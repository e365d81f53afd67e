"""The model of shapes in the package: that it draws what it is told, and draws it everywhere alike."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from shape_reader import read, right

from difftool.core.noise import START, Noise
from difftool.models import ASSETS
from difftool.text2img.draw import draw_pictures, txt2img
from difftool.text2img.session import Session, plan_prompt_with
from difftool.text2img.vocabulary import vocabulary
from difftool.train.data.shapes import Scene, draw_set, drawn, is_held_out

HOME = ASSETS / "shapes"
CAPTION = "a red circle on a blue ground"
GOLDEN = Path(__file__).parent.parent / "golden" / "shapes.npy"


@pytest.fixture(scope="module")
def session() -> Session:
    return Session(device="cpu", dtype="fp32")


def test_the_reader_reads_real_pictures() -> None:
    pixels, scenes = draw_set(300, held=True, seed=2)
    found = [right(what, picture) for what, picture in zip(scenes, pixels, strict=True)]
    assert all(one.what and one.where is not False for one in found)


def test_the_reader_sees_what_is_wrong() -> None:
    said = Scene((("red", "star", "at the left"),), "blue")
    others = [
        Scene((("red", "cross", "at the left"),), "blue"),
        Scene((("pink", "star", "at the left"),), "blue"),
        Scene((("red", "star", "at the left"),), "green"),
        Scene((("red", "star", "at the left"), ("white", "ring", "at the right")), "blue"),
        Scene((("red", "star", "at the left"), ("red", "ring", "at the right")), "blue"),
        Scene((), "blue"),
    ]
    for k, other in enumerate(others):
        assert not right(said, drawn(other, np.random.default_rng(k))).what, other
    elsewhere = Scene((("red", "star", "at the top"),), "blue")
    assert right(said, drawn(elsewhere, np.random.default_rng(0))) == (True, False)
    murky = drawn(said, np.random.default_rng(0)).copy()
    for grey in (108, 200):
        murky[40:60, 30:60] = grey
        assert not right(said, murky).what
    assert not right(said, np.full_like(murky, 128)).what


def test_captions_never_trained_on(session: Session) -> None:
    """40 others than the 500 of `bench/shapes.py read`, with bounds below what chance makes of its 95 and 90 %."""
    _, scenes = draw_set(40, held=True, seed=3)
    found = [right(one, txt2img(one.caption, session, seed=k)[0]) for k, one in enumerate(scenes)]
    assert sum(one.what for one in found) >= 32
    assert sum(one.where is not False for one in found) >= 31


def test_a_negative_prompt_removes_what_it_names(session: Session) -> None:
    def colours(against: str | None = None) -> Counter[str]:
        made = txt2img("a star on a blue ground", session, negative=against, count=16)
        return Counter(colour for pixels in made for colour in read(pixels)[1])

    ((colour, without),) = colours().most_common(1)
    assert without >= 8
    assert colours(f"a {colour} star on a blue ground")[colour] <= without / 4


def test_diffusers_draws_the_same(session: Session) -> None:
    """As our engine, and in the stock environment, with diffusers of 2024, as here: a picture is stored, made by
    `bench/shapes.py golden`."""
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(str(HOME), safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    assert {part.dtype for part in (pipe.unet, pipe.vae, pipe.text_encoder)} == {torch.float32}
    start = Noise([0], (4, 16, 16))(START)
    theirs = pipe(CAPTION, latents=start, num_inference_steps=20, guidance_scale=3.0, output_type="np").images[0]
    ours = txt2img(CAPTION, session, sampler="ddim", steps=20, guidance=3.0)[0]
    for picture in (ours, np.load(GOLDEN)):
        assert np.abs(theirs * 255 - picture).max() <= 1


def test_its_size_and_its_captions() -> None:
    assert sum(path.stat().st_size for path in HOME.rglob("*") if path.is_file()) <= 12_000_000
    captions = (Path(__file__).parents[2] / "docs" / "shapes.txt").read_text().splitlines()
    assert len(captions) == 12
    assert all(map(is_held_out, captions))


def test_what_it_starts_from(session: Session) -> None:
    settings = plan_prompt_with(session, "a red circle on a blue ground").settings
    assert (settings.model, settings.steps, settings.size) == ("shapes", 16, (64, 64))
    assert settings.guidance is not None and settings.guidance > 1


def test_words_it_was_never_told_of(session: Session, caplog: pytest.LogCaptureFixture) -> None:
    plan_prompt_with(session, "a red circle on a blue ground", negative="a star")
    assert not caplog.records
    plan_prompt_with(session, "a red house, (huge:1.2), on a blue ground", negative="a blurry star")
    assert [record.getMessage() for record in caplog.records] == [
        "unknown words for shapes: house, huge, blurry; see difftool txt2img --help for its vocabulary"
    ]


def test_a_folder_of_that_name_is_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(HOME, tmp_path / "shapes")
    monkeypatch.chdir(tmp_path)
    assert Session("shapes", device="cpu").pipeline.source == "shapes"
    other = Session("./shapes", device="cpu").pipeline
    assert (other.source, other.kind) == (str(tmp_path / "shapes"), "sd")
    assert Session(Path("shapes"), device="cpu").pipeline.source == other.source


def test_help_names_every_word(difftool: Callable[..., Any]) -> None:
    told = " ".join(difftool("txt2img", "--help").out.split())
    told = re.search(r"Words that shapes knows: (.*?)\.", told)
    assert told is not None
    assert {word for part in vocabulary().values() for phrase in part for word in phrase.split()} <= {
        *re.findall(r"\w+", told[1])
    }


def test_a_step_shows_the_first_picture_as_it_is_estimated(session: Session) -> None:
    shown = []

    def track(items: Iterable[Any], total: int, label: str = "") -> Iterator[Any]:
        for step in items:
            shown.append(step.preview and step.preview())
            yield step

    ((_, picture),) = draw_pictures(plan_prompt_with(session, CAPTION, steps=6), track=track)
    assert [pixels.shape for pixels in shown[:-1]] == [(64, 64, 3)] * 5 and shown[-1] is None
    assert np.corrcoef(shown[-2].ravel(), picture.ravel())[0, 1] > 0.8
