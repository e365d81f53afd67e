"""From codes to sound, and the whole choice: against stored runs of the original, and laws of our own."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_tortoise import NEEDS_KERNEL, chain, finished, integers, network, noise, off, thinned

import difftool
from difftool.audio.files import read_sound
from difftool.core.noise import Noise
from difftool.errors import DifftoolError, Exit
from difftool.nets.tortoise.diffusion import denormalise, frames
from difftool.nets.tortoise.mel import conditioning_mel, diffusion_mel
from difftool.sampling.choice import choose_sampler
from difftool.voice.engines import stock
from difftool.voice.engines.tortoise import work
from difftool.voice.engines.tortoise.decoding import CALM, STOP, TokenSampling
from difftool.voice.engines.tortoise.networks import open_network
from difftool.voice.engines.tortoise.synthesis import (
    PATH,
    Networks,
    SpeechSettings,
    Timbre,
    _alike,
    clvp_input,
    derived,
    ramp,
    score_codes,
    spectrogram,
    timbre_of,
)
from difftool.voice.plan import plan_speech_with
from difftool.voice.speak import clone, speak_plan, tts_with_preset

GOLDEN = Path(__file__).parents[1] / "golden" / "tortoise_speech.npz"
TEXT = "Hello there, Dr. Smith."


def said(tortoise: Path, text: str = TEXT, **settings: Any) -> list[np.ndarray]:
    given = {"preset": "draft", "steps": 4, "samples": 8, "models_dir": tortoise, **settings}
    return clone(text, **given).sounds


def speech(steps: int, guidance: float, sampler: str = "ddpm") -> SpeechSettings:
    choice = choose_sampler(PATH, sampler, steps, "openai" if sampler == "ddpm" else None, variance="learned")
    return SpeechSettings(TokenSampling(), choice, 8, 1, 40, guidance, 1.0, 4)


@pytest.mark.parametrize("case", ["stock_5", "stock_6", "stock-kv_5", "stock-kv_6"])
def test_it_says_what_the_original_says(case: str, tortoise: Path) -> None:
    """Identical codes for a seed, and the same sound to rounding: a random voice (5) and one of two clips (6), two
    candidates, guided, in two batches. tests/stock/make_golden.py stored what tortoise-tts 3.0.0 made."""
    golden = np.load(GOLDEN)
    mode, seed = case.split("_")
    stages: dict[str, Any] = {}
    clips = [noise(20 + k, 150_000) * 0.1 for k in range(2)] if seed == "6" else []
    planned = plan_speech_with(
        TEXT,
        clips=clips,
        compat=mode,
        samples=8,
        candidates=2,
        max_mel_tokens=40,
        steps=10,
        guidance=3.0,
        seed=int(seed),
        batch_size=4,
        models_dir=tortoise,
    )
    done = speak_plan(planned, stages=stages)
    wanted = {
        key.removeprefix(f"{case}_"): torch.from_numpy(golden[key]) for key in golden if key.startswith(f"{case}_")
    }
    assert torch.equal(stages["codes"], wanted["codes"].long())
    assert off(stages["clvp"], wanted["clvp"]) < 1e-4
    assert off(thinned(stages["mel"]), wanted["mel"]) < 1e-3
    for k, sound in enumerate(done.sounds):
        assert off(thinned(torch.from_numpy(sound)), wanted[f"sound_{k}"]) < 1e-3


@pytest.mark.parametrize("dtype", ["fp32", "bf16", pytest.param("int8", marks=NEEDS_KERNEL)])
def test_blocks_and_candidates_change_no_sound(tortoise: Path, dtype: str) -> None:
    """Identical samples for one seed, also where several candidates have one length."""
    whole = said(tortoise, candidates=8, dtype=dtype, guidance=2.0)
    for settings in ({"batch_size": 1}, {"batch_size": 4}, {"batch_size": 16}, {"low_vram": True}):
        for one, other in zip(said(tortoise, candidates=8, dtype=dtype, guidance=2.0, **settings), whole, strict=True):
            assert np.array_equal(one, other), settings
    for count in (1, 3):
        found = said(tortoise, candidates=count, dtype=dtype, guidance=2.0)
        assert all(map(np.array_equal, found, whole))
    assert len({len(sound) for sound in whole}) < 8  # so several have


def test_samples_of_one_length_share_a_batch_on_a_gpu() -> None:
    assert _alike([3, 0, 1], [5, 6, 5, 5]) == [[3, 0], [1]]


def test_more_samples_keep_those_that_were_there(tortoise: Path) -> None:
    few = clone(TEXT, preset="draft", steps=4, samples=4, candidates=4, models_dir=tortoise)
    many = clone(TEXT, preset="draft", steps=4, samples=12, candidates=12, models_dir=tortoise)
    of = lambda done: {part["sample"]: sound for part, sound in zip(done.manifest["said"][0], done.sounds, strict=True)}  # noqa: E731
    for sample, sound in of(few).items():
        assert np.array_equal(sound, of(many)[sample])


def test_seeds_and_texts_sound_different(tortoise: Path) -> None:
    sounds = [said(tortoise)[0], said(tortoise, seed=1)[0], said(tortoise, "Hello there, Dr. Smyth.")[0]]
    assert len({sound.tobytes() for sound in sounds}) == 3
    assert derived(0, "a", 1) != derived(0, "a", 2) != derived(1, "a", 2)


@pytest.mark.parametrize(("steps", "guidance"), [(30, 1.0), (80, 3.0)])
def test_spectrograms_are_those_of_the_chain(steps: int, guidance: float) -> None:
    """The chain that is compared with the original's, whose two sides are two calls: here they are one."""
    diffusion = network("diffusion", torch.float32)
    latents, tone = noise(4, 2, 12, 64), noise(5, 1, 128)
    length = frames(12)
    made = finished(
        spectrogram(diffusion, latents, Timbre(tone, tone), speech(steps, guidance), Noise([7, 7], (100, length)))
    )
    for k in range(2):
        condition = diffusion.condition(latents[k : k + 1], tone, length)
        nothing = diffusion.unconditional(1, length) if guidance != 1 else None
        assert off(made[k : k + 1], denormalise(chain(diffusion, condition, nothing, steps))) < 1e-5


