"""Small made-up birds and flowers with captions, in the very layouts of the originals.

Image i is of one colour with a red of 12 i, and its captions say "birdI": whatever is paired with
what can be checked.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

# The second class is the one that is tested.
CLASSES = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Groove_billed_Ani")
TESTED = CLASSES[1]
PER_CLASS = 2
BIRDS = len(CLASSES) * PER_CLASS
TRAIN, TEST = np.array([0, 1, 4, 5]), np.array([2, 3])
FLOWERS = 12
# Numbers of images from 1; the classes take turns.
PARTS = {"trnid": [2, 4, 7], "valid": [1, 12], "tstid": [3, 5, 6, 8, 9, 10, 11]}
LABELS = np.arange(FLOWERS) % 3 + 1


def captions(number: int) -> list[str]:
    """Ten of an image. Of training birds "thrice" says 3 of them, "fourfold" says 4."""
    lines = [f"Bird{number} is red, line{j} says." for j in range(10)]
    if number == 0:
        lines[:3] = [f"{line} thrice." for line in lines[:3]]
        lines[:4] = [f"{line} fourfold." for line in lines[:4]]
        lines[9] = "Bird0" + " red" * 40 + "."
    return lines


def picture(number: int) -> Image.Image:
    """Wider than it is high, of a size of its own."""
    pixels = np.full((80 + number, 100, 3), 40, np.uint8)
    pixels[..., 0] = 12 * number
    return Image.fromarray(pixels)


def number_of(images: np.ndarray) -> np.ndarray:
    """The numbers that the reds of pixels [N, H, W, 3] name."""
    return np.rint(images[:, 5, 5, 0] / 12).astype(int)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _save(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(number).save(path, quality=95)


def birds() -> list[tuple[str, str]]:
    """(class, name) of every image, in order."""
    return [
        (name, f"{name[4:]}_{i:04d}_{100 * i + 17}") for name in CLASSES for i in range(PER_CLASS)
    ]


def write_cub(folder: Path) -> Path:
    """CUB_200_2011 as it is unpacked, and the captions' folder beside it."""
    listed, labels = "", ""
    for number, (name, stem) in enumerate(birds()):
        listed += f"{number + 1} {name}/{stem}.jpg\n"
        labels += f"{number + 1} {CLASSES.index(name) + 1}\n"
        _save(folder / "CUB_200_2011" / "images" / name / f"{stem}.jpg", number)
        text = "\n".join(captions(number)) + "\n"
        _write(folder / "cvpr2016_cub" / "text_c10" / name / f"{stem}.txt", text)
    _write(folder / "CUB_200_2011" / "images.txt", listed)
    _write(folder / "CUB_200_2011" / "image_class_labels.txt", labels)
    trained = [name for name in CLASSES if name != TESTED]
    _write(folder / "cvpr2016_cub" / "trainvalclasses.txt", "\n".join(trained) + "\n")
    _write(folder / "cvpr2016_cub" / "testclasses.txt", f"{TESTED}\n")
    return folder


def write_cut_out(folder: Path) -> Path:
    """The layout that the authors of MMVAE distribute."""
    texts = {"train": "", "test": ""}
    for number, (name, stem) in enumerate(birds()):
        part = "test" if name == TESTED else "train"
        _save(folder / part / name / f"{stem}.jpg", number)
        texts[part] += "\n".join(captions(number)) + "\n"
    _write(folder / "text_trainvalclasses.txt", texts["train"])
    _write(folder / "text_testclasses.txt", texts["test"])
    return folder


def write_flowers(folder: Path) -> Path:
    """102flowers as it is unpacked, its two lists, the captions, and theirs."""
    for number in range(FLOWERS):
        _save(folder / "jpg" / f"image_{number + 1:05d}.jpg", number)
        text = "\n".join(captions(number)) + "\n"
        place = folder / "text_c10" / f"class_{LABELS[number]:05d}"
        _write(place / f"image_{number + 1:05d}.txt", text)
    _write(folder / "cvpr2016_flowers" / "trainvalclasses.txt", "class_00001\nclass_00003\n")
    _write(folder / "cvpr2016_flowers" / "testclasses.txt", "class_00002\n")
    scipy.io.savemat(folder / "imagelabels.mat", {"labels": LABELS[None].astype(np.uint8)})
    parts = {key: np.array(numbers, np.uint16)[None] for key, numbers in PARTS.items()}
    scipy.io.savemat(folder / "setid.mat", parts)
    return folder
