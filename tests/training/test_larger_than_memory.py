"""A set in files is looked at, trained on and evaluated without ever being in memory as a whole.

`python -m tests.training.test_larger_than_memory SMALL LARGE WORKDIR` prints the peak of resident
memory, in bytes, after a small set and then after a large one.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

ROWS = {"small": 200, "large": 16_000}
BYTES_PER_ROW = 128 * 128 + 4 * 2048


def make(folder: Path, rows: int) -> Path:
    """Zeros in files with holes: as large as said to whoever reads them, at once written."""
    folder.mkdir()
    for name, dtype, shape in (("a", np.uint8, (128, 128)), ("b", np.float32, (2048,))):
        np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, (rows, *shape)).flush()
    return folder


def test_memory_does_not_grow_with_the_set(tmp_path):
    folders = [str(make(tmp_path / name, rows)) for name, rows in ROWS.items()]
    done = subprocess.run(
        [sys.executable, "-m", __spec__.name, *folders, str(tmp_path)],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    small, large = json.loads(done.stdout.splitlines()[-1])
    size = ROWS["large"] * BYTES_PER_ROW
    assert size > 390e6
    assert large - small < 0.4 * size, f"{small / 1e6:.0f} MB, then {large / 1e6:.0f} MB"


def use(folder: str, workdir: Path) -> int:
    """Reads, trains on the host road, passes over all rows once; the peak so far, in bytes."""
    from mmvae_jax import data
    from mmvae_jax.evaluation.context import Context, Settings
    from mmvae_jax.training import fit
    from tests.training import tiny

    dataset = data.load("arrays", {"path": folder})
    settings = {"batch_size": 64, "num_epochs": 1, "training.steps_per_epoch": 100}
    config = tiny.config(**settings, **{"training.data": "host"})
    fit(tiny.LinearVAE(), dataset, config, workdir)
    context = Context(None, {}, dataset, Settings(), workdir, 0)
    rows = sum(int(batch["weight"].sum()) for batch in context.batches(dataset.splits["train"]))
    assert rows == len(dataset.splits["train"])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kilobytes on Linux


if __name__ == "__main__":
    small, large, workdir = sys.argv[1:]
    found = [use(folder, Path(workdir) / f"run-{i}") for i, folder in enumerate((small, large))]
    print(json.dumps(found))
