"""Captions to pictures, from the data to a Stable Diffusion folder, with networks small enough to test with."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from difftool.core import first_order, grid
from difftool.core.predict import TARGETS, denoiser
from difftool.errors import DifftoolError, Exit
from difftool.files import load_tensors
from difftool.learning import driver
from difftool.models import build_path
from difftool.pictures.png import read_png
from difftool.text2img.draw import txt2img
from difftool.text2img.session import Session
from difftool.text2img.vocabulary import vocabulary
from difftool.train import recipe, train
from difftool.train.data import pictures
from difftool.train.data.shapes import draw_set
from difftool.train.text2img import run as module
from difftool.train.text2img.tokenizer import LONGEST, SHORTEST, length, tokens_of, write_tokenizer

ROW = {
    "data": "shapes",
    "minutes": 1,
    "batch_size": 4,
    "lr": 1e-3,
    "target": "v",
    "betas": "linear",
    "zero_snr": True,
    "warmup": 0.1,
    "ema": 0.1,
    "label_dropout": 0.2,
    "weight_decay": 0.01,
    "guidance": 2.0,
    "net": {
        "type": "text_to_image",
        "widths": [8, 16],
        "blocks": 1,
        "attention": [1],
        "heads": 2,
        "text_width": 16,
        "text_layers": 1,
        "text_heads": 2,
    },
    "autoencoder": {
        "share": 0.5,
        "batch_size": 4,
        "lr": 1e-3,
        "warmup": 0.1,
        "ema": 0.1,
        "weight_decay": 0.0,
        "net": {"widths": [8, 8, 8], "blocks": 1, "latent": 4},
    },
}


def small_shapes() -> pictures.Pictures:
    parts = []
    for count, held in ((24, False), (12, True)):
        pixels, scenes = draw_set(count, held=held)
        small = pixels.reshape(count, 16, 4, 16, 4, 3).mean((2, 4)).astype(np.uint8)
        captions = [scene.caption for scene in scenes]
        parts.append(pictures.Pictures("shapes", small, np.zeros(count, np.int64), vocabulary()["shapes"], captions))
    return parts[0]._replace(held_out=parts[1])


def _small(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recipe, "read_preset", lambda family, name: ROW)
    patch.setitem(pictures.BUILT_IN, "shapes", small_shapes)
    for owner, name, value in (
        (module, "STEPS", 2),
        (module, "SHOWN", 4),
        (driver, "PREVIEWS", 1),
        (driver, "HELD_LINES", 1),
    ):
        patch.setattr(owner, name, value)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preset and a data set small enough to test with."""
    _small(monkeypatch)


class Killed(BaseException):
    """Stands for a process that ends without another word."""


