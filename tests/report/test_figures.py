from __future__ import annotations

import dataclasses
import importlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mmvae_jax import models
from mmvae_jax.evaluation import Result
from mmvae_jax.report import (
    FIGURES,
    conditionals,
    curves,
    figures,
    programs,
    sheets,
    style,
    view,
    write_figures,
)
from mmvae_jax.types import ModalitySpec, UserError
from tests.evaluation import fakes

CONFIG = {"evaluation": {"seed": 3}}
RESULTS = {
    "coherence/conditional/matrix": Result(values=np.array([[1, 0.5, 0.1]] * 2 + [[np.nan] * 3])),
    "coherence/conditional/mean": Result(value=0.3),
    "classifier/accuracy/a": Result(value=0.99),
    "importance/weights/a": Result(values=np.array([0.5, 0.2, 0.2, 0.0, 0.1, 0.0])),
    "robustness/coherence/0.5": Result(value=0.7, standard_error=0.02),
    "robustness/coherence/1": Result(value=0.9),
}


def write_metrics(workdir):
    lines = [{"step": 10, "loss": 3.0, "log_px/a": -2.0}, {"step": 20, "loss": None}]
    lines += [{"step": 30, "loss": 2.0, "kl/shared": 1.0, "bound/validation": -4.0}]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"step": 40, "lo'
    (workdir / "metrics.jsonl").write_text(text)


def names_of(paths):
    return [path.stem for path in paths]


def test_all_figures_are_written_and_readable(tmp_path, monkeypatch):
    """And every program is compiled once for all of them."""
    monkeypatch.setattr(style, "DPI", 100)  # a quarter of the pixels, and of the time
    write_metrics(tmp_path)
    made = (programs._encode, programs._decode, programs._conditional, programs._generate)
    compiled = [program.program() for program in made]
    for program in compiled:
        program.clear_cache()
    paths = write_figures(
        fakes.FakeModel(fakes.specs()),
        fakes.variables(),
        fakes.dataset(),
        CONFIG,
        tmp_path,
        RESULTS,
    )
    assert [program._cache_size() for program in compiled] == [1, 1, 1, 1]
    assert names_of(paths) == list(FIGURES)
    for path in paths:
        assert path.parent == tmp_path / "figures" and path.suffix == ".png"
        pixels = np.asarray(Image.open(path).convert("L"))
        assert min(pixels.shape) > 150 and pixels.std() > 10
        assert path.with_suffix(".pdf").read_bytes()[:5] == b"%PDF-"
    assert len(list((tmp_path / "figures").iterdir())) == 2 * len(paths)


def test_a_figure_of_an_earlier_evaluation_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "FIGURES", {"coherence": FIGURES["coherence"]})
    parts = (fakes.FakeModel(fakes.specs()), fakes.variables(), fakes.dataset(), CONFIG, tmp_path)
    assert names_of(write_figures(*parts, RESULTS)) == ["coherence"]
    assert len(list((tmp_path / "figures").iterdir())) == 2
    assert write_figures(*parts, {}) == []
    assert not list((tmp_path / "figures").iterdir())


def test_a_figure_may_have_several_sheets(tmp_path, monkeypatch):
    def sheets(count):
        panel = style.Panel(np.zeros((1, 1, 4, 4, 3)))
        draw = [style.sheet(f"{place}", [[panel]]) for place in range(count)]
        monkeypatch.setattr(figures, "FIGURES", {"some": figures.Entry(lambda _: draw, "", "")})
        parts = (
            fakes.FakeModel(fakes.specs()),
            fakes.variables(),
            fakes.dataset(),
            CONFIG,
            tmp_path,
        )
        return names_of(write_figures(*parts, RESULTS))

    folder = tmp_path / "figures"
    assert sheets(3) == ["some", "some_2", "some_3"]
    assert figures.entry_of("some_3") == figures.entry_of("some") == "some"
    assert figures.entry_of("some_x") == "some_x"
    own = {"mine_2.png", "some_3.svg"}
    for name in own:
        (folder / name).write_bytes(b"of the user")
    assert sheets(2) == ["some", "some_2"]
    kept = {f"{name}.{kind}" for name in ("some", "some_2") for kind in ("png", "pdf")}
    assert {path.name for path in folder.iterdir()} == kept | own


