"""From a file of arrays to one without gaps: one tiny run, its evaluation, its imputations."""

from __future__ import annotations

import importlib
import json
import logging
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

import mmvae_jax
from configs import mvae
from mmvae_jax import configuration, data, models, networks, runner, training
from mmvae_jax.types import ModalitySpec, UserError

N = 60
METRICS = "classifier/accuracy,classification/accuracy,bound/test"
FILES = Path(mvae.__file__).parent.glob("*.py")
CONFIGS = sorted(path.stem for path in FILES if "def get_config(" in path.read_text("utf-8"))


@pytest.fixture(scope="module")
def views():
    """A vector far from 0, counts, a label, attributes and images; 40 % of each missing."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(N, 1))
    made = {
        "vector": 1e3 + 50.0 * (z + 0.1 * rng.normal(size=(N, 3))),
        "genes": rng.poisson(np.exp(1.0 + 0.5 * z + np.arange(4))),
        "kind": (z[:, 0] > 0).astype(np.int64) + 1,
        "flags": np.concatenate([z > 0, z < 0.5], 1),
        "image": np.broadcast_to(np.where(z > 0, 200, 40)[:, None], (N, 8, 8)).astype(np.uint8),
        "label": (z[:, 0] > 0).astype(np.int64),
    }
    for name in list(made)[:-1]:
        gone = rng.random(N) < 0.4
        if name == "vector":
            made[name][gone] = np.nan
        else:
            made[f"{name}__present"] = ~gone
    return made


def tiny(path) -> dict:
    config = mvae.get_config("dataset=arrays").to_dict()
    config["data"]["path"] = str(path)
    config["batch_size"], config["num_epochs"] = 16, 1
    config["training"].update(steps_per_epoch=3, log_every=3)
    config["model"].update(shared_dim=2, network="mlp")
    config["model"]["network_options"]["mlp"] = {"hidden": (8,)}
    config["evaluation"].update(
        batch_size=16, bound_samples=2, classifier_epochs=1, metrics=METRICS, figures=False
    )
    return config


@pytest.fixture(scope="module")
def folder(views, tmp_path_factory):
    path = tmp_path_factory.mktemp("own")
    np.savez(path / "views.npz", **views)
    return path


@pytest.fixture(scope="module")
def run(folder):
    """With what was logged in ``log.txt``."""
    logger, handler = logging.getLogger("mmvae_jax"), logging.FileHandler(folder / "log.txt")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        runner.train(tiny(folder / "views.npz"), folder / "run")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()
    return folder


@st.composite
def _archives(draw):
    """Arrays of one length, of any shape and type that might be of some kind, and options."""
    count = draw(st.integers(1, 9))
    numbers = np.random.default_rng(draw(st.integers(0, 99)))
    arrays, kinds = {}, []
    for name in draw(st.lists(st.sampled_from(["a", "b", "text"]), min_size=2, unique=True)):
        dtype = draw(st.sampled_from(["u1", "i2", "u8", "f2", "f4", "f8", "?"]))
        more = draw(st.integers(0, 3 if dtype == "u1" else 1))
        sides = st.lists(st.sampled_from([1, 3, 8, 20]), min_size=more, max_size=more)
        shape = (count, *draw(sides))
        values = numbers.integers(0, draw(st.sampled_from([1, 4, 250])) + 1, shape)
        if dtype[0] == "f":
            values = numbers.normal(size=shape) * draw(st.sampled_from([1.0, 1e-6, 1e4]))
            values[draw(st.integers(1, count)) :] = np.nan
        arrays[name] = values.astype(dtype)
        said = draw(st.sampled_from(["", "", "vector", "label"]))
        kinds += [f"{name}:{said}"] if said else []
    if draw(st.booleans()):
        arrays["label"] = numbers.integers(-1, 3, count)
    options = {"kinds": ",".join(kinds), "pad_id": draw(st.sampled_from([-1, 0]))}
    options |= draw(st.sampled_from([{}, {"partial": "independent", "observed": 0.3}]))
    return arrays, options


@settings(
    max_examples=40,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(archive=_archives())
def test_any_good_archive_gives_a_model_or_one_line(tmp_path, archive):
    """Up to the first step, which is not made."""
    arrays, options = archive
    np.savez(tmp_path / "x.npz", **arrays)
    config = tiny(tmp_path / "x.npz")
    config["data"].update(options)
    configuration.validate(config)
    try:
        dataset = data.load("arrays", config["data"])
        model = models.build(config, models.specs_from_config(config["model"], dataset.specs))
        training.check(model, dataset, ConfigDict(config))
    except UserError as error:
        assert "\n" not in str(error)
        return
    assert len(data.table(dataset).splitlines()) == len(dataset.specs) + 2
    for spec in dataset.specs:
        assert np.isfinite(np.float32([*spec.location, *spec.scale])).all()


@pytest.mark.parametrize("name", CONFIGS)
def test_every_model_takes_every_kind_of_array(name, folder):
    """Traced, not run: the batch's dtypes, the loss, and what is generated from what is there."""
    config = importlib.import_module(f"configs.{name}").get_config("dataset=arrays").to_dict()
    config["data"]["path"] = str(folder / "views.npz")
    configuration.validate(config)
    dataset = data.load("arrays", config["data"])
    model = models.build(config, models.specs_from_config(config["model"], dataset.specs))
    model.check()

    def everything(batch):
        batch = models.prepare(batch)
        key = jax.random.key(0)
        variables = model.init(key, batch)
        loss, _ = model.loss(variables, key, batch, jnp.int32(0))
        return loss, model.conditional(variables, key, batch, ("vector",), 2)

    loss, drawn = jax.eval_shape(everything, data.take(dataset.splits["train"], np.arange(4)))
    assert loss.shape == (4,)
    assert drawn["genes"].shape == (2, 4, 4) and drawn["image"].shape == (2, 4, 8, 8, 1)


