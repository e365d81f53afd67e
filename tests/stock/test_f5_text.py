"""Texts and references of `--compat package` against f5-tts 1.1.22."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import GOLDEN
from torchaudio.transforms import Resample

from difftool.voice.engines.f5.clip import as_package
from difftool.voice.engines.f5.lengths import pieces
from difftool.voice.engines.f5.prompt import Prompt, ended
from difftool.voice.engines.f5.tokens import RJIEBA, spelled

pytest.importorskip("f5_tts", reason="f5-tts is not installed: make test-f5")

import original_f5  # noqa: F401
from f5_tts.infer.utils_infer import chunk_text, preprocess_ref_audio_text
from f5_tts.model.utils import convert_char_to_pinyin

SIGNS = "abcXYZ019 .-_%+#&,;:'\"!?/\\()\r\n\téüßÄñ“”‘’—…Жא"
WIDE = "あー한ㄅन🎉，。！？：（々〇我们今天去公园玩了一儿不好行长重庆银行你好𠀀㐀"
WORDS = ("AT&T", "C++", "follow-up", "e.g.", "3.14%", "foo/bar", "T恤", "卡拉OK", "ok...fine", "a.b_c-d")


def test_tokens() -> None:
    draw = random.Random(0)
    texts = [row["text"] for row in json.loads((GOLDEN / "f5_tokens.json").read_text("utf-8"))]
    for _ in range(2000):
        pool = [*SIGNS, *WORDS, *draw.choice(("", WIDE))]
        texts.append("".join(draw.choices(pool, k=draw.randint(1, 25))))
    for text, wanted in zip(texts, convert_char_to_pinyin(texts), strict=True):
        assert spelled(text, RJIEBA) == wanted, text


def test_chunks() -> None:
    draw = random.Random(0)
    words = ("word", "a ", "I go home", "好的", "。", "，", "! ", ". ", ",", ", ", "\n", "...", "é", "；", " ? ")
    for _ in range(500):
        samples, text = draw.randint(24_000, 26 * 24_000), "".join(draw.choices(words, k=draw.randint(1, 80)))
        if not re.search(r"[^\W_]", text):
            continue
        own, speed = (
            draw.choice(("This is some text, with words. ", "你好世界。", "x" * 150 + ". ")),
            draw.choice((0.5, 1.0)),
        )
        seconds = samples / 24_000
        most = int(len(own.encode()) / seconds * (22 - seconds) * speed)
        prompt = Prompt(torch.ones(samples), own if own.endswith("。") else f"{own} ")
        assert [part.text for part in pieces(text, prompt, speed, True)] == chunk_text(text, max_chars=most)


@pytest.mark.parametrize("rate", [8_000, 24_000, 44_100])
@pytest.mark.parametrize("spans", [(20,), (3, -3, 3), (-1.2, 3.3333, -0.77), (3, -1.5, 8, -2.5, 4), (2.1, -0.3) * 9])
def test_references(spans: tuple[float, ...], rate: int, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=(20 * rate, 2)) * 0.08
    sound = np.concatenate(
        [noise[: round(span * rate)] if span > 0 else np.zeros((round(-span * rate), 2)) for span in spans]
    )
    path = tmp_path / f"{rate}.wav"
    soundfile.write(path, sound[:, : 1 + (rate == 44_100)], rate)
    file, text = preprocess_ref_audio_text(str(path), "Hi!", show_info=lambda message: None)
    assert text == ended("Hi!")
    samples, same = soundfile.read(file, dtype="float32", always_2d=True)
    mono = torch.from_numpy(samples).mean(1)
    level = mono.square().mean().sqrt()
    wanted = Resample(same, 24_000)(mono * 0.1 / level if level < 0.1 else mono)
    found, gain = as_package(path)
    assert gain == pytest.approx(max(1.0, 0.1 / float(level)))
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() < 1e-6
