"""Flips, shifts and binary draws: which rows, which modalities, and nothing else."""

from __future__ import annotations

import dataclasses
import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvae_jax.training import augmentation, setup, step
from mmvae_jax.types import ModalitySpec, UserError
from tests.training import tiny

B = 400
SPECS = (
    ModalitySpec(name="left", shape=(2, 3, 1)),
    ModalitySpec(name="right", shape=(4, 6, 3)),
    ModalitySpec(name="vector", shape=(3,), dtype="float32", likelihood="normal"),
)


@pytest.fixture(scope="module")
def batch():
    generator = np.random.default_rng(0)
    return {
        "x": {s.name: generator.random((B, *s.shape), np.float32) for s in SPECS},
        "present": {s.name: generator.random(B) < 0.5 for s in SPECS},
        "label": np.arange(B, dtype=np.int32),
        "weight": np.ones(B, np.float32),
    }


@functools.partial(jax.jit, static_argnums=0)
def _flip(flips, batch, seed, at):
    return flips(batch, seed, at)


def flipped(batch, found, name):
    """Which rows were mirrored, bool [B]; every row must be the image or its mirror image."""
    before, after = batch["x"][name], np.asarray(found["x"][name])
    mirrored = (after == before[:, :, ::-1]).all((1, 2, 3))
    assert (mirrored | (after == before).all((1, 2, 3))).all()
    return mirrored


@pytest.mark.parametrize("together", [True, False])
def test_half_of_the_rows_are_mirrored_and_nothing_else_changes(batch, together):
    flips = augmentation.from_config({"flip": "all", "flip_together": together}, SPECS)
    assert flips.names == ("left", "right")
    found = _flip(flips, batch, np.uint32(3), np.int32(7))
    left, right = (flipped(batch, found, name) for name in ("left", "right"))
    for rows in (left, right):
        assert abs(rows.mean() - 0.5) < 4 * 0.5 / np.sqrt(B)
    # Two draws agree in half of the rows.
    share = (left == right).mean()
    assert share == 1 if together else abs(share - 0.5) < 4 * 0.5 / np.sqrt(B)
    for path in ("present", "label", "weight"):
        jax.tree.map(np.testing.assert_array_equal, found[path], batch[path])
    np.testing.assert_array_equal(found["x"]["vector"], batch["x"]["vector"])


def test_flips_are_a_function_of_seed_step_and_place(batch):
    flips = augmentation.from_config({"flip": "left"}, SPECS)
    rows = {
        key: flipped(batch, _flip(flips, batch, np.uint32(key[0]), np.int32(key[1])), "left")
        for key in ((3, 7), (3, 8), (4, 7))
    }
    again = _flip(flips, batch, np.uint32(3), np.int32(7))
    np.testing.assert_array_equal(flipped(batch, again, "left"), rows[3, 7])
    np.testing.assert_array_equal(again["x"]["right"], batch["x"]["right"])
    assert (rows[3, 7] != rows[3, 8]).any() and (rows[3, 7] != rows[4, 7]).any()
    # The place decides, not what lies there.
    other = {**batch, "x": {**batch["x"], "left": batch["x"]["left"][::-1]}}
    found = _flip(flips, other, np.uint32(3), np.int32(7))
    np.testing.assert_array_equal(flipped(other, found, "left"), rows[3, 7])


def test_images_are_moved_by_whole_pixels_and_zeros_come_in(batch):
    shifts = augmentation.from_config({"shift": 1}, SPECS)
    found = _flip(shifts, batch, np.uint32(3), np.int32(7))
    moves = {}
    for name in ("left", "right"):
        before, after = np.pad(batch["x"][name], ((0, 0), (1, 1), (1, 1), (0, 0))), found["x"][name]
        _, height, width, _ = after.shape
        same = [
            (after == before[:, down : down + height, right : right + width]).all((1, 2, 3))
            for down in range(3)
            for right in range(3)
        ]
        assert (np.sum(same, 0) == 1).all()
        moves[name] = np.argmax(same, 0)
        share = np.bincount(moves[name], minlength=9) / B
        assert abs(share - 1 / 9).max() < 4 * np.sqrt(8 / 81 / B)
    # Each modality has moves of its own.
    assert abs((moves["left"] == moves["right"]).mean() - 1 / 9) < 4 * np.sqrt(8 / 81 / B)
    np.testing.assert_array_equal(found["x"]["vector"], batch["x"]["vector"])
    for path in ("present", "label", "weight"):
        jax.tree.map(np.testing.assert_array_equal, found[path], batch[path])


def test_shifted_images_keep_their_content_and_may_repeat_their_edge():
    images = jnp.arange(16 * 16, dtype=jnp.uint8).reshape(1, 16, 16, 1)
    copies = jnp.repeat(images, 64, 0)
    moved = np.asarray(augmentation.shifted(jax.random.key(0), copies, (1, 1), mode="edge"))
    centre = moved[:, 8, 8, 0].astype(int) - (8 * 16 + 8)
    assert set(centre) == {r * 16 + c for r in (-1, 0, 1) for c in (-1, 0, 1)}
    assert moved.dtype == np.uint8 and set(moved[:, 0, 0, 0]) == {0, 1, 16, 17}