def test_guidance_grows_as_in_the_original() -> None:
    given = speech(30, 3.0).choice
    scale = ramp(given, 3.0)
    for i, level in enumerate(reversed(given.levels[:-1])):
        assert scale(level) == pytest.approx(1 + 2 * (1 - i / 30), abs=1e-12)
    between = PATH.level(69.0)  # midway between the last two levels, 138 and 0
    assert scale(between) == pytest.approx(1 + 2 * (1 - 0.5 / 30))


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m", "heun", "dpmpp_2m_sde", "unipc"])
def test_any_sampler_speaks(sampler: str, tortoise: Path) -> None:
    sound = said(tortoise, sampler=sampler, steps=6, guidance=2.0)[0]
    assert np.isfinite(sound).all()
    assert not np.array_equal(sound, said(tortoise, sampler="ddpm", steps=6, guidance=2.0)[0])


def test_what_clvp_is_shown() -> None:
    codes = torch.tensor([[5, 6, STOP, STOP, STOP], [1, 2, 3, 4, 5], [STOP] * 5])
    wanted = [
        [5, 6, CALM, CALM, CALM, CALM, CALM, 45, 45, 248],
        [1, 2, 3, 4, 5, CALM, CALM, 45, 45, 248],
        [CALM] * 7 + [45, 45, 248],
    ]
    assert clvp_input(codes, 10).tolist() == wanted
    assert clvp_input(codes[1:2], 5).tolist() == [[1, 2, 3, 4, 5]]  # cut off, and so left alone


def test_scores_are_those_of_one_pass() -> None:
    clvp = network("clvp", torch.float32)
    text, codes = integers(1, 3, 255, 1, 9), integers(2, 0, 8192, 21, 30)
    assert off(score_codes(clvp, text, codes, rows=4), clvp(text.expand(21, -1), codes)) < 1e-5


def test_a_voice_is_heard_in_the_first_six_seconds(tortoise: Path, voices: Path) -> None:
    nets = Networks(tortoise, None, torch.device("cpu"), torch.bfloat16)
    clips = [torch.from_numpy(read_sound(path, 22_050)) for path in sorted((voices / "me").rglob("*.wav"))]
    found = timbre_of(nets, clips)
    encoder = open_network("conditioning_encoder", tortoise)
    assert torch.equal(found.autoregressive, encoder(conditioning_mel(torch.stack(clips))))  # float32 all the same
    longer = [torch.cat([clip, noise(9, 50_000)]) for clip in clips]
    assert off(timbre_of(nets, longer).autoregressive, found.autoregressive) == 0
    assert off(timbre_of(nets, longer).diffusion, found.diffusion) < 1e-5
    short = timbre_of(nets, [clips[0][:40_000]])
    padded = torch.cat([clips[0][:40_000], torch.zeros(92_300)])[None]
    assert torch.equal(short.autoregressive, encoder(conditioning_mel(padded)))
    high = torch.nn.functional.pad(torch.from_numpy(np.zeros(0, np.float32)), (0, 102_400))[None]
    assert diffusion_mel(high).shape == (1, 100, 401)


