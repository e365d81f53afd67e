"""Simulated machines: what is found, what is said of it, and which presets they carry."""

from __future__ import annotations

import shlex
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from machines import GIB, Card, machine

from difftool.cli.lab import _machine
from difftool.lab import deep, probes
from difftool.lab.facts import Machine, spelled
from difftool.lab.findings import ERROR, findings
from difftool.lab.probes import Sources, probe
from difftool.lab.verdicts import FITS, FLAGS, NO, TIGHT, Verdict, presets_named, verdict_of

LAPTOP = Card("RTX 4060 Laptop", (8, 9), 8, 7.3)
RTX4090 = Card("RTX 4090", (8, 9), 24, 23.2)
A100 = Card(
    "A100-SXM4-40GB",
    (8, 0),
    40,
    39.5,
    slices=(("A100-SXM4-40GB MIG 1g.5gb", 4.75), ("A100-SXM4-40GB MIG 2g.10gb", 9.75)),
)
H100 = Card("H100 PCIe", (9, 0), 80, 79)
GTX1080 = Card("GTX 1080", (6, 1), 8, 7.8)


def names(m: Machine) -> dict[str, str]:
    return {one.name: one.level for one in findings(m)}


def mend(m: Machine, name: str) -> str:
    return next(one.mend for one in findings(m) if one.name == name)


def verdict(m: Machine, name: str) -> Verdict:
    (preset,) = presets_named([name])
    return verdict_of(m, preset)


def test_a_laptop_with_8_gb(tmp_path: Path) -> None:
    m = machine(tmp_path, LAPTOP, ram=32)
    assert (m.driver, m.cuda_driver, m.torch_cuda, m.cudnn) == ((580, 65, 6), (13, 0), (13, 0), (9, 19, 0))
    assert m.gpus[0].precisions == ("fp32", "fp16", "bf16", "tf32", "fp8")
    assert ERROR not in names(m).values()
    assert verdict(m, "sd").verdict == FITS
    assert verdict(m, "faces64").smallest == ""
    xl = verdict(m, "sdxl")
    assert (xl.verdict, xl.flags) == (FLAGS, ("--low-vram",))
    assert xl.need <= xl.has == m.gpus[0].free
    flux = verdict(m, "flux")
    assert flux.verdict == NO and flux.smallest == "RTX A6000"
    assert verdict(m, "fast").verdict == FITS and verdict(m, "whisper-large-v3").verdict == TIGHT
    assert "16 of 128 at a time" in verdict(m, "faces64").note


def test_one_4090_and_two(tmp_path: Path) -> None:
    one = machine(tmp_path / "1", RTX4090)
    assert verdict(one, "sdxl").verdict == FITS and verdict(one, "sd3").verdict == FITS
    assert verdict(one, "flux").flags == ("--low-vram",)
    two = machine(tmp_path / "2", RTX4090, RTX4090._replace(free=10), ram=128, peers=False)
    assert two.peers == ((0, 1, False),)
    assert verdict(two, "sdxl").where == "cuda:0"
    assert "ram" not in names(two)
    assert names(machine(tmp_path / "3", RTX4090, RTX4090, ram=32))["ram"] == "note"
    mixed = machine(tmp_path / "4", RTX4090, LAPTOP)
    assert mend(mixed, "cuda_order") == "export CUDA_DEVICE_ORDER=PCI_BUS_ID"


def test_what_others_hold_makes_it_tight(tmp_path: Path) -> None:
    m = machine(tmp_path, RTX4090._replace(free=1.0, processes=((1, 22.0),)))
    assert verdict(m, "sd").verdict == TIGHT
    assert names(m)["taken"] == "note"


def test_slices_of_an_a100(tmp_path: Path) -> None:
    m = machine(tmp_path, A100)
    assert [(gpu.slice, round(gpu.total / GIB, 2)) for gpu in m.gpus] == [(True, 4.75), (True, 9.75)]
    assert m.peers == ()
    assert verdict(m, "sd").flags == ()
    xl = verdict(m, "sdxl")  # the first is too small, and the second is chosen by its name
    assert xl.flags == (f"CUDA_VISIBLE_DEVICES={m.gpus[1].uuid}",) and "tiles" in xl.note