def test_panels_stand_in_lines_no_wider_than_a_page():
    panel = style.Panel(np.zeros((2, 10, 16, 16, 3)), "given m0", ["given m0", "to m1"])
    wide = style.Panel(np.zeros((1, 40, 8, 8, 3)))
    lines = style.in_lines([panel, panel, panel, wide, panel])
    assert [len(line) for line in lines] == [2, 1, 1, 1]
    figure = style.sheet("title", lines[:2])
    assert figure.get_size_inches()[0] <= style.PAGE
    assert not panel.upright(["0", "", "-4"]) and panel.upright(["0", "Ankle boot"])
    assert not panel.upright(["given", "to an image", "", ""])  # which has the room of three
    assert style.in_parts(50, 24) == [slice(0, 17), slice(17, 33), slice(33, 50)]
    assert style.in_parts(0, 24) == []


def test_a_pdf_holds_the_very_pixels_of_a_sheet(tmp_path):
    images = np.random.default_rng(0).random((2, 3, 5, 7, 3), np.float32)
    figure = style.sheet("title", [[style.Panel(images)]])
    content = style.save(figure, tmp_path / "x.pdf").read_bytes()
    assert b"/Width 23" in content and b"/Height 11" in content  # one pixel between them
    assert content == style.save(figure, tmp_path / "y.pdf").read_bytes()


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_what_a_model_maximises_has_a_curve(name, tmp_path):
    values = importlib.import_module(f"configs.{name}").get_config().to_dict()
    specs = [ModalitySpec(name=n, shape=(3,), dtype="float32", likelihood="normal") for n in "ab"]
    model = models.build(values, models.specs_from_config(values["model"], tuple(specs)))

    def terms():
        batch = models.prepare({"x": {n: jnp.zeros((4, 3)) for n in "ab"}})
        variables = model.init(jax.random.key(0), batch)
        return model.loss(variables, jax.random.key(1), batch, jnp.int32(0))[1]

    line = dict.fromkeys(jax.eval_shape(terms), 1.0)
    text = "".join(json.dumps({"step": step, "loss": -1.0, **line}) + "\n" for step in (1, 2))
    (tmp_path / "metrics.jsonl").write_text(text)
    figure = curves.training_curve(view.View(model, {}, None, tmp_path, {}))
    shown = {
        axes.get_title(loc="left"): {text.get_text() for text in axes.get_legend().get_texts()}
        for axes in figure.axes
        if axes.get_legend()
    }
    maximised = {"meme": "bound", "mmjsd": "objective"}.get(name, "elbo")
    assert shown["objective and bound (nats)"] == {maximised}
    assert shown["log p(x | z) of each modality (nats)"] == {"a", "b"}
    blocks = {"shared", *(f"private/{n}" for n in "ab" if model.spec(n).private_dim)}
    assert blocks <= shown["KL divergence (nats)"]


def test_what_has_no_content_is_left_out_with_the_reason(tmp_path, caplog):
    caplog.set_level("INFO")
    names = ("v",)
    paths = write_figures(
        fakes.FakeModel(fakes.specs(names)),
        fakes.variables(names),
        fakes.dataset(names, labels=False),
        CONFIG,
        tmp_path,
        {},
    )
    assert names_of(paths) == ["embedding"]
    assert "no modality is an image" in caplog.text
    assert "there is no metrics.jsonl" in caplog.text
    assert "conditional coherence was not measured" in caplog.text


def test_one_modality_few_items_and_no_labels(tmp_path):
    names = ("a",)
    paths = write_figures(
        fakes.FakeModel(fakes.specs(names)),
        fakes.variables(names),
        fakes.dataset(names, test=3, labels=False),
        CONFIG,
        tmp_path,
        {},
    )
    assert names_of(paths) == [
        *("samples", "conditional", "reconstructions", "style_content"),
        *("shared_traversals", "private_traversals", "private_scales"),
    ]


