"""Cells of matrices as columns of a comparison."""

from __future__ import annotations

import json

from mmvae_jax import compare
from mmvae_jax.comparison import formats
from mmvae_jax.comparison.runs import read
from tests.test_compare import COHERENCE, refused, write_run


def directions(path, matrix, names=("mnist", "svhn"), **settings):
    """A run on pairs of images with a coherence of each direction."""
    run = write_run(path, {COHERENCE: 0.5}, data__name="mnist_svhn", **settings)
    config = json.loads((path / "config.json").read_text())
    config["modalities"] = [{"name": name} for name in names]
    (path / "config.json").write_text(json.dumps(config))
    content = json.loads((path / "results.json").read_text())
    errors = [[0.01] * len(names)] * len(names)
    entry = {"values": matrix, "standard_error": errors, "how": "each"}
    content |= {"coherence/conditional/matrix": entry, "coherence/given/matrix": entry}
    (path / "results.json").write_text(json.dumps(content))
    return run


def test_a_column_for_each_direction_with_the_papers_numbers(tmp_path, capsys):
    to_svhn, to_mnist = (f"coherence/conditional/matrix[{a}]" for a in ("mnist,svhn", "svhn,mnist"))
    runs = [
        directions(tmp_path / "0", [[None, 0.5], [0.7, 0.9]], model__name="mmvae"),
        directions(tmp_path / "1", [[None, 0.6], [0.9, 0.9]], model__name="mmvae", seed=1),
        directions(tmp_path / "2", [[None, 0.4], [0.6, 0.9]], model__name="dmvae"),
    ]
    (table,) = compare.main([*runs, f"--metrics={to_svhn},{COHERENCE}, {to_mnist}"])
    assert [column.name for column in table.columns] == [to_svhn, COHERENCE, to_mnist]
    cells = [[formats.shown(cell, 2) for cell in column.cells] for column in table.columns]
    assert cells[0] == ["0.55 ± 0.07", "0.40 ± 0.01 se"]
    assert cells[2] == ["0.80 ± 0.14", "0.60 ± 0.01 se"]
    assert table.columns[0].best == [True, False]
    printed = [[[e.value for e in row] for row in column.paper] for column in table.columns]
    # Quoted and MEME's table 3; DMVAE's supplement, table 2 (b).
    assert printed[0] == [[0.69, 0.581], [0.8813]] and printed[2] == [[0.86, 0.735], [0.8373]]
    assert f"{to_svhn} ↑" in capsys.readouterr().out
    for kind in ("latex", "markdown", "csv"):
        compare.main([*runs, f"--metrics={to_svhn}", f"--format={kind}"])
        assert "mnist,svhn" in capsys.readouterr().out
    # Its rows are no modalities, and a cell that is null is none.
    for name in ("coherence/given/matrix[mnist,svhn]", "coherence/conditional/matrix[mnist,mnist]"):
        assert "no run has a metric" in refused(*runs, f"--metrics={name}")
    said = refused(*runs, "--metrics=coherence/conditional/matrix")
    assert said.endswith(f"there is {COHERENCE}; {to_svhn} is one of its cells")


def test_a_matrix_of_another_shape_has_no_cells(tmp_path):
    for name, matrix in (("a", [[1.0]]), ("b", [1.0, 2.0]), ("c", [[1.0], [2.0, 3.0]]), ("d", 3)):
        run = directions(tmp_path / name, matrix)
        assert set(read(run).numbers) == {COHERENCE}
