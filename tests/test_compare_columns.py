"""One metric over the values of a setting."""

from __future__ import annotations

import csv
import io

import pytest

from mmvae_jax import compare
from mmvae_jax.comparison import formats
from tests.test_compare import refused, write_run

ACCURACY = "classification/accuracy"
WHOLE = {"partial": "none", "observed": 1.0, "labels_per_class": 0}


def few_labels(path, value, fraction, *, seed=0, model="dmvae_hybrid", **settings):
    """A run on so many labelled rows: all of them where ``fraction`` is 1."""
    partial = {"partial": "paired", "observed": fraction} if fraction < 1 else {}
    return write_run(
        path,
        {ACCURACY: value, "step": 100.0 / fraction},
        data={"name": "mnist_labels", "seed": seed, **WHOLE, **partial},
        seed=seed,
        training={"batch_mix": {"complete": 8} if fraction < 1 else {}},
        model__name=model,
        dataset={"fingerprint": f"abc-partial={fraction}-seed={seed}"},
        **settings,
    )


@pytest.fixture
def runs(tmp_path):
    """Two models, three fractions, two seeds of one of them."""
    cases = [
        ("dmvae_hybrid", 0.002, 0, 0.90),
        ("dmvae_hybrid", 0.002, 1, 0.94),
        ("dmvae_hybrid", 0.01, 0, 0.95),
        ("dmvae_hybrid", 1.0, 0, 0.98),
        ("mvae", 0.002, 0, 0.60),
        ("mvae", 1.0, 0, 0.97),
    ]
    return [
        few_labels(tmp_path / f"{model}{fraction}{seed}", value, fraction, seed=seed, model=model)
        for model, fraction, seed, value in cases
    ]


def test_a_column_for_each_fraction_a_row_for_each_recipe(runs, capsys):
    (table,) = compare.main([*runs, "--columns=data.observed"])
    assert table.rows == ["dmvae_hybrid", "mvae"] and table.runs == [4, 2]
    assert table.title == "mnist_labels: label accuracy"
    assert [column.label for column in table.columns] == [
        "observed=0.002",
        "observed=0.01",
        "observed=1",
    ]
    shown = [[formats.shown(cell, 3) for cell in column.cells] for column in table.columns]
    assert shown == [
        ["0.920 ± 0.028", "0.600 ± 0.004 se"],
        ["0.950 ± 0.004 se", "-"],
        ["0.980 ± 0.004 se", "0.970 ± 0.004 se"],
    ]
    assert [column.best for column in table.columns] == [[True, False], [False] * 2, [True, False]]
    printed = [[entry.value for entry in cell] for cell in table.columns[0].paper]
    assert printed == [[0.917], [0.579, 0.625]]
    assert [entry.value for entry in table.columns[2].paper[0]] == [0.981]
    assert not any("different steps" in note for note in table.notes)
    text = capsys.readouterr().out
    assert "observed=0.002 ↑" in text and "0.917 [1]" in text and "standard deviation" in text


def test_every_format_holds_all_columns(runs, tmp_path, capsys):
    for kind in ("text", "markdown", "latex"):
        compare.main([*runs, "--columns=data.observed", f"--format={kind}"])
        text = capsys.readouterr().out
        assert all(f"observed={value}" in text for value in ("0.002", "0.01", "1 "))
        assert text.count("paper") >= 3
    output = tmp_path / "table.csv"
    compare.main([*runs, "--columns=data.observed", f"--output={output}"])
    first, second = csv.DictReader(io.StringIO(output.read_text()))
    assert float(first[f"{ACCURACY} observed=0.002"]) == pytest.approx(0.92)
    assert first[f"{ACCURACY} observed=0.002 runs"] == "2"
    assert first[f"{ACCURACY} observed=0.01 paper"] == "0.946"
    assert second[f"{ACCURACY} observed=0.01"] == ""


def test_recipes_are_rows_and_whole_runs_join_those_they_belong_to(tmp_path):
    settings = ({"objective__beta": 1.0}, {"objective__beta": 2.0})
    found = []
    for place, own in enumerate(settings):
        found.append(few_labels(tmp_path / f"few{place}", 0.5 + place / 10, 0.01, **own))
        found.append(few_labels(tmp_path / f"all{place}", 0.7 + place / 10, 1.0, **own))
    always = {"name": "mnist_labels", "seed": 0, **WHOLE}
    always |= {"partial": "always", "observed": 0.01, "always": "image"}
    found.append(write_run(tmp_path / "always", {ACCURACY: 0.4}, model__name="dmvae_hybrid",
        objective__beta=1.0, data=always, training={"batch_mix": {"complete": 8}},
        dataset={"fingerprint": "abc-partial=always"}))  # fmt: skip
    (table,) = compare.main([*found, "--columns=data.observed"])
    values = {
        row: [cells.value for cells in (column.cells[index] for column in table.columns)]
        for index, row in enumerate(table.rows)
    }
    assert len(values) == 3
    for row, cells in values.items():
        if "beta=2" in row:
            assert cells == pytest.approx([0.6, 0.8])
        else:
            assert cells == [0.4 if "partial=always" in row else 0.5, 0.7]


def test_labels_per_class_and_any_other_setting(tmp_path):
    found = []
    for count, value in ((10, 0.6), (100, 0.8), (0, 0.9)):
        few = {"partial": "labels_per_class", "labels_per_class": count} if count else {}
        data = {"name": "mnist_labels", "seed": 0, **WHOLE, **few}
        dataset = {"fingerprint": f"abc-partial={count}"}
        found.append(
            write_run(tmp_path / str(count), {ACCURACY: value}, data=data, dataset=dataset)
        )
    (table,) = compare.main([*found, "--columns=data.labels_per_class"])
    assert table.rows == ["mmvae_plus"]
    assert {column.label: column.cells[0].value for column in table.columns} == {
        "labels_per_class=10": 0.6,
        "labels_per_class=100": 0.8,
        "labels_per_class=all": 0.9,
    }
    # Over the other setting they are rows: 10 labels of each class are not all of them.
    (table,) = compare.main([*found, "--columns=data.observed"])
    assert sorted(cell.value for cell in table.columns[0].cells) == [0.6, 0.8, 0.9]
    betas = [
        write_run(tmp_path / f"b{beta}", {"bound/test": beta}, objective__beta=beta)
        for beta in (5.0, 0.5)
    ]
    (table,) = compare.main([*betas, "--columns=objective.beta", "--metrics=bound/test"])
    assert [column.label for column in table.columns] == ["beta=0.5", "beta=5"]


def test_what_makes_no_such_table_is_refused(runs, tmp_path):
    assert "did you mean 'data.observed'?" in refused(*runs, "--columns=data.observd")
    assert "leave out --rows" in refused(*runs, "--columns=data.observed", "--rows=runs")
    two = f"--metrics={ACCURACY},bound/test"
    assert "one metric" in refused(*runs, "--columns=data.observed", two)
    other = write_run(tmp_path / "other", {"bound/test": 1.0})
    assert f"no run has {ACCURACY}" in refused(other, "--columns=data.observed")
    twin = few_labels(tmp_path / "twin", 0.5, 0.002)
    assert "same seeds" in refused(*runs, twin, "--columns=data.observed")
