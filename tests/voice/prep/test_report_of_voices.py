"""The report of a voice."""

from __future__ import annotations

import base64
import html
import re
import shlex
from pathlib import Path
from typing import Any, cast

import pytest

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
    assert shown(page, "title") == shown(page, "h1")
    assert re.fullmatch(rf"{re.escape(f'Voice {EVIL}')}: grade C, \d{{4}}-\d\d-\d\d", shown(page, "h1")[0])
    assert shown(page, "p")[0] == "1 clip, 1:01.2 of 1:01:40.0"
    assert shown(page, "b")[:4] == ["90.5 s (B)", "1 (B)", "30.2 dB (B)", "155 dB/s (B)"]
    assert shown(page, "li") == [EVIL, f"caf? {EVIL}"]
    bars = re.findall(r'<span>(.*)</span><div class="bar" style="width:(.*)%"></div><span>(.*)</span>', page)
    assert [(html.unescape(label), *rest) for label, *rest in bars] == [
        ("noise", "100.0", "20.0 s"),
        (f"odd {EVIL}", "25.0", "5.0 s"),
    ]
    assert shown(page, "div") == [
        "C",
        *("", ""),
        *(f"0001 · {EVIL} 0:01.0 to 0:05.5", "4.5 s", "kept, a reference"),
        *(f"{EVIL} 0:01.0 to 1:01:40.0", "3699.0 s", f"noise, odd {EVIL}"),
    ]
    advice = "SNR below 18: record in a quiet place, closer to the microphone"
    assert shown(page, "p")[1:-1] == ["speak with this voice", EVIL, EVIL, advice]
    assert shown(page, "pre") == [f"difftool voice clone --voice {shlex.quote(EVIL)}"]
    assert "difftool 0" in shown(page, "p")[-1]
    assert page.count("<span>SNR 12.5 dB</span>") == 1
    assert shown(page, "strong") == ["✗ SNR 12.5 dB (below 18 dB)"]
    sound = base64.b64encode(b"\xff\xfbsound").decode()
    assert page.count(f'src="data:audio/mpeg;base64,{sound}"') == 2
    assert page.count('d="M0 24 L0 24.0 L1 12.0 L2 0.0 L2 48.0 L1 36.0 L0 24.0Z"') == 2


def test_takes_without_sound_and_short_silences(tmp_path: Path) -> None:
    silent = take(tmp_path, ["noise"], 9, text="")
    del silent["sound"], silent["wave"]
    empty = take(tmp_path, ["music"], 9, wave=[], text="")
    takes = [silent, empty, take(tmp_path, ["silence"], 2.5), take(tmp_path, ["silence"], 3.5)]
    page = page_of(tmp_path, takes, {**SUMMARY, "reasons": {}, "failed": {}, "references": []})
    assert shown(page, "h2") == ["How to improve it", "Next", "Clips (0)", "Rejected (3)"]
    assert page.count("<audio ") == page.count("<svg ") == 2


@pytest.mark.parametrize(
    ("reasons", "figures", "failed"),
    [
        (["noise"], {"snr": 17.98}, ["✗ SNR 17.98 dB (below 18 dB)"]),
        (["music"], {"snr": 15.25, "hum": 7.123}, ["✗ SNR 15.2 dB (below 18 dB)", "✗ hum 7.1 dB (above 6.5 dB)"]),
        (["clipping"], {"clipped": 0.0, "crowded": 0.4321}, ["✗ near clipping 0.43 % (above 0.42 %)"]),
        (
            ["filler", "too_short"],
            {"fillers": 2, "seconds": 0.5},
            ["✗ fillers 2 (above 0)", "✗ length 0.5 s (below 2 s)"],
        ),
        (["silence"], {"seconds": 5.0}, []),
    ],
)
def test_the_figure_that_failed_is_marked(
    tmp_path: Path, reasons: list[str], figures: dict[str, float], failed: list[str]
) -> None:
    page = page_of(tmp_path, [take(tmp_path, reasons, 9, figures=figures)])
    assert shown(page, "strong") == failed


def test_clips_and_rejected_takes_can_be_shown_alone(tmp_path: Path) -> None:
    page = page_of(tmp_path, [take(tmp_path, [], 5.5, id="0001"), take(tmp_path, ["noise"], 9)])
    assert re.findall(r'<input type="radio" name="show"(.*)> (.*)</label>', page) == [
        (" checked", "all (2)"),
        (' id="only-kept"', "kept (1)"),
        (' id="only-left-out"', "left out (1)"),
    ]
    assert re.findall(r'<section class="(.*)">\n<h2>(.*)</h2>', page) == [
        ("kept", "Clips (1)"),
        ("left-out", "Rejected (1)"),
    ]
    assert "main:has(#only-kept:checked) .left-out,main:has(#only-left-out:checked) .kept{display:none}" in page