def test_binary_draws_have_the_grey_levels_as_their_mean(batch):
    draws = augmentation.from_config({}, SPECS, ("right",))
    levels = np.float32([0, 1 / 255, 0.2, 0.5, 0.9, 1])
    grey = np.broadcast_to(levels[:, None], batch["x"]["right"].shape)
    found = _flip(draws, {**batch, "x": {**batch["x"], "right": grey}}, np.uint32(3), np.int32(7))
    drawn = np.asarray(found["x"]["right"])
    assert drawn.dtype == np.float32 and set(np.unique(drawn)) == {0, 1}
    error = np.sqrt(levels * (1 - levels) / (B * 4 * 3))
    assert (np.abs(drawn.mean((0, 1, 3)) - levels) <= 4.5 * error).all()  # 0 and 1: exactly
    np.testing.assert_array_equal(found["x"]["left"], batch["x"]["left"])
    for path in ("present", "label", "weight"):
        jax.tree.map(np.testing.assert_array_equal, found[path], batch[path])


def test_binary_draws_are_anew_at_each_step_and_a_function_of_seed_and_step(batch):
    draws = augmentation.from_config({}, SPECS, ("left", "right"))
    drawn = {
        key: np.asarray(_flip(draws, batch, np.uint32(key[0]), np.int32(key[1]))["x"]["right"])
        for key in ((3, 7), (3, 8), (4, 7))
    }
    again = _flip(draws, batch, np.uint32(3), np.int32(7))
    np.testing.assert_array_equal(again["x"]["right"], drawn[3, 7])
    # Of uniform levels p two draws differ with probability 2 E[p (1 - p)] = 1/3.
    for other in ((3, 8), (4, 7)):
        assert abs((drawn[3, 7] != drawn[other]).mean() - 1 / 3) < 0.02
    # Last of all: what is mirrored are the grey levels.
    both = augmentation.from_config({"flip": "left"}, SPECS, ("left",))
    assert [type(part) for part in both.parts] == [augmentation.Flips, augmentation.BinaryDraws]


def test_flips_and_shifts_together(batch):
    both = augmentation.from_config({"flip": "left", "shift": 1}, SPECS)
    flips, shifts = both.parts
    flipped_first = _flip(flips, batch, np.uint32(3), np.int32(7))
    expected = _flip(shifts, flipped_first, np.uint32(3), np.int32(7))
    jax.tree.map(
        np.testing.assert_array_equal, _flip(both, batch, np.uint32(3), np.int32(7)), expected
    )


def test_no_change_unless_asked_for():
    assert augmentation.from_config({}, SPECS) is step.unchanged
    nothing = {"flip": "", "flip_together": True, "shift": 0}
    assert augmentation.from_config(nothing, SPECS) is step.unchanged


def test_shifts_need_images():
    with pytest.raises(UserError, match="shift is 2, but no modality is an image"):
        augmentation.from_config({"shift": 2}, SPECS[2:])


@pytest.mark.parametrize(
    ("specs", "flip", "said"),
    [
        (SPECS, "left,vector", "names 'vector', but the images are left, right"),
        (SPECS, "rigt", "names 'rigt', but the images are left, right; did you mean 'right'?"),
        (SPECS[2:], "all", "names 'all', but no modality is an image"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(specs, flip, said):
    with pytest.raises(UserError, match="augment") as error:
        augmentation.from_config({"flip": flip}, specs)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_flips_reach_the_training(tmp_path):
    plain = tiny.run(tmp_path / "a", num_epochs=1)
    flips = tiny.run(tmp_path / "b", num_epochs=1, **{"training.augment.flip": "a"})
    left, right = (r.state.variables["params"]["encoder"]["a"] for r in (plain, flips))
    assert (np.asarray(left) != np.asarray(right)).any()


def test_binary_draws_reach_the_training_and_a_resumed_run_has_the_same(tmp_path):
    constant = {"optimizer.schedule": "constant", "optimizer.warmup_steps": 0}

    def trained(name, num_epochs):
        result = tiny.run(tmp_path / name, redrawn=("a",), num_epochs=num_epochs, **constant)
        return np.asarray(result.state.variables["params"]["encoder"]["a"])

    once, whole = trained("a", 1), trained("b", 2)
    resumed = trained("a", 2)
    assert (once != whole).any()
    np.testing.assert_array_equal(resumed, whole)
    redrawn = dataclasses.replace(tiny.dataset(), redrawn=("a",))
    made = setup.Setup.from_config(tiny.LinearVAE(), redrawn, tiny.config())
    assert made.augment == augmentation.BinaryDraws(("a",))


ON_EIGHT_DEVICES = """
import jax, numpy as np
from mmvae_jax.training import augmentation, sharding

assert jax.device_count() == 8
draws, mesh = augmentation.BinaryDraws(("a",)), sharding.data_mesh()
batch = {"x": {"a": np.random.default_rng(0).random((16, 5, 5, 1), np.float32)}}

def drawn(batch):
    return draws(batch, np.uint32(3), np.int32(7))

one = jax.jit(drawn)(batch)["x"]["a"]
many = jax.jit(lambda b: sharding.split_batch(drawn(sharding.split_batch(b, mesh)), mesh))(batch)
assert len(many["x"]["a"].sharding.device_set) == 8
np.testing.assert_array_equal(one, many["x"]["a"])
"""


def test_binary_draws_are_the_same_on_any_number_of_devices():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", ON_EIGHT_DEVICES],
        env={**os.environ, **flags},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
