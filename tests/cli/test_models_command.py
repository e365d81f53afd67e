"""`difftool models` against a hub on this machine that breaks off, starts anew, redirects, refuses and lies."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from difftool import download, store
from difftool.errors import DifftoolError
from difftool.files import lock
from difftool.presets import needs, typed
from difftool.presets.rows import StoreRow

FILES = store.entry("tortoise").files
AUTOREGRESSIVE = "Manmay/tortoise-tts/resolve/main/autoregressive.pth"


class Hub:
    """What the server holds, how it behaves, and what it was asked."""

    def __init__(self) -> None:
        self.bytes = {file: bytes([i + 65]) * (3_000_000 if i == 0 else 100 + i) for i, file in enumerate(FILES)}
        self.breaks: list[int] = []
        """After how many bytes the next answers break off."""
        self.fails: list[int] = []
        """Codes that the next requests for bytes are answered with."""
        self.refuses = 0
        self.ranges, self.redirects, self.git = True, True, False
        self.size: int | str | None = None
        self.digest: str | None = None
        self.silent = False
        """Whether it announces nothing."""
        self.shift = 0
        """By how much the bytes it says it sends are not those that were asked for."""
        self.redirect: str | None = None
        """Where it sends everybody."""
        self.page: bytes | None = None
        """What somebody in between answers the next request for bytes with."""
        self.heads: list[int] = []
        """Codes that the next HEADs are answered with."""
        self.port = 0
        self.asked: list[tuple[str, str, str | None, str | None]] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        hub, name = self.hub, Path(self.path).name
        first = self.headers.get("Range")
        hub.asked.append((self.command, self.path, first, self.headers.get("Authorization")))
        if hub.refuses or name not in hub.bytes:
            return self.plain(hub.refuses or 404)
        if codes := hub.fails if body else hub.heads:
            return self.plain(codes.pop(0))
        if hub.redirect:
            return self.plain(302, {"Location": hub.redirect})
        data = hub.bytes[name]
        if body and hub.page is not None and self.path.startswith("/cdn"):
            data, hub.page, first = hub.page, None, None
        headers = {}
        if not hub.silent:
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            headers["X-Linked-Size"] = str(len(data) if hub.size is None else hub.size)
            headers["X-Linked-Etag"] = f'"{hub.digest or (blob if hub.git else hashlib.sha256(data).hexdigest())}"'
        if hub.redirects and not self.path.startswith("/cdn"):
            host, port = self.server.server_address[:2]
            elsewhere = "localhost" if host == "127.0.0.1" else host
            return self.plain(302, {**headers, "Location": f"http://{elsewhere}:{port}/cdn/{name}"})
        start = int(first.removeprefix("bytes=").removesuffix("-")) if first and hub.ranges else 0
        if start and start >= len(data):
            return self.plain(416)
        self.send_response(206 if start else 200)
        if start:
            headers["Content-Range"] = f"bytes {start + hub.shift}-{len(data) - 1}/{len(data)}"
        for key, value in {**headers, "Content-Length": str(len(data) - start)}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            until = start + hub.breaks.pop(0) if hub.breaks else len(data)
            self.wfile.write(data[start:until])
            if until < len(data):
                self.close_connection = True
        return None

    def plain(self, code: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for key, value in {"Content-Length": "0", **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()


class Server(ThreadingHTTPServer):
    def handle_error(self, *args: Any) -> None:
        """A client that goes in the middle is no error here; telling of it would disturb what is captured."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    hub = Hub()
    server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    hub.port = server.server_port
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIFFTOOL_MODELS_DIR", str(tmp_path / "models"))
    return tmp_path / "models" / "tortoise"


def test_pull_says_size_and_licence_and_keeps_the_hashes(difftool: Callable[..., Any], hub: Hub, models: Path) -> None:
    ended = difftool("models", "pull", "tortoise", "--json")
    assert ended.code == 0, ended
    assert "tortoise: 6 files, 3 MB, licence Apache-2.0" in ended.err
    assert [output["bytes"] for output in ended.json["data"]["outputs"]] == [len(data) for data in hub.bytes.values()]
    for file, data in hub.bytes.items():
        assert (models / file).read_bytes() == data
        assert (models / f"{file}.sha256").read_text() == f"{hashlib.sha256(data).hexdigest()}  {file}\n"
    assert not list(models.glob("*.part")) + list(models.glob(".*"))
    assert difftool("models", "verify", "-q").out == f"{models}\n"
    assert difftool("models", "ls", "-q").out == f"{models}\n"


