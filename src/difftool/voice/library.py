"""Voices: folders of recordings, each with a recorded consent."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NotRequired, TypedDict, cast

from ..audio.files import KINDS
from ..errors import DifftoolError, Exit, nearest
from ..files import (
    TEMPORARY,
    digest_of,
    expanded,
    is_locked,
    lock,
    made_here,
    read_json,
    remove_folders,
    unpickled,
    write_json,
)

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

SCHEMA = "difftool/voice/1"
NOTE = "voice.json"
VARIABLE = "DIFFTOOL_VOICES_DIR"
RANDOM = "random"
"""The name of a randomly generated voice."""
PACKAGE = Path(__file__).parents[1] / "assets" / "voices"
"""The folder of the voices in the package. A voice of the same name in the user's folder takes precedence."""
TRAINED, WEIGHTS, LEARNED = "trained", "voice.safetensors", "learned.json"
"""The folder below that of a voice with a folder for each engine, where `voice train` runs, the file in it that the
engine speaks with, and the hashes of the clips that it was learned from."""
TORTOISE = "tortoise"
"""The folder below refs/ that every voice of `voice prep` has."""
CONSENTS = {
    "self": "it is your own voice",
    "written": "written:FILE, the owner's agreement",
    "license": "license:ID, a license of the recordings that permits it",
    "synthetic": "the voice of no real person",
}
"""Kinds of consent."""


class Consent(TypedDict):
    """A recorded consent."""

    kind: str
    """One of CONSENTS."""
    date: str
    file: NotRequired[str]
    """The file of a written consent, with its hash."""
    sha256: NotRequired[str]
    license: NotRequired[str]


class About(TypedDict):
    """Summary of a voice."""

    name: str
    path: str
    grade: str | None
    clips: int
    consent: str | None
    sources: list[str]


class Voice(NamedTuple):
    """A voice of the library."""

    name: str
    folder: Path
    clips: tuple[Path, ...]
    """Sound files, by name; empty where there are latents."""
    latents: Path | None
    """A .pth file of tortoise-tts."""
    consent: Consent | None

    @property
    def sha256(self) -> str:
        """Hash of its recordings, independent of their names."""
        latents = [self.latents] if self.latents else []
        hashes = sorted(digest_of(path) for path in (*self.clips, *latents))
        return hashlib.sha256("".join(hashes).encode()).hexdigest()


class Place(NamedTuple):
    """A folder where voices live."""

    folder: Path
    origin: str
    """What makes it one."""


def places(voices_dir: Path | None = None) -> list[Place]:
    """The folders where voices live, the one in use first: `voices_dir`, DIFFTOOL_VOICES_DIR, ./voices if it exists,
    and the user's data folder. Those in the PACKAGE can always be used."""
    from platformdirs import user_data_path

    variable, here = os.environ.get(VARIABLE), Path("voices")
    every = []
    if voices_dir and not (variable and expanded(variable) == voices_dir):  # as which the command line reads it
        every.append(Place(expanded(voices_dir), "--voices-dir"))
    if variable:
        every.append(Place(expanded(variable), VARIABLE))
    if here.is_dir():
        every.append(Place(here, "voices in the current folder"))
    every.append(Place(user_data_path("difftool") / "voices", "your data folder"))
    distinct: dict[Path, Place] = {}
    for place in every:
        distinct.setdefault(place.folder.resolve(), place)
    return [*distinct.values()]


def home(voices_dir: Path | None = None) -> Path:
    """The folder of voices in use, the first of `places`."""
    return places(voices_dir)[0].folder


