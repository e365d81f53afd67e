"""Memory: tiles that are smaller than the picture, and what is given up when it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from difftool.errors import DifftoolError, Exit
from difftool.text2img.draw import decoded, draw_pictures, encoded
from difftool.text2img.offload import LAYERS, PARTS, TILES, Offload
from difftool.text2img.session import Session, plan_prompt_with

Tiny = Callable[[str], Path]
PROMPT = "a red circle"


def drawn(session: Session, **settings: Any) -> list[np.ndarray]:
    return [
        pixels.astype(int)
        for _, pixels in draw_pictures(plan_prompt_with(session, PROMPT, steps=2, size=(32, 32), **settings))
    ]


def close(some: list[np.ndarray], others: list[np.ndarray]) -> bool:
    return len(some) == len(others) and all(np.abs(a - b).max() <= 1 for a, b in zip(some, others, strict=True))


def full(what: str) -> RuntimeError:
    return torch.OutOfMemoryError(f"out of memory: {what}")


def test_a_tile_is_smaller_than_a_picture_of_sdxl(tiny_pipeline: Tiny) -> None:
    """The library's own tiles are as large as the VAE's sample_size, 1024 for SDXL, so that nothing is tiled."""
    session = Session(tiny_pipeline("sdxl"), device="cpu", low_vram=True)
    vae, factor, seen = session.pipeline.vae, session.pipeline.factor, {"decoder": [], "encoder": []}
    for name, sizes in seen.items():
        part = getattr(vae, name)
        part.register_forward_pre_hook(lambda _, given, sizes=sizes: sizes.append(given[0].shape[-1]))
        part.mid_block.attentions[0].forward = lambda x, **_: x  # in so small a VAE it is over 65,536 tokens
    pixels = torch.linspace(-1, 1, 1024).expand(1, 3, 1024, 1024)
    latents = encoded(session, pixels)
    assert latents.shape[-1] == 1024 // factor
    assert decoded(session, latents).shape == (1, 3, 1024, 1024)
    assert len(seen["decoder"]) > 1 and max(seen["decoder"]) == 512 // factor
    assert len(seen["encoder"]) > 1 and max(seen["encoder"]) == 512


def test_fewer_at_once_draw_the_same(tiny_pipeline: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(tiny_pipeline("sd"), device="cpu")
    whole = drawn(session, count=5)
    forward, rows = session.pipeline.net.forward, []

    def small(x: torch.Tensor, *args: Any, **more: Any) -> Any:
        rows.append(len(x))
        if len(x) > 4:  # two pictures, each with and without its prompt
            raise full("batch")
        return forward(x, *args, **more)

    monkeypatch.setattr(session.pipeline.net, "forward", small)
    assert close(drawn(session, count=5), whole)
    assert rows[0] == 10 and max(rows[1:]) == 4
    rows.clear()
    assert close(drawn(session, count=5), whole)
    assert max(rows) == 4  # what was learned is remembered


def test_all_the_way_down(tiny_pipeline: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = drawn(Session(tiny_pipeline("sd"), device="cpu"))
    for bottom in (TILES, PARTS, LAYERS):
        session = Session(tiny_pipeline("sd"), device="cpu")
        room = session.offload
        monkeypatch.setattr(room, "bottom", LAYERS)  # the rungs of a GPU
        forward = session.pipeline.vae.decoder.forward

        def until(*args: Any, room: Any = room, bottom: int = bottom, forward: Any = forward) -> Any:
            if room.level < bottom:
                raise full("decoder")
            return forward(*args)

        monkeypatch.setattr(session.pipeline.vae.decoder, "forward", until)
        assert close(drawn(session), wanted)
        assert room.level == bottom
        assert close(drawn(session), wanted)


def test_a_model_that_does_not_fit_as_a_whole(tiny_pipeline: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = drawn(Session(tiny_pipeline("sd"), device="cpu"))
    placed = Offload._placed

    def small(self: Offload) -> None:
        self.bottom = LAYERS
        if self.level < PARTS:
            raise full("all of it")
        placed(self)

    monkeypatch.setattr(Offload, "_placed", small)
    session = Session(tiny_pipeline("sd"), device="cpu")
    assert session.offload.level == PARTS
    assert close(drawn(session), wanted)


def test_a_lora_after_the_last_rung(tiny_pipeline: Tiny, tmp_path: Path) -> None:
    from tiny_pipelines import recent, write_lora

    if not recent():
        pytest.skip("needs newer libraries than the original Tortoise allows")
    path = write_lora(tiny_pipeline("sd"), "sd", tmp_path / "own.safetensors")
    wanted = drawn(Session(tiny_pipeline("sd"), device="cpu"), loras=[(path, 1.0)])
    session = Session(tiny_pipeline("sd"), device="cpu")
    session.offload.bottom = LAYERS
    while session.offload.level < LAYERS:
        session.offload.ease(full("all"), (32, 32))
    plain = drawn(session)
    assert close(drawn(session, loras=[(path, 1.0)]), wanted)
    assert close(drawn(session), plain) and not close(plain, wanted)


def test_nothing_left_to_give_up(tiny_pipeline: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(tiny_pipeline("sd"), device="cpu")

    def never(*args: Any, **more: Any) -> Any:
        raise full("network")

    monkeypatch.setattr(session.pipeline.net, "forward", never)
    with pytest.raises(DifftoolError) as found:
        drawn(session)
    assert found.value.code == Exit.MEMORY
    assert "--size 16x16 --dtype bf16" in found.value.hint
    monkeypatch.setattr(session.pipeline.net, "forward", lambda *args, **more: (_ for _ in ()).throw(RuntimeError("x")))
    with pytest.raises(RuntimeError, match="x"):
        drawn(session)