class TestVoices:
    def test_what_is_known_is_kept(self, tortoise: Path, voices: Path) -> None:
        given = {"voice": "me", "voices_dir": voices}
        fresh = said(tortoise, **given, cache=False)[0]
        assert not (voices / "me" / "latents").exists()
        first = said(tortoise, **given)[0]
        (kept,) = (voices / "me" / "latents").iterdir()
        before = kept.stat().st_mtime_ns
        again = clone(TEXT, preset="draft", steps=4, samples=8, models_dir=tortoise, **given)
        assert np.array_equal(fresh, first)
        assert np.array_equal(first, again.sounds[0])
        assert kept.stat().st_mtime_ns == before
        assert "contextual_embedder" not in again.manifest["models"]

    def test_nothing_is_kept_in_the_package(
        self, tortoise: Path, voices: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(work, "PACKAGE", voices)
        said(tortoise, voice="me", voices_dir=voices)
        assert not (voices / "me" / "latents").exists()

    def test_another_clip_is_heard(self, tortoise: Path, voices: Path) -> None:
        given = {"voice": "me", "voices_dir": voices}
        before = said(tortoise, **given)[0]
        (voices / "me" / "refs" / "tortoise" / "2.wav").unlink()
        assert not np.array_equal(said(tortoise, **given)[0], before)
        assert len([*(voices / "me" / "latents").iterdir()]) == 2

    def test_what_is_kept_and_damaged_is_made_again(
        self, tortoise: Path, voices: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        given = {"voice": "me", "voices_dir": voices}
        before = said(tortoise, **given)[0]
        (kept,) = (voices / "me" / "latents").iterdir()
        kept.write_bytes(kept.read_bytes()[:-7])
        assert np.array_equal(said(tortoise, **given)[0], before)
        assert "creating it again" in caplog.text
        assert np.array_equal(said(tortoise, **given)[0], before)
        assert caplog.text.count("creating it again") == 1

    def test_a_mix_is_as_if_the_clips_were_one_voice(self, tortoise: Path, voices: Path) -> None:
        (voices / "plain" / "voice.json").write_text('{"consent": {"kind": "synthetic"}}')
        (voices / "plain" / "2.wav").unlink()
        clips = [*sorted((voices / "me").rglob("*.wav")), *sorted((voices / "plain").glob("*.wav"))]
        mixed = said(tortoise, voice="me&plain", voices_dir=voices)[0]
        together = said(tortoise, clips=clips)[0]
        # the seed of the codes is the same, and the voice to rounding; one code may differ on the edge of a chance
        assert len(mixed) == len(together)
        assert off(torch.from_numpy(mixed), torch.from_numpy(together)) < 1e-3

    def test_latents_of_the_original(self, tortoise: Path, voices: Path) -> None:
        nets = Networks(tortoise, None, torch.device("cpu"), torch.float32)
        clips = [torch.from_numpy(read_sound(path, 22_050)) for path in sorted((voices / "me").rglob("*.wav"))]
        (voices / "kept").mkdir()
        torch.save(tuple(timbre_of(nets, clips)), voices / "kept" / "kept.pth")
        (voices / "kept" / "voice.json").write_text('{"consent": {"kind": "self"}}')
        found = said(tortoise, voice="kept", voices_dir=voices)[0]
        assert np.array_equal(found, said(tortoise, voice="me", voices_dir=voices)[0])
        torch.save((torch.zeros(1, 3), torch.zeros(1, 128)), voices / "kept" / "kept.pth")
        with pytest.raises(DifftoolError, match="latents") as error:
            said(tortoise, voice="kept", voices_dir=voices)
        assert error.value.code == Exit.FILE


class TestFromPython:
    def test_tts_with_preset(self, tortoise: Path, voices: Path) -> None:
        paths = sorted((voices / "me").rglob("*.wav"))
        clips = [torch.from_numpy(read_sound(path, 22_050))[None] for path in paths]
        given = {"models_dir": tortoise, "steps": 4, "samples": 8}
        one = difftool.voice.tts_with_preset(TEXT, clips, preset="draft", **given)
        assert one.shape[:2] == (1, 1)
        assert torch.equal(one, tts_with_preset(TEXT, paths, "draft", **given))
        three = tts_with_preset(TEXT, clips, "draft", candidates=3, **given)
        assert three.shape[:2] == (3, 1)
        assert torch.equal(three[0, 0, : one.shape[2]], one[0, 0])

    def test_a_long_text_is_joined(self, tortoise: Path) -> None:
        steps = []

        def track(items: Any, total: int) -> Any:
            steps.append(total)
            for item in items:
                steps.append(0)
                yield item

        done = difftool.voice.clone(
            "One. Two.\n\nThree.", preset="draft", steps=4, samples=2, models_dir=tortoise, track=track
        )
        assert len(done.manifest["said"]) == 2
        assert steps[0] == len(steps) - 1 == 2 * (60 + 4)
        assert done.manifest["synthetic"] is True

    @pytest.mark.parametrize(
        ("settings", "says"),
        [
            ({"preset": "fats"}, "did you mean 'fast'"),
            ({"samples": 0}, "samples must be"),
            ({"samples": 4, "candidates": 5}, "candidates must be"),
            ({"temperature": -1.0}, "temperature must be"),
            ({"temperature": float("nan")}, "temperature must be"),
            ({"top_p": 1.5}, "top-p must be"),
            ({"guidance": float("inf")}, "guidance must be"),
            ({"max_mel_tokens": 61}, "max-mel-tokens must be"),
            ({"max_mel_tokens": 2}, "max-mel-tokens must be"),
            ({"sampler": "ddmi"}, "did you mean"),
            ({"compat": "stok"}, "did you mean"),
            ({"compat": "stock", "sampler": "ddim"}, "does not support ddim"),
            ({"compat": "stock", "samples": 6, "batch_size": 4}, "whole batches"),
            ({"engine": "stock", "compat": "stock"}, "for --engine tortoise only"),
            ({"clips": [torch.zeros(2, 9)]}, "reference clip"),
            ({"clips": [torch.full((9,), float("nan"))]}, "reference clip"),
        ],
    )
    def test_settings_that_do_not_fit(self, tortoise: Path, settings: dict[str, Any], says: str) -> None:
        with pytest.raises(DifftoolError, match=says) as error:
            plan_speech_with(TEXT, models_dir=tortoise, **settings)
        assert error.value.code == Exit.USAGE

    def test_only_what_is_needed_is_demanded(self, tmp_path: Path, tortoise: Path, voices: Path) -> None:
        few = tmp_path / "few"
        few.mkdir()
        for name in ("config.json", "autoregressive.pth", "diffusion_decoder.pth", "vocoder.pth"):
            (few / name).write_bytes((tortoise / name).read_bytes())
        given = {"models_dir": few, "steps": 4, "preset": "draft", "voices_dir": voices}
        assert len(clone(TEXT, "me", samples=1, **given).sounds) == 1
        with pytest.raises(DifftoolError, match=r"clvp2\.pth of Tortoise is not in") as error:
            clone(TEXT, "me", samples=2, **given)
        assert error.value.code == Exit.FILE
        with pytest.raises(DifftoolError, match=r"rlg_auto\.pth, rlg_diffuser\.pth"):
            clone(TEXT, samples=1, **given)

    def test_another_decoder(self, tmp_path: Path, tortoise: Path) -> None:
        weights = torch.load(tortoise / "autoregressive.pth", weights_only=True)
        weights["mel_head.weight"] += 0.01 * noise(77, *weights["mel_head.weight"].shape)
        torch.save(weights, tmp_path / "tuned.pth")
        tuned = clone(TEXT, preset="draft", steps=4, models_dir=tortoise, ar_checkpoint=tmp_path / "tuned.pth")
        plain = clone(TEXT, preset="draft", steps=4, models_dir=tortoise)
        assert tuned.manifest["models"]["autoregressive.pth"] != plain.manifest["models"]["autoregressive.pth"]
        assert not np.array_equal(tuned.sounds[0], plain.sounds[0])

    def test_nan_is_an_error(self, tmp_path: Path, tortoise: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from difftool.nets.tortoise.diffusion import DiffusionTts

        inner = DiffusionTts.forward
        monkeypatch.setattr(
            DiffusionTts, "forward", lambda self, x, t, condition: inner(self, x, t, condition) * torch.nan
        )
        with pytest.raises(DifftoolError, match="not finite") as error:
            said(tortoise)
        assert error.value.code == Exit.FAILED


@pytest.mark.parametrize(
    ("python", "hint"), [((3, 11), r"pip install .*tortoise-tts==3\.0\.0"), ((3, 12), "use Python 3.11")]
)
def test_the_original_where_it_is_not_installed(
    python: tuple[int, int], hint: str, tortoise: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tortoise", None)
    monkeypatch.setitem(sys.modules, "tortoise.api", None)
    monkeypatch.setattr(stock, "sys", SimpleNamespace(version_info=python))
    with pytest.raises(DifftoolError, match="tortoise-tts cannot be imported") as error:
        said(tortoise, engine="stock", sampler="ddpm", voice="random")
    assert error.value.code == Exit.FILE
    assert re.search(hint, error.value.hint)
