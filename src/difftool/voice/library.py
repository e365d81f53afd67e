"""Voices: folders of recordings, each with a note of who agreed to what."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NotRequired, TypedDict, cast

from ..audio.files import KINDS
from ..errors import DifftoolError, Exit, nearest
from ..files import TEMPORARY, digest_of, expanded, lock, read_json, temporary, unpickled, write_json

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

SCHEMA = "difftool/voice/1"
NOTE = "voice.json"
RANDOM = "random"
"""The voice that nobody has."""
TORTOISE = "tortoise"
"""The folder below refs/ that every voice of `voice prep` has."""
CONSENTS = {
    "self": "it is your own voice",
    "written": "written:FILE, the owner's agreement",
    "license": "license:ID, under which the recordings may be used so",
    "synthetic": "nobody's voice",
}
"""What a consent can be."""


class Consent(TypedDict):
    """What somebody agreed to, and when."""

    kind: str
    """One of CONSENTS."""
    date: str
    file: NotRequired[str]
    """Of a written one, with its hash."""
    sha256: NotRequired[str]
    license: NotRequired[str]


class About(TypedDict):
    """What is known of a voice."""

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


def find(
    spoken: str, voices_dir: str | Path | None = None, references: str = TORTOISE, *, latents: bool = True
) -> list[Voice]:
    """The voices of a name, or of several joined by &; of RANDOM none. `references` is the folder below refs/ with the
    clips for an engine, `latents` whether Tortoise's serve it. Raises DifftoolError 2 for what is no name, 4 for a
    voice that is not there or has nothing to be heard, 7 where no consent is recorded for it."""
    if spoken == RANDOM:
        return []
    folder = home(None if voices_dir is None else Path(voices_dir))
    voices = [_find(checked(name.strip()), folder, references) for name in spoken.split("&")]
    if not latents and (voice := next((voice for voice in voices if voice.latents), None)):
        message = f"of the voice {voice.name!r} there are only Tortoise's latents"
        raise DifftoolError(Exit.FILE, message, "say --engine tortoise, or put WAV files of the voice into its folder")
    return voices


def _find(name: str, folder: Path, references: str) -> Voice:
    if name == RANDOM:
        raise DifftoolError(Exit.USAGE, "a random voice cannot be mixed with others", "leave out one or the other")
    voice = opened(name, folder, references)
    if voice.consent is None:
        what = f"no consent is recorded for the voice {name!r}"
        hint = f"if it is yours: difftool voice consent {shlex.quote(name)} self"
        raise DifftoolError(Exit.REFUSED, what, hint)
    known = written(note_of(voice.folder))
    heard = {str(path.relative_to(voice.folder)) for path in voice.clips} & {*known}
    if changed := damaged(voice.folder, {part: known[part] for part in sorted(heard)}):
        log.warning("%s is not as voice prep wrote it; the same voice prep again mends it", voice.folder / changed[0])
    return voice


def opened(name: str, folder: Path, references: str = TORTOISE) -> Voice:
    """The voice of that name in a folder of voices, with the clips for an engine. Raises as `find`, but asks for no
    consent."""
    own = _folder(name, folder)
    note = read_json(own / NOTE) if (own / NOTE).exists() else {}
    consent = note.get("consent")
    noted = isinstance(consent, Mapping) and str(consent.get("kind")) in CONSENTS
    others = (own / "refs" / TORTOISE, *sorted(path for path in own.glob("refs/*") if path.is_dir()))
    places = (own / "refs" / references, own / "clips", own, *others)
    clips = next((found for place in places if (found := _sounds(place))), ())
    latents = sorted(path for path in own.glob("*.pth") if path.is_file())
    if not clips and len(latents) != 1:
        what = "several .pth files" if latents else "no recording"
        raise DifftoolError(Exit.FILE, f"the voice {name!r} has {what} in {own}", "put WAV files of the voice there")
    return Voice(name, own, clips, None if clips else latents[0], cast(Consent, consent) if noted else None)


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


def note_of(own: Path) -> Mapping[str, object]:
    """The note in the folder of a voice; an empty one where there is none, or none that can be read."""
    try:
        return read_json(own / NOTE)
    except DifftoolError:
        return {}


def about(name: str, folder: Path) -> About:
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
        "grade": note["grade"] if isinstance(note.get("grade"), str) else None,
        "clips": len(clips),
        "consent": consent["kind"] if isinstance(consent, Mapping) and isinstance(consent.get("kind"), str) else None,
        "sources": [str(one.get("path")) for one in sources if isinstance(one, Mapping)],
    }


def written(note: Mapping[str, object]) -> Mapping[str, str]:
    """The files that prep has written into a folder with this note, and their hashes."""
    prep = note.get("prep")
    files = prep.get("files") if isinstance(prep, Mapping) else None
    return files if isinstance(files, Mapping) else {}


def made(note: Mapping[str, object], own: Path, path: Path) -> bool:
    """Whether a file in the folder of a voice, with this note, was made by difftool."""
    name = path.relative_to(own)
    kept = name.parts[0] == "latents" and path.suffix == ".safetensors"  # what the networks know of it
    return str(name) in {NOTE, ".lock", *written(note)} or kept or path.match(TEMPORARY)


def damaged(own: Path, files: Mapping[str, str]) -> list[str]:
    """Which of the files that prep has written are not there any more, or not as it wrote them."""
    return [name for name, sha in files.items() if not (own / name).is_file() or digest_of(own / name) != sha]


def leftovers(own: Path) -> list[Path]:
    """Folders that a run which was killed left beside that of a voice."""
    place = own.resolve()
    return [*place.parent.glob(f".{escape(place.name)}.tmp-????????")]


def remove(name: str, folder: Path, *, originals: bool = False, dry_run: bool = False) -> list[Path]:
    """Removes a voice, what was kept to prepare it, and what killed runs left of it, all or nothing; returns what is
    gone, or with `dry_run` would be. Of a voice that is a link, what it leads to goes too. Raises DifftoolError 4 where
    it is not there, cannot be removed, or (without `originals`) holds files that somebody put there, 75 while it is
    prepared."""
    own = folder / checked(name)
    work = work_of(own)
    gone = [path for path in (own, work, *leftovers(own)) if path.is_dir() or path.is_symlink()]
    if not gone:
        _folder(name, folder)  # which says that it is not there
    note = note_of(own)
    strange = (path for path in own.rglob("*") if not _is_folder(path) and not made(note, own, path))
    if not originals and (mine := next(strange, None)):
        what = f"{mine} was not made by difftool, and may be the only copy"
        raise DifftoolError(Exit.FILE, what, "move it away, or add --originals, which removes such files too")
    if dry_run:
        return gone
    with lock(next(path for path in (work, own, *gone) if path.is_dir())):
        _removed(gone)
    return gone


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _removed(folders: Sequence[Path]) -> None:
    """Removes folders, and where one is a link, both that and what it leads to: all, or where one cannot go, none."""
    moved: list[tuple[Path, Path]] = []
    try:
        for path in dict.fromkeys(one for folder in folders for one in (folder, folder.resolve())):
            for inner, _, _ in os.walk(path):
                if not os.access(inner, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), inner)
            if os.path.lexists(path):
                aside = temporary(path)
                path.rename(aside)
                moved.append((path, aside))
    except OSError as error:
        for path, aside in reversed(moved):
            aside.rename(path)
        what = f"{error.filename} cannot be removed ({error.strerror}), and so nothing was"
        raise DifftoolError(Exit.FILE, what, "see to its rights and those of the folder it is in") from error
    for _, aside in moved:
        aside.unlink() if aside.is_symlink() else shutil.rmtree(aside)


def work_of(own: Path) -> Path:
    """The folder beside that of a voice for what is kept to prepare it."""
    return own.with_name(f".{own.name}.prep")


def agreed(consent: str) -> Consent:
    """A consent, self, written:FILE, license:ID or synthetic, as it is noted. Raises DifftoolError 2 for another kind,
    4 where the FILE is not there."""
    kind, _, detail = consent.partition(":")
    terms: Consent = {"kind": kind, "date": datetime.now(UTC).isoformat(timespec="seconds")}
    if kind not in CONSENTS or bool(detail) != (kind in ("written", "license")):
        raise DifftoolError(
            Exit.USAGE, f"{consent!r} is no consent", "known: self, written:FILE, license:ID, synthetic"
        )
    if kind == "written":
        paper = expanded(detail)
        if not paper.is_file():
            raise DifftoolError(Exit.FILE, f"there is no file {paper}", "name the file that holds the agreement")
        terms["file"], terms["sha256"] = str(paper.absolute()), digest_of(paper)
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


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file in a folder, by its path in it."""
    return {str(path.relative_to(folder)): digest_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def strangers(folder: Path, known: Mapping[str, str]) -> Iterator[Path]:
    """What is in a folder, folders aside, and is not as it was when `known` was noted, by `digests`."""
    for path in folder.rglob("*"):
        sha256 = known.get(str(path.relative_to(folder)))
        known_file = path.is_file() and not path.is_symlink() and sha256 is not None
        if not _is_folder(path) and not (known_file and digest_of(path) == sha256):
            yield path


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
