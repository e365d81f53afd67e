"""The weights that a run begins with: those of another run or of a model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ..errors import DifftoolError, Exit
from ..files import expanded
from ..learning.differences import Difference, decisive, described, differences
from ..models import ASSETS, BUNDLED, Model, item_of, open_model, read_config
from ..presets import family
from .recipe import PictureConfig, meanings, option_names

log = logging.getLogger(__name__)

LABELS = "label.weight"
"""The weights of a network that belong to its classes."""


class Source(NamedTuple):
    """An opened model and its config.json."""

    model: Model
    config: Mapping[str, Any]


def open_source(ref: str | Path) -> Source:
    """Opens a run, a model folder or a bundled model. Raises DifftoolError 4 as `open_model`, and for a folder of
    diffusers."""
    folder = ASSETS / ref if isinstance(ref, str) and ref in BUNDLED else expanded(ref)
    file = folder / "config.json"
    if (folder / "model_index.json").exists() or (file.exists() and "_class_name" in read_config(file)):
        message = f"{ref} is a diffusers folder; --from accepts only difftool runs and models"
        raise DifftoolError(Exit.FILE, message, "pass the folder of a run, or the bundled model digits")
    model = open_model(ref)
    return Source(model, read_config(file))


def weights_for(source: Source, config: PictureConfig) -> dict[str, Tensor]:
    """The averaged weights of a model for a run with this config. Without those of its classes if the run has others.
    Raises DifftoolError 4, with the differences, for a model with another network, path, target or size."""
    name, options = source.model.name, option_names()
    differing = [*differences({"net": _network(source.config)}, {"net": _network(config)}, meanings())]
    kept = ("path", "target", "size", "sound")
    there, here = ({key: each.get(key) for key in kept if key in each} for each in (source.config, config))
    differing += decisive(differences(there, here, {}), options)
    if differing:
        message = f"the model {name} does not fit this run: {described(differing, options)}"
        raise DifftoolError(Exit.FILE, message, _hint(source, differing))
    weights = source.model.net.state_dict()
    if list(source.model.classes) != config["classes"]:
        weights.pop(LABELS, None)
        log.info(f"{name} has other classes: its embedding of labels is not used")
    return weights


def _network(config: Mapping[str, Any]) -> dict[str, object]:
    """The network of a config, as far as it must be that of the model."""
    return {key: value for key, value in config["net"].items() if key not in ("classes", "dropout")}


def _hint(source: Source, differing: list[Difference]) -> str:
    """The options with which the model would fit."""
    there = {each.key: each.there for each in differing}
    given = []
    recipe = source.config.get("train")
    preset = recipe.get("preset") if isinstance(recipe, Mapping) else None
    other_network = any(key.startswith("net.") and key != "net.learned_range" for key in there)
    if other_network and preset in [*family("train")]:
        given.append(f"--preset {preset}")
    if "target" in there:
        given.append(f"--target {there['target']}")
    if there.get("path.betas") is not None:
        given.append(f"--betas {there['path.betas']}")
    if "sound.format" in there:
        given.append(f"--sound-format {there['sound.format']}")
    if "sound.frames" in there:
        given.append(f"--frames {there['sound.frames']}")
    elif "size" in there and "sound.format" not in there:
        _, height, width = source.model.shape
        given.append(f"--size {width}x{height}")
    if "net.learned_range" in there:
        given.append("--learned-range" if there["net.learned_range"] else "--no-learned-range")
    if "sound" in there:  # of one of them only
        return f"train on {item_of(there['sound'])}s like those of {source.model.name}, or leave out --from"
    if "net.channels" in there:
        return f"train on pictures like those of {source.model.name}, or leave out --from"
    if not given:
        return "use another model, or leave out --from"
    return f"add {' '.join(given)}, or leave out --from"