def test_f5_says_its_licence_before_the_download(difftool: Callable[..., Any], hub: Hub, models: Path) -> None:
    hub.bytes |= {"model_1250000.safetensors": b"m" * 2_000_000, "vocab.txt": b" \na\n", "config.yaml": b"c"}
    hub.bytes |= {"pytorch_model.bin": b"v" * 999}
    licence = "f5: 2 files, 2 MB, licence CC-BY-NC-4.0, non-commercial use only, from "
    ended = difftool("models", "pull", "f5", "--dry-run")
    assert licence in ended.err
    assert not models.parent.exists()
    ended = difftool("models", "pull", "f5", "vocos")
    assert ended.code == 0, ended
    assert ended.err.index(licence) < ended.err.index("model_1250000.safetensors, MiB")
    asked = {path for command, path, *_ in hub.asked if command == "GET" and not path.startswith("/cdn")}
    assert "/SWivid/F5-TTS/resolve/main/F5TTS_v1_Base/model_1250000.safetensors" in asked
    assert "/charactr/vocos-mel-24khz/resolve/main/pytorch_model.bin" in asked
    for file in ("f5/F5TTS_v1_Base/model_1250000.safetensors", "f5/F5TTS_v1_Base/vocab.txt", "vocos/pytorch_model.bin"):
        assert (models.parent / file).read_bytes() == hub.bytes[Path(file).name]
    assert difftool("models", "verify", "f5", "vocos").code == 0
    assert difftool("models", "rm", "f5", "vocos").code == 0
    assert not [path for path in models.parent.rglob("*") if path.is_file() and path.name != ".lock"]


def test_f5_without_a_network(difftool: Callable[..., Any], refused: Callable[..., Any], tmp_path: Path) -> None:
    stick = tmp_path / "stick" / "F5TTS_v1_Base"
    stick.mkdir(parents=True)
    (stick / "vocab.txt").write_text(" \na\n")
    refused(
        4, "models", "pull", "f5", "--from", stick.parent, "--models-dir", "m", says="does not contain F5TTS_v1_Base/m"
    )
    (stick / "model_1250000.safetensors").write_bytes(b"m")
    ended = difftool("models", "pull", "f5", "--from", stick.parent, "--models-dir", "m")
    assert (ended.code, "licence CC-BY-NC-4.0" in ended.err) == (0, True)
    assert (tmp_path / "m" / "f5" / "F5TTS_v1_Base" / "vocab.txt").exists()


def test_pull_once_more_fetches_nothing(difftool: Callable[..., Any], hub: Hub, models: Path) -> None:
    difftool("models", "pull", "tortoise")
    hub.asked.clear()
    ended = difftool("models", "pull", "tortoise", "-q")
    assert (ended.code, ended.out, ended.err) == (0, f"{models}\n", "")
    assert hub.asked == []


@pytest.mark.parametrize("ranges", [True, False], ids=["goes on", "starts anew"])
def test_a_connection_that_breaks_off(difftool: Callable[..., Any], hub: Hub, models: Path, ranges: bool) -> None:
    hub.ranges, hub.breaks = ranges, [1_000_000, 1_500_000] if ranges else [1_000_000, 2_000_000, 1]
    assert difftool("models", "pull", "tortoise").code == 0
    assert (models / FILES[0]).read_bytes() == hub.bytes[FILES[0]]
    got = [first for command, path, first, _ in hub.asked if command == "GET" and path == f"/cdn/{FILES[0]}"]
    assert got == [None, "bytes=1000000-", "bytes=2500000-"] if ranges else len(got) == 4