def shown(tmp_path: Path, *cards: Card, **env: str) -> Machine:
    """A machine where CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER are set."""
    return machine(tmp_path / str(len([*tmp_path.iterdir()])), *cards, env={f"CUDA_{key}": env[key] for key in env})


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("0", ["RTX 4090"]),
        ("1", ["GTX 1080"]),
        ("2,0", ["H100 PCIe", "RTX 4090"]),
        (" 1 , 2", ["GTX 1080", "H100 PCIe"]),
        ("0,2,-1,1", ["RTX 4090", "H100 PCIe"]),  # an entry that names nothing ends the list
        ("0,7,1", ["RTX 4090"]),
        ("1gpu", ["GTX 1080"]),
        ("1,GPU-RTX 4090", ["GTX 1080"]),
        ("GPU-H100 PCIe,GPU-RTX", ["H100 PCIe", "RTX 4090"]),  # as much of a UUID as tells it from others
        ("GPU-H100 PCIe,0", ["H100 PCIe"]),
        ("GPU-", []),
        ("", []),
        ("-1", []),
        ("none", []),
        ("NoDevFiles", []),
        ("0,1,0", []),  # one that comes twice
        ("GPU-RTX,GPU-RTX 4090", []),
    ],
)
def test_what_cuda_is_shown(tmp_path: Path, visible: str, names: list[str]) -> None:
    m = shown(tmp_path, RTX4090, GTX1080, H100, VISIBLE_DEVICES=visible)
    assert [gpu.name for gpu in m.gpus] == names
    assert [gpu.number for gpu in m.gpus] == [*range(len(names))]
    assert m.hidden == 3 - len(names)


def test_advice_follows_what_cuda_is_shown(tmp_path: Path) -> None:
    second = shown(tmp_path, GTX1080, RTX4090._replace(ecc=3), VISIBLE_DEVICES="1")
    assert (verdict(second, "sdxl").where, verdict(second, "sdxl").flags) == ("cuda:0", ())
    assert mend(second, "ecc") == "nvidia-smi -q -i 1 -d ECC"  # which counts all
    assert "no_kernels" not in names(second)
    assert mend(second, "hidden") == "unset CUDA_VISIBLE_DEVICES"
    both = shown(tmp_path, LAPTOP, RTX4090, H100, VISIBLE_DEVICES="1,0", DEVICE_ORDER="PCI_BUS_ID")
    assert verdict(both, "faces64").where == "cuda:0" and both.peers == ((0, 1, True),)
    assert verdict(shown(tmp_path, LAPTOP, RTX4090, VISIBLE_DEVICES="0,1"), "sdxl").flags == ("--device cuda:1",)
    none = shown(tmp_path, RTX4090, VISIBLE_DEVICES="")
    assert names(none)["hidden"] == "warning" and "no_answer" not in names(none)
    assert verdict(none, "sd").where == "cpu"


def test_numbers_hang_on_the_order_where_gpus_differ(tmp_path: Path) -> None:
    """Also where one of them is all that is left."""
    assert "cuda_order" in names(shown(tmp_path, LAPTOP, RTX4090, VISIBLE_DEVICES="1"))
    assert "cuda_order" not in names(shown(tmp_path, LAPTOP, RTX4090, VISIBLE_DEVICES="GPU-RTX 4090"))
    assert "cuda_order" not in names(shown(tmp_path, LAPTOP, RTX4090, VISIBLE_DEVICES="1", DEVICE_ORDER="PCI_BUS_ID"))
    assert "cuda_order" not in names(shown(tmp_path, RTX4090, RTX4090._replace(free=3), VISIBLE_DEVICES="1"))


def test_a_slice_that_is_pinned(tmp_path: Path) -> None:
    large = "MIG-A100-SXM4-40GB MIG 2g.10gb"
    for pinned in (large, f"{large},MIG-A100-SXM4-40GB MIG 1g.5gb"):  # CUDA takes the first of them
        m = shown(tmp_path, RTX4090, A100, VISIBLE_DEVICES=pinned)
        assert [(gpu.number, gpu.uuid, gpu.board) for gpu in m.gpus] == [(0, large, 1)]
        assert verdict(m, "sdxl").flags == ()
    assert [gpu.slice for gpu in shown(tmp_path, RTX4090, A100, VISIBLE_DEVICES="1").gpus] == [True, True]
    assert not shown(tmp_path, RTX4090, A100, VISIBLE_DEVICES="MIG-nothing").gpus


