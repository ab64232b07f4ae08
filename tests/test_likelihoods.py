"""Likelihoods against SciPy, enumeration and their own samples."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from mmvae_jax import distributions, likelihoods
from mmvae_jax.types import ModalitySpec, UserError


def make(likelihood, shape, **options):
    return likelihoods.for_spec(
        ModalitySpec(name="sensor", shape=shape, likelihood=likelihood, **options)
    )


def parameters_of(likelihood, outputs):
    return likelihood.parameters(outputs, likelihood.init_params())


def expected_log_prob(name, outputs, x):
    if name == "bernoulli":
        terms = scipy.stats.bernoulli.logpmf(x, scipy.special.expit(outputs))
    elif name == "normal":
        terms = scipy.stats.norm.logpdf(x, outputs, 0.4)
    else:
        terms = scipy.stats.laplace.logpdf(x, outputs, 0.4)
    return terms.reshape(*terms.shape[: outputs.ndim - x.ndim + 1], -1).sum(-1)


@pytest.mark.parametrize("shape", [(), (5,), (4, 3, 2)])
@pytest.mark.parametrize("name", ["bernoulli", "normal", "laplace"])
def test_log_prob_equals_scipy_summed_over_the_event(generator, name, shape):
    likelihood = make(name, shape, likelihood_scale=0.4)
    x = generator.normal(size=(6, *shape)).astype(np.float32)
    x = (x > 0).astype(np.float32) if name == "bernoulli" else x
    outputs = generator.normal(size=(6, *shape)).astype(np.float32)
    assert likelihood.output_shape == shape and likelihood.init_params() == {}
    actual = likelihood.log_prob(parameters_of(likelihood, outputs), x)
    assert actual.shape == (6,)
    np.testing.assert_allclose(actual, expected_log_prob(name, outputs, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(), (5,)])
def test_categorical_log_prob_picks_the_class(generator, shape):
    likelihood = make("categorical", shape, num_classes=4)
    assert likelihood.output_shape == (*shape, 4)
    logits = generator.normal(size=(3, 6, *shape, 4)) * 3
    x = generator.integers(0, 4, size=(6, *shape)).astype(np.int32)
    log_probs = scipy.special.log_softmax(logits, -1)
    expected = np.zeros((3, 6))
    for k, b in np.ndindex(3, 6):
        for index in np.ndindex(*shape):
            expected[k, b] += log_probs[(k, b, *index, x[(b, *index)])]
    actual = likelihood.log_prob(parameters_of(likelihood, logits), x)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(), (2,)])
def test_one_hot_bernoulli_is_the_binary_cross_entropy_of_a_one_hot_vector(generator, shape):
    likelihood = make("one_hot_bernoulli", shape, num_classes=4)
    logits = generator.normal(size=(3, 6, *shape, 4)) * 3
    x = generator.integers(0, 4, size=(6, *shape)).astype(np.int32)
    terms = scipy.stats.bernoulli.logpmf(np.eye(4)[x][None], scipy.special.expit(logits))
    parameters = parameters_of(likelihood, logits)
    np.testing.assert_allclose(
        likelihood.log_prob(parameters, x), terms.reshape(3, 6, -1).sum(-1), rtol=1e-5
    )
    np.testing.assert_allclose(likelihood.mean(parameters), scipy.special.expit(logits), rtol=1e-5)
    np.testing.assert_array_equal(likelihood.mode(parameters), logits.argmax(-1))
    assert np.isnan(likelihood.log_prob(parameters, np.full((6, *shape), 4, np.int32))).all()


def test_one_hot_bernoulli_draws_classes_given_that_the_vector_is_one_hot():
    likelihood = make("one_hot_bernoulli", (), num_classes=3)
    p = np.array([0.2, 0.5, 0.9])
    one_hot = [np.prod(np.where(row, p, 1 - p)) for row in np.eye(3, dtype=bool)]
    parameters = parameters_of(likelihood, np.broadcast_to(scipy.special.logit(p), (20_000, 3)))
    drawn = np.asarray(likelihood.sample(parameters, jax.random.key(0)))
    frequency, expected = np.bincount(drawn, minlength=3) / 20_000, one_hot / np.sum(one_hot)
    assert np.all(np.abs(frequency - expected) < 4 * np.sqrt(expected * (1 - expected) / 20_000))


@pytest.mark.parametrize("name", ["bernoulli", "normal", "laplace"])
def test_data_are_repeated_over_sample_axes(generator, name):
    likelihood = make(name, (4, 2), likelihood_scale=0.4)
    outputs = generator.normal(size=(3, 2, 6, 4, 2)).astype(np.float32)
    x = (generator.random((6, 4, 2)) < 0.5).astype(np.float32)
    parameters = parameters_of(likelihood, outputs)
    full = np.broadcast_to(x, outputs.shape)
    assert likelihood.log_prob(parameters, x).shape == (3, 2, 6)
    np.testing.assert_allclose(
        likelihood.log_prob(parameters, x), likelihood.log_prob(parameters, full), rtol=1e-6
    )
    # Every parameter has the leading axes of the outputs, so that they can be indexed together.
    one = jax.tree.map(lambda leaf: leaf[1, 0], parameters)
    np.testing.assert_allclose(
        likelihood.log_prob(one, x), likelihood.log_prob(parameters, x)[1, 0], rtol=1e-6
    )


def test_probabilities_of_all_outcomes_sum_to_one(generator):
    bernoulli = make("bernoulli", (4,))
    everything = np.array(list(itertools.product([0, 1], repeat=4)), np.float32)
    outputs = np.repeat(generator.normal(size=(1, 4)), 16, 0)
    log_prob = bernoulli.log_prob(parameters_of(bernoulli, outputs), everything)
    np.testing.assert_allclose(np.exp(log_prob).sum(), 1.0, rtol=1e-5)
    categorical = make("categorical", (2,), num_classes=3)
    everything = np.array(list(itertools.product(range(3), repeat=2)), np.int32)
    outputs = np.repeat(generator.normal(size=(1, 2, 3)), 9, 0)
    log_prob = categorical.log_prob(parameters_of(categorical, outputs), everything)
    np.testing.assert_allclose(np.exp(log_prob).sum(), 1.0, rtol=1e-5)


@pytest.mark.parametrize("name", ["normal", "laplace"])
def test_learned_scale_starts_at_the_given_one_and_has_its_maximum_likelihood(generator, name):
    """The log-likelihood's slope is 0 where the scale is the (root) mean deviation of the data."""
    x = generator.normal(size=(50, 20)).astype(np.float32)
    scale = np.sqrt(np.mean(x**2)) if name == "normal" else np.mean(np.abs(x))
    likelihood = make(name, (20,), likelihood_scale=float(scale), learn_likelihood_scale=True)
    start = likelihood.init_params()
    assert start["log_scale"].shape == () and start["log_scale"].dtype == jnp.float32

    def mean_log_prob(params):
        return likelihood.log_prob(likelihood.parameters(jnp.zeros((50, 20)), params), x).mean()

    parameters = likelihood.parameters(jnp.zeros((50, 20)), start)
    np.testing.assert_allclose(parameters["scale"], np.full((50, 1), scale), rtol=1e-5)
    slope = jax.jit(jax.grad(mean_log_prob))
    np.testing.assert_allclose(slope(start)["log_scale"], 0.0, atol=1e-2)
    assert slope({"log_scale": start["log_scale"] - 0.5})["log_scale"] > 1.0


