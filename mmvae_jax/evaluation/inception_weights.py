"""Inception-v3's weights: a safetensors file with the tensors of the published checkpoint.

They keep its names and PyTorch's layout: of every convolution ``NAME.conv.weight`` and its batch
normalisation ``NAME.bn.weight``, ``bias``, ``running_mean`` and ``running_var``, and the classifier
``fc``. That is not used, but tells this Inception-v3 from others of the same names: the published
one has 1008 classes. ``mmvae_jax.convert_inception`` writes such a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from mmvae_jax.evaluation.inception import FEATURES, Inception, InceptionV3, parameter_shapes
from mmvae_jax.types import UserError, Variables

COMMAND = "python -m mmvae_jax.convert_inception CHECKPOINT.pth WEIGHTS.safetensors"
ORIGIN = "sha256"  # in the file's metadata: the hash of the checkpoint that was converted
NETWORK = InceptionV3()

_CLASSES = 1008
_EPSILON = 1e-3  # of the published batch normalisation
_WEIGHT = "conv.weight"
_NORMALISATION = ("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
_COUNTERS = ".num_batches_tracked"  # of training; PyTorch stores them with the rest


def tensor_shapes(network: InceptionV3) -> dict[str, tuple[int, ...]]:
    """{name: shape} of the tensors of a checkpoint."""
    found: dict[str, tuple[int, ...]] = {}
    for name, parts in parameter_shapes(network).items():
        rows, columns, inputs, outputs = parts["kernel"].shape
        found[f"{name}.{_WEIGHT}"] = (outputs, inputs, rows, columns)
        found |= {f"{name}.{part}": (outputs,) for part in _NORMALISATION}
    features = FEATURES // network.divisor
    return found | {"fc.weight": (_CLASSES, features), "fc.bias": (_CLASSES,)}


def check(shapes: Mapping[str, tuple[int, ...]], source: str | Path, network: InceptionV3) -> None:
    """Whether tensors of these shapes are those of the published network.

    Raises:
      UserError: one is missing, is not part of it or has another shape.
    """
    expected = tensor_shapes(network)
    shapes = {name: shape for name, shape in shapes.items() if not name.endswith(_COUNTERS)}
    advice = "take the checkpoint pt_inception-2015-12-05 of the PyTorch port of FID"
    missing, unknown = sorted(expected.keys() - shapes), sorted(shapes.keys() - expected)
    if missing:
        raise UserError(
            f"{source} lacks {len(missing)} of {len(expected)} tensors, {missing[0]!r} among them: "
            f"it is not the Inception-v3 that FID is defined by; {advice}"
        )
    if unknown:
        raise UserError(
            f"{source} holds the tensor {unknown[0]!r}, which the Inception-v3 that FID is defined "
            f"by does not have; {advice}"
        )
    for name, shape in expected.items():
        if tuple(shapes[name]) != shape:
            raise UserError(
                f"{source}: the tensor {name!r} has shape {list(shapes[name])}, but {list(shape)} "
                f"in the Inception-v3 that FID is defined by; {advice}"
            )


def read(path: str | Path, network: InceptionV3 | None = None) -> Inception:
    """The network with the weights of a safetensors file.

    Args:
      path: the file.
      network: the published one, unless told otherwise.

    Raises:
      UserError: there is no such file; it is damaged or of another kind; see `check` and `folded`.
    """
    # Whoever has no weights needs no library to read them.
    from safetensors import SafetensorError, safe_open

    path, network = Path(path).expanduser(), network or NETWORK
    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys()
            check({name: file.get_slice(name).get_shape() for name in names}, path, network)
            _check_type({name: file.get_slice(name).get_dtype() for name in names}, path)
            tensors = {name: file.get_tensor(name) for name in names if not name.startswith("fc.")}
            about = file.metadata() or {}
    except OSError as error:
        reason = "there is no such file" if not path.exists() else error.strerror or error
        raise UserError(f"{path}: {reason}; it is made by {COMMAND}") from error
    except SafetensorError as error:
        raise UserError(
            f"{path} is damaged or not a safetensors file ({error}); make it again by {COMMAND}"
        ) from error
    origin = f"SHA-256 {about[ORIGIN][:8]}" if ORIGIN in about else "of unknown origin"
    return Inception(network, folded(tensors, path), origin)


def _check_type(types: Mapping[str, str], path: Path) -> None:
    for name, kind in types.items():
        if kind != "F32" and not name.endswith(_COUNTERS):
            raise UserError(
                f"{path}: the tensor {name!r} holds {kind}, not F32 as the published weights; "
                f"make it again by {COMMAND}"
            )


def folded(tensors: Mapping[str, np.ndarray], source: str | Path) -> Variables:
    """Variables of `InceptionV3` from the tensors of a checkpoint.

    Batch normalisation becomes part of the convolution before it, in float64.

    Raises:
      UserError: a convolution holds numbers that are not finite, or negative variances.
    """
    params = {}
    for name in (key.removesuffix(f".{_WEIGHT}") for key in tensors if key.endswith(_WEIGHT)):
        weight, gain, bias, mean, variance = (
            np.asarray(tensors[f"{name}.{part}"], np.float64) for part in (_WEIGHT, *_NORMALISATION)
        )
        with np.errstate(invalid="ignore"):
            scale = gain / np.sqrt(variance + _EPSILON)
        # From [out, in, rows, columns] to [rows, columns, in, out].
        found = {"kernel": weight.transpose(2, 3, 1, 0) * scale, "bias": bias - mean * scale}
        if not all(np.isfinite(values).all() for values in found.values()):
            raise UserError(
                f"{source}: the tensors {name}.* hold numbers that are not finite, or negative "
                f"variances; make it again by {COMMAND}"
            )
        params[name] = {part: jnp.asarray(values, jnp.float32) for part, values in found.items()}
    return {"params": params}
