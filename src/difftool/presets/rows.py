"""Classes for the rows of the TOML files; fields without a default are required."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Bytes = int


@dataclass(frozen=True)
class UnetRow:
    """A U-Net of `nets`."""

    width: int
    mults: tuple[int, ...] = (1, 2, 2)
    blocks: int = 1
    attention: tuple[int, ...] = ()
    dropout: float = 0.0
    type: str = "unet"


@dataclass(frozen=True)
class MlpRow:
    """A network for 2-D points."""

    width: int = 128
    layers: int = 3
    type: str = "mlp"


@dataclass(frozen=True)
class TextToImageRow:
    """A U-Net on latents, with the text encoder that it is trained with."""

    widths: tuple[int, ...]
    blocks: int
    attention: tuple[int, ...]
    heads: int
    text_width: int
    text_layers: int
    text_heads: int
    type: str = "text_to_image"


@dataclass(frozen=True)
class AutoencoderNet:
    widths: tuple[int, ...]
    blocks: int
    latent: int


@dataclass(frozen=True)
class AutoencoderRow:
    """Training of the autoencoder of a text-to-image model, in its share of the run."""

    share: float
    batch_size: int
    lr: float
    warmup: float
    ema: float
    weight_decay: float
    net: AutoencoderNet


@dataclass(frozen=True)
class TrainNeeds:
    """Memory needs of training: see the end of train.toml."""

    pictures: int
    shape: tuple[int, int, int]
    """(channels, height, width)"""
    classes: int
    parameters: int
    picture: Bytes
    measured: Bytes | None = None
    """Measured on a GPU, if known."""


@dataclass(frozen=True)
class TrainPreset:
    """A row of train.toml. Counts are in pictures; warmup and ema are shares of the run."""

    net: UnetRow | MlpRow | TextToImageRow
    batch_size: int
    lr: float
    target: str
    warmup: float
    ema: float
    label_dropout: float
    weight_decay: float
    data: str | None = None
    minutes: float | None = None
    images: int | None = None
    steps: int | None = None
    epochs: float | None = None
    weight: str | None = None
    times: str | None = None
    betas: str | None = None
    zero_snr: bool = False
    learned_range: bool = False
    flip: bool = False
    sound_format: str | None = None
    """Of a preset for sounds, as is `frames`."""
    frames: int | None = None
    gain: float = 0.0
    guidance: float | None = None
    autoencoder: AutoencoderRow | None = None
    needs: TrainNeeds | None = None

    one_of = ("minutes", "images", "steps", "epochs")
    """Keys of which a row has exactly one."""


@dataclass(frozen=True)
class PictureParts:
    text: int
    network: int
    vae: int


@dataclass(frozen=True)
class PictureWork(PictureParts):
    tile: int
    """Of the autoencoder, while a tile is decoded."""


@dataclass(frozen=True)
class PictureNeeds:
    """Memory needs of txt2img: see the end of txt2img.toml."""

    stored: Bytes
    """Of a parameter in its file."""
    parameters: PictureParts
    live: PictureWork
    measured: Bytes | None = None


@dataclass(frozen=True)
class PicturePreset:
    """A row of txt2img.toml."""

    sampler: str
    schedule: str
    steps: int
    guidance: float
    needs: PictureNeeds | None = None


@dataclass(frozen=True)
class VoiceNeeds:
    """Memory needs of speech, by network: see the end of voice.toml."""

    parameters: Mapping[str, int]
    live: Mapping[str, int]
    measured: Bytes | None = None


@dataclass(frozen=True)
class VoicePreset:
    """A row of voice.toml."""

    samples: int
    steps: int
    guidance: float
    sampler: str = "ddpm"
    needs: VoiceNeeds | None = None


@dataclass(frozen=True)
class FlowPreset:
    """A row of f5.toml or mini.toml: a preset of speech by a flow."""

    sampler: str
    steps: int
    guidance: float
    needs: VoiceNeeds | None = None


@dataclass(frozen=True)
class WhisperDimensions:
    n_mels: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    n_vocab: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: int


@dataclass(frozen=True)
class WhisperNeeds:
    parameters: int
    live: Bytes
    measured: Bytes | None = None


@dataclass(frozen=True)
class WhisperRow:
    """A row of whisper.toml."""

    dimensions: WhisperDimensions
    needs: WhisperNeeds | None = None


@dataclass(frozen=True)
class StoreRow:
    """A row of store.toml."""

    about: str
    licence: str
    source: str = field(metadata={"key": "from"})
    files: tuple[str, ...]
    sha256: str | None = None
    sizes: Mapping[str, Bytes] = field(default_factory=dict)
    """Approximate sizes of the large files."""


@dataclass(frozen=True)
class GpuRow:
    """A GPU of hardware.toml; memory in GB."""

    vram: int
    capability: tuple[int, int]
    suits: str = field(metadata={"key": "for"})
    drawback: str = field(metadata={"key": "but"})


@dataclass(frozen=True)
class StageRow:
    """A stage of the upgrade path in hardware.toml; memory in GB."""

    about: str
    gpus: tuple[str, ...]
    instead: str = field(metadata={"key": "or"})
    ram: int
    parts: Mapping[str, str]


@dataclass(frozen=True)
class Hardware:
    gpus: Mapping[str, GpuRow]
    stages: Mapping[str, StageRow]
