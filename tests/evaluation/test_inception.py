"""Inception-v3 against PyTorch, the file of its weights, and FID and KID from end to end."""

from __future__ import annotations

import functools
import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as safetensors

from mmvae_jax import convert_inception
from mmvae_jax.evaluation import (
    Context,
    NotApplicable,
    Settings,
    distances,
    evaluate,
    inception,
    inception_weights,
    quality,
)
from mmvae_jax.evaluation.inception import Inception, InceptionV3, pool_features, prepared
from mmvae_jax.evaluation.inception_quality import inception_quality
from mmvae_jax.evaluation.quality import stored
from mmvae_jax.evaluation.sampling import some
from mmvae_jax.types import ModalitySpec, UserError
from tests.evaluation import fakes
from tests.evaluation import inception_numbers as numbers

THIN = InceptionV3(divisor=16, size=75)


@functools.cache
def checkpoint(network=THIN):
    """The tensors of a checkpoint of such a network."""
    shapes = inception_weights.tensor_shapes(network)
    return {name: numbers.tensor(name, shape) for name, shape in shapes.items()}


@functools.cache
def thin():
    return Inception(THIN, inception_weights.folded(checkpoint(), "made"), "made up")


@pytest.fixture(scope="module")
def written():
    """What PyTorch gives: see tests/evaluation/torch_inception.py."""
    with np.load(numbers.FIXTURE, allow_pickle=False) as file:
        return dict(file)


def test_pool_features_agree_with_pytorch(written, monkeypatch):
    monkeypatch.setattr(inception, "BATCH", 2)
    network = InceptionV3()
    weights = inception_weights.folded(checkpoint(network), "made")
    found = pool_features(Inception(network, weights, "made"), numbers.images(2, 32, 32))
    assert found.shape == (2, inception.FEATURES) and found.dtype == np.float32
    expected = written["features"]
    # Images and features differ: constants would agree with anything.
    assert np.abs(expected[0] - expected[1]).mean() > 0.01 * expected.mean()
    assert expected.std(1).min() > 0.1 * expected.mean()
    np.testing.assert_allclose(found[:, numbers.CHANNELS], expected, rtol=2e-3, atol=2e-5)
    close = np.abs(found[:, numbers.CHANNELS] - expected).mean() / expected.mean()
    assert close < 1e-5


def test_resizing_agrees_with_pytorch(written):
    for name, size in (("larger", (28, 31)), ("smaller", (330, 641))):
        found = np.asarray(prepared(numbers.images(1, *size), 299)).transpose(0, 3, 1, 2)
        found = found[:, :, numbers.PLACES, numbers.PLACES]
        np.testing.assert_allclose(found, written[name], atol=2e-5)


def test_the_written_numbers_are_what_pytorch_gives(written):
    pytest.importorskip("torch")
    from tests.evaluation import torch_inception

    again = torch_inception.fixture()
    assert again.keys() == written.keys()
    for name, values in again.items():
        np.testing.assert_allclose(values, written[name], rtol=1e-4, atol=1e-5)


def test_the_published_shapes():
    shapes = inception_weights.tensor_shapes(InceptionV3())
    assert shapes["Conv2d_1a_3x3.conv.weight"] == (32, 3, 3, 3)
    assert shapes["Mixed_6e.branch7x7dbl_4.conv.weight"] == (192, 192, 7, 1)
    assert shapes["Mixed_7c.branch3x3dbl_3b.bn.running_var"] == (384,)
    assert shapes["fc.weight"] == (1008, 2048)
    kernels = [shape for name, shape in shapes.items() if name.endswith("conv.weight")]
    # What the network is known to have: 94 convolutions, 17,216 channels, 21.8 million numbers.
    assert len(kernels) == 94 and len(shapes) == 5 * 94 + 2
    assert sum(shape[0] for shape in kernels) == 17_216
    assert sum(int(np.prod(shape)) for shape in kernels) == 21_751_136


