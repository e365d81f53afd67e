"""A small driver of headless Chromium over the DevTools protocol, for tests of the page."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OFFLINE = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run")
KEYS = {" ": (" ", "Space", 32), "Enter": ("\r", "Enter", 13), "Escape": ("", "Escape", 27), "Tab": ("", "Tab", 9)}
LEFT = {"button": "left", "clickCount": 1}


def binary() -> str | None:
    """The path of a Chromium, if this machine has one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """Chromium with one page, as a context manager.

    Args:
        folder: for its profile and downloads
        microphone: a WAV that the page hears as its microphone, over and over
        flags: more flags of Chromium

    Attributes:
        errors: what the page wrote to the console as an error, and exceptions nobody caught
        addresses: of everything that the page asked for
    """

    def __init__(self, folder: Path, microphone: Path | None = None, flags: tuple[str, ...] = ()) -> None:
        program = binary()
        assert program, "no Chromium on this machine"
        self.downloads = folder / "downloads"
        self.errors: list[str] = []
        self.addresses: list[str] = []
        self._numbers = itertools.count(1)
        self._answers: dict[int, dict[str, Any]] = {}
        sound: list[str] = []
        if microphone is not None:
            sound = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
            sound += [f"--use-file-for-fake-audio-capture={microphone}"]
        profile = folder / "profile"
        command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        command += [f"--user-data-dir={profile}", "--mute-audio", *OFFLINE, *sound, *flags, "about:blank"]
        self._command, self._profile = command, profile
        self._session: str | None = None

    def __enter__(self) -> Browser:
        with ExitStack() as stack:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            self._process = stack.enter_context(subprocess.Popen(self._command, **quiet))
            stack.callback(self._process.terminate)
            address = self._address()
            self._socket = stack.enter_context(connect(address, max_size=None, ping_interval=None))
            self._open_page()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(AssertionError, ConnectionClosed):
            self._session = None
            self.send("Browser.close")
        self._stack.close()

    def _address(self) -> str:
        """Where the browser takes commands, which it writes into a file of its profile."""
        written = self._profile / "DevToolsActivePort"
        end = time.monotonic() + 60
        while time.monotonic() < end and self._process.poll() is None:
            lines = written.read_text().splitlines() if written.exists() else []
            if len(lines) == 2:
                port, path = lines
                return f"ws://127.0.0.1:{port}{path}"
            time.sleep(0.05)
        raise AssertionError("Chromium did not start")

    def _open_page(self) -> None:
        target = next(info for info in self.send("Target.getTargets")["targetInfos"] if info["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        folder = str(self.downloads)
        self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=folder, eventsEnabled=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Sends a command of the protocol and returns its result."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while number not in self._answers:
            self._take(self._socket.recv(60))
        answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def _take(self, text: str | bytes) -> None:
        message = json.loads(text)
        if "id" in message:
            self._answers[message["id"]] = message
            return
        params = message["params"]
        match message["method"]:
            case "Network.requestWillBeSent":
                self.addresses.append(params["request"]["url"])
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "assert"):
                self.errors.append(json.dumps(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def open(self, address: str) -> None:
        self.send("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def size(self, width: int, height: int = 900, dark: bool = False) -> None:
        """Sets the size of the window, and whether the reader prefers dark pages."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in JavaScript; a promise is awaited."""
        answer = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = 60) -> None:
        """Waits until an expression is true in JavaScript."""
        end = time.monotonic() + seconds
        while not self.evaluate(f"Boolean({expression})"):
            assert time.monotonic() < end, f"still not true: {expression}; errors: {self.errors}"
            time.sleep(0.05)

    def _middle(self, selector: str) -> dict[str, float]:
        """The middle of an element that is visible and not covered, after scrolling to it, once it rests."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.wait(f"{found}?.checkVisibility()")
        self.evaluate(f"{found}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box, before = self._box(found), None
        while box != before:
            self.evaluate("new Promise(requestAnimationFrame)")
            box, before = self._box(found), box
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        hit = f"document.elementFromPoint({x}, {y})"
        assert self.evaluate(f"{found}.contains({hit})"), f"{selector} is covered"
        return {"x": x, "y": y}

    def _box(self, found: str) -> dict[str, float]:
        return self.evaluate(f"{found}.getBoundingClientRect().toJSON()")

    def click(self, selector: str) -> None:
        self.hold(selector, 0)

    def hold(self, selector: str, seconds: float) -> None:
        """Presses the mouse on an element and lets go after some time."""
        point = self._middle(selector)
        self.send("Input.dispatchMouseEvent", type="mousePressed", **point, **LEFT)
        self._pass(seconds)
        self.send("Input.dispatchMouseEvent", type="mouseReleased", **point, **LEFT)

    def press(self, key: str, seconds: float = 0) -> None:
        """Presses a key, such as `Enter` or `ArrowRight`, and lets go after some time."""
        text, code, number = KEYS.get(key, ("", key, 0))
        event = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
        self._pass(seconds)
        self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    def _pass(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                self._take(self._socket.recv(left))
            except TimeoutError:
                return

    def fill(self, selector: str, text: str) -> None:
        """Replaces the text of a field, as by typing."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.evaluate(f"{found}.focus(); {found}.select()")
        self.send("Input.insertText", text=text)

    def choose(self, selector: str, value: str) -> None:
        """Chooses a value of a select."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.evaluate(f"{found}.value = {json.dumps(value)}")
        assert self.evaluate(f"{found}.value") == value, f"{selector} has no {value}"
        for event in ("input", "change"):
            self.evaluate(f"{found}.dispatchEvent(new Event('{event}', {{bubbles: true}}))")

    def attach(self, selector: str, *files: Path) -> None:
        """Puts files into a field for files."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def text(self, selector: str) -> str:
        """The text of an element that is there, or will be soon."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.wait(found + " !== null")
        return self.evaluate(found + ".innerText")

    def downloaded(self) -> Path:
        """The only file in the folder of downloads, once it is complete."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            files = list(self.downloads.glob("*")) if self.downloads.exists() else []
            if len(files) == 1 and files[0].suffix != ".crdownload":
                return files[0]
            self._pass(0.05)
        raise AssertionError("no download")

    def screenshot(self, path: Path, whole: bool = True) -> None:
        image = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(image["data"]))