@pytest.mark.parametrize(
    "name", ["bernoulli", "normal", "laplace", "categorical", "one_hot_bernoulli"]
)
def test_results_are_float32_and_finite_at_extreme_outputs(debug_nans, name):
    likelihood = make(name, (3,), num_classes=3)
    outputs = jnp.full((2, *likelihood.output_shape), 50.0, jnp.bfloat16)
    outputs = outputs.at[0, 0].set(-50.0)
    x = np.ones((2, 3), np.int32 if isinstance(likelihood, likelihoods.Categorical) else np.float32)

    def total(outputs):
        log_prob = likelihood.log_prob(parameters_of(likelihood, outputs), x)
        assert log_prob.dtype == jnp.float32
        return log_prob.sum()

    value, gradient = jax.jit(jax.value_and_grad(total))(outputs)
    assert np.isfinite(value) and np.all(np.isfinite(gradient.astype(jnp.float32)))


@pytest.mark.parametrize("name", ["bernoulli", "normal", "laplace"])
def test_samples_have_the_mean_and_spread_of_the_likelihood(name):
    """Moments in closed form: p(1-p), scale**2, 2 scale**2; four standard errors."""
    likelihood = make(name, (2,), likelihood_scale=0.4)
    outputs = np.broadcast_to(np.array([0.3, -1.0], np.float32), (20_000, 2))
    parameters = parameters_of(likelihood, outputs)
    drawn = np.asarray(likelihood.sample(parameters, jax.random.key(0)), np.float64)
    mean = scipy.special.expit(outputs[0]) if name == "bernoulli" else outputs[0]
    variance = {"bernoulli": mean * (1 - mean), "normal": 0.16, "laplace": 0.32}[name]
    np.testing.assert_allclose(likelihood.mean(parameters)[0], mean, rtol=1e-5)
    assert np.all(np.abs(drawn.mean(0) - mean) < 4 * drawn.std(0) / np.sqrt(20_000))
    square = (drawn - mean) ** 2
    # + 1e-3: the spread of a fair coin's square is itself almost 0.
    assert np.all(np.abs(square.mean(0) - variance) < 4 * square.std(0) / np.sqrt(20_000) + 1e-3)
    mode = np.asarray(likelihood.mode(parameters)[0])
    np.testing.assert_allclose(mode, [1.0, 0.0] if name == "bernoulli" else mean, rtol=1e-6)


