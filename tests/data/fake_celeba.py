"""A small made-up CelebA in the very layout of the original."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

ATTRIBUTES = """
5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose
Black_Hair Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee
Gray_Hair Heavy_Makeup High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard
Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair
Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace Wearing_Necktie Young
"""
POINTS = """
lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x
rightmouth_y
"""


def attributes(count: int) -> np.ndarray:
    """-1 or 1, ``[count, 40]``."""
    return np.random.default_rng(0).choice([-1, 1], (count, 40))


def landmarks(count: int) -> np.ndarray:
    """Near CelebA's own places, ``[count, 10]``."""
    usual = np.array([69, 111, 108, 111, 88, 136, 73, 152, 105, 152])
    return usual + np.random.default_rng(1).integers(-3, 4, (count, 10))


def partition(count: int) -> np.ndarray:
    """0, 1 or 2; the splits are not in order."""
    return np.arange(count) % 4 // 2 + (np.arange(count) % 4 == 3)


def face(number: int) -> np.ndarray:
    """A grey gradient with a block whose colour names the image, uint8 [218, 178, 3]."""
    picture = np.tile(np.linspace(0, 255, 178)[None, :, None], (218, 1, 3)).astype(np.uint8)
    picture[80:140, 60:120] = (7 * number % 256, 30, 200)
    return picture


def name(number: int) -> str:
    return f"{number + 1:06}.jpg"


def write_celeba(folder: Path, count: int = 12, *, split_folders: bool = False) -> Path:
    """All files; with `split_folders` as they are downloaded, in Anno, Eval and Img."""
    places = {"anno": folder, "eval": folder, "img": folder}
    if split_folders:
        places = {key: folder / key.capitalize() for key in places}
    pictures = places["img"] / "img_align_celeba"
    for place in (*places.values(), pictures):
        place.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(face(number)).save(pictures / name(number), quality=95)

    def lines(values: np.ndarray) -> list[str]:
        rows = [" ".join(f"{value:2}" for value in row) for row in values]
        return [f"{name(number)} {row}" for number, row in enumerate(rows)]

    def table(path: Path, columns: str, values: np.ndarray) -> None:
        head = [str(len(values)), " ".join(columns.split()) + " "]
        path.write_text("\n".join(head + lines(values)) + "\n")

    table(places["anno"] / "list_attr_celeba.txt", ATTRIBUTES, attributes(count))
    table(places["anno"] / "list_landmarks_align_celeba.txt", POINTS, landmarks(count))
    parts = "\n".join(lines(partition(count)[:, None])) + "\n"
    (places["eval"] / "list_eval_partition.txt").write_text(parts)
    return folder
