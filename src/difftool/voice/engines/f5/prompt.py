"""The reference of F5-TTS: a clip and its words."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import soundfile
import torch
from torch import Tensor
from torchaudio.functional import resample

from ....audio.files import RATE, Samples, read_sound
from ....errors import DifftoolError, Exit
from ....files import expanded, load_tensors, read_json, read_text, save_tensors
from ...library import PACKAGE, Voice, note_of
from ...prep.settings import WHISPER
from ...prep.transcribe import Whisper, installed_size, pull_hint
from ...settings import Settings
from ...text import written_out
from .. import CLIP_HZ, Reference
from .clip import ENOUGH, LONGEST, as_package, cut, is_long, raised, trimmed
from .hanzi import numbers_in_hanzi
from .pace import letters, spoken_seconds
from .tokens import readable

log = logging.getLogger(__name__)

SLOWEST, FASTEST = 6.0, 25.0
"""Characters a second that are possible, as in voice prep."""
TYPICAL, LEAST = 8.0, 1.0
"""Seconds of a clip that suits best, where nothing else is known of it, and of the speech that one must have."""


class Prompt(NamedTuple):
    """A reference as the network hears and reads it."""

    sound: Tensor
    """(S,) at 24 kHz"""
    text: str
    """Its words. They end with a full stop and a space, or with a full-width full stop."""
    gain: float = 1.0
    """What the sound was multiplied by; the result is divided by it."""


class Recorded(NamedTuple):
    """A recording of a voice."""

    path: Path
    text: str | None
    """Its words, where they are known."""
    words: Path
    """The file that has them, or would have."""
    seconds: float


class Source(NamedTuple):
    """What a prompt is made of."""

    sound: Path | Samples
    """A file, or a sound (S,) at RATE."""
    text: str | None = None
    words: Path | None = None
    language: str | None = None
    cache: Path | None = None
    """A folder for what was transcribed."""

    @property
    def name(self) -> str:
        return str(self.sound) if isinstance(self.sound, Path) else "the reference clip"


def prompt_of(reference: Reference, settings: Settings, *, compat: bool = False) -> Prompt:
    """The prompt of a voice, or of clips. Words that are not known are transcribed by Whisper. `compat` prepares it as
    f5-tts does.

    Raises DifftoolError: 2 where there is no reference, or several voices are mixed, 4 where a recording has no speech,
    its words do not fit, or they are not known and Whisper is not installed.
    """
    source = _source(reference, settings)
    return _package_prompt(source, settings) if compat else _prompt(source, settings)


def _source(reference: Reference, settings: Settings) -> Source:
    if len(reference.voices) > 1:
        raise DifftoolError(Exit.USAGE, "F5-TTS does not mix voices", "use one of them, or --engine tortoise")
    if reference.voices:
        (voice,) = reference.voices
        clip = recorded(voice)
        words = None if voice.folder.parent == PACKAGE else clip.words
        return Source(clip.path, clip.text, words, language_of(voice), cache_of(voice, settings))
    if reference.clips:
        clip = min(reference.clips, key=lambda clip: abs(len(clip) / CLIP_HZ - TYPICAL))
        return Source(resample(clip, CLIP_HZ, RATE).numpy())
    raise DifftoolError(Exit.USAGE, "F5-TTS needs a voice", "add --voice NAME; difftool voice list shows the names")


def language_of(voice: Voice) -> str | None:
    """The language of a voice, where it is known."""
    language = note_of(voice.folder).get("language")
    return language if isinstance(language, str) else None


def cache_of(voice: Voice, settings: Settings) -> Path | None:
    """The folder of a voice for what was transcribed; None where nothing may be kept."""
    is_cached = settings.cache and voice.folder.parent != PACKAGE
    return voice.folder / "latents" if is_cached else None


def recorded(voice: Voice) -> Recorded:
    """The recording of a voice that suits F5-TTS best: with words, of ENOUGH to LONGEST seconds, with little noise."""
    table = voice.folder / "metadata.csv"
    texts = _texts(table)
    noise = _signal_to_noise(voice.folder / "report.json")

    def known(path: Path) -> Recorded:
        own = path.with_suffix(".txt")
        text = read_text(own).strip() if own.is_file() else ""
        is_listed = not text and path.stem in texts
        text = text or texts.get(path.stem, "").strip()
        return Recorded(path, text or None, table if is_listed else own, _seconds(path))

    def rank(clip: Recorded) -> tuple[bool, float, float, float]:
        has_words = clip.text is not None and clip.seconds <= LONGEST
        far = abs(min(clip.seconds, LONGEST) - TYPICAL)
        return has_words, min(clip.seconds, ENOUGH), noise.get(clip.path.stem, 0.0), -far

    return max(map(known, voice.clips), key=rank)


def _texts(table: Path) -> dict[str, str]:
    """The text of each clip in a metadata.csv in LJSpeech form; none where there is no such file."""
    lines = read_text(table).splitlines() if table.is_file() else []
    rows = [line.split("|") for line in lines]
    return {Path(row[0]).stem: row[1] for row in rows if len(row) > 1}


def _signal_to_noise(report: Path) -> dict[str, float]:
    """dB of each clip in the report.json of voice prep; none where there is no such file, or it is damaged."""
    try:
        takes = read_json(report)["takes"] if report.is_file() else []
        return {str(take["id"]): float(take["figures"].get("snr") or 0.0) for take in takes if "id" in take}
    except (DifftoolError, AttributeError, KeyError, TypeError, ValueError):
        return {}


def _seconds(path: Path) -> float:
    try:
        return soundfile.info(path).duration
    except (soundfile.LibsndfileError, OSError):
        return len(read_sound(path, RATE)) / RATE


def _prompt(source: Source, settings: Settings) -> Prompt:
    sound = trimmed(read_sound(source.sound, RATE) if isinstance(source.sound, Path) else source.sound)
    name, text, language = source.name, source.text, source.language
    if is_long(sound):
        sound, text = trimmed(cut(sound)), None
        name = f"the first {len(sound) / RATE:.1f} s of {name}"
    if not len(sound) or spoken_seconds(sound) < LEAST:
        raise DifftoolError(Exit.FILE, f"{name} has less than a second of speech", "use another recording")
    if text is None:
        text, language = transcribed(sound, name, source, settings)
        if source.text is not None:
            log.warning("using only %s, with the words that Whisper hears there: F5-TTS hears at most 12 s", name)
    text = read_as(text, language)
    check_rate(text, sound, name, source.words)
    heard, gain = raised(torch.from_numpy(sound))
    return Prompt(heard, ended(text), gain)


def _package_prompt(source: Source, settings: Settings) -> Prompt:
    sound, gain = as_package(source.sound)
    if not len(sound):
        raise DifftoolError(Exit.FILE, f"{source.name} has no speech", "use another recording")
    text = source.text or transcribed(sound.numpy(), source.name, source, settings)[0]
    text = ended(text.strip())
    return Prompt(sound, text if text.endswith("。") else f"{text} ", gain)


def read_as(text: str, language: str | None) -> str:
    """The words of a sound as the network reads them."""
    text = numbers_in_hanzi(" ".join(text.split()))
    return readable(written_out(text) if language in (None, "en") else text)


def ended(text: str) -> str:
    """A text with a stop at its end, as f5-tts puts it there."""
    if text.endswith("。"):
        return text
    return f"{text} " if text.endswith(".") else f"{text}. "


def check_rate(text: str, sound: Samples, name: str, words: Path | None) -> None:
    """Raises DifftoolError 4 for a text that cannot have been said in a sound."""
    size = letters(text)
    slowest, fastest = size / spoken_seconds(sound), size / (len(sound) / RATE)
    if slowest < SLOWEST or fastest > FASTEST:
        rate = slowest if slowest < SLOWEST else fastest
        message = f"the words of {name} do not fit its length: {rate:.0f} characters per second, not 6 to 25"
        hint = "use another recording"
        if words is not None:
            hint = f"{'correct them in' if words.is_file() else 'write them to'} {words}, or {hint}"
        raise DifftoolError(Exit.FILE, message, hint)


def transcribed(sound: Samples, name: str, source: Source, settings: Settings) -> tuple[str, str | None]:
    """The words of a sound (S,) at RATE, as Whisper hears them, and their language."""
    models_dir = None if settings.models_dir is None else expanded(settings.models_dir)
    size = installed_size(models_dir)
    if size is None:
        message = f"the words of {name} are not known, and Whisper is not installed"
        hint = pull_hint(WHISPER, models_dir)
        if name != source.name:
            hint += f", or use a recording of at most {LONGEST:g} s with its words"
        elif source.words is not None:
            hint += f", or write them to {source.words}"
        raise DifftoolError(Exit.FILE, message, hint)
    whisper = Whisper(size, settings.machine()[0], _one_language(source.language), models_dir)
    key = hashlib.sha256(f"{whisper.key} {hashlib.sha256(sound.tobytes()).hexdigest()}".encode()).hexdigest()[:16]
    path = source.cache / f"f5-{key}.safetensors" if source.cache else None
    if path is not None and (kept := _kept(path)) and kept.get("text"):
        return kept["text"], kept.get("language") or None
    text, language = whisper.text_of(sound), whisper.heard_language or source.language
    if not text:
        raise DifftoolError(Exit.FILE, f"Whisper hears no words in {name}", "use another recording")
    if path is not None:
        try:
            path.parent.mkdir(exist_ok=True)
            save_tensors(path, {"sound": torch.from_numpy(sound)}, {"text": text, "language": language or ""})
        except OSError as error:
            log.warning("cannot cache the words of %s in %s: %s", name, path.parent, error.strerror)
    return text, language


def _kept(path: Path) -> Mapping[str, str] | None:
    """What was transcribed before."""
    if not path.exists():
        return None
    try:
        return load_tensors(path).metadata
    except DifftoolError as error:
        log.warning("%s is damaged; creating it again (%s)", path, error)
        return None


def _one_language(language: str | None) -> str | None:
    """The language of a voice, where it has one and not several."""
    return language if language and len(language.split()) == 1 else None
