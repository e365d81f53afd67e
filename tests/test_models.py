from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from difftool import sample
from difftool.core import EPS, TARGETS, DiscreteVP, Flow, Karras
from difftool.errors import DifftoolError, Exit
from difftool.files import save_tensors
from difftool.models import SCHEMA, build_net, build_path, open_model, save_model, typed


def fails(says: str) -> pytest.RaisesExc[DifftoolError]:
    return pytest.RaisesExc(DifftoolError, match=says, check=lambda error: error.code == Exit.FILE)


def test_a_folder_opens_as_it_was_saved(tiny_model: Callable[..., Path]) -> None:
    model = open_model(tiny_model(channels=3, target="flow"))
    assert model.shape == (3, 6, 10)
    assert model.classes == ("a", "b")
    assert model.target is TARGETS["flow"]
    assert isinstance(model.path, Flow)
    assert model.path.level(1.0).t == 1000
    assert model.any_label
    assert not any(p.requires_grad for p in model.net.parameters())
    assert not model.net.training
    assert model.net(torch.zeros(2, 3, 6, 10), torch.ones(2)).any()


def test_the_digits_are_in_the_package() -> None:
    model = open_model()
    assert (model.name, model.source, model.shape) == ("digits", "digits", (1, 8, 8))
    assert model.classes == tuple("0123456789")


def test_a_folder_with_the_name_of_a_model_in_the_package(
    tiny_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_model("digits", channels=3)
    monkeypatch.chdir(tmp_path)
    assert open_model("digits").shape == (1, 8, 8)
    for ref in (Path("digits"), "./digits", typed(Path("digits"))):
        model = open_model(ref)
        assert (model.shape, model.source) == ((3, 6, 10), str(folder))


def test_a_network_that_always_saw_its_label_cannot_do_without(tiny_model: Callable[..., Path]) -> None:
    folder = tiny_model()
    assert open_model(folder).any_label
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "train": {"label_dropout": 0.0}}))
    assert not open_model(folder).any_label


def test_half_precision(tiny_model: Callable[..., Path]) -> None:
    model = open_model(tiny_model(), dtype=torch.bfloat16)
    assert {p.dtype for p in model.net.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("ref", "says"),
    [
        ("no/such/folder", "not a folder"),
        ("digit", "not a folder"),
        ("owner/name", "in the store"),
        ("a.bin", "is a file"),
    ],
)
def test_no_such_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ref: str, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.bin").write_bytes(b"x")
    with fails(says):
        open_model(ref)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.pop("net"), "lacks 'net'"),
        (lambda c: c.update(schema="other/1"), "contains no model"),
        (lambda c: c.update(target="noise"), "unknown target"),
        (lambda c: c["net"].update(type="dit"), "unknown network type"),
        (lambda c: c["net"].update(width=12), "multiple of 8"),
        (lambda c: c["net"].update(depth=3), "depth"),
        (lambda c: c["net"].update(width=16), "a different architecture"),
        (lambda c: c["net"].update(mults=[1, 2, 2]), "a different architecture"),
        (lambda c: c["net"].update(blocks=10**7), "1 to 1000 blocks"),
        (lambda c: c["net"].update(classes=10**8), "a different architecture"),
        (lambda c: c["net"].update(width=8 * 10**6), "a different architecture"),
        (lambda c: c.update(path={"type": "flow", "shift": 1.0, "clock": 1e309}), "not finite"),
        (lambda c: c.update(path={"type": "flow", "shift": float("inf"), "clock": 1000}), "is invalid"),
        (lambda c: c.update(path={"type": "karras", "lo": 0.0, "hi": 80}), "noise range from 0.0 to 80"),
        (lambda c: c.update(path={"type": "karras", "lo": 0.002, "hi": 1e308}), "noise range from 0.002 to 1e"),
        (lambda c: c["path"].update(betas="cosin"), "unknown beta schedule"),
        (lambda c: c["path"].update(T=10**9), "1 to 100,000 levels"),
        (lambda c: c["path"].update(zero_snr="no"), "a boolean zero_snr"),
        (lambda c: c["path"].update(type="ve"), "unknown path type"),
        (lambda c: c.update(size=[8]), "is invalid"),
        (lambda c: c.update(size=[10**9, 10**9]), "is invalid"),
        (lambda c: c.update(classes=["x" * 100] * 10**5), "is not the config of a model"),
        (lambda c: c.update(classes=None), "is invalid"),
    ],
)
def test_a_config_that_does_not_fit(tiny_model: Callable[..., Path], change: Callable, says: str) -> None:
    folder = tiny_model()
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    with fails(says):
        open_model(folder)


