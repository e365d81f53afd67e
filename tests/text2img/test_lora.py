from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_pipelines import recent, write_lora

from difftool.errors import DifftoolError, Exit
from difftool.text2img.draw import draw_pictures
from difftool.text2img.session import Session, plan_prompt_with

Tiny = Callable[[str], Path]
PROMPT = "a red circle"


def drawn(session: Session, *loras: tuple[Path, float]) -> np.ndarray:
    return next(iter(draw_pictures(plan_prompt_with(session, PROMPT, steps=2, size=(32, 32), loras=loras))))[1].astype(
        int
    )


needed = pytest.mark.skipif(not recent(), reason="needs newer libraries than the original Tortoise allows")


@needed
@pytest.mark.parametrize("kind", ["sd", "sdxl", "sd3", "flux"])
def test_a_lora_is_applied_as_the_pipeline_applies_it(tiny_pipeline: Tiny, tmp_path: Path, kind: str) -> None:
    import diffusers

    path = write_lora(tiny_pipeline(kind), kind, tmp_path / "own.safetensors")
    session = Session(tiny_pipeline(kind), device="cpu")
    plain, strong, half = drawn(session), drawn(session, (path, 1.0)), drawn(session, (path, 0.5))
    assert (plain != strong).any() and (strong != half).any()
    assert (drawn(session) == plain).all()  # and is gone again
    assert (drawn(session, (path, 0.0)) == plain).all()
    pipe = diffusers.DiffusionPipeline.from_pretrained(str(tiny_pipeline(kind)))
    pipe.load_lora_weights(str(tmp_path), weight_name=path.name, adapter_name="own")
    theirs = pipe.transformer if kind in ("sd3", "flux") else pipe.unet
    drawn(session, (path, 0.7))
    pipe.set_adapters(["own"], [0.7])
    for (name, one), (other, two) in zip(session.pipeline.net.named_modules(), theirs.named_modules(), strict=False):
        if hasattr(one, "scaling"):
            assert list(one.scaling.values())[:1] == list(two.scaling.values())[:1], (name, other)


@needed
def test_that_of_another_family_is_refused(tiny_pipeline: Tiny, tmp_path: Path) -> None:
    path = write_lora(tiny_pipeline("sdxl"), "sdxl", tmp_path / "xl.safetensors")
    other = write_lora(tiny_pipeline("sd3"), "sd3", tmp_path / "sd3.safetensors")
    for kind, lora in (("sd", path), ("sd", other), ("sd3", path)):
        session = Session(tiny_pipeline(kind), device="cpu")
        plain = drawn(session)
        with pytest.raises(DifftoolError) as found:
            drawn(session, (lora, 1.0))
        assert found.value.code == Exit.FILE, kind
        assert (drawn(session) == plain).all()  # nothing of it stayed


@needed
def test_one_of_which_a_part_fits(tiny_pipeline: Tiny, tmp_path: Path) -> None:
    """Its network is that of this model, its text encoder is not."""
    from safetensors.torch import load_file, save_file

    path = write_lora(tiny_pipeline("sd"), "sd", tmp_path / "own.safetensors")
    broken = {
        f"text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_{end}.weight": torch.ones(3, 3) for end in "AB"
    }
    save_file({**load_file(path), **broken}, tmp_path / "mixed.safetensors")
    session = Session(tiny_pipeline("sd"), device="cpu")
    plain = drawn(session)
    with pytest.raises(DifftoolError) as found:
        drawn(session, (tmp_path / "mixed.safetensors", 1.0))
    assert found.value.code == Exit.FILE
    assert (drawn(session) == plain).all()
    assert (drawn(session, (path, 1.0)) != plain).any()


@needed
def test_one_that_would_drop_out_at_random(tiny_pipeline: Tiny, tmp_path: Path) -> None:
    path = write_lora(tiny_pipeline("sd"), "sd", tmp_path / "own.safetensors", dropout=0.5)
    session = Session(tiny_pipeline("sd"), device="cpu")
    assert (drawn(session, (path, 1.0)) == drawn(session, (path, 1.0))).all()


