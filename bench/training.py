"""Training beside diffusers' train_unconditional and denoising-diffusion-pytorch's Trainer, in one run: the same U-Net,
the same pictures in a folder, the same batch.

    python bench/training.py quality [SECONDS]    # what each learns of the digits in as many seconds
    python bench/training.py speed                # seconds of an update, and what of it is spent beside the network
    python bench/training.py start                # from a second start to the first update, with 10,000 pictures

`make bench-training` installs the two beside difftool and runs all three. The peers' recipes are their own but for the
learning rate, of which the best of three counts, and for what would only hurt them here: no mirrored digits, a warm-up
of 5 %. They have all the seconds for their loop; difftool has them from the shell and back, its judging included. All
draw by ddim in 50 steps, and are judged by three sets of 500 pictures, since one set alone is 3 of FD off.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from typing import Any

PEERS = ("diffusers", "lucidrains")
RATES, SEEDS, SECONDS = (1e-4, 3e-4, 1e-3), (0, 1, 2), 120.0
OWN = {
    "flow (the preset)": [],
    "v": ["--target", "v"],
    "v, learned range": ["--target", "v", "--learned-range"],
    "edm": ["--target", "edm"],
}
BATCH = {"digits": 64, "pictures": 32}


class Enough(Exception):
    """The end of a peer's loop, which knows no other."""


def network(kind: str) -> Any:
    """The U-Net of a preset, without labels: the peers know none."""
    from difftool.models import build_net
    from difftool.presets import preset

    return build_net({**preset("train", kind)["net"], "channels": {"digits": 1, "pictures": 3}[kind]})