def dies_after(step: int, run: int) -> Any:
    """Dies in the first (the autoencoder's) or second run after so many steps."""
    runs = 0

    def track(items: Any, total: int) -> Iterator[Any]:
        nonlocal runs
        runs += 1
        for item in items:
            yield item
            if runs == run and item.step == step:
                raise Killed

    return track


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was left alone."""
    with pytest.MonkeyPatch.context() as patch:
        _small(patch)
        return train("shapes", output_dir=tmp_path_factory.mktemp("runs") / "whole", steps=6).folder


def test_what_a_run_leaves(whole: Path) -> None:
    names = {path.name for path in whole.iterdir()}
    parts = {"unet", "vae", "text_encoder", "tokenizer", "scheduler", "model_index.json"}
    assert parts | {"autoencoder", "config.json", "log.jsonl", "report.html", "samples"} <= names
    assert read_png(whole / "samples" / "000000024.png")[0].std() > 0
    lines = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["finished"]
    losses = [json.loads(line) for line in (whole / "autoencoder" / "log.jsonl").read_text().splitlines()]
    assert losses[-1]["step"] == 3
    assert losses[-1]["bands"] is None
    assert losses[-1]["held_out"] > 0


def test_diffusers_opens_it_and_draws_what_the_engine_draws(whole: Path) -> None:
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(str(whole), safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    assert pipe.scheduler.config.rescale_betas_zero_snr
    config = json.loads((whole / "config.json").read_text())
    tokens, nothing, *_ = tokens_of(whole / "tokenizer", ["a red circle on a blue ground"])
    start = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    theirs = pipe(
        "a red circle on a blue ground",
        latents=start.clone(),
        num_inference_steps=5,
        guidance_scale=1.0,
        output_type="latent",
    ).images
    with torch.no_grad():
        words = pipe.text_encoder(tokens)[0]
        assert not torch.equal(words, pipe.text_encoder(nothing[None])[0])

        def net(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return pipe.unet(x, t, encoder_hidden_states=words).sample

        levels = grid(build_path(config["path"]), 5)
        *_, last = first_order(denoiser(net, TARGETS["v"]), start, levels)
    assert float((last.x - theirs).norm() / theirs.norm()) < 1e-3


def test_txt2img_draws_from_it(whole: Path) -> None:
    session = Session(whole, device="cpu")
    assert session.pipeline.kind == "shapes"
    assert txt2img("a red circle", session, steps=2).shape == (1, 16, 16, 3)


def test_the_text_encoder_has_the_names_that_old_readers_look_for(whole: Path) -> None:
    names = load_tensors(whole / "text_encoder" / "model.safetensors").tensors
    assert all(name.startswith("text_model.") for name in names)
    assert "text_model.embeddings.token_embedding.weight" in names
    latent = json.loads((whole / "vae" / "config.json").read_text())
    assert latent["scaling_factor"] == json.loads((whole / "config.json").read_text())["train"]["scale"]


@pytest.mark.parametrize(("step", "run"), [(2, 1), (4, 2)])
def test_killed_in_either_stage(whole: Path, tmp_path: Path, step: int, run: int) -> None:
    with pytest.raises(Killed):
        train("shapes", output_dir=tmp_path / "run", steps=6, save_every=4, track=dies_after(step, run))
    half = tmp_path / "run" / ".unet.tmp-0123abcd"  # as a part that was being written is left
    half.mkdir()
    (half / "config.json").write_text("{}")
    (tmp_path / "run" / "autoencoder" / "latents.safetensors").write_bytes(b"damaged")  # which can be had again
    done = train("shapes", output_dir=tmp_path / "run", steps=6, save_every=4)
    assert not done.finished_before and not half.exists()
    for name in ("unet/diffusion_pytorch_model", "text_encoder/model", "vae/diffusion_pytorch_model"):
        one, two = (load_tensors(folder / f"{name}.safetensors").tensors for folder in (whole, done.folder))
        assert all(torch.equal(one[key], two[key]) for key in one), name
    assert train("shapes", output_dir=tmp_path / "run", steps=6).finished_before


def test_an_extension_trains_the_denoiser_only(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    kept = [folder / "config.json", *(folder / "autoencoder" / name for name in ("config.json", "model.safetensors"))]
    before = [path.read_bytes() for path in kept]

    def dies(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as broken, pytest.raises(Killed):
        broken.setattr(module, "latents_of", dies)  # before it is known how far a minute goes
        train("shapes", output_dir=folder, more="1m")
    assert kept[0].read_bytes() == before[0]
    with pytest.raises(Killed):
        train("shapes", output_dir=folder, more="9", save_every=4, track=dies_after(8, 1))
    with caplog.at_level(logging.INFO):
        done = train("shapes", output_dir=folder, more="9", save_every=4)
    assert "the autoencoder stays as it is" in caplog.text
    assert done.images == 36 and done.grid.exists()
    assert [path.read_bytes() for path in kept[1:]] == before[1:]
    other = Path(shutil.copytree(whole, tmp_path / "other"))
    train("shapes", output_dir=other, more="9")
    for name in ("unet/diffusion_pytorch_model", "text_encoder/model"):
        one, two, old = (load_tensors(path / f"{name}.safetensors").tensors for path in (folder, other, whole))
        assert all(torch.equal(one[key], two[key]) for key in one), name
        assert not all(torch.equal(one[key], old[key]) for key in one), name


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"flip": True}, "not support --flip"),
        ({"init_from": "digits"}, "several networks, which --from cannot begin with"),
        ({"learned_range": True}, "not support --learned-range"),
        ({"checkpointing": True}, "does not support --checkpointing"),
        ({"keep_averages": True}, "does not support --keep-averages"),
        ({"betas": "cosine"}, "Stable Diffusion folder"),
        ({"target": "eps"}, "no eps target at zero SNR"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(DifftoolError, match=says) as caught:
        train("shapes", output_dir=tmp_path / "run", steps=6, **settings)
    assert caught.value.code == Exit.USAGE
    assert not (tmp_path / "run").exists()


def test_words_are_one_token_and_others_are_spelled(tmp_path: Path) -> None:
    captions = ["a red circle on a blue ground", "an orange star", "Straße 12", "two, three"]
    write_tokenizer(tmp_path, captions)
    tokens, nothing, count, (first, last) = tokens_of(tmp_path, [*captions, "a zebra", ""])
    lengths = [(row != last).sum().item() - 1 for row in tokens]
    assert tokens.shape == (6, SHORTEST)
    assert lengths[:4] == [7, 3, 3, 3]
    assert lengths[4] == 1 + 5
    assert torch.equal(tokens[5], nothing)
    assert tokens[0, 0] == first
    assert tokens.max() < count


def test_words_are_split_as_clip_splits_them(tmp_path: Path) -> None:
    """Short forms, powers, accents of two characters, a sigma at the end of a word, underscores."""
    write_tokenizer(tmp_path, ["the dog's m² cafe\u0301", "ΟΔΟΣ snake_case a_-b ...!!"])
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    greek = "Î¿Î´Î¿Ïĥ"  # the bytes of οδοσ
    assert {"dog</w>", "'s</w>", "m</w>", "Â²</w>", "cafÃ©</w>", f"{greek}</w>"} <= {*vocabulary}
    assert {"snake</w>", "_</w>", "case</w>", "_-</w>", "...!!</w>"} <= {*vocabulary}
    assert length([" ".join(["dog's"] * 18)]) == 72


def test_the_vocabulary_follows_from_the_captions(tmp_path: Path) -> None:
    """In any process, with any release of tokenizers: letters for bytes, the same at an end, pairs, special tokens."""
    write_tokenizer(tmp_path, ["aaa red", "Straße", ""])
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    assert [*vocabulary.values()] == [*range(len(vocabulary))]
    assert [*vocabulary][:2] == ["!", '"']
    assert [*vocabulary][256:258] == ["!</w>", '"</w>']
    pairs = ["aa", "aÃ", "ed</w>", "raÃ", "red</w>", "st", "Łe</w>", "aaa</w>", "raÃŁe</w>", "straÃŁe</w>"]
    assert [*vocabulary][512:] == [*pairs, "<|startoftext|>", "<|endoftext|>"]
    merges = ["a a", "a Ã", "e d</w>", "r aÃ", "r ed</w>", "s t", "Ł e</w>", "aa a</w>", "raÃ Łe</w>", "st raÃŁe</w>"]
    assert (tmp_path / "merges.txt").read_text().splitlines() == ["#version: 0.2", *merges]


def test_a_run_goes_on_with_the_tokenizer_in_its_folder(tmp_path: Path) -> None:
    captions, folder = ["a red circle", "a star"], tmp_path / "tokenizer"
    write_tokenizer(folder, ["another vocabulary"])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    kept = SimpleNamespace(captions=captions, held_out=SimpleNamespace(captions=captions))
    words = module._words(folder, cast("pictures.Pictures", kept), torch.device("cpu"))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert torch.equal(words.tokens, tokens_of(folder, captions)[0])


@pytest.mark.parametrize(("words", "tokens"), [(0, SHORTEST), (16, 32), (17, 34), (50, LONGEST)])
def test_a_prompt_has_twice_the_tokens_of_the_longest_caption(words: int, tokens: int) -> None:
    assert length(["a star", " ".join(["red"] * words)]) == tokens
