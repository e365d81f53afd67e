"""Server-sent events."""

from __future__ import annotations

import asyncio
import http.client
import json
from pathlib import Path

from studios import serving

from difftool.web.events import Events


def test_a_listener_hears_of_a_job_until_it_is_done(tmp_path: Path) -> None:
    with serving(tmp_path) as client:
        connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=60)
        connection.request("GET", "/api/events")
        answer = connection.getresponse()
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        job = client.job("sample", label="1")
        states = []
        while "done" not in states:
            line = answer.readline().decode()
            if line.startswith("data: ") and (shown := json.loads(line[6:]))["id"] == job["id"]:
                states.append(shown["state"])
        connection.close()
    assert list(dict.fromkeys(states))[-2:] == ["running", "done"]


def test_a_slow_listener_gets_the_newest_of_each_job() -> None:
    async def listen() -> list[str]:
        events = Events()
        stream = events.stream([{"id": "1", "done": 0}])
        heard = [await anext(stream)]
        for k in range(1000):
            events.publish({"id": "2", "done": k})
        heard += [await anext(stream), await anext(stream)]
        events.close()
        return heard + [each async for each in stream]

    retry, *jobs = asyncio.run(listen())
    assert retry.startswith("retry:")
    assert [json.loads(job.split("data: ")[1]) for job in jobs if "data" in job] == [
        {"id": "1", "done": 0},
        {"id": "2", "done": 999},
    ]
