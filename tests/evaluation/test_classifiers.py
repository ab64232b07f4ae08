from __future__ import annotations

import concurrent.futures
import dataclasses
import errno
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvae_jax.evaluation import Context, Settings, cache, classifiers, judge_networks
from mmvae_jax.evaluation.cache import Cache
from mmvae_jax.evaluation.result import NotApplicable
from mmvae_jax.types import ModalitySpec
from tests.evaluation import fakes


def obtain(dataset, name, folder, *, epochs=2):
    spec = next(spec for spec in dataset.specs if spec.name == name)
    return classifiers.obtain(dataset, spec, cache=Cache(folder), epochs=epochs, seed=0)


def same(first, second):
    return all(
        jax.tree.leaves(
            jax.tree.map(lambda a, b: bool((a == b).all()), first.variables, second.variables)
        )
    )


@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 7, 2), (28, 28, 3)])
def test_patches_make_a_strided_convolution(shape, generator):
    x = jnp.asarray(generator.normal(size=(2, *shape)), jnp.float32)
    kernel = jnp.asarray(generator.normal(size=(4, 4, shape[-1], 5)), jnp.float32)
    pads = [(1, 1 + side % 2) for side in shape[:2]]
    expected = jax.lax.conv_general_dilated(
        x, kernel, (2, 2), pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    # patches order: corner (row, column of 2x2), then row and column inside it, then channel.
    matrix = kernel.reshape(2, 2, 2, 2, shape[-1], 5).transpose(0, 2, 1, 3, 4, 5).reshape(-1, 5)
    np.testing.assert_allclose(judge_networks.patches(x) @ matrix, expected, atol=1e-4)


@pytest.mark.parametrize(("side", "convolutions"), [(8, 1), (16, 2), (28, 3), (64, 3)])
def test_images_are_halved_until_they_are_4x4_three_times_at_most(side, convolutions):
    network = judge_networks.ImageNet(10)
    blank = jnp.zeros((1, side, side, 3))
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), blank))["params"]
    last = -(-side // 2**convolutions)
    assert len([name for name in shapes if name.startswith("Dense")]) == convolutions + 2
    assert shapes[f"Dense_{convolutions}"]["kernel"].shape == (
        last**2 * network.widths[convolutions - 1],
        network.hidden,
    )


def test_a_large_set_is_learned_from_a_fair_choice_of_items(tmp_path, monkeypatch):
    train = fakes.dataset().splits["train"]
    rows = np.arange(5, 305)
    row = train.x["a"][0].nbytes
    assert classifiers._no_more_than(300 * row, rows, train, "a") is rows
    some = classifiers._no_more_than(100 * row, rows, train, "a")
    assert len(set(some)) == 100 and set(some) < set(rows)
    count = np.bincount(train.label[some])
    assert count.min() > 15


def test_learns_images_and_vectors_and_ignores_rows_without_class(tmp_path):
    dataset = fakes.dataset()
    train = dataset.splits["train"]
    train.label[:100] = -1
    train.present["a"][100:150] = False
    x, label = classifiers.items_of(train, "a", classifiers.labelled_rows(train, "a"))
    assert len(x) == len(label) == 250 and (label >= 0).all()
    test = dataset.splits["test"]
    for name in ("a", "v"):
        found = obtain(dataset, name, tmp_path, epochs=20)
        items = classifiers.as_float(jnp.asarray(test.x[name]))
        np.testing.assert_array_equal(found(items), test.label)
        np.testing.assert_array_equal(found(items[None])[0], test.label)


def test_cache_is_used_only_where_it_fits(tmp_path, caplog):
    dataset = fakes.dataset()
    first = obtain(dataset, "a", tmp_path)
    (path,) = tmp_path.iterdir()
    assert path.suffix == ".npz" and path.name.startswith("classifier-a-")
    written = path.stat().st_mtime_ns
    assert same(first, obtain(dataset, "a", tmp_path))
    assert path.stat().st_mtime_ns == written

    # What is not learnt from is of no consequence; a single byte or class that is makes another.
    test = dataset.splits["test"]
    test.x["a"][0] = 0
    obtain(dataset, "a", tmp_path)
    assert list(tmp_path.iterdir()) == [path]
    other = fakes.dataset()
    other.splits["train"].x["a"][3, 2, 2, 0] ^= 1
    obtain(other, "a", tmp_path)
    (new,) = set(tmp_path.iterdir()) - {path}
    relabelled = fakes.dataset()
    relabelled.splits["train"].label[3] ^= 1
    obtain(relabelled, "a", tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    # The file of other items under the name that these would have.
    new.write_bytes(path.read_bytes())
    caplog.clear()
    obtain(other, "a", tmp_path)
    assert "belongs to another dataset" in caplog.text

    for damage in (b"", path.read_bytes()[:-100], b"\x80\x04pickle"):
        path.write_bytes(damage)
        caplog.clear()
        assert same(first, obtain(dataset, "a", tmp_path))
        assert "damaged" in caplog.text


def test_a_flipped_byte_in_the_cache_is_noticed(tmp_path, caplog):
    dataset = fakes.dataset()
    first = obtain(dataset, "v", tmp_path)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(bytes(content))
    assert same(first, obtain(dataset, "v", tmp_path))
    assert "damaged" in caplog.text


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    obtain(fakes.dataset(), "v", tmp_path / "file")
    assert "was not written" in caplog.text and "it is made again" in caplog.text


def context(workdir, **settings):
    names = ("a", "v")
    return Context(
        model=fakes.FakeModel(fakes.specs(names)),
        variables=fakes.variables(names),
        dataset=fakes.dataset(names),
        settings=Settings(batch_size=16, classifier_epochs=2, **settings),
        workdir=workdir,
        step=0,
    )


def test_judges_are_trained_once_for_all_runs(tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("MMVAE_CACHE_DIR", str(tmp_path / "user"))
    caplog.set_level("INFO")
    first = context(tmp_path / "one").classifiers
    kept = sorted(path.name for path in (tmp_path / "user" / "judges").iterdir())
    assert [name.rpartition("-")[0] for name in kept] == ["classifier-a", "classifier-v"]
    assert f"kept in {tmp_path / 'user' / 'judges' / kept[0]}" in caplog.text
    caplog.clear()
    second = context(tmp_path / "two").classifiers
    assert all(same(first[name], second[name]) for name in ("a", "v"))
    assert f"classifier of a loaded from {tmp_path / 'user' / 'judges' / kept[0]}" in caplog.text
    assert "trained in" not in caplog.text
    caplog.clear()
    # Another seed, and a folder of the user's own choice, are other judges.
    assert not same(first["a"], context(tmp_path / "three", seed=1).classifiers["a"])
    assert "trained in" in caplog.text
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    context(tmp_path / "four", cache_dir="~/own").classifiers  # noqa: B018
    assert len(list((tmp_path / "home" / "own").iterdir())) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"user", "home"}


def test_the_workdir_keeps_what_the_users_cache_refuses(tmp_path, caplog, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MMVAE_CACHE_DIR", str(tmp_path / "file"))
    caplog.set_level("INFO")
    first = context(tmp_path / "run").classifiers
    own = tmp_path / "run" / "cache"
    assert len(list(own.iterdir())) == 2
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    (line,) = (record.getMessage() for record in warnings)
    assert "was not written" in line and f"{own} is used instead" in line
    caplog.clear()
    again = context(tmp_path / "run").classifiers
    assert same(first["v"], again["v"]) and f"loaded from {own}" in caplog.text
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_of_several_processes_one_writes(tmp_path, monkeypatch):
    first = obtain(fakes.dataset(), "v", tmp_path / "first")
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    assert same(first, obtain(fakes.dataset(), "v", tmp_path / "second"))
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


def test_a_file_that_cannot_be_opened_is_not_called_damaged(tmp_path, caplog, monkeypatch):
    path, arrays = cache.path_for(tmp_path, "judge", "key"), {"w": np.zeros(2, np.float32)}
    path.mkdir()
    assert cache.read(path, "key", arrays) is None
    assert f"{path} cannot be read (Is a directory) and is not used" in caplog.text
    path.rmdir()
    cache.write(path, "key", arrays)
    np.testing.assert_array_equal(cache.read(path, "key", arrays)["w"], arrays["w"])

    def refuse(self, *args):  # whoever runs the tests may be allowed to read everything
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    caplog.clear()
    monkeypatch.setattr(type(path), "open", refuse)
    assert cache.read(path, "key", arrays) is None
    assert "cannot be read (Permission denied)" in caplog.text and "damaged" not in caplog.text


def test_two_runs_that_write_at_once_leave_a_whole_file(tmp_path):
    """Sixteen writers of two contents, and readers beside them, that see one or the other."""
    path = cache.path_for(tmp_path, "judge", "key")
    contents = [{"w": np.full((200, 50), value, np.float32)} for value in (1.0, 2.0)]
    seen = []

    def write_and_read(place):
        cache.write(path, "key", contents[place % 2])
        seen.append(float(np.unique(cache.read(path, "key", contents[0])["w"]).item()))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(write_and_read, range(16)))
    assert len(seen) == 16 and set(seen) <= {1.0, 2.0}
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_modality_name_cannot_leave_the_cache(tmp_path):
    spec = ModalitySpec(name="../../x", shape=(5,), dtype="float32")
    base = fakes.dataset(("v",))
    splits = {
        name: dataclasses.replace(
            part, x={spec.name: part.x["v"]}, present={spec.name: part.present["v"]}
        )
        for name, part in base.splits.items()
    }
    dataset = dataclasses.replace(base, specs=(spec,), splits=splits)
    obtain(dataset, spec.name, tmp_path / "cache")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize(
    "spec",
    [
        ModalitySpec(name="small", shape=(4, 4, 3)),
        ModalitySpec(name="several labels", shape=(3, 2), dtype="int32", num_classes=90),
        ModalitySpec(name="label", shape=(), dtype="int32", num_classes=10),
    ],
)
def test_other_kinds_are_refused_with_the_reason(spec):
    with pytest.raises(NotApplicable, match=spec.name):
        classifiers.network_for(spec, 10)
