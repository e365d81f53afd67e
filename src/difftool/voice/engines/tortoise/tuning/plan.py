"""Tortoise's part in `voice train`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from .....errors import DifftoolError, Exit
from .....files import digest_of, replacing
from .....learning.config import NetConfig, RunConfig, TrainConfig
from .....learning.loop import Trainee
from .....learning.tasks import place, seeded
from .....nets.layers import Linear
from .....nets.official import sources, stored_in
from .....nets.tortoise.autoregressive import UnifiedVoice
from .....nets.tortoise.official import AUTOREGRESSIVE, TRANSPOSED
from .....nets.tortoise.tokenizer import tokenize
from .....store import room_for
from ....library import Voice
from ....tuning import Clip, Clips, Tuning
from ....tuning.settings import Settings
from ..files import DECODER, DVAE, dvae_folder, folder_of, is_stored
from ..learned import DOWN, UP, opened, write_learned
from ..networks import hash_of, open_network
from .lora import Adapted, adapt
from .targets import Target, Targets
from .task import Clipset, CodePrediction, CodePredictor

log = logging.getLogger(__name__)

TARGETS, EXPORT = "targets.safetensors", "decoder.pth"
PULL = "run difftool models pull tortoise tortoise-dvae"
FEWEST = 3
"""Clips with which each can be told of the voice in others only."""


@dataclass(frozen=True)
class TortoiseTuning(Tuning):
    """A run that trains Tortoise's decoder."""

    networks: Path
    """The folder of the decoder."""

    files: ClassVar[Sequence[str]] = (TARGETS, EXPORT)

    @property
    def net(self) -> NetConfig:
        config: NetConfig = {"type": f"tortoise-{self.settings.method}"}
        if self.settings.method == "lora":
            config["rank"] = self.settings.rank
        return {**config, "base": self.base}

    @property
    def base(self) -> str:
        """SHA-256 of the decoder that is tuned."""
        return hash_of("autoregressive", self.networks)

    def prepare(self, folder: Path) -> Iterator[None]:
        yield from self._targets(folder).compute([*self.clips.train, *self.clips.held])

    def _targets(self, folder: Path) -> Targets:
        return Targets(folder / TARGETS, self.networks, self.settings.models_dir)

    def make(self, folder: Path, config: RunConfig) -> tuple[Trainee, CodePrediction]:
        train = config["train"]
        device, dtype = self.settings.machine()
        net = self._network(train, dtype)
        place(net, device, train)
        targets = self._targets(folder)
        told = [targets[clip] for clip in self.clips.train]
        clips = _clipset(self.clips.train, told, told, device)
        held = _clipset(self.clips.held, [targets[clip] for clip in self.clips.held], told, device)
        is_full = self.settings.method == "full"
        task = CodePrediction(train, net, clips, held, dtype if is_full else torch.float32)
        tables = [module.weight for module in net.modules() if isinstance(module, nn.Embedding)]
        return Trainee(net, train, constant=tables), task

    def _network(self, train: TrainConfig, dtype: torch.dtype) -> CodePredictor:
        decoder = cast(UnifiedVoice, open_network("autoregressive", self.networks, dtype=None))
        net = CodePredictor(decoder, text_head(self.networks))
        if self.settings.method == "full":
            for module in net.modules():
                for name, value in list(module.named_parameters(recurse=False)):
                    setattr(module, name, nn.Parameter(value.detach().clone()))  # the others are mapped from the file
            return net
        for layer in net.modules():
            if isinstance(layer, Linear):
                layer.to(dtype)
        rank = self.settings.rank
        assert rank is not None
        seeded(train["seed"], lambda: adapt(decoder, rank))
        return net

    def publish(self, path: Path, weights: Mapping[str, Tensor]) -> None:
        write_learned(path, dict(_official(weights, self.networks)), self.base)
