"""Opens pipelines: those of the package and the store, folders of diffusers, and single files."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path as FilePath
from typing import Any

import torch

from .. import store
from ..download import hash_beside
from ..errors import DifftoolError, Exit, nearest, pick
from ..files import digest_of, expanded, is_endless
from ..models import ASSETS, bounded, read_config
from ..schedulers import PREDICTIONS
from .pipeline import (
    ENCODERS,
    MODULES,
    TOKENIZERS,
    Pipeline,
    class_of,
    family_of,
    finished,
    misfits,
    of_type,
    quantised,
    quiet,
)
from .settings import BUNDLED

log = logging.getLogger(__name__)
NETWORKS = ("unet", "transformer")
PLAIN_ATTENTION = (None, "eager", "sdpa")
"""What a config may ask for; everything else is code from elsewhere."""
DOORS = ("auto_map", "quantization_config", "transformers_weights", "trust_remote_code")
"""Keys of a config that have a library run code, or read the weights in another way."""
SPARE = ("position_ids", "logit_scale")
"""Tensors that old versions wrote and nothing needs."""


def open_pipeline(
    ref: str | FilePath,
    device: torch.device,
    dtype: torch.dtype,
    models_dir: FilePath | None = None,
    prediction: str | None = None,
) -> Pipeline:
    """Opens a pipeline of the package or the store, a folder in the form of diffusers, or a single file. What it
    predicts is in its config; `prediction` (a name in `PREDICTIONS`) says otherwise, for files that came without one.

    Raises DifftoolError 4 where there is none, it is incomplete or damaged, or of a kind that is not known here, and 2
    for a prediction that its family does not have.
    """
    folder, source = found(ref, models_dir)
    if folder.is_file():
        from .single_file import unpacked

        opened = unpacked(folder, source, device, dtype, models_dir)
    else:
        opened = _folder(folder, source, device, dtype)
    if prediction is not None:
        pick("prediction", prediction, PREDICTIONS)
        if opened.flows:
            what = f"{opened.name} predicts a flow, whatever is said"
            raise DifftoolError(Exit.USAGE, what, "leave out --prediction")
        opened = opened._replace(scheduler={**opened.scheduler, "prediction_type": PREDICTIONS[prediction]})
    return opened


def _folder(folder: FilePath, source: str, device: torch.device, dtype: torch.dtype) -> Pipeline:
    if not (folder / "model_index.json").exists():
        what = f"{folder} holds no pipeline: it has no model_index.json"
        raise DifftoolError(Exit.FILE, what, "name a folder of Stable Diffusion, or a .safetensors file")
    if pipe := next((path for path in folder.glob("*/*") if is_endless(path)), None):
        raise DifftoolError(Exit.FILE, f"{pipe} is no regular file", "fetch or save it again")
    index = read_config(folder / "model_index.json")
    family = family_of(index, folder)
    with misfits(folder), ThreadPoolExecutor(1) as beside:
        network = next((name for name in NETWORKS if name in index), "unet")
        digest = beside.submit(_digest, folder / network)
        part = partial(_part, folder, index, dtype)
        return finished(
            Pipeline(
                name=folder.name if source == str(folder) else source,
                source=source,
                family=family,
                tokenizers=[part(name) for name in TOKENIZERS if name in index],
                encoders=[part(name) for name in ENCODERS if name in index],
                net=part(network),
                vae=part("vae"),
                scheduler=read_config(folder / "scheduler" / "scheduler_config.json"),
                zeros_for_nothing=bool(index.get("force_zeros_for_empty_prompt", family == "sdxl")),
                device=device,
                dtype=dtype,
                sha256=digest.result(),
            )
        )


def found(ref: str | FilePath, models_dir: FilePath | None) -> tuple[FilePath, str]:
    """(folder or file, what opens it again) of a model; a `pathlib.Path` and a name with a slash in it are never one of
    the package. Raises DifftoolError 4 where there is none."""
    if ref == "":
        raise DifftoolError(Exit.USAGE, "the model has an empty name", "name one with --model")
    if isinstance(ref, str) and ref in BUNDLED:
        return ASSETS / ref, ref
    path = expanded(ref).absolute()
    known = {name: one for name, one in store.entries().items() if "model_index.json" in one.files}
    if isinstance(ref, str) and ref in known and not path.exists():
        states = {file.state for file in store.held(known[ref], models_dir)}
        if not states <= {"whole", "unchecked"}:
            what = f"{ref} is {'not' if states == {'missing'} else 'only in part'} in the store of this machine"
            raise DifftoolError(Exit.FILE, what, f"run difftool models pull {ref}")
        return store.home(models_dir) / ref, ref
    if not path.exists():
        names = [*BUNDLED, *known]
        near = nearest(str(ref), names)
        what = f"{ref} is no folder or file, and no model of that name is in the store of this machine"
        hint = f"did you mean {near}?" if near else f"name a folder, a .safetensors file, or {', '.join(names)}"
        raise DifftoolError(Exit.FILE, what, hint)
    return path, str(path)


def _part(folder: FilePath, index: Mapping[str, Any], dtype: torch.dtype, name: str) -> Any:
    """A part of a folder; None where the index says that it has none. Weights that are missing are an error: the
    libraries would draw them at random."""
    kind = index[name][1]  # of its first, the library, only what `MODULES` says is imported
    if kind is None:
        return None
    kind = {"T5Tokenizer": "T5TokenizerFast", "CLIPTokenizerFast": "CLIPTokenizer"}.get(kind, kind)
    if kind not in MODULES:
        raise ValueError(f"its {name} is a {kind}, which is not known here")
    quiet()
    place, made = folder / name, class_of(kind)
    if name.startswith("tokenizer"):
        return made.from_pretrained(str(place), local_files_only=True)
    _shut(place)
    variant = _variant(place)
    sizes = _sizes(place, variant)
    if marked := quantised(sizes):
        raise ValueError(f"its {name} is quantised ({marked}), in a form that is not known here")
    _affordable(place, made, sizes)
    network, told = made.from_pretrained(
        str(place),
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
        **({"variant": variant} if variant else {}),
        **of_type(MODULES[kind].split(".")[0], dtype),
    )
    missing = [*told.get("missing_keys", ()), *told.get("mismatched_keys", ())]
    if missing:
        raise ValueError(f"its {name} lacks {missing[0]} (and {len(missing) - 1} more)")
    if unused := [key for key in told.get("unexpected_keys", ()) if not key.endswith(SPARE)]:
        log.warning(f"{place}: {len(unused)} tensors have no place in it and are not used, the first is {unused[0]}")
    return network


def _shut(place: FilePath) -> None:
    """Raises ValueError where the config of a part would have a library fetch or run something, or read other
    weights."""
    if (place / "adapter_config.json").exists():
        raise ValueError(f"its {place.name} names an adapter, which is not known here")
    for key, value in _entries(read_config(place / "config.json")):
        if key.endswith(("attn_implementation", "attn_implementation_internal", "experts_implementation")):
            if value not in PLAIN_ATTENTION:
                raise ValueError(f"its {place.name} asks for other code ({key} {value!r})")
        elif key in DOORS and value:
            raise ValueError(f"its {place.name} has a {key}, which is not known here")


def _entries(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The keys of a config and their values, and those of the configs in it."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from ((key if "_implementation" in key else inner, one) for inner, one in _entries(value))
        if not isinstance(value, dict) or key in DOORS:
            yield key, value


def _affordable(place: FilePath, made: Any, sizes: Mapping[str, int]) -> None:
    """Raises ValueError for a part whose config asks for more than tensors of these sizes fill, before it takes time or
    memory: `made` is its class."""
    config, there = read_config(place / "config.json"), sum(sizes.values())
    places = config.get("pos_embed_max_size") or 0
    if places**2 > there:  # SD 3 works out its table of places at once
        raise ValueError(f"its {place.name} has {places:,} places along a side, and no table of them")
    with torch.device("meta"), bounded(len(sizes)):
        if hasattr(made, "config_class"):
            empty = made(made.config_class.from_pretrained(str(place), local_files_only=True))
        else:
            empty = made.from_config(config)
    needed = sum(p.numel() for p in empty.parameters())
    if needed > there:
        raise ValueError(f"its {place.name} needs {needed:,} numbers, and {there:,} are there")


def _sizes(place: FilePath, variant: str | None) -> dict[str, int]:
    """How many numbers the tensors of a part have, by name."""
    from safetensors import safe_open

    sizes: dict[str, int] = {}
    for path in place.glob(f"*.{variant}*.safetensors" if variant else "*.safetensors"):
        with safe_open(path, framework="pt") as file:
            sizes |= {name: math.prod(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return sizes


def _variant(place: FilePath) -> str | None:
    """What stands before .safetensors in the names of a part's files: fp16 where there is nothing else."""
    names = [path.name for path in place.glob("*.safetensors")]
    if not names:
        raise ValueError(f"{place} holds no .safetensors")
    plain = [name for name in names if name.count(".") == 1]
    variants = sorted({name.split(".")[1].split("-")[0] for name in names})
    return None if plain else "fp16" if "fp16" in variants else variants[0]


def _digest(place: FilePath) -> str:
    """SHA-256 of the weights of a part, or of the digests of its several files."""
    import hashlib

    digests = [hash_beside(path) or digest_of(path) for path in sorted(place.glob("*.safetensors"))]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()
