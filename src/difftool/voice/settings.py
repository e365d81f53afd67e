"""Settings of `voice clone` that every engine has; those of one engine are its `Options`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from ..device import DTYPES, MachineSettings, cpu_computes_bf16, machine_used
from ..errors import DifftoolError, Exit, pick
from ..presets import family
from ..settings import MACHINE, SAMPLING, TEXT, Given, knows, setting
from . import engines
from .prep.settings import WHISPER, known_size

if TYPE_CHECKING:
    import torch

MOST_CANDIDATES = 4096
INT8 = "int8"
"""8-bit weights, for engines that are QUANTISABLE: the one of QUANTISED that is faster on this CPU."""
QUANTISED = {f"{INT8}_{name}": name for name in ("fp32", "bf16")}
"""Number formats with 8-bit weights, to that of the networks without."""
FORMATS = ("auto", *DTYPES, INT8, *QUANTISED)


def known_voices(params: Given) -> list[str]:
    """The voices in the folder of `--voices-dir`."""
    from .library import names

    return names(cast(Path | None, params.get("voices_dir")))


def usable_voices(params: Given) -> list[str]:
    """The same, and those in the package."""
    from .library import usable

    return usable(cast(Path | None, params.get("voices_dir")))


@knows(lambda: FORMATS)
def known_dtype_of_speech(name: str) -> str:
    """The canonical name of a number format, also with 8-bit weights, or auto. Raises DifftoolError 2 for any other
    name."""
    return pick("dtype", name.strip().lower(), {known: known for known in FORMATS})


@dataclass(frozen=True)
class Settings(MachineSettings):
    """Settings of `voice clone`: text, voice, engine and preset."""

    dtype: str = setting(
        "auto", "Number format: auto, fp32, bf16, fp16 or int8.", panel=MACHINE, check=known_dtype_of_speech
    )

    text: str | None = setting(
        None, "Text to speak; default: standard input, or a test sentence.", argument=True, metavar="TEXT", filled=True
    )
    voice: str = setting(
        "random",
        "Voice, a&b for a mix of two, or random.",
        panel=TEXT,
        values=lambda params: [*usable_voices(params), "random"],
    )
    voices_dir: str | Path | None = setting(
        None,
        "Folder of voices; default: ./voices if it exists, else in the user data folder.",
        panel=TEXT,
        typed=Path | None,
    )
    preset: str = setting("fast", f"Preset: {', '.join(engines.PRESETS)}.", check=engines.known_preset)
    candidates: int = setting(1, "Candidates to keep.", panel=SAMPLING, least=1, most=MOST_CANDIDATES)
    seed: int = setting(0, "Random seed.", panel=SAMPLING)
    engine: str = setting(
        engines.AUTO,
        f"Engine: {', '.join(engines.ENGINES)} or auto.",
        panel=MACHINE,
        check=engines.known_engine,
    )
    models_dir: str | Path | None = setting(
        None, "Folder of models; default: in the user data folder.", panel=MACHINE, typed=Path | None
    )
    cache: bool = setting(True, "Cache conditioning latents in the voice's folder.", panel=MACHINE, stored=False)
    batch_size: int | None = setting(None, "Samples drawn at once.", panel=MACHINE, least=1, most=MOST_CANDIDATES)
    low_vram: bool = setting(False, "Keep only one network in memory at a time.", panel=MACHINE, stored=False)
    trained: bool = setting(True, "Use what voice train learned.", panel=MACHINE, stored=False)

    verify: bool = setting(False, "Check parts with Whisper; redo wrong ones.", panel=SAMPLING, stored=False)
    tries: int = setting(
        3, "Candidates of a part to try with --verify.", panel=SAMPLING, least=1, most=MOST_CANDIDATES, stored=False
    )
    whisper: str = setting(
        WHISPER,
        "Whisper size or .pt file.",
        panel=SAMPLING,
        check=known_size,
        values=lambda params: family("whisper"),
        stored=False,
    )

    exclusive: ClassVar = (*MachineSettings.exclusive, ("batch_size", "low_vram"))
    requires: ClassVar = {"tries": "verify", "whisper": "verify"}

    @property
    def quantised(self) -> bool:
        """Whether weights are rounded to 8 bits."""
        return self.dtype in (INT8, *QUANTISED)

    def machine(self) -> tuple[torch.device, torch.dtype]:
        """(device, dtype), from `choose`; with 8-bit weights the number format is that of the networks without. Raises
        DifftoolError 2 for 8-bit weights on a GPU, 3 for a CPU without a kernel for them."""
        if not self.quantised:
            return super().machine()
        usual = "bf16" if cpu_computes_bf16() else "fp32"
        device, dtype = replace(self, dtype=QUANTISED.get(self.dtype, usual)).machine()
        if device.type != "cpu":
            raise DifftoolError(Exit.USAGE, f"{self.dtype} is for CPUs", "use --device cpu, or leave out --dtype")
        from ..nets.small_batch import quantisable

        if not quantisable():
            message = "PyTorch has no kernel for 8-bit weights on this CPU"
            raise DifftoolError(Exit.MACHINE, message, "leave out --dtype")
        return device, dtype

    def machine_used(self) -> dict[str, object]:
        """The settings that select this machine again."""
        used = machine_used(*self.machine())
        return used | {"dtype": f"{INT8}_{used['dtype']}"} if self.quantised else used
