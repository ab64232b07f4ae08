"""Rows on the device and rows read while steps run: the same batches, the same run."""

from __future__ import annotations

import logging
import threading
import time

import jax
import numpy as np
import pytest

from mmvae_jax import data
from mmvae_jax.training import feeds, metric_writer, sharding
from mmvae_jax.training.plan import Plan
from tests.training import tiny
from tests.training.test_loop import Stop, _stop_at, assert_equal, lines

MIX = {"complete": 4, "a": 1, "b": 3}


class OnDisk:
    """Indexes like an array, and notes which rows were asked for, and by which thread."""

    def __init__(self, values):
        self.shape, self.dtype, self.nbytes = values.shape, values.dtype, values.nbytes
        self._values, self.asked = values, []

    def __len__(self):
        return len(self._values)

    def __getitem__(self, rows):
        self.asked.append((np.array(rows), threading.current_thread()))
        return self._values[rows]


@pytest.fixture
def split():
    return tiny.dataset(gaps=True).splits["train"]


@pytest.fixture
def small_pieces(monkeypatch):
    """Pieces of two steps, so that the chunks of four steps need several."""
    monkeypatch.setattr(feeds, "_PIECE_BYTES", 2 * 8 * (16 + 24 + 2 + 4))


def plan(split, **changes):
    return Plan.from_config(tiny.config(**changes), split)


def make(road, split, **changes):
    return feeds.make(road, split, plan(split, **changes), sharding.data_mesh())


def batches(feed, start, stop):
    """The stored batches of these steps, and how they were cut."""
    found, lengths = [], []
    for piece in feed.pieces(start, stop):
        found += [jax.device_get(feed.batch(piece.inputs, i)) for i in range(piece.num_steps)]
        lengths.append(piece.num_steps)
    return found, lengths


@pytest.mark.parametrize("changes", [{}, {"training.batch_mix": MIX}])
def test_both_feeds_give_the_batches_of_the_plan(split, small_pieces, changes):
    device, host = (make(road, split, **changes) for road in ("device", "host"))
    for start, stop, cut in ((0, 4, [2, 2]), (4, 6, [2]), (6, 7, [1]), (12, 16, [2, 2])):
        expected = [data.take(split, rows) for rows in plan(split, **changes).indices(start, stop)]
        (left, whole), (right, pieces) = batches(device, start, stop), batches(host, start, stop)
        assert whole == [stop - start] and pieces == cut
        for a, b, c in zip(left, right, expected, strict=False):
            assert_equal(a, c)
            assert_equal(b, c)
            assert jax.tree.map(lambda x: x.dtype, b) == jax.tree.map(lambda x: x.dtype, c)


def test_rows_beyond_the_split_are_padding():
    split = tiny.dataset(num_examples=5).splits["train"]
    (batch,), _ = batches(make("host", split), 0, 1)
    np.testing.assert_array_equal(np.sort(batch["weight"]), [0, 0, 0, 1, 1, 1, 1, 1])


def test_what_comes_next_is_read_ahead_by_another_thread(split, small_pieces):
    split.x["a"] = values = OnDisk(split.x["a"])
    found = plan(split)
    feed = feeds.HostFeed(split, found, sharding.data_mesh())
    assert not values.asked
    pieces = feed.pieces(0, 4)
    next(pieces)
    deadline = time.monotonic() + 30
    while len(values.asked) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    rows = [rows for rows, _ in values.asked]
    # The piece that was asked for and the next two, of which the second ends with the epoch.
    np.testing.assert_array_equal(np.concatenate(rows), np.maximum(_steps(found, 0, 6), 0))
    assert all(thread is not threading.current_thread() for _, thread in values.asked)
    # To go elsewhere is no mistake.
    (batch,), _ = batches(feed, 17, 18)
    assert_equal(batch["x"]["b"], split.x["b"][found.indices(17, 18)[0]])
    assert feed.seconds_waiting > 0


def _steps(found, start, stop):
    return np.concatenate([found.indices(step, step + 1)[:1] for step in range(start, stop)])


def test_an_error_while_reading_reaches_the_run(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError("the disk is gone")

    monkeypatch.setattr(sharding, "put_batches", broken)
    with pytest.raises(OSError, match="the disk is gone"):
        tiny.run(tmp_path, **{"training.data": "host"})


def test_both_roads_are_the_same_run_also_when_resumed(tmp_path, small_pieces):
    changes = {
        "training.batch_mix": MIX,
        "training.augment.flip": "a",
        "training.steps_per_epoch": 5,
        "num_epochs": 2,
    }
    device = tiny.run(tmp_path / "a", gaps=True, **changes, **{"training.data": "device"})
    changes["training.data"] = "host"
    traces = tiny.LinearVAE.traces
    with pytest.raises(Stop):
        tiny.run(tmp_path / "b", gaps=True, validate=_stop_at(10), **changes)
    assert tiny.LinearVAE.traces == traces + 1
    host = tiny.run(tmp_path / "b", gaps=True, **changes)
    assert_equal(device.state, host.state)
    assert lines(tmp_path / "a") == lines(tmp_path / "b")


def test_waiting_for_data_is_measured(tmp_path, monkeypatch):
    read = feeds.HostFeed._read

    def slow(self, start, stop):
        time.sleep(0.3)
        return read(self, start, stop)

    monkeypatch.setattr(feeds.HostFeed, "_read", slow)
    result = tiny.run(tmp_path, num_epochs=2, **{"training.data": "host"})
    assert 0.5 < result.data_wait_fraction <= 1
    logged = [line["data_wait_fraction"] for line in metric_writer.read(tmp_path)]
    assert len(logged) == 4 and 0.5 < max(logged[1:]) <= 1 and min(logged) >= 0
    assert tiny.run(tmp_path, num_epochs=2).data_wait_fraction is None  # nothing left to train


@pytest.mark.parametrize(
    ("memory", "kind", "said"),
    [
        (None, feeds.DeviceFeed, "on the device (how much memory it has is not known)"),
        (9_000, feeds.DeviceFeed, "on the device (25.6% of its memory, of which 30% may be taken)"),
        (7_000, feeds.HostFeed, "read while steps run (32.9% of its memory, of which 30%"),
    ],
)
def test_what_fits_goes_to_the_device(split, monkeypatch, caplog, memory, kind, said):
    monkeypatch.setattr(feeds, "_memory", lambda mesh: memory)
    assert split.nbytes == 50 * (16 + 24 + 1 + 1 + 4)
    with caplog.at_level(logging.INFO):
        assert isinstance(make("auto", split), kind)
    assert said in caplog.text


def test_the_memory_of_this_machine_is_known():
    free = feeds._memory(sharding.data_mesh())
    assert free is None or 2**20 < free < 2**50
