"""The captioned shapes: their grammar, and that the pictures show what the captions say."""

from __future__ import annotations

import re

import numpy as np

from difftool.text2img.vocabulary import GRAMMAR, unknown_words, vocabulary
from difftool.train.data.shapes import CENTRES, SIDE, Scene, draw_set, drawn, is_held_out, scene

WORDS = vocabulary()


def test_the_vocabulary_is_large_enough() -> None:
    assert len(WORDS["colours"]) >= 8
    assert len(WORDS["shapes"]) >= 5
    assert len(WORDS["places"]) >= 5
    assert set(WORDS["places"]) == set(CENTRES)
    colours = np.array([*WORDS["colours"].values()], dtype=float)
    apart = [np.linalg.norm(a - b) for k, a in enumerate(colours) for b in colours[:k]]
    assert min(apart) > 60


def test_captions_follow_the_grammar() -> None:
    colour, shape, place = ("|".join(WORDS[kind]) for kind in ("colours", "shapes", "places"))
    thing = rf"an? ({colour}) ({shape})( ({place}))?"
    grammar = re.compile(rf"{thing}( and {thing})? on an? ({colour}) ground")
    rng = np.random.default_rng(0)
    captions = [scene(rng).caption for _ in range(500)]
    assert all(grammar.fullmatch(caption) for caption in captions)
    assert not any(re.search(r"\ba [aeiou]|\ban [^aeiou]", caption) for caption in captions)
    assert 150 < sum(" and " in caption for caption in captions) < 350


def test_words_that_no_caption_has() -> None:
    _, scenes = draw_set(300, held=False)
    said = {word for scene in scenes for word in scene.caption.split()}
    assert not any(map(unknown_words, said))
    assert said >= set(GRAMMAR)
    text = "A shiny RED circle, on a blue-green ground; 3 circles and a shiny \N{ARTIST PALETTE}"
    assert unknown_words(text) == ["shiny", "3", "circles", "\N{ARTIST PALETTE}"]


def test_what_is_never_trained_on() -> None:
    _, learned = draw_set(200, held=False)
    _, held = draw_set(50, held=True)
    assert not any(is_held_out(scene.caption) for scene in learned)
    assert all(is_held_out(scene.caption) for scene in held)


def test_a_picture_depends_on_its_number_alone() -> None:
    few, many = draw_set(3, held=False)[0], draw_set(9, held=False)[0]
    assert np.array_equal(few, many[:3])
    assert len({p.tobytes() for p in many}) == 9


def test_pictures_show_what_is_said() -> None:
    rng = np.random.default_rng(1)
    for place, (across, down) in CENTRES.items():
        pixels = drawn(Scene((("red", "circle", place),), "white"), rng).astype(float)
        assert pixels.shape == (SIDE, SIDE, 3)
        assert pixels[0, 0].tolist() == WORDS["colours"]["white"]
        red = np.linalg.norm(pixels - WORDS["colours"]["red"], axis=2) < 40
        y, x = np.nonzero(red)
        assert abs(x.mean() / SIDE - across) < 0.08
        assert abs(y.mean() / SIDE - down) < 0.08
        assert 0.06 < red.mean() < 0.21
        # soft edges: some pixels are neither
        assert 0 < (~red & (np.linalg.norm(pixels - WORDS["colours"]["white"], axis=2) > 1)).mean() < 0.05


def test_two_objects_do_not_touch() -> None:
    rng = np.random.default_rng(2)
    for _ in range(40):
        what = scene(rng)
        if len(what.objects) == 2:
            pixels = drawn(what, rng).astype(int)
            masks = [np.abs(pixels - WORDS["colours"][colour]).sum(2) < 10 for colour, _, _ in what.objects]
            assert all(mask.mean() > 0.01 for mask in masks), what.caption
