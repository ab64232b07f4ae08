from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvae_jax import data
from mmvae_jax.models import prepare
from mmvae_jax.training import feeds, sharding, state, step
from mmvae_jax.training import optimizer as optimizers
from mmvae_jax.types import UserError
from tests.training import tiny

SEED = np.uint32(3)


@pytest.fixture(scope="module")
def rows():
    split = tiny.dataset().splits["train"]
    return {"x": dict(split.x), "present": dict(split.present)}


@pytest.fixture
def mesh():
    return sharding.data_mesh()


def _indices(start, count, size=6):
    full = np.full((size, 8), -1, np.int32)
    full[:count] = data.batch_indices(3, start, count, num_examples=50, batch_size=8)
    return full


def _start(model, mesh):
    optimizer = optimizers.make(tiny.config().optimizer, 18)
    initialize = state.initializer(model, optimizer, prepare)
    batch = data.take(tiny.dataset().splits["train"], _indices(0, 1)[0])
    return state.create(initialize, batch, SEED, mesh), optimizer


def _assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


def _run(model, mesh, rows, lengths, looped):
    """The state and summaries after chunks of the given lengths, or lengths of their pieces."""
    current, optimizer = _start(model, mesh)
    batch = feeds.DeviceFeed.batch
    chunk = step.make_chunk(model, optimizer, batch, prepare, mesh, looped=looped)
    halted, start, summaries = jnp.array(False), 0, []
    for length in lengths:
        pieces = []
        for count in np.atleast_1d(length).tolist():
            pieces.append(((rows, _indices(start, count)), count))
            start += count
        current, halted, summary = chunk(current, halted, pieces, SEED)
        summaries.append(jax.device_get(summary))
    return current, halted, summaries


@pytest.mark.parametrize("looped", [False, True])
def test_chunks_of_any_length_are_equal_bit_for_bit_and_share_a_trace(rows, mesh, looped):
    model = tiny.LinearVAE()
    before = tiny.LinearVAE.traces
    one, _, whole = _run(model, mesh, rows, (6,), looped)
    assert tiny.LinearVAE.traces == before + 1
    many, _, parts = _run(model, mesh, rows, (1, (3, 2)), looped)
    assert tiny.LinearVAE.traces == before + 2
    assert int(one.step) == 6
    _assert_equal(one, many)
    mean = sum(n * part.terms["loss"] for n, part in zip((1, 5), parts, strict=True)) / 6
    np.testing.assert_allclose(whole[0].terms["loss"], mean, rtol=1e-6)


def test_loop_and_calls_agree(rows, mesh):
    looped, _, a = _run(tiny.LinearVAE(), mesh, rows, (4, 2), True)
    called, _, b = _run(tiny.LinearVAE(), mesh, rows, (4, 2), False)
    for left, right in ((looped, called), (a, b)):
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7),
            jax.device_get(left),
            jax.device_get(right),
        )


@pytest.mark.parametrize("looped", [False, True])
def test_non_finite_step_changes_nothing_and_halts_what_follows(rows, mesh, looped):
    good, _, _ = _run(tiny.LinearVAE(), mesh, rows, (2,), looped)
    bad = tiny.LinearVAE(break_at=2)
    kept, halted, summaries = _run(bad, mesh, rows, ((3, 1), 2), looped)
    assert bool(halted)
    _assert_equal(good, kept)
    assert [int(summary.steps) for summary in summaries] == [2, 0]
    last = summaries[0].last
    assert np.isnan(last.terms["log_px/b"]) and np.isfinite(last.terms["log_px/a"])
    assert all(np.isfinite(value) for value in summaries[0].terms.values())


def test_padding_and_weights_make_no_difference(rows, mesh):
    # The noise of a row comes from its place in the batch, so a batch with padding at its end
    # is compared with itself under other contents of the padded rows.
    model = tiny.LinearVAE()
    start, optimizer = _start(model, mesh)
    batch = data.take(tiny.dataset().splits["train"], np.array([4, 9, 1, -1], np.int32))
    other = jax.tree.map(np.copy, batch)
    other["x"]["a"][3], other["x"]["b"][3] = 255, np.nan

    @jax.jit
    def loss(batch):
        key = jax.random.key(0)
        return step.training_step(model, optimizer, start, prepare(batch), key)[1].terms["loss"]

    np.testing.assert_array_equal(loss(batch), loss(other))


def test_weighted_mean():
    values, weight = jnp.array([1.0, 4.0, jnp.nan]), jnp.array([1.0, 0.5, 0.0])
    assert float(step.weighted_mean(values, weight)) == pytest.approx(2.0)
    assert float(step.weighted_mean(values, jnp.zeros(3))) == 0.0


def test_terms_of_a_modality_are_averaged_where_it_is_present(mesh):
    class Counting(tiny.LinearVAE):
        def loss(self, variables, rng, batch, step):
            loss, _ = super().loss(variables, rng, batch, step)
            row = jnp.arange(1.0, 5.0)
            there = {name: jnp.where(batch["present"][name], row, 0.0) for name in self.names}
            terms = {f"log_px/{name}": value for name, value in there.items()}
            return loss, {**terms, "kl/private/b": there["b"], "kl/shared": row, "elbo": row}

    start, optimizer = _start(Counting(), mesh)
    batch = data.take(tiny.dataset().splits["train"], np.array([4, 9, 1, -1], np.int32))
    batch["present"] = {
        "a": np.array([True, False, False, True]),  # the last row is padding
        "b": np.array([False, True, True, True]),
    }
    key = jax.random.key(0)
    report = step.training_step(Counting(), optimizer, start, prepare(batch), key)[1]
    of_modalities = {"log_px/a": 1.0, "log_px/b": 2.5, "kl/private/b": 2.5}
    for name, value in {**of_modalities, "kl/shared": 2.0, "elbo": 2.0}.items():
        assert float(report.terms[name]) == pytest.approx(value), name


def test_take_pads_with_weight_zero(rows):
    batch = feeds.take(jax.tree.map(jnp.asarray, rows), jnp.array([7, -1], jnp.int32))
    np.testing.assert_array_equal(batch["weight"], [1.0, 0.0])
    np.testing.assert_array_equal(batch["x"]["b"], rows["x"]["b"][[7, 0]])
    assert batch["x"]["a"].dtype == jnp.uint8


def test_initial_state_is_strongly_typed_float32(mesh):
    start, _ = _start(tiny.LinearVAE(), mesh)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(start))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(start.variables)} == {"float32"}


def test_parameters_in_half_precision_are_refused(mesh):
    class Half(tiny.LinearVAE):
        def init(self, rng, batch):
            return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), super().init(rng, batch))

    with pytest.raises(UserError, match="decoder/a is bfloat16: parameters must be float32"):
        _start(Half(), mesh)


def test_batch_that_devices_cannot_share_is_refused(mesh):
    class Eight:
        size = 8

    with pytest.raises(UserError, match=r"batch_size=100 .* 8 devices: use 96 or 104"):
        sharding.check_batch_size(100, Eight())
    sharding.check_batch_size(100, mesh)
