"""Distances between features, and how close reconstructions are."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg, signal

from mmvae_jax.evaluation import Context, NotApplicable, Settings, distances, quality
from mmvae_jax.evaluation.quality import classifier_quality, partners, stored
from mmvae_jax.evaluation.reconstruction import reconstruction_quality, ssim
from mmvae_jax.evaluation.sampling import fair_order, some
from mmvae_jax.types import ModalitySpec
from tests.evaluation import fakes


def test_frechet_distance_against_moments_and_a_matrix_root():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(40, 5)) @ generator.normal(size=(5, 5)) + 1
    y = generator.normal(size=(30, 5)) @ generator.normal(size=(5, 5))
    cov_x, cov_y = np.cov(x.T), np.cov(y.T)
    root = linalg.sqrtm(cov_x @ cov_y).real
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cov_x + cov_y - 2 * root)
    assert distances.frechet(x, y)[0] == pytest.approx(expected, rel=1e-6)
    assert distances.frechet(x, x + 3)[0] == pytest.approx(5 * 9)  # nothing but the means differ
    assert distances.frechet(x, 3 * (x - x.mean(0)) + x.mean(0))[0] == pytest.approx(
        4 * np.trace(cov_x)
    )
    few = np.ones((60, 3)) * np.arange(60)[:, None]  # of rank 1
    assert distances.frechet(few, few)[0] == pytest.approx(0, abs=1e-6)
    wide = generator.normal(size=(4, 7)), generator.normal(size=(6, 7))  # more features than rows
    cov_x, cov_y = (np.cov(part.T) for part in wide)
    root = np.sqrt(np.maximum(np.linalg.eigvals(cov_x @ cov_y).real, 0)).sum()
    means = ((wide[0].mean(0) - wide[1].mean(0)) ** 2).sum()
    expected = means + np.trace(cov_x + cov_y) - 2 * root
    assert distances.frechet(*wide)[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("size", [30, 40])  # as many as of the other set: partners
def test_error_of_a_frechet_distance_against_weights(size):
    """Each row a little heavier in turn: what the distance changes by is the jackknife's."""
    generator = np.random.default_rng(6)
    x = np.maximum(generator.normal(size=(40, 4)) @ generator.normal(size=(4, 4)), 0)
    y = np.maximum(generator.normal(size=(size, 4)), 0) + 1

    def moments(rows, weights):
        weights = weights / weights.sum()
        mean = weights @ rows
        return mean, (rows - mean).T @ (weights[:, None] * (rows - mean)) * len(rows) / (
            len(rows) - 1
        )

    def distance(of_x, of_y):
        (m, c), (k, d) = moments(x, of_x), moments(y, of_y)
        return ((m - k) ** 2).sum() + np.trace(c + d - 2 * linalg.sqrtm(c @ d).real)

    even = [np.ones(40), np.ones(size)]
    value, error = distances.frechet(x, y)
    assert value == pytest.approx(distance(*even), rel=1e-6)
    step, slopes = 1e-5, []
    for place in range(2):
        found = np.zeros(40)
        for row in range(len(even[place])):
            heavier = [weights.copy() for weights in even]
            heavier[place][row] += step
            found[row] = (distance(*heavier) - value) / step
        slopes.append(found)
    if size == 40:
        slopes = [slopes[0] + slopes[1]]
    else:
        slopes = [slopes[0] * np.sqrt(40 / 39), slopes[1] * np.sqrt(30 / 29)]
    expected = np.sqrt(sum((part**2).sum() for part in slopes))
    correction = np.sqrt(40 / 39) if size == 40 else 1
    assert error == pytest.approx(expected * correction, rel=1e-3)


def test_error_of_a_frechet_distance_against_other_draws():
    generator = np.random.default_rng(8)
    found = []
    for _ in range(60):
        x = np.maximum(generator.normal(size=(150, 8)), 0)
        y = np.maximum(0.7 * generator.normal(size=(150, 8)) + 0.3, 0)
        found.append(distances.frechet(x, y))
    values, errors = np.transpose(found)
    # 60 draws know the spread to 9 % or so.
    assert values.std(ddof=1) == pytest.approx(errors.mean(), rel=0.36)


def test_kernel_distance_pair_by_pair():
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(11, 3)), generator.normal(size=(11, 3)) + 0.5

    def kernel(a, b):
        return (a @ b / 3 + 1) ** 3

    blocks = []
    order = fair_order(11)
    for rows in (order[:6], order[6:]):  # the row that fills no block is in the first
        pairs = [(i, j) for i in rows for j in rows if i != j]
        blocks.append(
            np.mean(
                [
                    kernel(x[i], x[j])
                    + kernel(y[i], y[j])
                    - kernel(x[i], y[j])
                    - kernel(y[i], x[j])
                    for i, j in pairs
                ]
            )
        )
    value, error = distances.kernel_distance(x, y, 5)
    assert value == pytest.approx(np.mean(blocks))
    assert error == pytest.approx(abs(blocks[0] - blocks[1]) / 2)
    assert distances.kernel_distance(x, y, 100)[1] is None


