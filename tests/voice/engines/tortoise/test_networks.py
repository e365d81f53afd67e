from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from tiny_tortoise import SIZES, checkpoint, integers, network, noise, off, official

from difftool.errors import DifftoolError, Exit
from difftool.voice.engines.tortoise.networks import FILES, hash_of, open_network


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return official(tmp_path_factory.mktemp("official"), checkpoint)


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """Official files of tiny networks, as a user has them."""
    return Path(shutil.copytree(made, tmp_path, dirs_exist_ok=True))


def fails(says: str) -> pytest.RaisesExc[DifftoolError]:
    return pytest.RaisesExc(DifftoolError, match=says, check=lambda error: error.code == Exit.FILE)


def resave(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    weights = torch.load(path, weights_only=True)
    change(weights)
    torch.save(weights, path)


@pytest.mark.parametrize("name", FILES)
def test_every_network_opens_from_its_official_file(name: str, folder: Path) -> None:
    opened, wanted = open_network(name, folder), network(name, torch.float32)
    assert not opened.training
    assert not any(parameter.requires_grad for parameter in opened.parameters())
    for (key, found), (_, same) in zip(opened.named_parameters(), wanted.named_parameters(), strict=True):
        assert torch.equal(found, same), key
    assert [key for key, found in opened.named_parameters() if found.is_meta] == []


def test_a_checkpoint_is_converted_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    open_network("clvp", folder)
    converted = folder / "clvp2.pth.difftool.safetensors"
    made = converted.stat().st_mtime_ns
    open_network("clvp", folder)
    assert converted.stat().st_mtime_ns == made
    assert caplog.text.count("once") == 1
    (folder / "clvp2.pth").unlink()  # it may go
    text, codes = integers(0, 3, 255, 1, 9), integers(1, 0, 8192, 2, 9)
    assert off(open_network("clvp", folder)(text, codes), network("clvp")(text, codes)) < 1e-5


def test_a_changed_checkpoint_is_converted_again(folder: Path) -> None:
    before = open_network("random_autoregressive", folder).layers[5].bias.clone()
    first = hash_of("random_autoregressive", folder)
    resave(folder / "rlg_auto.pth", lambda weights: weights["layers.5.bias"].add_(1))
    os.utime(folder / "rlg_auto.pth", ns=(1, 1))
    assert torch.equal(open_network("random_autoregressive", folder).layers[5].bias, before + 1)
    assert hash_of("random_autoregressive", folder) != first


def test_a_fine_tuned_checkpoint_takes_the_place_of_the_official_one(folder: Path) -> None:
    tuned = folder / "tuned" / "mine.pth"
    tuned.parent.mkdir()
    weights = {name: tensor.half() for name, tensor in checkpoint("autoregressive.pth").items()}
    weights["final_norm.bias"] += 1
    torch.save(weights, tuned)
    opened = open_network("autoregressive", folder, checkpoint=tuned)
    assert off(opened.final_norm.bias, network("autoregressive").final_norm.bias + 1) < 1e-3
    assert (tuned.parent / "mine.pth.difftool.safetensors").exists()
    assert not (folder / "autoregressive.pth.difftool.safetensors").exists()


def test_legacy_keys_are_dropped_and_nothing_else(folder: Path) -> None:
    file = folder / "autoregressive.pth"
    legacy = {f"gpt.h.{i}.attn.{name}": torch.ones(1) for i in range(2) for name in ("bias", "masked_bias")}
    resave(file, lambda weights: weights.update(legacy))
    open_network("autoregressive", folder)
    resave(file, lambda weights: weights.update({"gpt.h.0.attn.other": torch.ones(1)}))
    with fails(r"it has gpt\.h\.0\.attn\.other, which the network does not$"):
        open_network("autoregressive", folder)


def test_what_differs_is_named_as_the_file_names_it(folder: Path) -> None:
    resave(folder / "diffusion_decoder.pth", lambda weights: weights.pop("layers.1.resblk.emb_layers.1.weight"))
    with fails(r"lacks layers\.1\.resblk\.emb_layers\.1\.weight$"):
        open_network("diffusion", folder)
    with fails(r"lacks layers\.1"):  # a file that is not whole serves no part of it
        open_network("contextual_embedder", folder)
    resave(folder / "clvp2.pth", lambda weights: weights.update(temperature=torch.ones(2)))
    with fails(r"temperature has the shape \[2\], not \[\]"):
        open_network("clvp", folder)
    (folder / "config.json").unlink()
    with fails(r"has a different architecture: it lacks gpt\.h\.2\.ln_1\.weight \(and \d+ more\)"):
        open_network("autoregressive", folder)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch evil",)


BROKEN = [
    "missing",
    "empty",
    "html",
    "cut",
    "flipped",
    "code",
    "list",
    "other",
    "numbers",
    "whole",
    "sparse",
    "meta",
    "key",
]


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("broken", BROKEN)
def test_a_file_that_cannot_serve_is_refused(broken: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    file = folder / "rlg_auto.pth"
    whole = file.read_bytes()
    if broken == "missing":
        file.unlink()
    elif broken in ("empty", "html", "cut", "flipped"):
        at = whole.index(checkpoint("rlg_auto.pth")["layers.3.bias"].numpy().tobytes())
        flipped = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        page = b"<!DOCTYPE html><title>404</title>"
        file.write_bytes({"empty": b"", "html": page, "cut": whole[:-500], "flipped": flipped}[broken])
    else:
        weights = checkpoint("rlg_auto.pth")
        bias = weights["layers.0.bias"]
        saved = {
            "code": Evil(),
            "list": [1],
            "other": {"layers.0.weight": 3},
            "numbers": {**weights, "layers.0.bias": bias / 0},
            "whole": {**weights, "layers.0.bias": bias.long()},
            "sparse": {**weights, "layers.0.bias": bias.to_sparse()},
            "meta": {**weights, "layers.0.bias": bias.to("meta")},
            "key": {**weights, 5: bias},
        }
        torch.save(saved[broken], file)
    with fails("rlg_auto") as raised:
        open_network("random_autoregressive", folder)
    assert raised.value.hint
    assert not (folder / "evil").exists()
    assert not list(folder.glob("*.safetensors")) + list(folder.glob(".*tmp*"))


def test_a_file_of_ones_own_is_not_to_be_pulled(folder: Path) -> None:
    with fails("cannot read .*mine.pth: No such file") as raised:
        open_network("autoregressive", folder, checkpoint=folder / "mine.pth")
    assert "pull" not in raised.value.hint
    with fails("cannot read .*: Is a directory"):
        open_network("autoregressive", folder, checkpoint=folder)


def test_a_conversion_that_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    before = sorted(folder.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", full)
        with fails("cannot write .*No space left"):
            open_network("clvp", folder)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
        with fails("has 1,000 bytes free"):
            open_network("clvp", folder)
    assert sorted(folder.iterdir()) == before


def test_a_broken_conversion_says_how_to_mend_it(folder: Path) -> None:
    open_network("clvp", folder)
    converted = folder / "clvp2.pth.difftool.safetensors"
    converted.write_bytes(converted.read_bytes()[:-100])
    with fails("not a valid safetensors") as raised:
        open_network("clvp", folder)
    assert "remove it" in raised.value.hint


def test_a_bit_that_flips_in_a_conversion_is_found(folder: Path) -> None:
    open_network("clvp", folder)
    converted = folder / "clvp2.pth.difftool.safetensors"
    data = bytearray(converted.read_bytes())
    data[-999] ^= 4
    converted.write_bytes(data)
    with fails("does not match its checksum"):
        open_network("clvp", folder)


def test_a_file_of_somebody_else_is_not_replaced(folder: Path) -> None:
    converted = folder / "clvp2.pth.difftool.safetensors"
    save_file({"a": torch.ones(1)}, converted)
    before = converted.read_bytes()
    with fails("was not made by difftool"):
        open_network("clvp", folder)
    assert converted.read_bytes() == before


CONFIGS = [
    '{"clvp": {"depth": 2}}',
    '{"clvp": 3}',
    '{"clvp": {"layers": "two"}}',
    '{"clvp": {"layers": 100000000000000000000}}',
    '{"clvp": {"heads": 0}}',
    '{"autoregressive": {"heads": 3}}',
    '{"clpv": {"layers": 2}}',
    "[",
]


@pytest.mark.parametrize("config", CONFIGS)
def test_a_config_that_fits_no_network_is_refused(config: str, folder: Path) -> None:
    (folder / "config.json").write_text(config)
    with fails("config.json"):
        open_network("autoregressive" if "autoregressive" in config else "clvp", folder)


def test_half_precision_is_for_matrices_alone(folder: Path) -> None:
    opened = open_network("autoregressive", folder, dtype=torch.bfloat16)
    assert opened.blocks[0].mlp["c_fc"].bias.dtype == torch.bfloat16
    assert opened.blocks[0].ln_1.weight.dtype == opened.code_embedding.weight.dtype == torch.float32
    text, codes = integers(0, 3, 255, 1, 9), integers(1, 0, 8192, 1, 9)
    voice = noise(2, 1, 64)
    assert off(opened.latents(voice, text, codes), network("autoregressive").latents(voice, text, codes)) < 0.02


def test_a_conversion_for_other_sizes_is_refused(folder: Path) -> None:
    open_network("clvp", folder)
    sizes = {**SIZES, "clvp": {**SIZES["clvp"], "heads": 3}}
    (folder / "config.json").write_text(json.dumps(sizes))
    with fails(r"text\.blocks\.0\.to_qkv\.weight has the shape \[384, 64\], not \[576, 64\]"):
        open_network("clvp", folder)
