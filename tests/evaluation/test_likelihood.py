"""log p of everything against a closed form, against quadrature, and what it says of gaps."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from mmvae_jax import data, models
from mmvae_jax.evaluation import Context, Settings, likelihood
from mmvae_jax.models.latents import LatentSpace
from mmvae_jax.models.mvae import MVAE
from tests.evaluation import fakes
from tests.models import worlds

ROWS, SAMPLES = 7, 3000
LABELS = {
    "joint": ("m0", "m1"),
    "marginal/m0": ("m0",),
    "marginal/m1": ("m1",),
    "conditional/m0|m1": None,
    "conditional/m1|m0": None,
}


def context(model, params, present=None, **settings):
    """Rows of random data, in batches of 4: the last one is padded."""
    split = data.Split.complete(worlds.arrays(model, ROWS), None)
    if present is not None:
        split = dataclasses.replace(split, present=present)
    settings = {"likelihood_samples": SAMPLES, "likelihood_examples": 0} | settings
    return Context(
        model=model,
        variables={"params": params},
        dataset=data.Dataset(
            "random", model.specs, dict.fromkeys(("train", "validation", "test"), split), 0
        ),
        settings=Settings(batch_size=4, **settings),
        workdir=None,
        step=0,
    )


def wide_posteriors(params):
    """Encoders of scale 3 everywhere: tails that importance sampling can do with."""

    def widened(layer):
        size = layer["bias"].shape[0] // 2
        return {
            "kernel": layer["kernel"].at[:, size:].set(0.0),
            "bias": layer["bias"].at[size:].set(3.0),
        }

    encoder = {}
    for name, networks in params["encoder"].items():
        layers = networks["shared"]
        last = max(layers)
        encoder[name] = {"shared": {**layers, last: widened(layers[last])}}
    return {**params, "encoder": encoder}


def check(found, exact, rows):
    """Means over the rows that count, within 5 errors of importance sampling."""
    for label, log_p in exact.items():
        result = found[f"log_likelihood/{label}"]
        counted = rows[label]
        assert result.n == counted.sum()
        names = LABELS[label]
        parts = [label] if names else ["joint", f"marginal/{label[-2:]}"]
        noise = sum(
            (1 / found[f"effective_sample_fraction/{part}"].value - 1) / SAMPLES for part in parts
        )
        margin = 5 * np.sqrt(noise / result.n) + 1e-3
        assert margin < 0.3, label
        assert result.value == pytest.approx(log_p[counted].mean(), abs=margin), label
        spread = log_p[counted].std(ddof=1) / np.sqrt(result.n)
        assert result.standard_error == pytest.approx(spread, abs=margin), label


def test_against_a_closed_form_where_rows_have_gaps():
    """A linear-Gaussian model; factors on its likelihoods (lambda) are of no consequence."""
    model = MVAE(specs=worlds.specs(2, weights=(3.0, 0.2, 1.0)), shared=LatentSpace(2))
    params = wide_posteriors(worlds.random_params(model, size=0.3))
    m0 = np.array([True, True, False, True, False, True, True])
    m1 = np.array([True, False, True, True, False, True, True])
    given = context(model, params, {"m0": m0, "m1": m1})
    x = given.rows.x

    def exact(first, second):
        """Row by row: which of the two are there."""
        return np.array(
            [
                worlds.exact_log_likelihood(
                    model, params, {name: x[name][i : i + 1] for name in x}, np.array([a, b])
                )[0]
                if a or b
                else 0.0
                for i, (a, b) in enumerate(zip(first, second, strict=True))
            ]
        )

    nothing = np.zeros(ROWS, bool)
    joint, first, second = exact(m0, m1), exact(m0, nothing), exact(nothing, m1)
    values = joint, first, second, joint - second, joint - first
    rows = m0 | m1, m0, m1, m0 & m1, m0 & m1
    found = likelihood.log_likelihoods(given)
    check(found, dict(zip(LABELS, values, strict=True)), dict(zip(LABELS, rows, strict=True)))
    assert "S = 3000" in found["log_likelihood/joint"].how
    assert found["log_likelihood/joint"].how.endswith("error over all test rows")
    assert {name.split("/", 1)[0] for name in found} == {
        "log_likelihood",
        "effective_sample_fraction",
        "log_weight_variance",
    }


def test_against_quadrature_of_one_latent_dimension():
    """Decoders that are not linear."""
    model = MVAE(specs=worlds.specs(2, hidden=(5,)), shared=LatentSpace(1))
    params = wide_posteriors(worlds.random_params(model, seed=1))
    given = context(model, params)
    grid = jnp.linspace(-8.0, 8.0, 801)
    batch = models.prepare({"x": given.rows.x})

    @jax.jit
    def scores(batch):
        codes = jnp.broadcast_to(grid[:, None, None], (grid.size, ROWS, 1))
        return [model.log_px({"params": params}, batch, s, codes, None) for s in model.specs]

    first, second = (np.asarray(log_px, np.float64) for log_px in scores(batch))
    z = np.asarray(grid, np.float64)[:, None]
    log_prior = -0.5 * z**2 - 0.5 * np.log(2 * np.pi) + np.log(z[1] - z[0])

    def integral(log_px):
        return special.logsumexp(log_px + log_prior, 0)

    joint, first, second = integral(first + second), integral(first), integral(second)
    values = joint, first, second, joint - second, joint - first
    every = dict.fromkeys(LABELS, np.ones(ROWS, bool))
    check(likelihood.log_likelihoods(given), dict(zip(LABELS, values, strict=True)), every)


def fake(names, **settings):
    dataset = fakes.dataset(names)
    return Context(
        model=fakes.FakeModel(fakes.specs(names)),
        variables=fakes.variables(names),
        dataset=dataset,
        settings=Settings(batch_size=16, **settings),
        workdir=None,
        step=0,
    )


def test_as_many_estimates_as_asked_for_and_the_right_number_of_draws(monkeypatch):
    """The fake's weights are exp(-1), exp(-2), ... in every chunk: 3, 3 and 1 of them."""
    monkeypatch.setattr(likelihood, "_CODES", 48)
    given = fake(("a", "b", "v"), likelihood_samples=7, likelihood_examples=20)
    found = likelihood.log_likelihoods(given)
    log_w = -np.array([1, 2, 3, 1, 2, 3, 1.0])
    joint = found["log_likelihood/joint"]
    assert joint.n == 20 and "over the first 20 of 50 test rows" in joint.how
    assert joint.value == pytest.approx(special.logsumexp(log_w) - np.log(7), rel=1e-5)
    assert found["log_weight_variance/joint"].value == pytest.approx(log_w.var(ddof=1), rel=1e-4)
    share = np.exp(log_w).sum() ** 2 / np.exp(2 * log_w).sum() / 7
    assert found["effective_sample_fraction/marginal/v"].value == pytest.approx(share, rel=1e-4)
    conditional = {name for name in found if "conditional" in name}
    assert conditional == {
        f"log_likelihood/conditional/{one}" for one in ("a|b+v", "b|a+v", "v|a+b")
    }
    assert not given.skipped


def test_one_modality_one_draw_and_one_that_is_never_there():
    given = fake(("v",), likelihood_samples=1)
    found = likelihood.log_likelihoods(given)
    assert "log_weight_variance/joint" not in found
    assert found["log_likelihood/joint"].value == found["log_likelihood/marginal/v"].value
    assert "one modality only" in given.skipped["log_likelihood/conditional"]
    given = fake(("v", "l"), likelihood_samples=2)
    given.dataset.splits["test"].present["l"][:] = False
    found = likelihood.log_likelihoods(given)
    assert set(given.skipped) == {
        "log_likelihood/marginal/l",
        "log_likelihood/conditional/v|l",
        "log_likelihood/conditional/l|v",
    }
    assert found["log_likelihood/marginal/v"].n == 50
