from __future__ import annotations

import csv
import io
import json
import math
import statistics
import subprocess
import sys

import pytest

from mmvae_jax import compare
from mmvae_jax.comparison import formats, published
from mmvae_jax.comparison.metrics import HIGHER, NEITHER, metric
from mmvae_jax.comparison.runs import read
from mmvae_jax.comparison.table import Cell, best
from mmvae_jax.data import celeba
from mmvae_jax.types import UserError

COHERENCE = "coherence/conditional/mean"


def write_run(
    path, results=None, *, split="test", dataset=None, skipped=None, how="made up", **settings
):
    """A workdir as training and evaluation leave it, as far as a comparison reads it."""
    path.mkdir()
    config = {
        "seed": 0,
        "data": {"name": "polydigits", "seed": 0, "dir": "", "partial": "none", "observed": 1.0},
        "model": {"name": "mmvae_plus", "shared_dim": 8},
        "objective": {"beta": 2.5},
    }
    for key, value in settings.items():
        section, _, name = key.partition("__")
        if name:
            config[section][name] = value
        else:
            config[section] = value
    dataset = {"name": config["data"]["name"], "fingerprint": "abc", **(dataset or {})}
    (path / "config.json").write_text(json.dumps({"config": config, "dataset": dataset}))
    if results is not None:
        content = {
            name: {"value": value, "standard_error": 0.004, "n": 10, "how": how}
            for name, value in results.items()
        }
        content["coherence/conditional/matrix"] = {"values": [[1.0]]}
        content["skipped"] = skipped or {}
        file = "results.json" if split == "test" else f"results-{split}.json"
        (path / file).write_text(json.dumps(content))
    return str(path)


@pytest.fixture
def runs(tmp_path):
    """Three seeds of one beta, one seed of another."""
    found = [
        write_run(tmp_path / f"s{seed}", {COHERENCE: value, "bound/test": 10.0 * seed}, seed=seed)
        for seed, value in enumerate((0.8, 0.9, 0.7))
    ]
    judged = {COHERENCE: 0.95, "classifier/accuracy/mean": 0.987}
    return [*found, write_run(tmp_path / "b5", judged, objective__beta=5.0)]


def refused(*argv):
    with pytest.raises(UserError) as error:
        compare.main([str(word) for word in argv])
    message = str(error.value)
    assert "\n" not in message
    return message


def test_seeds_are_one_row_with_mean_and_deviation(runs, capsys):
    (table,) = compare.main(runs)
    assert table.rows == ["mmvae_plus beta=2.5", "mmvae_plus beta=5"] and table.runs == [3, 1]
    column = table.columns[0]
    several, single = column.cells
    assert several.value == pytest.approx(0.8) and several.kind == "sd"
    assert several.error == pytest.approx(math.sqrt(0.02 / 2))
    assert (single.value, single.error, single.kind) == (0.95, 0.004, "se")
    assert column.best == [False, True]
    text = capsys.readouterr().out
    assert "0.800 ± 0.100" in text and "0.950 ± 0.004 se*" in text and "0.987" in text
    assert "10.0 ± 10.0" in text
    assert table.columns[1].cells[1].value is None  # a dash


def test_other_ways_to_compute_are_noted_but_not_other_judges(tmp_path, capsys):
    said = ("one; judges' accuracy 0.987", "one; judges' accuracy 0.991", "two")
    for seed, (name, how) in enumerate(zip("abc", said, strict=True)):
        write_run(tmp_path / name, {COHERENCE: 0.5}, how=how, seed=seed)
    compare.main([str(tmp_path / name) for name in "ab"])
    assert "computed alike" not in capsys.readouterr().out
    compare.main([str(tmp_path / name) for name in "abc"])
    assert f"{COHERENCE} was not computed alike: one; or two" in capsys.readouterr().out


def test_a_number_that_some_seeds_lack_says_so(tmp_path):
    cell = (
        compare.main(
            [
                write_run(tmp_path / "a", {COHERENCE: 0.5}),
                write_run(tmp_path / "b", {COHERENCE: None}, seed=1),
            ]
        )[0]
        .columns[0]
        .cells[0]
    )
    assert cell == Cell(0.5, 0.004, "se", 1, 2)
    assert formats.shown(cell, 3) == "0.500 ± 0.004 se (1 of 2)"
    assert formats.shown(Cell(), 3) == "-"
    assert formats.shown(Cell(0.5, 1e-5, "sd", 2, 2), 3) == "0.500 ± 0.00001"