def names(voices_dir: Path | None = None) -> list[str]:
    """Names of the voices in the folder. Raises DifftoolError 4 if it cannot be read."""
    folder = home(voices_dir)
    try:
        if not folder.is_dir():
            return []
        folders = sorted(path.name for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        raise DifftoolError(Exit.FILE, f"cannot read {folder}: {error.strerror}", "check its permissions") from error
    return [name for name in folders if not name.startswith(".")]


def checked(name: str) -> str:
    """`name`, if it is a valid name of a voice. Raises DifftoolError 2 where it is a path, or empty."""
    is_trimmed = name.strip() and name == name.strip()
    is_path = re.search(r"[/\\\x00-\x1f&]", name) or name.startswith((".", "~"))
    if is_path or not is_trimmed:
        message = f"{name!r} is not a valid voice name"
        raise DifftoolError(Exit.USAGE, message, "use the name of a folder in the voices folder (--voices-dir)")
    return name


def named(name: str) -> str:
    """`name`, if a stored voice can have it. Raises DifftoolError 2 as `checked`, and for RANDOM."""
    if name == RANDOM:
        message = f"{RANDOM!r} is reserved for random voices"
        raise DifftoolError(Exit.USAGE, message, "choose another name")
    return checked(name)


def find(
    spoken: str, voices_dir: str | Path | None = None, references: str = TORTOISE, *, latents: bool = True
) -> list[Voice]:
    """The voices of a name, or of several joined by &; none for RANDOM. `references` is the folder below refs/ with the
    clips for an engine, `latents` whether the engine can use Tortoise's latents. Raises DifftoolError 2 for an invalid
    name, 4 for a voice that does not exist or has no recording, 7 where no consent is recorded for it."""
    if spoken == RANDOM:
        return []
    folder = home(None if voices_dir is None else Path(voices_dir))
    voices = [_find(checked(name.strip()), folder, references) for name in spoken.split("&")]
    if not latents and (voice := next((voice for voice in voices if voice.latents), None)):
        message = f"the voice {voice.name!r} has only Tortoise latents"
        raise DifftoolError(Exit.FILE, message, "use --engine tortoise, or add WAV files of the voice to its folder")
    return voices


def _find(name: str, folder: Path, references: str) -> Voice:
    if name == RANDOM:
        raise DifftoolError(
            Exit.USAGE, "a random voice cannot be mixed with others", "use either random or named voices"
        )
    voice = opened(name, folder, references)
    if voice.consent is None:
        message = f"no consent is recorded for the voice {name!r}"
        hint = f"if it is your voice: difftool voice consent {shlex.quote(name)} self"
        raise DifftoolError(Exit.REFUSED, message, hint)
    hashes = written(note_of(voice.folder))
    clips = {str(path.relative_to(voice.folder)) for path in voice.clips}
    used = {path: hashes[path] for path in sorted(clips & {*hashes})}
    if changed := damaged(voice.folder, used):
        path = voice.folder / changed[0]
        log.warning("%s was changed after voice prep wrote it; run voice prep again to restore it", path)
    return voice


def opened(name: str, folder: Path, references: str = TORTOISE) -> Voice:
    """The voice of that name in a folder of voices, with the clips for an engine. Raises as `find`, but does not check
    consent."""
    own = _folder_or_package(name, folder)
    note = read_json(own / NOTE) if (own / NOTE).exists() else {}
    consent = note.get("consent")
    is_valid = isinstance(consent, Mapping) and str(consent.get("kind")) in CONSENTS
    others = sorted(path for path in own.glob("refs/*") if path.is_dir())
    clips = _first_sounds(own / "refs" / references, own / "clips", own, own / "refs" / TORTOISE, *others)
    latents = sorted(path for path in own.glob("*.pth") if path.is_file())
    if not clips and len(latents) != 1:
        content = "several .pth files" if latents else "no recording"
        message = f"the voice {name!r} has {content} in {own}"
        raise DifftoolError(Exit.FILE, message, "add WAV files of the voice there")
    only_latents = None if clips else latents[0]
    return Voice(name, own, clips, only_latents, cast(Consent, consent) if is_valid else None)


def trained(voice: Voice, engine: str) -> Path | None:
    """The file of what an engine has learned of a voice; None where it was not trained on it."""
    path = voice.folder / TRAINED / engine / WEIGHTS
    return path if path.is_file() else None


def not_in_training(own: Path) -> None:
    """Raises DifftoolError 75 while an engine is trained on the voice in a folder."""
    if busy := next((path.parent for path in own.glob(f"{TRAINED}/*/.lock") if is_locked(path.parent)), None):
        raise DifftoolError(Exit.LATER, f"{busy} is in use by another run", "wait for voice train to finish")


def usable(voices_dir: Path | None = None) -> list[str]:
    """Names of all voices that can be used: those in the folder, and those in the package."""
    return [*dict.fromkeys([*names(voices_dir), *names(PACKAGE)])]


def replaced(folder: Path) -> list[str]:
    """The voices in the package of whose names the user has one, in that folder or in another: also a voice that is
    hidden is not to be taken for another one."""
    folders = [folder, *(place.folder for place in places())]
    readable = [own for own in folders if os.access(own, os.X_OK)]
    return [name for name in names(PACKAGE) if any((own / name).is_dir() for own in readable)]


def _folder_or_package(name: str, folder: Path) -> Path:
    """The folder of a voice, also of one in the package. Raises as `_folder`."""
    bundled = PACKAGE / checked(name)
    is_free = bundled.is_dir() and name not in replaced(folder)
    return bundled if is_free else _folder(name, folder)


def _folder(name: str, folder: Path) -> Path:
    """The folder of a voice of the user. Raises DifftoolError 4 where there is none."""
    own = folder / checked(name)
    if not own.is_dir():
        near = nearest(name, {*names(folder), *names(PACKAGE)} - {name})
        meant = f"; did you mean {near!r}?" if near else ""
        hint = f"create {own} with three or more WAV files of about ten seconds"
        others = (place.folder for place in places() if place.folder.resolve() != folder.resolve())
        if hidden := next((other for other in others if os.access(other / name, os.R_OK)), None):
            hint = f"it is in {hidden}: add --voices-dir {shlex.quote(str(hidden))}"
        elif (PACKAGE / name).is_dir():
            meant, hint = "", "it is in the package, which is not changed; record a voice with difftool voice prep"
        raise DifftoolError(Exit.FILE, f"there is no voice {name!r} in {folder}{meant}", hint)
    return own


def _sounds(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        return ()
    files = [path for path in folder.iterdir() if path.is_file()]
    return tuple(sorted(path for path in files if path.suffix.lower() in KINDS))


def _first_sounds(*folders: Path) -> tuple[Path, ...]:
    """The sound files of the first of these folders that has any."""
    return next((sounds for folder in folders if (sounds := _sounds(folder))), ())


def note_of(own: Path) -> Mapping[str, object]:
    """The content of voice.json in the folder of a voice; empty where it is missing or cannot be read."""
    try:
        return read_json(own / NOTE)
    except DifftoolError:
        return {}


def about(name: str, folder: Path) -> About:
    """Summary of the voice of that name in a folder of voices, without opening its recordings. Raises DifftoolError 4
    where it does not exist."""
    own = _folder_or_package(name, folder)
    note = read_json(own / NOTE) if (own / NOTE).exists() else {}
    consent, grade, sources = note.get("consent"), note.get("grade"), note.get("sources")
    kind = consent.get("kind") if isinstance(consent, Mapping) else None
    recordings = sources if isinstance(sources, list) else []
    clips = _first_sounds(own / "clips", own / "refs" / "tortoise", own)
    return {
        "name": name,
        "path": str(own),
        "grade": grade if isinstance(grade, str) else None,
        "clips": len(clips),
        "consent": kind if isinstance(kind, str) else None,
        "sources": [str(source.get("path")) for source in recordings if isinstance(source, Mapping)],
    }


def written(note: Mapping[str, object]) -> Mapping[str, str]:
    """The files that prep wrote into a folder with this voice.json, and their hashes."""
    prep = note.get("prep")
    files = prep.get("files") if isinstance(prep, Mapping) else None
    return files if isinstance(files, Mapping) else {}


def made(note: Mapping[str, object], own: Path, path: Path) -> bool:
    """Whether a file in the folder of a voice, with this voice.json, was made by difftool."""
    name = path.relative_to(own)
    is_latents = name.parts[0] == "latents" and path.suffix == ".safetensors"
    is_trained = name.parts[0] == TRAINED and made_here(own / Path(*name.parts[:2]) / "config.json")
    known = {NOTE, ".lock", *written(note)}
    return str(name) in known or is_latents or is_trained or path.match(TEMPORARY)


def damaged(own: Path, files: Mapping[str, str]) -> list[str]:
    """The files that prep wrote and that are missing or changed."""

    def is_intact(path: Path, sha256: str) -> bool:
        return path.is_file() and digest_of(path) == sha256

    return [name for name, sha256 in files.items() if not is_intact(own / name, sha256)]


def leftovers(own: Path) -> list[Path]:
    """Folders that a killed run left beside that of a voice."""
    place = own.resolve()
    return [*place.parent.glob(f".{escape(place.name)}.tmp-????????")]


def remove(name: str, folder: Path, *, originals: bool = False, dry_run: bool = False) -> list[Path]:
    """Removes a voice, the results kept while preparing it, and leftovers of killed runs, all or nothing; returns the
    folders that are removed, or with `dry_run` would be. Where a voice is a link, its target is removed too. Raises
    DifftoolError 4 where it does not exist, cannot be removed, or (without `originals`) holds files that difftool did
    not make, 75 while it is being prepared or trained."""
    own = folder / checked(name)
    work = work_of(own)
    gone = [path for path in (own, work, *leftovers(own)) if path.is_dir() or path.is_symlink()]
    if not gone:
        _folder(name, folder)  # raises where the voice does not exist
    note = note_of(own)
    files = (path for path in own.rglob("*") if not _is_folder(path))
    foreign = None if originals else next((path for path in files if not made(note, own, path)), None)
    if foreign:
        message = f"{foreign} was not made by difftool and may be the only copy"
        raise DifftoolError(Exit.FILE, message, "move it away, or add --originals to remove such files too")
    if dry_run:
        return gone
    not_in_training(own)
    with lock(next(path for path in (work, own, *gone) if path.is_dir())):
        remove_folders(gone)
    return gone


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def work_of(own: Path) -> Path:
    """The folder beside that of a voice for the results kept while preparing it."""
    return own.with_name(f".{own.name}.prep")


def agreed(consent: str) -> Consent:
    """A consent, self, written:FILE, license:ID or synthetic, as it is stored. Raises DifftoolError 2 for another kind,
    4 where the FILE does not exist."""
    kind, _, detail = consent.partition(":")
    terms: Consent = {"kind": kind, "date": datetime.now(UTC).isoformat(timespec="seconds")}
    needs_detail = kind in ("written", "license")
    if kind not in CONSENTS or bool(detail) != needs_detail:
        hint = "use self, written:FILE, license:ID or synthetic"
        raise DifftoolError(Exit.USAGE, f"invalid consent: {consent!r}", hint)
    if kind == "written":
        paper = expanded(detail)
        if not paper.is_file():
            raise DifftoolError(Exit.FILE, f"no such file: {paper}", "pass the written agreement as written:FILE")
        terms["file"], terms["sha256"] = str(paper.absolute()), digest_of(paper)
    elif kind == "license":
        terms["license"] = detail
    return terms


def record(name: str, consent: str, voices_dir: Path | None = None) -> Path:
    """Writes a consent into voice.json of a voice. Raises DifftoolError as `agreed`, and 4 where the voice does not
    exist."""
    terms, folder = agreed(consent), home(voices_dir)
    path = _folder(named(name), folder) / NOTE
    opened(name, folder)
    note = read_json(path) if path.exists() else {"schema": SCHEMA, "name": name}
    write_json(path, note | {"consent": terms})
    return path


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file in a folder, by its path in it."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): digest_of(path) for path in files}


def changed_files(folder: Path, known: Mapping[str, str]) -> Iterator[Path]:
    """Files and links in a folder that are not listed in `known`, as returned by `digests`, or have changed since."""
    for path in folder.rglob("*"):
        if _is_folder(path):
            continue
        sha256 = known.get(str(path.relative_to(folder)))
        is_known = path.is_file() and not path.is_symlink() and sha256 is not None
        if not is_known or digest_of(path) != sha256:
            yield path


def load_latents(path: Path, sizes: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The two latents, (1, dim) each, that tortoise-tts stores of a voice in a .pth file, read without running any code
    in it. Raises DifftoolError 4 where it does not hold two tensors of these `sizes` of dim."""
    import torch

    def is_dense(value: object) -> bool:
        return isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_nested

    hint = "create them again, or add WAV files of the voice to the folder instead"
    latents = unpickled(path, "latents file", hint)
    is_pair = isinstance(latents, Sequence) and len(latents) == 2 and all(map(is_dense, latents))
    if not is_pair or [tuple(latent.shape) for latent in latents] != [(1, size) for size in sizes]:
        raise DifftoolError(Exit.FILE, f"{path} does not contain the two latents of a voice", hint)
    if not all(latent.is_floating_point() and latent.isfinite().all() for latent in latents):
        raise DifftoolError(Exit.FILE, f"{path} contains values that are not finite", hint)
    return latents[0].detach().float(), latents[1].detach().float()
