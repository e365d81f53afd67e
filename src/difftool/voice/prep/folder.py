"""The folder of a voice: clips, references, lists and reports, written all at once."""

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

from ...audio.files import write_short
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
from ..library import KINDS, NOTE, SCHEMA, TRAINED, WEIGHTS, damaged, digests, leftovers, made, not_in_training, note_of
from ..text import written_out
from . import refs, report, speakers, stages, twins
from .gates import GATES
from .grade import Grade, grade
from .plan import PrepPlan, Source, plan_prep_with
from .settings import noted
from .shapes import GradeNote, KeptTake, ListedTake, PrepNote, Summary, Used, VoiceNote, VoiceSource, VoiceTake
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
"""Names of what prep writes; everything else in the folder of a voice is kept."""
HELD_BACK = 20
"""One clip out of this many is for validation."""


class Prepared(NamedTuple):
    """The result of a preparation."""

    folder: Path
    grade: Grade
    clips: int
    kept: float
    """Seconds of the clips"""
    total: float
    """Seconds of the recordings"""
    reasons: dict[str, float]
    """Seconds lost to each reason"""
    failed: dict[str, str]
    """Recordings that could not be read, and why"""
    fresh: bool
    """Whether there was anything left to do"""
    seconds: dict[str, float]
    """Time of each stage"""
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

    `consent` is self, written:FILE, license:ID or synthetic. New recordings are added to an existing voice;
    `overwrite` starts it over. `settings` are fields of `Settings`:

    - `slice`: "words", or "vad" without a transcript.
    - `whisper`: a size, or a .pt file.
    - `language`: detected by default.
    - `transcripts`: .srt, .vtt or .json files, one for each recording.
    - `verify`: check each clip with a second transcription.
    - `high_pass`: cutoff in Hz.
    - `allow`: reasons for which clips are not rejected.
    - `device`, `threads`, `voices_dir`, `models_dir`

    Raises DifftoolError: 2 for invalid settings, 4 for recordings that cannot be read or give no clip, or a voice that
    prep did not make, 75 while another run prepares or trains it.
    """
    return perform(plan_prep_with(sources, voice, consent, **settings), overwrite=overwrite, track=track)


def perform(plan: PrepPlan, *, overwrite: bool = False, track: Track | None = None) -> Prepared:
    """Executes a plan, or what is left of it."""
    before = _before(plan, overwrite=overwrite)
    with writable(plan.folder.resolve().parent, plan.work, option="--voices-dir"), lock(plan.work):
        for left in (*plan.work.glob(TEMPORARY), *leftovers(plan.folder)):
            left.unlink() if left.is_file() else shutil.rmtree(left)  # left by a killed run
        given = {source.sha256: source for source in plan.sources}
        sources = [*_earlier(plan, before, given), *given.values()]
        key = _key(plan, sources)
        if before and before["prep"].get("key") == key:
            if not (changed := damaged(plan.folder, before["prep"]["files"])):
                return _prepared(plan, before, fresh=False)
            log.warning("%s in %s was changed; writing the voice again", changed[0], plan.folder)
        failed: dict[str, str] = {}
        seconds: dict[str, float] = {}
        done: list[tuple[Source, stages.Done]] = []
        errors: list[DifftoolError] = []

        def steps() -> Iterator[None]:
            for source in sources:
                reached = 0
                try:
                    for share in stages.run(plan, source, seconds):
                        percent = int(100 * share)
                        for _ in range(percent - reached):
                            yield
                        reached = max(reached, percent)
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


def _before(plan: PrepPlan, *, overwrite: bool) -> VoiceNote | None:
    """voice.json of the existing voice, None where there is none or it is overwritten. Raises DifftoolError 4 for a
    voice that prep did not make, unless it may be overwritten."""
    folder = plan.folder
    note = read_json(folder / NOTE) if (folder / NOTE).exists() else {}
    if not folder.is_dir() and os.path.lexists(folder):
        fault = "is a link, but not to a folder" if folder.is_symlink() else "is not a folder"
        raise DifftoolError(Exit.FILE, f"{folder} {fault}", "choose another --voice, or move it away")
    not_in_training(folder)
    if isinstance(note.get("prep"), Mapping):
        if not overwrite:
            return cast(VoiceNote, note)
        _check_trained(plan, note)
        return None
    inside = [*folder.iterdir()] if folder.is_dir() else []
    message = f"{folder} contains a voice that was not made by voice prep"
    taken = next((path.name for path in inside if path.name in OURS - {NOTE}), None)
    if taken:
        raise DifftoolError(Exit.FILE, f"{message}: {taken} would be replaced", "choose another --voice")
    if not overwrite and any(path.suffix.lower() in (*KINDS, ".pth") for path in inside):
        hint = "choose another --voice, or add --overwrite, which keeps its files"
        raise DifftoolError(Exit.FILE, message, hint)
    return None


def _check_trained(plan: PrepPlan, note: Mapping[str, Any]) -> None:
    """Raises DifftoolError 4 where a voice that starts over with other recordings would speak with what was learned
    from those before."""
    learned = next(plan.folder.glob(f"{TRAINED}/*/{WEIGHTS}"), None)
    kept = {source.sha256 for source in plan.sources}
    if learned and not any(source["sha256"] in kept for source in note.get("sources", [])):
        message = f"{learned} was learned from other recordings than these"
        raise DifftoolError(Exit.FILE, message, "choose another --voice, or remove its folder first")


def _key(plan: PrepPlan, sources: Iterable[Source]) -> str:
    """Hash of everything that a voice depends on."""
    terms = {name: value for name, value in plan.consent.items() if name != "date"}
    keys = [stages.key_of(plan, source) for source in sources]
    text = json.dumps([noted(plan.settings), terms, keys], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _earlier(plan: PrepPlan, before: VoiceNote | None, given: dict[str, Source]) -> list[Source]:
    """The recordings of the existing voice, in order; those that are given again are taken out of `given`, the others
    keep their clips."""
    transcriber = plan.sources[0].transcriber
    model = transcriber if isinstance(transcriber, Whisper) else None
    sources = []
    for note in before.get("sources", []) if before else []:
        if note["sha256"] in given:
            sources.append(given.pop(note["sha256"]))
            continue
        known = _Known(note["key"]) if note["key"] else None
        source = Source(Path(note["path"]), note["sha256"], known)
        if not stages.is_done(plan, source):
            source = source._replace(transcriber=model)
            _check_available(plan, source)
        sources.append(source)
    return sources


def _check_available(plan: PrepPlan, source: Source) -> None:
    """Raises DifftoolError 4 for a recording of the existing voice that must be processed again and cannot be."""
    exists = source.path.is_file() and digest_of(source.path) == source.sha256
    has_words = plan.settings.slice == "vad" or source.transcriber is not None
    if (exists and has_words) or stages.is_done(plan, source):
        return
    fault = "has no transcript" if exists else "is missing or was changed"
    message = f"{source.path}, a recording of {plan.name}, {fault}"
    raise DifftoolError(Exit.FILE, message, "pass it again, or start over with --overwrite")


class _Known:
    """A Transcriber whose transcript is stored already."""

    heard_language: str | None = None

    def __init__(self, key: str) -> None:
        self.key = key

    def __call__(self, samples: Any, spans: Any) -> Iterator[Any]:
        raise AssertionError("its transcript is stored")


def _prepared(plan: PrepPlan, note: VoiceNote, *, fresh: bool) -> Prepared:
    """The content of the folder of a voice."""
    report = cast(Summary, read_json(plan.folder / "report.json"))
    labels = names([Path(source["path"]) for source in note["sources"]])
    warnings = []
    for source in note["sources"]:
        label = labels[Path(source["path"])]
        warnings += [f"{label}: {warning}" for warning in source["warnings"]]
    return Prepared(
        plan.folder,
        Grade(**report["grade"]),
        report["clips"],
        report["kept_seconds"],
        report["total_seconds"],
        report["reasons"],
        failed=note["prep"]["failed"],
        fresh=fresh,
        seconds={},
        warnings=warnings,
    )


def _written(
    plan: PrepPlan,
    done: Sequence[tuple[Source, stages.Done]],
    failed: dict[str, str],
    key: str,
    before: VoiceNote | None,
) -> VoiceNote:
    """Writes the folder of the voice beside the existing one, and replaces that."""
    # 1. the takes of all recordings, without duplicates
    labels = names([source.path for source, _ in done])
    takes = [_placed(labels[source.path], result, take) for source, result in done for take in result.takes]
    if speakers.REASON not in plan.settings.allow:
        speakers.leave_out(takes, speakers.of_clips(_clips(plan.folder, before)))
    speakers.rate(takes)
    if "duplicate" not in plan.settings.allow:
        twins.leave_out(takes)
    clips = [take for take in takes if not take["reasons"]]
    rejected = [take for take in takes if take["reasons"]]
    if not clips:
        raise _nothing(rejected, [source.path.name for source, _ in done])
    # 2. everything that depends on them, in a temporary folder
    place = plan.folder.resolve()  # the target of a link may be on another disk
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
        report.write(new / "report.html", summary, takes, PACKAGES)
        note = _note(plan, done, graded, before, {"key": key, "failed": failed, "files": digests(new)})
        write_json(new / NOTE, note)
        # 3. files of the user, and the exchange of both folders
        for path in _his_own(place):
            _carried(path, new / path.relative_to(place))
        replace_folder(new, place)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return note


def _clips(folder: Path, before: VoiceNote | None) -> list[Path]:
    """The clips of the existing voice that are intact."""
    files = before["prep"]["files"] if before else {}
    clips = {name: sha256 for name, sha256 in files.items() if name.startswith("clips/")}
    lost = damaged(folder, clips)
    return [folder / name for name in clips if name not in lost]


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
    """Chooses the references among the clips, and writes them: for Tortoise stretches of some, for F5-TTS the best clip
    with its words."""
    (folder / "refs" / "tortoise").mkdir(parents=True)
    references = refs.choose_references(clips, paths)
    for number, reference in enumerate(references, 1):
        sound = refs.cut(paths[reference.clip], reference.start)
        write_short(folder / "refs" / "tortoise" / f"{number}.wav", sound, CODE_HZ, subtype="PCM_16")
    write_json(folder / "refs" / "tortoise.json", {"references": _used(references, clips)})
    best = references[0].clip
    if text := " ".join(clips[best]["text"].split()):
        (folder / "refs" / "f5").mkdir()
        shutil.copyfile(paths[best], folder / "refs" / "f5" / "1.wav")
        write_text(folder / "refs" / "f5" / "1.txt", f"{text}\n")
    return references


def _used(references: Sequence[refs.Reference], clips: Sequence[VoiceTake]) -> list[Used]:
    """The origin of each reference."""
    used: list[Used] = []
    for reference in references:
        clip = clips[reference.clip].get("id", "")
        used.append({"clip": clip, "start": reference.start, "score": reference.score})
    return used


def _note(
    plan: PrepPlan, done: Sequence[tuple[Source, stages.Done]], graded: Grade, before: VoiceNote | None, prep: PrepNote
) -> VoiceNote:
    """The content of voice.json."""
    heard = [result.source["language"] for _, result in done]
    languages = list(dict.fromkeys(language for language in heard if language))
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
    """Labels of recordings in lists: their file names, or where several have the same name, their paths from their
    common folder."""
    by_name: dict[str, list[Path]] = {}
    for path in dict.fromkeys(paths):
        by_name.setdefault(path.name, []).append(path)
    labels = {}
    for name, same in by_name.items():
        if len(same) == 1:
            labels[same[0]] = name
            continue
        common = os.path.commonpath([path.absolute().parent for path in same])
        labels |= {path: str(path.absolute().relative_to(common)) for path in same}
    return labels


def _placed(source: str, result: stages.Done, take: KeptTake) -> VoiceTake:
    return {"source": source, **take, "folder": result.folder, "language": result.source["language"]}


def _unread(result: stages.Done) -> list[str]:
    """A warning where the texts of a recording keep their numbers as digits."""
    language = result.source["language"]
    texts = [take["text"] for take in result.takes if not take["reasons"]]
    has_digits = any(char.isdecimal() for text in texts for char in text)
    if language == "en" or not has_digits:
        return []
    if language:
        return [f"metadata.csv keeps numbers as digits: spelling them out is not supported for the language {language}"]
    return ["metadata.csv keeps numbers as digits: the language is unknown; set --language"]


def _listed(take: VoiceTake) -> ListedTake:
    """A take as it is listed in report.json and rejected.jsonl."""
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
    ordered = sorted(lost, key=lambda reason: (-lost[reason], reason))
    return {reason: round(lost[reason], 1) for reason in ordered}


def _nothing(rejected: Sequence[VoiceTake], recordings: Sequence[str]) -> DifftoolError:
    lost = _lost(rejected)
    worst = next((reason for reason in lost if reason in GATES), None)
    losses = [f"{seconds:.0f} s {reason.replace('_', ' ')}" for reason, seconds in lost.items()]
    label = recordings[0] + (f" and {len(recordings) - 1} more recordings" if recordings[1:] else "")
    message = f"{label}: no usable speech: {', '.join(losses[:3])}" if losses else f"{label}: it contains no speech"
    hint = GATES[worst].advice if worst else "use another recording"
    return DifftoolError(Exit.FILE, message, hint)


def _write_lists(folder: Path, clips: Sequence[VoiceTake], rejected: Sequence[VoiceTake]) -> None:
    """Writes metadata.csv in LJSpeech form, the lists for trainers, the words with their times, and the rejected
    takes."""
    lines, words = [], []
    train: list[str] = []
    validation: list[str] = []
    for k, clip in enumerate(clips):
        name = clip.get("id")
        text = " ".join(clip["text"].replace("|", " ").split())
        normalised = written_out(text) if clip["language"] == "en" else text
        lines.append(f"{name}|{text}|{normalised}")
        part = validation if k % HELD_BACK == HELD_BACK // 2 else train
        part.append(f"clips/{name}.wav|{text}")
        timed = [
            {"start": start, "end": end, "word": word.strip(), "probability": probability}
            for start, end, word, probability in clip["words"]
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
    """Files of the user in the folder of a voice: files and links, and whole folders of other names."""
    note = note_of(folder)
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in OURS:
            yield path
        elif path.is_dir():
            files = (inner for inner in path.rglob("*") if not inner.is_dir())
            yield from (file for file in files if not made(note, folder, file))


def _carried(source: Path, target: Path) -> None:
    """Links or copies a file of the user to the new folder. Raises DifftoolError 4 where prep writes a file of that
    name."""
    if os.path.lexists(target):
        message = f"{source} was not made by voice prep and would be replaced"
        raise DifftoolError(Exit.FILE, message, "move it away, and run the same command again")
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        target.symlink_to(source.readlink())
    elif source.is_dir():
        shutil.copytree(source, target, symlinks=True, copy_function=_linked)
    else:
        _linked(source, target)


def _linked(source: str | Path, target: str | Path) -> None:
    """Links a file, or where the disk does not support links, copies it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
