from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dying import dies
from PIL import Image

from difftool.errors import DifftoolError
from difftool.files import lock
from difftool.limits import count_of, size_of
from difftool.train.settings import amount_of

pytestmark = pytest.mark.usefixtures("small_previews")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for k in range(6):
        path = tmp_path / "data" / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)).save(path)
    return tmp_path / "data"


def test_from_pictures_to_pictures(difftool: Callable, pictures: Path, tmp_path: Path) -> None:
    (pictures / "a" / "broken.png").write_bytes(b"no")
    ended = difftool("train", "data", "--steps", 2, "--batch-size", 2, "--output-dir", "run", "--json")
    told = ended.json
    assert ended.code == 0
    assert told["data"]["images"] == 4
    assert told["data"]["config"]["classes"] == ["a", "b"]
    assert told["warnings"] == ["skipped a/broken.png: cannot identify image file"]
    assert (tmp_path / told["data"]["outputs"][0]["path"]).exists()
    drawn = difftool("sample", "run", "--count", 2, "--steps", 1, "--label", "b", "--json").json["data"]
    assert [(output["width"], output["height"]) for output in drawn["outputs"]] == [(12, 8)] * 2
    ended = difftool("train", "--data", "data", "--steps", 2, "--batch-size", 2, "--out", "run")
    assert "nothing left to do" in ended.out
    assert "difftool sample run" in ended.out
    assert '<th scope="row">size</th><td>12x8</td>' in (tmp_path / "run" / "report.html").read_text()
    other = difftool("train", "data", "--steps", 2, "--batch-size", 2, "--size", "8x12", "--out", "run")
    assert other.code == 4 and "size: 12x8 there, 8x12 here" in other.err  # width x height, as --size
    assert "would go on" not in difftool("train", "data", "--steps", 3, "--out", "run", "--overwrite", "--dry-run").out


def test_the_digits_are_judged(difftool: Callable) -> None:
    told = difftool("train", "--images", "0.1k", "--batch-size", "50", "--json").json["data"]
    assert told["images"] == 100
    assert set(told["quality"]) == {"c2st", "fd", "fd_features", "kid", "nearest", "legible", "exploded"}
    assert told["folder"].startswith("outputs/train/")


def test_points_are_shown_in_a_plot(difftool: Callable, tmp_path: Path) -> None:
    told = difftool("train", "moons", "--steps", 4, "--output-dir", "run", "--json").json["data"]
    assert told["config"]["train"]["preset"] == "points"
    for path in (told["outputs"][0]["path"], "drawn.png"):
        if path == "drawn.png":
            ended = difftool("sample", "run", "--count", 200, "--steps", 3, "-o", path)
            assert ended.code == 0, ended.err
        with Image.open(tmp_path / path) as image:
            assert image.size == (512, 512)
    assert len([*tmp_path.glob("*.png")]) == 1


