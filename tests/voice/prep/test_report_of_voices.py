"""The report of a voice."""

from __future__ import annotations

import base64
import html
import re
from pathlib import Path
from typing import Any, cast

from difftool.voice.prep.report import write
from difftool.voice.prep.shapes import Summary, VoiceTake

EVIL = "<script>alert('a & \"b\" &lt;')</script>"
SUMMARY = {
    "voice": EVIL,
    "grade": {
        "letter": "C",
        "figures": {"seconds": 90.5, "references": 1, "snr": 30.25, "decay": 155, "treble": -22, "sources": 1},
        "letters": dict.fromkeys(("seconds", "references", "snr", "decay", "treble", "sources"), "B"),
        "actions": [EVIL],
    },
    "clips": 1,
    "kept_seconds": 61.25,
    "total_seconds": 3700,
    "reasons": {"noise": 20.0, f"odd_{EVIL}": 5.0},
    "references": [{"clip": "0001", "start": 0.0, "score": 1.0}],
    "failed": {"b.wav": f"caf\udce9 {EVIL}"},
}


def take(folder: Path, reasons: list[str], end: float, **more: Any) -> VoiceTake:
    (folder / "a.mp3").write_bytes(b"\xff\xfbsound")
    common = {"start": 1.0, "end": end, "text": EVIL, "figures": {"snr": 12.5, "level": None}, "reasons": reasons}
    sounds = {"words": [], "wave": [0, 5, 10], "sound": "a.mp3", "source": EVIL, "folder": folder, "language": "en"}
    return cast("VoiceTake", {**common, **sounds, **more})


def page_of(folder: Path, takes: list[VoiceTake], summary: dict[str, Any] = SUMMARY) -> str:
    write(folder / "report.html", cast("Summary", summary), takes)
    return (folder / "report.html").read_text(encoding="utf-8")


def shown(page: str, tag: str) -> list[str]:
    return [html.unescape(text) for text in re.findall(rf"<{tag}[^>]*>([^<]*)</{tag}>", page)]


def test_everything_is_in_the_page_and_nothing_is_markup(tmp_path: Path) -> None:
    takes = [take(tmp_path, [], 5.5, id="0001"), take(tmp_path, ["noise", f"odd_{EVIL}"], 3700)]
    page = page_of(tmp_path, takes)
    assert "<script" not in page
    assert shown(page, "title") == shown(page, "h1") == [f"Voice {EVIL}"]
    assert shown(page, "p")[0] == "1 clips, 1:01.2 of 1:01:40.0"
    assert shown(page, "b")[:3] == ["90.5 s (B)", "1 (B)", "30.25 dB (B)"]
    assert shown(page, "li") == [EVIL, f"caf? {EVIL}"]
    bars = re.findall(r'<span>(.*)</span><div class="bar" style="width:(.*)%"></div><span>(.*)</span>', page)
    assert [(html.unescape(label), *rest) for label, *rest in bars] == [
        ("noise", "100.0", "20.0 s"),
        (f"odd {EVIL}", "25.0", "5.0 s"),
    ]
    assert shown(page, "div") == [
        "C",
        *("", ""),
        *(f"0001 · {EVIL} 0:01.0 to 0:05.5", "kept, a reference"),
        *(f"{EVIL} 0:01.0 to 1:01:40.0", f"noise, odd {EVIL}"),
    ]
    assert shown(page, "p")[1:] == [EVIL, EVIL, "SNR below 18: record in a quiet place, closer to the microphone"]
    assert page.count("<span>SNR 12.5 dB</span>") == 2
    sound = base64.b64encode(b"\xff\xfbsound").decode()
    assert page.count(f'src="data:audio/mpeg;base64,{sound}"') == 2
    assert page.count('d="M0 24 L0 24.0 L1 12.0 L2 0.0 L2 48.0 L1 36.0 L0 24.0Z"') == 2


def test_takes_without_sound_and_short_silences(tmp_path: Path) -> None:
    silent = take(tmp_path, ["noise"], 9, text="")
    del silent["sound"], silent["wave"]
    empty = take(tmp_path, ["music"], 9, wave=[], text="")
    takes = [silent, empty, take(tmp_path, ["silence"], 2.5), take(tmp_path, ["silence"], 3.5)]
    page = page_of(tmp_path, takes, {**SUMMARY, "reasons": {}, "failed": {}, "references": []})
    assert shown(page, "h2") == ["How to improve it", "Clips (0)", "Rejected (3)"]
    assert page.count("<audio ") == page.count("<svg ") == 2