def test_best_follows_the_direction_of_a_metric():
    cells = [Cell(0.90004), Cell(0.9), Cell(), Cell(0.8)]
    assert best(cells, metric("coherence/unconditional")) == [True, True, False, False]
    assert not any(best(cells, metric("probe/private/mean")))
    assert not any(best(cells[1:3], metric("probe/shared/mean")))  # alone


def test_csv_has_all_digits_and_parses_back(runs, tmp_path):
    output = tmp_path / "table.csv"
    compare.main([*runs, f"--output={output}"])
    first, second = csv.DictReader(io.StringIO(output.read_text()))
    assert float(first[COHERENCE]) == statistics.fmean([0.8, 0.9, 0.7])
    assert float(first[f"{COHERENCE} sd"]) == statistics.stdev([0.8, 0.9, 0.7])
    assert first[f"{COHERENCE} se"] == "" and first["runs"] == "3"
    assert second[f"{COHERENCE} se"] == "0.004" and second["bound/test"] == ""
    assert second["classifier/accuracy/mean"] == "0.987"


def test_markdown_and_latex_mark_and_escape(tmp_path, capsys):
    a = write_run(tmp_path / "a", {"a_|%": 1.0, COHERENCE: 0.5}, model__name="x_&|y")
    b = write_run(tmp_path / "b", {COHERENCE: 0.75}, model__name="[z]")
    compare.main([a, b, "--format=latex"])
    latex = capsys.readouterr().out
    assert r"x\_\&\textbar{}y & 1 & 0.500 $\pm$ 0.004 se \\" in latex
    assert r"{}[z] & 1 & \textbf{0.750 $\pm$ 0.004 se} \\" in latex
    compare.main([a, b, "--format=markdown", f"--metrics={COHERENCE},bound/test,a_|%"])
    markdown = capsys.readouterr().out
    assert r"| x\_\&\|y | 1 | 0.500 ± 0.004 se | - | 1.000 ± 0.004 se |" in markdown
    assert r"| \[z\] | 1 | **0.750 ± 0.004 se** | - | - |" in markdown


def test_each_data_set_has_its_table(tmp_path):
    results = {COHERENCE: 0.5}
    found = [
        write_run(tmp_path / "a", results),
        write_run(tmp_path / "b", results, data__seed=1, dataset={"fingerprint": "def"}),
        write_run(tmp_path / "c", results, model__name="mvae", dataset={"fingerprint": "xyz"}),
    ]
    (table,) = compare.main(found[:2])  # another seed pairs other images
    assert table.runs == [2]
    assert [t.title for t in compare.main([found[0], found[2]])] == [
        "polydigits (abc)",
        "polydigits (xyz)",
    ]


def test_where_data_lie_and_how_they_come_makes_no_other_setting(tmp_path):
    data = {"name": "polymnist", "seed": 0, "dir": "a", "download": True, "cache_dir": ""}
    elsewhere = {**data, "dir": "b", "download": False, "cache_dir": "c"}
    results = {COHERENCE: 0.5}
    found = [
        write_run(tmp_path / "a", results, data=data, training={"data": "auto"}),
        write_run(tmp_path / "b", results, data=elsewhere, training={"data": "host"}, seed=1),
    ]
    (table,) = compare.main(found)
    assert table.runs == [2]


