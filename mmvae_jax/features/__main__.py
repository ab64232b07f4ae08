"""Computes features by frozen networks: ``python -m mmvae_jax.features --dataset=cub ...``.

Weights are local files; nothing is downloaded. Images: a ResNet's penultimate layer, of pictures
whose short side is resized to 224 pixels and whose middle is cut out. Captions: the last layer of
BERT. Features are stored beside the data, all or nothing, where ``data.images=features`` and
``dataset=flowers`` look for them.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from mmvae_jax import entry_point
from mmvae_jax.data import cub, flowers, frozen_features, images
from mmvae_jax.data.captioned import CaptionedImages
from mmvae_jax.types import UserError, nearest

_log = logging.getLogger("mmvae_jax.features")  # `__name__` is "__main__"

_SETS: dict[str, Callable[[str], CaptionedImages]] = {"cub": cub.files, "flowers": flowers.files}


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = entry_point.Parser(
        prog="python -m mmvae_jax.features", description=__doc__, allow_abbrev=False
    )
    add = parser.add_argument
    add("--dataset", required=True, help=f"One of {', '.join(_SETS)}.")
    add("--kind", default="image-normalised", help=f"One of {', '.join(frozen_features.KINDS)}.")
    add("--weights", required=True, help="image: .safetensors or .pth; caption: BERT's folder.")
    add("--data.dir", dest="dir", default="", help="Folder of the data, as in a config.")
    add("--data.cache_dir", dest="cache_dir", default="", help="Where they are kept [DIR/prepared]")
    add("--batch_size", type=int, default=64, help="Images or captions at a time [64].")
    add("--device", default="", help="cpu, cuda, cuda:1 ... [cuda where there is one].")
    arguments = parser.parse_args(argv)
    _one_of("--dataset", arguments.dataset, _SETS)
    _one_of("--kind", arguments.kind, frozen_features.KINDS)
    if arguments.batch_size < 1:
        raise UserError(f"--batch_size={arguments.batch_size}: must be at least 1")
    return arguments


def _one_of(flag: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        known = ", ".join(allowed)
        raise UserError(f"{flag}={value}: must be one of {known}{nearest(value, allowed)}")


def _extra(module: str) -> ModuleType:
    """A module that needs the extra ``features``; UserError where that is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"features need PyTorch and its libraries ({error}): pip install -e '.[features]'"
        ) from error


def _device(name: str) -> str:
    """The device to compute on; UserError where there is no such one, or no PyTorch."""
    torch = _extra("torch")
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(f"--device={name} cannot be used: {said}") from error
    return name


def main(argv: Sequence[str]) -> Path:
    """Computes and stores the features that a command line asks for; gives their folder."""
    arguments = _arguments(argv)
    found = _SETS[arguments.dataset](arguments.dir)
    device = _device(arguments.device)
    compute = {"image": _of_images, "caption": _of_captions}[frozen_features.KINDS[arguments.kind]]
    shape, settings, make = compute(found, arguments, device)
    _log.info("%s: %s by %s on %s", found.dataset, arguments.kind, settings["network"], device)
    return frozen_features.store(found, arguments.kind, arguments.cache_dir, shape, settings, make)


_Work = tuple[tuple[int, ...], dict[str, object], Callable[[], Iterator[np.ndarray]]]


def _of_images(found: CaptionedImages, arguments: argparse.Namespace, device: str) -> _Work:
    """Shape, settings and blocks of the images' features."""
    resnet = _extra("mmvae_jax.features.resnet")
    path = Path(arguments.weights)
    network = resnet.load(path, normalise=arguments.kind == "image-normalised", device=device)
    resize = images.Resize(resnet.SIZE)

    def picture(file: Path) -> np.ndarray:
        return resize(Image.fromarray(images.read_rgb(file, convert=True)))

    def make() -> Iterator[np.ndarray]:
        return map(network, images.read_blocks(found.paths, picture, arguments.batch_size))

    settings = {"network": network.name, "weights": _hash(path), "size": resnet.SIZE}
    return network.shape, settings, make


def _of_captions(found: CaptionedImages, arguments: argparse.Namespace, device: str) -> _Work:
    """Shape, settings and blocks of the captions' features."""
    bert = _extra("mmvae_jax.features.bert")
    folder = Path(arguments.weights)
    pool = arguments.kind.removeprefix("caption-")
    network = bert.load(folder, pool=pool, device=device)

    def make() -> Iterator[np.ndarray]:
        for start in range(0, len(found.captions), arguments.batch_size):
            yield network(found.captions[start : start + arguments.batch_size])

    said = _hash(bert.weights_in(folder))
    return network.shape, {"network": network.name, "weights": said, "length": bert.LENGTH}, make


def _hash(path: Path) -> str:
    """Of a file's content, 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def run() -> None:
    """Entry point: exit status 2 and one line on bad input."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("mmvae_jax").setLevel(logging.INFO)
    with entry_point.one_line_errors():
        print(f"stored {main(sys.argv[1:])}")


if __name__ == "__main__":
    run()
