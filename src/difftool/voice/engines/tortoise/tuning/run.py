"""Tortoise's part in `voice train`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from .....device import choose, return_memory
from .....errors import DifftoolError, Exit
from .....files import replacing
from .....learning.config import NetConfig, RunConfig
from .....learning.loop import Trainee
from .....learning.tasks import place, seeded
from .....nets.layers import Linear
from .....nets.official import sources, stored_in
from .....nets.tortoise.autoregressive import UnifiedVoice
from .....nets.tortoise.official import AUTOREGRESSIVE, TRANSPOSED
from .....nets.tortoise.tokenizer import tokenize
from ....library import Voice
from ....tuning import Clip, Clips, Tuning
from ....tuning.settings import Settings
from ..files import DECODER, DVAE, dvae_folder, folder_of, is_stored
from ..learned import DOWN, UP, Learned, write_learned
from ..networks import empty, hash_of, open_network
from .lora import adapted
from .memory import is_short
from .targets import PULL, Target, Targets
from .task import Clipset, CodePrediction, CodePredictor

log = logging.getLogger(__name__)

TARGETS, EXPORT = "targets.safetensors", "decoder.pth"
FEWEST = 3
"""Clips with which each can be conditioned on the voice in others only."""


@dataclass(frozen=True)
class TortoiseTuning(Tuning):
    """A run that trains Tortoise's decoder."""

    networks: Path
    """The folder of the decoder."""
    base: str
    """The SHA-256 of its file."""

    preset: ClassVar[str] = "draft"
    drawing: ClassVar[float] = 120.0
    files: ClassVar[Sequence[str]] = (TARGETS, EXPORT)

    @property
    def is_full(self) -> bool:
        """Whether every weight of the decoder is trained."""
        return self.settings.method == "full"

    @property
    def net(self) -> NetConfig:
        config: dict[str, object] = {"type": f"tortoise-{self.settings.method}", "base": self.base}
        return cast(NetConfig, config if self.is_full else {**config, "rank": self.settings.rank})

    def prepare(self, folder: Path) -> Iterator[None]:
        yield from self._targets(folder).compute([*self.clips.train, *self.clips.held])

    def _targets(self, folder: Path) -> Targets:
        return Targets(folder / TARGETS, self.networks, self.settings.models_dir)

    def make(self, folder: Path, config: RunConfig) -> tuple[Trainee, CodePrediction]:
        device, dtype = choose(self.settings.device, self.settings.dtype, self.settings.threads)
        return_memory()
        train, targets = config["train"], self._targets(folder)
        decoder = cast(UnifiedVoice, open_network("autoregressive", self.networks, dtype=None))
        net = CodePredictor(decoder, targets.text_head())
        if self.is_full:
            _trainable(net)
        else:
            for layer in net.modules():
                if isinstance(layer, Linear):
                    layer.to(dtype)
            rank = self.settings.rank
            assert rank is not None
            seeded(train["seed"], lambda: adapted(decoder, rank))
        place(net, device, train)
        learned = [targets[clip] for clip in self.clips.train]
        clips = _clipset(self.clips.train, learned, learned, device)
        held = _clipset(self.clips.held, [targets[clip] for clip in self.clips.held], learned, device)
        task = CodePrediction(train, net, clips, held, dtype if self.is_full else torch.float32)
        if not net.checkpointing and is_short(task, dtype):
            _log_once("memory is short; training as with --checkpointing, with the same result")
            net.checkpointing = True
        return Trainee(net, train, _vectors_and_tables(net) if self.is_full else ()), task

    def publish(self, path: Path, weights: Mapping[str, Tensor]) -> None:
        write_learned(path, self._official(weights), self.base)

    def export(self, folder: Path, weights: Mapping[str, Tensor]) -> Sequence[Path]:
        """Writes EXPORT, which has the form of autoregressive.pth."""
        learned = Learned(self._official(weights))
        base = stored_in(self.networks / DECODER, AUTOREGRESSIVE, PULL)
        tensors = {name: learned.applied(name, entry.read()).contiguous() for name, entry in base.items()}
        # into an open file, which tells of a full disk
        with replacing(folder / EXPORT) as written, written.open("wb") as file:
            torch.save(tensors, file)
        return [folder / EXPORT]

    def _official(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Learned weights by official name, in the official layouts."""
        decoder = {"autoregressive": empty(DECODER, self.networks)["autoregressive"]}
        rows, factors = sources(AUTOREGRESSIVE, decoder), {"down": DOWN, "up": UP}
        made = {}
        for name, value in weights.items():
            own, tensor = name.removeprefix("decoder."), value.detach().float().cpu()
            stem, _, kind = own.rpartition(".")
            if kind in factors:
                _, (theirs,), _ = rows[f"{stem}.weight"]
                made[theirs.removesuffix(".weight") + factors[kind]] = tensor
            elif own in rows:
                layout, (theirs,), _ = rows[own]
                made[theirs] = tensor.T if layout is TRANSPOSED else tensor
            else:  # the head for text
                made[own] = tensor
        return made


@cache
def _log_once(message: str) -> None:
    """Logs a message the first time: a run makes its network more than once."""
    log.info(message)


def plan_tuning(settings: Settings, voice: Voice, clips: Clips) -> TortoiseTuning:
    """As `Tuner.plan`."""
    folder, dvae = folder_of(settings.models_dir), dvae_folder(settings.models_dir)
    missing = [] if (folder / DECODER).is_file() else [folder / DECODER]
    missing += [] if is_stored(dvae / DVAE) else [dvae / DVAE]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise DifftoolError(Exit.FILE, f"{', '.join(map(str, missing))} {verb} missing", PULL)
    if len(clips.train) < FEWEST:
        log.warning("with so few clips, each is also conditioned on its own voice, not only on that of others")
    return TortoiseTuning(settings, voice, clips, folder, hash_of("autoregressive", folder))


def _clipset(
    clips: Sequence[Clip], targets: Sequence[Target], voices: Sequence[Target], device: torch.device
) -> Clipset:
    """Clips as rows, conditioned on the voice in the clips of `voices`; if these are the same clips, in others than the
    row's own."""
    own, first = [], 0
    for target in voices:
        own.append(range(first, first + len(target.voices)))
        first += len(target.voices)
    if targets is not voices or len(voices) < FEWEST:
        own = [range(0)] * len(clips)
    texts = [torch.tensor(tokenize(clip.text), device=device) for clip in clips]
    codes = [target.codes.to(device) for target in targets]
    return Clipset(texts, codes, torch.cat([target.voices for target in voices]).to(device), own)


def _trainable(net: nn.Module) -> None:
    """Makes every weight of a network trainable, and a copy of what is mapped from a file."""
    for module in net.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(value.detach().clone()))


def _vectors_and_tables(net: nn.Module) -> list[Tensor]:
    """The parameters that are no matrices of a product."""
    tables = [module.weight for module in net.modules() if isinstance(module, nn.Embedding)]
    return [*tables, *(p for p in net.parameters() if p.ndim < 2)]