@needed
def test_one_that_fits_beside_one_that_does_not(tiny_pipeline: Tiny, tmp_path: Path) -> None:
    good = write_lora(tiny_pipeline("sd"), "sd", tmp_path / "own.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"<html>")
    session = Session(tiny_pipeline("sd"), device="cpu")
    plain = drawn(session)
    with pytest.raises(DifftoolError):
        drawn(session, (good, 1.0), (tmp_path / "bad.safetensors", 1.0))
    assert (drawn(session) == plain).all()


@pytest.mark.skipif(recent(), reason="needs the libraries of the original Tortoise")
def test_libraries_that_know_none(tiny_pipeline: Tiny, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"")
    with pytest.raises(DifftoolError) as found:
        drawn(Session(tiny_pipeline("sd"), device="cpu"), (tmp_path / "a.safetensors", 1.0))
    assert found.value.code == Exit.USAGE


KOHYA = {
    "unet": [
        "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
        "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0",
        "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj",
    ],
    "te": ["text_model.encoder.layers.0.self_attn.q_proj", "text_model.encoder.layers.1.self_attn.out_proj"],
}
"""Layers of the tiny Stable Diffusion that every kind of name occurs in."""


def kohya(session: Session, to: Path, more: dict[str, torch.Tensor] | None = None) -> Path:
    """A LoRA for a tiny Stable Diffusion, called as the tools call theirs that most are made with."""
    from safetensors.torch import save_file

    tensors = {}
    for prefix, layers in KOHYA.items():
        part = session.pipeline.net if prefix == "unet" else session.pipeline.encoders[0]
        own = dict(part.named_modules())
        for layer in layers:
            found = own.get(layer, own.get(layer.removeprefix("text_model.")))
            assert isinstance(found, torch.nn.Linear)
            name = f"lora_{prefix}_{layer.replace('.', '_')}"
            tensors[f"{name}.lora_down.weight"] = torch.ones(2, found.in_features)
            tensors[f"{name}.lora_up.weight"] = torch.ones(found.out_features, 2)
            tensors[f"{name}.alpha"] = torch.tensor(1.0)
    save_file({**tensors, **(more or {})}, to)
    return to


def pair(name: str, size: int = 32, down: str = "lora_down", up: str = "lora_up") -> dict[str, torch.Tensor]:
    return {f"{name}.{down}.weight": torch.ones(2, size), f"{name}.{up}.weight": torch.ones(size, 2)}


@needed
def test_one_under_the_names_of_other_tools(
    tiny_pipeline: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = Session(tiny_pipeline("sd"), device="cpu")
    plain = drawn(session)
    path = kohya(session, tmp_path / "a.safetensors")
    assert (drawn(session, (path, 1.0)) != plain).any()
    changed = [name for name, layer in session.pipeline.net.named_modules() if hasattr(layer, "lora_A")]
    assert sorted(changed) == sorted(KOHYA["unet"])
    assert not caplog.records


@needed
@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"lora_unet_mid_block_attentions_0_proj_in.dora_scale": torch.ones(16)}, "is a DoRA"),
        ({"lora_unet_mid_block_attentions_0_proj_in.hada_w1_a": torch.ones(16, 2)}, "is a LoHa"),
        ({"lora_unet_mid_block_attentions_0_proj_in.lokr_w1": torch.ones(16, 2)}, "is a LoKr"),
        ({"lora_unet_mid_block_attentions_0_proj_in.diff": torch.ones(16, 16)}, "is a difference of whole weights"),
        ({"control_model.input_hint_block.0.weight": torch.ones(3)}, "is a ControlNet"),
        (pair("lora_unet_down_blocks_7_attentions_0_transformer_blocks_0_attn1_to_q", 16), "down_blocks.7"),
        (pair("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q", 16), "is not a LoRA for"),
    ],
)
def test_what_finds_no_place_is_refused(
    tiny_pipeline: Tiny, tmp_path: Path, more: dict[str, torch.Tensor], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    session = Session(tiny_pipeline("sd"), device="cpu")
    plain = drawn(session)
    capfd.readouterr()
    with pytest.raises(DifftoolError, match=says) as found:
        drawn(session, (kohya(session, tmp_path / "a.safetensors", more), 1.0))
    assert found.value.code == Exit.FILE
    assert (drawn(session) == plain).all()
    assert capfd.readouterr() == ("", "")  # the libraries say nothing on their own


@needed
def test_what_is_no_lora(tiny_pipeline: Tiny, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    session = Session(tiny_pipeline("sd"), device="cpu")
    for name, says in (("emb_params", "textual inversion"), ("model.diffusion_model.out.2.bias", "--model")):
        save_file({name: torch.ones(3)}, tmp_path / "a.safetensors")
        with pytest.raises(DifftoolError) as found:
            drawn(session, (tmp_path / "a.safetensors", 1.0))
        assert found.value.code == Exit.FILE and says in found.value.message + found.value.hint


@needed
@pytest.mark.parametrize("kind", ["sd3", "flux"])
def test_what_it_has_for_t5_is_named(
    tiny_pipeline: Tiny, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    from safetensors.torch import load_file, save_file

    path = write_lora(tiny_pipeline(kind), kind, tmp_path / "own.safetensors")
    name = f"text_encoder_{3 if kind == 'sd3' else 2}.encoder.block.0.layer.0.SelfAttention.q"
    save_file({**load_file(path), **pair(name, down="lora_A", up="lora_B")}, path)
    session = Session(tiny_pipeline(kind), device="cpu")
    plain = drawn(session)
    assert (drawn(session, (path, 1.0)) != plain).any()
    assert [name in record.message for record in caplog.records] == [True]


@needed
def test_what_a_conversion_leaves_out_is_named(
    tiny_pipeline: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """FLUX under the names of other tools, whose second text encoder the library passes over."""
    from safetensors.torch import save_file

    layer, encoder = "lora_unet_double_blocks_0_img_attn_proj", "lora_te3_encoder_block_0_layer_0_SelfAttention_q"
    save_file({**pair(layer), **pair(encoder)}, tmp_path / "a.safetensors")
    drawn(Session(tiny_pipeline("flux"), device="cpu"), (tmp_path / "a.safetensors", 1.0))
    assert [encoder in record.message for record in caplog.records] == [True]
