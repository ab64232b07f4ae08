"""The parts of the KL: those of the pure function on the same rows, and what adds up."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvae_jax import objectives
from mmvae_jax.evaluation import information
from mmvae_jax.evaluation.context import stream
from mmvae_jax.evaluation.sampling import some_rows
from mmvae_jax.models.hybrid_latents import HybridLatents
from mmvae_jax.models.latents import LatentSpace
from tests.evaluation import placed

SPACE = HybridLatents(categories=(2,), dim=1)
PARTS = ("mutual_information", "total_correlation", "dimension_wise_kl")


@functools.partial(jax.jit, static_argnums=0)
def parts(space, posterior, seed, rows, size):
    """Of the rows that have it alone, so that nothing is masked: three means."""
    code = space.sample(posterior, stream(seed, np.uint32(0)))[rows]
    posterior = jax.tree.map(lambda p: p[rows], posterior)
    log_p = space.factor_log_prob(space.prior((len(rows),)), code)
    log_q = space.factor_log_prob(posterior, code[:, None])
    found = objectives.minibatch_kl_decomposition(log_q, log_p, size)
    return jnp.stack(found).mean(1)


def expected(given, label, space, posterior, rows, size):
    return parts(space, posterior, given.seed_for(f"information/{label}"), rows, size)


def values(found, label):
    return [found[f"information/{part}/{label}"].value for part in PARTS]


def test_parts_are_those_of_the_pure_function_and_add_up(generator, monkeypatch):
    monkeypatch.setattr(information, "_ROWS", 30)
    given = placed.context(generator, count=45, pooled=True)
    split = given.dataset.splits["test"]
    split.present["a"][5:15] = False
    split.present["a"][40:] = False
    found = information.information(given)
    rows = some_rows(split, 30)
    x = {name: jnp.asarray(values) for name, values in rows.x.items()}
    here = np.flatnonzero(rows.present["a"])
    shared = given.model.parameters(x["a"][:, : placed.SHARED])
    # Of all 45 rows 30 have it: these are the data.
    found_a = values(found, "shared/a")
    np.testing.assert_allclose(
        found_a, expected(given, "shared/a", given.model.shared, shared, here, 30), rtol=1e-4
    )
    own = {"loc": x["a"][:, placed.SHARED :]}
    own["scale"] = jnp.full_like(own["loc"], placed.SCALE)
    space = LatentSpace(placed.OWN)
    np.testing.assert_allclose(
        values(found, "private/a"), expected(given, "private/a", space, own, here, 30), rtol=1e-4
    )
    labels = {name.partition("/")[2].partition("/")[2] for name in found}
    assert labels == {"joint", "shared/a", "shared/b", "shared/c", "private/a"}
    for label in labels:
        total = found[f"information/kl/{label}"]
        assert sum(values(found, label)) == pytest.approx(total.value, rel=1e-4)
        assert total.n == (len(here) if label.endswith("/a") else 30) and total.standard_error > 0
    assert list(found)[:2] == [f"information/{PARTS[0]}/joint", f"information/{PARTS[0]}/shared/a"]
    assert found_a[0] < np.log(30) and "30 test rows" in found["information/kl/shared/a"].how
    assert not given.skipped
    loc = rows.x["b"][:, : placed.SHARED]
    closed = ((loc**2 + placed.SCALE**2 - 1) / 2 - np.log(placed.SCALE)).sum(-1).mean()
    kl = found["information/kl/shared/b"]
    # One draw of each row: its noise is a part of the spread between rows.
    assert kl.value == pytest.approx(closed, abs=3 * kl.standard_error)


def test_of_rows_that_show_one_item_one_counts(generator):
    given = placed.context(generator, count=40)
    rows = given.dataset.splits["test"]
    ten = rows.select(np.repeat(np.arange(40), 10))
    ten = dataclasses.replace(ten, item=np.arange(400) // 10)
    again = dataclasses.replace(given.dataset, splits={**given.dataset.splits, "test": ten})
    once, found = (
        information.information(dataclasses.replace(given, dataset=data))
        for data in (given.dataset, again)
    )
    for name, result in once.items():
        assert found[name].value == pytest.approx(result.value, rel=1e-5) and found[name].n == 40
    how = found["information/kl/shared/a"].how
    assert "of 40 test rows, one of each item, from one draw of each of 40;" in how


@dataclasses.dataclass(frozen=True)
class Hybrid(placed.Placed):
    """A categorical of two classes beside one Gaussian coordinate."""

    shared: HybridLatents = SPACE

    def parameters(self, loc):
        return {
            "logits": loc[..., :2],
            "loc": loc[..., 2:],
            "scale": jnp.full_like(loc[..., 2:], placed.SCALE),
        }


def test_categoricals_are_factors_too(generator):
    names = ("b", "c")
    given = placed.context(generator, count=30, names=names)
    given = dataclasses.replace(given, model=Hybrid(placed.specs(names)))
    found = information.information(given)
    loc = jnp.asarray(given.dataset.splits["test"].x["c"][:, : placed.SHARED])
    wanted = expected(
        given,
        "shared/c",
        given.model.shared,
        given.model.parameters(loc),
        np.arange(30),
        30,
    )
    np.testing.assert_allclose(values(found, "shared/c"), wanted, rtol=1e-4, atol=1e-5)
    total = found["information/kl/shared/c"].value
    assert sum(wanted) == pytest.approx(total, rel=1e-4)


def test_without_a_prior_there_is_no_divergence_from_it(generator):
    given = placed.context(generator, count=30, names=("b", "c"), has_prior=False)
    found = information.information(given)
    parts = {name.split("/")[1] for name in found}
    assert parts == {"mutual_information", "total_correlation"}
    assert given.skipped == {
        "information/kl": "it has no p(z)",
        "information/dimension_wise_kl": "it has no p(z)",
        "information/joint": "the posterior is a mixture",
    }
