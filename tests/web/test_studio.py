"""`difftool studio` as a user has it: killed and started again, used by many at once, and as quick as `sample`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from pathlib import Path

import psutil
import pytest
from studios import Client, command

from difftool.runs import find

CHEAP = {"count": 1, "steps": 1, "threads": 1}


@pytest.mark.slow
def test_two_studios_do_not_share_a_folder(tmp_path: Path) -> None:
    with command(tmp_path):
        again = subprocess.run(
            [sys.executable, "-m", "difftool", "studio", "--port", "0"], cwd=tmp_path, capture_output=True, text=True
        )
    assert again.returncode == 75 and "is in use by another run" in again.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_ctrl_c_is_how_it_ends(tmp_path: Path, number: signal.Signals) -> None:
    with command(tmp_path) as (process, client):
        assert client("GET", "/api/jobs").json == []
        process.send_signal(number)
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("options", "code"),
    [(["--token", "short"], 2), (["--token", "x" * 20 + " "], 2), (["--host", "no.such.host.invalid"], 2)],
)
def test_wrong_options(tmp_path: Path, options: list[str], code: int) -> None:
    words = [sys.executable, "-m", "difftool", "studio", "--port", "0", *options]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == code and done.stderr.startswith("error: ") and not done.stdout


@pytest.mark.slow
def test_other_machines_need_the_token(tmp_path: Path) -> None:
    with command(tmp_path, "--host", "0.0.0.0") as (_, client):
        assert client.token and client("GET", "/api/jobs").status == 200
        client.token = None
        assert client("GET", "/api/jobs").status == 401


@pytest.mark.slow
def test_five_jobs_survive_sigkill_and_each_is_done_once(tmp_path: Path) -> None:
    kills = 0
    with command(tmp_path) as (process, client):
        jobs = [client.job("sample", **CHEAP, seed=k, label=str(k)) for k in range(5)]
        client.wait(jobs[0], lambda job: job["state"] != "queued")
        process.kill()
    while kills < 3:
        with command(tmp_path) as (process, client):
            client.wait(jobs[kills + 1], lambda job: job["state"] != "queued")
            time.sleep(0.3 * kills)  # at another moment of the job
            kills += 1
            process.kill()
    with command(tmp_path) as (_, client):
        done = [client.wait(job) for job in jobs]
        listed = client("GET", "/api/jobs").json
    assert [job["state"] for job in done] == ["done"] * 5
    assert [job["id"] for job in reversed(listed)] == [job["id"] for job in jobs]
    folders = sorted((tmp_path / "outputs" / "sample").iterdir())
    assert [folder.name for folder in folders] == [job["id"] for job in jobs]
    for k, folder in enumerate(folders):
        assert [path.name for path in folder.iterdir()] == [f"00000-{k}.png"]
    assert [run.state for run in find([tmp_path / "outputs"])] == ["finished"] * 5


@pytest.mark.slow
def test_a_hundred_jobs_of_eight_clients_come_in_order_and_memory_is_flat(tmp_path: Path) -> None:
    def send(client: Client, number: int) -> list[str]:
        return [client.job("sample", **CHEAP, seed=number)["id"] for _ in range(100 // 8 + (number < 4))]

    with command(tmp_path) as (process, client):
        client.wait(client.job("sample", **CHEAP))
        with ThreadPoolExecutor(8) as pool:
            ids = sorted(chain.from_iterable(pool.map(lambda k: send(client, k), range(8))))
        early = memory(process.pid)
        done = [client.wait({"id": name}) for name in ids]
        late = memory(process.pid)
    assert len(ids) == len(set(ids)) == 100
    assert [job["state"] for job in done] == ["done"] * 100
    assert [job["started"] for job in done] == sorted(job["started"] for job in done)
    assert all(a["ended"] <= b["started"] for a, b in pairwise(done))
    assert late < early + 20e6, (early, late)


def memory(process: int) -> float:
    """Bytes of the server, and of the process that it forks from."""
    whole = [psutil.Process(process), *psutil.Process(process).children()]
    return sum(each.memory_info().rss for each in whole)


@pytest.mark.slow
def test_it_is_ready_as_soon_as_sample(tmp_path: Path) -> None:
    def ready() -> float:
        began = time.monotonic()
        with command(tmp_path) as (_, client):
            assert client("GET", "/api/state").status == 200
            return time.monotonic() - began

    def sample() -> float:
        began = time.monotonic()
        words = [sys.executable, "-m", "difftool", "sample", "--count", "1", "-q", "-o", os.devnull + ".png"]
        words[-1] = str(tmp_path / f"{began}.png")
        subprocess.run(words, check=True, capture_output=True)
        return time.monotonic() - began

    times = [(ready(), sample()) for _ in range(3)]
    assert min(first for first, _ in times) <= 1.3 * min(second for _, second in times), times


@pytest.mark.slow
def test_speech_by_a_voice_of_takes(tmp_path: Path) -> None:
    """Three takes, which another voice reads here, become a voice that speaks; the speech is made again."""
    (tmp_path / "voices").mkdir()
    with command(tmp_path) as (_, client):
        sentences, takes = client("GET", "/api/state").json["sentences"], []
        for k in range(3):
            read = client.wait(client.job("speech", text=sentences[k], voice="clara", engine="mini"))
            sound = client("GET", read["outputs"][0]["url"]).body
            take = client("POST", f"/api/takes?sentence={k}", sound, {"Content-Type": "audio/wav"})
            assert take.status == 201 and take.json["grade"] == "A" and take.json["advice"] == []
            assert client("GET", take.json["url"]).body == sound
            takes.append(take.json["id"])
        found = client("POST", "/api/settings", sound, {"Content-Type": "audio/wav"}).json
        assert found["kind"] == "speech" and found["settings"]["text"] == sentences[2]
        made = client.wait(client.job("voice", name="me", consent="self", takes=takes))
        assert made["voice"]["name"] == "me" and made["voice"]["grade"] == "D"  # of ten seconds
        assert "me" in [voice["name"] for voice in client("GET", "/api/state").json["voices"]]
        note = json.loads((tmp_path / "voices/me/voice.json").read_text())
        assert note["consent"]["kind"] == "self"
        spoken = client.wait(client.job("speech", text="It works.", voice="me", engine="mini"))
        again = client.wait(client("POST", f"/api/jobs/{spoken['id']}/rerun").json)
        assert again["rerun"] == {"of": spoken["id"], "identical": True}