def test_kernel_distance_of_one_set_in_two_orders_is_nothing():
    """Rows sorted by class against the same ones in any order: blocks of one class would differ."""
    generator = np.random.default_rng(7)
    x = generator.normal(size=(1000, 3)) + 3 * np.eye(3)[np.arange(1000) // 334]
    value, error = distances.kernel_distance(x, generator.permutation(x), 50)
    assert abs(value) < 4 * error
    apart, _ = distances.kernel_distance(x, x + 0.5, 50)
    assert apart > 5 * abs(value)


def test_kernel_distance_is_unbiased_also_for_partners():
    generator = np.random.default_rng(2)
    x = generator.normal(size=(20_000, 2))
    # The same distribution, and every row resembles its partner.
    y = 0.9 * x + np.sqrt(1 - 0.81) * generator.normal(size=x.shape)
    value, error = distances.kernel_distance(x, y, 20)
    assert abs(value) < 4 * error


def test_precision_and_recall():
    half = distances.summary_of_curve(np.full(4, 0.25), np.array([0.5, 0.5, 0, 0]))
    # Whatever is generated is real; F_8 of precision 1 and recall 1/2.
    assert half[0] == pytest.approx(65 / 64 * 0.5 / (1 / 64 + 0.5), rel=1e-3)
    assert half[1] == pytest.approx(65 * 0.5 / (64 + 0.5), rel=1e-3)
    apart = distances.summary_of_curve(np.array([1.0, 0]), np.array([0, 1.0]))
    assert apart == (0, 0)
    generator = np.random.default_rng(3)
    centers = 50 * np.eye(4)
    real = np.repeat(centers, 30, 0) + generator.normal(size=(120, 4))
    two = np.repeat(centers[:2], 60, 0) + generator.normal(size=(120, 4))
    precision, recall = distances.precision_and_recall(real, two, clusters=4, runs=2)
    assert (precision[0], recall[0]) == pytest.approx(half, rel=1e-6)
    assert distances.precision_and_recall(two, real, clusters=4, runs=1)[1][0] > 0.9
    assert precision[1] > 0 and recall[1] > 0


def test_error_of_precision_and_recall_against_other_draws():
    generator = np.random.default_rng(9)
    found = []
    for seed in range(16):
        real = generator.integers(0, 4, 200)
        shown = np.where(generator.random(200) < 0.4, 0, generator.integers(0, 4, 200))
        sets = (20 * np.eye(4)[rows] + generator.normal(size=(200, 4)) for rows in (real, shown))
        found.append(distances.precision_and_recall(*sets, clusters=4, runs=2, seed=seed))
    values, errors = np.moveaxis(np.array(found), 2, 0)
    # 16 draws know the spread to 18 % or so.
    np.testing.assert_allclose(values.std(0, ddof=1), errors.mean(0), rtol=0.6)


def test_structural_similarity_against_a_sliding_window():
    generator = np.random.default_rng(4)
    x = generator.random((2, 13, 12, 3)).astype(np.float32)
    y = np.clip(x + 0.2 * generator.normal(size=x.shape), 0, 1).astype(np.float32)
    found = jax.jit(ssim)(x, y)
    grid = np.arange(-5, 6)
    window = np.exp(-(grid[:, None] ** 2 + grid[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    for row in range(2):
        values = []
        for channel in range(3):
            a, b = x[row, ..., channel].astype(float), y[row, ..., channel].astype(float)

            def local(image):
                return signal.convolve2d(image, window, mode="valid")

            ma, mb = local(a), local(b)
            va, vb, ab = local(a * a) - ma**2, local(b * b) - mb**2, local(a * b) - ma * mb
            c1, c2 = 1e-4, 9e-4
            top = (2 * ma * mb + c1) * (2 * ab + c2)
            values.append((top / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean())
        assert found[row] == pytest.approx(np.mean(values), abs=1e-4)
    np.testing.assert_allclose(jax.jit(ssim)(x, x), 1.0, atol=1e-5)


@dataclasses.dataclass(frozen=True)
class Shifted(fakes.FakeModel):
    """Shows images brighter by `shift`, and vectors moved by it."""

    shift: float = 0.0

    def _show(self, params, name, classes):
        shown = super()._show(params, name, classes)
        return shown if name == "t" else shown + self.shift


def context(names, model, dataset=None, **settings):
    given = Context(
        model=model,
        variables=fakes.variables(names),
        dataset=fakes.dataset(names, test=60) if dataset is None else dataset,
        settings=Settings(batch_size=16, **settings),
        workdir=None,
        step=0,
    )
    given.__dict__["classifiers"] = fakes.perfect_judges(names)
    return given


def test_distances_of_what_is_generated(monkeypatch):
    """The fakes' features are distances to prototypes: those of what is shown are known."""
    monkeypatch.setattr(quality, "_FEWEST", 20)
    monkeypatch.setattr(quality, "_BLOCK", 15)
    names = ("a", "v", "t")
    dataset = fakes.dataset(names, test=60)
    dataset.splits["test"].present["a"][:25] = False
    given = context(names, Shifted(fakes.specs(names), shift=0.3), dataset, quality_examples=0)
    found = classifier_quality(given)
    items, label = fakes.prototypes(names), given.rows.label

    def seen(name, x):
        return np.asarray(fakes.nearest(jnp.asarray(items[name]), jnp.asarray(x)))

    bright = stored(given.model.specs[0], jnp.asarray(items["a"] + 0.3))

    real = {"a": np.arange(25, 60), "v": some(np.arange(60), 35)}
    features = {
        "a": seen("a", given.rows.x["a"][25:].astype(np.float32) / 255),
        "v": seen("v", given.rows.x["v"][real["v"]]),
    }
    shown = {
        "a": seen("a", np.asarray(bright, np.float32) / 255),
        "v": seen("v", items["v"] + np.float32(0.3)),
    }
    for kind, distance in (("frechet", "frechet"), ("kid", "kernel")):
        result = found[f"quality/classifier_{kind}/conditional/matrix"]
        matrix, errors = result.values, result.standard_error
        assert np.isnan(matrix[:, 2]).all() and np.isfinite(matrix[:, :2]).all()
        for row, there in enumerate((np.arange(25, 60), np.arange(60), np.arange(60))):
            for column, name in enumerate(("a", "v")):
                # Every cell compares 35 items, as many as there are rows that have "a".
                x = shown[name][label[partners(real[name], there)]]
                value, error = quality.DISTANCES[distance][0](x, features[name])
                assert matrix[row, column] == pytest.approx(value, rel=1e-3), (row, name)
                assert errors[row, column] == pytest.approx(error, rel=1e-2), (row, name)
        mean = found[f"quality/classifier_{kind}/conditional/mean"]
        assert mean.value == pytest.approx(matrix[:, :2].mean(), rel=1e-6)
        by_target = errors[:, :2].mean(0)  # errors of one target are added as they are
        assert mean.standard_error == pytest.approx(np.hypot(*by_target) / 2)
        own = np.diagonal(matrix)[:2]
        others = (matrix[:, :2].sum(0) - own).mean() / 2
        cross = found[f"quality/classifier_{kind}/conditional/cross"]
        assert cross.value == pytest.approx(others, rel=1e-6)
        real_items = found[f"quality/classifier_{kind}/real/mean"].value
        assert real_items < found[f"quality/classifier_{kind}/unconditional/mean"].value
    for kind in ("precision", "recall"):
        matrix = found[f"quality/classifier_{kind}/conditional/matrix"]
        assert np.isnan(matrix.values[:, 2]).all() and (matrix.values[:, :2] < 0.9).all()
        # What is generated, one item per class, is the same from every source.
        mean = found[f"quality/classifier_{kind}/conditional/mean"]
        assert mean.value == pytest.approx(matrix.values[:, :2].mean())
        assert mean.standard_error is not None
        prior = found[f"quality/classifier_{kind}/unconditional"].value
        assert prior < 0.5 < found[f"quality/classifier_{kind}/real/mean"].value
    assert all(result.n == 35 for result in found.values())
    assert all("; 35 items of each set, test rows; " in result.how for result in found.values())
    assert all(result.how.count("; judges' accuracy 1.000") == 1 for result in found.values())
    assert not given.skipped


def repeated(split, times):
    """Each row so many times, as an image with several captions is there."""
    rows = np.repeat(np.arange(len(split)), times)
    return dataclasses.replace(split.select(rows), item=rows)


def test_an_image_that_is_in_ten_rows_is_one_real_image(monkeypatch):
    """Ten copies of the rows are no more data: real items are as near, errors no smaller."""
    monkeypatch.setattr(quality, "_BLOCK", 15)
    dataset = fakes.dataset(("v",), test=60)
    again = {part: repeated(split, 10) for part, split in dataset.splits.items()}
    found = {}
    for label, splits in (("once", dataset.splits), ("ten", again)):
        chosen = dataclasses.replace(dataset, splits=splits)
        given = context(("v",), Shifted(fakes.specs(("v",))), chosen, quality_examples=0)
        found[label] = classifier_quality(given)
    assert found["once"].keys() == found["ten"].keys()
    for name, once in found["once"].items():
        assert found["ten"][name].n == once.n and "one of each item" not in once.how
    kid = [part["quality/classifier_kid/conditional/mean"] for part in found.values()]
    assert kid[1].value == pytest.approx(kid[0].value, rel=1e-5)
    assert kid[1].standard_error == pytest.approx(kid[0].standard_error, rel=1e-5)
    assert kid[1].n == 60 and "60 items of each set, test rows, one of each item;" in kid[1].how


def test_partners_stand_side_by_side_or_are_not_both_compared():
    real = np.array([2, 3, 5, 8, 9])
    there = np.array([0, 1, 3, 4, 6, 7, 9, 10])
    found = partners(real, there)
    np.testing.assert_array_equal(found[[1, 4]], [3, 9])
    assert len(set(found)) == 5 and set(found) <= set(there)
    assert not set(found[[0, 2, 3]]) & set(real)
    np.testing.assert_array_equal(partners(real, real), real)
    np.testing.assert_array_equal(partners(real, np.arange(20)), real)
    # No more than are needed, and none is there of what is real.
    np.testing.assert_array_equal(partners(np.arange(3), np.arange(3, 6)), [3, 4, 5])


def test_a_modality_with_too_few_rows_is_left_out_with_the_reason(monkeypatch):
    monkeypatch.setattr(quality, "_FEWEST", 20)
    names = ("v", "l")
    dataset = fakes.dataset(names, test=30)
    dataset.splits["test"].present["l"][:11] = False
    dataset.splits["train"].present["v"][25:] = False
    given = context(names, Shifted(fakes.specs(names)), dataset)
    found = classifier_quality(given)
    matrix = found["quality/classifier_kid/conditional/matrix"]
    np.testing.assert_array_equal(np.isfinite(matrix.values), [[True, False], [False, False]])
    assert matrix.n == 30 and matrix.standard_error[0, 0] is not None
    assert "19 items are fewer than 20" in given.skipped["quality/classifier/l"]
    assert "quality/classifier_kid/real/mean" not in found
    assert "fewer training items than the 30" in given.skipped["quality/classifier/real/v"]


def test_too_few_items_for_a_distance():
    names = ("a", "v")
    given = context(names, Shifted(fakes.specs(names)), fakes.dataset(names, test=30))
    with pytest.raises(NotApplicable, match="no modality has 50 test items"):
        classifier_quality(given)


def test_images_are_judged_as_they_would_be_stored():
    image = ModalitySpec(name="a", shape=(2, 2, 1))
    found = stored(image, jnp.array([-0.2, 0.5001, 1.3]))
    np.testing.assert_array_equal(found, np.uint8([0, 128, 255]))
    vector = dataclasses.replace(image, shape=(3,), dtype="float32")
    np.testing.assert_array_equal(stored(vector, jnp.array([-0.2, 7.0])), np.float32([-0.2, 7]))


def test_reconstruction_errors():
    names = ("a", "b", "v", "l")
    dataset = fakes.dataset(names)
    dataset.splits["test"].present["b"][:20] = False
    given = context(names, Shifted(fakes.specs(names), shift=0.1), dataset)
    found = reconstruction_quality(given)
    rows, items = given.rows, fakes.prototypes(names)
    for name, unit, first in (("a", 255, 0), ("b", 255, 20), ("v", 1, 0)):
        x = rows.x[name][first:].astype(np.float64) / unit
        shown = items[name][rows.label[first:]] + np.float32(0.1)
        errors = ((x - shown) ** 2).reshape(len(x), -1).mean(1)
        result = found[f"quality/mse/{name}"]
        assert result.n == len(x)
        assert result.value == pytest.approx(errors.mean(), rel=1e-3)
        assert result.standard_error == pytest.approx(
            errors.std(ddof=1) / np.sqrt(len(x)), rel=1e-2
        )
    images = [found[f"quality/mse/{name}"].value for name in ("a", "b")]
    assert found["quality/mse/mean"].value == pytest.approx(np.mean(images))
    assert "quality/mse/l" not in found and "quality/ssim/mean" not in found
    assert given.skipped == {
        f"quality/ssim/{name}": "it is smaller than 11x11" for name in ("a", "b")
    }
    with pytest.raises(NotApplicable, match="no modality holds intensities"):
        reconstruction_quality(context(("l",), fakes.FakeModel(fakes.specs(("l",)))))
