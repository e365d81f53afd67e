"""The voice in the package, through the command line. What every engine does stands in tests/cli/test_voice_clone.py
and tests/voice/test_long_text.py."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torchaudio.functional import lowpass_biquad

import difftool as package
from difftool.audio.files import RATE
from difftool.audio.pitch import pitches
from difftool.core.paths import Level
from difftool.core.predict import Denoised
from difftool.nets.mini.mel import mel
from difftool.nets.mini.speech import CHANNELS, tuned
from difftool.nets.spectrum import MELS
from difftool.sampling.choice import choose_sampler
from difftool.sampling.settings import GuidanceSettings
from difftool.voice.engines import finished
from difftool.voice.engines.mini.networks import Voice, open_networks
from difftool.voice.engines.mini.options import PATH, Options
from difftool.voice.engines.mini.phonemes import phonemes
from difftool.voice.engines.mini.synthesis import SpeechSettings, pitched, spectrograms, symbols_of
from difftool.voice.engines.mini.voices import PANGRAM, long_term_spectrum, median_of, mixed, random_voice, voice_of
from difftool.voice.identity import voiceprint
from difftool.voice.library import PACKAGE, names

Run = Callable[..., Any]
LINE = "The ferry leaves at nine."


@pytest.fixture
def clone(difftool: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("DIFFTOOL_VOICES_DIR", raising=False)
    return lambda *args: difftool("voice", "clone", *args)


def sound(file: str) -> Any:
    return soundfile.read(file, dtype="float32")[0]


class TestTheFirstDay:
    def test_a_sentence_without_any_model_or_option(self, clone: Run) -> None:
        ended = clone(LINE, "-o", "a.wav", "--json").json
        assert ended["data"]["settings"]["engine"] == "mini"
        (warning,) = ended["warnings"]
        assert "difftool models pull tortoise" in warning
        assert 0.8 < soundfile.info("a.wav").duration < 4
        assert np.abs(sound("a.wav")).max() > 0.05

    def test_no_warning_where_it_was_chosen(self, clone: Run) -> None:
        ended = clone(LINE, "--engine", "mini", "-o", "a.wav", "--json").json
        assert ended["warnings"] == []
        assert ended["data"]["settings"]["engine"] == "mini"

    def test_the_warning_names_an_engine_with_the_same_options(self, clone: Run) -> None:
        ended = clone(LINE, "--speed", 1.5, "--dry-run", "--json").json
        assert ended["data"]["settings"]["engine"] == "mini"
        (warning,) = ended["warnings"]
        assert "difftool models pull f5 vocos" in warning

    def test_every_file_says_what_it_is(self, clone: Run) -> None:
        assert clone(LINE, "--engine", "mini", "-o", "a.wav").code == 0
        for note in (json.loads(Path("a.json").read_text()), json.loads(comment_of("a.wav"))):
            assert "Kokoro" in note["terms"]["trained_on"]
            assert "Apache-2.0" in note["terms"]["engine"]
            assert "not identity" in note["terms"]["limits"]


def comment_of(file: str) -> str:
    from difftool.audio.files import tags_of

    return tags_of(Path(file))["comment"]


class TestVoices:
    def test_twenty_with_a_consent(self, difftool: Run) -> None:
        every = names(PACKAGE)
        assert len(every) == 20
        for name in every:
            note = json.loads((PACKAGE / name / "voice.json").read_text())
            assert (note["name"], note["consent"]["kind"]) == (name, "synthetic")
            assert "Kokoro" in note["about"]
        listed = difftool("voice", "list").out
        assert f"in the package: {', '.join(every)}" in listed
        assert difftool("voice", "show", every[0]).code == 0

    def test_one_of_the_user_comes_first(self, clone: Run, voices: Path) -> None:
        """A folder of that name hides the voice in the package."""
        given = (LINE, "--engine", "mini", "--voice", "alma", "--preset", "draft", "--json")
        packaged = clone(*given, "-o", "a.wav").json["data"]["voices"][0]["sha256"]
        (voices / "me").rename(voices / "alma")
        assert clone(*given, "-o", "b.wav").json["data"]["voices"][0]["sha256"] != packaged

    def test_a_hidden_one_of_the_user_is_not_taken_for_it(
        self, refused: Run, tmp_path: Path, voices: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (voices / "me").rename(voices / "hugo")
        monkeypatch.setenv("DIFFTOOL_VOICES_DIR", str(tmp_path / "other"))
        refused(4, "voice", "clone", LINE, "--voice", "hugo", says="--voices-dir voices")

    def test_one_that_is_replaced_is_marked(
        self, difftool: Run, voices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("DIFFTOOL_VOICES_DIR", raising=False)
        assert difftool("voice", "list", "--json").json["data"]["replaced"] == []
        (voices / "me").rename(voices / "alma")
        for used in ("voices", "elsewhere"):  # there it is hidden, and still not taken for another one
            ended = difftool("voice", "list", "--voices-dir", tmp_path / used)
            assert "in the package: alma (replaced by yours), arthur," in ended.out
        assert difftool("voice", "list", "--json").json["data"]["replaced"] == ["alma"]

    def test_a_very_short_recording(self) -> None:
        nets = open_networks(torch.device("cpu"), torch.float32)
        assert voice_of(nets, [torch.ones(9)]).vectors.isfinite().all()

    def test_those_of_the_package_are_not_changed(self, refused: Run) -> None:
        for command in (["rm", "alma"], ["consent", "alma", "self"]):
            refused(4, "voice", *command, says="it is in the package")

    def test_a_mix_lies_between(self) -> None:
        nets = open_networks(torch.device("cpu"), torch.float32)
        clips = {name: [torch.from_numpy(difftool_sound(name))] for name in ("arthur", "june")}
        low, high = (voice_of(nets, clips[name]) for name in ("arthur", "june"))
        both, mix = voice_of(nets, clips["arthur"] + clips["june"]), mixed([low, high])
        assert (low.vectors - high.vectors).norm() > 1
        assert (both.vectors - mix.vectors).norm() < 0.35 * (low.vectors - high.vectors).norm()
        assert mix.pitch.item() == pytest.approx((low.pitch * high.pitch).sqrt().item())
        assert low.pitch < mix.pitch < high.pitch

    def test_a_mix_with_a_voice_of_unknown_pitch(self) -> None:
        nets = open_networks(torch.device("cpu"), torch.float32)
        known = voice_of(nets, [torch.from_numpy(difftool_sound("june"))])
        unknown = known._replace(pitch=torch.zeros(1))
        assert mixed([unknown, known]).pitch.item() == pytest.approx(known.pitch.item())
        assert mixed([unknown, unknown]).pitch.item() == 0

    def test_loudness_does_not_matter(self) -> None:
        nets = open_networks(torch.device("cpu"), torch.float32)
        clip = torch.from_numpy(difftool_sound("clara"))
        loud, quiet = voice_of(nets, [clip]), voice_of(nets, [clip / 7])
        assert (loud.vectors - quiet.vectors).norm() < 0.01 * loud.vectors.norm()

    def test_the_tone_of_the_reference(self) -> None:
        """The long-term spectrum of what is said comes nearer to that of the reference; that of a reference without its
        upper half, as on a telephone, is not taken over."""
        nets = open_networks(torch.device("cpu"), torch.float32)
        clip = torch.from_numpy(difftool_sound("clara"))
        voice = voice_of(nets, [clip])
        assert 0.05 < voice.tone.std() < 1
        assert abs(voice.tone.mean()) < 0.2
        wanted = long_term_spectrum(mel(clip))

        settings = SpeechSettings(choose_sampler(PATH, "euler", 4), 1.0, GuidanceSettings(), 1.0)

        def distance(voice: Voice) -> float:
            work = spectrograms(nets, settings, phonemes(PANGRAM), voice, [0])
            missing = wanted - long_term_spectrum(finished(work)[0])
            return float((missing - missing.median())[:70].square().mean())

        assert distance(voice) < 0.8 * distance(voice._replace(tone=torch.zeros(MELS, 1)))
        cut = lowpass_biquad(clip, RATE, 3000)
        for _ in range(5):
            cut = lowpass_biquad(cut, RATE, 3000)
        assert voice_of(nets, [cut]).tone[80:].abs().max() < 0.1

    def test_a_random_voice_hangs_on_the_seed(self) -> None:
        nets = open_networks(torch.device("cpu"), torch.float32)
        one, same, other = (random_voice(nets, seed) for seed in (1, 1, 2))
        assert torch.equal(one.vectors, same.vectors)
        assert (one.vectors - other.vectors).norm() > 1
        assert 60 < one.pitch != other.pitch < 400

    def test_the_pitch_stays_near_that_of_the_voice(self) -> None:
        made = torch.randn(3, CHANNELS, 24, generator=torch.Generator().manual_seed(0))
        median = made[:, MELS:, :19].median(-1, keepdim=True).values
        made[:, MELS:] += tuned(torch.tensor([117 * 1.05, 117 * 1.3, 117 / 1.5]))[:, None, None] - median
        predict = pitched(lambda x, level: Denoised(x, None), torch.tensor([117.0]), 19)
        x0 = predict(made, Level(0.5, 0.5, 0.5)).x0
        assert torch.equal(x0[:, :MELS], made[:, :MELS])
        hertz = (x0[:, MELS, :19].median(-1).values * 0.35 + 5.1).exp()
        assert hertz.tolist() == pytest.approx([117 * 1.05, 117 * 1.06, 117 / 1.06], rel=1e-4)
        moved = x0[:, MELS] - made[:, MELS]
        assert torch.allclose(moved, moved[:, :1].expand_as(moved), atol=1e-5)

    def test_creak_is_not_the_pitch_of_a_voice(self) -> None:
        hertz = torch.tensor([50.4] * 30 + [0.0] * 10 + [180.0, 200.0, 220.0] * 8)
        assert median_of(hertz).item() == 200

    def test_voices_sound_different(self, clone: Run) -> None:
        """By pitch, and as the speaker encoder hears them, which no part was trained with."""
        text = "The ferry leaves the harbour at a quarter to nine, and nobody knew why."
        made, own = {}, {}
        for name in ("bruno", "june"):
            assert clone(text, "--engine", "mini", "--voice", name, "-o", f"{name}.wav").code == 0
            made[name], own[name] = sound(f"{name}.wav"), voiceprint(difftool_sound(name), RATE)
        assert np.median(pitches(made["june"])) > 1.3 * np.median(pitches(made["bruno"]))
        for name, other in (("bruno", "june"), ("june", "bruno")):
            heard = voiceprint(made[name], RATE)
            assert heard @ own[name] > heard @ own[other] + 0.1


def difftool_sound(name: str) -> Any:
    from difftool.audio.files import read_sound

    (clip,) = (PACKAGE / name / "clips").iterdir()
    return read_sound(clip, RATE)


class TestSettings:
    def test_presets_differ_in_steps(self, clone: Run) -> None:
        def steps(name: str) -> int:
            told = clone(LINE, "--engine", "mini", "--preset", name, "--dry-run", "--json").json
            return told["data"]["settings"]["steps"]

        counts = [steps(name) for name in ("draft", "ultra_fast", "fast", "standard", "high_quality")]
        assert counts == sorted({*counts})

    def test_twice_as_fast_is_half_as_long(self, clone: Run) -> None:
        for speed in (1, 2):
            given = ("--preset", "draft", "--speed", speed, "-o", f"{speed}.wav")
            assert clone(LINE, "--engine", "mini", *given).code == 0
        assert len(sound("2.wav")) == pytest.approx(len(sound("1.wav")) / 2, abs=RATE / 50)

    def test_any_sampler_and_guidance(self, clone: Run) -> None:
        made = set()
        for k, given in enumerate(
            (
                ["--sampler", "heun", "--steps", "3"],
                ["--sampler", "ddpm", "--steps", "3", "--eta", "0.5"],
                ["--sampler", "euler_cfg_pp", "--steps", "3"],
                ["--guidance", "3", "--guidance-mode", "cfg_zero", "--steps", "3"],
                ["--schedule", "epss", "--steps", "7", "--sampler", "euler"],
            )
        ):
            assert clone(LINE, "--engine", "mini", *given, "-o", f"{k}.wav").code == 0
            assert np.abs(sound(f"{k}.wav")).max() > 0.02
            made.add(sound(f"{k}.wav").tobytes())
        assert len(made) == 5

    def test_candidates_and_batches(self, clone: Run) -> None:
        """A candidate is the same to rounding, however many are drawn beside it."""
        given = ("--engine", "mini", "--preset", "draft", "--candidates", 3, "--output-dir")
        assert clone(LINE, *given, "all").code == 0
        assert clone(LINE, *given, "one", "--batch-size", 1).code == 0
        files = sorted(path.name for path in Path("all").glob("*.wav"))
        assert len(files) == 3
        every = [sound(f"all/{file}") for file in files]
        assert len({part.tobytes() for part in every}) == 3
        for file, together in zip(files, every, strict=True):
            alone = sound(f"one/{file}")
            assert np.abs(alone - together).max() < 0.02 * np.abs(alone).max()

    def test_wrong_input(self, refused: Run) -> None:
        line = ("voice", "clone", "--engine", "mini", LINE)
        refused(2, *line, "--speed", 0, says="speed must be")
        refused(2, *line, "--samples", 4, says="--engine tortoise or stock")
        refused(2, *line, "--guidance", 1, "--guidance-mode", "apg", says="add --guidance 2")
        refused(2, "voice", "clone", "--engine", "mini", "你好", says="nothing in the text can be spoken")
        refused(4, *line, "--voice", "almma", says="did you mean 'alma'")

    def test_what_has_no_effect_is_said(self, clone: Run) -> None:
        given = ("--engine", "mini", "--dry-run", "--json", LINE)
        assert clone(*given, "--no-cache", "--low-vram").json["warnings"] == [
            "--no-cache has no effect with the engine mini",
            "--low-vram has no effect with the engine mini",
        ]
        assert clone(*given, "--cache", "--batch-size", 1).json["warnings"] == []

    def test_one_letter_very_fast(self, clone: Run) -> None:
        assert clone("a", "--engine", "mini", "--speed", 4, "--preset", "draft", "-o", "a.wav").code == 0
        assert soundfile.info("a.wav").duration > 0.04

    @pytest.mark.parametrize("file", ["speech.safetensors", "lexicon.xz", "letters.safetensors"])
    def test_a_damaged_package(self, refused: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
        from difftool.voice.engines.mini import networks, words

        folder = tmp_path / "assets"
        shutil.copytree(networks.FOLDER, folder / "mini")
        monkeypatch.setattr(networks, "FOLDER", folder / "mini")
        monkeypatch.setattr(words, "FOLDER", folder / "mini")
        caches = (words.lexicon, words.network, words._guessed)
        for cached in caches:
            cached.cache_clear()
        whole = (folder / "mini" / file).read_bytes()
        (folder / "mini" / file).write_bytes(whole[: len(whole) // 2])
        refused(4, "voice", "clone", "--engine", "mini", "A word like vlorbitude.", says="install difftool again")
        for cached in caches:
            cached.cache_clear()

    def test_from_python(self) -> None:
        spoken = package.voice.clone("One two three.", engine="mini", preset="draft", voice="alma")
        assert spoken.sounds[0].dtype == np.float32
        clips = [torch.from_numpy(difftool_sound("alma"))]
        assert package.voice.tts_with_preset("One.", clips, "draft", engine="mini").ndim == 3

    def test_options_are_typed(self) -> None:
        assert Options().speed == 1.0
        assert symbols_of(";:")[0] == symbols_of(";:")[-1] == 1