def test_more_layers_than_the_weights_fill(tmp_path: Path) -> None:
    """Which would take minutes to make, though nothing of them would fit."""
    net = {"type": "mlp", "channels": 2, "width": 8, "layers": 3}
    flow = {"type": "flow", "shift": 1.0, "clock": 1000}
    config = {"net": net, "path": flow, "target": "v", "size": [1, 1], "classes": []}
    save_model(tmp_path, config, build_net(net).state_dict())
    assert open_model(tmp_path).shape == (2, 1, 1)
    (tmp_path / "config.json").write_text(json.dumps({"schema": SCHEMA, **config, "net": {**net, "layers": 10**7}}))
    with fails("far too many layers"):
        open_model(tmp_path)


@pytest.mark.parametrize(
    "more",
    [
        {"layers_per_block": 10**7},
        {"block_out_channels": [8 * 10**7, 16 * 10**7]},
        {"block_out_channels": [8] * 10**5},
        {"time_embedding_type": "x"},
        {"sample_size": 10**9},
    ],
)
def test_a_diffusers_config_that_asks_for_more(tmp_path: Path, more: dict[str, Any]) -> None:
    from diffusers import UNet2DModel

    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    sizes = {"sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "norm_num_groups": 4}
    UNet2DModel(**sizes, **blocks, block_out_channels=(8, 16)).save_pretrained(tmp_path)
    assert open_model(tmp_path).shape == (1, 8, 8)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **more}))
    with pytest.raises(DifftoolError) as found:
        open_model(tmp_path)
    assert found.value.code == Exit.FILE