def test_what_came_is_kept_for_the_next_run(difftool: Callable[..., Any], hub: Hub, models: Path) -> None:
    hub.breaks = [1_000_000] + [0] * download.PATIENCE
    ended = difftool("models", "pull", "tortoise")
    assert ended.code == 4
    assert "connection failed repeatedly" in ended.err
    assert "hint: run the same command again" in ended.err
    assert (models / f"{FILES[0]}.part").stat().st_size == 1_000_000
    row = difftool("models", "ls", "--json").json["data"]["models"][0]
    assert (row["name"], row["state"], row["bytes"]) == ("tortoise", "partial", 1_000_000)
    hub.asked.clear()
    assert difftool("models", "pull", "tortoise").code == 0
    assert ("GET", f"/cdn/{FILES[0]}", "bytes=1000000-", None) in hub.asked
    assert (models / FILES[0]).read_bytes() == hub.bytes[FILES[0]]


def test_a_server_that_starts_anew_and_never_gets_further_is_given_up(
    difftool: Callable[..., Any], hub: Hub, models: Path
) -> None:
    hub.ranges, hub.breaks = False, [1_000_000] * 50
    assert difftool("models", "pull", "tortoise").code == 4
    assert len(hub.breaks) > 40


def test_errors_that_pass_are_waited_for(difftool: Callable[..., Any], hub: Hub, models: Path) -> None:
    hub.fails, hub.heads = [503, 429, 500], [503, 429]
    assert difftool("models", "pull", "tortoise").code == 0


@pytest.mark.parametrize("size", [2_999_999, 3_000_001], ids=["smaller", "larger"])
def test_a_size_that_is_not_so(difftool: Callable[..., Any], hub: Hub, models: Path, size: int) -> None:
    hub.size = size
    ended = difftool("models", "pull", "tortoise")
    assert ended.code == 4
    assert f"sent 3,000,000 bytes instead of {size:,}" in ended.err
    assert not list(models.rglob("*"))


@pytest.mark.parametrize("git", [True, False], ids=["sha1 of a blob", "sha256"])
def test_a_hash_that_is_not_so(difftool: Callable[..., Any], hub: Hub, models: Path, git: bool) -> None:
    hub.digest = "0" * (40 if git else 64)
    ended = difftool("models", "pull", "tortoise")
    assert ended.code == 4
    assert "hash mismatch: expected 0000" in ended.err
    assert not models.exists()


def test_small_files_have_the_hash_of_git(difftool: Callable[..., Any], hub: Hub, models: Path) -> None:
    hub.git = True
    assert difftool("models", "pull", "tortoise").code == 0


def test_a_server_that_announces_nothing(difftool: Callable[..., Any], hub: Hub, models: Path) -> None:
    hub.silent, hub.redirects, hub.breaks = True, False, [10]
    assert difftool("models", "pull", "tortoise").code == 0
    assert (models / FILES[0]).read_bytes() == hub.bytes[FILES[0]]