def test_given_two_modalities_the_others_are_drawn():
    names = ("a", "b", "l")
    shown = view.View(
        fakes.FakeModel(fakes.specs(names)), fakes.variables(names), fakes.dataset(names), None, {}
    )
    panels = conditionals.conditional_pairs(shown).axes
    labels = [[text.get_text() for text in panel.texts] for panel in panels]
    # A pair of both images would leave none; classes, given as labels, stand above the columns.
    classes = ["0", "0", "0", "1", "1", "1", "2", "2", "3", "3"]
    assert labels == [["given a", "to b", "", "", *classes], ["given b", "to a", "", "", *classes]]


def test_a_figure_of_another_name_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"no figure 'sample'.*did you mean 'samples'"):
        figures.draw(None, ["sample"])


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_a_label_stands_as_text_beside_the_images(tmp_path):
    names = ("a", "l")
    dataset = fakes.dataset(names)
    dataset = dataclasses.replace(dataset, class_names=("zero", "one", "Ankle boot", "x$y$"))
    dataset.splits["test"].present["l"][::4] = False  # all rows of class 0
    shown = view.View(
        model=fakes.FakeModel(fakes.specs(names), wrong=(("a", "l"),)),
        variables=fakes.variables(names),
        dataset=dataset,
        workdir=tmp_path,
        results={},
    )
    assert shown.label.name == "l" and shown.note == ""
    (from_image, from_label) = conditionals.conditional(shown).axes
    # Three items of classes 1 and 2, four of 3; whole rows come first.
    classes = ["one"] * 4 + ["Ankle boot"] * 3 + [r"x\$y\$"] * 3
    assert [text.get_text() for text in from_label.texts] == ["to a", "", "", *classes]
    classes_on_top = classes
    # Its label is wrong by one class.
    classes = ["Ankle boot"] * 4 + [r"x\$y\$"] * 3 + ["zero"] * 3
    below = [text.get_text() for text in from_image.texts]
    assert below == ["given", "to a", "", "", *classes, "to l"]
    found = texts(sheets.samples(shown))
    assert found.count("a") == 3 and len(found) == 33
    assert set(found) <= {"a", "zero", "one", "Ankle boot", r"x\$y\$"}
    upright = [text for text in from_label.texts if text.get_rotation() == 90]
    assert [text.get_text() for text in upright] == classes_on_top  # wider than an image
    assert len(figures.draw(shown)[0]) == 10  # all but pairs and what is measured


def test_without_private_codes_there_is_no_style(tmp_path, caplog):
    caplog.set_level("INFO")
    specs = tuple(dataclasses.replace(spec, private_dim=0) for spec in fakes.specs())
    shown = view.View(fakes.FakeModel(specs), fakes.variables(), fakes.dataset(), tmp_path, {})
    needing = ("style_content", "private_traversals", "private_scales")
    drawn, skipped = figures.draw(shown, needing)
    assert not drawn and tuple(skipped) == needing
    assert caplog.text.count("no image modality has a private code") == 3


