"""A trained run used from Python, and the files that people feed it."""

from __future__ import annotations

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmvae_jax
from mmvae_jax import data, inference, models, objectives
from mmvae_jax.types import UserError


@pytest.fixture(scope="module")
def trained(tiny_run):
    return mmvae_jax.load(tiny_run)


@pytest.fixture
def views(tiny_data):
    test = tiny_data.splits["test"]
    return {name: x[:7] for name, x in test.x.items()}


def test_load_finds_the_last_step_and_the_config(trained, tiny_run):
    run = json.loads((tiny_run / "config.json").read_text())
    assert trained.config == run["config"]
    assert trained.step == run["config"]["num_epochs"] * (64 // 16)


def test_encode_gives_posterior_means_by_row(trained, views):
    codes = trained.encode(views)
    dims = trained.config["model"]
    assert codes["shared"].shape == (7, dims["shared_dim"])
    assert codes["private/m1"].shape == (7, dims["private_dim"])
    alone = trained.encode({name: x[2:3] for name, x in views.items()})
    np.testing.assert_allclose(alone["shared"][0], codes["shared"][2], rtol=1e-4, atol=1e-5)


def test_left_out_and_marked_as_missing_are_the_same(trained, views):
    left_out = trained.encode({"m0": views["m0"]})
    marked = dict(views, m1__present=np.zeros(7, bool), m2__present=np.zeros(7, bool))
    np.testing.assert_array_equal(left_out["shared"], trained.encode(marked)["shared"])
    assert np.all(left_out["private/m1"] == 0)


def test_impute_keeps_what_is_observed_and_fills_the_rest(trained, views):
    here = np.array([True, False] * 3 + [True])
    filled = trained.impute({**views, "m1__present": here}, num_samples=20)
    assert set(filled) == set(views)
    np.testing.assert_array_equal(filled["m0"], views["m0"])
    np.testing.assert_array_equal(filled["m1"][here], views["m1"][here])
    assert filled["m1"].dtype == np.uint8
    assert not np.array_equal(filled["m1"][~here], views["m1"][~here])


def test_imputation_is_the_mean_of_the_draws_asked_for(trained, views, monkeypatch):
    """17 draws in chunks of 16 give the mean of the 16 of one chunk and the first of the next."""
    monkeypatch.setattr(models, "codes_at_once", lambda specs: 16 * inference._ROWS)
    filled = trained.impute({"m0": views["m0"]}, num_samples=17, seed=3)
    model = trained.model
    stored = inference.from_arrays({"m0": views["m0"]}, model.specs).batch
    _, rows = next(inference._slices(stored, 7, inference._ROWS))
    key = jax.random.fold_in(jax.random.key(3), 0)
    draws = [
        model.conditional(
            trained.variables, jax.random.fold_in(key, part), models.prepare(rows), model.names, 16
        )["m2"]
        for part in (0, 1)
    ]
    expected = (draws[0].sum(0) + draws[1][0]) / 17.0
    difference = np.abs(filled["m2"] / 255.0 - np.clip(expected[:7], 0, 1))
    assert difference.max() < 1.5 / 255


def test_rows_and_draws_of_a_call_stay_within_what_is_decoded_at_once(trained, views, monkeypatch):
    """As with items so large that but 2 codes may be decoded at once."""
    decode, decoded = type(trained.model).decode_one, set()

    def counted(self, variables, spec, shared, private):
        decoded.add(math.prod(shared.shape[:-1]))
        return decode(self, variables, spec, shared, private)

    few = {name: x[:3] for name, x in views.items()}
    codes = trained.encode(few)
    monkeypatch.setattr(type(trained.model), "decode_one", counted)
    monkeypatch.setattr(models, "codes_at_once", lambda specs: 2)
    filled = trained.impute({"m0": few["m0"]}, num_samples=2, draws=2)
    drawn = filled["m1__draws"].astype(np.float64)
    assert filled["m1"].shape == few["m1"].shape and drawn.shape[:2] == (3, 2)
    inside = ((drawn > 0) & (drawn < 255)).all(1)  # elsewhere draws are cut off, their mean is not
    assert inside.mean() > 0.5
    assert np.abs(drawn.mean(1) - filled["m1"])[inside].max() < 1.01
    assert trained.log_likelihood(few, of=("m0",), num_samples=2).shape == (3,)
    assert trained.generate(3)["m0"].shape == (3, 16, 16, 3)
    assert decoded == {2}
    np.testing.assert_allclose(trained.encode(few)["shared"], codes["shared"], rtol=1e-4, atol=1e-5)


def test_generate_gives_stored_dtypes_and_follows_its_seed(trained):
    first, second = trained.generate(5, seed=1), trained.generate(5, seed=1)
    assert first["m0"].shape == (5, 16, 16, 3)
    assert first["m0"].dtype == np.uint8
    np.testing.assert_array_equal(first["m2"], second["m2"])
    assert not np.array_equal(first["m2"], trained.generate(5, seed=2)["m2"])
    still = trained.generate(300, private_scale=0.0)
    assert still["m0"].shape[0] == 300


def test_log_likelihood_is_a_difference_of_importance_estimates(trained, views):
    """log p(of | given) = log p(of, given) - log p(given), each from its own posterior."""
    joint = trained.log_likelihood(views, num_samples=8)
    part = trained.log_likelihood(views, of=("m0",), num_samples=8)
    rest = trained.log_likelihood(views, given=("m0",), num_samples=8)
    np.testing.assert_allclose(joint - part, rest, rtol=1e-4, atol=1e-2)
    stored = inference.from_arrays(views, trained.model.specs).batch
    rows = models.prepare(next(inference._slices(stored, 7, trained._rows_at_once))[1])
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 0), 0)
    names = trained.model.names
    log_w = trained.model.log_weights(trained.variables, key, rows, names, (), 8)
    np.testing.assert_allclose(objectives.iwae(log_w)[:7], joint, rtol=1e-4)
    assert jnp.all(jnp.isfinite(log_w))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"m9": np.zeros((7, 16, 16, 3), np.uint8)}, "'m9' is no modality of this model: m0, m1"),
        ({"m0": np.zeros((7, 8, 8, 3), np.uint8)}, r"must have shape \[N, 16, 16, 3\]"),
        ({"m0": np.zeros((7, 16, 16, 3), np.float32)}, "must be uint8, is float32"),
        ({"m0": np.zeros((6, 16, 16, 3), np.uint8)}, "different numbers of rows"),
        ({"m0__present": np.ones(7, np.int32)}, "must be bool"),
    ],
)
def test_arrays_that_do_not_fit_are_named(trained, views, change, said):
    with pytest.raises(UserError, match=said):
        trained.encode({**views, **change})