def with_likelihood(folder, name: str, likelihood: str):
    """The model of a config that says so of one modality."""
    config = tiny(folder / "views.npz")
    config["model"]["modalities"] = {name: {"likelihood": likelihood}}
    configuration.validate(config)
    dataset = data.load("arrays", config["data"])
    model = models.build(config, models.specs_from_config(config["model"], dataset.specs))
    model.check()
    return model


@pytest.mark.parametrize(
    ("name", "likelihood"),
    [
        ("vector", "laplace"),
        ("genes", "normal"),
        ("image", "normal"),
        ("kind", "one_hot_bernoulli"),
    ],
)
def test_a_likelihood_can_be_overridden(folder, name, likelihood):
    usual = {"vector": "normal", "genes": "negative_binomial", "kind": "categorical"}
    usual |= {"flags": "bernoulli", "image": "laplace"}
    model = with_likelihood(folder, name, likelihood)
    found = {spec.name: spec.likelihood for spec in model.specs}
    assert found == {**usual, name: likelihood}


def test_classes_are_not_scored_as_numbers(folder):
    with pytest.raises(UserError, match="likelihood 'normal' is of numbers, but 'kind' has 3 cla"):
        with_likelihood(folder, "kind", "normal")


@pytest.mark.parametrize(
    "size", [(8, 8), (8, 256), (9, 200), (17, 31), (33, 16), (100, 37), (255, 13), (256, 256)]
)
def test_convolutional_networks_fit_any_image(size):
    spec = ModalitySpec(name="image", shape=(*size, 3))
    encoder = networks.build_encoder(spec, 6)
    decoder = networks.build_decoder(spec, spec.shape)
    key = jax.random.key(0)
    x, z = jnp.zeros((2, *spec.shape)), jnp.zeros((2, 5))
    assert jax.eval_shape(encoder.init_with_output, key, x)[0].shape == (2, 6)
    assert jax.eval_shape(decoder.init_with_output, key, z)[0].shape == x.shape


