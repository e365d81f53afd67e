"""Which device and number format a run takes, with builds of PyTorch that are not here."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from difftool.device import choose, finite, halved, machine_name
from difftool.errors import DifftoolError, Exit
from difftool.nets import small_batch
from difftool.voice.settings import Settings

Built = Callable[..., None]


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Built:
    """Makes PyTorch one that was built for this, with a GPU of this architecture or none."""

    def build(cuda: str | None = None, hip: str | None = None, gpu: str = "", capability: tuple[int, int] = (0, 0)):
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch.version, "hip", hip)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(gpu))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: int(bool(gpu)))
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        properties = SimpleNamespace(gcnArchName=gpu)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)

    return build


@pytest.mark.parametrize(
    ("gpu", "capability", "dtype"),
    [
        ("gfx906:sramecc+:xnack-", (9, 0), torch.float32),
        ("gfx90a:sramecc+:xnack-", (9, 0), torch.bfloat16),
        ("gfx942:sramecc+:xnack-", (9, 4), torch.bfloat16),
        ("gfx1030", (10, 3), torch.float32),
        ("gfx1100", (11, 0), torch.bfloat16),
        ("gfx1201", (12, 0), torch.bfloat16),
    ],
)
def test_rocm_answers_to_cuda_with_one_warning(
    built: Built, caplog: pytest.LogCaptureFixture, gpu: str, capability: tuple[int, int], dtype: torch.dtype
) -> None:
    built(hip="6.4.43482", gpu=gpu, capability=capability)
    assert choose("auto") == choose("cuda") == (torch.device("cuda"), dtype)
    said = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert len(said) == 2 and len(set(said)) == 1 and "ROCm" in said[0]  # one for each run
    assert choose("cpu") == (torch.device("cpu"), torch.float32)
    assert len(caplog.records) == 2


def test_cuda_by_capability_and_without_a_warning(built: Built, caplog: pytest.LogCaptureFixture) -> None:
    for capability, dtype in (((7, 5), torch.float32), ((8, 0), torch.bfloat16), ((12, 0), torch.bfloat16)):
        built(cuda="13.0", gpu="sm", capability=capability)
        assert choose("auto") == (torch.device("cuda"), dtype)
    assert not caplog.records


@pytest.mark.parametrize(
    ("build", "words"),
    [
        ({}, "built for the CPU only"),
        ({"cuda": "13.0"}, "no usable NVIDIA GPU"),
        ({"hip": "6.4.43482"}, "built for ROCm and finds no usable AMD GPU"),
    ],
)
def test_a_gpu_that_is_not_there(built: Built, build: dict[str, Any], words: str) -> None:
    built(**build)
    assert choose("auto")[0].type == "cpu"
    with pytest.raises(DifftoolError, match=words) as caught:
        choose("cuda:0")
    assert caught.value.code == Exit.MACHINE


def test_rocm_counts_its_gpus(built: Built) -> None:
    built(hip="6.4.43482", gpu="gfx1100", capability=(11, 0))
    with pytest.raises(DifftoolError, match=r"this machine has 1 GPU$"):
        choose("cuda:1")


def test_a_command_on_rocm_warns_once(built: Built, difftool: Callable[..., Any]) -> None:
    built(hip="6.4.43482", gpu="gfx1100", capability=(11, 0))
    done = difftool("train", "moons", "--dry-run", "--json")
    assert done.code == 0, done.err
    (warning,) = done.json["warnings"]
    assert "ROCm" in warning and done.err.count(warning) == 1


@pytest.mark.parametrize("dtype", ["int8", "int8_fp32", "int8_bf16"])
def test_weights_of_8_bits_are_for_cpus_with_a_kernel(
    built: Built, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    built(cuda="13.0", gpu="H200", capability=(9, 0))
    with pytest.raises(DifftoolError, match=f"{dtype} is for CPUs") as refused:
        Settings(dtype=dtype, device="cuda").machine()
    assert refused.value.code == Exit.USAGE
    monkeypatch.setattr(small_batch, "quantisable", lambda: False)
    with pytest.raises(DifftoolError, match="no kernel") as lacking:
        Settings(dtype=dtype, device="cpu").machine()
    assert lacking.value.code == Exit.MACHINE


def test_memory_that_ended_halves_a_batch() -> None:
    """An error that says so, and no other; what does not fit alone ends with the caller's error, or its own."""
    full, other = torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("something else")
    assert [halved(size, full) for size in (8, 3, 2)] == [4, 1, 1]
    last = DifftoolError(Exit.MEMORY, "one picture does not fit in memory", "try less")
    for size, error, smallest, raised in (
        (8, other, last, other),
        (1, full, None, full),
        (1, full, last, last),
        (1, other, last, other),
    ):
        with pytest.raises(type(raised)) as caught:
            halved(size, error, smallest)
        assert caught.value is raised and caught.value.__cause__ is (full if raised is last else None)


def test_numbers_that_are_finite() -> None:
    x = torch.ones(2)
    assert finite(x) is x
    for bad in (torch.nan, torch.inf):
        with pytest.raises(DifftoolError, match="the decoder returned values that are not finite") as caught:
            finite(torch.tensor([1.0, bad]), "the decoder")
        assert caught.value.code == 1


def test_the_name_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    name, threads = machine_name(torch.device("cpu")).rsplit(", ", 1)
    assert name
    assert threads == "2 threads"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU number {device.index}")
    assert machine_name(torch.device("cuda:1")) == "GPU number 1"