def test_categorical_samples_mean_and_mode():
    likelihood = make("categorical", (), num_classes=3)
    probabilities = np.array([0.2, 0.5, 0.3])
    parameters = parameters_of(likelihood, np.broadcast_to(np.log(probabilities), (20_000, 3)))
    drawn = likelihood.sample(parameters, jax.random.key(0))
    assert drawn.shape == (20_000,) and drawn.dtype == jnp.int32
    frequency = np.bincount(np.asarray(drawn), minlength=3) / 20_000
    error = np.sqrt(probabilities * (1 - probabilities) / 20_000)
    assert np.all(np.abs(frequency - probabilities) < 4 * error)
    np.testing.assert_allclose(likelihood.mean(parameters)[0], probabilities, rtol=1e-5)
    assert likelihood.mode(parameters)[0] == 1


def test_an_impossible_class_shows_as_nan():
    likelihood = make("categorical", (), num_classes=3)
    parameters = parameters_of(likelihood, np.zeros((4, 3), np.float32))
    log_prob = likelihood.log_prob(parameters, np.array([0, 2, 3, -1], np.int32))
    np.testing.assert_array_equal(np.isnan(log_prob), [False, False, True, True])


def test_likelihoods_are_hashable_and_compare_by_their_spec():
    assert make("normal", (3,)) == make("normal", (3,))
    assert len({make("normal", (3,)), make("normal", (3,)), make("laplace", (3,))}) == 2


def test_a_new_likelihood_is_one_registered_class(monkeypatch):
    monkeypatch.setattr(likelihoods.base, "LIKELIHOODS", dict(likelihoods.LIKELIHOODS))

    @likelihoods.register("cauchy")
    class Cauchy(likelihoods.Likelihood):
        pass

    assert isinstance(make("cauchy", (3,)), Cauchy)
    with pytest.raises(ValueError, match="twice"):
        likelihoods.register("cauchy")(Cauchy)


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("gaussian", {}, "bernoulli, categorical, laplace, negative_binomial, normal"),
        ("laplas", {}, "did you mean 'laplace'"),
        ("normal", {"likelihood_scale": 0.0}, "likelihood_scale"),
        ("laplace", {"likelihood_scale": -1.0}, "likelihood_scale"),
        ("laplace", {"likelihood_scale": float("nan")}, "likelihood_scale"),
        ("categorical", {"num_classes": 1}, "num_classes"),
    ],
)
def test_wrong_specs_end_in_one_line_that_names_the_modality(name, options, message):
    with pytest.raises(UserError, match=message) as error:
        make(name, (3,), **options)
    assert "'sensor'" in str(error.value) and "\n" not in str(error.value)


def test_shapes_and_types_that_do_not_fit_are_named():
    normal, categorical = make("normal", (3,)), make("categorical", (), num_classes=3)
    with pytest.raises(ValueError, match=r"'sensor'.*\(3,\), got \(2, 4\)"):
        normal.parameters(np.zeros((2, 4)), {})
    parameters = parameters_of(normal, np.zeros((5, 2, 3)))
    for shape in [(2, 4), (5, 3), (1, 5, 2, 3), ()]:
        with pytest.raises(ValueError, match="'sensor'"):
            normal.log_prob(parameters, np.zeros(shape, np.float32))
    with pytest.raises(TypeError, match="divide by 255"):
        normal.log_prob(parameters, np.zeros((2, 3), np.uint8))
    with pytest.raises(TypeError, match="class indices"):
        categorical.log_prob(parameters_of(categorical, np.zeros((2, 3))), np.zeros(2, np.float32))


