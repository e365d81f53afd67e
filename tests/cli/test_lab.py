"""`difftool lab check` and `lab plan` on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from difftool.lab import deep
from difftool.lab.facts import Gpu, Machine

Difftool = Callable[..., Any]
SCHEMA = Path(__file__).parents[2] / "docs" / "lab-1.schema.json"


def test_what_this_machine_carries(difftool: Difftool) -> None:
    import jsonschema

    done = difftool("lab", "check", "--json")
    assert done.code == 0, done.err
    jsonschema.validate(done.json["data"], json.loads(SCHEMA.read_text()))
    commands = {"train", "txt2img", "voice clone", "voice train", "voice prep"}
    assert {one["command"] for one in done.json["data"]["presets"]} == commands
    names = [one["preset"] for one in done.json["data"]["presets"] if one["command"] == "voice train"]
    assert names == ["mini-full", "tortoise-lora", "tortoise-full"]
    plain = difftool("lab", "check")
    for word in ("driver", "PyTorch", "cuDNN", "TensorRT", "free", "sdxl", "whisper-base", "ffmpeg"):
        assert word in plain.out
    assert not plain.err


def test_some_presets(difftool: Difftool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert difftool("lab", "check", "digits", "whisper-tiny").code == 0
    assert difftool("lab", "check", "digits", "-q").out.split() == ["digits"]
    named = difftool(
        "lab", "check", "sd15", "sdxl-turbo", "whisper-base.en", "HIGH-QUALITY", "voice/fast", "fast", "-q"
    )
    assert named.out.split() == ["sd", "turbo", "fast", "high_quality", "whisper-base"]
    assert difftool("lab", "check", "mini-fast", "voice/mini-ultra-fast", "-q").out.split() == [
        "mini-ultra_fast",
        "mini-fast",
    ]
    wrong = difftool("lab", "check", "sdlx")
    assert wrong.code == 2 and "sdxl" in wrong.err
    small = Machine(system="", python="", ram=4 * 2**30, ram_free=3 * 2**30)
    monkeypatch.setattr("difftool.lab.probes.probe", lambda sources: small)
    no = difftool("lab", "check", "digits", "flux")
    assert no.code == 3 and "flux" in no.err and "RTX A6000" in no.err and not no.out
    told = difftool("lab", "check", "flux", "--json").json
    assert told["ok"] is False and told["data"]["presets"][0]["verdict"] == "no"
    assert difftool("lab", "check").code == 0  # without names it only tells
    assert difftool("lab", "check", "mini-high_quality").code == 0
    assert difftool("lab", "check", "f5-draft", "voice/f5-fast", "-q").out.split() == ["f5-draft", "f5-fast"]


def test_memory_is_named_as_free_or_in_total(difftool: Difftool, monkeypatch: pytest.MonkeyPatch) -> None:
    import jsonschema

    small = Machine(system="", python="", ram=8 * 2**30, ram_free=2 * 2**30)
    monkeypatch.setattr("difftool.lab.probes.probe", lambda sources: small)
    told = difftool("lab", "check", "--json").json["data"]
    jsonschema.validate(told, json.loads(SCHEMA.read_text()))
    rows = {row["preset"]: row for row in told["presets"]}
    found = [(rows[name]["verdict"], rows[name]["has"], rows[name]["has_bytes"]) for name in ("digits", "sd", "flux")]
    assert found == [("fits", "free", 2 * 2**30), ("tight", "free", 2 * 2**30), ("no", "total", 8 * 2**30)]
    lines = {line.split()[0]: line for line in difftool("lab", "check").out.splitlines() if line.startswith("  ")}
    assert "of 2.0 GiB free on cpu" in lines["sd"] and "of 8.0 GiB in total on cpu" in lines["flux"]
    refusal = difftool("lab", "check", "flux", "schnell").err
    assert "cannot run flux, schnell: flux needs " in refusal and "of 8.0 GiB in total on cpu" in refusal


def test_real_kernels(difftool: Difftool, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = difftool("lab", "check", "digits", "--deep", "--json").json["data"]["deep"]
    assert not deep.findings(rows)
    if rows[0]["device"] == "cpu":
        assert {"convolution", "attention", "matrix product, bfloat16"} <= {one["what"] for one in rows}
        assert all(one["well"] for one in rows)
    gpu = Gpu(5, "none", "", (9, 0), 2**30, 2**30)  # a process that fails is told, and nothing else happens
    found = deep.kernels(Machine(system="", python="", gpus=(gpu,)))
    assert found[-1]["well"] is False and found[-1]["device"] == "cuda:5"
    assert deep.findings(found)[-1].level == "error"


def test_a_process_for_each_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    row = {"device": "cuda:0", "what": "process", "said": "1 ms", "well": True}
    monkeypatch.setattr(deep, "_child", lambda devices, **more: asked.append((devices, more)) or [row])
    gpus = tuple(Gpu(k, "a slice", f"MIG-{k}", (8, 0), 2**30, 2**30, slice=True) for k in range(2))
    assert [one["device"] for one in deep.kernels(Machine(system="", python="", gpus=gpus))] == ["MIG-0", "MIG-1"]
    assert asked == [(["cuda:0"], {"CUDA_VISIBLE_DEVICES": f"MIG-{k}"}) for k in range(2)]


def test_the_way_of_the_guide(difftool: Difftool) -> None:
    told = difftool("lab", "plan", "--json").json["data"]["stages"]
    assert [one["name"] for one in told] == ["first", "year1", "year2"]
    assert "sdxl" in told[0]["carries"] and "flux" in told[2]["adds"]
    assert difftool("lab", "plan", "--for", "sdxl", "-q").out.split() == ["first"]
    assert difftool("lab", "plan", "--stage", "year2", "-q").out.split() == ["year2"]
    assert difftool("lab", "plan", "--stage", "yaer2").code == 2
    assert difftool("lab", "plan", "--for", "none").code == 2
    wrong = difftool("lab", "plan", "--for", "flux", "--stage", "first")
    assert wrong.code == 3 and "year2 can" in wrong.err


def test_what_the_commands_decide_functions_decide() -> None:
    from difftool.errors import DifftoolError
    from difftool.lab.findings import findings
    from difftool.lab.upgrades import path
    from difftool.lab.verdicts import presets_named, refusal, verdict_of

    small = Machine(system="", python="", ram=4 * 2**30, ram_free=3 * 2**30)
    assert refusal([verdict_of(small, preset) for preset in presets_named(["digits"])], findings(small)) is None
    error = refusal([verdict_of(small, preset) for preset in presets_named(["digits", "flux"])], findings(small))
    assert error is not None and error.code == 3 and "cannot run flux: " in error.message and "RTX A6000" in error.hint
    assert [step.name for step in path()] == ["first", "year1", "year2"]
    assert [step.name for step in path("flux")] == ["first", "year1", "year2"]
    assert [step.name for step in path("sdxl")] == ["first"]
    with pytest.raises(DifftoolError, match="first cannot run flux, but year2 can") as refused:
        path("flux", "first")
    assert refused.value.code == 3
