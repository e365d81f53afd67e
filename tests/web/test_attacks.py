"""Attacks that a studio must refuse: each is one request, and nothing may come of it."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from studios import Client, serving

from difftool.web.server import MOST_OF_ONE

TOKEN = "correct-horse-battery-staple"
GOOD = {"kind": "sample", "settings": {"label": "1"}}
NO_JOB = "20260101T000000Z-000000"
PLAYLIST = b"#EXTM3U\n#EXTINF:1\nfile:///etc/passwd\n"


class Attack(NamedTuple):
    """A request, and the statuses that refuse it."""

    name: str
    status: int | tuple[int, ...]
    method: str = "POST"
    path: str = "/api/jobs"
    body: Any = GOOD
    headers: dict[str, str] = {}  # noqa: RUF012
    host: str | None = None


def get(name: str, status: int | tuple[int, ...], path: str, host: str | None = None, **headers: str) -> Attack:
    spelled = {key.replace("_", "-"): value for key, value in headers.items()}
    return Attack(name, status, "GET", path, None, spelled, host)


def post(name: str, status: int | tuple[int, ...], path: str = "/api/jobs", body: Any = GOOD, **headers: str) -> Attack:
    return Attack(name, status, "POST", path, body, {key.replace("_", "-"): value for key, value in headers.items()})


def job(name: str, kind: str = "pictures", status: int | tuple[int, ...] = 400, /, **settings: Any) -> Attack:
    first = {"pictures": {"prompt": "x"}, "speech": {"text": "x"}}.get(kind, {})
    return Attack(name, status, body={"kind": kind, "settings": first | settings})


def raw_json(name: str, body: bytes, status: int = 400) -> Attack:
    return Attack(name, status, body=body, headers={"Content-Type": "application/json"})


REBINDING = [
    get(f"host {host!r}", 421, "/api/state", host)
    for host in (
        *("evil.example", "evil.example:7860", "localhost.evil.example", "127.0.0.1.evil.example", "localhost@evil"),
        *("localhost:999999", "[::1", "192.168.1.5", "localhost, evil.example", "localhost.", "0.0.0.0", "2130706433"),
    )
]
ORIGINS = [
    post(f"origin {origin!r}", 403, Origin=origin)
    for origin in (
        *("https://evil.example", "null", "http://localhost:1", "http://127.0.0.1", "http://evil.example:PORT"),
        *("file://", "chrome-extension://abcdef", "http://127.0.0.1:PORT.evil.example", "http://[bad", ""),
        "http://evil@127.0.0.1:PORT",
    )
]
FORGERY = [
    post("referer of another page", 403, Referer="https://evil.example/127.0.0.1"),
    post("cross-site post", 403, Sec_Fetch_Site="cross-site"),
    post("post of another port", 403, Sec_Fetch_Site="same-site"),
    get("cross-site picture", 403, f"/api/jobs/{NO_JOB}/files/00000-0.png", Sec_Fetch_Site="cross-site"),
    get("state for another port", 403, "/api/state", Sec_Fetch_Site="same-site"),
    get("events for another page", 403, "/api/events", Origin="https://evil.example"),
    get("script of another page", 403, "/static/app.js", Sec_Fetch_Site="cross-site"),
    get("page in a frame of fetch", 403, "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="cors"),
    Attack("cross-site delete", 403, "DELETE", f"/api/jobs/{NO_JOB}", None, {"Origin": "https://evil.example"}),
    *(
        post(f"body of type {kind}", 415, body=json.dumps(GOOD).encode(), Content_Type=kind)
        for kind in ("text/plain", "text/plain; charset=utf-8", "application/x-www-form-urlencoded")
    ),
    post("form as a job", 415, body=b"--x\r\n\r\n--x--", Content_Type="multipart/form-data; boundary=x"),
    post("no type", 415, body=json.dumps(GOOD).encode()),
    post("another JSON", 415, body=json.dumps(GOOD).encode(), Content_Type="application/json-seq"),
    post("take as text", 415, "/api/takes?sentence=1", b"RIFF", Content_Type="text/plain"),
    post("speech as text", 415, "/v1/audio/speech", b"{}", Content_Type="text/plain"),
]
METHODS = [
    *(Attack(f"method {method}", 405, method) for method in ("PUT", "PATCH", "OPTIONS", "TRACE", "PROPFIND")),
    post("method in a header", 405, f"/api/jobs/{NO_JOB}", X_HTTP_Method_Override="DELETE"),
    get("job by GET", (404, 405), f"/api/jobs/{NO_JOB}/rerun"),
    Attack("login by GET", 405, "GET", "/api/login", None),
]
PATHS = [
    get("address of another site", 421, "http://evil.example/"),
    *(
        get(f"path {path}", 404, path)
        for path in (
            *(
                "/static/../../../../pyproject.toml",
                "/static/%2e%2e/app.py",
                "/static/..%2fapp.py",
                "/static//etc/passwd",
            ),
            *("//etc/passwd", "/etc/passwd", "/api/jobs/../../etc/passwd", "/api/jobs/..%2f..%2fjobs", "/static/%00"),
            *(f"/api/jobs/{NO_JOB}/files/%2Fetc%2Fpasswd", f"/api/jobs/{NO_JOB}/files/..", "/api/takes/..%2F..%2Fx"),
            *("/api/takes/20260101T000000Z-000000", "/api/uploads/.%2e", "/v1/models/..%2f.."),
            *(
                "/outputs/",
                "/.studio/jobs",
                "/api/jobs/JOB/files/..%2f..%2f..%2fsecret.png",
                "/api/jobs/JOB/files/JOB.json",
            ),
            *("/api/jobs/JOB/files/%00", "/api/jobs/JOB/files/00000-0.png/..", "/api/jobs/JOB/files/link.png"),
        )
    ),
]
FILES = [
    *(job(f"setting {name}", **{name: "/etc/passwd"}) for name in ("init", "mask", "loras", "lora", "models_dir")),
    *(job(f"option {name}", **{name: "x"}) for name in ("output", "output_dir", "config", "json", "prompts", "-o")),
    *(job(f"model {name}", model=name) for name in ("/etc", "../outputs", "shapes/../../x", "~", "--help")),
    *(
        job(f"speech from {name}", "speech", **{name: "/etc/passwd"})
        for name in ("textfile", "voices_dir", "ar_checkpoint", "checkpoint", "vocabulary", "recording", "save_stages")
    ),
    job("voice as a path", "speech", voice="../../etc"),
    job("voice that is absolute", "speech", voice="/etc"),
    job("voice of a hidden folder", "speech", voice=".prep"),
    job("mix with a path", "speech", voice="alma&../x"),
    job("sample from a path", "sample", model="/etc/passwd"),
    job("command as a kind", "train"),
    job("command of the system", "sample; touch owned"),
    job("name of a voice as a path", "voice", (400, 404), name="../../x", consent="self", takes=["1"]),
    job("consent with a path", "voice", 404, name="x", consent="written:/etc/passwd", uploads=["x"]),
    job("voice without consent", "voice", (400, 404), name="x", takes=["x"]),
    job("take as a path", "voice", 404, name="x", consent="self", takes=["../../../etc/passwd"]),
]
VALUES = [
    job("list as a value", prompt=["x", "--output=/tmp/x"]),
    job("object as a value", negative={"a": 1}),
    job("control characters", prompt="x\x1b[2J"),
    job("flag that takes the end of options", negative=True, prompt="--prompts=/etc/passwd"),
    job("flag in the place of a number", "speech", seed=True, text="--textfile=/etc/passwd"),
    job("number in the place of a flag", low_vram=1),
    job("number beyond any float", count=10**400),
    job("null byte", "speech", text="x\0y"),
    job("empty text", "speech", text="  "),
    job("text of megabytes", "speech", (400, 413), text="x" * 900_000),
    job("infinite number of pictures", count=10**30),
    job("negative steps", steps=-1),
    job("option in a value", sampler="ddim --output=x"),
    raw_json("not a number", b'{"kind": "pictures", "settings": {"prompt": "x", "guidance": NaN}}'),
    raw_json("lone surrogate", b'{"kind": "pictures", "settings": {"prompt": "\\ud800"}}'),
    raw_json("endless number", b'{"kind": "pictures", "settings": {"prompt": "x", "seed": ' + b"9" * 5000 + b"}}"),
    raw_json("deep nesting", b"[" * 200_000),
    raw_json("array", b"[]"),
    raw_json("broken JSON", b'{"kind": '),
    raw_json("not UTF-8", b'{"kind": "\xff"}'),
    raw_json("more keys", b'{"kind": "sample", "settings": {}, "argv": ["rm"]}'),
    raw_json("too large", b" " * (2**20 + 1), 413),
    get("negative limit", 400, "/api/jobs?limit=-1"),
    get("large limit", 400, "/api/jobs?limit=99999999999999999999"),
    get("limit in other digits", 400, "/api/jobs?limit=%D9%A3"),
    *(post(f"sentence {k}", 400, f"/api/takes?sentence={k}", b"RIFF") for k in ("-1", "99", "1e9", "../x", "")),
    *(
        post(f"{name} as a take", 415, "/api/takes?sentence=1", data, Content_Type="audio/wav")
        for name, data in {
            "playlist": PLAYLIST,
            "list of files": b"ffconcat version 1.0\nfile /etc/passwd\n",
            "playlist behind a tag": b"ID3\x04\0\0\0\0\0\x04abcd" + PLAYLIST,
            "playlist behind a long tag": b"ID3\x04\0\0\0\0\x28\0" + bytes(5120) + PLAYLIST,
            "page": b"<script>alert(1)</script>",
            "drawing": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
            "nothing": b"",
        }.items()
    ),
    post("half a sound", 422, "/api/takes?sentence=1", b"RIFF\0\0\0\0WAVEfmt ", Content_Type="audio/wav"),
    post("text as settings", 415, "/api/settings", b"{}", Content_Type="image/png"),
    post("half a picture", (400, 422), "/api/settings", b"\x89PNG\r\n\x1a\nxx", Content_Type="image/png"),
    post("form without a file", 400, "/api/uploads", b"--x--\r\n", Content_Type="multipart/form-data; boundary=x"),
    post("form without an end", 400, "/api/uploads", b"x", Content_Type="multipart/form-data"),
    post("another voice", 400, "/v1/audio/speech", {"model": "tts-1", "voice": "../x", "input": "a"}),
    post("pictures without end", 400, "/v1/images/generations", {"prompt": "x", "n": 10**9}),
    post("picture from a file", 404, "/v1/images/generations", {"prompt": "x", "model": "/etc/passwd"}),
]
TOKENS = [
    *(get(f"without a token: {path}", 401, path) for path in ("/api/state", "/api/jobs", "/api/events", "/v1/models")),
    get("a file without a token", 401, f"/api/jobs/{NO_JOB}/files/00000-0.png"),
    get("a token in the query", 401, f"/api/state?token={TOKEN}"),
    *(
        get(f"authorization {given!r}", 401, "/api/state", Authorization=given)
        for given in (
            *("Bearer", "Bearer ", "Bearer wrong", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN),
            *(f"Bearer {TOKEN.upper()}", "Bearer \xe9"),
        )
    ),
    get("another cookie", 401, "/api/state", Cookie=f"token={TOKEN}"),
    get("a wrong cookie", 401, "/api/state", Cookie="difftool-studio=wrong"),
    get("a broken cookie", 401, "/api/state", Cookie='difftool-studio="\x01'),
    post("login with a wrong token", 401, "/api/login", {"token": "wrong"}),
    post("login without a token", 401, "/api/login", {}),
    post("login with a list", 401, "/api/login", {"token": [TOKEN]}),
    post("login with a lone surrogate", 401, "/api/login", {"token": "\ud800"}),
    post("login as a form", 415, "/api/login", b"token=x", Content_Type="application/x-www-form-urlencoded"),
    Attack("job without a token", 401),
]
ATTACKS = [*REBINDING, *ORIGINS, *FORGERY, *METHODS, *PATHS, *FILES, *VALUES]


class Target(NamedTuple):
    root: Path
    client: Client
    job: str


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A studio without a token, with one job that is done."""
    root = tmp_path_factory.mktemp("studio")
    with serving(root) as client:
        done = client.wait(client.job("sample", label="1"))
        (root / "secret.png").write_bytes(b"secret")
        (root / "outputs/sample" / done["id"] / "link.png").symlink_to(root / "secret.png")
        yield Target(root, client, done["id"])


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A studio with a token, and a client that has none."""
    with serving(tmp_path_factory.mktemp("locked"), TOKEN) as client:
        client.token = None
        yield client


def refused(client: Client, attack: Attack, job: str = NO_JOB) -> None:
    headers = {name: value.replace("PORT", str(client.port)) for name, value in attack.headers.items()}
    answer = client(attack.method, attack.path.replace("JOB", job), attack.body, headers, attack.host)
    statuses = (attack.status,) if isinstance(attack.status, int) else attack.status
    assert answer.status in statuses, answer
    assert answer.headers["x-content-type-options"] == "nosniff" and "access-control-allow-origin" not in answer.headers
    for leak in (b"Traceback", b"root:", b"secret", b"/tmp/", b"/home/", b"site-packages", TOKEN.encode()):
        assert leak not in answer.body
    if answer.status != 404 or answer.body:
        assert answer.json["error"]["message"]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attacks_are_refused(target: Target, attack: Attack) -> None:
    refused(target.client, attack, target.job)
    assert (target.root / "ran.txt").read_text().split() == [target.job]
    assert len(target.client("GET", "/api/jobs").json) == 1
    assert not (target.root / "owned").exists()


@pytest.mark.parametrize("attack", TOKENS, ids=lambda attack: attack.name)
def test_nothing_is_open_without_the_token(locked: Client, attack: Attack) -> None:
    refused(locked, attack)


def test_the_right_token_opens_as_a_header_and_as_a_cookie(locked: Client) -> None:
    assert locked("GET", "/api/jobs", headers={"Authorization": f"Bearer {TOKEN}"}).status == 200
    answer = locked("POST", "/api/login", {"token": TOKEN})
    cookie = answer.headers["set-cookie"]
    assert answer.status == 204 and "HttpOnly" in cookie and "SameSite=strict" in cookie
    assert locked("GET", "/api/jobs", headers={"Cookie": cookie.partition(";")[0]}).status == 200


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_the_page_itself_may(target: Target, name: str) -> None:
    host = f"{name}:{target.client.port}"
    headers = {"Origin": f"http://{host.lower()}", "Sec-Fetch-Site": "same-origin"}
    assert target.client("GET", "/api/jobs", headers=headers, host=host).status == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert target.client("GET", "/", headers=link, host=host).status in (200, 404, 500)  # without the page's files


def test_the_policy_of_every_answer(target: Target) -> None:
    answer = target.client("GET", f"/api/jobs/{target.job}/files/00000-0.png?download=1")
    assert answer.headers["content-disposition"] == 'attachment; filename="00000-0.png"'
    assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer" and answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers
    part = target.client("GET", f"/api/jobs/{target.job}/files/00000-0.png", headers={"Range": "bytes=1-3"})
    assert (part.status, len(part.body)) == (206, 3)


HEADS = {
    "two hosts": b"GET /api/state HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "no host": b"GET /api/state HTTP/1.0\r\n\r\n",
    "large header": b"GET /api/state HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    "long line": b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "negative length": b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    "line in a header": b"GET /api/state HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "chunks without end": b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b"x" * 65536 + b"\r\n" + b"zz\r\n",
    "endless chunks": b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n" + (b"10000\r\n" + b" " * 65536 + b"\r\n") * 17,
}


@pytest.mark.parametrize("name", HEADS)
def test_malformed_requests_are_refused(target: Target, name: str) -> None:
    with socket.create_connection(("127.0.0.1", target.client.port), timeout=60) as connection:
        connection.sendall(HEADS[name])
        answer = connection.recv(65536)
    assert answer.split()[1][:1] == b"4" or not answer, answer
    assert target.client("GET", "/api/jobs").status == 200


def test_one_address_does_not_take_all_connections(target: Target) -> None:
    held = [socket.create_connection(("127.0.0.1", target.client.port)) for _ in range(MOST_OF_ONE + 5)]
    try:
        held[-1].settimeout(60)
        with suppress(ConnectionError):
            assert not held[-1].recv(1)
        held[0].sendall(b"GET /api/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert held[0].recv(65536).startswith(b"HTTP/1.1 200")
    finally:
        for connection in held:
            connection.close()


def test_folders_of_any_name_and_content_are_listed(target: Target) -> None:
    folder = target.root / "outputs/train"
    for name, classes in ((b"\xff", ["\ud800", 1]), (b"<img src=x>", 5), (b"--help", ["a"])):
        run = Path(os.fsdecode(os.fsencode(folder / "x").removesuffix(b"x") + name))
        run.mkdir(parents=True)
        (run / "model.safetensors").touch()
        (run / "config.json").write_text(json.dumps({"classes": classes}))
    offered = target.client("GET", "/api/state")
    assert offered.status == 200 and offered.headers["content-type"] == "application/json"
    labels = {row["name"]: row["labels"] for row in offered.json["models"]["sample"]}
    assert labels["\udcff"] == ["\ud800", "1"] and labels["<img src=x>"] == [] and labels["--help"] == ["a"]
    refused(target.client, job("model that is no Unicode", "sample", model="\udcff"))
    shutil.rmtree(folder)


def test_there_are_at_least_sixty() -> None:
    assert len(ATTACKS) + len(TOKENS) + len(HEADS) >= 60
