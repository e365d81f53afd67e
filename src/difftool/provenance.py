"""What a result says of the files that it was made from: their names and hashes, for it may be shared. Where they lay
is kept on this machine only, so that `rerun` finds them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from .errors import DifftoolError
from .files import read_json, write_json

MOST_PLACES = 1000
"""Places that are kept."""
FOLDERS = ("models_dir", "voices_dir")
PLACES = ("model", "ar_checkpoint", *FOLDERS)
"""Settings that may be paths, of what the hashes of a model and of voices stand for."""
FILES = ("init", "mask")
"""Settings that may be paths of a file whose hash is among the `files` of a note."""


def shared(note: Mapping[str, object]) -> dict[str, Any]:
    """A manifest with names in the place of absolute paths."""
    if not isinstance(note.get("settings"), dict):
        return {**note}
    settings, files = _settings(note), _files(note)
    aliases = {path: _alias(path, digest, files) for path, digest in files.items()}
    own = {**settings} | {key: f"./{Path(settings[key]).name}" for key in PLACES if _is_path(settings.get(key))}
    own |= {key: aliases.get(settings[key], _name(settings[key])) for key in FILES if _is_path(settings.get(key))}
    if loras := _loras(settings):
        own["loras"] = [[aliases.get(path, _name(path)), *weight] for path, *weight in loras]
    told = {**note, "settings": own}
    if files:
        told["files"] = {aliases[path]: digest for path, digest in files.items()}
    if isinstance(voices := note.get("voices"), list):
        told["voices"] = [_consented(voice) for voice in voices]
    return told


def located(note: Mapping[str, object], beside: Path) -> dict[str, Any]:
    """The settings of a manifest with the paths of what it names: as they stand, where they were when it was made, or
    in the folder that one works in or one around the file `beside`. A name that leads nowhere stays, but for folders of
    models and voices, where it is None."""
    settings: dict[str, Any] = {**cast("Mapping[str, Any]", note["settings"])}
    identity, files, known = _identity(note), _files(note), _known()

    def place(name: Any, key: str) -> Any:
        if not isinstance(name, str) or (Path(name).is_absolute() and Path(name).exists()):
            return name
        around = (folder / name for folder in (Path.cwd(), *beside.absolute().parents))
        before = known.get(key)
        candidates = [Path(before)] if isinstance(before, str) else []
        return next((str(path) for path in (*candidates, *around) if path.exists()), name)

    for key in PLACES:
        if isinstance(settings.get(key), str) and (key != "model" or "/" in settings[key]):
            settings[key] = place(settings[key], f"{key} {identity}")
            if key in FOLDERS and not Path(settings[key]).exists():
                settings[key] = None
    for key in FILES:
        if isinstance(settings.get(key), str):
            settings[key] = place(settings[key], f"{settings[key]} {files.get(settings[key])}")
    if loras := _loras(settings):
        settings["loras"] = [[place(name, f"{name} {files.get(name)}"), *weight] for name, *weight in loras]
    return settings


def beside(sound: Path) -> Path:
    """The file that tells all about a file of speech: a.json of a.wav, a.mp3.json of a.mp3."""
    return sound.with_suffix(".json") if sound.suffix.lower() == ".wav" else sound.with_name(f"{sound.name}.json")


def _identity(note: Mapping[str, object]) -> str:
    """What the models and voices of a manifest are known by."""
    model, voices = note.get("model"), note.get("voices")
    own = model.get("sha256") if isinstance(model, dict) else None
    heard = [one.get("sha256") for one in voices if isinstance(one, dict)] if isinstance(voices, list) else []
    return hashlib.sha256(json.dumps([own, note.get("models"), heard], sort_keys=True).encode()).hexdigest()[:16]


def _settings(note: Mapping[str, object]) -> Mapping[str, Any]:
    settings = note.get("settings")
    return settings if isinstance(settings, dict) else {}


def _files(note: Mapping[str, object]) -> dict[str, str]:
    files = note.get("files")
    return files if isinstance(files, dict) else {}


def _loras(settings: Mapping[str, object]) -> list[list[Any]]:
    """The LoRAs of settings, a path and a weight each; nothing where they are of another form."""
    loras = settings.get("loras")
    if not isinstance(loras, list):
        return []
    return loras if all(isinstance(one, list) and one and isinstance(one[0], str) for one in loras) else []


def _alias(path: str, digest: str, others: Iterable[str]) -> str:
    """The name of a file, with its hash where another has that name too."""
    name = Path(path).name
    return name if sum(Path(other).name == name for other in others) == 1 else f"{digest}-{name}"


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and Path(value).is_absolute()


def _name(path: str) -> str:
    return Path(path).name if _is_path(path) else path


def _consented(voice: Any) -> Any:
    """A voice of a note; of a written consent the name and the hash."""
    consent = voice.get("consent") if isinstance(voice, dict) else None
    if not isinstance(consent, dict) or not isinstance(consent.get("file"), str):
        return voice
    return {**voice, "consent": {**consent, "file": Path(consent["file"]).name}}


def _store() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("difftool") / "places.json"


def _known() -> Mapping[str, object]:
    try:
        return read_json(_store())
    except DifftoolError:
        return {}


def remember(note: Mapping[str, object]) -> None:
    """Keeps on this machine where the paths of a manifest lead to; where that cannot be written, what they lead to is
    found by its names only."""
    settings, identity, files = _settings(note), _identity(note), _files(note)
    paths = {key: path for key, path in settings.items() if key in PLACES}
    places = {f"{key} {identity}": path for key, path in paths.items() if _is_path(path)}
    places |= {f"{_alias(path, digest, files)} {digest}": path for path, digest in files.items() if _is_path(path)}
    known = _known() if places else {}
    if all(known.get(key) == path for key, path in places.items()):
        return
    merged = {key: path for key, path in known.items() if key not in places} | {**places}
    try:
        _store().parent.mkdir(parents=True, exist_ok=True)
        write_json(_store(), dict([*merged.items()][-MOST_PLACES:]))
    except OSError:
        pass
