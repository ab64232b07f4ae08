"""Models of an image and its caption: absent texts, filled-in texts, texts drawn from the prior."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import mmvae_plus
from mmvae_jax import data, inference, models
from mmvae_jax.data.caption_grammar import END, PAD
from mmvae_jax.types import UserError


@pytest.fixture(scope="module")
def dataset():
    return data.load("captioned_shapes", {"num_train": 12, "num_validation": 1, "num_test": 1})


@pytest.fixture(scope="module")
def model(dataset):
    config = mmvae_plus.get_config("dataset=captioned_shapes").to_dict()
    config["model"].update(shared_dim=3, private_dim=2, network="mlp")
    config["model"]["network_options"] = {
        "mlp": {"hidden": (4,)},
        "text": {"embedding": 4, "width": 4, "hidden": 6},
    }
    return models.build(config, models.specs_from_config(config["model"], dataset.specs))


@pytest.fixture(scope="module")
def trained(model, dataset, tmp_path_factory):
    batch = models.prepare(data.take(dataset.splits["train"], np.arange(2)))
    variables = jax.jit(model.init)(jax.random.key(0), batch)
    config, folder = {"data": {}}, tmp_path_factory.mktemp("run")
    return inference.Trained(
        model=model, variables=variables, config=config, step=0, workdir=folder
    )


def test_a_text_gets_a_network_of_texts(model):
    assert [spec.network for spec in model.specs] == ["mlp", "text"]
    assert model.specs[1].likelihood == "tokens" and model.specs[1].is_tokens


def test_what_an_absent_text_holds_reaches_nothing(model, dataset, trained):
    """Neither the loss nor a gradient, to the bit; what a present one holds does."""
    batch = data.take(dataset.splits["train"], np.arange(6))
    present = np.array([True, False, True, False, True, True])

    @jax.jit
    def evaluated(params, batch):
        def loss(params):
            value = model.loss({"params": params}, jax.random.key(1), batch, jnp.int32(0))[0]
            return value.sum(), value

        return jax.grad(loss, has_aux=True)(params)

    def run(rows):
        x = {**batch["x"], "caption": batch["x"]["caption"].copy()}
        x["caption"][rows] = np.random.default_rng(0).integers(0, 16, (len(rows), 6))
        marked = {**batch, "x": x, "present": {**batch["present"], "caption": present}}
        gradient, loss = evaluated(trained.variables["params"], models.prepare(marked))
        return jax.tree.leaves(gradient), np.asarray(loss)

    gradient, loss = run([])
    changed, same = run([1, 3])
    np.testing.assert_array_equal(loss, same)
    for one, other in zip(gradient, changed, strict=True):
        assert np.isfinite(one).all()
        np.testing.assert_array_equal(one, other)
    other = run([0, 2])[1]
    assert (loss[[0, 2]] != other[[0, 2]]).all() and np.isfinite(loss).all()


def padded(tokens):
    ends = tokens == END
    np.testing.assert_array_equal(tokens == PAD, ends.cumsum(1) > ends)


def test_texts_are_filled_in_and_drawn_with_their_ends(dataset, trained):
    train = dataset.splits["train"]
    present = np.arange(12) % 3 > 0
    given = {"image": train.x["image"], "caption": train.x["caption"], "caption__present": present}
    filled = trained.impute(given, num_samples=2, draws=1)
    assert filled["caption"].dtype == np.int32 and filled["caption"].shape == (12, 6)
    np.testing.assert_array_equal(filled["caption"][present], train.x["caption"][present])
    np.testing.assert_array_equal(filled["image"], train.x["image"])
    probability = filled["caption__probability"]
    np.testing.assert_allclose(probability.sum(-1), 1, rtol=1e-4)
    best = probability[~present].argmax(-1)
    over = (best == END).cumsum(1) > (best == END)
    np.testing.assert_array_equal(filled["caption"][~present], np.where(over, PAD, best))
    padded(filled["caption__draws"][:, 0])
    drawn = trained.generate(3)["caption"]
    assert drawn.shape == (3, 6) and drawn.dtype == np.int32


def test_tokens_outside_the_vocabulary_are_refused(trained):
    said = r"'caption' holds 16 in row 1 \(column 2\): it must be at most 15, for there are 16 t"
    with pytest.raises(UserError, match=said):
        trained.encode({"caption": np.array([[0] * 6, [0, 0, 16, 0, 0, 0]])})
    with pytest.raises(UserError, match="must not be negative for tokens"):
        trained.encode({"caption": np.full((2, 6), -1)})


def test_a_word_that_is_not_scored_has_no_embedding(model):
    """Its one-hot row is 0, and so is what an embedding without a bias makes of it."""
    spec = dataclasses.replace(model.specs[1], likelihood="categorical", unscored_id=0)
    tokens = np.zeros((1, *spec.shape), np.int32)
    tokens[0, 1:3] = 2, spec.num_classes - 1
    found = np.asarray(model.encoder_input(spec, tokens))[0]
    assert not found[[0, 3]].any()
    np.testing.assert_array_equal(found[1:3], np.eye(spec.num_classes)[tokens[0, 1:3]])
