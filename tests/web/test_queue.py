"""The queue: order, cancelling, reruns, and what is left by a server that was killed."""

from __future__ import annotations

import errno
import http.client
import json
import os
import signal
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
from studios import PRELOAD, gate, machine, open_gate, pretended, runs, serving

from difftool.cli.app import check
from difftool.errors import DifftoolError
from difftool.files import write_json
from difftool.web import queue
from difftool.web.commands import CommandLine, Line
from difftool.web.guard import access
from difftool.web.jobs import DONE, FAILED, MOST_TRIES, QUEUED, RUNNING, Job, Records
from difftool.web.processes import Child, Nursery
from difftool.web.server import listening, serve
from difftool.web.studio import Studio


def test_jobs_run_in_order_one_at_a_time(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        first = client.job("sample", label=gate(tmp_path))
        others = [client.job("sample", label=str(k)) for k in range(3)]
        assert client.wait(first, runs)["progress"] == {
            "done": 1,
            "total": 2,
            "label": "pretended",
            "seconds_left": 1.0,
        }
        assert client("GET", f"/api/jobs/{first['id']}/preview").body == b"PNG"
        assert [client("GET", f"/api/jobs/{job['id']}").json["position"] for job in others] == [1, 2, 3]
        open_gate(tmp_path, "gate")
        done = [client.wait(job) for job in (first, *others)]
        ran = (tmp_path / "ran.txt").read_text().split()
        assert ran == [job["id"] for job in done] == sorted(ran)
        assert [job["state"] for job in done] == ["done"] * 4
        listed = client("GET", "/api/jobs?limit=3").json
        assert [job["id"] for job in listed] == ran[:0:-1]
        assert client("GET", f"/api/jobs/{first['id']}/preview").status == 404


def test_a_job_is_a_command_line(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        job = client.wait(client.job("pictures", prompt="-o 'x'\n--y", steps=3, seed=7, low_vram=True))
        assert job["command"] == "difftool txt2img --steps=3 --seed=7 --low-vram -- '-o '\"'\"'x'\"'\"'\n--y'"
        folder = f"outputs/txt2img/{job['id']}"
        argv = json.loads(client("GET", job["outputs"][0]["url"]).body)
        assert argv == [
            "txt2img",
            "--json",
            f"--output-dir={folder}",
            "--steps=3",
            "--seed=7",
            "--low-vram",
            "--",
            "-o 'x'\n--y",
        ]
        assert (tmp_path / folder / "00000-0.png").is_file()
        assert job["warnings"] == ["see y"]


def test_failures_and_crashes_are_told_without_folders(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        failed, crashed = (
            client.wait(client.job("sample", label="fail")),
            client.wait(client.job("sample", label="crash")),
        )
        assert failed["error"] == {"code": 4, "message": "no fail", "hint": "see hint.txt"}
        assert crashed["state"] == "failed" and "unexpectedly (code 9)" in crashed["error"]["message"]
        assert client.wait(client.job("sample", label="2"))["state"] == "done"


def killed(*_: object) -> None:
    raise EOFError


def half(*_: object) -> None:
    raise OSError("got end of file during message")


@pytest.mark.parametrize(
    ("function", "does"),
    [("multiprocessing.popen_forkserver.Popen", killed), ("multiprocessing.connection.Connection.recv", half)],
)
def test_the_queue_goes_on_after_a_process_that_did_not_start_or_died_while_it_told_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, does: Callable[..., None]
) -> None:
    with serving(tmp_path) as client:
        client.wait(client.job("sample", label="1"))
        with monkeypatch.context() as patch:
            patch.setattr(function, does)
            failed = client.wait(client.job("sample", label="2"))
        assert failed["state"] == "failed" and failed["error"]["code"] == 1
        assert client.wait(client.job("sample", label="3"))["state"] == "done"


def test_the_places_behind_a_cancelled_job_are_told(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        client.wait(client.job("sample", label=gate(tmp_path)), runs)
        first, second = (client.job("sample", label=label) for label in "12")
        connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=60)
        connection.request("GET", "/api/events")
        answer, places = connection.getresponse(), []
        while places != [2, 1]:
            line = answer.readline().decode()
            if line.startswith("data: ") and (job := json.loads(line[6:]))["id"] == second["id"]:
                places.append(job["position"])
                if len(places) == 1:
                    client("DELETE", f"/api/jobs/{first['id']}")
        connection.close()
        open_gate(tmp_path, "gate")


def test_a_running_job_is_cancelled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Child, "stop", lambda self, number: None)  # as long as a job takes to save what it has
    with serving(tmp_path) as client:
        job = client.job("sample", label=gate(tmp_path))
        client.wait(job, runs)
        for _ in range(2):
            assert client("DELETE", f"/api/jobs/{job['id']}").status == 204
        assert client("GET", f"/api/jobs/{job['id']}").json["state"] == "cancelled"
        assert [path.stem for path in tmp_path.glob("outputs/.studio/jobs/*.json")] == [job["id"]]
        open_gate(tmp_path, "gate")
        assert client.wait(job)["state"] == "cancelled"
        monkeypatch.undo()


def test_jobs_are_cancelled_and_forgotten(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        running, waiting = client.job("sample", label=gate(tmp_path)), client.job("sample", label="1")
        client.wait(running, runs)
        for job in (waiting, running):
            assert client("DELETE", f"/api/jobs/{job['id']}").status == 204
            if job is running:  # once more while it ends does not forget it
                assert client("DELETE", f"/api/jobs/{job['id']}").status == 204
            assert client.wait(job)["state"] == "cancelled"
        last = client.wait(client.job("sample", label="2"))
        assert (tmp_path / "ran.txt").read_text().split() == [last["id"]]
        assert client("DELETE", f"/api/jobs/{last['id']}").status == 204
        assert client("GET", f"/api/jobs/{last['id']}").status == 404
        assert (tmp_path / f"outputs/sample/{last['id']}/00000-0.png").is_file()


def test_the_queue_goes_on_after_a_job_that_could_not_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = Nursery.child
    with serving(tmp_path) as client:

        def exhausted(*args: Any) -> Child:
            if args[1] is not queue.perform:
                return started(*args)
            monkeypatch.setattr(Nursery, "child", started)
            raise OSError(errno.EMFILE, "Too many open files", "/dev/null")

        monkeypatch.setattr(Nursery, "child", exhausted)
        first, second = (client.wait(client.job("sample", label=name)) for name in ("1", "2"))
        assert first["error"] == {"code": 1, "message": "the job could not be started", "hint": "try it again"}
        assert second["state"] == "done"


def test_jobs_that_end_on_a_full_disk_are_known_and_saved_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path) as client:
        job = client.job("sample", label=gate(tmp_path))
        client.wait(job, runs)
        with monkeypatch.context() as disk:

            def full(*_: object) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            disk.setattr(Records, "save", full)
            open_gate(tmp_path, "gate")
            assert client.wait(job)["state"] == "done"
        client.wait(client.job("sample", label="2"))
    saved = Records(tmp_path / "outputs/.studio/jobs").load(job["id"])
    assert saved is not None and saved.state == DONE


def test_a_job_is_cancelled_whose_forkserver_was_killed(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        job = client.job("sample", label=gate(tmp_path))
        client.wait(job, runs)
        os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)
        assert client("DELETE", f"/api/jobs/{job['id']}").status == 204
        assert client.wait(job)["state"] == "cancelled"
        assert client.wait(client.job("sample", label="2"))["state"] == "done"
        assert (tmp_path / "ran.txt").read_text().count("\n") == 1


def test_a_job_is_run_again(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        first = client.wait(client.job("sample", label="1"))
        again = client("POST", f"/api/jobs/{first['id']}/rerun")
        assert again.status == 202 and again.json["rerun"] == {"of": first["id"], "identical": None}
        done = client.wait(again.json)
        assert done["rerun"] == {"of": first["id"], "identical": True} and done["settings"] == first["settings"]
        assert done["command"] == f"difftool rerun -- outputs/sample/{first['id']}/00000-0.png"
        several = client.wait(client.job("sample", label="1", count=2))
        assert [output["name"] for output in several["outputs"]] == ["00000-0.png", "grid.png"]
        assert several["outputs"][1]["seed"] is None
        again = client("POST", f"/api/jobs/{several['id']}/rerun").json
        assert again["command"].endswith("/grid.png")
        failed = client.wait(client.job("sample", label="fail"))
        assert client("POST", f"/api/jobs/{failed['id']}/rerun").status == 409


def test_jobs_go_on_in_the_next_server(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        jobs = [client.job("sample", label=label) for label in (gate(tmp_path), "1", "2")]
        client.wait(jobs[0], runs)
    assert not (tmp_path / "ran.txt").exists()
    (tmp_path / "gate").unlink()
    (tmp_path / "gate").write_bytes(b"")
    with serving(tmp_path) as client:
        assert [client.wait(job)["state"] for job in jobs] == ["done"] * 3
        argv = json.loads(client("GET", f"/api/jobs/{jobs[0]['id']}/files/00000-0.png").body)
    assert "--overwrite" in argv
    assert json.loads((tmp_path / f"outputs/.studio/jobs/{jobs[0]['id']}.json").read_text())["tries"] == 2
    assert (tmp_path / "ran.txt").read_text().split() == [job["id"] for job in jobs]


def test_a_queue_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "MOST_WAITING", 1)
    with serving(tmp_path) as client:
        first = client.job("sample", label=gate(tmp_path))
        more = client("POST", "/api/jobs", {"kind": "sample", "settings": {"label": "1"}})
        assert more.status == 429 and more.json["error"]["code"] == 75
        client.wait(first, runs)
        open_gate(tmp_path, "gate")
        client.wait(first)


def recorded(records: Records, **changes: object) -> Job:
    job = Job(records.new_id(), "sample", {}, Line(("sample",)), "2026-01-01T00:00:00+00:00")
    for name, value in changes.items():
        setattr(job, name, value)
    records.save(job)
    return job


def test_what_a_killed_server_left(tmp_path: Path) -> None:
    records = Records(tmp_path)
    ended = recorded(records, state=RUNNING, tries=1)
    write_json(
        records.outcome(ended.id), {"code": 0, "result": {"data": {"outputs": []}, "warnings": [], "error": None}}
    )
    cut = recorded(records, state=RUNNING, tries=1)
    damaged = recorded(records, state=RUNNING, tries=1)
    records.outcome(damaged.id).write_text("")
    waiting = recorded(records)
    deadly = recorded(records, state=RUNNING, tries=MOST_TRIES)
    recorded(records, state=DONE)
    (tmp_path / "20260101T000000Z-000000.json").write_text("{broken")
    records = Records(tmp_path)
    assert [(job.id, job.state) for job in records.unfinished()] == [
        (job.id, QUEUED) for job in (cut, damaged, waiting)
    ]
    states = [loaded.state for job in (ended, deadly) if (loaded := records.load(job.id))]
    assert states == [DONE, FAILED]
    assert not records.outcome(ended.id).exists()


def test_a_state_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "outputs/.studio").mkdir(parents=True)
    (tmp_path / "outputs/.studio/jobs").touch()
    line = CommandLine(pretended, check, machine, PRELOAD)
    studio = Studio(tmp_path, line, access("127.0.0.1", None, is_tls=False))
    with pytest.raises(DifftoolError, match="cannot start"):
        serve(studio, listening("127.0.0.1", 0))


def test_ids_rise_also_when_the_clock_is_set_back(tmp_path: Path) -> None:
    (tmp_path / "29991231T235959Z-f423f0.json").write_text("{}")
    records = Records(tmp_path)
    ids = [records.new_id() for _ in range(50)]
    assert ids == sorted(set(ids)) and ids[0] > "29991231T235959Z-f423f0"
    (tmp_path / "99999999T999999Z-000000.json").write_text("{}")
    records = Records(tmp_path)
    assert records.new_id() < records.new_id()


@pytest.mark.parametrize("name", ["../jobs", "x", "20260101T000000Z-00000g", "20260101T000000Z-000000/.."])
def test_only_ids_are_looked_up(tmp_path: Path, name: str) -> None:
    assert Records(tmp_path).load(name) is None