def test_a_token_goes_to_the_hub_and_nowhere_else(
    difftool: Callable[..., Any], hub: Hub, models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret\n")
    difftool("models", "pull", "tortoise")
    told = {(path.startswith("/cdn"), secret) for _, path, _, secret in hub.asked}
    assert told == {(True, None), (False, "Bearer hf_secret")}
    hub.asked.clear()
    elsewhere = StoreRow("a", "b", f"http://localhost:{hub.port}/x", ("vocoder.pth",))
    monkeypatch.setattr(store, "typed", lambda cls: {"other": elsewhere})
    assert difftool("models", "pull", "other").code == 0
    assert {secret for *_, secret in hub.asked} == {None}


def test_a_token_is_also_found_where_the_hubs_own_tool_keeps_it(
    difftool: Callable[..., Any], hub: Hub, models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "token").write_text("hf_kept\n")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    difftool("models", "pull", "tortoise", "--dry-run")
    assert {secret for *_, secret in hub.asked} == {"Bearer hf_kept"}


def test_what_is_no_token_is_not_printed(
    refused: Callable[..., Any], hub: Hub, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_a\nhf_b")
    ended = refused(2, "models", "pull", "tortoise", "--json", says="HF_TOKEN is not a valid token")
    assert "hf_a" not in ended.out + ended.err


@pytest.mark.parametrize("place", ["file:///etc/hostname", "ftp://127.0.0.1/x", "http://[", "http:///"])
def test_a_redirection_to_somewhere_else_is_not_followed(
    refused: Callable[..., Any], hub: Hub, models: Path, place: str
) -> None:
    hub.redirect = place
    refused(4, "models", "pull", "tortoise")


def test_a_redirection_without_end(refused: Callable[..., Any], hub: Hub, models: Path) -> None:
    hub.redirect = f"http://127.0.0.1:{hub.port}/{FILES[0]}"
    refused(4, "models", "pull", "tortoise", says="redirects too often")


@pytest.mark.parametrize(
    "endpoint", ["hub.example", "ftp://hub.example", "https://", "http://[::1", "http://a:secret@b"]
)
def test_a_hub_that_is_no_address(
    refused: Callable[..., Any], models: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    ended = refused(2, "models", "pull", "tortoise", says="HF_ENDPOINT")
    assert "secret" not in ended.err


def test_a_page_that_somebody_puts_in_between_destroys_nothing(
    difftool: Callable[..., Any], hub: Hub, models: Path
) -> None:
    models.mkdir(parents=True)
    (models / f"{FILES[0]}.part").write_bytes(hub.bytes[FILES[0]][:2_000_000])
    hub.page = b"<html>please log in</html>"
    assert difftool("models", "pull", "tortoise").code == 0
    got = [first for command, path, first, _ in hub.asked if command == "GET" and path == f"/cdn/{FILES[0]}"]
    assert got == ["bytes=2000000-"] * 2


def test_other_bytes_than_were_asked_for_are_refused(difftool: Callable[..., Any], hub: Hub, models: Path) -> None:
    models.mkdir(parents=True)
    (models / f"{FILES[0]}.part").write_bytes(hub.bytes[FILES[0]][:2_000_000])
    hub.shift = 5
    ended = difftool("models", "pull", "tortoise")
    assert ended.code == 4
    assert "a different range" in ended.err
    assert (models / f"{FILES[0]}.part").stat().st_size == 2_000_000


def test_what_is_wrong_on_this_machine_is_told_at_once(difftool: Callable[..., Any], hub: Hub, models: Path) -> None:
    (models / f"{FILES[0]}.part").mkdir(parents=True)
    ended = difftool("models", "pull", "tortoise")
    assert ended.code == 4
    assert "Is a directory" in ended.err
    assert sum(command == "GET" and path.startswith("/cdn") for command, path, *_ in hub.asked) == 1


@pytest.mark.parametrize(("code", "says"), [(401, "HF_TOKEN"), (403, "accept its licence"), (404, "refused")])
def test_a_refusal_says_what_to_do(refused: Callable[..., Any], hub: Hub, models: Path, code: int, says: str) -> None:
    hub.refuses = code
    refused(4, "models", "pull", "tortoise", "--json", says=says)


def test_without_a_network(refused: Callable[..., Any], models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    refused(4, "models", "pull", "tortoise", says="--from DIR")


def test_a_dry_run_asks_and_writes_nothing(difftool: Callable[..., Any], hub: Hub, models: Path) -> None:
    ended = difftool("models", "pull", "tortoise", "--dry-run")
    assert ended.code == 0
    assert ended.out.count("would download") == len(FILES)
    assert not models.parent.exists()


def test_a_disk_that_is_too_small_is_seen_before(
    difftool: Callable[..., Any], hub: Hub, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    ended = difftool("models", "pull", "tortoise")
    assert ended.code == 4
    assert "has 1,000 bytes free" in ended.err
    assert not models.exists()
    assert {command for command, *_ in hub.asked} == {"HEAD"}


def test_a_model_that_another_run_fetches_is_left_to_it(refused: Callable[..., Any], hub: Hub, models: Path) -> None:
    models.mkdir(parents=True)
    with lock(models):
        refused(75, "models", "pull", "tortoise", says="in use")


@pytest.mark.parametrize("flat", [True, False])
def test_a_folder_can_stand_in_for_the_network(
    difftool: Callable[..., Any], tmp_path: Path, models: Path, flat: bool
) -> None:
    stick = tmp_path / "stick"
    place = stick if flat else stick / "tortoise"
    place.mkdir(parents=True)
    for i, file in enumerate(FILES):
        (place / file).write_bytes(bytes(i + 1))
    ended = difftool("models", "pull", "tortoise", "--from", stick)
    assert ended.code == 0, ended
    assert [(models / file).read_bytes() for file in FILES] == [bytes(i + 1) for i in range(len(FILES))]
    assert ended.err.count("warning: no published hash") == len(FILES)
    assert difftool("models", "verify", "tortoise").code == 0


def test_a_folder_that_lacks_a_file_or_has_a_wrong_one(
    refused: Callable[..., Any], tmp_path: Path, models: Path
) -> None:
    stick = tmp_path / "stick"
    refused(4, "models", "pull", "tortoise", "--from", stick, says="is not a folder")
    stick.mkdir()
    refused(4, "models", "pull", "tortoise", "--from", stick, says="does not contain autoregressive.pth")
    for file in FILES:
        (stick / file).write_bytes(b"x")
    (stick / f"{FILES[0]}.sha256").write_text(f"SHA256 ({FILES[0]}) = {'0' * 63}A\n")
    refused(4, "models", "pull", "tortoise", "--from", stick, says="hash mismatch: expected 0000")
    (stick / "base.pt").write_bytes(b"x")  # whose hash is known beforehand
    refused(4, "models", "pull", "whisper-base", "--from", stick, says="hash mismatch: expected ed3a0b6b")


def test_files_put_there_by_hand_are_taken_if_they_are_the_right_ones(
    difftool: Callable[..., Any], hub: Hub, models: Path
) -> None:
    models.mkdir(parents=True)
    (models / FILES[0]).write_bytes(hub.bytes[FILES[0]])
    assert difftool("models", "verify", "tortoise").code == 4
    assert difftool("models", "pull", "tortoise").code == 0
    assert not any(command == "GET" and path.endswith(FILES[0]) for command, path, *_ in hub.asked)
    assert difftool("models", "verify", "tortoise").code == 0


def test_files_put_there_by_hand_are_not_overwritten(
    difftool: Callable[..., Any], refused: Callable[..., Any], hub: Hub, models: Path
) -> None:
    models.mkdir(parents=True)
    (models / FILES[0]).write_bytes(b"mine")
    refused(4, "models", "pull", "tortoise", says="does not match the published file")
    assert difftool("models", "pull", "tortoise", "--overwrite").code == 0
    assert (models / FILES[0]).read_bytes() == hub.bytes[FILES[0]]


def test_a_wrong_note_or_a_file_that_nobody_vouched_for_is_mended(
    difftool: Callable[..., Any], hub: Hub, models: Path
) -> None:
    difftool("models", "pull", "tortoise")
    (models / f"{FILES[0]}.sha256").write_text("0" * 64)
    assert difftool("models", "verify").code == 4
    assert difftool("models", "pull", "tortoise", "--overwrite").code == 0
    assert difftool("models", "verify").code == 0
    hub.silent, hub.redirects = True, False
    (models / FILES[1]).write_bytes(b"x" * len(hub.bytes[FILES[1]]))
    assert difftool("models", "verify").code == 4
    assert difftool("models", "pull", "tortoise", "--overwrite").code == 0
    assert difftool("models", "verify").code == 0
    assert (models / FILES[1]).read_bytes() == hub.bytes[FILES[1]]


def test_a_hub_that_knows_no_head(difftool: Callable[..., Any], hub: Hub, models: Path) -> None:
    hub.heads = [405, 501] * 6
    assert difftool("models", "pull", "tortoise").code == 0
    assert difftool("models", "verify").code == 0


@pytest.mark.parametrize("size", ["9" * 5000, "9" * 400, "-1", "ten"])
def test_a_size_that_is_none(difftool: Callable[..., Any], hub: Hub, models: Path, size: str) -> None:
    hub.size = size
    assert difftool("models", "pull", "tortoise").code == 0


def test_a_page_instead_of_the_first_byte(difftool: Callable[..., Any], hub: Hub, models: Path) -> None:
    hub.page = b"<html>please log in</html>"
    ended = difftool("models", "pull", "tortoise")
    assert ended.code == 4
    assert "sent 26 bytes instead of 3,000,000" in ended.err
    assert not models.exists() or not list(models.iterdir())


def test_a_model_is_taken_once_however_it_is_spelled(difftool: Callable[..., Any], hub: Hub, models: Path) -> None:
    difftool("models", "pull", "tortoise", "TORTOISE")
    assert difftool("models", "verify", "-q", "Tortoise", "tortoise").out == f"{models}\n"
    assert difftool("models", "rm", "tortoise", "TORTOISE").code == 0


def test_verify_finds_a_flipped_bit(difftool: Callable[..., Any], hub: Hub, models: Path) -> None:
    difftool("models", "pull", "tortoise")
    data = bytearray((models / FILES[2]).read_bytes())
    data[7] ^= 1
    (models / FILES[2]).write_bytes(data)
    ended = difftool("models", "verify")
    assert ended.code == 4
    assert f"{FILES[2]} is damaged" in ended.err
    assert "pull tortoise --overwrite" in ended.err
    hub.asked.clear()
    assert difftool("models", "pull", "tortoise", "--overwrite").code == 0
    assert {path for command, path, *_ in hub.asked if path.startswith("/cdn")} == {f"/cdn/{FILES[2]}"}
    assert difftool("models", "verify").code == 0


def test_rm_removes_what_was_fetched_and_made_of_it_and_nothing_else(
    difftool: Callable[..., Any], refused: Callable[..., Any], hub: Hub, models: Path
) -> None:
    difftool("models", "pull", "tortoise")
    (models / "autoregressive.pth.difftool.safetensors").write_bytes(b"made of it")
    (models / ".clvp2.pth.difftool.safetensors.tmp-0123abcd").write_bytes(b"nearly made of it")
    (models / "mine.pth").write_bytes(b"mine")
    before = sorted(models.iterdir())
    assert difftool("models", "rm", "tortoise", "--dry-run").code == 0
    assert sorted(models.iterdir()) == before
    assert difftool("models", "rm", "tortoise").code == 0
    assert [path.name for path in models.iterdir()] == ["mine.pth"]
    refused(4, "models", "rm", "tortoise", says="is not in")
    (models / "mine.pth").unlink()
    difftool("models", "pull", "Tortoise")
    difftool("models", "rm", "TORTOISE")
    assert not models.exists()


@pytest.mark.parametrize("command", ["pull", "rm", "verify"])
def test_an_unknown_name(refused: Callable[..., Any], command: str) -> None:
    refused(2, "models", command, "whisper-bse", says="did you mean 'whisper-base'?")


def test_the_list_tells_sizes_licences_and_addresses_without_a_network(
    difftool: Callable[..., Any], models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    lines = difftool("models", "ls").out.splitlines()
    assert len(lines) == len(store.entries()) + 2
    sd15 = next(line for line in lines if line.startswith("sd15 "))
    assert "missing" in sd15 and "~4,265 MB" in sd15 and "CreativeML Open RAIL-M" in sd15
    told = difftool("models", "ls", "SD15", "whisper_base", "sd15").out
    place = "http://127.0.0.1:9/stable-diffusion-v1-5/stable-diffusion-v1-5"
    for line in ("licence: CreativeML Open RAIL-M", f"source: {place}", "download: 12 files, ~4,265 MB"):
        assert told.count(line) == 1
    assert f"~3,438 MB  {place}/resolve/main/unet/diffusion_pytorch_model.safetensors" in told
    assert "download: 1 file, ~145 MB" in told and "/base.pt" in told
    assert "download: 2 files, size unknown until pull" in difftool("models", "ls", "clip-tokenizer").out
    rows = {row["name"]: row for row in difftool("models", "ls", "--json").json["data"]["models"]}
    assert [*rows] == [*store.entries()]
    row = rows["whisper-base"]
    assert (row["licence"], row["bytes"], row["download_bytes"]) == ("MIT", 0, 145_200_000)
    assert row["files"][0]["url"] == f"{row['source']}/base.pt" and row["sha256"] in row["source"]
    assert rows["sd15"]["files"][0]["download_bytes"] is None
    refusal = difftool("models", "ls", "whisper-bse")
    assert refusal.code == 2 and "did you mean 'whisper-base'?" in refusal.err


def test_an_address_that_is_none_does_not_stop_the_list(
    difftool: Callable[..., Any], models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "hub.example")
    told = difftool("models", "ls", "sd15", "whisper-tiny", "--json").json
    assert [row["files"][0]["url"] is None for row in told["data"]["models"]] == [True, False]
    assert told["warnings"] == ["HF_ENDPOINT is not a valid URL"]


def test_files_that_are_here_have_their_own_size(difftool: Callable[..., Any], models: Path) -> None:
    models.mkdir(parents=True)
    (models / FILES[0]).write_bytes(bytes(1234))
    told = difftool("models", "ls", "tortoise").out
    assert "1,234 bytes  http" in told and "~1,170 MB  http" in told


def test_sizes_of_the_store_are_those_of_the_counted_networks() -> None:
    """Parameters of the tables for `lab check`, as they are stored: Whisper in halves, Stable Diffusion in full."""
    for name, needed in needs("whisper").items():
        (size,) = store.entry(f"whisper-{name}").sizes
        assert size == pytest.approx(2 * needed.parameters, rel=0.02)
    for name, kind in {"sd15": "sd", "sdxl": "sdxl", "sdxl-turbo": "sdxl"}.items():
        parts = needs("txt2img")[kind].parameters
        size = sum(size or 0 for size in store.entry(name).sizes)
        assert size == pytest.approx(4 * (parts.text + parts.network + parts.vae), rel=0.001)
    for name, needed in (("f5", ("text", "time", "dit")), ("vocos", ("vocoder",))):
        size = sum(size or 0 for size in store.entry(name).sizes)
        assert size == pytest.approx(4 * sum(needs("f5")["f5"].parameters[part] for part in needed), rel=0.01)
    for row in typed(StoreRow).values():
        assert {*row.sizes} <= {*row.files}


def test_every_row_of_the_store_says_where_it_comes_from() -> None:
    for name, model in store.entries().items():
        assert name == name.lower().replace("_", "-")
        assert model.about
        assert model.licence
        assert len(model.files) == len(model.urls) == len(set(model.files))
        assert all(url.startswith("https://") and " " not in url for url in model.urls)
        assert model.sha256 is None or (len(model.sha256) == 64 and len(model.files) == 1)
    assert {"tortoise", "whisper-base", "whisper-large-v3", "sd15", "sdxl"} <= set(store.entries())


def test_what_the_commands_do_functions_do(hub: Hub, tmp_path: Path) -> None:
    """`difftool.pull`, `store.verify` and `store.remove`: typed results, progress by the caller's own, errors."""
    import difftool

    labels = []

    def track(items: Any, total: int, label: str = "") -> Any:
        labels.append(label)
        return items

    would = difftool.pull("tortoise", models_dir=tmp_path, dry_run=True)
    assert [file.path.name for file in would.fetched] == [*FILES] and not [*tmp_path.iterdir()]
    pulled = difftool.pull("Tortoise", "tortoise", models_dir=str(tmp_path), track=track)
    assert [(model.entry.name, model.state) for model in pulled.models] == [("tortoise", "whole")]
    assert labels == [f"{name}, MiB" for name in FILES]
    assert pulled.models[0].path == tmp_path / "tortoise"
    assert not difftool.pull("tortoise", models_dir=tmp_path).fetched
    assert [file.state for file in store.verify(models_dir=tmp_path)[0].files] == ["whole"] * len(FILES)
    (tmp_path / "tortoise" / FILES[0]).write_bytes(b"other")
    with pytest.raises(DifftoolError, match="is damaged") as wrong:
        store.verify("tortoise", models_dir=tmp_path)
    assert wrong.value.code == 4
    gone = store.remove("tortoise", models_dir=tmp_path, dry_run=True)
    assert gone and all(path.exists() for path in gone)
    assert store.remove("tortoise", models_dir=tmp_path) == gone
    assert not [*tmp_path.iterdir()]
    for call, name, code in ((store.remove, "tortoise", 4), (difftool.pull, "tortoies", 2)):
        with pytest.raises(DifftoolError) as wrong:
            call(name, models_dir=tmp_path)
        assert wrong.value.code == code
