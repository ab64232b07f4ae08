"""Flips and shifts: which rows, which modalities, and nothing else."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvae_jax.training import augmentation, step
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