# --- data in their own units, and counts ---------------------------------------------------------


UNITS = {"location": (5.0, -3e4, 0.0), "scale": (2.0, 1e3, 0.01)}


@pytest.mark.parametrize("name", ["normal", "laplace"])
def test_standardised_data_have_likelihoods_and_draws_in_their_own_units(generator, name):
    likelihood = make(name, (3,), likelihood_scale=0.4, **UNITS)
    location, scale = np.array(UNITS["location"]), np.array(UNITS["scale"])
    outputs = generator.normal(size=(2, 6, 3)).astype(np.float32)
    x = (location + scale * generator.normal(size=(6, 3))).astype(np.float32)
    parameters = parameters_of(likelihood, outputs)
    family = {"normal": scipy.stats.norm, "laplace": scipy.stats.laplace}[name]
    expected = family.logpdf(x[None].astype(np.float64), location + scale * outputs, 0.4 * scale)
    np.testing.assert_allclose(likelihood.log_prob(parameters, x), expected.sum(-1), rtol=2e-4)
    np.testing.assert_allclose(likelihood.mean(parameters), location + scale * outputs, rtol=1e-5)
    np.testing.assert_array_equal(likelihood.mode(parameters), likelihood.mean(parameters))
    still = parameters_of(likelihood, np.zeros((20_000, 3)))
    drawn = np.asarray(likelihood.sample(still, jax.random.key(0)), np.float64)
    spread = 0.4 * scale * (np.sqrt(2) if name == "laplace" else 1)
    assert np.all(np.abs(drawn.mean(0) - location) < 4 * spread / np.sqrt(20_000))
    np.testing.assert_allclose(drawn.std(0), spread, rtol=0.05)


def test_columns_that_hardly_vary_keep_their_differences():
    """x - location is taken before anything is rounded: times of this year in seconds, say."""
    likelihood = make("normal", (1,), likelihood_scale=1.0, location=(1.7e9,), scale=(1e5,))
    x = np.array([[1.7e9 + 2e5]], np.float32)
    log_prob = likelihood.log_prob(parameters_of(likelihood, np.array([[2.0]])), x)
    np.testing.assert_allclose(log_prob, scipy.stats.norm.logpdf(0) - np.log(1e5), rtol=1e-5)


COUNTS = np.array([[0, 3, 17], [1, 0, 0], [250, 40_000, 7], [2, 2, 2]], np.int32)


def counts(name, **options):
    return make(name, (3,), dtype="int32", **options)


def with_dispersion(likelihood, outputs, dispersion):
    params = likelihood.init_params()
    if params:
        params = {"log_dispersion": jnp.log(jnp.asarray(dispersion, jnp.float32))}
    return likelihood.parameters(outputs, params)


@pytest.mark.parametrize("library_size", [0.0, 30.0])
@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
def test_counts_equal_scipy(generator, name, library_size):
    location = (0.5, 2.0, -1.0)
    likelihood = counts(name, location=location, library_size=library_size)
    outputs = generator.normal(size=(5, 4, 3)).astype(np.float32)
    dispersion = np.array([0.3, 2.0, 0.01])
    rate = np.exp(outputs.astype(np.float64) + location)
    typical = rate
    if library_size:
        share = rate / rate.sum(-1, keepdims=True)
        rate, typical = share * COUNTS.sum(-1, keepdims=True), share * library_size
    if name == "poisson":
        terms = scipy.stats.poisson.logpmf(COUNTS, rate)
    else:
        r = 1 / dispersion
        terms = scipy.stats.nbinom.logpmf(COUNTS, r, r / (r + rate))
    parameters = with_dispersion(likelihood, outputs, dispersion)
    found = likelihood.log_prob(parameters, COUNTS)
    assert found.shape == (5, 4) and found.dtype == jnp.float32
    np.testing.assert_allclose(found, terms.sum(-1), rtol=2e-4)
    np.testing.assert_allclose(likelihood.mean(parameters), typical, rtol=1e-4)


def test_the_negative_binomial_is_exact_from_one_end_to_the_other():
    """At r = 1e9 its gamma functions are 2e10 each, and it is Poisson's."""
    x = np.array([0.0, 1.0, 5.0, 40.0, 1000.0])
    mean = np.array([0.01, 3.0, 900.0])[:, None]
    r = np.array([1e-3, 1.0, 7.9, 8.1, 1e3, 1e6, 1e9])[:, None, None]
    expected = scipy.stats.nbinom.logpmf(x, r, r / (r + mean))
    expected[-1] = scipy.stats.poisson.logpmf(x, mean)
    arrays = (np.broadcast_to(a, expected.shape) for a in (x, np.log(mean), r))
    found = distributions.negative_binomial_log_prob(*arrays)
    np.testing.assert_allclose(found, expected, rtol=3e-5, atol=3e-3)


