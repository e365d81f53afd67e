"""Training Tortoise's decoder on a voice, with tiny networks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from tiny_tortoise import checkpoint, finished, integers, learned_row, network, noise, official, text_head
from torch import Tensor

from difftool.audio.files import read_sound
from difftool.errors import DifftoolError
from difftool.learning.driver import ended
from difftool.learning.loop import ROOM, Trainee, held_out, items_that_fit, updates
from difftool.learning.tasks import indices
from difftool.nets.official import stored_in
from difftool.nets.tortoise.dvae import DiscreteEncoder, speech_codes
from difftool.nets.tortoise.official import AUTOREGRESSIVE
from difftool.signals import deferred
from difftool.voice.engines import Reference, tortoise
from difftool.voice.engines.tortoise import tuning
from difftool.voice.engines.tortoise.decoding import STOP, TokenSampling, sample_codes
from difftool.voice.engines.tortoise.networks import open_network
from difftool.voice.engines.tortoise.tuning.lora import adapted
from difftool.voice.engines.tortoise.tuning.memory import learned, needed
from difftool.voice.engines.tortoise.tuning.run import TortoiseTuning
from difftool.voice.engines.tortoise.tuning.targets import voices_in
from difftool.voice.engines.tortoise.tuning.task import Clipset, CodePrediction, CodePredictor
from difftool.voice.engines.tortoise.work import TortoiseSpeaker
from difftool.voice.library import Voice
from difftool.voice.settings import Settings as SpeechSettings
from difftool.voice.tuning import Clip, Clips
from difftool.voice.tuning.settings import Settings

LOSSES = Path(__file__).parents[3] / "golden" / "tortoise_losses.json"
GREEDY = TokenSampling(0.01, 1.0, 1, 1.0)


def recipe(**settings: Any) -> Any:
    """The part of a config that training reads."""
    usual = {"images": 40, "batch_size": 4, "lr": 1e-2, "warmup": 0.05, "ema": 0.1, "weight_decay": 0.01, "seed": 0}
    return {**usual, "length": {}, **settings}


def predictor(*, trainable: bool = True) -> CodePredictor:
    return CodePredictor(network("autoregressive"), text_head()).requires_grad_(trainable)


def clipset(count: int) -> Clipset:
    """Clips of different lengths, with one voice each."""
    texts = [integers(k, 3, 255, 6 + k % 4) for k in range(count)]
    codes = [integers(100 + k, 0, 8192, 12 + 3 * k % 13) for k in range(count)]
    return Clipset(texts, codes, noise(1, count, 64), [range(k, k + 1) for k in range(count)])


def learn(count: int, steps: int) -> tuple[CodePrediction, Trainee]:
    """A decoder after so many updates on all its clips."""
    train, net = recipe(images=steps * count, batch_size=count), predictor()
    task, trainee = CodePrediction(train, net, clipset(count)), Trainee(net, train)
    for _ in updates(trainee, task, train):
        pass
    return task, trainee


@torch.no_grad()
def test_losses_are_those_of_the_original() -> None:
    """Stored by tests/stock/make_golden.py."""
    voice, text, codes = learned_row()
    found = predictor()(voice, [text[0]], [codes[0]])
    wanted = json.loads(LOSSES.read_text())
    assert [float(loss) for loss in found] == pytest.approx([wanted["text"], wanted["codes"]], rel=1e-5)


@torch.no_grad()
def test_a_row_is_predicted_in_the_form_in_which_it_is_spoken() -> None:
    net, (voice, text, codes) = predictor(), learned_row()
    logits = net.decoder.logits(net.decoder.latents(voice, text, F.pad(codes, (0, 1))))[0]
    chances = logits.log_softmax(1).gather(1, F.pad(codes[0], (0, 1), value=STOP)[:, None])
    assert float(net(voice, [text[0]], [codes[0]])[1]) == pytest.approx(-float(chances.sum()), rel=1e-5)


@torch.no_grad()
def test_a_row_does_not_depend_on_the_others() -> None:
    net, rows = predictor(), clipset(5)
    together = net(rows.voices, rows.texts, rows.codes)
    alone = [net(rows.voices[k : k + 1], rows.texts[k : k + 1], rows.codes[k : k + 1]) for k in range(5)]
    for k in range(2):
        torch.testing.assert_close(together[k], torch.cat([row[k] for row in alone]), rtol=1e-5, atol=1e-4)


def test_parts_of_a_batch_add_up() -> None:
    train, rows = recipe(batch_size=7), clipset(5)
    whole = CodePrediction(train, predictor(), rows)
    losses, _ = whole.losses(14, range(7))
    parts = [whole.losses(14, part)[0] for part in (range(3), range(3, 4), range(4, 7))]
    torch.testing.assert_close(torch.cat(parts), losses, rtol=1e-5, atol=1e-5)
    (total,) = torch.autograd.grad(losses.sum(), [whole.net.decoder.final_norm.weight])
    grads = [torch.autograd.grad(part.sum(), [whole.net.decoder.final_norm.weight])[0] for part in parts]
    torch.testing.assert_close(sum(grads), total, rtol=1e-4, atol=1e-5)


def test_a_batch_has_its_items_the_longest_first() -> None:
    train, rows = recipe(batch_size=7), clipset(5)
    task, seen = CodePrediction(train, predictor(), rows), []
    task._losses = seen.extend  # type: ignore[method-assign, assignment]
    task.losses(7, range(4))
    task.losses(7, range(4, 7))
    assert sorted(number for _, number in seen) == list(range(7, 14))
    batch = indices(0, 5, 7, 7).tolist()
    assert all(batch[number - 7] == k for k, number in seen)
    lengths = [rows.length(k) for k, _ in seen]
    assert lengths == sorted(lengths, reverse=True)


@torch.no_grad()
def test_the_loss_is_divided_by_the_mean_number_of_codes() -> None:
    rows = clipset(4)
    task = CodePrediction(recipe(), predictor(), rows)
    (longest,) = task.heaviest(range(1))[0].tolist()
    k = max(range(4), key=rows.length)
    voice = rows.voice(k, 0, 0)[None]
    texts, codes = task.net(voice, [rows.texts[k]], [rows.codes[k]])
    mean = sum(len(row) + 1 for row in rows.codes) / 4
    assert longest == pytest.approx((float(codes) + 0.01 * float(texts)) / mean, rel=1e-6)


def test_a_clip_is_told_of_the_voice_in_others_only() -> None:
    voices = torch.eye(6)
    rows = Clipset([], [], voices, [range(2), range(2, 3), range(3, 6)])
    counts = set()
    for number in range(60):
        for k, own in enumerate(rows.own):
            told = rows.voice(k, 5, number)
            used = told.nonzero().flatten().tolist()
            counts.add(len(used))
            assert not set(used) & set(own)
            assert told.sum() == pytest.approx(1)
            assert torch.equal(told, rows.voice(k, 5, number))
    assert counts == {1, 2, 3}
    assert Clipset([], [], voices[:2], [range(1), range(1, 2)]).voice(0, 0, 0).tolist() == voices[1].tolist()


def test_memory_is_probed_on_the_longest_clips() -> None:
    task, seen = CodePrediction(recipe(batch_size=32), predictor(), clipset(9)), set()
    losses = task._losses
    task._losses = lambda items: seen.update(k for k, _ in items) or losses(items)  # type: ignore[method-assign]
    items_that_fit(task, task.train)
    assert seen == {max(range(9), key=task.clips.length)}


def test_checkpointing_changes_no_gradient() -> None:
    grads = []
    for value in (False, True):
        task = CodePrediction(recipe(), predictor(), clipset(4))
        task.net.checkpointing = value
        task.losses(0, range(4))[0].sum().backward()
        grads.append([p.grad for p in task.net.parameters()])
    assert all(map(torch.equal, *grads))


def test_adapted_layers_do_not_change_the_decoder_at_first() -> None:
    net, (voice, text, codes) = predictor(trainable=False), learned_row()
    before = net(voice, [text[0]], [codes[0]])
    torch.manual_seed(0)
    adapted(net.decoder, 4)
    assert all(map(torch.equal, before, net(voice, [text[0]], [codes[0]])))
    learned = {name for name, p in net.named_parameters() if p.requires_grad}
    assert len(learned) == 2 * 4 * 2
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == 2 * 4 * (4 + 2 + 5 + 5) * 64


def test_a_small_network_learns_its_clips_and_stops_where_they_end() -> None:
    task, _ = learn(4, 45)
    spoken(task, 4)


@pytest.mark.slow
def test_nineteen_of_twenty_learned_clips_stop_at_their_own_length() -> None:
    task, _ = learn(20, 60)
    assert spoken(task, 19) >= 19


@torch.no_grad()
def spoken(task: CodePrediction, least: int) -> int:
    """How many clips are spoken as they were learned, code by code, up to their stop; at least `least` of them."""
    decoder, rows, right, ended = task.net.decoder, task.clips, 0, 0
    for k, codes in enumerate(rows.codes):
        told = rows.voices[[v for v in range(len(rows.codes)) if v != k]].mean(0)[None]
        logits = decoder.logits(decoder.latents(told, rows.texts[k][None], F.pad(codes, (0, 1))[None]))
        right += torch.equal(logits[0].argmax(1), F.pad(codes, (0, 1), value=STOP))
        said = finished(sample_codes(decoder, told, rows.texts[k][None], [0], GREEDY, most=50, block=1))
        ended += (said.codes[0] == STOP).nonzero()[:1].flatten().tolist() == [len(codes)]
    assert right >= least and ended >= least
    return ended


def test_training_resumes_exactly() -> None:
    def begin() -> tuple[CodePrediction, Trainee, Any]:
        train, net = recipe(images=24), predictor()
        return CodePrediction(train, net, clipset(5)), Trainee(net, train, [net.decoder.code_embedding.weight]), train

    task, whole, train = begin()
    for _ in updates(whole, task, train):
        pass
    task, first, train = begin()
    for update in updates(first, task, train):
        if update.step == 3:
            break
    saved = {name: tensor.clone() for name, tensor in first.state()[0].items()}
    task, second, train = begin()
    second.restore(saved, {"step": "3", "taken": "3"})
    for _ in updates(second, task, train, micro=3):
        pass
    wanted, found = whole.state()[0], second.state()[0]
    assert {*wanted} == {*found}
    params = [name for name, param in whole.net.named_parameters() if param.requires_grad]
    for name, tensor in wanted.items():
        mine = found[name]
        if params[int(name.split(".")[1])].endswith("c_attn.bias") and tensor.ndim:
            # a bias of the keys changes no attention: its gradient is nothing but rounding
            tensor, mine = (torch.cat(bias.chunk(3)[::2]) for bias in (tensor, mine))
        torch.testing.assert_close(mine, tensor, rtol=1e-4, atol=1e-5)


@pytest.fixture
def sounds(tmp_path: Path) -> Clips:
    """Eight clips of a voice, two of them held out."""
    clips = []
    for k in range(8):
        path = tmp_path / f"{k:04}.wav"
        seconds = 0.7 + 0.2 * k
        soundfile.write(path, 0.1 * noise(40 + k, int(24_000 * seconds)).numpy(), 24_000)
        clips.append(Clip(f"{k:04}", path, f"this is number {'abcdefgh'[k]}", seconds, "talk.wav"))
    return Clips(clips[:6], clips[6:])


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return official(tmp_path / "models")


def planned(models: Path, clips: Clips, method: str = "lora", **settings: Any) -> TortoiseTuning:
    usual = {"lr": 1e-2, "batch_size": 3, "rank": 4 if method == "lora" else None}
    own = Settings(
        voice="me", engine="tortoise", method=method, models_dir=models, device="cpu", **{**usual, **settings}
    )
    voice = Voice("me", models, (), None, None)
    return tuning.plan(own, voice, clips)


def ready(plan: TortoiseTuning, folder: Path, **settings: Any) -> tuple[Trainee, CodePrediction]:
    """The network and the task of a run in this folder."""
    folder.mkdir(exist_ok=True)
    list(plan.prepare(folder))
    return plan.make(folder, {"schema": "", "net": plan.net, "size": [], "train": recipe(batch_size=3, **settings)})


def test_targets_are_computed_once(models: Path, sounds: Clips, tmp_path: Path) -> None:
    plan = planned(models, sounds)
    folder = tmp_path / "run"
    folder.mkdir()
    assert len(list(plan.prepare(folder))) == 8
    written = (folder / "targets.safetensors").stat().st_mtime_ns
    assert len(list(plan.prepare(folder))) == 8
    assert (folder / "targets.safetensors").stat().st_mtime_ns == written
    _, task = plan.make(folder, {"schema": "", "net": plan.net, "size": [], "train": recipe()})
    encoder, listener = open_network("dvae", models), open_network("conditioning_encoder", models)
    assert isinstance(encoder, DiscreteEncoder)
    for k, clip in enumerate(sounds.train):
        sound = torch.from_numpy(read_sound(clip.path, 22_050))
        assert torch.equal(task.clips.codes[k], speech_codes(encoder, sound))
        own = task.clips.own[k]
        assert torch.equal(task.clips.voices[own.start : own.stop], voices_in(listener, sound))  # type: ignore[arg-type]
    assert task.held is not None and [*task.held.own] == [range(0)] * 2


def test_a_damaged_cache_or_another_encoder_is_computed_again(models: Path, sounds: Clips, tmp_path: Path) -> None:
    plan, folder = planned(models, sounds), tmp_path / "run"
    _, first = ready(plan, folder)
    cache = folder / "targets.safetensors"
    cache.write_bytes(cache.read_bytes()[:-3])
    _, again = ready(plan, folder)
    assert all(map(torch.equal, first.clips.codes, again.clips.codes))
    other = checkpoint("dvae.pth")
    other["codebook.embed"] = other["codebook.embed"].flip(1)
    torch.save(other, models / "dvae.pth")
    _, flipped = ready(plan, folder)
    assert all(map(torch.equal, first.clips.codes, [8191 - codes for codes in flipped.clips.codes]))


def test_windows_cover_a_clip() -> None:
    listener = network("conditioning_encoder")
    sound = noise(7, 300_000) * 0.1
    voices = voices_in(listener, sound)
    assert voices.shape == (3, 64)
    assert torch.equal(voices[2:], voices_in(listener, sound[-132_300:]))
    assert voices_in(listener, sound[:1000]).shape == (1, 64)


def test_what_lora_learned_is_spoken_and_exported(models: Path, sounds: Clips, tmp_path: Path) -> None:
    plan, folder = planned(models, sounds), tmp_path / "run"
    trainee, task = ready(plan, folder)
    base = held_out(trainee, task)
    for _ in updates(trainee, task, task.train):
        pass
    assert base is not None and base[0] is not None
    weights = trainee.averaged()
    plan.publish(folder / "voice.safetensors", weights)
    with torch.no_grad():
        for name, p in trainee.net.named_parameters():
            if name in weights:
                p.copy_(weights[name])
    voice, text, codes = learned_row()
    wanted = task.net.decoder.latents(voice, text, codes)
    spoken = open_network("autoregressive", models, learned=folder / "voice.safetensors")
    torch.testing.assert_close(spoken.latents(voice, text, codes), wanted, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(network("autoregressive").latents(voice, text, codes), wanted, rtol=1e-3, atol=1e-3)
    opened_as_a_checkpoint(plan, folder, weights, wanted)
    names = stored_in(folder / "voice.safetensors", AUTOREGRESSIVE, "")
    assert len(names) == 2 * 4 * 2
    assert names["gpt.h.1.mlp.c_fc.lora_A.weight"].shape == (4, 64)
    assert names["gpt.h.1.mlp.c_fc.lora_B.weight"].shape == (256, 4)


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="there is no /dev/full")
def test_a_full_disk_is_told_as_one(
    models: Path, sounds: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the run ends with 1 and the saved state, and not with 4. What was published before stays."""

    def full(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    plan, folder = planned(models, sounds), tmp_path / "run"
    weights = ready(plan, folder)[0].averaged()
    (folder / "voice.safetensors").write_bytes(b"before")
    files = sorted(folder.iterdir())
    with monkeypatch.context() as disk, deferred() as stop:
        disk.setattr("safetensors.torch.save_file", full)
        disk.setattr(
            "difftool.voice.engines.tortoise.tuning.run.replacing", lambda path: nullcontext(Path("/dev/full"))
        )
        for save in (lambda: plan.publish(folder / "voice.safetensors", weights), lambda: plan.export(folder, weights)):
            with pytest.raises(OSError, match="No space left") as error:
                save()
            known = ended(error.value, stop, saved=True, resume="go on")
            assert known is not None
            assert (known.code, known.message) == (1, "the disk is full; the state is saved")
    assert (folder / "voice.safetensors").read_bytes() == b"before"
    assert sorted(folder.iterdir()) == files


def opened_as_a_checkpoint(plan: TortoiseTuning, folder: Path, weights: dict[str, Tensor], wanted: Tensor) -> None:
    """What is exported has all official names, and says the same."""
    (path,) = plan.export(folder, weights)
    exported, base = torch.load(path), checkpoint("autoregressive.pth")
    assert {name: tensor.shape for name, tensor in exported.items()} == {name: w.shape for name, w in base.items()}
    untouched = [name for name in base if name.startswith("conditioning_encoder")]
    assert untouched and all(torch.equal(exported[name], base[name]) for name in untouched)
    opened = open_network("autoregressive", plan.networks, checkpoint=path)
    torch.testing.assert_close(opened.latents(*learned_row()), wanted, rtol=1e-4, atol=1e-4)


def test_what_full_training_learned_is_spoken_and_exported(models: Path, sounds: Clips, tmp_path: Path) -> None:
    plan, folder = planned(models, sounds, "full"), tmp_path / "run"
    trainee, task = ready(plan, folder)
    assert all(p.requires_grad for p in task.net.parameters())
    decayed, others = trainee.optimizer.param_groups
    assert len(decayed["params"]) == 2 * 4 + 2 and all(p.ndim == 2 for p in decayed["params"])
    assert others["weight_decay"] == 0 and task.net.decoder.code_embedding.weight in set(others["params"])
    for _ in updates(trainee, task, task.train):
        pass
    weights = {name: p.detach() for name, p in trainee.net.named_parameters()}
    plan.publish(folder / "voice.safetensors", weights)
    wanted = task.net.decoder.latents(*learned_row()).detach()
    spoken = open_network("autoregressive", models, learned=folder / "voice.safetensors")
    torch.testing.assert_close(spoken.latents(*learned_row()), wanted, rtol=1e-4, atol=1e-4)
    opened_as_a_checkpoint(plan, folder, weights, wanted)
    assert torch.equal(torch.load(folder / "decoder.pth")["text_head.bias"], weights["text_head.bias"])
    untouched = open_network("autoregressive", models)
    assert torch.equal(
        untouched.latents(*learned_row()), network("autoregressive", torch.float32).latents(*learned_row())
    )


def test_blocks_are_computed_again_where_memory_is_short(
    models: Path, sounds: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, task = ready(planned(models, sounds), tmp_path / "run")
    longest = max(map(task.clips.length, range(len(sounds.train))))
    enough = (needed(task.net, longest, torch.float32) + learned(task.net)) / ROOM
    for share, expected in ((1.01, False), (0.99, True)):
        monkeypatch.setattr("psutil.virtual_memory", lambda share=share: SimpleNamespace(available=share * enough))
        assert ready(planned(models, sounds), tmp_path / "run")[1].net.checkpointing is expected


@pytest.mark.parametrize("method", ["lora", "full"])
def test_half_precision_learns_the_same(models: Path, sounds: Clips, tmp_path: Path, method: str) -> None:
    losses = []
    for dtype in ("fp32", "bf16"):
        trainee, task = ready(planned(models, sounds, method, dtype=dtype), tmp_path / dtype)
        losses.append([update.loss for update in updates(trainee, task, task.train)])
        assert all(p.dtype == torch.float32 for p in trainee.params)
        held = held_out(trainee, task)
        assert held is not None and held[0] is not None and np.isfinite(held[0])
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_a_file_of_another_base_is_not_spoken(models: Path, sounds: Clips, tmp_path: Path) -> None:
    plan, folder = planned(models, sounds), tmp_path / "run"
    trainee, _ = ready(plan, folder)
    path = folder / "voice.safetensors"
    plan.publish(path, trainee.averaged())
    right = path.read_bytes()
    path.write_bytes(right[:-4] + b"\x00\x00\x00\x01")
    with pytest.raises(DifftoolError, match="does not match its checksum"):
        open_network("autoregressive", models, learned=path)
    path.write_bytes(right)
    other = checkpoint("autoregressive.pth")
    other["final_norm.bias"] += 1
    torch.save(other, models / "autoregressive.pth")
    with pytest.raises(DifftoolError, match="was trained on another") as found:
        open_network("autoregressive", models, learned=path)
    assert found.value.code == 4


@pytest.mark.parametrize("checkpoint", [None, "other.pth"])
def test_another_checkpoint_is_spoken_without_what_was_learned(models: Path, checkpoint: str | None) -> None:
    given = SpeechSettings(text="Hello.", engine="tortoise", models_dir=models, device="cpu")
    settings, options = tortoise.filled(given, tortoise.Options(ar_checkpoint=checkpoint))
    work = tortoise.plan(settings, options, Reference([], [], models / "voice.safetensors"))
    learned = None if checkpoint else models / "voice.safetensors"
    assert work.reference.trained == TortoiseSpeaker(work).nets.learned == learned


def test_clips_that_cannot_be_learned_from_are_told(sounds: Clips, tmp_path: Path) -> None:
    clip = sounds.train[0]
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(24_000, np.float32), 24_000)
    assert tuning.unusable(clip) is None
    for other, reason in (
        (clip._replace(text=""), "no text"),
        (clip._replace(text="a [stop] b {c}"), "characters that Tortoise does not know"),
        (clip._replace(text="word " * 500), "more than 398"),
        (clip._replace(text="1" * 60), "too large to be spoken"),
        (clip._replace(seconds=28.5), "longer than 28 s"),
        (clip._replace(path=silent), "silence"),
    ):
        assert reason in str(tuning.unusable(other))


def test_missing_networks_are_named(models: Path, sounds: Clips) -> None:
    (models / "dvae.pth").unlink()
    with pytest.raises(DifftoolError, match=r"dvae.pth is missing") as found:
        planned(models, sounds)
    assert (found.value.code, found.value.hint) == (4, "run difftool models pull tortoise tortoise-dvae")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