def test_the_papers_number_stands_beside_its_setting(tmp_path, capsys):
    found = [
        write_run(
            tmp_path / f"f{fraction}",
            {"classification/accuracy": 0.9},
            data={"name": "mnist_labels", "partial": "paired", "observed": fraction, "seed": 0},
            model__name="dmvae_hybrid",
            dataset={"fingerprint": f"abc-partial=paired-observed={fraction}-seed=0"},
        )
        for fraction in (0.002, 0.003)
    ]
    (table,) = compare.main(found)
    assert [[p.value for p in cell] for cell in table.columns[0].paper] == [[0.917], []]
    assert "0.917 [1]" in capsys.readouterr().out
    assert len(
        {(e.dataset, e.model, e.partial, e.fraction, e.metric, e.source) for e in published.ENTRIES}
    ) == len(published.ENTRIES)
    made_up = {"provenance": "polymnist: made on motifs; not the published data"}
    data = {"name": "polymnist", "num_modalities": 5}
    own = write_run(tmp_path / "own", {COHERENCE: 0.5}, data=data, dataset=made_up)
    real = write_run(tmp_path / "real", {COHERENCE: 0.5}, data=data)
    assert not published.find(read(own), COHERENCE)
    assert [entry.value for entry in published.find(read(real), COHERENCE)] == [0.869]


@pytest.mark.parametrize(
    ("draws", "rows", "shown"),
    [
        (1000, "all", [-90.851]),
        (5000, "all", [-90.851]),
        (32, "all", []),
        (999, "all", []),
        (5000, "100 of 10000", []),
    ],
)
def test_the_papers_likelihood_stands_beside_estimates_as_good_as_its_own(
    tmp_path, draws, rows, shown
):
    name = "log_likelihood/joint"
    how = f"importance sampling, S = {draws} draws from q, nats; error over {rows} test rows"
    # The config says what was measured first, not what was measured last.
    run = write_run(
        tmp_path / "a",
        {name: -91.0},
        how=how,
        data={"name": "mnist_labels"},
        model__name="mvae",
        evaluation={"likelihood_samples": 32, "likelihood_examples": 100},
    )
    assert [entry.value for entry in published.find(read(run), name)] == shown
    assert not published.find(read(run), "log_likelihood/marginal/image")  # was not measured


def test_every_seed_of_a_row_must_fit_the_papers_setting(tmp_path):
    mnist = {"data__name": "mnist_labels", "data__binarize": "dynamic", "model__name": "mvae"}
    name, how = "log_likelihood/joint", "S = {} draws; error over all test rows"
    for first, second, printed in ((1000, 1000, [-86.278]), (1000, 100, []), (100, 1000, [])):
        folder = tmp_path / f"{first}-{second}"
        folder.mkdir()
        runs = [
            write_run(folder / str(seed), {name: -90.0}, seed=seed, how=how.format(count), **mnist)
            for seed, count in enumerate((first, second))
        ]
        # One that lacks the number has no say.
        runs.append(write_run(folder / "none", {"bound/test": -91.0}, seed=2, **mnist))
        (table,) = compare.main([*runs, f"--metrics={name}"])
        assert [entry.value for entry in table.columns[0].paper[0]] == printed


def test_captions_have_a_direction_and_real_ones_a_published_number(tmp_path):
    assert metric("captions/from_image/exact").better == HIGHER
    assert metric("captions/judge/exact").better == NEITHER
    how = "real pairs; image: itself; captions: plain mean of vectors of 9 of 9 words from x"
    birds = write_run(
        tmp_path / "birds",
        {"cca/real/image+caption": 0.1},
        how=how,
        data__name="cub",
        model__name="mmvae",
    )
    found = published.find(read(birds), "cca/real/image+caption")
    assert [entry.value for entry in found] == [0.106]


def test_binary_images_stand_beside_published_ones_if_they_are_drawn_anew(tmp_path):
    name, found = "log_likelihood/joint", {}
    how = "importance sampling, S = 1000 draws from q, nats; error over all test rows"
    for kind in ("none", "threshold", "dynamic"):
        data = {"name": "mnist_labels", "binarize": kind}
        run = write_run(tmp_path / kind, {name: -90.0}, how=how, data=data, model__name="mvae")
        found[kind] = [entry.value for entry in published.find(read(run), name)]
    assert found == {"none": [-90.851], "threshold": [], "dynamic": [-86.278]}


def shown(folder, metric, how="", **settings):
    """The papers' numbers beside a result of such a run."""
    run = write_run(folder, {metric: 0.5}, how=how, **settings)
    return [entry.value for entry in published.find(read(run), metric)]


