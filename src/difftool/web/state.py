"""What the page can offer: engines, voices, models and samplers."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from .. import store
from ..core.solve import SAMPLERS
from ..errors import DifftoolError
from ..files import read_json
from ..presets import family
from ..text2img.settings import BUNDLED as PIPELINES
from ..voice import engines, library
from ..voice.settings import Settings as SpeechSettings
from .sentences import SENTENCES
from .shapes import OfferedVoice

BUNDLED = ("digits", "tones")
"""Models of `sample` in the package."""
ASSETS = Path(__file__).parents[1] / "assets"
RUNS = ("outputs/train", "runs")
"""Where trained models lie, in the folder of the studio."""
PRESETS = {"sd15": "sd", "sd21": "sd", "sdxl": "sdxl", "sd3": "sd3", "flux": "flux"}
"""The beginnings of names in the store, and the presets of such models."""
SIZES = {"shapes": ["64x64"], "sd": ["512x512", "512x768", "768x512"]}
LARGE = ["1024x1024", "832x1216", "1216x832"]
CONSENTS = (
    {"kind": "self", "title": "It is my own voice.", "needs": None},
    {"kind": "written", "title": "Its owner has agreed in writing.", "needs": "file"},
    {"kind": "license", "title": "A license of the recordings permits it.", "needs": "text"},
    {"kind": "synthetic", "title": "It is the voice of no real person.", "needs": None},
)


def models(root: Path) -> dict[str, dict[str, str]]:
    """For each kind of job, the names of models, and what the command calls them."""
    installed = (name for name, entry in store.entries().items() if "model_index.json" in entry.files and _held(entry))
    pictures = {name: name for name in (*PIPELINES, *installed)}
    runs = {folder.name: str(folder.relative_to(root)) for folder in _runs(root)}
    return {"pictures": pictures, "sample": {name: name for name in BUNDLED} | runs, "speech": {}}


def _held(entry: store.Entry) -> bool:
    return all(file.state in ("whole", "unchecked") for file in store.held(entry))


def _runs(root: Path) -> list[Path]:
    """The folders of training runs with a model, the newest last."""
    weights = [path for place in RUNS for path in (root / place).glob("*/model.safetensors")]
    return [path.parent for path in sorted(weights) if not path.parent.is_symlink()]


def described(root: Path, secure_hint: str | None, device: str | None) -> Mapping[str, object]:
    """What `GET /api/state` returns."""
    known = models(root)
    usual = SpeechSettings()
    names = [{"name": name, "presets": [*engines.engine(name).presets()]} for name in (engines.AUTO, *speaking())[1:]]
    auto = {"name": engines.AUTO, "presets": [*engines.PRESETS]}
    return {
        "version": version("difftool"),
        "folder": root.name,
        "secure_hint": secure_hint,
        "device": device,
        "engines": [{**row, "default": usual.preset} for row in (auto, *names)],
        "default_engine": engines.AUTO,
        "voices": voices(),
        "models": {
            "txt2img": [_pipeline(name) for name in known["pictures"]],
            "sample": [_model(name, root / path) for name, path in known["sample"].items()],
        },
        "samplers": [{"name": name, "title": row.title} for name, row in SAMPLERS.items()],
        "sentences": [*SENTENCES],
        "consents": [*CONSENTS],
    }


def speaking() -> list[str]:
    """The engines that can speak here."""
    return [name for name in engines.ENGINES if engines.engine(name).AUTOMATIC and engines.engine(name).installed(None)]


def voices() -> list[OfferedVoice]:
    """The voices that can be used, those of the user first."""
    folder = library.home(None)
    own = set(library.names(None))
    rows: list[OfferedVoice] = []
    for name in library.usable(None):
        try:
            about = library.about(name, folder)
        except DifftoolError:  # damaged
            continue
        trained = any((Path(about["path"]) / library.TRAINED).glob(f"*/{library.WEIGHTS}"))
        source = "yours" if name in own else "package"
        grade, consent = about["grade"], about["consent"]
        rows.append({"name": name, "source": source, "grade": grade, "consent": consent, "trained": trained})
    return rows


def _pipeline(name: str) -> Mapping[str, object]:
    preset = name if name in family("txt2img") else next((PRESETS[start] for start in PRESETS if start in name), None)
    for fast in ("turbo", "lcm", "schnell"):
        preset = fast if fast in name else preset
    row: Mapping[str, object] = family("txt2img").get(preset or "", {})
    title = store.entries()[name].about if name in store.entries() else f"{name}, in the package"
    sizes = SIZES.get(preset or "", LARGE)
    return {"name": name, "title": title, "sizes": sizes, "steps": row.get("steps"), "guidance": row.get("guidance")}


def _model(name: str, folder: Path) -> Mapping[str, object]:
    try:
        config = read_json((ASSETS / name if name in BUNDLED else folder) / "config.json")
    except DifftoolError:
        config = {}
    classes = config.get("classes")
    labels = [str(label) for label in classes] if isinstance(classes, list) else []
    return {"name": name, "labels": labels, "kind": "sounds" if config.get("sound") else "pictures"}
