"""Distances between posteriors in closed form, and what is estimated from them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.stats

from mmvae_jax.evaluation import NotApplicable, posteriors, relatedness
from mmvae_jax.models.hybrid_latents import HybridLatents
from mmvae_jax.models.latents import LatentSpace
from tests.evaluation import placed


def random_parameters(generator, count, dims):
    return {
        "loc": generator.normal(size=(count, dims)),
        "scale": generator.uniform(0.1, 2, (count, dims)),
    }


def test_wasserstein_is_that_of_full_covariances(generator):
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2), with matrices."""
    first, second = random_parameters(generator, 2, 3), random_parameters(generator, 4, 3)
    found = posteriors.squared_wasserstein(LatentSpace(3), first, second)
    for i, j in np.ndindex(2, 4):
        s1, s2 = np.diag(first["scale"][i] ** 2), np.diag(second["scale"][j] ** 2)
        root = scipy.linalg.sqrtm(s1)
        cross = scipy.linalg.sqrtm(root @ s2 @ root)
        means = ((first["loc"][i] - second["loc"][j]) ** 2).sum()
        np.testing.assert_allclose(found[i, j], means + np.trace(s1 + s2 - 2 * cross), rtol=1e-6)


def test_wasserstein_of_laplace_posteriors_is_that_of_their_quantiles(generator):
    """In one dimension W_2^2 is the integral of the squared difference of the quantiles."""
    first, second = random_parameters(generator, 1, 2), random_parameters(generator, 1, 2)
    found = posteriors.squared_wasserstein(LatentSpace(2, "laplace"), first, second)
    levels = (np.arange(400_000) + 0.5) / 400_000
    expected = 0.0
    for d in range(2):
        one, other = (
            scipy.stats.laplace.ppf(levels, x["loc"][0, d], x["scale"][0, d])
            for x in (first, second)
        )
        expected += ((one - other) ** 2).mean()
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-3)


def test_categoricals_are_moved_from_corner_to_corner(generator):
    """The cheapest transport between class probabilities, by a linear program."""
    space = HybridLatents(categories=(3, 4), dim=0)
    first, second = ({"logits": generator.normal(size=(1, 7)).astype(np.float32)} for _ in range(2))
    none = np.zeros((1, 0), np.float32)
    first, second = ({**x, "loc": none, "scale": none} for x in (first, second))
    found = posteriors.squared_wasserstein(space, first, second)[0, 0]
    expected = 0.0
    for columns in (slice(0, 3), slice(3, 7)):
        p, q = (scipy.special.softmax(x["logits"][0, columns]) for x in (first, second))
        size = len(p)
        cost = 2.0 * (1 - np.eye(size)).reshape(-1)  # squared distance of two corners
        rows = np.kron(np.eye(size), np.ones(size))
        both = np.concatenate([rows, np.kron(np.ones(size), np.eye(size))])
        plan = scipy.optimize.linprog(cost, A_eq=both, b_eq=np.concatenate([p, q / q.sum()]))
        expected += plan.fun
    assert found == pytest.approx(expected, rel=1e-4)
    both = HybridLatents(categories=(3, 4), dim=2)
    normal = [random_parameters(generator, 1, 2) for _ in range(2)]
    mixed = [{**x, **n} for x, n in zip((first, second), normal, strict=True)]
    expected += posteriors.squared_wasserstein(LatentSpace(2), *normal)[0, 0]
    assert posteriors.squared_wasserstein(both, *mixed)[0, 0] == pytest.approx(expected, rel=1e-4)


def test_equal_posteriors_are_at_distance_zero_exactly(generator):
    posterior = random_parameters(generator, 5, 4)
    found = posteriors.squared_wasserstein(LatentSpace(4), posterior, posterior)
    np.testing.assert_array_equal(np.diag(found), 0.0)


def test_a_family_that_is_not_known_has_no_distance(generator):
    posterior = random_parameters(generator, 2, 4)
    with pytest.raises(NotApplicable, match="for the family 'cauchy'"):
        posteriors.squared_wasserstein(LatentSpace(4, "cauchy"), posterior, posterior)


def contrast_by_loops(distances, item=None):
    count = len(distances)
    item = range(count) if item is None else item
    paired = [distances[i, i] for i in range(count)]
    unpaired = [distances[i, j] for i in range(count) for j in range(count) if item[i] != item[j]]
    wins = [(p < u) + 0.5 * (p == u) for p in paired for u in unpaired]
    paired, unpaired = np.mean(paired), np.mean(unpaired)
    return {
        "paired": paired,
        "unpaired": unpaired,
        "difference": unpaired - paired,
        "auc": np.mean(wins),
    }


def world(generator, count):
    x = generator.normal(size=count)
    y = x + 0.7 * generator.normal(size=count)
    return np.round(np.abs(x[:, None] - y), 1)  # with ties


