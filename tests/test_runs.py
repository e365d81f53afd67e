"""Folders of runs: found, described, removed."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from difftool import files, runs
from difftool.errors import DifftoolError
from difftool.train import train
from difftool.voice import reading


@pytest.fixture
def drawn(difftool: Callable) -> Path:
    """A run of three pictures in its default folder."""
    ended = difftool("sample", "--count", 3, "--steps", 1, "--json")
    return Path(ended.json["data"]["outputs"][0]["path"]).parent


@pytest.fixture(scope="module")
def moons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "moons"
    train("moons", images=512, lr=0.003, output_dir=folder)
    return folder


@pytest.fixture
def trained(difftool: Callable, moons: Path) -> Path:
    return Path(shutil.copytree(moons, "runs/mine"))


def unfinish(folder: Path) -> None:
    """Makes a finished training look interrupted."""
    lines = (folder / "log.jsonl").read_text().splitlines()
    (folder / "log.jsonl").write_text("\n".join(lines[:-1]) + '\n{"images": 5')


def spoken(folder: Path, *states: str) -> Path:
    """A long text, of parts in these states."""
    parts = folder / "book.parts"
    parts.mkdir(parents=True)
    entries = [{"number": k, "state": state} for k, state in enumerate(states, 1)]
    book = {"schema": reading.SCHEMA, "config": {"voice": "me"}, "joined": None, "redo": [], "parts": entries}
    (parts / reading.LIST).write_text(json.dumps(book))
    (parts / "0001-0123abcd.wav").write_bytes(b"RIFF")
    return parts


def test_names_are_those_that_others_write() -> None:
    from difftool.learning import folder, runlog
    from difftool.voice.reading import LIST, folder_of

    assert (runs.CONFIG in folder.OWN_FILES, runs.LOG, runs.EVENTS) == (True, runlog.LOG, folder.EVENTS)
    assert (runs.BOOK, folder_of(Path("a.wav")).suffix) == (LIST, runs.PARTS)


class TestPictures:
    def test_listed(self, difftool: Callable, drawn: Path) -> None:
        ended = difftool("runs", "ls", "--json")
        (row,) = ended.json["data"]["runs"]
        size = sum(path.stat().st_size for path in drawn.iterdir())
        when = ended.json["data"]["runs"][0]["when"]
        assert row == {
            "path": str(drawn),
            "command": "sample",
            "when": when,
            "state": "finished",
            "about": "3 pictures",
            "bytes": size,
            "again": f"difftool rerun {drawn}/grid.png",
        }
        assert when.startswith("20") and when.endswith("+00:00")
        assert difftool("runs", "ls", "-q").out == f"{drawn}\n"
        line = difftool("runs", "ls").out
        assert "sample" in line and "finished" in line and f"{size / 1e6:,.1f} MB" in line and str(drawn) in line

    def test_one_that_misses_a_picture_is_partial(self, difftool: Callable, drawn: Path) -> None:
        (drawn / "00002-2.png").unlink()
        (run,) = runs.find()
        assert (run.state, run.about) == ("partial", "2 of 3 pictures")
        assert difftool("runs", "show", drawn).out.splitlines()[-1] == f"again: difftool rerun {drawn}/grid.png"
        (drawn / "00000-0.png").unlink()
        assert runs.named(drawn.name).about == "1 of 3 pictures"

    def test_shown(self, difftool: Callable, drawn: Path) -> None:
        text = difftool("runs", "show", drawn.name).out
        assert "sample, 20" in text and "4 files" in text and "  steps: 1\n" in text
        assert text.splitlines()[-1] == f"again: difftool rerun {drawn}/grid.png"
        data = difftool("runs", "show", drawn, "--json").json["data"]
        assert data["settings"]["count"] == 3
        assert len(data["files"]) == 4

    def test_a_folder_that_is_named(self, difftool: Callable, tmp_path: Path) -> None:
        assert difftool("sample", "--count", 1, "--steps", 1, "--output-dir", "far/off/it").code == 0
        assert difftool("runs", "ls").out == "no runs in ./outputs and ./runs\n"
        assert difftool("runs", "ls", "far", "-q").out == "far/off/it\n"
        assert difftool("runs", "ls", "far/off/it", "-q").out == "far/off/it\n"

    def test_what_others_made_is_no_run(self, difftool: Callable, refused: Callable, tmp_path: Path) -> None:
        (tmp_path / "runs" / "a").mkdir(parents=True)
        (tmp_path / "runs" / "a" / "grid.png").write_bytes(b"\x89PNG")
        (tmp_path / "runs" / "a" / "config.json").write_text("{}")
        (tmp_path / "runs" / "a" / "log.jsonl").write_text("{}")
        assert difftool("runs", "ls").out == "no runs in ./outputs and ./runs\n"
        refused(4, "runs", "rm", "runs/a", says="runs/a holds no run of difftool")
        refused(4, "runs", "show", "nothing", says="there is no run nothing")
        refused(4, "runs", "ls", "nowhere", says="there is no folder nowhere")


class TestTraining:
    def test_finished(self, difftool: Callable, trained: Path) -> None:
        (run,) = runs.find()
        assert (run.command, run.state, run.about) == ("train", "finished", "512 pictures of moons")
        assert run.size == sum(path.stat().st_size for path in trained.rglob("*") if path.is_file())
        assert run.again is not None
        command = shlex.split(run.again)
        assert command[:3] == ["difftool", "train", "moons"]
        assert command[command.index("--lr") + 1] == "0.003"
        assert difftool(*command[1:], "--dry-run", "--json").json["data"]["finished_before"] is True

    def test_unfinished(self, difftool: Callable, trained: Path) -> None:
        unfinish(trained)
        (run,) = runs.find()
        assert (run.state, run.about) == ("unfinished", "512 of 512")
        assert difftool("runs", "show", "mine").out.splitlines()[-1] == f"resume: {run.again}"

    def test_one_in_use_is_running_and_stays(self, difftool: Callable, refused: Callable, trained: Path) -> None:
        unfinish(trained)
        with files.lock(trained):
            assert runs.named("mine").state == "running"
            refused(75, "runs", "rm", "mine", says="in use by another run")
            refused(75, "runs", "rm", "mine", "--dry-run", says="in use by another run")
        assert difftool("runs", "rm", "mine", "-q").out == "runs/mine\n"
        assert not trained.exists()

    def test_one_of_a_preset_of_another_version(self, trained: Path) -> None:
        text = (trained / "config.json").read_text()
        (trained / "config.json").write_text(text.replace('"preset": "points"', '"preset": "dots"'))
        (run,) = runs.find()
        assert run.again is not None and "--preset dots" in run.again

    def test_its_parts_are_no_runs(self, difftool: Callable, refused: Callable, trained: Path) -> None:
        shutil.copytree(trained / "samples", trained / "autoencoder")
        for name in ("samples", "autoencoder"):
            refused(4, "runs", "rm", f"runs/mine/{name}", says=f"runs/mine/{name} is part of the run in runs/mine")
        difftool("sample", "--count", 1, "--steps", 1, "--output-dir", "runs/mine/picked")
        assert difftool("runs", "rm", "runs/mine/picked", "-q").out == "runs/mine/picked\n"

    @pytest.mark.parametrize(
        ("data", "start"), [pytest.param("digits", "digits", marks=pytest.mark.slow), ("moons", "runs/first")]
    )
    def test_one_that_began_with_a_model(self, difftool: Callable, data: str, start: str) -> None:
        given = ("train", data, "--images", 64, "--batch-size", 32, "-q", "--output-dir")
        if start != "digits":
            difftool(*given, start)
        difftool(*given, "outputs/second", "--from", start)
        again = runs.named("outputs/second").again
        assert again is not None
        assert difftool(*shlex.split(again)[1:], "--dry-run", "--json").json["data"]["finished_before"] is True

    def test_what_was_added_keeps_it(self, refused: Callable, trained: Path) -> None:
        for name in ("notes.txt", "samples/mine.png", "unet/mine.safetensors"):
            (trained / name).parent.mkdir(exist_ok=True)
            (trained / name).write_text("the only copy")
            refused(4, "runs", "rm", "mine", says=f"runs/mine/{name} was not made by difftool")
            (trained / name).unlink()
        assert runs.remove(["mine"]) == [trained]

    def test_a_pipeline(self, trained: Path) -> None:
        for name in ("unet/config.json", "vae/diffusion_pytorch_model.safetensors", "tokenizer/merges.txt"):
            (trained / name).parent.mkdir(exist_ok=True)
            (trained / name).write_text("{}")
        shutil.copytree(trained, trained / "autoencoder")
        (trained / "autoencoder" / "latents.safetensors").touch()
        assert runs.remove(["mine"]) == [trained]


class TestSpeech:
    def test_what_was_spoken(self, difftool: Callable, beep: None, voices: Path) -> None:
        given = ("voice", "clone", "--engine", "beep", "--voice", "me", "-q")
        assert difftool(*given, "Hello there.", "--candidates", 2, "--output-dir", "runs/short").code == 0
        text = "\n\n".join(f"This is part number {k}." for k in range(3))
        assert difftool(*given, text, "--output-dir", "runs/long").code == 0
        long, short = sorted(runs.find(), key=lambda run: run.path)
        assert (short.command, short.state, short.about) == ("voice clone", "finished", "2 sounds")
        assert short.again == "difftool rerun runs/short/00000-0.wav"
        assert (long.state, long.about, long.settings["text"]) == ("finished", "1 sound", text)
        assert (Path("runs/long/00000-0.parts") / reading.LIST) in long.files
        (Path("runs/long/00000-0.parts") / "mine.wav").write_bytes(b"the only copy")
        with pytest.raises(DifftoolError, match=r"mine\.wav was not made by difftool"):
            runs.remove(["long", "short"])
        (Path("runs/long/00000-0.parts") / "mine.wav").unlink()
        runs.remove(["long", "short"])
        assert [*Path("runs").iterdir()] == []

    @pytest.mark.parametrize(
        ("states", "state", "about"),
        [
            (["done", "waiting"], "unfinished", "1 of 2 parts"),
            (["done", "failed", "failed"], "partial", "1 of 3 parts, 2 failed"),
            (["done", "done"], "unfinished", "all 2 parts, not joined"),
        ],
    )
    def test_a_long_text(self, tmp_path: Path, states: list[str], state: str, about: str) -> None:
        parts = spoken(tmp_path / "a b", *states)
        run = runs.named(str(tmp_path / "a b"))
        assert (run.command, run.state, run.about) == ("voice clone", state, about)
        assert run.again == f"the same command with -o '{parts.with_suffix('.wav')}'"

    def test_one_in_use(self, tmp_path: Path) -> None:
        parts = spoken(tmp_path / "a", "done", "waiting")
        with files.lock(parts):
            assert runs.named(str(tmp_path / "a")).state == "running"
            with pytest.raises(Exception, match="in use"):
                runs.remove([str(tmp_path / "a")])
        runs.remove([str(tmp_path / "a")])
        assert not (tmp_path / "a").exists()


class TestRemoved:
    def test_only_what_is_named(self, difftool: Callable, drawn: Path) -> None:
        shutil.copytree(drawn, drawn.with_name("other"))
        assert difftool("runs", "rm", drawn.name, "--dry-run").out == f"would remove {drawn}\n"
        assert drawn.exists()
        assert difftool("runs", "rm", drawn.name, drawn).out == f"removed {drawn}\n"
        assert (drawn.exists(), drawn.with_name("other").exists()) == (False, True)

    def test_all_or_none(self, refused: Callable, drawn: Path) -> None:
        other = drawn.with_name("other")
        shutil.copytree(drawn, other)
        (other / "notes.txt").write_text("the only copy")
        refused(4, "runs", "rm", drawn.name, "other", says="notes.txt was not made by difftool")
        refused(4, "runs", "rm", drawn.name, "others", says="did you mean other?")

    def test_other_runs_in_its_folder_keep_it(self, refused: Callable, drawn: Path) -> None:
        """As where an --output-dir is configured for all runs."""
        shutil.copytree(drawn, drawn / "later")
        refused(4, "runs", "rm", drawn, says=f"is not part of the run in {drawn}")

    def test_two_of_a_name(self, refused: Callable, drawn: Path) -> None:
        shutil.copytree(drawn, Path("runs") / drawn.name)
        refused(2, "runs", "rm", drawn.name, says="several runs are named")

    def test_every_kind_of_picture(self, difftool: Callable, drawn: Path) -> None:
        given = ("--count", 2, "--steps", 1, "--output-dir")
        assert difftool("sample", "--trajectory", *given, "runs/way").code == 0
        assert difftool("sample", "--compare", "ddpm,ddim", *given, "runs/compared").code == 0
        assert difftool("rerun", drawn / "grid.png", "--output-dir", "runs/again").code == 0
        states = {run.path.name: (run.command, run.about) for run in runs.find([Path("runs")])}
        assert states == {
            "way": ("sample", "2 pictures"),
            "compared": ("compare", "1 picture"),
            "again": ("sample", "3 pictures"),
        }
        assert len(runs.remove(["way", "compared", "again"])) == 3

    def test_links_and_the_current_folder(
        self, refused: Callable, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Path("link").symlink_to(drawn)
        refused(4, "runs", "rm", "link", says="link is a link")
        (drawn / "a.png").symlink_to(tmp_path / "elsewhere.png")
        refused(4, "runs", "rm", drawn, says="a.png was not made by difftool")
        (drawn / "a.png").unlink()
        monkeypatch.chdir(drawn)
        refused(4, "runs", "rm", ".", says=". is the current folder")