def bilinear(image, rows, columns):
    """By the formula: the pixels around each centre, at the border the last one."""
    found = image.astype(np.float64)
    for axis, size in ((0, rows), (1, columns)):
        place = (np.arange(size) + 0.5) * found.shape[axis] / size - 0.5
        place = np.clip(place, 0, found.shape[axis] - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, found.shape[axis] - 1)
        share = (place - low).reshape([-1 if i == axis else 1 for i in range(3)])
        found = (1 - share) * found.take(low, axis) + share * found.take(high, axis)
    return found


def test_resizing_by_the_formula():
    for size in ((5, 4), (320, 9)):
        images = numbers.images(2, *size)
        found = np.asarray(prepared(images, 299))
        assert found.shape == (2, 299, 299, 3)
        for image, shown in zip(images, found, strict=True):
            np.testing.assert_allclose(shown, 2 * bilinear(image / 255, 299, 299) - 1, atol=3e-5)
    grey = numbers.images(2, 5, 4, channels=1)
    coloured = np.repeat(grey, 3, -1)
    np.testing.assert_array_equal(prepared(grey, 75), prepared(coloured, 75))


# --- the file -------------------------------------------------------------------------------------


def write(path, **changes):
    """A file of the thin network's weights, with some tensors changed; None: left out."""
    tensors = {**checkpoint(), **{name.replace("/", "."): x for name, x in changes.items()}}
    tensors = {name: x for name, x in tensors.items() if x is not None}
    safetensors.save_file(tensors, path, metadata={"sha256": "0123456789"})
    return path


def test_weights_survive_the_file(tmp_path):
    counter = {"Mixed_5b/branch1x1/bn/num_batches_tracked": np.array(0)}
    found = inception_weights.read(write(tmp_path / "w.safetensors", **counter), THIN)
    assert found.origin == "SHA-256 01234567"
    for name, parts in thin().variables["params"].items():
        for part, values in parts.items():
            np.testing.assert_array_equal(found.variables["params"][name][part], values)


def test_normalisation_is_folded():
    part = "Mixed_5b.branch1x1"
    kernel = np.asarray(thin().variables["params"][part]["kernel"])
    bias = np.asarray(thin().variables["params"][part]["bias"])
    given = {name.removeprefix(f"{part}."): x for name, x in checkpoint().items()}
    x = np.random.default_rng(0).normal(size=kernel.shape[2])
    plain = given["conv.weight"][:, :, 0, 0] @ x
    normal = (plain - given["bn.running_mean"]) / np.sqrt(given["bn.running_var"] + 0.001)
    expected = given["bn.weight"] * normal + given["bn.bias"]
    np.testing.assert_allclose(x @ kernel[0, 0] + bias, expected, rtol=1e-4, atol=1e-5)


BIAS = "Mixed_7a/branch3x3_1/bn/bias"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({BIAS: None}, r"lacks 1 of 472 tensors, 'Mixed_7a.branch3x3_1.bn.bias' among"),
        ({BIAS: np.zeros(3, np.float32)}, r"bn.bias' has shape \[3\], but \[12\]"),
        ({"fc/bias": np.zeros(1000, np.float32)}, r"'fc.bias' has shape \[1000\], but \[1008\]"),
        ({"AuxLogits/fc/bias": np.zeros(9, np.float32)}, r"holds the tensor 'AuxLogits.fc.bias'"),
        ({BIAS: np.zeros(12, np.float16)}, r"bn.bias' holds F16, not F32"),
        ({BIAS: np.full(12, np.nan, np.float32)}, r"Mixed_7a.branch3x3_1.\* hold numbers that are"),
        (
            {BIAS.replace("bias", "running_var"): np.full(12, -1, np.float32)},
            "or negative variances",
        ),
    ],
)
def test_weights_of_another_network(tmp_path, changes, message):
    path = write(tmp_path / "w.safetensors", **changes)
    with pytest.raises(UserError, match=message) as error:
        inception_weights.read(path, THIN)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_files_that_are_none(tmp_path):
    whole = write(tmp_path / "whole.safetensors").read_bytes()
    path = tmp_path / "w.safetensors"
    contents = (b"", b"no weights", whole[:-100], whole[:300], b"\xff" * 64)
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged or not a safetensors file") as error:
            inception_weights.read(path, THIN)
        assert str(path) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"none: there is no such file; it is made by python -m"):
        inception_weights.read(tmp_path / "none", THIN)
    with pytest.raises(UserError, match="w: "):
        (tmp_path / "w").mkdir()
        inception_weights.read(tmp_path / "w", THIN)


