"""The networks of f5-tts and vocos with given weights."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import soundfile
import torch
from safetensors.torch import load_file
from tiny_f5 import ARCHITECTURES, CHAINS, ITEMS, STORED, TIMES, TOKENS, VOCABULARY, VOCOS, VOCOS_SIZES, weights
from tiny_tortoise import noise
from torch import Tensor

from difftool.nets.f5.architecture import Architecture
from difftool.nets.f5.official import checkpoint_of
from difftool.voice.engines.f5.files import CHECKPOINT


def _stand_in(name: str, **contents: Any) -> None:
    """An empty module in place of one that is imported and not used."""
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    module.__dict__.update(contents)
    sys.modules.setdefault(name, module)


_stand_in("wandb", api=SimpleNamespace(api_key=None))
_stand_in("datasets", Dataset=object, load_from_disk=None, __path__=[])
_stand_in("datasets.arrow_writer", ArrowWriter=object)

from f5_tts.model import CFM, DiT  # noqa: E402
from f5_tts.model.modules import get_vocos_mel_spectrogram  # noqa: E402
from vocos.feature_extractors import MelSpectrogramFeatures  # noqa: E402
from vocos.heads import ISTFTHead  # noqa: E402
from vocos.models import VocosBackbone  # noqa: E402
from vocos.pretrained import Vocos  # noqa: E402


def dit(sizes: Architecture, vocabulary: int, state: Mapping[str, Tensor]) -> Any:
    """The network of F5-TTS as its config makes it, but for its sizes."""
    net = DiT(
        dim=sizes.dim,
        depth=sizes.depth,
        heads=sizes.heads,
        ff_mult=sizes.widened,
        mel_dim=sizes.mels,
        text_num_embeds=vocabulary,
        text_dim=sizes.text,
        text_mask_padding=sizes.masked,
        conv_layers=sizes.text_blocks,
        pe_attn_head=sizes.rotated,
    )
    net.load_state_dict(state)
    return net.eval()


def vocos(state: Mapping[str, Tensor], width: int, hidden: int, blocks: int) -> Any:
    """Vocos as its config makes it, but for its sizes."""
    net = Vocos(
        MelSpectrogramFeatures(sample_rate=24_000, n_fft=1024, hop_length=256, n_mels=100, padding="center"),
        VocosBackbone(input_channels=100, dim=width, intermediate_dim=hidden, num_layers=blocks),
        ISTFTHead(dim=width, n_fft=1024, hop_length=256, padding="center"),
    )
    net.load_state_dict(state)
    return net.eval()


def outputs() -> Iterator[tuple[str, Tensor]]:
    """The same stages as `tiny_f5.outputs`, each item alone."""
    for version, sizes in ARCHITECTURES.items():
        net = dit(sizes, VOCABULARY, weights(checkpoint_of(sizes, VOCABULARY)))
        time = torch.nn.functional.silu(net.time_embed(torch.tensor(TIMES)))
        blocks = [block.attn_norm.linear(time).unflatten(1, (6, -1)) for block in net.transformer_blocks]
        yield f"{version}_modulations", torch.stack(blocks, 1)
        yield f"{version}_modulation_out", net.norm_out.linear(time).unflatten(1, (2, -1))
        for name, dropped in (("", False), ("_dropped", True)):
            for k, (tokens, _, x) in enumerate(ITEMS):
                yield f"{version}_text_{k}{name}", net.text_embed(tokens[None], len(x), drop_text=dropped)[0]
            for i, t in enumerate(TIMES):
                for k, (tokens, reference, x) in enumerate(ITEMS):
                    known = torch.nn.functional.pad(reference, (0, 0, 0, len(x) - len(reference)))
                    made = net(
                        x[None],
                        known[None],
                        tokens[None],
                        torch.tensor(t),
                        drop_audio_cond=dropped,
                        drop_text=dropped,
                    )
                    yield f"{version}_pass_{i}_{k}{name}", made[0]
    yield "vocos", vocos(weights(VOCOS), **VOCOS_SIZES).decode(noise(40, 2, 100, 23) - 4)
    yield "mel", get_vocos_mel_spectrogram(noise(41, 2, 9_999) * 0.2)


def chains() -> Iterator[tuple[str, Tensor]]:
    """The same runs as `tiny_f5.chains`."""
    tokens, reference, x = ITEMS[0]
    for name, (version, steps) in CHAINS.items():
        sizes = ARCHITECTURES[version]
        net = dit(sizes, VOCABULARY, weights(checkpoint_of(sizes, VOCABULARY)))
        model = CFM(net, num_channels=sizes.mels, mel_spec_kwargs={"n_mel_channels": sizes.mels})
        with mock.patch.object(torch, "randn", lambda *shape, **options: x):
            made, _ = model.sample(
                reference[None], tokens[None], len(x), steps=steps, cfg_strength=2.0, sway_sampling_coef=-1.0
            )
        yield name, made[0, len(reference) - 1 :]


def speech(store: Path, clip: Path, words: str, text: str, steps: int, seed: int) -> Tensor:
    """What f5-tts says with the networks of `tiny_f5.official` after a WAV file with these words; every chunk begins
    with the noise of the seed."""
    from f5_tts.infer import utils_infer

    tensors = load_file(store / "f5" / CHECKPOINT)
    net = dit(STORED, len(TOKENS), {name.removeprefix("ema_model.transformer."): it for name, it in tensors.items()})
    model = CFM(net, vocab_char_map={token: index for index, token in enumerate(TOKENS)})
    vocoder = vocos(torch.load(store / "vocos" / "pytorch_model.bin"), 512, 1536, 8)
    draw = torch.randn

    def seeded(*shape: int, **options: Any) -> Tensor:
        return draw(*shape, generator=torch.Generator().manual_seed(seed))

    def loaded(path: str) -> tuple[Tensor, int]:
        sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
        return torch.from_numpy(sound.T), rate

    with mock.patch.object(torch, "randn", seeded), mock.patch.object(utils_infer.torchaudio, "load", loaded):
        reference, heard = utils_infer.preprocess_ref_audio_text(str(clip), words)
        wave, _, _ = utils_infer.infer_process(
            reference, heard, text, model, vocoder, nfe_step=steps, progress=None, device="cpu"
        )
    return torch.from_numpy(wave)
