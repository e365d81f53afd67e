"""What the voice in the package learns of a voice, with networks of a few numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from difftool.device import DTYPES
from difftool.errors import DifftoolError
from difftool.files import load_tensors, save_tensors
from difftool.learning.loop import Trainee, held_out, updates
from difftool.nets.mini.speech import Speech
from difftool.voice.engines.mini import tuning
from difftool.voice.engines.mini.alignment import SPREADS, TRUST, frames_of, open_aligner
from difftool.voice.engines.mini.clarity import clarity
from difftool.voice.engines.mini.learning import ALIGNED, Imitating, Learner, Utterance, blend, clear_share, utterance
from difftool.voice.engines.mini.losses import contour
from difftool.voice.engines.mini.networks import LEARNED, Voice, base_of, open_networks
from difftool.voice.engines.mini.phonemes import phonemes
from difftool.voice.tuning import Clip

SMALL = {"text": 16, "voice": 16, "slots": 2, "flow": 16, "hidden": 16, "blocks": 3, "text_blocks": 2}
CPU = torch.device("cpu")
NO_TONE = torch.zeros(100, 1)


def clip(name: str, path: Path, text: str) -> Clip:
    return Clip(name, path, text, 2.0, "")


def config(updates: int, lr: float = 0.01) -> Any:
    assert "fp32" in DTYPES
    train = {"batch_size": 4, "images": 4 * updates, "seed": 3, "dtype": "fp32", "lr": lr}
    return {"train": {**train, "warmup": 0.0, "ema": 0.1, "weight_decay": 0.0}}


@pytest.fixture
def learner() -> Learner:
    torch.manual_seed(0)
    return Learner(Speech(**SMALL), torch.randn(2, 16), torch.tensor([120.0]))


@pytest.fixture
def clips() -> list[Utterance]:
    """Six of 12 to 22 frames; one is longer than the window."""
    torch.manual_seed(1)
    made = []
    for k in range(6):
        frames = torch.tensor([2, 3 + 2 * k, 4, 3]) if k else torch.tensor([200, 100, 200, 20])
        total = int(frames.sum())
        mel = (torch.randn(total, 100) - 4).half()
        made.append(Utterance(torch.tensor([1, 5, 9, 1]), frames, mel, 100 + 10 * torch.rand(total)))
    return made


def test_a_contour_lies_between_voiced_frames() -> None:
    tune = contour(np.array([0, 100, 0, 400, 0], np.float32))
    assert tune[2] == pytest.approx((np.log(200) - 5.1) / 0.35, abs=1e-5)
    assert (tune[0], tune[4]) == (tune[1], tune[3])
    assert not contour(np.zeros(4, np.float32)).any()


class TestImitating:
    def test_only_the_parts_of_the_voice_learn(self, learner: Learner) -> None:
        names = {name.split(".")[1] for name, p in learner.named_parameters() if p.requires_grad and "." in name}
        assert names == {"flow", "durations"}
        assert learner.vectors.requires_grad

    def test_a_row_depends_on_its_number_only(self, learner: Learner, clips: list[Utterance]) -> None:
        task = Imitating(config(2), learner, clips[:4], clips[4:])
        whole = task.losses(4, range(4))[0]
        parts = torch.cat([task.losses(4, range(k, k + 2))[0] for k in (0, 2)])
        assert torch.allclose(whole, parts, atol=1e-5)

    def test_the_probe_takes_the_longest(self, learner: Learner, clips: list[Utterance]) -> None:
        task = Imitating(config(2), learner, clips[:4], clips[4:])
        assert len(task.longest[0].mel) == 520
        assert len(task.heaviest(range(5))[0]) == 5

    def test_clips_are_learned(self, learner: Learner, clips: list[Utterance]) -> None:
        setup = config(40)
        task = Imitating(setup, learner, clips[1:4], clips[1:4])
        trainee = Trainee(learner, setup["train"])
        assert task.held_out == 48
        before = held_out(trainee, task)
        for _ in updates(trainee, task, setup["train"]):
            pass
        after = held_out(trainee, task)
        assert before and after and before[0] and after[0]
        assert after[0] < 0.8 * before[0]


class TestShare:
    def test_weights_between_those_of_the_beginning_and_the_trained_ones(self) -> None:
        start, trained = {"a": torch.tensor([1.0, 2])}, {"a": torch.tensor([2.0, 0])}
        assert blend(start, trained, 0.25)["a"].tolist() == [1.25, 1.5]

    @pytest.mark.parametrize(
        ("figures", "share"),
        [
            ({0.0: -1.2, 1.0: -1.25}, 1.0),
            ({0.0: -1.2, 1.0: -1.8, 0.7: -1.31, 0.5: -1.29}, 0.5),
            ({0.0: -1.2, 1.0: -1.8, 0.7: -1.5, 0.5: -1.4}, 0.35),
        ],
    )
    def test_the_largest_that_is_clear(
        self, figures: dict[float, float], share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        nets = open_networks(CPU, torch.float32)
        save_tensors(tmp_path / ALIGNED, {"vectors": nets.random["mean"]}, {"pitch": "120.0"})
        trained = {"vectors": nets.random["mean"] + 1}

        def clear(nets: Any, voice: Voice, texts: list[str]) -> float:
            """By how far the vectors have moved."""
            assert texts == ["hɛlˈO"]
            return figures[round(float((voice.vectors - nets.random["mean"]).mean()), 2)]

        monkeypatch.setattr("difftool.voice.engines.mini.learning.clarity", clear)
        assert clear_share(tmp_path, trained, ["hɛlˈO"]) == share

    def test_noise_is_not_clear(self) -> None:
        """In the flow, it makes speech unclear; what was asked for is found in speech without it."""
        nets = open_networks(CPU, torch.float32)
        voice = Voice(nets.random["mean"], torch.tensor([150.0]), NO_TONE)
        text = [phonemes("The ferry leaves at nine.")]
        clear = clarity(nets, voice, text)
        assert -1.6 < clear < -0.5
        torch.manual_seed(0)
        for block in nets.speech.flow.blocks:
            block.narrow.weight += 0.05 * torch.randn_like(block.narrow.weight)
        assert clarity(nets, voice, text) < clear - 0.3


def test_a_clip_is_aligned(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", 0.05 * rng.standard_normal(36_000), 24_000)
    nets = open_networks(CPU, torch.float32)
    voice = Voice(nets.random["mean"], torch.tensor([120.0]), NO_TONE)
    made = utterance(nets, open_aligner(), voice, clip("a", tmp_path / "a.wav", "Hello there."))
    assert int(made.frames.sum()) == len(made.mel) == len(made.hertz) == 36_000 // 256
    assert len(made.frames) == len(made.text)
    assert made.frames.min() >= 1


def test_frames_by_trying_all() -> None:
    """Against every way to share 7 frames among 3 symbols."""
    scores = torch.from_numpy(np.random.default_rng(3).standard_normal((7, 55)))
    symbols, expected = torch.tensor([20, 31, 20]), torch.tensor([2.0, 3, 2]).log()

    def total(*frames: int) -> float:
        lasts = torch.tensor(frames)
        sounds = TRUST * float(scores[torch.arange(7), symbols.repeat_interleave(lasts)].sum())
        return sounds - 0.5 * float(((lasts.log() - expected) / SPREADS["sound"]).square().sum())

    ways = [(a, b, 7 - a - b) for a in range(1, 6) for b in range(1, 7 - a)]
    assert frames_of(scores, symbols, expected).tolist() == [*max(ways, key=lambda way: total(*way))]


def test_frames_follow_the_scores_and_where_these_say_nothing_the_durations() -> None:
    symbols, expected = torch.tensor([1, 20, 21, 1]), torch.tensor([5.0, 10, 20, 5]).log()
    told_nothing = torch.zeros(40, 55)
    assert frames_of(told_nothing, symbols, expected).tolist() == [5, 10, 20, 5]
    assert frames_of(told_nothing, symbols, expected + 1).tolist() == [5, 10, 20, 5]
    certain = torch.full((40, 55), -50.0)
    for symbol, frames in ((1, [*range(4), *range(34, 40)]), (20, range(4, 24)), (21, range(24, 34))):
        certain[list(frames), symbol] = 0
    assert frames_of(certain, symbols, expected).tolist() == [4, 20, 10, 6]
    with pytest.raises(ValueError, match="4 symbols do not fit in 3 frames"):
        frames_of(certain[:3], symbols, expected)


def test_clips_that_cannot_be_learned_from() -> None:
    path = Path("x.wav")
    assert tuning.unusable(clip("a", path, "Hello there.")) is None
    assert tuning.unusable(clip("a", path, "你好")) == "its text has characters without a pronunciation"
    assert tuning.unusable(clip("a", path, "Hello there. " * 9)) == "its text is too long for its sound"
    assert tuning.unusable(clip("a", path, "...")) == "its text has no words"
    long = clip("a", path, "Hi.")._replace(seconds=7.68)  # six symbols of 120 frames
    assert tuning.unusable(long) is None
    assert tuning.unusable(long._replace(seconds=7.69)) == "its text is too short for its sound"
    assert tuning.unusable(clip("a", path, "Hello there. " * 30)._replace(seconds=31)) == "it is longer than 30 s"


class TestLearned:
    @pytest.fixture
    def written(self, tmp_path: Path) -> Path:
        """A file of a voice with vectors of its own, and a flow that is not that of the package."""
        speech = open_networks(CPU, torch.float32).speech
        weights = {f"flow.{name}": value for name, value in speech.flow.state_dict().items()}
        weights |= {"vectors": torch.full((16, 192), 0.5), "flow.norm.bias": torch.full((256,), 2.0)}
        metadata = {"schema": LEARNED, "base": base_of(), "pitch": "123.5"}
        save_tensors(tmp_path / "voice.safetensors", {name: value.half() for name, value in weights.items()}, metadata)
        return tmp_path / "voice.safetensors"

    def test_is_spoken_with(self, written: Path) -> None:
        nets = open_networks(CPU, torch.float32, written)
        assert nets.learned
        assert (nets.learned.vectors == 0.5).all()
        assert nets.learned.pitch.tolist() == [123.5]
        assert (nets.speech.flow.norm.bias == 2).all()
        assert (open_networks(CPU, torch.float32).speech.flow.norm.bias != 2).any()

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"base": "0"}, "trained with another version of the voice in the package"),
            ({"schema": "difftool/beep/1"}, "does not contain what voice train learned for mini"),
            ({"pitch": "high"}, "is damaged"),
        ],
    )
    def test_of_another_kind_is_refused(self, written: Path, change: dict[str, str], says: str) -> None:
        loaded = load_tensors(written)
        save_tensors(written, loaded.tensors, {**loaded.metadata, **change})
        with pytest.raises(DifftoolError, match=says):
            open_networks(CPU, torch.float32, written)

    @pytest.mark.parametrize("other", [{"flow.norm.bias": torch.zeros(3)}, {"vectors": torch.zeros(16, 3)}])
    def test_of_other_networks_is_refused(self, written: Path, other: dict[str, torch.Tensor]) -> None:
        loaded = load_tensors(written)
        save_tensors(written, {**loaded.tensors, **other}, loaded.metadata)
        with pytest.raises(DifftoolError, match="different architecture"):
            open_networks(CPU, torch.float32, written)
