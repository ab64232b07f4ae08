"""Rows of arrays that stay in their files."""

from __future__ import annotations

import numpy as np
import pytest

from mmvae_jax import data
from mmvae_jax.data import rows, units
from mmvae_jax.data.rows import StoredRows
from mmvae_jax.types import UserError

N = 40
CHOSEN = np.array([3, 1, 7, 30, 31, 5])
PRESENT = np.array([True, False, True, True, False, True])


@pytest.fixture
def mapped(tmp_path, generator):
    """A float64 array [40, 2, 3], and the same mapped from a file."""
    array = generator.normal(size=(N, 2, 3))
    np.save(tmp_path / "a.npy", array)
    return array, np.load(tmp_path / "a.npy", mmap_mode="r")


@pytest.fixture
def stored(mapped):
    """Some rows as an array in memory, and the same in the file."""
    array, file = mapped
    expected = np.where(PRESENT[:, None, None], array[CHOSEN], 0.0).astype(np.float32)
    return expected, rows.of(file, CHOSEN, PRESENT, "float32", (2, 3))


def test_rows_in_a_file_index_like_an_array(stored):
    expected, found = stored
    assert isinstance(found, StoredRows)
    assert (found.shape, found.ndim, found.dtype) == (expected.shape, 3, expected.dtype)
    assert len(found) == 6 and found.nbytes == expected.nbytes
    for index in (
        slice(None), slice(1, 4), slice(2, 2), np.array([5, 0, 0]), np.array([[1, 2], [3, 4]]),
        expected[:, 0, 0] > 0, 2, np.int32(-1), [0, 1],
    ):  # fmt: skip
        taken = found[index]
        assert type(taken) is np.ndarray and taken.dtype == np.float32 and taken.flags.writeable
        np.testing.assert_array_equal(taken, expected[index])
    np.testing.assert_array_equal(np.asarray(found), expected)
    assert np.asarray(found, np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="only by being copied"):
        np.asarray(found, copy=False)


def test_choosing_rows_reads_none(stored):
    expected, found = stored
    for index in (slice(1, 5), np.array([4, 0]), PRESENT):
        chosen = found.select(index)
        assert isinstance(chosen, StoredRows) and chosen.array is found.array
        np.testing.assert_array_equal(chosen[:], expected[index])


def test_what_is_little_or_lies_in_columns_is_copied(tmp_path, mapped):
    array, file = mapped
    everything = (np.arange(N), np.ones(N, bool), "float64")
    assert isinstance(rows.of(file, *everything, (2, 3)), StoredRows)
    assert type(rows.of(array, *everything, (2, 3))) is np.ndarray
    for name, other, example in (
        ("columns", np.asfortranarray(array), (2, 3)),
        ("numbers", array[:, 0, 0], ()),
    ):
        np.save(tmp_path / f"{name}.npy", other)
        found = rows.of(np.load(tmp_path / f"{name}.npy", mmap_mode="r"), *everything, example)
        assert type(found) is np.ndarray and not isinstance(found.base, np.memmap)
        np.testing.assert_array_equal(found, other)


def test_a_file_cut_short_meanwhile_is_named(tmp_path, stored):
    _, found = stored
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1000])
    np.testing.assert_array_equal(found[1], 0)
    with pytest.raises(UserError, match=r"a\.npy has become shorter since it was opened"):
        found[:]


def test_blocks_are_one_pass(stored, monkeypatch):
    expected, found = stored
    monkeypatch.setattr(rows, "BLOCK", 13)  # two rows of six numbers
    for values in (expected, found):
        starts, blocks = zip(*rows.blocks(values), strict=True)
        assert starts == (0, 2, 4)
        np.testing.assert_array_equal(np.concatenate(blocks), expected)


def test_units_do_not_depend_on_blocks(generator, monkeypatch):
    x = generator.normal(1e3, [1.0, 2.0, 0.0], (N, 3))
    present = generator.random(N) < 0.6
    present[:6] = False  # two whole blocks of nothing
    counts = generator.poisson(3.0, (N, 3))
    whole = units.standardisation(x, present), units.rates(counts, present, True)
    assert whole[0]["location"] == tuple(x[present].mean(0))
    assert whole[0]["scale"] == (*x[present].std(0)[:2], 1.0)
    assert whole[1]["location"] == tuple(np.log((counts[present].sum(0) + 0.5) / present.sum()))
    assert whole[1]["library_size"] == counts[present].sum(1).mean()
    monkeypatch.setattr(rows, "BLOCK", 9)
    parts = units.standardisation(x, present), units.rates(counts, present, True)
    for left, right in zip(whole, parts, strict=True):
        for key in left:
            np.testing.assert_allclose(left[key], right[key], rtol=1e-12, err_msg=key)


@pytest.fixture
def folder_and_archive(tmp_path, generator):
    vector = generator.normal(size=(N, 5))
    vector[::4] = np.nan
    views = {
        "counts": generator.poisson(3.0, (N, 4)),
        "image": generator.integers(0, 256, (N, 8, 9), np.uint8),
        "kind": np.arange(N) % 3,
        "label": np.arange(N) % 5,
        "vector": vector,
    }
    np.savez(tmp_path / "views.npz", **views)
    (tmp_path / "views").mkdir()
    for name, array in views.items():
        np.save(tmp_path / "views" / f"{name}.npy", array)
    return tmp_path / "views", tmp_path / "views.npz"


@pytest.mark.parametrize("options", [{}, {"partial": "paired", "observed": 0.5}])
def test_a_folder_stays_on_disk_and_gives_the_rows_of_an_archive(folder_and_archive, options):
    mapped, read = (
        data.load("arrays", {"path": str(path), **options}, seed=3) for path in folder_and_archive
    )
    assert mapped.fingerprint == read.fingerprint and mapped.specs == read.specs
    for name in data.SPLITS:
        left, right = mapped.splits[name], read.splits[name]
        kept = {key for key, values in left.x.items() if isinstance(values, StoredRows)}
        assert kept == {"counts", "image", "vector"}
        assert left.nbytes == right.nbytes
        for a, b in zip(data.batches(left, 7), data.batches(right, 7), strict=True):
            for path in ("x", "present"):
                assert a[path].keys() == b[path].keys()
                for key in a[path]:
                    np.testing.assert_array_equal(a[path][key], b[path][key])
            np.testing.assert_array_equal(a["label"], b["label"])
            np.testing.assert_array_equal(a["weight"], b["weight"])