# --- the converter --------------------------------------------------------------------------------


@pytest.fixture
def convert(tmp_path, monkeypatch):
    """Converts what PyTorch would load from ``in.pth``; returns the arguments of `torch.load`."""
    monkeypatch.setattr(inception_weights, "NETWORK", THIN)
    (tmp_path / "in.pth").write_bytes(b"a checkpoint")

    def run(loaded, *flags, output="out.safetensors"):
        asked = {}

        def load(path, **arguments):
            asked.update(arguments)
            if isinstance(loaded, Exception):
                raise loaded
            return loaded

        monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(load=load))
        convert_inception.main([str(tmp_path / "in.pth"), str(tmp_path / output), *flags])
        return asked

    return run


def as_torch(tensors):
    """Stands for tensors of PyTorch."""
    return {name: types.SimpleNamespace(numpy=lambda x=x: x) for name, x in tensors.items()}


def test_a_converted_checkpoint_is_read_back(convert, tmp_path, capsys):
    counter = {"Conv2d_1a_3x3.bn.num_batches_tracked": np.array(0)}
    asked = convert(as_torch({**checkpoint(), **counter}))
    assert asked == {"map_location": "cpu", "weights_only": True}
    assert "NOT the published one" in capsys.readouterr().out
    found = inception_weights.read(tmp_path / "out.safetensors", THIN)
    # Of the bytes "a checkpoint".
    assert found.origin.startswith("SHA-256 ") and len(found.origin) == 16
    np.testing.assert_array_equal(
        found.variables["params"]["Mixed_7c.branch_pool"]["kernel"],
        thin().variables["params"]["Mixed_7c.branch_pool"]["kernel"],
    )
    with pytest.raises(UserError, match="exists: choose another name, or add --overwrite"):
        convert(as_torch(checkpoint()))
    convert(as_torch(checkpoint()), "--overwrite")


def test_checkpoints_that_cannot_be_converted(convert, tmp_path, monkeypatch):
    few = dict(list(checkpoint().items())[:5])
    for loaded, message in (
        (as_torch(few), "in.pth lacks 467 of 472 tensors"),
        ({"model": [1, 2]}, "in.pth is not a mapping of names to tensors"),
        (
            RuntimeError("half a file\nand more"),
            r"damaged or holds more than tensors \(half a file",
        ),
        (FileNotFoundError(), "in.pth: there is no such file"),
    ):
        with pytest.raises(UserError, match=message):
            convert(loaded)
    with pytest.raises(UserError, match=r"out.npz: the output must end with .safetensors"):
        convert({}, output="out.npz")
    assert not list(tmp_path.glob("out*"))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=r"needs PyTorch: pip install -e '.\[inception\]'"):
        convert_inception.main([str(tmp_path / "in.pth"), str(tmp_path / "out.safetensors")])