def test_empty_input_is_refused(trained):
    with pytest.raises(UserError, match="no modality given"):
        trained.encode({})
    with pytest.raises(UserError, match="have no rows"):
        trained.encode({"m0": np.zeros((0, 16, 16, 3), np.uint8)})
    with pytest.raises(UserError, match="'m1' is missing"):
        trained.encode({"m0": np.zeros((2, 16, 16, 3), np.uint8), "m1__present": np.ones(2, bool)})


def test_numbers_below_one_are_refused(trained, views):
    for call in (
        lambda: trained.generate(0),
        lambda: trained.impute(views, num_samples=0),
        lambda: trained.log_likelihood(views, num_samples=0),
    ):
        with pytest.raises(UserError, match="must be at least 1"):
            call()


def test_the_long_form_of_a_batch_may_leave_out_present(trained, views):
    long = trained.encode({"x": views})
    np.testing.assert_array_equal(long["shared"], trained.encode(views)["shared"])


def test_unknown_names_are_refused(trained, views):
    with pytest.raises(UserError, match="no modality 'm7'"):
        trained.log_likelihood(views, given=("m7",), num_samples=2)
    with pytest.raises(UserError, match="both given and asked for"):
        trained.log_likelihood(views, given=("m0",), of=("m0",), num_samples=2)


def test_files_that_are_no_npz_of_plain_arrays(trained, tmp_path):
    specs = trained.model.specs
    with pytest.raises(UserError, match="there is no such file"):
        data.read_items(tmp_path / "none.npz", specs)
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(UserError, match=r"cannot be read as an \.npz of plain arrays"):
        data.read_items(tmp_path / "text.npz", specs)
    np.savez(tmp_path / "pickled.npz", m0=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match="holds Python objects"):
        data.read_items(tmp_path / "pickled.npz", specs)
    np.savez(tmp_path / "good.npz", m0=np.zeros((2, 16, 16, 3), np.uint8))
    whole = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cut\.npz cannot be read"):
        data.read_items(tmp_path / "cut.npz", specs)


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        mmvae_jax.load(tmp_path)