def test_what_was_inferred_is_shown_before_training(run):
    lines = (run / "log.txt").read_text("utf-8").splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith("modality  kind  "))
    rows = lines[first + 1 : first + 6]
    assert [row.split()[:2] for row in rows] == [
        ["vector", "vector"],
        ["genes", "counts"],
        ["kind", "label"],
        ["flags", "attributes"],
        ["image", "image"],
    ]
    for part in ("uint8 [60, 8, 8]", "laplace", "mlp", " of 48 ("):
        assert part in rows[4]
    assert lines[first + 6].startswith("items: train 48, validation 6, test 6; 2 classes")
    steps = next(place for place, line in enumerate(lines) if line.startswith("training data: "))
    done = next(place for place, line in enumerate(lines) if line.startswith("trained 3 steps"))
    assert first + 6 < steps < done


def test_what_cannot_be_measured_is_skipped_with_its_reason(run):
    results = json.loads((run / "run" / "results.json").read_text())
    assert np.isfinite(results["bound/test"]["value"])
    skipped = results["skipped"]
    assert "no classifier for 'kind'" in skipped["classifier/accuracy/kind"]
    assert np.isfinite(results["classifier/accuracy/genes"]["value"])
    assert skipped["classification/accuracy"] == "no modality is the class label"


@pytest.mark.slow
def test_every_metric_and_figure_copes(run):
    runner.evaluate(run / "run", {"metrics": "all", "figures": True})
    results = json.loads((run / "run" / "results.json").read_text())
    assert np.isfinite(results["probe/shared/mean"]["value"])
    assert (run / "run" / "figures" / "conditional.png").exists()


def test_the_file_without_gaps(run, views):
    runner.impute(run / "run", str(run / "views.npz"), str(run / "full.npz"), 20, draws=5)
    with np.load(run / "full.npz", allow_pickle=False) as file:
        full = dict(file)
    np.testing.assert_array_equal(full["label"], views["label"])
    for name in ("vector", "genes", "kind", "flags", "image"):
        assert full[name].dtype == views[name].dtype and full[name].shape == views[name].shape
        here = full[f"{name}__present"]
        assert full[name][here].tobytes() == views[name][here].tobytes()
        assert full[f"{name}__draws"].shape[:2] == (N, 5)
    assert np.isfinite(full["vector"]).all()
    # In the data's units, from the first step on.
    assert np.all(np.abs(full["vector"] - 1e3) < 500)
    assert np.all(np.abs(full["genes__draws"].mean((0, 1)) / views["genes"].mean(0) - 1) < 0.5)
    assert 10 < full["vector__spread"].mean() < 200 and full["image__spread"].shape == (N, 8, 8, 1)
    np.testing.assert_allclose(full["kind__probability"].sum(-1), 1, rtol=1e-5)
    assert full["flags__probability"].shape == (N, 2)
    assert full["shared__embedding"].shape == (N, 2)
    assert np.isfinite(full["joint__log_likelihood"]).all()


def test_likelihoods_are_those_of_the_data_as_they_are(run, views):
    """A standardised vector's density is smaller by the product of its scales."""
    trained = mmvae_jax.load(run / "run")
    scale = trained.model.spec("vector").scale
    found = trained.log_likelihood({"vector": views["vector"][:8]}, of=("vector",), num_samples=64)
    here = ~np.isnan(views["vector"][:8]).any(1)
    rough = -3 * 0.5 * np.log(2 * np.pi) - np.sum(np.log(scale)) - 1.5
    assert np.all(np.abs(found[here] - rough) < 6) and np.all(found[~here] == 0)
    with pytest.raises(UserError, match="draws = 9: must be from 0 to num_samples = 4"):
        trained.impute(views, 4, draws=9)
