"""Opens pipelines: bundled ones, those of the store, diffusers folders, and single files."""

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
from ..limits import counted
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
"""Attention implementations that a config may name; all others are code from elsewhere."""
DOORS = ("auto_map", "quantization_config", "transformers_weights", "trust_remote_code")
"""Config keys that make a library run code, or read the weights in another way."""
SPARE = ("position_ids", "logit_scale")
"""Tensors that old versions wrote and nothing needs."""


def open_pipeline(
    ref: str | FilePath,
    device: torch.device,
    dtype: torch.dtype,
    models_dir: FilePath | None = None,
    prediction: str | None = None,
) -> Pipeline:
    """Opens a bundled pipeline, one of the store, a diffusers folder, or a single file. `prediction` (a name in
    `PREDICTIONS`) replaces the prediction type of its config, for files without one.

    Raises DifftoolError 4 if it is missing, incomplete, damaged, or of an unsupported kind, and 2 for a prediction type
    that its family does not have.
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
            message = f"{opened.name} is a flow model; its prediction type is fixed"
            raise DifftoolError(Exit.USAGE, message, "leave out --prediction")
        opened = opened._replace(scheduler={**opened.scheduler, "prediction_type": PREDICTIONS[prediction]})
    return opened


def _folder(folder: FilePath, source: str, device: torch.device, dtype: torch.dtype) -> Pipeline:
    if not (folder / "model_index.json").exists():
        message = f"{folder} is not a pipeline: it has no model_index.json"
        raise DifftoolError(Exit.FILE, message, "pass a Stable Diffusion folder or a .safetensors file")
    if pipe := next((path for path in folder.glob("*/*") if is_endless(path)), None):
        raise DifftoolError(Exit.FILE, f"{pipe} is not a regular file", "download or save it again")
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
    """(folder or file, reference that opens it again) of a model; a `pathlib.Path`, or a name with a slash, is never a
    bundled one. Raises DifftoolError 4 if there is none."""
    if ref == "":
        raise DifftoolError(Exit.USAGE, "the model name is empty", "pass one with --model")
    if isinstance(ref, str) and ref in BUNDLED:
        return ASSETS / ref, ref
    path = expanded(ref).absolute()
    known = {name: entry for name, entry in store.entries().items() if "model_index.json" in entry.files}
    if isinstance(ref, str) and ref in known and not path.exists():
        states = {file.state for file in store.held(known[ref], models_dir)}
        if not states <= {"whole", "unchecked"}:
            message = f"{ref} is {'not' if states == {'missing'} else 'only partly'} in the model store"
            raise DifftoolError(Exit.FILE, message, f"run difftool models pull {ref}")
        return store.home(models_dir) / ref, ref
    if not path.exists():
        names = [*BUNDLED, *known]
        near = nearest(str(ref), names)
        hint = f"did you mean {near}?" if near else f"pass a folder, a .safetensors file, or {', '.join(names)}"
        raise DifftoolError(Exit.FILE, f"{ref} is not a folder, a file or a model in the store", hint)
    return path, str(path)


def _part(folder: FilePath, index: Mapping[str, Any], dtype: torch.dtype, name: str) -> Any:
    """A part of a folder; None if the index has none. Missing weights are an error: the libraries would initialise them
    at random."""
    kind = index[name][1]  # the library, the first entry, is ignored: only classes of `MODULES` are imported
    if kind is None:
        return None
    kind = {"T5Tokenizer": "T5TokenizerFast", "CLIPTokenizerFast": "CLIPTokenizer"}.get(kind, kind)
    if kind not in MODULES:
        raise ValueError(f"its {name} is a {kind}, which is not supported")
    quiet()
    place, made = folder / name, class_of(kind)
    if name.startswith("tokenizer"):
        return made.from_pretrained(str(place), local_files_only=True)
    _shut(place)
    variant = _variant(place)
    sizes = _sizes(place, variant)
    if marked := quantised(sizes):
        raise ValueError(f"its {name} is quantised ({marked}) in an unsupported format")
    _affordable(place, made, sizes)
    network, report = made.from_pretrained(
        str(place),
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
        **({"variant": variant} if variant else {}),
        **of_type(MODULES[kind].split(".")[0], dtype),
    )
    missing = [*report.get("missing_keys", ()), *report.get("mismatched_keys", ())]
    if missing:
        raise ValueError(f"its {name} lacks {missing[0]} (and {len(missing) - 1} more)")
    if unused := [key for key in report.get("unexpected_keys", ()) if not key.endswith(SPARE)]:
        log.warning(f"{place}: {counted(len(unused), 'unexpected tensor')} not used, such as {unused[0]}")
    return network


def _shut(place: FilePath) -> None:
    """Raises ValueError if the config of a part would make a library download or run something, or read other
    weights."""
    if (place / "adapter_config.json").exists():
        raise ValueError(f"its {place.name} uses an adapter, which is not supported")
    for key, value in _entries(read_config(place / "config.json")):
        if key.endswith(("attn_implementation", "attn_implementation_internal", "experts_implementation")):
            if value not in PLAIN_ATTENTION:
                raise ValueError(f"its {place.name} requires other code ({key} {value!r})")
        elif key in DOORS and value:
            raise ValueError(f"its {place.name} has a {key}, which is not supported")


def _entries(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The keys and values of a config, including those of nested configs."""
    for key, value in config.items():
        if isinstance(value, dict):
            for inner, entry in _entries(value):
                yield key if "_implementation" in key else inner, entry
        if not isinstance(value, dict) or key in DOORS:
            yield key, value


def _affordable(place: FilePath, made: Any, sizes: Mapping[str, int]) -> None:
    """Raises ValueError for a part whose config needs more numbers than its tensors have, before it takes time or
    memory: `made` is its class."""
    config, there = read_config(place / "config.json"), sum(sizes.values())
    side = config.get("pos_embed_max_size") or 0
    if side**2 > there:  # SD 3 computes its position table at once
        raise ValueError(f"its {place.name} has {side:,} positions per side, but no position table")
    with torch.device("meta"), bounded(len(sizes)):
        if hasattr(made, "config_class"):
            empty = made(made.config_class.from_pretrained(str(place), local_files_only=True))
        else:
            empty = made.from_config(config)
    needed = sum(p.numel() for p in empty.parameters())
    if needed > there:
        raise ValueError(f"its {place.name} needs {needed:,} parameters, but has {there:,}")


def _sizes(place: FilePath, variant: str | None) -> dict[str, int]:
    """The number of elements of each tensor of a part, by name."""
    from safetensors import safe_open

    sizes: dict[str, int] = {}
    for path in place.glob(f"*.{variant}*.safetensors" if variant else "*.safetensors"):
        with safe_open(path, framework="pt") as file:
            sizes |= {name: math.prod(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return sizes


def _variant(place: FilePath) -> str | None:
    """The variant in the names of a part's files, before .safetensors; None if there are files without one."""
    names = [path.name for path in place.glob("*.safetensors")]
    if not names:
        raise ValueError(f"{place} has no .safetensors file")
    plain = [name for name in names if name.count(".") == 1]
    variants = sorted({name.split(".")[1].split("-")[0] for name in names})
    return None if plain else "fp16" if "fp16" in variants else variants[0]


def _digest(place: FilePath) -> str:
    """SHA-256 of the weights of a part, or of the digests of several files."""
    import hashlib

    digests = [hash_beside(path) or digest_of(path) for path in sorted(place.glob("*.safetensors"))]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()