def diffusers(folder: Path, kind: str, lr: float, steps: int, on_step: Callable[[], None]) -> Any:
    """The loop of examples/unconditional_image_generation/train_unconditional.py with --use_ema; returns the network
    with its averaged weights."""
    import torch
    import torch.nn.functional as F
    from accelerate import Accelerator
    from datasets import load_dataset
    from diffusers import DDPMScheduler
    from diffusers.optimization import get_scheduler
    from diffusers.training_utils import EMAModel
    from torchvision import transforms

    net, grey, size = network(kind), kind == "digits", 8 if kind == "digits" else 64
    accelerator = Accelerator(cpu=True)
    ema = EMAModel(net.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
    scheduler = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear", prediction_type="epsilon")
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
    data = load_dataset("imagefolder", data_dir=str(folder), split="train")
    augment = transforms.Compose(
        [
            transforms.Resize(size, interpolation=transforms.InterpolationMode.BILINEAR),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize([0.5], [0.5]),
        ]
    )
    data.set_transform(
        lambda rows: {"input": [augment(image.convert("L" if grey else "RGB")) for image in rows["image"]]}
    )
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH[kind], shuffle=True, num_workers=0)
    rates = get_scheduler("cosine", optimizer=optimizer, num_warmup_steps=steps // 20, num_training_steps=steps)
    net, optimizer, loader, rates = accelerator.prepare(net, optimizer, loader, rates)
    with contextlib.suppress(Enough):
        while True:
            for batch in loader:
                clean = batch["input"]
                noise = torch.randn(clean.shape)
                times = torch.randint(0, 1000, (len(clean),)).long()
                with accelerator.accumulate(net):
                    loss = F.mse_loss(net(scheduler.add_noise(clean, noise, times), times).float(), noise.float())
                    accelerator.backward(loss)
                    accelerator.clip_grad_norm_(net.parameters(), 1.0)
                    optimizer.step()
                    rates.step()
                    optimizer.zero_grad()
                ema.step(net.parameters())
                loss.detach().item()
                on_step()
    ema.copy_to(net.parameters())
    return net


def lucidrains(folder: Path, kind: str, lr: float, steps: int, on_step: Callable[[], None]) -> Any:
    """denoising_diffusion_pytorch's Trainer; returns the network with its averaged weights."""
    from denoising_diffusion_pytorch import GaussianDiffusion, Trainer

    net, grey, size = network(kind), kind == "digits", 8 if kind == "digits" else 64
    net.channels = net.out_dim = 1 if grey else 3
    net.self_condition = net.random_or_learned_sinusoidal_cond = False
    plain = net.forward
    net.forward = lambda x, t, x_self_cond=None: plain(x, t)
    diffusion = GaussianDiffusion(net, image_size=size, timesteps=1000, sampling_timesteps=50)
    trainer = Trainer(
        diffusion,
        str(folder),
        train_batch_size=BATCH[kind],
        train_lr=lr,
        train_num_steps=10**9,
        augment_horizontal_flip=False,
        calculate_fid=False,
        save_and_sample_every=10**9,
        results_folder=tempfile.mkdtemp(),
    )
    update = trainer.ema.update

    def counted() -> None:
        update()
        on_step()

    trainer.ema.update = counted
    with contextlib.suppress(Enough):
        trainer.train()
    averaged = trainer.ema.ema_model.model
    averaged.__dict__.pop("forward")
    return averaged


MODELS = {
    "diffusers": ("eps", {"type": "discrete_vp", "betas": "linear", "T": 1000}),
    "lucidrains": ("v", {"type": "discrete_vp", "betas": "sigmoid", "T": 1000}),
}


def learned(peer: str, lr: float, seed: int, seconds: float, folder: Path) -> dict[str, float]:
    """The figures of a peer's digits after `seconds` of its loop."""
    import torch

    from difftool.models import save_model
    from difftool.presets import preset

    torch.manual_seed(seed)
    marks = [time.perf_counter()]

    def timed(end: float) -> Callable[[], None]:
        def on_step() -> None:
            marks.append(time.perf_counter())
            if marks[-1] > end:
                raise Enough

        return on_step

    train = {"diffusers": diffusers, "lucidrains": lucidrains}[peer]
    with contextlib.redirect_stderr(io.StringIO()):
        train(folder, "digits", lr, 1000, timed(time.perf_counter() + 12))  # how long an update takes
        steps = int(seconds / median(b - a for a, b in itertools.pairwise(marks[5:])))
        torch.manual_seed(seed)
        began, count = time.perf_counter(), len(marks)
        net = train(folder, "digits", lr, steps, timed(began + seconds))
    target, path = MODELS[peer]
    config = {
        "net": {**preset("train", "digits")["net"], "channels": 1, "classes": 0},
        "path": path,
        "target": target,
        "size": [8, 8],
        "classes": [],
    }
    with tempfile.TemporaryDirectory() as place:
        save_model(Path(place), config, {name: p.detach() for name, p in net.named_parameters()})
        return {**judged(Path(place)), "steps": len(marks) - count}


def own(options: list[str], seed: int, seconds: float) -> dict[str, float]:
    """The figures of `difftool train`, which takes as many seconds from the shell and back."""
    with tempfile.TemporaryDirectory() as place:
        line = [sys.executable, "-m", "difftool", "train", "--minutes", str(seconds / 60), "--seed", str(seed)]
        line += ["--output-dir", f"{place}/run", "--json", *options]
        data = json.loads(subprocess.run(line, capture_output=True, text=True, check=True).stdout)["data"]
        found = in_a_child("judged", Path(f"{place}/run"))
    return {**found, "steps": data["images"] // BATCH["digits"]}


def judged(model: Path) -> dict[str, float]:
    """The figures of a model's digits, mean of three sets of 500."""
    from difftool.pixels.draw import draw_samples
    from difftool.pixels.plan import plan_samples_with
    from difftool.train.data.pictures import digits
    from difftool.train.quality import measure

    data = digits()._replace(labels=None)
    return _mean(
        [
            measure(draw_samples(plan_samples_with(model, count=500, seed=seed, steps=50)), data)
            for seed in (1000, 5000, 9000)
        ]
    )


def in_a_child(*words: object) -> Any:
    """What a function of this file returns, called in a process of its own."""
    line = [
        sys.executable,
        __file__,
        "call",
        json.dumps([str(word) if isinstance(word, Path) else word for word in words]),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(line, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def quality(seconds: float) -> None:
    """Prints what each learns: difftool in several recipes, and the peers with each rate and, with the best, each
    seed."""
    for name, options in OWN.items():
        rows = [own(options, seed, seconds) for seed in SEEDS]
        _told(f"difftool, {name}, mean of {len(rows)}", _mean(rows))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _digits_as_files(folder)
        for peer in PEERS:
            tried = {}
            for lr in RATES:
                tried[lr] = in_a_child("learned", peer, lr, SEEDS[0], seconds, folder)
                _told(f"{peer}, lr {lr:g}, seed {SEEDS[0]}", tried[lr])
            best = min(tried, key=lambda lr: tried[lr]["c2st"])
            rows = [tried[best], *(in_a_child("learned", peer, best, seed, seconds, folder) for seed in SEEDS[1:])]
            _told(f"{peer}, lr {best:g}, mean of {len(rows)}", _mean(rows))


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: mean(row[key] for row in rows) for key in rows[0]}


def _told(name: str, row: dict[str, float]) -> None:
    figures = "C2ST {c2st:.3f}  FD {fd:6.1f}  nearest {nearest:.2f}  exploded {exploded:g}  updates {steps:.0f}"
    print(f"{name:44} {figures.format(**row)}", flush=True)


class Spent:
    """Seconds of a loop in all, in the network's forward and backward pass, and in the optimiser with its averages."""

    def __init__(self) -> None:
        self.whole = self.inside = 0.0

    def inside_of(self, owner: Any, name: str) -> None:
        """Counts what a method takes."""
        inner = getattr(owner, name)

        def timed(*args: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return inner(*args, **named)
            finally:
                self.inside += time.perf_counter() - began

        setattr(owner, name, timed)


def updates_of(name: str, kind: str, folder: Path, count: int) -> dict[str, float]:
    """Median seconds of an update of a loop, after some that warm it up; of ours also the share spent beside forward,
    backward, clipping and optimiser."""
    import torch

    marks = [time.perf_counter()]

    def on_step() -> None:
        marks.append(time.perf_counter())
        if len(marks) > count:
            raise Enough

    if name != "difftool":
        with contextlib.redirect_stderr(io.StringIO()):
            {"diffusers": diffusers, "lucidrains": lucidrains}[name](folder, kind, 1e-4, 1000, on_step)
        return {"seconds": median(b - a for a, b in itertools.pairwise(marks[5:]))}
    from difftool.learning import loop
    from difftool.learning.tasks import Denoising, seeded
    from difftool.train.data.tensors import data_of
    from difftool.train.recipe import prepare

    config, pictures, device, dtype, _ = prepare(folder, preset=kind, steps=count, batch_size=BATCH[kind], held_out=0)
    task = Denoising(config, seeded(0, lambda: network(kind)), data_of(pictures, device), None, dtype)
    trainee, spent = loop.Trainee(task.net, config["train"]), Spent()
    spent.inside_of(task, "forward")
    spent.inside_of(torch.Tensor, "backward")
    spent.inside_of(trainee.optimizer, "step")
    spent.inside_of(trainee.optimizer, "zero_grad")
    spent.inside_of(trainee.ema, "update")
    spent.inside_of(torch.nn.utils, "clip_grad_norm_")
    for update in loop.updates(trainee, task, config["train"]):
        if update.step == 5:
            spent.inside = 0.0
        on_step() if len(marks) < count else marks.append(time.perf_counter())
    whole = marks[-1] - marks[5]
    return {
        "seconds": median(b - a for a, b in itertools.pairwise(marks[5:])),
        "beside": 1 - spent.inside / whole,
        "bf16": float(dtype != torch.float32),
    }


def speed() -> None:
    """Prints how many times as fast as its peers difftool is, in rounds that alternate."""
    with tempfile.TemporaryDirectory() as place:
        for kind, count, rounds in (("digits", 60, 3), ("pictures", 14, 2)):
            folder = Path(place) / kind
            folder.mkdir()
            _digits_as_files(folder) if kind == "digits" else _pictures_as_files(folder, 1000)
            rows: dict[str, list[dict[str, float]]] = {name: [] for name in ("difftool", *PEERS)}
            for _ in range(rounds):
                for name, found in rows.items():
                    found.append(in_a_child("updates_of", name, kind, folder, count))
            ours = rows["difftool"]
            for peer in PEERS:
                ratios = [a["seconds"] / b["seconds"] for a, b in zip(rows[peer], ours, strict=True)]
                spread = f"rounds {min(ratios):.2f} to {max(ratios):.2f}"
                print(f"{kind}: {median(ratios):.2f} times as fast as {peer} ({spread})", flush=True)
            each, beside = median(one["seconds"] for one in ours), max(one["beside"] for one in ours)
            kept = f"{1000 * each:.0f} ms an update in {'bf16' if ours[0]['bf16'] else 'fp32'}"
            print(f"{kind}: {kept}, at most {beside:.1%} beside the network and optimiser", flush=True)


def start() -> None:
    """Prints the seconds from a second start to the first update, with 10,000 pictures of 64x64."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "pictures"
        folder.mkdir()
        _pictures_as_files(folder, 10_000)
        environment = {**os.environ, "XDG_CACHE_HOME": f"{place}/cache"}
        for what in ("first", "second", "third"):
            run = Path(place) / what
            line = [sys.executable, "-m", "difftool", "train", str(folder), "--steps", "400", "--batch-size", "1"]
            line += ["--output-dir", str(run), "--micro-batch", "1"]
            began = time.perf_counter()
            with subprocess.Popen(line, stderr=subprocess.DEVNULL, env=environment) as started:
                while not ((run / "log.jsonl").exists() and (run / "log.jsonl").stat().st_size):
                    time.sleep(0.02)
                print(f"{what} start: {time.perf_counter() - began:.1f} s until the first update is logged", flush=True)
                started.kill()


def _pictures_as_files(folder: Path, count: int) -> None:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for k in range(count):
        coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{k:05d}.png")


def _digits_as_files(folder: Path) -> None:
    from PIL import Image

    from difftool.train.data.pictures import digits

    for k, pixels in enumerate(digits().pixels):
        Image.fromarray(pixels[..., 0]).save(folder / f"{k:04d}.png")


if __name__ == "__main__":
    what, *rest = sys.argv[1:] or ["quality"]
    if what == "call":
        name, *arguments = json.loads(rest[0])
        print(
            json.dumps(
                globals()[name](
                    *(Path(word) if isinstance(word, str) and word.startswith("/") else word for word in arguments)
                )
            )
        )
    else:
        globals()[what](*map(float, rest or [SECONDS] * (what == "quality")))