def test_slices_of_one_gpu_are_one_gpu(tmp_path: Path) -> None:
    m = machine(tmp_path, A100._replace(ecc=3, reasons=0x40))
    assert "cuda_order" not in names(m)
    assert [one.what.split(" (")[0] for one in findings(m) if one.name == "ecc"] == ["the GPU of slice 0"]
    assert [one.name for one in findings(m)].count("throttled") == 1


@pytest.mark.parametrize("version", ["535.54.03", "580.95", "550.40.07", "470.57.02"])
def test_a_drivers_version_is_told_as_it_is(tmp_path: Path, version: str) -> None:
    from difftool.cli.lab import _machine

    m = machine(tmp_path, RTX4090, driver=version)
    assert m.driver == tuple(map(int, version.split(".")))
    assert f"driver      {version}, CUDA up to 13.0" in [*_machine(m)]
    assert "driver_mismatch" not in names(m)
    old = [one.what for one in findings(m) if one.name == "driver_too_old"]
    assert old == [] if version == "580.95" else old[0].startswith(f"driver {version} is too old")


def test_an_h100(tmp_path: Path) -> None:
    m = machine(tmp_path, H100, ram=256)
    assert "fp8" in m.gpus[0].precisions and "fp4" not in m.gpus[0].precisions
    assert all(verdict_of(m, one).verdict == FITS for one in presets_named([]))


def test_a_driver_that_is_too_old(tmp_path: Path) -> None:
    m = machine(tmp_path, RTX4090, driver="550.54.14", cuda=12040, error=35)
    assert names(m)["driver_too_old"] == ERROR
    assert "--torch-backend=cu128" in mend(m, "driver_too_old")
    beside = verdict(m, "sd")  # on which PyTorch computes then
    assert (beside.verdict, beside.where) == (FITS, "cpu") and "error 35" in beside.note
    assert "install driver 580" in mend(
        machine(tmp_path / "b", RTX4090, driver="470.57.2", cuda=11040), "driver_too_old"
    )
    assert "driver_too_old" not in names(
        machine(tmp_path / "c", RTX4090, driver="550.54.14", torch=("2.11.0+cu126", "12.6"))
    )


def test_a_module_and_libraries_that_differ(tmp_path: Path) -> None:
    m = machine(tmp_path, nvml_error="Driver/library version mismatch", on_bus=1)
    assert names(m)["driver_mismatch"] == ERROR
    assert "reboot" in mend(m, "driver_mismatch")
    assert "driver_mismatch" in names(machine(tmp_path / "b", RTX4090, library="580.95.05"))


def test_a_pascal_card_with_cuda_13(tmp_path: Path) -> None:
    m = machine(tmp_path, GTX1080)
    assert names(m)["no_kernels"] == ERROR
    assert "--torch-backend=cu126" in mend(m, "no_kernels")
    assert verdict(m, "sd").verdict == NO
    older = machine(tmp_path / "b", GTX1080, torch=("2.11.0+cu126", "12.6"))
    assert "no_kernels" not in names(older) and verdict(older, "sd").verdict == FITS
    rtx5090 = Card("RTX 5090", (12, 0), 32, 31)
    newest = machine(tmp_path / "c", rtx5090, torch=("2.11.0+cu126", "12.6"))
    assert "--torch-backend=cu130" in mend(newest, "no_kernels")
    between = machine(tmp_path / "d", rtx5090, driver="570.86.10", cuda=12080, torch=("2.11.0+cu126", "12.6"))
    assert "--torch-backend=cu128" in mend(between, "no_kernels")
    assert "no_kernels" in names(machine(tmp_path / "e", rtx5090, torch=("2.5.0+cu124", "12.4")))
    assert verdict(older, "fast").need > verdict(machine(tmp_path / "f", LAPTOP), "fast").need  # in float32


def test_wsl_without_libcuda(tmp_path: Path) -> None:
    m = machine(tmp_path, driver="", wsl=True, libcuda=False, nodes=("dxg",))
    assert m.wsl and names(m)["wsl_without_cuda"] == "warning"
    assert "/usr/lib/wsl/lib" in mend(m, "wsl_without_cuda")


