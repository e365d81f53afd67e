"""Paths in manifests: results may be shared, so they store names and hashes of their input files. The absolute paths
stay on this machine, where `rerun` finds them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeGuard, cast

from .errors import DifftoolError, Exit
from .files import cache_dir, read_json, write_json

MOST_PLACES = 1000
"""Maximum number of remembered paths."""
FOLDERS = ("models_dir", "voices_dir")
MODELS = ("model", "autoguide")
PLACES = (*MODELS, "ar_checkpoint", "checkpoint", "vocabulary", *FOLDERS)
"""Settings that may be paths, identified by the hashes of the models and the voices."""
FILES = ("init", "mask", "recording")
"""Settings that may be paths of files, identified by their hashes in `files`."""


def shared(note: Mapping[str, object]) -> dict[str, Any]:
    """A manifest with absolute paths replaced by names."""
    if not isinstance(note.get("settings"), dict):
        return {**note}
    settings, files = _settings(note), _files(note)
    aliases = {path: _alias(path, digest, files) for path, digest in files.items()}
    named = {**settings}
    for key in PLACES:
        if _is_path(path := settings.get(key)):
            named[key] = f"./{Path(path).name}"
    for key in FILES:
        if _is_path(path := settings.get(key)):
            named[key] = aliases.get(path, _name(path))
    if loras := _loras(settings):
        named["loras"] = [[aliases.get(path, _name(path)), *weight] for path, *weight in loras]
    result = {**note, "settings": named}
    if files:
        result["files"] = {aliases[path]: digest for path, digest in files.items()}
    if isinstance(voices := note.get("voices"), list):
        result["voices"] = [_consented(voice) for voice in voices]
    return result


def located(note: Mapping[str, object], beside: Path) -> dict[str, object]:
    """The settings of a manifest with its names resolved to paths: as they are, where they were when it was made, in
    the current folder, or in a folder above the file `beside`. An unresolved name stays, but folders of models and
    voices become None."""
    settings = {**cast("Mapping[str, object]", note["settings"])}
    identity, files, known = _identity(note), _files(note), _known()

    def place(name: str, key: str) -> str:
        if Path(name).is_absolute() and Path(name).exists():
            return name
        nearby = (folder / name for folder in (Path.cwd(), *beside.absolute().parents))
        remembered = known.get(key)
        candidates = [Path(remembered)] if isinstance(remembered, str) else []
        return next((str(path) for path in (*candidates, *nearby) if path.exists()), name)

    for key in PLACES:
        name = settings.get(key)
        if isinstance(name, str) and (key not in MODELS or "/" in name):
            path = place(name, f"{key} {identity}")
            is_lost = key in FOLDERS and not Path(path).exists()
            settings[key] = None if is_lost else path
    for key in FILES:
        name = settings.get(key)
        if isinstance(name, str):
            settings[key] = place(name, f"{name} {files.get(name)}")
    if loras := _loras(settings):
        settings["loras"] = [[place(name, f"{name} {files.get(name)}"), *weight] for name, *weight in loras]
    return settings


def beside(sound: Path) -> Path:
    """The manifest of a speech file: a.json for a.wav, a.mp3.json for a.mp3."""
    return sound.with_suffix(".json") if sound.suffix.lower() == ".wav" else sound.with_name(f"{sound.name}.json")


def _identity(note: Mapping[str, object]) -> str:
    """A hash that identifies the models and voices of a manifest."""
    model, voices = note.get("model"), note.get("voices")
    own = model.get("sha256") if isinstance(model, dict) else None
    rows = voices if isinstance(voices, list) else []
    hashes = [voice.get("sha256") for voice in rows if isinstance(voice, dict)]
    text = json.dumps([own, note.get("models"), hashes], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _settings(note: Mapping[str, object]) -> Mapping[str, object]:
    settings = note.get("settings")
    return settings if isinstance(settings, dict) else {}


def _files(note: Mapping[str, object]) -> dict[str, str]:
    files = note.get("files")
    return files if isinstance(files, dict) else {}


def _loras(settings: Mapping[str, object]) -> list[list[Any]]:
    """The LoRAs in settings, each a path and a weight; [] if they are malformed."""
    loras = settings.get("loras")
    if not isinstance(loras, list):
        return []
    is_valid = all(isinstance(lora, list) and lora and isinstance(lora[0], str) for lora in loras)
    return loras if is_valid else []


def _alias(path: str, digest: str, others: Iterable[str]) -> str:
    """The name of a file, with its hash if another file has the same name."""
    name = Path(path).name
    is_unique = sum(Path(other).name == name for other in others) == 1
    return name if is_unique else f"{digest}-{name}"


def _is_path(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and Path(value).is_absolute()


def _name(path: str) -> str:
    return Path(path).name if _is_path(path) else path


def _consented(voice: Any) -> Any:
    """A voice of a manifest, with only the name of its consent file."""
    consent = voice.get("consent") if isinstance(voice, dict) else None
    if not isinstance(consent, dict) or not isinstance(consent.get("file"), str):
        return voice
    return {**voice, "consent": {**consent, "file": Path(consent["file"]).name}}


def _store() -> Path:
    return cache_dir() / "places.json"


def _known() -> Mapping[str, object]:
    try:
        return read_json(_store())
    except DifftoolError:
        return {}


def remember(note: Mapping[str, object]) -> None:
    """Remembers the absolute paths of a manifest on this machine; if that fails, `located` searches by name only."""
    settings, identity, files = _settings(note), _identity(note), _files(note)
    paths = {key: path for key, path in settings.items() if key in PLACES}
    places = {f"{key} {identity}": path for key, path in paths.items() if _is_path(path)}
    places |= {f"{_alias(path, digest, files)} {digest}": path for path, digest in files.items() if _is_path(path)}
    _remember(places)


def remember_data(sha256: str, path: Path) -> None:
    """Remembers where training data with this hash were read on this machine."""
    _remember({f"data {sha256}": str(path.absolute())})


def data_path(sha256: str) -> Path | None:
    """Where training data with this hash were last read on this machine, if they are still there."""
    path = _known().get(f"data {sha256}")
    return Path(path) if isinstance(path, str) and Path(path).exists() else None


def _remember(places: Mapping[str, str]) -> None:
    known = _known() if places else {}
    if all(known.get(key) == path for key, path in places.items()):
        return
    merged = {key: path for key, path in known.items() if key not in places} | {**places}
    try:
        _store().parent.mkdir(parents=True, exist_ok=True)
        write_json(_store(), dict([*merged.items()][-MOST_PLACES:]))
    except OSError:
        pass


@contextmanager
def settings_of(file: Path) -> Iterator[None]:
    """Inside, any error caused by invalid settings is reported as a fault of the file that stores them."""
    try:
        yield
    except DifftoolError as error:
        if error.code != Exit.USAGE:
            raise
        raise DifftoolError(Exit.FILE, f"cannot reproduce {file}: {error.message}", error.hint) from error
    except (TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as error:
        raise damaged(file) from error


def damaged(file: Path) -> DifftoolError:
    """The error for invalid settings in a file."""
    message = f"the settings in {file} are damaged or from another version"
    return DifftoolError(Exit.FILE, message, "use another copy of the file")
