"""Tiny pipelines of every family, with random weights, as folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from difftool.train.text2img.tokenizer import write_tokenizer

CAPTIONS = ["a red circle on a blue ground", "a small green square", "no text, blurry"]
PLAIN = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False}


def clip_config(projection: int = 32, **more: Any) -> Any:
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        hidden_size=32,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=5,
        projection_dim=projection,
        max_position_embeddings=77,
        **more,
    )


def with_prefix(folder: Path) -> None:
    """The names of 2023, which files on the hub have."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    fixed = {
        k if k.startswith(("text_model.", "text_projection")) else f"text_model.{k}": v for k, v in tensors.items()
    }
    save_file(fixed, folder / "model.safetensors", {"format": "pt"})


class Maker:
    """Makes the parts of tiny pipelines in one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def tokenizer(self, name: str) -> int:
        write_tokenizer(self.root / name, CAPTIONS, 77)
        return len(json.loads((self.root / name / "vocab.json").read_text()))

    def clip(self, name: str, tokens: int, *, projected: bool = False) -> None:
        from transformers import CLIPTextModel, CLIPTextModelWithProjection

        config = clip_config(vocab_size=tokens, bos_token_id=tokens - 2, eos_token_id=tokens - 1)
        made = (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)
        made.save_pretrained(self.root / name, safe_serialization=True)
        with_prefix(self.root / name)

    def t5(self, name: str, width: int = 32) -> None:
        from tokenizers import Tokenizer, models, pre_tokenizers, processors
        from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

        words = dict.fromkeys(" ".join(CAPTIONS).replace(",", " ,").split())
        pieces = ["<pad>", "</s>", "<unk>", *(f"▁{word}" for word in words), *"▁,abcdefghijklmnopqrstuvwxyz"]
        vocabulary = [(piece, 0.0 if k < 3 else -1.0 - len(piece) % 2) for k, piece in enumerate(pieces)]
        tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
        )
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
        fast = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
        )
        fast.save_pretrained(self.root / name)
        config = T5Config(vocab_size=len(pieces) + 100, d_model=width, d_ff=37, d_kv=8, num_layers=2, num_heads=4)
        T5EncoderModel(config).save_pretrained(
            self.root / name.replace("tokenizer", "text_encoder"), safe_serialization=True
        )

    def vae(self, channels: int = 4, **more: Any) -> None:
        from diffusers import AutoencoderKL

        made = AutoencoderKL(
            block_out_channels=(8, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=channels,
            norm_num_groups=4,
            sample_size=32,
            **more,
        )
        made.save_pretrained(self.root / "vae")

    def unet(self, cross: int = 32, **more: Any) -> None:
        from diffusers import UNet2DConditionModel

        made = UNet2DConditionModel(
            block_out_channels=(8, 16),
            layers_per_block=1,
            sample_size=16,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=cross,
            attention_head_dim=2,
            norm_num_groups=4,
            **more,
        )
        made.save_pretrained(self.root / "unet")

    def scheduler(self, kind: str, **config: Any) -> None:
        (self.root / "scheduler").mkdir()
        (self.root / "scheduler" / "scheduler_config.json").write_text(json.dumps({"_class_name": kind, **config}))

    def index(self, kind: str, **parts: str) -> Path:
        libraries = {
            name: "diffusers" if name in ("unet", "vae", "scheduler", "transformer") else "transformers"
            for name in parts
        }
        rows = {name: [libraries[name], made] for name, made in parts.items()}
        extra = {
            "StableDiffusionPipeline": {
                "safety_checker": [None, None],
                "feature_extractor": [None, None],
                "requires_safety_checker": False,
            }
        }
        (self.root / "model_index.json").write_text(
            json.dumps({"_class_name": kind, "_diffusers_version": "0.31.0", **rows, **extra.get(kind, {})})
        )
        return self.root


def sd(make: Maker, kind: str = "PNDMScheduler", scheduler: dict[str, Any] | None = None, **unet: Any) -> Path:
    make.clip("text_encoder", make.tokenizer("tokenizer"))
    make.vae()
    make.unet(**unet)
    make.scheduler(kind, **{**PLAIN, "steps_offset": 1, **(scheduler or {})})
    names = {"tokenizer": "CLIPTokenizer", "text_encoder": "CLIPTextModel", "unet": "UNet2DConditionModel"}
    return make.index("StableDiffusionPipeline", **names, vae="AutoencoderKL", scheduler=kind)


def sdxl(make: Maker) -> Path:
    for end in ("", "_2"):
        make.clip(f"text_encoder{end}", make.tokenizer(f"tokenizer{end}"), projected=bool(end))
    make.vae(scaling_factor=0.13025, force_upcast=True)
    make.unet(
        cross=64,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=32 + 6 * 8,
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
    )
    make.scheduler("EulerDiscreteScheduler", **PLAIN, steps_offset=1, timestep_spacing="leading")
    names = {f"tokenizer{end}": "CLIPTokenizer" for end in ("", "_2")}
    names |= {"text_encoder": "CLIPTextModel", "text_encoder_2": "CLIPTextModelWithProjection"}
    return make.index(
        "StableDiffusionXLPipeline",
        **names,
        unet="UNet2DConditionModel",
        vae="AutoencoderKL",
        scheduler="EulerDiscreteScheduler",
    )


def sd3(make: Maker) -> Path:
    from diffusers import SD3Transformer2DModel

    for end in ("", "_2"):
        make.clip(f"text_encoder{end}", make.tokenizer(f"tokenizer{end}"), projected=True)
    make.t5("tokenizer_3", 64)
    make.vae(4, scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False)
    SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=64,
        caption_projection_dim=32,
        pooled_projection_dim=64,
        out_channels=4,
        pos_embed_max_size=96,
    ).save_pretrained(make.root / "transformer")
    make.scheduler("FlowMatchEulerDiscreteScheduler", shift=3.0, num_train_timesteps=1000)
    names = {f"tokenizer{end}": "CLIPTokenizer" for end in ("", "_2")} | {"tokenizer_3": "T5TokenizerFast"}
    names |= {f"text_encoder{end}": "CLIPTextModelWithProjection" for end in ("", "_2")} | {
        "text_encoder_3": "T5EncoderModel"
    }
    return make.index(
        "StableDiffusion3Pipeline",
        **names,
        transformer="SD3Transformer2DModel",
        vae="AutoencoderKL",
        scheduler="FlowMatchEulerDiscreteScheduler",
    )


def flux(make: Maker, guidance: bool = True) -> Path:
    from diffusers import FluxTransformer2DModel

    make.clip("text_encoder", make.tokenizer("tokenizer"))
    make.t5("tokenizer_2")
    make.vae(4, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False)
    FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guidance,
    ).save_pretrained(make.root / "transformer")
    make.scheduler(
        "FlowMatchEulerDiscreteScheduler",
        shift=3.0 if guidance else 1.0,
        use_dynamic_shifting=guidance,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
        num_train_timesteps=1000,
    )
    names = {
        "tokenizer": "CLIPTokenizer",
        "tokenizer_2": "T5TokenizerFast",
        "text_encoder": "CLIPTextModel",
        "text_encoder_2": "T5EncoderModel",
    }
    return make.index(
        "FluxPipeline",
        **names,
        transformer="FluxTransformer2DModel",
        vae="AutoencoderKL",
        scheduler="FlowMatchEulerDiscreteScheduler",
    )


ZERO = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
KINDS: dict[str, Callable[[Maker], Path]] = {
    "sd": sd,
    "v": lambda make: sd(make, "DDIMScheduler", {"prediction_type": "v_prediction"}),
    "zero": lambda make: sd(make, "DDIMScheduler", ZERO),
    "turbo": lambda make: sd(make, "EulerDiscreteScheduler", {"timestep_spacing": "trailing"}),
    "lcm": lambda make: sd(make, "LCMScheduler", {}, time_cond_proj_dim=16),
    "sdxl": sdxl,
    "sd3": sd3,
    "flux": flux,
    "schnell": lambda make: flux(make, guidance=False),
}


def make(kind: str, root: Path) -> Path:
    """A tiny pipeline of this kind in a new folder of that name."""
    folder = root / kind
    folder.mkdir()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return KINDS[kind](Maker(folder))


def recent() -> bool:
    """Whether the libraries are newer than those beside the original Tortoise, with which LoRAs and FLUX fail."""
    from diffusers.utils import USE_PEFT_BACKEND

    return USE_PEFT_BACKEND


def write_lora(folder: Path, kind: str, to: Path, seed: int = 0, dropout: float = 0.0) -> Path:
    """A LoRA for the network of a tiny pipeline, in the form of diffusers."""
    import diffusers
    from diffusers.training_utils import _collate_lora_metadata
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    pipe = diffusers.DiffusionPipeline.from_pretrained(str(folder))
    net = pipe.transformer if kind in ("sd3", "flux") else pipe.unet
    torch.manual_seed(seed)
    net.add_adapter(
        LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights="gaussian", lora_dropout=dropout)
    )
    for name, value in net.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value)
    layers = get_peft_model_state_dict(net)
    part = "transformer" if kind in ("sd3", "flux") else "unet"
    about = _collate_lora_metadata({part: net})
    type(pipe).save_lora_weights(str(to.parent), **{f"{part}_lora_layers": layers}, **about, weight_name=to.name)
    return to
