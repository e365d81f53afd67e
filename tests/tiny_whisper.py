"""A Whisper with random weights in openai-whisper's own format: its architecture and vocabulary, a few layers."""

from pathlib import Path

import torch

DIMS = {
    "n_mels": 80,
    "n_audio_ctx": 1500,
    "n_audio_state": 64,
    "n_audio_head": 2,
    "n_audio_layer": 2,
    "n_vocab": 51865,
    "n_text_ctx": 64,
    "n_text_state": 64,
    "n_text_head": 2,
    "n_text_layer": 4,
}


def save(path: Path, seed: int = 0) -> Path:
    import whisper

    torch.manual_seed(seed)
    model = whisper.Whisper(whisper.model.ModelDimensions(**DIMS))
    torch.nn.init.normal_(model.decoder.positional_embedding, std=0.01)  # which is left as it comes from the memory
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"dims": DIMS, "model_state_dict": model.state_dict()}, path)
    return path