def test_the_matrix_shows_the_numbers_beside_their_judges(tmp_path):
    shown = view.View(fakes.FakeModel(fakes.specs()), {}, fakes.dataset(), tmp_path, RESULTS)
    (axes,) = curves.coherence_matrix(shown).axes
    rows = ["1.00", "0.50", "0.10"]
    assert [text.get_text() for text in axes.texts] == [*rows, *rows, "–", "–", "–"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["a\n(0.99)", "b", "v"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b", "v"]


def test_one_item_of_each_class_and_whole_rows_first():
    split = fakes.split(20, 0)
    split.present["a"][:4] = False  # the first row of each class
    rows = view.items_to_show(split, 4)
    np.testing.assert_array_equal(split.label[rows], [0, 1, 2, 3])
    assert min(rows) > 3
    every = view.items_to_show(split, 20)
    here = split.present["a"][every].reshape(4, 5)  # classes in order, in each whole rows first
    np.testing.assert_array_equal(here, [[True] * 4 + [False]] * 4)
    assert len(view.items_to_show(split, 10)) == 10
    assert len(set(view.items_to_show(split, 30))) == 20


def test_of_rows_that_show_one_item_one_is_shown():
    """Twelve photographs in ten rows each; of some of these rows something is missing."""
    split = fakes.split(120, 0)
    item = np.arange(120) // 10
    label = (item // 3).astype(np.int32)  # sorted by class
    split = dataclasses.replace(split, item=item, label=label)
    split.present["a"][:] = np.arange(120) % 10 == 3
    for count in (4, 12, 50):
        rows = view.items_to_show(split, count)
        assert len(rows) == len(set(item[rows])) == min(count, 12)
        assert split.present["a"][rows].all()  # the row that has it all
        assert set(label[rows]) == {0, 1, 2, 3} and (np.diff(label[rows]) >= 0).all()


def test_without_classes_items_from_everywhere_are_shown():
    split = dataclasses.replace(fakes.split(500, 0), label=None)
    rows = view.items_to_show(split, 10)
    assert len(set(rows)) == 10 and (np.diff(rows) > 0).all()
    assert rows[0] < 200 and rows[-1] > 300  # the first ten may all be alike


def test_a_mosaic_holds_every_image_in_its_place():
    images = np.arange(4.0).reshape(2, 2, 1, 1, 1) / 4 * np.ones((1, 1, 3, 3, 3))
    images[1, 1] = np.nan
    canvas = style.mosaic(style.Panel(images))
    assert canvas.shape == (7, 7, 3)
    assert (canvas[:3, :3] == 0).all() and (canvas[:3, 4:] == 0.25).all()
    assert (canvas[4:, :3] == 0.5).all() and (canvas[4:, 4:] == 1).all()
    grouped = style.mosaic(style.Panel(images, rules=(0,), header=True))
    assert grouped.shape == (8, 8, 3)
    assert (grouped[5:, :3] == 0.5).all() and (grouped[:3, 5:] == 0.25).all()


def test_images_are_clipped_and_greys_become_colours():
    found = style.as_rgb(np.array([[-1.0, 0.5], [0.5, 2.0]])[None, ..., None])
    assert found.shape == (1, 2, 2, 3)
    assert found.min() == 0 and found.max() == 1


@pytest.mark.parametrize("name", ["$x_", "<script>", "a\nb", "l" * 80])
def test_any_name_can_be_drawn(tmp_path, name):
    panel = style.Panel(np.zeros((1, 1, 4, 4, 3)), style.plain(name), [style.plain(name)])
    figure = style.sheet("title", [[panel]], style.plain(name))
    assert style.save(figure, tmp_path / "figures" / "x.png").exists()


def test_texts_stand_beside_images_as_words(tmp_path):
    names = ("a", "t")
    specs = tuple(
        dataclasses.replace(spec, end_id=5, pad_id=6) if spec.name == "t" else spec
        for spec in fakes.specs(names)
    )
    words = ("no", "one", "two", "three", "four", "<end>", "<pad>")
    dataset = dataclasses.replace(fakes.dataset(names), specs=specs, vocabularies={"t": words})
    shown = view.View(fakes.FakeModel(specs), fakes.variables(names), dataset, tmp_path, {})
    tokens = np.array([[1, 5, 3], [4, 4, 0], [5, 6, 6], [2, 6, 6]])
    assert shown.sentences(specs[1], tokens) == ["“one”", "“four four no”", "“”", "“two”"]
    assert shown.note == ""
    expected = set(shown.sentences(specs[1], fakes.prototypes(names)["t"]))
    for draw in (sheets.samples, conditionals.conditional):
        said = [text.get_text() for axes in draw(shown).axes for text in axes.texts]
        quoted = [text for text in said if text.startswith("“")]
        assert len(quoted) >= 2 * len(shown.batch["weight"]) and set(quoted) <= expected