def test_gradients_of_counts_are_finite_and_point_at_the_mean(debug_nans):
    likelihood = counts("negative_binomial", library_size=30.0)
    params = likelihood.init_params()

    def total(outputs, params, x):
        return likelihood.log_prob(likelihood.parameters(outputs, params), x).sum()

    x = np.concatenate([COUNTS, np.zeros((1, 3), np.int32)])
    of_outputs, of_params = jax.jit(jax.grad(total, (0, 1)))(jnp.zeros((5, 3)), params, x)
    assert np.isfinite(of_outputs).all() and np.isfinite(of_params["log_dispersion"]).all()
    assert np.all(of_outputs[4] == 0)  # nothing was counted there
    assert np.argmax(of_outputs, -1)[:3].tolist() == [2, 0, 1]


def test_a_row_without_counts_is_certain_given_its_total():
    for name in ("poisson", "negative_binomial"):
        likelihood = counts(name, library_size=30.0)
        parameters = parameters_of(likelihood, np.zeros((2, 3)))
        assert likelihood.log_prob(parameters, np.zeros((2, 3), np.int32)).tolist() == [0.0, 0.0]
        assert np.isnan(likelihood.log_prob(parameters, np.full((2, 3), -1))).all()


@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
def test_draws_and_modes_of_counts(name):
    likelihood = counts(name, location=(0.0, 1.0, 2.0))
    dispersion = np.array([0.5, 0.2, 2.0])
    rate = np.exp([0.0, 1.0, 2.0])
    one = with_dispersion(likelihood, np.zeros((40_000, 3)), dispersion)
    drawn = np.asarray(likelihood.sample(one, jax.random.key(2)))
    assert drawn.dtype == np.int32 and drawn.shape == (40_000, 3)
    r = 1 / dispersion
    family = scipy.stats.nbinom(r, r / (r + rate))
    if name == "poisson":
        family = scipy.stats.poisson(rate)
    error = family.std() / np.sqrt(40_000)
    assert np.all(np.abs(drawn.mean(0) - family.mean()) < 4 * error)
    np.testing.assert_allclose(drawn.var(0), family.var(), rtol=0.06)
    best = family.pmf(np.arange(60)[:, None]).argmax(0)
    mode = np.asarray(likelihood.mode(one))[0]
    np.testing.assert_allclose(family.pmf(mode), family.pmf(best), rtol=1e-6)


# --- texts ----------------------------------------------------------------------------------------

END, PAD = 1, 0


def tokens(length=3, vocabulary=4, end_id=END, pad_id=PAD, name="tokens"):
    return make(name, (length,), num_classes=vocabulary, end_id=end_id, pad_id=pad_id)


def texts(length, vocabulary, end_id, pad_id):
    """All texts of at most ``length`` tokens: ended and filled up with padding, or cut off."""
    words = [token for token in range(vocabulary) if token not in (end_id, pad_id)]
    for count in range(length + 1):
        for text in itertools.product(words, repeat=count):
            if count < length:
                text = (*text, end_id, *[pad_id] * (length - count - 1))
            yield text


@pytest.mark.parametrize(("end_id", "pad_id"), [(1, 0), (2, 2), (0, 3)])
def test_tokens_count_up_to_the_end_and_probabilities_add_up_to_1(generator, end_id, pad_id):
    likelihood = tokens(end_id=end_id, pad_id=pad_id)
    outputs = 2 * generator.normal(size=(3, 4))
    everything = np.array(list(texts(3, 4, end_id, pad_id)), np.int32)
    parameters = parameters_of(likelihood, np.broadcast_to(outputs, (len(everything), 3, 4)))
    log_prob = np.asarray(likelihood.log_prob(parameters, everything))
    assert np.exp(log_prob).sum() == pytest.approx(1, rel=1e-5)

    allowed = [token for token in range(4) if token != pad_id or pad_id == end_id]
    expected, mean = [], np.zeros((3, 4))
    for text in everything:
        total = 0.0
        for position, token in enumerate(text):
            scores = outputs[position]
            total += scores[token] - scipy.special.logsumexp(scores[allowed])
            if token == end_id:
                break
        expected.append(total)
        mean[np.arange(3), text] += np.exp(total)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5)
    np.testing.assert_allclose(likelihood.mean(parameters)[0], mean, atol=1e-5)


