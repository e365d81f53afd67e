"""The model of shapes in the package: what stands in assets, and whether it draws what it is told.

python bench/shapes.py pack RUN        # makes assets/shapes of a run of `difftool train --preset shapes`, in halves
python bench/shapes.py golden          # the picture that a test compares with diffusers
python bench/shapes.py read [MODEL]    # 500 captions never trained on, drawn and read by plain geometry
python bench/shapes.py settings        # the same of 200, by sampler and guidance
python bench/shapes.py negative        # how often a colour is there, without and with a negative prompt that names it
python bench/shapes.py speed           # seconds of a picture after the first, of a file of 50 prompts
python bench/shapes.py guidance        # the figure docs/guidance.png: without guidance, and more and more of it
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file

from difftool.files import read_json, write_json
from difftool.models import ASSETS
from difftool.pictures.sheets import image_grid
from difftool.text2img.draw import txt2img
from difftool.text2img.session import Session
from difftool.text2img.vocabulary import vocabulary
from difftool.train.data.shapes import Scene, draw_set
from difftool.train.previews import PIPELINE

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
SEED = 1
"""Of the scenes whose captions are drawn: none was trained on, but many of those with one object the run held out."""
CAPTION = "a red circle on a blue ground"


def pack(run: str) -> None:
    """Copies the pipeline of a run into assets, its weights in halves."""
    home = ASSETS / "shapes"
    for part in (*PIPELINE, "model_index.json"):
        source = Path(run) / part
        for file in [source] if source.is_file() else sorted(source.iterdir()):
            target = home / file.relative_to(run)
            target.parent.mkdir(exist_ok=True)
            if file.suffix == ".safetensors":
                save_file({key: value.half() for key, value in load_file(file).items()}, target, {"format": "pt"})
            else:
                shutil.copyfile(file, target)
    # without this transformers would compute in what the file is stored in, and diffusers in float32
    told = home / "text_encoder" / "config.json"
    write_json(told, {**read_json(told), "dtype": "float32", "torch_dtype": "float32"})
    print(sum(path.stat().st_size for path in home.rglob("*") if path.is_file()), "bytes")


def golden() -> None:
    """Stores the picture that a test compares with diffusers of two years."""
    made = txt2img(CAPTION, Session(device="cpu", dtype="fp32"), sampler="ddim", steps=20, guidance=3.0)[0]
    np.save(ROOT / "tests" / "golden" / "shapes.npy", made)


def held_back(count: int) -> list[Scene]:
    """Scenes of so many captions that were never trained on, no two alike."""
    _, scenes = draw_set(3 * count, held=True, seed=SEED)
    return [*{one.caption: one for one in reversed(scenes)}.values()][::-1][:count]


def drawn(session: Session, captions: Sequence[str], **settings: Any) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    return [txt2img(caption, session, seed=k, **settings)[0] for k, caption in enumerate(captions)]


def shares(scenes: Sequence[Scene], pictures: Sequence[Any]) -> dict[str, float]:
    """Of pictures, how many show what they are to show: of one object, of two, and where places are named."""
    from shape_reader import right

    found = [(scene, right(scene, pixels)) for scene, pixels in zip(scenes, pictures, strict=True)]

    def share(of: Callable[[Scene, Any], bool | None]) -> float:
        rows = [value for scene, one in found if (value := of(scene, one)) is not None]
        return sum(rows) / len(rows)

    return {
        "shape and both colours": share(lambda scene, one: one.what if len(scene.objects) == 1 else None),
        "place": share(lambda scene, one: one.where if len(scene.objects) == 1 else None),
        "two objects": share(lambda scene, one: one.what if len(scene.objects) == 2 else None),
        "two objects at their places": share(lambda scene, one: one.where if len(scene.objects) == 2 else None),
    }


def read(model: str = "shapes") -> None:
    scenes = held_back(500)
    pictures = drawn(Session(model, device="cpu"), [scene.caption for scene in scenes], steps=20)
    for name, value in shares(scenes, pictures).items():
        print(f"{name:30} {value:6.1%}")


def settings() -> None:
    """Prints the same of 200 captions by sampler and guidance, 20 calls of the network each."""
    scenes = held_back(200)
    session = Session(device="cpu")
    for sampler in ("ddim", "dpmpp_2m", "unipc", "heun"):
        for guidance in (1.0, 2.0, 3.0, 5.0):
            steps = 10 if sampler == "heun" else 20
            pictures = drawn(session, [one.caption for one in scenes], sampler=sampler, steps=steps, guidance=guidance)
            figures = ", ".join(f"{name} {value:.1%}" for name, value in shares(scenes, pictures).items())
            print(f"{sampler}, {steps} steps, guidance {guidance:g}: {figures}", flush=True)


def negative(count: int = 32) -> None:
    """Prints how many pictures of each shape, whose colour is left open, have the colour that most of them have, and
    how many still have it with a negative prompt that names it."""
    from shape_reader import read as seen

    session, sums = Session(device="cpu"), Counter[str]()
    for shape in vocabulary()["shapes"]:

        def colours(against: str | None, shape: str = shape) -> Counter[str]:
            made = txt2img(f"a {shape} on a blue ground", session, negative=against, count=count)
            return Counter(colour for pixels in made for colour in seen(pixels)[1])

        ((colour, without),) = colours(None).most_common(1)
        against = Scene(((colour, shape, ""),), "blue").caption
        with_ = colours(against)[colour]
        sums.update({"without": without, "with": with_, "all": count})
        print(f'"a {shape} on a blue ground": {without} of {count} {colour}, {with_} with "{against}"', flush=True)
    print(f"all: {sums['without']} of {sums['all']} without, {sums['with']} with it")


def speed(lines: int = 50) -> None:
    """Prints seconds of each further picture of a file of prompts on two cores: those of all but the first."""
    with tempfile.TemporaryDirectory() as place:

        def seconds(count: int) -> float:
            file = Path(place) / f"{count}.txt"
            file.write_text("".join(f"{scene.caption}\n" for scene in held_back(count)), encoding="utf-8")
            command = [sys.executable, "-m", "difftool", "txt2img", "--device", "cpu", "--threads", "2", "--json"]
            command += ["--prompts", str(file), "--output-dir", f"{file}.d", "--overwrite"]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
            return json.loads(done.stdout)["data"]["timing"]["total"]

        seconds(1)  # which fills the caches of the system
        alone, all_ = min(seconds(1) for _ in range(3)), seconds(lines)
    print(f"{alone:.2f} s for one, {(all_ - alone) / (lines - 1):.3f} s for each of {lines - 1} more")


def guidance() -> None:
    """Draws the same captions without guidance and with more and more of it, into docs/guidance.png."""
    scenes = held_back(8)
    session, scales = Session(device="cpu"), (1.0, 1.5, 3.0, 6.0)
    pictures = [drawn(session, [s.caption for s in scenes], guidance=scale) for scale in scales]
    in_rows = [one for row in zip(*pictures, strict=True) for one in row]  # one caption each
    sheet = Image.fromarray(image_grid(np.stack(in_rows), len(scales)))
    framed = Image.new("RGB", (sheet.width, sheet.height + 32), "white")
    framed.paste(sheet, (0, 32))
    for k, scale in enumerate(scales):
        place = (int((k + 0.5) * sheet.width / len(scales)), 16)
        ImageDraw.Draw(framed).text(place, f"guidance {scale:g}", fill="black", font_size=19, anchor="mm")
    framed.save(ROOT / "docs" / "guidance.png")


if __name__ == "__main__":
    name, *given = sys.argv[1:] or [""]
    known: dict[str, Callable[..., None]] = {
        one.__name__: one for one in (pack, golden, read, settings, negative, speed, guidance)
    }
    if name not in known:
        sys.exit(__doc__)
    torch.set_num_threads(2)
    known[name](*given)