def test_a_full_disk(difftool: Callable, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint before stays, and the run goes on from it."""
    inner, room = Path.write_bytes, [4]

    def full(path: Path, data: bytes) -> int:
        if ".tmp-" in path.name and "safetensors" in path.name:
            room[0] -= 1
            if room[0] < 0:
                inner(path, data[: len(data) // 2])
                raise OSError(28, "No space left on device", str(path))
        return inner(path, data)

    line = ["train", "data", "--preset", "digits", "--steps", 8, "--batch-size", 2, "--save-every", 4]
    line += ["--output-dir", "run"]
    with monkeypatch.context() as disk:
        disk.setattr(Path, "write_bytes", full)
        ended = difftool(*line)
    assert ended.code == 1
    assert "the disk is full" in ended.err
    assert "free some space and resume with the same command, --output-dir " in ended.err
    assert "Traceback" not in ended.err
    assert not [path for path in (tmp_path / "run").iterdir() if ".tmp-" in path.name]
    assert difftool(*line).code == 0
    assert difftool(*line[:-1], "whole").code == 0
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "whole"))
    assert one == two


def test_dry_run(difftool: Callable, pictures: Path, tmp_path: Path) -> None:
    ended = difftool("train", "data", "--dry-run", "--epochs", 2, "--size", "16x24")
    assert ended.code == 0, ended.err
    assert "6 pictures of 16x24x3: data in 2 classes" in ended.out
    assert "for 2 epochs, batch size 32" in ended.out
    assert "mirrored" not in ended.out
    assert "mirrored half of the time" in difftool("train", "data", "--dry-run", "--flip").out
    assert {path.name for path in tmp_path.iterdir()} == {"data", "home"}  # with the pictures as they were decoded


def test_what_is_learned_and_what_is_not_is_said(difftool: Callable, pictures: Path) -> None:
    pictures.rename(pictures.with_name("train"))
    (pictures / "test" / "a").mkdir(parents=True)
    Image.new("RGB", (12, 8), "red").save(pictures / "test" / "a" / "9.png")
    pictures.with_name("train").rename(pictures / "train")
    (pictures / "notes.csv").write_text("a,b\n")
    ended = difftool("train", "data", "--dry-run")
    assert "6 pictures of 12x8x3: data in 2 classes (a, b)\n1 more held out for evaluation\n" in ended.out
    assert "warning: 1 file (notes.csv) not used\n" in ended.err
    told = difftool("train", "data", "--dry-run", "--json").json
    assert told["data"]["held_out"] == 1
    assert told["warnings"] == ["1 file (notes.csv) not used"]


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["moons", "--flip"], 2, "cannot be mirrored"),
        (["moons", "--held-out", "0.1"], 2, "fixed held-out part"),
        (["data", "--held-out", "0.1"], 2, "less than one"),
        (["data", "--data", "data"], 2, "cannot be used together"),
        (["data", "--steps", "5", "--minutes", "2"], 2, "cannot be used together"),
        (["data", "--steps", "5", "--more", "2m"], 2, "--steps and --more cannot be used together"),
        (["data", "--overwrite", "--more", "2m"], 2, "--more and --overwrite cannot be used together"),
        (["data", "--more", "2m"], 2, "--more needs the run that it extends"),
        (["data", "--more", "2m", "--output-dir", "new"], 4, "there is no run in new"),
        (["data", "--more", "2x"], 2, "windows, not '2x'"),
        (["data", "--from", "nothing"], 4, "nothing is not a folder"),
        (["data", "--from", "other"], 4, "config.json"),
        (["data", "--from", ""], 2, "name is empty"),
        (["data", "--from", "digits"], 4, "--size: 8x8 there, 12x8 here"),
        (["data", "--minutes", "0"], 2, "minutes"),
        (["data", "--minutes", "nan"], 2, "minutes"),
        (["data", "--steps", "0"], 2, "--steps"),
        (["data", "--steps", "-1"], 2, "--steps"),
        (["data", "--lr", "0"], 2, "lr"),
        (["data", "--batch-size", "0"], 2, "--batch-size"),
        (["data", "--label-dropout", "2"], 2, "--label-dropout"),
        (["data", "--target", "w"], 2, "unknown target"),
        (["data", "--preset", "digit"], 2, "did you mean 'digits'"),
        (["data", "--size", "64"], 2, "WIDTHxHEIGHT"),
        (["data", "--size", "0x4"], 2, "WIDTHxHEIGHT"),
        (["data", "--size", "30000x30000"], 2, "1 to 8,192"),
        (["data", "--epochs", "1e308"], 2, "at most 1,000"),
        (["data", "--batch-size", "1" + "0" * 400], 2, "1,000,000,000,000"),
        (["data", "--dtype", "fp16"], 2, "fp16"),
        (["data", "--save-every", "0"], 2, "--save-every"),
        (["--preset", "pictures"], 2, "no default data set"),
        (["--size", "9x9"], 2, "8x8"),
        (["nothing"], 4, "no such file or folder"),
        (["data/a/0.png"], 4, "is a single picture"),
        (["empty"], 4, "no pictures"),
        ([""], 2, "name of the data is empty"),
        (["--data", ""], 2, "name of the data is empty"),
        (["data", "--output-dir", "data"], 2, "inside the training data"),
        (["data", "--output-dir", "data/a/run"], 2, "inside the training data"),
        (["data", "--output-dir", "other"], 4, "files that are not a run"),
        (["data", "--output-dir", "empty/file"], 4, "empty/file"),
    ],
)
def test_wrong_input(refused: Callable, pictures: Path, tmp_path: Path, args: list[str], code: int, says: str) -> None:
    for name in ("empty", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    refused(code, "train", *args, says=says)
    refused(code, "train", *args, "--dry-run", says=says)
    refused(code, "train", *args, "--json", says=says)


def test_counts() -> None:
    assert [count_of(text) for text in ("7", "5k", "0.5k", "2M", " 3m ", 12)] == [
        7,
        5000,
        500,
        2_000_000,
        3_000_000,
        12,
    ]
    for text in ("", "0", "-1", "k", "x", "1.5", "1e400", "nan", "5kk"):
        with pytest.raises(Exception, match="whole number"):
            count_of(text)


def test_amounts() -> None:
    """A small m is minutes, a capital M is a million."""
    for text, amount in (
        ("2m", {"minutes": 2}),
        ("90s", {"minutes": 1.5}),
        ("1h", {"minutes": 60}),
        (" 1h30m ", {"minutes": 90}),
        ("0.5h", {"minutes": 30}),
        ("20k", {"images": 20_000}),
        ("1M", {"images": 1_000_000}),
        ("300", {"images": 300}),
    ):
        assert amount_of(text) == amount
    for text in (
        "",
        "0",
        "0s",
        "-2m",
        "m",
        "2 m",
        "2_0m",
        "2min",
        "1.5",
        "2m 3s",
        "nan",
        "9" * 400 + "h",
        "1e5h",
        "2mk",
    ):
        with pytest.raises(DifftoolError, match="--more must be a time"):
            amount_of(text)


def test_sizes() -> None:
    assert size_of("64x48") == (64, 48)
    assert size_of(None) is None
    assert size_of((64, 48)) == size_of([64, 48]) == (64, 48)
    for text in ("", "64", "x", "ax4", "-1x4", "4x0", "1x2x3", 64, (64,), (64, 48, 3), (-1, 4), (6.5, 4), ("a", 4)):
        with pytest.raises(DifftoolError):
            size_of(text)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, -9, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_is_ended_goes_on(pictures: Path, tmp_path: Path, number: signal.Signals, code: int) -> None:
    """By a signal, in a process of its own; and a killed process leaves no lock and no rubbish behind."""
    line = ["train", "data", "--preset", "digits", "--steps", "32", "--batch-size", "4", "--save-every", "16"]
    line += ["--preview-every", "1k", "--size", "8x8", "--output-dir", "run", "--threads", "1"]
    done = dies(number, 1, "previous.safetensors", *line, cwd=tmp_path)
    assert done.returncode == code
    assert done.stdout == ""
    if number != signal.SIGKILL:
        assert "stopped after" in done.stderr
        assert "--output-dir run and without --overwrite" in done.stderr
        assert done.stderr.count("Traceback") == 0
    again = [sys.executable, "-m", "difftool", *line, "--json"]
    done = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["data"]["images"] == 128
    assert not [path for path in (tmp_path / "run").rglob("*") if "tmp" in path.name]


def test_a_finished_run_is_trained_further(difftool: Callable, pictures: Path, tmp_path: Path) -> None:
    line = ["train", "data", "--preset", "digits", "--batch-size", 2, "--out", "run"]
    assert difftool(*line, "--steps", 2).code == 0
    ended = difftool(*line, "--steps", 3)
    assert "error: run contains another run: --steps: 2 there, 3 here\n" in ended.err
    assert "--more AMOUNT" in ended.err
    (tmp_path / "begun").mkdir()
    with lock(tmp_path / "begun"):
        assert difftool(*line[:-1], "begun", "--more", "2k").code == 75
    ended = difftool(*line, "--more", "2k", "--dry-run")
    assert "for 2,000 more pictures" in ended.out and "would extend run beyond 4 pictures" in ended.out
    assert "for 1.5 more minutes" in difftool(*line, "--more", "90s", "--dry-run").out
    told = difftool(*line, "--more", 4, "--json").json["data"]
    assert (told["images"], told["finished_before"]) == (8, False)
    assert told["outputs"][0]["path"] == "run/samples/000000008.png"
    ended = difftool(*line, "--steps", 2)
    assert "nothing left to do; --more AMOUNT trains it further" in ended.out
    ended = difftool(*line[:-1], "new", "--steps", 2, "--from", "run", "--dry-run")
    assert ended.code == 0 and "beginning with the weights of run\n" in ended.out
    told = difftool(*line[:-1], "new", "--steps", 2, "--from", "run", "--json").json["data"]
    assert told["config"]["train"]["init_from"]["name"] == "run"


@pytest.mark.slow
def test_an_extension_that_is_killed_ends_as_one_that_was_not(pictures: Path, tmp_path: Path) -> None:
    """In a process of its own, at moments before and after the extension is in the config."""
    line = ["train", "data", "--preset", "digits", "--batch-size", "4", "--save-every", "8", "--size", "8x8"]
    line += ["--threads", "1", "-q", "--output-dir", "run"]
    program = [sys.executable, "-m", "difftool"]
    subprocess.run([*program, *line, "--steps", "4"], cwd=tmp_path, check=True, capture_output=True)
    shutil.copytree(tmp_path / "run", tmp_path / "whole")
    more = ["--more", "16"]
    subprocess.run([*program, *line[:-1], "whole", *more], cwd=tmp_path, check=True, capture_output=True)
    for name, count in (("*config.json*", 1), ("log.jsonl", 2), ("last.safetensors", 2), ("*.png", 2)):
        done = dies(signal.SIGKILL, count, name, *line, *more, cwd=tmp_path)
        assert done.returncode == -signal.SIGKILL, (name, done.stderr)
    subprocess.run([*program, *line, *more], cwd=tmp_path, check=True, capture_output=True)
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "whole"))
    assert one == two
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("run", "whole")]
    assert configs[0] == configs[1]
    assert [extension["after"] for extension in configs[0]["train"]["more"]] == [16]


def test_a_second_run_in_a_folder_waits_its_turn(pictures: Path, tmp_path: Path, refused: Callable) -> None:
    line = ["train", "data", "--steps", "100k", "--size", "8x8", "--output-dir", "run"]
    (tmp_path / "run").mkdir()
    with lock(tmp_path / "run"):
        refused(75, *line, says="in use by another run")