def test_what_stands_behind_the_end_changes_nothing_unless_it_is_no_token(generator):
    likelihood = tokens(5)
    outputs = generator.normal(size=(2, 5, 4))
    x = np.array([[3, 2, END, PAD, PAD], [2, 3, 3, 2, 2]], np.int32)
    found = likelihood.log_prob(parameters_of(likelihood, outputs), x)
    other = x.copy()
    other[0, 3:] = 3, END
    other_outputs = outputs.copy()
    other_outputs[0, 3:] += 5
    again = likelihood.log_prob(parameters_of(likelihood, other_outputs), other)
    np.testing.assert_array_equal(found, again)
    for place, token in ((0, 4), (0, -1), (4, 4)):
        wrong = x.copy()
        wrong[0, place] = token
        out = np.asarray(likelihood.log_prob(parameters_of(likelihood, outputs), wrong))
        assert np.isnan(out[0]) and out[1] == found[1]
    published = tokens(5, name="categorical")  # padding counts
    log_probs = scipy.special.log_softmax(outputs, -1)
    counted = np.take_along_axis(log_probs, x[..., None], -1).sum((1, 2))
    actual = published.log_prob(parameters_of(published, outputs), x)
    np.testing.assert_allclose(actual, counted, rtol=1e-5)


def test_modes_and_samples_of_tokens_end_once_and_are_padded():
    likelihood = tokens(4)
    outputs = np.zeros((4, 4), np.float32)
    outputs[[0, 1, 2, 3], [2, 3, END, 3]] = 4.0
    outputs[1, PAD] = 20.0  # padding cannot come before the end
    parameters = parameters_of(likelihood, outputs)
    np.testing.assert_array_equal(likelihood.mode(parameters), [2, 3, END, PAD])
    drawn = parameters_of(likelihood, np.broadcast_to(outputs, (4000, 4, 4)))
    drawn = np.asarray(likelihood.sample(drawn, jax.random.key(0)))
    is_end = drawn == END
    assert (is_end.sum(1) <= 1).all() and is_end.any(0).all()
    np.testing.assert_array_equal(drawn == PAD, is_end.cumsum(1) > is_end)
    frequencies = (drawn[..., None] == np.arange(4)).mean(0)
    np.testing.assert_allclose(frequencies, likelihood.mean(parameters), atol=0.04)


def test_the_gradient_of_tokens_is_finite_and_stops_at_the_end():
    likelihood = tokens(4)
    x = np.array([2, END, PAD, PAD], np.int32)
    gradient = jax.grad(lambda out: likelihood.log_prob(parameters_of(likelihood, out), x))(
        jnp.zeros((4, 4))
    )
    expected = np.zeros((4, 4))
    expected[0], expected[1] = [0, -1 / 3, 2 / 3, -1 / 3], [0, 2 / 3, -1 / 3, -1 / 3]
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pad_id": -1}, "needs pad_id in the vocabulary of 4, it is -1"),
        ({"end_id": 4}, "needs end_id in the vocabulary of 4, it is 4"),
        ({"vocabulary": 1}, "num_classes >= 2"),
    ],
)
def test_tokens_without_an_end_or_padding_are_refused(options, said):
    with pytest.raises(UserError, match=said):
        tokens(**options)
    with pytest.raises(UserError, match="is of texts"):
        make("tokens", (2, 3), num_classes=4, end_id=1, pad_id=0)


def test_a_class_that_is_not_scored_counts_nowhere(generator):
    """Of captions as published: unknown words (0) are passed over, padding (1) is scored."""
    published = make("categorical", (5,), num_classes=4, end_id=2, pad_id=1, unscored_id=0)
    logits = generator.normal(size=(2, 5, 4))
    x = np.array([[0, 3, 0, 2, 1], [0, 0, 0, 0, 0]], np.int32)
    log_probs = scipy.special.log_softmax(logits[0], -1)
    expected = log_probs[1, 3] + log_probs[3, 2] + log_probs[4, 1]
    actual = published.log_prob(parameters_of(published, logits), x)
    np.testing.assert_allclose(actual, [expected, 0.0], rtol=1e-5)
    wrong = published.log_prob(parameters_of(published, logits), np.full((2, 5), -1, np.int32))
    assert np.isnan(wrong).all()