def test_a_pytorch_for_the_cpu_beside_a_gpu(tmp_path: Path) -> None:
    m = machine(tmp_path, RTX4090, torch=("2.11.0+cpu", None))
    assert names(m)["torch_for_cpu"] == ERROR
    assert "--torch-backend=cu130" in mend(m, "torch_for_cpu")
    assert "--reinstall-package torch " in mend(m, "torch_for_cpu")  # without which uv keeps the build that is there
    assert f"{shlex.quote(sys.executable)} -m pip install soundfile" in mend(m._replace(sndfile=None), "sndfile")
    assert verdict(m, "sd").where == "cpu"


def test_torch_and_torchaudio_of_two_builds(tmp_path: Path) -> None:
    cpu = ("2.11.0+cpu", None)
    assert "torch_and_torchaudio" not in names(machine(tmp_path / "a", torch=cpu, torchaudio="2.11.0+cpu"))
    assert "torch_and_torchaudio" not in names(machine(tmp_path / "b", torchaudio="2.11.0+cpu"))
    for k, other in enumerate(("2.11.0+cu130", "2.11.1+cu132", "2.11.1+cpu")):
        m = machine(tmp_path / str(k), driver="", nodes=(), torch=cpu, torchaudio=other)
        assert names(m)["torch_and_torchaudio"] == ERROR
        assert "--torch-backend=cpu" in mend(m, "torch_and_torchaudio")
    assert "torch_and_torchaudio" in names(machine(tmp_path / "c", RTX4090, torchaudio="2.11.1+cu132"))


def test_a_limit_of_4_gb(tmp_path: Path) -> None:
    m = machine(tmp_path, driver="", nodes=(), ram=64, limit=4)
    assert m.memory == 4 * GIB and names(m)["cgroup"] == "warning"
    assert verdict(m, "digits").verdict == FITS
    assert verdict(m, "sdxl").verdict == NO


def test_a_gpu_without_a_driver_and_a_container_without_the_gpu(tmp_path: Path) -> None:
    assert names(machine(tmp_path / "a", driver="", on_bus=1, nodes=()))["no_driver"] == ERROR
    boxed = machine(tmp_path / "b", nodes=())
    assert "container" not in names(boxed)
    (tmp_path / "c" / "root").mkdir(parents=True)
    (tmp_path / "c" / "root" / ".dockerenv").write_text("")
    assert mend(machine(tmp_path / "c", nodes=()), "container") == "docker run --gpus all ..."


def test_a_card_in_trouble(tmp_path: Path) -> None:
    m = machine(tmp_path, RTX4090._replace(ecc=3, reasons=0x40, lanes=(4, 16)))
    assert {"ecc", "throttled", "pcie"} <= {*names(m)}
    idle = machine(tmp_path / "b", RTX4090._replace(reasons=0x1))
    assert "throttled" not in names(idle)


def test_other_makers_are_described(tmp_path: Path) -> None:
    m = machine(tmp_path, driver="", nodes=(), amd=True)
    assert m.others == ("AMD graphics",)
    said = next(one.what for one in findings(m) if one.name == "no_gpu")
    assert "AMD graphics" in said


ROCM: dict[str, Any] = {"torch": ("2.11.0+rocm6.4", None), "rocm": "6.4.43482-0f2d60242"}


def test_a_pytorch_for_rocm_with_an_amd_gpu(tmp_path: Path) -> None:
    m = machine(tmp_path, driver="", nodes=(), amd=True, **ROCM)
    assert (m.torch, m.torch_cuda, m.torch_rocm) == ("2.11.0+rocm6.4", None, "6.4.43482-0f2d60242")
    assert names(m) == {"rocm": "warning"}
    digits = verdict(m, "digits")
    assert digits.where == "cpu" and "AMD" in digits.note
    said = "\n".join(_machine(m))
    assert "2.11.0+rocm6.4 for ROCm 6.4.43482" in said and "not used" not in said


def test_a_pytorch_for_rocm_without_an_amd_gpu(tmp_path: Path) -> None:
    bare = machine(tmp_path / "a", driver="", nodes=(), **ROCM)
    assert "rocm" not in names(bare) and "no_gpu" in names(bare)
    beside = machine(tmp_path / "b", RTX4090, **ROCM)
    assert names(beside)["torch_for_cpu"] == ERROR and "ROCm" in verdict(beside, "sd").note
    both = machine(tmp_path / "c", RTX4090, amd=True, **ROCM)
    assert names(both)["torch_for_cpu"] == ERROR and names(both)["rocm"] == "warning"


