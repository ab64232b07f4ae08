"""log p of everything against a closed form, against quadrature, and what it says of gaps."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from mmvae_jax import data, evaluation, models
from mmvae_jax.evaluation import Context, Settings, likelihood, likelihood_sets
from mmvae_jax.models.latents import LatentSpace
from mmvae_jax.models.mvae import MVAE
from mmvae_jax.types import UserError
from tests.evaluation import fakes
from tests.models import worlds

ROWS, SAMPLES = 7, 3000
# What each number is estimated from.
PARTS = {
    "joint": ("joint",),
    "marginal/m0": ("marginal/m0",),
    "marginal/m1": ("marginal/m1",),
    "conditional/m0|m1": ("joint", "marginal/m1"),
    "conditional/m1|m0": ("joint", "marginal/m0"),
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


def check(found, exact, rows, parts=PARTS):
    """Means over the rows that count, within 5 errors of importance sampling."""
    for label, log_p in exact.items():
        result = found[f"log_likelihood/{label}"]
        counted = rows[label]
        assert result.n == counted.sum()
        noise = sum(
            (1 / found[f"effective_sample_fraction/{part}"].value - 1) / SAMPLES
            for part in parts[label]
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
    check(found, dict(zip(PARTS, values, strict=True)), dict(zip(PARTS, rows, strict=True)))
    assert "S = 3000" in found["log_likelihood/joint"].how
    assert found["log_likelihood/joint"].how.endswith("error over all test rows")
    families = [name.partition("/")[0] for name in found]
    assert (
        families
        == ["log_likelihood"] * 5 + ["effective_sample_fraction"] * 7 + ["log_weight_variance"] * 7
    )


def test_against_quadrature_of_one_latent_dimension():
    """Decoders that are not linear: log p, and what the draws behind it are worth."""
    model = MVAE(specs=worlds.specs(2, hidden=(5,)), shared=LatentSpace(1))
    params = wide_posteriors(worlds.random_params(model, seed=1))
    given = context(model, params)
    grid = jnp.linspace(-8.0, 8.0, 801)
    batch = models.prepare({"x": given.rows.x})

    @jax.jit
    def scores(batch):
        codes = jnp.broadcast_to(grid[:, None, None], (grid.size, ROWS, 1))
        found = [model.log_px({"params": params}, batch, s, codes, None) for s in model.specs]
        sides = (None, ("m0",), ("m1",))
        shared = [model.encode({"params": params}, batch, side).shared for side in sides]
        return found, [jax.tree.map(lambda x: x[0, :, 0], one) for one in shared]

    (first, second), posteriors = jax.device_get(scores(batch))
    z = np.asarray(grid, np.float64)[:, None]
    step = np.log(z[1] - z[0])
    log_prior = stats.norm.logpdf(z)
    log_all, log_first, log_second = (
        stats.norm.logpdf(z, np.float64(q["loc"]), np.float64(q["scale"])) for q in posteriors
    )

    def integral(log_density):
        return special.logsumexp(log_density + step, 0)

    log_p = [integral(log_px + log_prior) for log_px in (first + second, first, second)]
    joint, one, other = log_p
    values = joint, one, other, joint - other, joint - one
    every = dict.fromkeys(PARTS, np.ones(ROWS, bool))
    found = likelihood.log_likelihoods(given)
    check(found, dict(zip(PARTS, values, strict=True)), every)

    # Log-weights on the grid, and the density that is drawn from.
    weights = {
        "joint": (first + second + log_prior - log_all, log_all),
        "marginal/m0": (first + log_prior - log_first, log_first),
        "conditional/m0|m1": (first + log_second - log_all, log_all),
        "conditional/m1|m0": (second + log_first - log_all, log_all),
        "marginal_from_all/m0|m1": (first + log_prior - log_all, log_all),
        "marginal_from_all/m1|m0": (second + log_prior - log_all, log_all),
    }
    for label, (log_w, log_q) in weights.items():
        q = np.exp(log_q + step)
        center = (q * log_w).sum(0)
        variance = (q * (log_w - center) ** 2).sum(0)
        effective = np.exp(2 * integral(log_w + log_q) - integral(2 * log_w + log_q))
        measured = found[f"log_weight_variance/{label}"]
        assert measured.value == pytest.approx(variance.mean(), rel=0.1), label
        assert measured.n == ROWS and "S = 3000" in measured.how
        measured = found[f"effective_sample_fraction/{label}"]
        assert measured.value == pytest.approx(effective.mean(), rel=0.05), label


def test_any_set_of_targets_given_any_other():
    """Three modalities with gaps, against the closed form; only the sets asked for are there."""
    model = MVAE(specs=worlds.specs(3), shared=LatentSpace(2))
    params = wide_posteriors(worlds.random_params(model, size=0.3))
    present = np.array([[1, 1, 0, 1, 0, 1, 1], [1, 0, 1, 1, 0, 1, 1], [1, 1, 1, 0, 1, 0, 1]], bool)
    sets = "m2 + m0|m1, m1, m2+m0+m1,m0+m2"
    given = context(model, params, dict(zip(model.names, present, strict=True)))
    given = dataclasses.replace(
        given, settings=dataclasses.replace(given.settings, likelihood_sets=sets)
    )

    def exact(*chosen):
        """Row by row, of what is there of these modalities."""
        wanted = np.array([name in chosen for name in model.names])[:, None] & present
        x = given.rows.x
        return np.array(
            [
                worlds.exact_log_likelihood(
                    model, params, {name: x[name][i : i + 1] for name in x}, wanted[:, i]
                )[0]
                if wanted[:, i].any()
                else 0.0
                for i in range(ROWS)
            ]
        )

    joint, first = exact("m0", "m1", "m2"), exact("m1")
    values = {
        "joint": joint,
        "marginal/m1": first,
        "marginal/m0+m2": exact("m0", "m2"),
        "conditional/m0+m2|m1": joint - first,
    }
    rows = {
        "joint": present.any(0),
        "marginal/m1": present[1],
        "marginal/m0+m2": present[0] | present[2],
        "conditional/m0+m2|m1": (present[0] | present[2]) & present[1],
    }
    parts = {label: (label,) for label in values}
    parts["conditional/m0+m2|m1"] = ("joint", "marginal/m1")
    found = likelihood.log_likelihoods(given)
    check(found, values, rows, parts)
    assert {name.partition("/")[2] for name in found} == {*values, "marginal_from_all/m0+m2|m1"}
    assert not given.skipped


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("m0,", "'' is not a set such as"),
        ("|m0", "'|m0' is not a set such as"),
        ("m0|", "'m0|' is not a set such as"),
        ("m0++m1", "'m0++m1' is not a set"),
        ("m0|m1|m2", "behind one bar"),
        ("m0+m1|m0", "'m0' stands twice in 'm0+m1|m0'"),
        ("m1+m1", "'m1' stands twice"),
    ],
)
def test_sets_that_are_none_are_refused_before_the_data_are_read(text, line):
    for refuse in (likelihood_sets.check, lambda text: likelihood_sets.chosen(text, ("m0", "m1"))):
        with pytest.raises(UserError, match="likelihood_sets") as error:
            refuse(text)
        assert line in str(error.value) and "\n" not in str(error.value)


def test_a_set_of_what_is_no_modality_is_refused_before_anything_is_measured():
    config = {"evaluation": {"likelihood_sets": "m0|image"}}
    with pytest.raises(UserError, match=r"no modality 'image', only m0, images; did you mean"):
        evaluation.check(config, ("m0", "images"))
    evaluation.check({"evaluation": {}}, ("m0",))


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
    monkeypatch.setattr(models, "codes_at_once", lambda specs: 48)
    given = fake(("a", "b", "v"), likelihood_samples=7, likelihood_examples=20)
    found = likelihood.log_likelihoods(given)
    log_w = -np.array([1, 2, 3, 1, 2, 3, 1.0])
    joint = found["log_likelihood/joint"]
    assert joint.n == 20 and "error over 20 of 50 test rows" in joint.how
    assert joint.value == pytest.approx(special.logsumexp(log_w) - np.log(7), rel=1e-5)
    assert found["log_weight_variance/joint"].value == pytest.approx(log_w.var(ddof=1), rel=1e-4)
    share = np.exp(log_w).sum() ** 2 / np.exp(2 * log_w).sum() / 7
    assert found["effective_sample_fraction/marginal/v"].value == pytest.approx(share, rel=1e-4)
    conditional = {name for name in found if "likelihood/conditional" in name}
    assert conditional == {
        f"log_likelihood/conditional/{one}" for one in ("a|b+v", "b|a+v", "v|a+b")
    }
    # Of the fake's, twice as far apart where something is given.
    for label, factor in (("conditional", 2), ("marginal_from_all", 1)):
        variance = found[f"log_weight_variance/{label}/a|b+v"].value
        assert variance == pytest.approx((factor * log_w).var(ddof=1), rel=1e-4)
        w = np.exp(factor * log_w)
        share = found[f"effective_sample_fraction/{label}/a|b+v"].value
        assert share == pytest.approx(w.sum() ** 2 / (w**2).sum() / 7, rel=1e-4)
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