def test_a_real_checkpoint(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(inception_weights, "NETWORK", THIN)
    source, output = tmp_path / "in.pth", tmp_path / "out.safetensors"
    torch.save({name: torch.from_numpy(x) for name, x in checkpoint().items()}, source)
    convert_inception.main([str(source), str(output)])
    found = inception_weights.read(output, THIN)
    for name, parts in thin().variables["params"].items():
        np.testing.assert_array_equal(found.variables["params"][name]["kernel"], parts["kernel"])
    torch.save({"weights": types.SimpleNamespace()}, source)
    with pytest.raises(UserError, match="holds more than tensors"):
        convert_inception.main([str(source), str(output), "--overwrite"])


# --- the metric -----------------------------------------------------------------------------------


def context(names, **settings):
    return Context(
        model=fakes.FakeModel(fakes.specs(names)),
        variables=fakes.variables(names),
        dataset=fakes.dataset(names, test=60),
        settings=Settings(batch_size=16, quality_examples=0, **settings),
        workdir=None,
        step=0,
    )


def test_fid_and_kid_of_what_is_generated(monkeypatch):
    """A fake shows the prototype of a row's class: its features are known."""
    monkeypatch.setattr(quality, "_FEWEST", 20)
    monkeypatch.setattr(quality, "_BLOCK", 15)
    names = ("a", "v", "b")
    given = context(names, inception="made up")
    given.__dict__["inception"] = thin()
    given.dataset.splits["test"].present["b"][:25] = False
    found = inception_quality(given)
    items = fakes.prototypes(names)
    real = {"a": some(np.arange(60), 35), "b": np.arange(25, 60)}
    for kind, distance in (
        ("fid", lambda x, y: distances.frechet(x, y)[0]),
        ("kid", lambda x, y: distances.kernel_distance(x, y, 15)[0]),
    ):
        matrix = found[f"quality/{kind}/conditional/matrix"]
        assert matrix.values.shape == (3, 3) and np.isnan(matrix.values[:, 1]).all()
        for column, name in ((0, "a"), (2, "b")):
            spec, kept = given.model.specs[column], real[name]
            for row, there in enumerate((np.arange(60), np.arange(60), np.arange(25, 60))):
                shown = items[name][given.rows.label[quality.partners(kept, there)]]
                x, y = (
                    pool_features(thin(), np.asarray(images))
                    for images in (stored(spec, jnp.asarray(shown)), given.rows.x[name][kept])
                )
                assert matrix.values[row, column] == pytest.approx(distance(x, y), rel=1e-3)
        image = matrix.values[:, [0, 2]]
        mean = found[f"quality/{kind}/conditional/mean"]
        assert mean.value == pytest.approx(image.mean(), rel=1e-6)
        assert mean.standard_error > 0 and mean.n == matrix.n == 35
        cross = (image[[1, 2], 0].mean() + image[[0, 1], 1].mean()) / 2
        assert found[f"quality/{kind}/conditional/cross"].value == pytest.approx(cross, rel=1e-6)
        if kind == "fid":  # 35 rows are too few to tell by KID
            # The prototypes are not the noisy items, which those of training are like.
            training = found["quality/fid/real/mean"].value
            assert training < found["quality/fid/unconditional/mean"].value
        assert "35 items of each set, test rows" in mean.how and "weights: made up" in mean.how
    assert {name for name in found if "classifier" in name} == set()
    assert found["quality/inception_precision/unconditional"].value <= 1
    assert found["quality/inception_recall/conditional/matrix"].values[0, 0] <= 1
    assert not given.skipped


def test_without_weights_or_images_the_reason_is_said():
    with pytest.raises(NotApplicable, match=r"evaluation.inception names no weights; docs/"):
        inception_quality(context(("a",)))
    with pytest.raises(NotApplicable, match="no modality is an image"):
        inception_quality(context(("v",), inception="w"))
    given = context(("v",), inception="w")
    object.__setattr__(given.model, "specs", (ModalitySpec(name="c", shape=(9, 9, 4)),))
    with pytest.raises(NotApplicable, match="no modality is an image"):
        inception_quality(given)
    assert "1 or 3 channels, not [9, 9, 4]" in given.skipped["quality/inception/c"]


def test_a_bad_file_is_said_before_anything_is_measured(tmp_path):
    settings = {"metrics": "bound/test,quality/inception", "inception": str(tmp_path / "none")}
    model, variables = fakes.FakeModel(fakes.specs()), None
    with pytest.raises(UserError, match="there is no such file"):
        evaluate(model, variables, fakes.dataset(), settings, tmp_path, step=1)
    assert not list(tmp_path.iterdir())