def test_the_mvae_papers_estimates_stand_beside_its_own_likelihoods(tmp_path):
    """One modality of attributes or 18, the paper's crop, Bernoulli pixels."""
    how = "importance sampling, S = 5000 draws from q, nats; error over all test rows"
    each = "+".join(celeba.ATTRIBUTES)
    faces = {"name": "celeba", "crop": "mvae", "attributes": "one"}
    cases = [
        ("log_likelihood/conditional/image|attributes", faces, {}, [-6235.368]),
        ("log_weight_variance/marginal_from_all/image|attributes", faces, {}, [73.871]),
        ("log_weight_variance/joint", {**faces, "attributes": "each"}, {}, [71.953]),
        (
            f"log_weight_variance/conditional/image|{each}",
            {**faces, "attributes": "each"},
            {},
            [71.603],
        ),
        ("log_weight_variance/joint", {**faces, "crop": "mopoe"}, {}, []),
        ("log_weight_variance/joint", faces, {"model__likelihood": "laplace"}, []),
        ("log_weight_variance/joint", faces, {"model__likelihood": "bernoulli"}, [74.968]),
        (
            "log_weight_variance/joint",
            faces,
            {"model__modalities": {"image": {"likelihood": "normal"}}},
            [],
        ),
        ("log_likelihood/conditional/image|text", {"name": "multimnist"}, {}, [-147.009]),
        ("classification/attributes/f1", faces, {}, [0.514]),
    ]
    for index, (name, data, settings, values) in enumerate(cases):
        folder = tmp_path / str(index)
        found = shown(folder, name, how, data=data, model__name="mvae", **settings)
        assert found == values, (name, data, settings)


def test_correlations_stand_beside_those_with_word_vectors_of_a_file(tmp_path):
    metric = "cca/cross/caption|image"
    birds = {"name": "cub", "partial": "always", "always": "caption", "observed": 0.25}
    said = "pairs, ridge 0.0001; image: {}; captions: {} of vectors of {}; error over test rows"
    for index, (image, mean, of, values) in enumerate(
        [
            ("itself", "plain mean", "1500 of 1590 words from wiki.vec", [0.048]),
            ("itself", "weighted mean", "1500 of 1590 words from wiki.vec", []),
            ("the last hidden layer", "plain mean", "1500 of 1590 words from wiki.vec", []),
            ("itself", "plain mean", "near words in 500 training captions", []),
        ]
    ):
        how = said.format(image, mean, of)
        folder = tmp_path / str(index)
        assert shown(folder, metric, how, data=birds, model__name="meme") == values, how


def test_numbers_given_several_modalities_and_of_instances(tmp_path):
    poly, pair = {"name": "polymnist", "num_modalities": 5}, {"name": "mnist_svhn"}
    assert shown(tmp_path / "a", "coherence/given/3", data=poly, model__name="mopoe") == [0.81]
    metric = "coherence/instance/joint/own"
    found = shown(tmp_path / "b", metric, data=pair, model__name="dmvae")
    assert found == [pytest.approx((0.9583 + 0.9054) / 2)]
    metric = "mutual_information_score/reconstruction/svhn"
    missing = {**pair, "partial": "always", "always": "svhn", "observed": 0.0625}
    assert shown(tmp_path / "c", metric, data=missing, model__name="meme") == [0.134]
    # One that is not legible.
    assert not shown(
        tmp_path / "d", metric, data={**missing, "observed": 0.125}, model__name="meme"
    )


def test_validation_results_have_their_own_file(tmp_path):
    run = write_run(tmp_path / "a", {COHERENCE: 0.5}, split="validation")
    (tmp_path / "a" / "results.json").write_text('{"seconds/train": {"value": 7.0}, "skipped": {}}')
    (table,) = compare.main([run, "--split=validation"])
    assert [column.cells[0].value for column in table.columns] == [0.5, 7.0]
    assert "--split=validation" in refused(run)


def test_skipped_metrics_are_dashes_with_a_reason(tmp_path):
    skipped = {"bound/test": "there is no p(z)"}
    run = write_run(tmp_path / "a", {COHERENCE: 0.5}, skipped=skipped)
    (table,) = compare.main([run, "--metrics=bound/test"])
    assert table.columns[0].cells[0].value is None
    assert "bound/test of mmvae_plus was skipped: there is no p(z)" in table.notes


