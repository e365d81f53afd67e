"""The folder of a voice: its clips, its references, and what is known of them, written all at once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

from ...audio.files import store
from ...errors import DifftoolError, Exit, is_out_of_memory
from ...files import (
    TEMPORARY,
    digest_of,
    lock,
    read_json,
    replace_folder,
    temporary,
    versions,
    writable,
    write_json,
    write_text,
)
from ...nets.tortoise.mel import CODE_HZ
from ...progress import Track
from ..library import KINDS, NOTE, SCHEMA, damaged, digests, leftovers, made, note_of
from ..text import written_out
from . import refs, report, stages, twins
from .gates import GATES
from .grade import Grade, grade
from .plan import Plan, Source, plan
from .settings import noted
from .shapes import (
    GradeNote,
    KeptTake,
    ListedTake,
    PrepNote,
    Summary,
    Used,
    VoiceNote,
    VoiceSource,
    VoiceTake,
)
from .transcribe import Whisper

log = logging.getLogger(__name__)

PACKAGES = ("torch", "torchaudio", "openai-whisper", "pyloudnorm", "silero-vad", "soundfile")
OURS = frozenset(
    [
        "voice.json",
        "clips",
        "metadata.csv",
        "train.txt",
        "validation.txt",
        "words.jsonl",
        "rejected.jsonl",
        "refs",
        "report.json",
        "report.html",
    ]
)
"""What is made here; whatever else lies in the folder of a voice stays."""
HELD_BACK = 20
"""Every so many clips one is for validation."""


class Prepared(NamedTuple):
    """What a preparation has made."""

    folder: Path
    grade: Grade
    clips: int
    kept: float
    """Seconds of the clips"""
    total: float
    """Seconds of the recordings"""
    reasons: dict[str, float]
    """Seconds that each reason cost"""
    failed: dict[str, str]
    """Recordings that could not be read, and why"""
    fresh: bool
    """Whether anything was left to do"""
    seconds: dict[str, float]
    """How long each stage took"""
    warnings: list[str]


def prepare(
    sources: Sequence[str | Path],
    voice: str,
    consent: str,
    *,
    overwrite: bool = False,
    track: Track | None = None,
    **settings: Any,
) -> Prepared:
    """Prepares a voice from recordings: files, or folders of them, of any kind that ffmpeg reads.

    `consent` is self, written:FILE, license:ID or synthetic. `settings` are fields of `Settings`: `slice` ("words", or
    "vad" without a transcript), `whisper` (a size, or a .pt file), `language`, `transcripts` (.srt, .vtt, .json, one
    for each recording), `verify` (transcribe each clip once more), `high_pass` (Hz), `allow` (reasons that no clip is
    left out for), `device`, `threads`, `voices_dir`, `models_dir`. A voice that is there already gains the new
    recordings; `overwrite` begins it anew.

    Raises DifftoolError: 2 for settings that do not fit, 4 for what cannot be read or gives no clip, or a voice that
    was not made here, 75 while another run prepares it.
    """
    return perform(plan(sources, voice, consent, **settings), overwrite=overwrite, track=track)


def perform(plan: Plan, *, overwrite: bool = False, track: Track | None = None) -> Prepared:
    """Does what was planned, or what is left of it."""
    before = _before(plan, overwrite=overwrite)
    with writable(plan.folder.resolve().parent, plan.work, option="--voices-dir"), lock(plan.work):
        for left in (*plan.work.glob(TEMPORARY), *leftovers(plan.folder)):
            left.unlink() if left.is_file() else shutil.rmtree(left)  # of a run that was killed
        given = {source.sha256: source for source in plan.sources}
        sources = [*_earlier(plan, before, given), *given.values()]
        key = _key(plan, sources)
        if before and before["prep"].get("key") == key:
            if not (changed := damaged(plan.folder, before["prep"]["files"])):
                return _prepared(plan, before, fresh=False)
            log.warning("%s in %s is not as it was written: the voice is written anew", changed[0], plan.folder)
        failed: dict[str, str] = {}
        seconds: dict[str, float] = {}
        done: list[tuple[Source, stages.Done]] = []
        errors: list[DifftoolError] = []

        def steps() -> Iterator[None]:
            for source in sources:
                reached = 0
                try:
                    for share in stages.run(plan, source, seconds):
                        for _ in range(int(100 * share) - reached):
                            yield
                        reached = max(reached, int(100 * share))
                    done.append((source, stages.load(plan, source)))
                except DifftoolError as error:
                    if error.code != Exit.FILE or is_out_of_memory(error):
                        raise
                    failed[str(source.path)] = error.message
                    errors.append(error)
                for _ in range(100 - reached):
                    yield

        for _ in track(steps(), 100 * len(sources)) if track else steps():
            pass
        if not done:
            first = errors[0]
            many = f"none of {len(errors)} recordings can be read: " if len(errors) > 1 else ""
            raise DifftoolError(Exit.FILE, many + first.message, first.hint)
        with stages.timed(seconds, "write"):
            note = _written(plan, done, failed, key, before)
        return _prepared(plan, note, fresh=True)._replace(seconds=seconds)


def _before(plan: Plan, *, overwrite: bool) -> VoiceNote | None:
    """The note of the voice that is there, unless that is overwritten. Raises DifftoolError 4 for a voice that was not
    made here, unless it may be overwritten."""
    path = plan.folder / NOTE
    note = read_json(path) if path.exists() else {}
    made = note.get("prep")
    if not plan.folder.is_dir() and os.path.lexists(plan.folder):
        link = plan.folder.is_symlink()
        what = f"{plan.folder} {'is a link that leads to no folder' if link else 'is no folder'}"
        raise DifftoolError(Exit.FILE, what, "choose another --voice, or move it away")
    if not isinstance(made, Mapping):
        inside = [*plan.folder.iterdir()] if plan.folder.is_dir() else []
        what = f"{plan.folder} holds a voice that was not made by prep"
        if taken := next((one.name for one in inside if one.name in OURS - {NOTE}), None):
            raise DifftoolError(Exit.FILE, f"{what}: {taken} would be replaced", "choose another --voice")
        if not overwrite and any(one.suffix.lower() in (*KINDS, ".pth") for one in inside):
            raise DifftoolError(
                Exit.FILE, what, "choose another --voice, or add --overwrite, which keeps its own files"
            )
        return None
    return None if overwrite else cast(VoiceNote, note)


def _key(plan: Plan, sources: Iterable[Source]) -> str:
    """What a voice depends on."""
    terms = {name: value for name, value in plan.consent.items() if name != "date"}
    told = [noted(plan.settings), terms, [stages.key_of(plan, source) for source in sources]]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _earlier(plan: Plan, before: VoiceNote | None, given: dict[str, Source]) -> list[Source]:
    """The recordings of which a voice was made so far, in order; those that are given again are taken out of `given`,
    and with the others it keeps its clips."""
    model = plan.sources[0].transcriber if isinstance(plan.sources[0].transcriber, Whisper) else None
    kept = []
    for note in before.get("sources", []) if before else []:
        if note["sha256"] in given:
            kept.append(given.pop(note["sha256"]))
            continue
        source = Source(Path(note["path"]), note["sha256"], _Known(note["key"]) if note["key"] else None)
        if not stages.is_done(plan, source):
            source = source._replace(transcriber=model)
            there = source.path.is_file() and digest_of(source.path) == source.sha256
            heard = plan.settings.slice == "vad" or model is not None
            if not (there and heard) and not stages.is_done(plan, source):
                what = f"{source.path}, of which {plan.name} was made, is not there any more"
                what = f"{source.path}, of which {plan.name} was made too, has no transcript" if there else what
                raise DifftoolError(Exit.FILE, what, "name it once more, or begin anew with --overwrite")
        kept.append(source)
    return kept


class _Known:
    """A Transcriber whose work is done."""

    heard_language: str | None = None

    def __init__(self, key: str) -> None:
        self.key = key

    def __call__(self, samples: Any, spans: Any) -> Iterator[Any]:
        raise AssertionError("its transcript is kept")


def _prepared(plan: Plan, note: VoiceNote, *, fresh: bool) -> Prepared:
    """What stands in the folder of a voice."""
    report = cast(Summary, read_json(plan.folder / "report.json"))
    called = names([Path(source["path"]) for source in note["sources"]])
    return Prepared(
        plan.folder,
        Grade(**report["grade"]),
        report["clips"],
        report["kept_seconds"],
        report["total_seconds"],
        report["reasons"],
        note["prep"]["failed"],
        fresh,
        {},
        [f"{called[Path(source['path'])]}: {text}" for source in note["sources"] for text in source["warnings"]],
    )


def _written(
    plan: Plan,
    done: Sequence[tuple[Source, stages.Done]],
    failed: dict[str, str],
    key: str,
    before: VoiceNote | None,
) -> VoiceNote:
    """Writes the folder of the voice beside the one that is there, and puts it into its place."""
    called = names([source.path for source, _ in done])
    takes = [_placed(called[source.path], result, take) for source, result in done for take in result.takes]
    if "duplicate" not in plan.settings.allow:
        twins.leave_out(takes)
    clips = [take for take in takes if not take["reasons"]]
    rejected = [take for take in takes if take["reasons"]]
    if not clips:
        raise _nothing(rejected, [source.path.name for source, _ in done])
    place = plan.folder.resolve()  # what a link leads to may be on another disk
    new = temporary(place)
    try:
        new.mkdir(parents=True)
        references = _write_references(new, clips, _write_clips(new, clips))
        _write_lists(new, clips, rejected)
        graded = grade(clips, rejected, sum(_full(clips[reference.clip]) for reference in references))
        total = round(sum(result.source["seconds"] for _, result in done), 3)
        summary: Summary = {
            "voice": plan.name,
            "grade": cast(GradeNote, graded._asdict()),
            "clips": len(clips),
            "kept_seconds": graded.figures["seconds"],
            "total_seconds": total,
            "reasons": _lost(rejected),
            "references": _used(references, clips),
            "failed": failed,
            "takes": [_listed(take) for take in takes],
        }
        write_json(new / "report.json", summary)
        report.write(new / "report.html", summary, takes)
        note = _note(plan, done, graded, before, {"key": key, "failed": failed, "files": digests(new)})
        write_json(new / NOTE, note)
        for path in _his_own(place):
            _carried(path, new / path.relative_to(place))
        replace_folder(new, place)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return note


def _write_clips(folder: Path, clips: Sequence[VoiceTake]) -> list[Path]:
    """Numbers the clips, and copies their sounds."""
    (folder / "clips").mkdir()
    paths = []
    for number, clip in enumerate(clips, 1):
        assert "clip" in clip
        clip["id"] = f"{number:04d}"
        paths.append(folder / "clips" / f"{clip['id']}.wav")
        shutil.copyfile(clip["folder"] / clip["clip"], paths[-1])
    return paths


def _write_references(folder: Path, clips: Sequence[VoiceTake], paths: Sequence[Path]) -> list[refs.Reference]:
    """Chooses the references among the clips, and writes them."""
    (folder / "refs" / "tortoise").mkdir(parents=True)
    references = refs.choose(clips, paths)
    for number, reference in enumerate(references, 1):
        sound = refs.cut(paths[reference.clip], reference.start)
        store(folder / "refs" / "tortoise" / f"{number}.wav", sound, CODE_HZ, subtype="PCM_16")
    write_json(folder / "refs" / "tortoise.json", {"references": _used(references, clips)})
    return references


def _used(references: Sequence[refs.Reference], clips: Sequence[VoiceTake]) -> list[Used]:
    """Where the references come from."""
    return [{"clip": clips[one.clip].get("id", ""), "start": one.start, "score": one.score} for one in references]


def _note(
    plan: Plan, done: Sequence[tuple[Source, stages.Done]], graded: Grade, before: VoiceNote | None, prep: PrepNote
) -> VoiceNote:
    """What voice.json says."""
    languages = list(dict.fromkeys(result.source["language"] for _, result in done if result.source["language"]))
    sources: list[VoiceSource] = [
        {
            **result.source,
            "warnings": [*result.source["warnings"], *_unread(result)],
            "path": str(source.path.absolute()),
            "sha256": source.sha256,
            "key": source.key,
        }
        for source, result in done
    ]
    created = before.get("created") if before else None
    return {
        "schema": SCHEMA,
        "name": plan.name,
        "language": " ".join(languages) or None,
        "created": created or datetime.now(UTC).isoformat(timespec="seconds"),
        "consent": plan.consent,
        "grade": graded.letter,
        "sources": sources,
        "settings": noted(plan.settings),
        "versions": versions(*PACKAGES),
        "prep": prep,
    }


def names(paths: Sequence[Path]) -> dict[Path, str]:
    """What recordings are called in lists: their file names, or where several have the same, their paths from the
    folder that all of these are in."""
    alike: dict[str, list[Path]] = {}
    for path in dict.fromkeys(paths):
        alike.setdefault(path.name, []).append(path)
    called = {}
    for name, same in alike.items():
        common = os.path.commonpath([path.absolute().parent for path in same])
        called |= {path: name if len(same) == 1 else str(path.absolute().relative_to(common)) for path in same}
    return called


def _placed(source: str, result: stages.Done, take: KeptTake) -> VoiceTake:
    return {"source": source, **take, "folder": result.folder, "language": result.source["language"]}


def _unread(result: stages.Done) -> list[str]:
    """A warning where the texts of a recording keep their numbers as digits."""
    language = result.source["language"]
    texts = [take["text"] for take in result.takes if not take["reasons"]]
    if language == "en" or not any(char.isdecimal() for text in texts for char in text):
        return []
    why = f"numbers in the language {language} are not written out" if language else "its language is not known"
    return [f"{why}: metadata.csv keeps them as digits" + ("" if language else "; name it with --language")]


def _listed(take: VoiceTake) -> ListedTake:
    """A take as the lists tell of it."""
    names = ("id", "source", "start", "end", "text", "reasons", "figures")
    listed = {name: value for name in names if (value := take.get(name)) is not None}
    if take["reasons"]:
        listed["reason"] = take["reasons"][0]
    return cast(ListedTake, listed)


def _full(clip: VoiceTake) -> bool:
    return (clip["figures"]["seconds"] or 0.0) >= refs.SECONDS


def _lost(rejected: Iterable[VoiceTake]) -> dict[str, float]:
    lost: dict[str, float] = {}
    for take in rejected:
        reason = take["reasons"][0]
        lost[reason] = lost.get(reason, 0.0) + take["end"] - take["start"]
    return {reason: round(seconds, 1) for reason, seconds in sorted(lost.items(), key=lambda each: (-each[1], each[0]))}


def _nothing(rejected: Sequence[VoiceTake], recordings: Sequence[str]) -> DifftoolError:
    lost = _lost(rejected)
    worst = next((reason for reason in lost if reason in GATES), None)
    told = ", ".join(f"{seconds:.0f} s {reason.replace('_', ' ')}" for reason, seconds in list(lost.items())[:3])
    which = recordings[0] + (f" and {len(recordings) - 1} more recordings" if recordings[1:] else "")
    what = f"nothing of it can be used: {told}" if told else "there is no speech in it"
    return DifftoolError(Exit.FILE, f"{which}: {what}", GATES[worst].advice if worst else "take another recording")


def _write_lists(folder: Path, clips: Sequence[VoiceTake], rejected: Sequence[VoiceTake]) -> None:
    """metadata.csv as LJSpeech has it, the lists for trainers, the words with their times, and what was left out."""
    lines, words = [], []
    train: list[str] = []
    validation: list[str] = []
    for k, clip in enumerate(clips):
        name, text = clip.get("id"), " ".join(clip["text"].replace("|", " ").split())
        lines.append(f"{name}|{text}|{written_out(text) if clip['language'] == 'en' else text}")
        part = validation if k % HELD_BACK == HELD_BACK // 2 else train
        part.append(f"clips/{name}.wav|{text}")
        timed = [
            {"start": start, "end": end, "word": word.strip(), "probability": odds}
            for start, end, word, odds in clip["words"]
        ]
        words.append(json.dumps({"id": name, "words": timed}, ensure_ascii=False))
    if not validation and len(train) > 1:
        validation.append(train.pop())
    lists = {
        "metadata.csv": lines,
        "train.txt": train,
        "validation.txt": validation,
        "words.jsonl": words,
        "rejected.jsonl": [json.dumps(_listed(take)) for take in rejected],
    }
    for name, each in lists.items():
        write_text(folder / name, "".join(f"{line}\n" for line in each))


def _his_own(folder: Path) -> Iterator[Path]:
    """What is in the folder of a voice and was not made here: files and links, and whole folders of other names."""
    note = note_of(folder)
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in OURS:
            yield path
        elif path.is_dir():
            yield from (one for one in path.rglob("*") if not one.is_dir() and not made(note, folder, one))


def _carried(source: Path, target: Path) -> None:
    """Takes what is somebody's own into the new folder. Raises DifftoolError 4 where a file of ours has that name."""
    if os.path.lexists(target):
        what = f"{source} was not made by prep, and a file that it makes now has that name"
        raise DifftoolError(Exit.FILE, what, "move it away, and run the same command again")
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        target.symlink_to(source.readlink())
    elif source.is_dir():
        shutil.copytree(source, target, symlinks=True, copy_function=_linked)
    else:
        _linked(source, target)


def _linked(source: str | Path, target: str | Path) -> None:
    """The same file under another name, or where a disk does not have that, a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
