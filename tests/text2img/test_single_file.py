"""Checkpoints in one file: what they are is told from their names, and they draw what their folder draws."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from difftool.errors import DifftoolError, Exit
from difftool.store import home
from difftool.text2img import single_file
from difftool.text2img.draw import draw_pictures
from difftool.text2img.session import Session, plan_prompt_with
from difftool.text2img.single_file import UNET, kind_of

TO_K = f"{UNET}input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight"
RES = [
    (r"norm1\b", "in_layers.0"),
    (r"conv1\b", "in_layers.2"),
    (r"time_emb_proj", "emb_layers.1"),
    (r"norm2\b", "out_layers.0"),
    (r"conv2\b", "out_layers.3"),
    (r"conv_shortcut", "skip_connection"),
]


def renamed(name: str, rules: list[tuple[str, str]]) -> str:
    for old, new in rules:
        name = re.sub(old, new, name)
    return name


def of_unet(name: str) -> str:
    """The name in the original code of a weight of the tiny U-Net: two blocks of one layer."""
    if found := re.match(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", name):
        way, i, kind, j, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
        if kind == "downsamplers":
            return f"input_blocks.{2 * i + 2}.0.op.{rest.removeprefix('conv.')}"
        if kind == "upsamplers":
            return f"output_blocks.{2 * i + 1}.{2 if i == 0 else 1}.{rest}"
        place = f"input_blocks.{2 * i + 1 + j}" if way == "down" else f"output_blocks.{2 * i + j}"
        return f"{place}.1.{rest}" if kind == "attentions" else f"{place}.0.{renamed(rest, RES)}"
    if found := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
        if found[1] == "attentions":
            return f"middle_block.1.{found[3]}"
        return f"middle_block.{2 * int(found[2])}.{renamed(found[3], RES)}"
    heads = [
        ("^conv_in", "input_blocks.0.0"),
        (r"^time_embedding\.linear_1", "time_embed.0"),
        ("^conv_norm_out", "out.0"),
    ]
    return renamed(name, [*heads, (r"^time_embedding\.linear_2", "time_embed.2"), ("^conv_out", "out.2")])


def of_vae(name: str) -> str:
    """The same for the tiny autoencoder of two blocks."""
    name = re.sub(r"decoder\.up_blocks\.(\d)", lambda found: f"decoder.up.{1 - int(found[1])}", name)
    return renamed(
        name,
        [
            (r"encoder\.down_blocks\.(\d)", r"encoder.down.\1"),
            (r"resnets\.(\d)", r"block.\1"),
            (r"mid_block\.block\.0", "mid.block_1"),
            (r"mid_block\.block\.1", "mid.block_2"),
            (r"mid_block\.attentions\.0", "mid.attn_1"),
            (r"(down|up)samplers\.0", r"\1sample"),
            ("conv_shortcut", "nin_shortcut"),
            ("conv_norm_out", "norm_out"),
            ("group_norm", "norm"),
            (r"to_q\b", "q"),
            (r"to_k\b", "k"),
            (r"to_v\b", "v"),
            (r"to_out\.0", "proj_out"),
        ],
    )


def checkpoint(folder: Path) -> dict[str, torch.Tensor]:
    """A tiny folder of Stable Diffusion under the names of the original code."""
    found = {}
    for name, value in load_file(folder / "unet" / "diffusion_pytorch_model.safetensors").items():
        found[f"{UNET}{of_unet(name)}"] = value
    for name, value in load_file(folder / "vae" / "diffusion_pytorch_model.safetensors").items():
        new = of_vae(name)
        is_conv = ".attn_1." in new and value.ndim == 2
        found[f"first_stage_model.{new}"] = value[:, :, None, None] if is_conv else value
    for name, value in load_file(folder / "text_encoder" / "model.safetensors").items():
        found[f"cond_stage_model.transformer.{name}"] = value
    return {name: value.contiguous() for name, value in found.items()}


@pytest.fixture
def tiny_single(tiny_pipeline: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny checkpoint, whose family is known here under the name sd1."""
    folder = tiny_pipeline("sd")
    about = json.loads((single_file.ASSETS / "single" / "sd1.json").read_text())
    for name in ("unet", "vae", "text_encoder"):
        about[name] = json.loads((folder / name / "config.json").read_text())
    about["scheduler"] = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    (tmp_path / "assets" / "single").mkdir(parents=True)
    (tmp_path / "assets" / "single" / "sd1.json").write_text(json.dumps(about))
    monkeypatch.setattr(single_file, "ASSETS", tmp_path / "assets")
    monkeypatch.setattr(single_file, "kind_of", lambda shapes, path: "sd1")
    words = home(tmp_path / "store") / "clip-tokenizer"
    words.mkdir(parents=True)
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(folder / "tokenizer" / name, words / name)
    save_file(checkpoint(folder), tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
def test_one_file_draws_what_its_folder_draws(
    tiny_single: Path, tiny_pipeline: Callable[[str], Path], tmp_path: Path, suffix: str
) -> None:
    path = tiny_single
    if suffix == "ckpt":
        path = tmp_path / "tiny.ckpt"
        torch.save({"state_dict": load_file(tiny_single)}, path)
    drawn = []
    for model in (path, tiny_pipeline("sd")):
        one = plan_prompt_with(Session(model, device="cpu", models_dir=tmp_path / "store"), "a red circle", steps=3)
        drawn.append(next(iter(draw_pictures(one)))[1].astype(int))
    assert abs(drawn[0] - drawn[1]).max() <= 1


@pytest.mark.parametrize(
    "name",
    [
        "scaled_fp8",
        f"{UNET}input_blocks.0.0.scale_weight",
        f"{UNET}input_blocks.0.0.comfy_quant",
        f"{UNET}input_blocks.0.0.weight.absmax",
        f"{UNET}input_blocks.0.0.weight.quant_state.bitsandbytes__nf4",
        f"{UNET}input_blocks.0.0.weight.SCB",
        f"{UNET}input_blocks.0.0.qweight",
    ],
)
def test_quantised_weights_are_refused(tiny_single: Path, tmp_path: Path, name: str) -> None:
    save_file({**load_file(tiny_single), name: torch.ones(1)}, tiny_single)
    with pytest.raises(DifftoolError, match="is quantised") as found:
        Session(tiny_single, device="cpu", models_dir=tmp_path / "store")
    assert found.value.code == Exit.FILE and name in found.value.message


def test_a_gguf_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(DifftoolError, match="is a GGUF file"):
        single_file.shapes_of(tmp_path / "a.safetensors")


def test_what_is_not_used_is_named(tiny_single: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """But for averages of the weights, and what was kept of training."""
    idle = {
        "model_ema.num_updates": torch.ones(1),
        "alphas_cumprod": torch.ones(1000),
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
    }
    save_file({**load_file(tiny_single), **idle}, tiny_single)
    Session(tiny_single, device="cpu", models_dir=tmp_path / "store")
    assert not caplog.records
    strange = {"control_model.a": torch.ones(1), f"{UNET}input_blocks.99.0.weight": torch.ones(1234)}
    save_file({**load_file(tiny_single), **strange}, tiny_single)
    Session(tiny_single, device="cpu", models_dir=tmp_path / "store")
    assert [record.message.split(": ")[1] for record in caplog.records] == [
        "1 unexpected tensor not used, such as control_model.a",
        "1,234 unexpected weights of its network not used",
    ]


def test_without_the_words_of_its_tokenizer(tiny_single: Path, tmp_path: Path) -> None:
    with pytest.raises(DifftoolError) as found:
        Session(tiny_single, device="cpu", models_dir=tmp_path / "other")
    assert found.value.code == Exit.FILE
    assert found.value.hint == "run difftool models pull clip-tokenizer"


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ({TO_K: (320, 768)}, "sd1"),
        ({TO_K: (320, 1024)}, "sd2"),
        ({TO_K: (640, 2048), single_file.MARKS["sdxl"]: (1280,)}, "sdxl"),
        ({single_file.MARKS["sd3"]: (1536,)}, "sd3"),
        ({f"{UNET}{single_file.MARKS['flux']}": (128,), f"{UNET}guidance_in.in_layer.bias": (3072,)}, "flux"),
        ({single_file.MARKS["flux"]: (128,)}, "schnell"),
    ],
)
def test_a_family_is_told_from_its_names(names: dict[str, tuple[int, ...]], kind: str) -> None:
    assert kind_of(names, Path("x")) == kind