def test_estimates_against_every_comparison(generator):
    distances = world(generator, 12)
    for item in (np.arange(12), np.arange(12) // 2, np.array([0] * 7 + [1] * 4 + [2])):
        expected = contrast_by_loops(distances, item)
        found = relatedness.contrast(distances, item[:, None] == item)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name].mean() == pytest.approx(value), name
        assert expected["auc"] > 0.6
    found = relatedness.contrast(distances, np.ones((12, 12), bool))
    np.testing.assert_array_equal(found["paired"], np.diag(distances))
    assert np.isnan(found["unpaired"]).all() and np.isnan(found["auc"]).all()


def test_errors_are_the_spread_between_sets_of_rows(generator):
    """300 data sets of 60 rows: the mean of the errors against the spread of the estimates."""
    alone = np.eye(60, dtype=bool)
    found = [relatedness.contrast(world(generator, 60), alone) for _ in range(300)]
    for name in found[0]:
        estimates = [values[name].mean() for values in found]
        errors = [values[name].std(ddof=1) / np.sqrt(60) for values in found]
        assert np.mean(errors) == pytest.approx(np.std(estimates), rel=0.12), name


def test_classes_are_means_over_pairs_of_rows(generator):
    distances = generator.random((7, 6))
    first, second = np.array([0, 1, 2, 0, 1, 2, -1]), np.array([0, 0, 1, 2, -1, 1])
    total, number = relatedness.between_classes(distances, first, second, 3)
    for one, other in np.ndindex(3, 3):
        values = []
        for i, x in enumerate(first):
            for j, y in enumerate(second):
                values += [distances[i, j]] * ((x, y) == (one, other))
                values += [distances[i, j]] * ((x, y) == (other, one))
        assert number[one, other] == len(values)
        np.testing.assert_allclose(total[one, other], sum(values))


def test_relatedness_of_rows_that_have_both(generator):
    given = placed.context(generator, count=50)
    rows = given.dataset.splits["test"]
    rows.present["b"][:20] = False
    rows.x["b"][:20] = 9.0
    found = relatedness.relatedness(given)
    loc = {name: rows.x[name][:, : placed.SHARED].astype(np.float64) for name in placed.NAMES}
    for first, second in ((0, 1), (0, 2), (1, 2)):
        a, b = placed.NAMES[first], placed.NAMES[second]
        both = np.flatnonzero(rows.present[a] & rows.present[b])
        distances = np.sqrt(((loc[a][both][:, None] - loc[b][both]) ** 2).sum(-1))
        for name, value in contrast_by_loops(distances).items():
            matrix = found[f"relatedness/{name}/matrix"].values
            assert matrix[first, second] == matrix[second, first] == pytest.approx(value, rel=1e-5)
    assert np.isnan(np.diag(found["relatedness/auc/matrix"].values)).all()
    mean = found["relatedness/auc/mean"]
    assert 0.7 < mean.value < 1 and 0 < mean.standard_error < 0.1 and mean.n == 50
    classes = found["relatedness/classes"].values
    assert classes.shape == (3, 3) and (classes == classes.T).all()
    assert np.diag(classes).max() < classes[~np.eye(3, dtype=bool)].min()
    assert not given.skipped


def test_rows_of_one_item_are_not_unpaired(generator):
    """Each item in five rows whose views lie at one place: their distances are those of pairs."""
    given = placed.context(generator, count=50)
    rows = given.dataset.splits["test"]
    item = np.arange(50) // 5
    for x in rows.x.values():
        x[:] = x[5 * item]
    splits = {**given.dataset.splits, "test": dataclasses.replace(rows, item=item)}
    given = dataclasses.replace(given, dataset=dataclasses.replace(given.dataset, splits=splits))
    found = relatedness.relatedness(given)
    loc = rows.x["a"][:, : placed.SHARED], rows.x["b"][:, : placed.SHARED]
    distances = np.sqrt(((loc[0][:, None] - loc[1]) ** 2).sum(-1, dtype=np.float64))
    for name, value in contrast_by_loops(distances, item).items():
        assert found[f"relatedness/{name}/matrix"].values[0, 1] == pytest.approx(value, rel=1e-5)
    one = dataclasses.replace(rows, item=np.zeros(50, int))
    splits = {**given.dataset.splits, "test": one}
    given = dataclasses.replace(given, dataset=dataclasses.replace(given.dataset, splits=splits))
    with pytest.raises(NotApplicable, match="the test rows show one item only"):
        relatedness.relatedness(given)


def test_without_labels_there_are_no_classes_and_a_mixture_has_no_distance(generator, monkeypatch):
    given = placed.context(generator, labels=False)
    assert "relatedness/classes" not in relatedness.relatedness(given)
    assert given.skipped["relatedness/classes"] == "the dataset 'placed' has no labels"
    whole = posteriors.encode(given, given.rows)
    strata = dict.fromkeys(whole.strata, whole.strata[""])
    monkeypatch.setattr(posteriors, "encode", lambda *_: whole._replace(strata=strata))
    with pytest.raises(NotApplicable, match="given a alone the posterior is a mixture"):
        relatedness.relatedness(given)