def test_a_config_that_never_ends(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with fails("is not the config of a model"):
        open_model(tmp_path)


def test_weights_that_are_not_there_or_of_another_network(tiny_model: Callable[..., Path]) -> None:
    folder = tiny_model()
    save_tensors(folder / "model.safetensors", {"stem.weight": torch.zeros(8, 1, 3, 3)})
    with fails("has a different architecture: it lacks"):
        open_model(folder)
    (folder / "model.safetensors").unlink()
    with fails("contains no model.safetensors"):
        open_model(folder)
    (folder / "config.json").unlink()
    with fails("cannot read"):
        open_model(folder)


def test_a_model_of_edm(tiny_model: Callable[..., Path]) -> None:
    folder = tiny_model()
    config = json.loads((folder / "config.json").read_text())
    config |= {"path": {"type": "karras", "lo": 0.002, "hi": 80}, "target": "edm"}
    (folder / "config.json").write_text(json.dumps(config))
    model = open_model(folder)
    assert isinstance(model.path, Karras)
    assert model.scale is not None
    assert model.scale(model.path.level(0.5)) == pytest.approx(2**0.5)
    assert sample(folder, steps=4, count=2).manifest["settings"]["schedule"] == "karras"


def test_an_interrupt_is_no_misfit(tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise RuntimeError("Error calling __set_name__") from KeyboardInterrupt()

    folder = tiny_model()
    monkeypatch.setattr("difftool.models.build_path", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_model(folder)


def test_paths_of_configs() -> None:
    ends_in_noise = build_path({"type": "discrete_vp", "betas": "cosine", "T": 10, "zero_snr": True})
    assert ends_in_noise.level(9).alpha == 0
    assert isinstance(
        build_path({"type": "discrete_vp", "betas": "linear", "T": 10, "start": 0.1, "end": 0.2}), DiscreteVP
    )


class TestDiffusers:
    """Folders that diffusers saved."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

        torch.manual_seed(0)
        net = UNet2DModel(
            sample_size=(8, 12),
            in_channels=3,
            out_channels=3,
            block_out_channels=(32, 32),
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            norm_num_groups=8,
            num_class_embeds=4,
        )
        DDPMPipeline(net, DDPMScheduler(beta_schedule="linear", clip_sample=True)).save_pretrained(tmp_path / "ddpm")
        return tmp_path / "ddpm"

    def test_it_draws_what_diffusers_draws(self, folder: Path) -> None:
        from diffusers import DDIMScheduler, UNet2DModel

        from difftool.core.noise import START, Noise
        from difftool.pixels.draw import states
        from difftool.sampling.choice import choose_sampler

        model = open_model(folder)
        assert model.shape == (3, 8, 12)
        assert model.target is EPS
        assert model.clip
        choice = choose_sampler(model.path, "ddim", 10, "leading")
        *_, state = states(model, choice, [4, 5], ["1", "3"])

        net = UNet2DModel.from_pretrained(folder / "unet")
        # clipped estimates take their noise with them here, as they do in ours
        scheduler = DDIMScheduler(beta_schedule="linear", timestep_spacing="leading", clip_sample=True)
        scheduler.set_timesteps(10)
        x = Noise([4, 5], (3, 8, 12))(START) * choice.levels[0].sigma
        with torch.no_grad():
            for t in scheduler.timesteps:
                out = net(x, t, class_labels=torch.tensor([1, 3])).sample
                x = scheduler.step(out, t, x, use_clipped_model_output=True).prev_sample
        assert (state.x - x).norm() / x.norm() < 1e-4

    @pytest.mark.parametrize("variance", ["fixed_small", "fixed_large", "learned_range"])
    def test_it_draws_with_the_variance_that_diffusers_draws_with(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variance: str
    ) -> None:
        from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
        from diffusers.schedulers import scheduling_ddpm

        from difftool.core.noise import START, Noise
        from difftool.pixels.draw import states
        from difftool.sampling.choice import choose_sampler

        torch.manual_seed(0)
        net = UNet2DModel(
            sample_size=8,
            in_channels=3,
            out_channels=6 if variance == "learned_range" else 3,
            block_out_channels=(32,),
            down_block_types=("DownBlock2D",),
            up_block_types=("UpBlock2D",),
            layers_per_block=1,
            norm_num_groups=8,
        )
        scheduler = DDPMScheduler(beta_schedule="linear", variance_type=variance, timestep_spacing="leading")
        DDPMPipeline(net, scheduler).save_pretrained(tmp_path / "ddpm")
        model = open_model(tmp_path / "ddpm")
        assert model.variance == {"fixed_small": "small", "fixed_large": "large", "learned_range": "learned"}[variance]
        choice = choose_sampler(model.path, "ddpm", 10, "leading", variance=model.variance)
        *_, state = states(model, choice, [4, 5], [None, None])

        noise = Noise([4, 5], (3, 8, 8))
        draws = iter([noise(i) for i in range(10)])
        monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *_, **__: next(draws))
        scheduler.set_timesteps(10)
        x = noise(START) * choice.levels[0].sigma
        with torch.no_grad():
            for t in scheduler.timesteps:
                x = scheduler.step(net(x, t).sample, t, x).prev_sample
        assert (state.x - x).norm() / x.norm() < 1e-4
        drawn = sample(tmp_path / "ddpm", sampler="ddpm", steps=10, count=2)
        assert drawn.manifest["network_calls"] == 10

    def test_zero_terminal_snr(self, folder: Path) -> None:
        file = folder / "scheduler" / "scheduler_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "rescale_betas_zero_snr": True}))
        path = open_model(folder).path
        assert path.level(path.hi).alpha == 0

    def test_the_network_alone(self, folder: Path) -> None:
        model = open_model(folder / "unet")
        assert isinstance(model.path, DiscreteVP)
        assert not model.any_label
        assert "diffusers" in model.packages

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"prediction_type": "flow"}, "unknown value 'flow'"),
            ({"beta_schedule": "sigmoid"}, "unknown value 'sigmoid'"),
            ({"thresholding": True}, "thresholding"),
            ({"variance_type": "learned"}, "unknown value 'learned'"),
            ({"variance_type": "learned_range"}, "3 channels for 3"),
        ],
    )
    def test_what_it_cannot_use_it_refuses(self, folder: Path, change: dict, says: str) -> None:
        file = folder / "scheduler" / "scheduler_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
        with fails(says):
            open_model(folder)

    def test_other_models(self, folder: Path) -> None:
        file = folder / "unet" / "config.json"
        config = json.loads(file.read_text())
        file.write_text(json.dumps({**config, "out_channels": 6}))
        with fails("6 channels for 3"):
            open_model(folder)
        file.write_text(json.dumps({**config, "_class_name": "Transformer2DModel"}))
        with fails("Transformer2DModel"):
            open_model(folder)


def test_opening_does_not_import_the_compiler_of_pytorch() -> None:
    """It takes a second."""
    code = "import difftool, sys; difftool.open_model('digits'); print('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