def test_a_lora_is_no_model() -> None:
    with pytest.raises(DifftoolError) as found:
        kind_of({"lora_unet_down_blocks_0.lora_down.weight": (4, 320)}, Path("x.safetensors"))
    assert found.value.hint == "apply it with --lora x.safetensors"


@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl", "sd3", "flux", "schnell"])
def test_configs_are_those_of_real_models(kind: str) -> None:
    """Their networks have the sizes that are published."""
    from difftool.text2img.pipeline import class_of

    about = json.loads((single_file.ASSETS / "single" / f"{kind}.json").read_text())
    millions = {
        "sd1": {"unet": 859.5, "text_encoder": 123.1, "vae": 83.7},
        "sd2": {"unet": 865.9, "text_encoder": 340.4, "vae": 83.7},
        "sdxl": {"unet": 2567.5, "text_encoder": 123.1, "text_encoder_2": 694.7, "vae": 83.7},
        "sd3": {"transformer": 2030, "text_encoder_2": 694.7, "text_encoder_3": 4760, "vae": 83.8},
        "flux": {"transformer": 11900, "text_encoder_2": 4760, "vae": 83.8},
        "schnell": {"transformer": 11890},
    }
    for name, wanted in millions[kind].items():
        made = class_of(about["model_index"][name][1])
        with torch.device("meta"):
            if hasattr(made, "config_class"):
                config = made.config_class(**about[name])
                net = made(config)
            else:
                net = made.from_config(about[name])
        assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(wanted, rel=2e-3), name
