"""Voices: folders of recordings, each with a note of who agreed to what."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import DifftoolError, Exit, nearest
from ..files import expanded, lock, read_json, unpickled, write_json
from .sound import KINDS

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = "difftool/voice/1"
NOTE = "voice.json"
RANDOM = "random"
"""The voice that nobody has."""
CONSENTS = {
    "self": "it is your own voice",
    "written": "written:FILE, the owner's agreement",
    "license": "license:ID, under which the recordings may be used so",
    "synthetic": "nobody's voice",
}
"""What a consent can be."""


class Voice(NamedTuple):
    """A voice of the library."""

    name: str
    folder: Path
    clips: tuple[Path, ...]
    """Sound files, by name; empty where there are latents."""
    latents: Path | None
    """A .pth file of tortoise-tts."""
    consent: dict[str, Any] | None

    @property
    def sha256(self) -> str:
        """Of what it is made of, whatever the files are called."""
        parts = sorted(digest_of(path) for path in (*self.clips, *([self.latents] if self.latents else [])))
        return hashlib.sha256("".join(parts).encode()).hexdigest()


def home(voices_dir: Path | None = None) -> Path:
    """Where voices live: `voices_dir`, DIFFTOOL_VOICES_DIR, ./voices if it is there, or the user's data folder."""
    if named := voices_dir or os.environ.get("DIFFTOOL_VOICES_DIR"):
        return expanded(named)
    if (here := Path("voices")).is_dir():
        return here
    from platformdirs import user_data_path

    return user_data_path("difftool") / "voices"


def names(voices_dir: Path | None = None) -> list[str]:
    """The voices that are there."""
    folder = home(voices_dir)
    found = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return [name for name in found if not name.startswith(".")]


def checked(name: str) -> str:
    """`name`, if it can be that of a voice. Raises DifftoolError 2 where it is a path, or empty."""
    if not name.strip() or name != name.strip() or re.search(r"[/\\\x00-\x1f&]", name) or name.startswith((".", "~")):
        what = f"{name!r} is no name of a voice"
        raise DifftoolError(Exit.USAGE, what, "name a folder of the voices folder; --voices-dir says where that is")
    return name


def named(name: str) -> str:
    """`name`, if a voice of somebody can have it. Raises DifftoolError 2 as `checked`, and for RANDOM."""
    if name == RANDOM:
        what = f"{RANDOM!r} is the voice that nobody has"
        raise DifftoolError(Exit.USAGE, what, "choose another name")
    return checked(name)


def find(spoken: str, voices_dir: Path | None = None) -> list[Voice]:
    """The voices of a name, or of several joined by &; of RANDOM none. Raises DifftoolError 2 for what is no name, 4
    for a voice that is not there or has nothing to be heard, 7 where no consent is recorded for it."""
    if spoken == RANDOM:
        return []
    return [_find(checked(name.strip()), home(voices_dir)) for name in spoken.split("&")]


def _find(name: str, folder: Path) -> Voice:
    if name == RANDOM:
        raise DifftoolError(Exit.USAGE, "a random voice cannot be mixed with others", "leave out one or the other")
    voice = opened(name, folder)
    if voice.consent is None:
        what = f"no consent is recorded for the voice {name!r}"
        raise DifftoolError(Exit.REFUSED, what, f"if it is yours: difftool voice consent {name} self")
    return voice


def opened(name: str, folder: Path) -> Voice:
    """The voice of that name in a folder of voices. Raises as `find`, but asks for no consent."""
    own = _folder(name, folder)
    note = read_json(own / NOTE) if (own / NOTE).exists() else {}
    consent = note.get("consent")
    noted = isinstance(consent, dict) and str(consent.get("kind")) in CONSENTS
    places = (own / "refs" / "tortoise", own / "clips", own)
    clips = next((found for place in places if (found := _sounds(place))), ())
    latents = sorted(path for path in own.glob("*.pth") if path.is_file())
    if not clips and len(latents) != 1:
        what = "several .pth files" if latents else "no recording"
        raise DifftoolError(Exit.FILE, f"the voice {name!r} has {what} in {own}", "put WAV files of the voice there")
    return Voice(name, own, clips, None if clips else latents[0], consent if noted else None)


def _folder(name: str, folder: Path) -> Path:
    own = folder / checked(name)
    if not own.is_dir():
        near = nearest(name, names(folder))
        meant = f"; did you mean {near!r}?" if near else ""
        hint = f"make {own} with three or more WAV files of about ten seconds"
        raise DifftoolError(Exit.FILE, f"there is no voice {name!r} in {folder}{meant}", hint)
    return own