def test_what_cannot_be_compared_is_refused_in_a_line(runs, tmp_path):
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(tmp_path / "file")
    assert "holds no run" in refused(tmp_path / "nowhere")
    assert "no results" in refused(write_run(tmp_path / "untested"))
    damaged = write_run(tmp_path / "damaged", {})
    for text in ("{", "[]", '{"a": 1}', '{"a": {"value": "b"}}'):
        (tmp_path / "damaged" / "results.json").write_text(text)
        assert "damaged" in refused(damaged)
    assert "given twice" in refused(runs[0], runs[0])
    twin = write_run(tmp_path / "twin", {COHERENCE: 0.5})
    assert "same seeds" in refused(runs[0], twin)
    assert compare.main([runs[0], twin, "--rows=runs"])[0].rows == ["s0", "twin"]
    assert f"did you mean {COHERENCE!r}?" in refused(runs[0], "--metrics=coherence/conditional/men")
    assert "is an array" in refused(runs[0], "--metrics=coherence/conditional/matrix")
    assert "did you mean 'markdown'?" in refused(runs[0], "--format=markdwn")
    assert "--split=tst" in refused(runs[0], "--split=tst")
    assert "--nonsense" in refused(runs[0], "--nonsense")
    assert "--figure" in refused(runs[0], "--x=bound/test")
    assert "must end with .png or .pdf" in refused(runs[0], f"--figure={tmp_path}/a.svg")
    assert "an axis is one metric" in refused(runs[0], f"--figure={tmp_path}/a.png", "--x=")
    assert "no run has both" in refused(runs[0], f"--figure={tmp_path}/a.png")


def test_files_are_not_replaced_unasked(runs, tmp_path):
    output = tmp_path / "table.md"
    output.write_text("mine")
    assert "exists" in refused(runs[0], f"--output={output}")
    assert output.read_text() == "mine"
    compare.main([runs[0], f"--output={output}", "--overwrite"])
    assert output.read_text().startswith("| polydigits |")
    assert "does not exist" in refused(runs[0], f"--output={tmp_path}/no/table.md")


def test_the_figure_is_a_picture(runs, tmp_path):
    figure = tmp_path / "scatter.png"
    compare.main([*runs, f"--figure={figure}", "--y=bound/test"])
    assert figure.read_bytes().startswith(b"\x89PNG")
    figure = tmp_path / "scatter.PDF"
    compare.main([*runs, f"--figure={figure}", "--y=bound/test"])
    assert figure.read_bytes().startswith(b"%PDF")


def test_the_axes_are_coherence_and_quality_where_that_is_measured(tmp_path):
    """Distances of Inception before those of classifiers; diversity where a run lacks both."""
    diversity = "diversity/conditional/mean"
    fid, distance = (f"quality/{kind}/conditional/mean" for kind in ("fid", "classifier_frechet"))

    def axes(x, y, *measured):
        found = []
        for results in measured:
            folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
            found.append(read(write_run(folder, dict.fromkeys(results, 0.5))))
        return compare._axis_names(x, y, found)

    every, some, none = (COHERENCE, distance, fid), (COHERENCE, distance), (COHERENCE, diversity)
    assert axes(None, None, every, every) == (fid, COHERENCE)
    assert axes(None, None, every, some) == (distance, COHERENCE)
    assert axes(None, None, every, none) == (COHERENCE, diversity)
    assert axes(None, None, (fid,), every) == (fid, COHERENCE)  # the first has no coherence
    assert axes(None, None, (fid,)) == (COHERENCE, diversity)
    assert axes("bound/test", None, every) == ("bound/test", COHERENCE)
    assert axes(None, "bound/test", none) == (COHERENCE, "bound/test")
    assert axes(COHERENCE, None, every) == (COHERENCE, fid)
    assert axes(None, COHERENCE, none) == (diversity, COHERENCE)
    assert axes("a", "b", every) == ("a", "b")


def test_the_command_starts_without_jax(tmp_path):
    code = (
        "import sys; from mmvae_jax import compare; sys.argv = ['compare', 'nowhere'];"
        "assert 'jax' not in sys.modules and 'matplotlib' not in sys.modules; compare.run()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: nowhere holds no run") and done.stderr.count("\n") == 1
