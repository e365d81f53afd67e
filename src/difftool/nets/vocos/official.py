"""The official checkpoint of Vocos."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..official import Checkpoint, loaded, stored_in
from ..spectrum import WINDOW, filters
from .vocoder import Vocos

NAMES = (
    (r"^embed\.", "backbone.embed."),
    (r"^norm_in\.", "backbone.norm."),
    (r"^norm_out\.", "backbone.final_layer_norm."),
    (r"^out\.", "head.out."),
    (r"^blocks\.", "backbone.convnext."),
    (r"\.depthwise\.", ".dwconv."),
    (r"\.widen\.", ".pwconv1."),
    (r"\.narrow\.", ".pwconv2."),
    (r"\.scale$", ".gamma"),
)


def _constants() -> Mapping[str, Tensor]:
    window = torch.hann_window(WINDOW)
    features = "feature_extractor.mel_spec"
    return {
        "head.istft.window": window,
        f"{features}.spectrogram.window": window,
        f"{features}.mel_scale.fb": filters().T,
    }


CHECKPOINT = Checkpoint({"vocos": ("", Vocos)}, NAMES, constants=_constants)


def load(path: Path, *, device: torch.device | str = "cpu") -> nn.Module:
    """Vocos from its official pytorch_model.bin, or the same as safetensors, ready to run.

    Raises DifftoolError 4 for a file that is missing, damaged, of another architecture, or contains code.
    """
    hint = "pass the pytorch_model.bin of vocos-mel-24khz"
    stored = stored_in(path, CHECKPOINT, hint)
    return loaded("vocos", CHECKPOINT, stored, path, hint, device=device, dtype=torch.float32)