def _sounds(folder: Path) -> tuple[Path, ...]:
    if not folder.is_dir():
        return ()
    return tuple(sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in KINDS))


def about(name: str, folder: Path) -> dict[str, Any]:
    """What is known of the voice of that name in a folder of voices, without listening to it. Raises DifftoolError 4
    where it is not there."""
    own = _folder(name, folder)
    note = read_json(own / NOTE) if (own / NOTE).exists() else {}
    consent = note.get("consent")
    clips = next((found for place in (own / "clips", own / "refs" / "tortoise", own) if (found := _sounds(place))), ())
    sources = note["sources"] if isinstance(note.get("sources"), list) else []
    return {
        "name": name,
        "path": str(own),
        "grade": note.get("grade"),
        "clips": len(clips),
        "consent": consent.get("kind") if isinstance(consent, dict) else None,
        "sources": [str(one.get("path")) for one in sources if isinstance(one, dict)],
    }


def remove(name: str, folder: Path) -> list[Path]:
    """Removes a voice, and what was kept to prepare it; returns what is gone. Raises DifftoolError 4 where it is not
    there, 75 while it is prepared."""
    own = _folder(name, folder)
    work = work_of(own)
    gone = [path for path in (own, work) if path.is_dir()]
    if own.is_symlink():
        raise DifftoolError(Exit.FILE, f"{own} is a link to another folder", "remove it yourself")
    with lock(work if work in gone else own):
        shutil.rmtree(own)
    if work in gone:
        shutil.rmtree(work)
    return gone


def work_of(own: Path) -> Path:
    """The folder beside that of a voice for what is kept to prepare it."""
    return own.with_name(f".{own.name}.prep")


def agreed(consent: str) -> dict[str, Any]:
    """A consent, self, written:FILE, license:ID or synthetic, as it is noted. Raises DifftoolError 2 for another kind,
    4 where the FILE is not there."""
    kind, _, detail = consent.partition(":")
    terms = {"kind": kind, "date": datetime.now(UTC).isoformat(timespec="seconds")}
    if kind not in CONSENTS or bool(detail) != (kind in ("written", "license")):
        raise DifftoolError(
            Exit.USAGE, f"{consent!r} is no consent", "known: self, written:FILE, license:ID, synthetic"
        )
    if kind == "written":
        paper = expanded(detail)
        if not paper.is_file():
            raise DifftoolError(Exit.FILE, f"there is no file {paper}", "name the file that holds the agreement")
        terms |= {"file": str(paper.absolute()), "sha256": digest_of(paper)}
    elif kind == "license":
        terms["license"] = detail
    return terms


def record(name: str, consent: str, voices_dir: Path | None = None) -> Path:
    """Writes a consent into the note of a voice. Raises DifftoolError as `agreed`, and 4 where the voice is not
    there."""
    terms = agreed(consent)
    voice = opened(named(name), home(voices_dir))
    path = voice.folder / NOTE
    note = read_json(path) if path.exists() else {"schema": SCHEMA, "name": name}
    write_json(path, note | {"consent": terms})
    return path


def digest_of(path: Path) -> str:
    """SHA-256 of a file. Raises DifftoolError 4 where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DifftoolError(Exit.FILE, f"cannot read {path}: {error.strerror}", "see to its rights") from error


def load_latents(path: Path, sizes: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The two latents, (1, dim) each, that tortoise-tts keeps of a voice in a .pth file, without running any code that
    it brings along. Raises DifftoolError 4 where it does not hold two of these `sizes` of dim."""
    import torch

    hint = "make them again, or put WAV files of the voice into the folder instead"
    found = unpickled(path, "file of latents", hint)
    both = (
        isinstance(found, Sequence)
        and len(found) == 2
        and all(
            isinstance(part, torch.Tensor) and part.layout == torch.strided and not part.is_nested for part in found
        )
    )
    if not both or [tuple(part.shape) for part in found] != [(1, size) for size in sizes]:
        raise DifftoolError(Exit.FILE, f"{path} does not hold the two latents of a voice", hint)
    if not all(part.is_floating_point() and part.isfinite().all() for part in found):
        raise DifftoolError(Exit.FILE, f"{path} holds numbers that are not finite", hint)
    return found[0].detach().float(), found[1].detach().float()
