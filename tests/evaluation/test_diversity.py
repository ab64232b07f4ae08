from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from mmvae_jax import data, models
from mmvae_jax.evaluation import Context, NotApplicable, Settings, diversity
from mmvae_jax.evaluation.coherence import conditional_coherence
from mmvae_jax.evaluation.context import stream
from mmvae_jax.evaluation.decoding import means_given
from tests.evaluation import fakes

NAMES = ("a", "b", "v", "l")
NOISE = 0.3


def context(dataset, names=NAMES, **settings):
    return Context(
        model=fakes.FakeModel(fakes.specs(names), noise=NOISE),
        variables=fakes.variables(names),
        dataset=dataset,
        settings=Settings(batch_size=16, **settings),
        workdir=None,
        step=0,
    )


def brute_force(given, rows):
    """One variance at a time; {(source, target): [those of the rows that have the source]}."""
    draw = jax.jit(
        lambda rng, batch, source: given.model.conditional(
            given.variables, rng, batch, (source,), 1, private="prior"
        ),
        static_argnums=2,
    )
    found = {}
    for source in given.names:
        seeds = [given.seed_for(f"diversity/conditional/{source}/{draw}") for draw in range(8)]
        for index, batch in enumerate(data.batches(rows, 16)):
            keys = [stream(seed, np.uint32(index)) for seed in seeds]
            draws = [draw(key, models.prepare(batch), source) for key in keys]
            drawn = {name: np.concatenate([d[name] for d in draws]) for name in ("a", "b")}
            for row in range(16):
                if not (batch["weight"][row] and batch["present"][source][row]):
                    continue
                for target in ("a", "b"):
                    pixels = np.asarray(drawn[target][:, row], np.float64).reshape(8, -1)
                    between = ((pixels - pixels.mean(0)) ** 2).sum(0) / 7
                    found.setdefault((source, target), []).append(between.mean())
    return found


def test_variances_against_one_at_a_time():
    dataset = fakes.dataset(NAMES)
    dataset.splits["test"].present["a"][:20] = False
    given = context(dataset)
    results = diversity.conditional_diversity(given)
    expected = brute_force(given, given.rows)
    matrix = results["diversity/conditional/matrix"]
    assert matrix.values.shape == (4, 4) and matrix.n == 50
    assert "error over test rows, 30 to 50 in a cell" in matrix.how
    for (source, target), values in expected.items():
        assert len(values) == (30 if source == "a" else 50)
        place = NAMES.index(source), NAMES.index(target)
        assert matrix.values[place] == pytest.approx(np.mean(values), rel=1e-5)
        error = np.std(values, ddof=1) / np.sqrt(len(values))
        assert matrix.standard_error[place] == pytest.approx(error, rel=1e-4)
    assert np.isnan(matrix.values[:, 2:]).all()
    mean = results["diversity/conditional/mean"]
    pairs = [np.mean(expected["a", "b"]), np.mean(expected["b", "a"])]
    assert mean.value == pytest.approx(np.mean(pairs), rel=1e-5)
    assert mean.n == 50
    # The variance of the draws themselves: the estimate is unbiased.
    assert mean.value == pytest.approx(NOISE**2, abs=4 * mean.standard_error)


def test_no_more_rows_than_needed_and_those_of_the_chosen_split(monkeypatch):
    monkeypatch.setattr(diversity, "_ROWS", 20)
    assert (
        diversity.conditional_diversity(context(fakes.dataset(NAMES)))[
            "diversity/conditional/mean"
        ].n
        == 20
    )
    monkeypatch.setattr(diversity, "_ROWS", 500)
    found = diversity.conditional_diversity(context(fakes.dataset(NAMES), split="validation"))
    assert found["diversity/conditional/mean"].n == 30
    assert "validation rows" in found["diversity/conditional/mean"].how


def test_draws_that_are_all_the_same_have_none():
    given = context(fakes.dataset(("a", "b")), ("a", "b"))
    given = dataclasses.replace(given, model=fakes.FakeModel(given.model.specs))
    found = diversity.conditional_diversity(given)["diversity/conditional/mean"]
    assert found.value == pytest.approx(0, abs=1e-12)


def test_one_image_has_no_pair_but_a_row_for_the_label():
    given = context(fakes.dataset(("a", "l")), ("a", "l"))
    found = diversity.conditional_diversity(given)
    assert set(found) == {"diversity/conditional/matrix"}
    assert found["diversity/conditional/matrix"].values[1, 0] == pytest.approx(NOISE**2, rel=0.1)
    assert "no pair of two images" in given.skipped["diversity/conditional/mean"]
    with pytest.raises(NotApplicable, match="no modality is an image"):
        diversity.conditional_diversity(context(fakes.dataset(("v",)), ("v",)))


def test_the_programs_that_generate_are_those_of_coherence():
    """Compiling them is most of what either takes on a CPU."""
    given = context(fakes.dataset(("a", "b")), ("a", "b"))
    given.__dict__["classifiers"] = fakes.perfect_judges(("a", "b"))  # nothing is trained
    means_given.program().clear_cache()
    conditional_coherence(given)
    assert means_given.program()._cache_size() == 2  # given "a", given "b"
    diversity.conditional_diversity(given)
    assert means_given.program()._cache_size() == 2