def test_deep_asks_the_amd_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(deep, "_child", lambda devices: asked.append(devices) or [])
    deep.kernels(machine(tmp_path, driver="", nodes=(), amd=True, **ROCM))
    assert asked == [["cuda:0"]]


def test_a_suspended_machine_and_a_foreign_cudnn(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "libcudnn.so.8").write_text("")
    m = machine(tmp_path, RTX4090, error=999, nodes=("nvidia0",), env={"LD_LIBRARY_PATH": str(tmp_path / "old")})
    assert "nvidia_uvm" in mend(m, "no_uvm")
    assert mend(m, "foreign_cudnn") == "unset LD_LIBRARY_PATH"


def test_probes_that_fail_or_hang_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setitem(probes.PROBES, "memory", lambda sources: 1 / 0)
    assert dict(probe(Sources()).failed)["memory"] == "division by zero"
    monkeypatch.setattr(probes, "PROBES", {"cards": lambda sources: {} if ended.wait() else None})
    monkeypatch.setattr(probes, "PATIENCE", 0)
    assert dict(probe(Sources()).failed) == {"cards": "no answer within 0 s"}
    ended.set()
    assert spelled(None) == "none"


def test_a_gpu_that_does_not_answer_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from machines import Nvml

    def refuses(*args: object) -> None:
        raise RuntimeError("Not Supported")

    monkeypatch.setattr(Nvml, "nvmlDeviceGetP2PStatus", refuses)
    assert len(machine(tmp_path / "a", RTX4090, RTX4090).gpus) == 2
    monkeypatch.setattr(Nvml, "nvmlDeviceGetMemoryInfo", refuses)
    shared = machine(tmp_path / "b", Card("GB10", (12, 1), 0, 0), ram=128)
    assert shared.gpus[0].total == 128 * GIB  # it has no memory of its own
    monkeypatch.setattr(Nvml, "nvmlDeviceGetHandleByIndex", refuses)
    lost = machine(tmp_path / "c", RTX4090)
    assert names(lost)["no_answer"] == ERROR and not lost.gpus


def test_a_driver_without_an_answer(tmp_path: Path) -> None:
    m = machine(tmp_path, nvml_error="Unknown Error", on_bus=1)
    assert next(one.why for one in findings(m) if one.name == "no_answer") == "Unknown Error"
    assert "nvidia-fabricmanager" in mend(machine(tmp_path / "b", H100, error=802), "no_start")
    assert mend(machine(tmp_path / "c", H100, error=100), "no_start") == "unset CUDA_VISIBLE_DEVICES"


def test_the_better_of_two_gpus_is_chosen_by_a_flag(tmp_path: Path) -> None:
    m = machine(tmp_path / "a", Card("RTX 4070 Ti", (8, 9), 12, 11.5), RTX4090)
    assert verdict(m, "sd").flags == ()
    assert verdict(m, "sd3").flags == ("--device cuda:1",)
    old = machine(tmp_path / "b", Card("Tesla P40", (6, 1), 24, 24), Card("RTX 4070 Ti", (8, 9), 12, 11.5))
    assert verdict(old, "sd").flags == ("--device cuda:1",)


def test_limits_of_groups_within_groups(tmp_path: Path) -> None:
    group = tmp_path / "root/sys/fs/cgroup/user.slice/job"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max")
    (group.parent / "memory.max").write_text(str(4 * GIB))
    (group.parent / "memory.current").write_text(str(3 * GIB))
    (group.parent / "memory.stat").write_text(f"anon 1\ninactive_file {GIB}\n")
    (group / "cpu.max").write_text("150000 100000")
    (tmp_path / "root/proc/self").mkdir(parents=True)
    (tmp_path / "root/proc/self/cgroup").write_text("0::/user.slice/job\n")
    m = machine(tmp_path, driver="", nodes=())
    assert (m.ram_limit, m.memory, m.cores_usable) == (4 * GIB, 2 * GIB, 1.5)


def test_what_a_failed_probe_would_have_said_is_not_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from difftool.lab import probes

    for name in ("packages", "tools"):
        monkeypatch.setitem(probes.PROBES, name, lambda sources: 1 / 0)
    m = machine(tmp_path, RTX4090)
    assert {"packages", "tools"} <= {*dict(m.failed)}
    assert not {"no_torch", "ffmpeg", "sndfile"} & {*names(m)}
