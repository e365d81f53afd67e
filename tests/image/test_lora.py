from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_pipelines import recent, write_lora

from difftool.errors import DifftoolError, Exit
from difftool.image.studio import Studio, plan
from difftool.image.txt2img import draw

Tiny = Callable[[str], Path]
PROMPT = "a red circle"


def drawn(studio: Studio, *loras: tuple[Path, float]) -> np.ndarray:
    return next(iter(draw(plan(studio, PROMPT, steps=2, size=(32, 32), loras=loras))))[1].astype(int)


needed = pytest.mark.skipif(not recent(), reason="needs newer libraries than the original Tortoise allows")


@needed
@pytest.mark.parametrize("kind", ["sd", "sdxl", "sd3", "flux"])
def test_a_lora_is_applied_as_the_pipeline_applies_it(tiny_pipeline: Tiny, tmp_path: Path, kind: str) -> None:
    import diffusers

    path = write_lora(tiny_pipeline(kind), kind, tmp_path / "own.safetensors")
    studio = Studio(tiny_pipeline(kind), device="cpu")
    plain, strong, half = drawn(studio), drawn(studio, (path, 1.0)), drawn(studio, (path, 0.5))
    assert (plain != strong).any() and (strong != half).any()
    assert (drawn(studio) == plain).all()  # and is gone again
    assert (drawn(studio, (path, 0.0)) == plain).all()
    pipe = diffusers.DiffusionPipeline.from_pretrained(str(tiny_pipeline(kind)))
    pipe.load_lora_weights(str(tmp_path), weight_name=path.name, adapter_name="own")
    theirs = pipe.transformer if kind in ("sd3", "flux") else pipe.unet
    drawn(studio, (path, 0.7))
    pipe.set_adapters(["own"], [0.7])
    for (name, one), (other, two) in zip(studio.pipeline.net.named_modules(), theirs.named_modules(), strict=False):
        if hasattr(one, "scaling"):
            assert list(one.scaling.values())[:1] == list(two.scaling.values())[:1], (name, other)


@needed
def test_that_of_another_family_is_refused(tiny_pipeline: Tiny, tmp_path: Path) -> None:
    path = write_lora(tiny_pipeline("sdxl"), "sdxl", tmp_path / "xl.safetensors")
    other = write_lora(tiny_pipeline("sd3"), "sd3", tmp_path / "sd3.safetensors")
    for kind, lora in (("sd", path), ("sd", other), ("sd3", path)):
        studio = Studio(tiny_pipeline(kind), device="cpu")
        plain = drawn(studio)
        with pytest.raises(DifftoolError) as found:
            drawn(studio, (lora, 1.0))
        assert found.value.code == Exit.FILE, kind
        assert (drawn(studio) == plain).all()  # nothing of it stayed


@needed
def test_one_of_which_a_part_fits(tiny_pipeline: Tiny, tmp_path: Path) -> None:
    """Its network is that of this model, its text encoder is not."""
    from safetensors.torch import load_file, save_file

    path = write_lora(tiny_pipeline("sd"), "sd", tmp_path / "own.safetensors")
    broken = {
        f"text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_{end}.weight": torch.ones(3, 3) for end in "AB"
    }
    save_file({**load_file(path), **broken}, tmp_path / "mixed.safetensors")
    studio = Studio(tiny_pipeline("sd"), device="cpu")
    plain = drawn(studio)
    with pytest.raises(DifftoolError) as found:
        drawn(studio, (tmp_path / "mixed.safetensors", 1.0))
    assert found.value.code == Exit.FILE
    assert (drawn(studio) == plain).all()
    assert (drawn(studio, (path, 1.0)) != plain).any()


@needed
def test_one_that_would_drop_out_at_random(tiny_pipeline: Tiny, tmp_path: Path) -> None:
    path = write_lora(tiny_pipeline("sd"), "sd", tmp_path / "own.safetensors", dropout=0.5)
    studio = Studio(tiny_pipeline("sd"), device="cpu")
    assert (drawn(studio, (path, 1.0)) == drawn(studio, (path, 1.0))).all()


@needed
def test_one_that_fits_beside_one_that_does_not(tiny_pipeline: Tiny, tmp_path: Path) -> None:
    good = write_lora(tiny_pipeline("sd"), "sd", tmp_path / "own.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"<html>")
    studio = Studio(tiny_pipeline("sd"), device="cpu")
    plain = drawn(studio)
    with pytest.raises(DifftoolError):
        drawn(studio, (good, 1.0), (tmp_path / "bad.safetensors", 1.0))
    assert (drawn(studio) == plain).all()


@pytest.mark.skipif(recent(), reason="needs the libraries of the original Tortoise")
def test_libraries_that_know_none(tiny_pipeline: Tiny, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"")
    with pytest.raises(DifftoolError) as found:
        drawn(Studio(tiny_pipeline("sd"), device="cpu"), (tmp_path / "a.safetensors", 1.0))
    assert found.value.code == Exit.USAGE
