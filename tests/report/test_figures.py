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
from mmvae_jax.report import FIGURES, curves, sheets, style, view, write_figures
from mmvae_jax.types import ModalitySpec
from tests.evaluation import fakes

CONFIG = {"evaluation": {"seed": 3}}
RESULTS = {
    "coherence/conditional/matrix": Result(values=np.array([[1, 0.5, 0.1]] * 2 + [[np.nan] * 3])),
    "coherence/conditional/mean": Result(value=0.3),
    "classifier/accuracy/a": Result(value=0.99),
}


def write_metrics(workdir):
    lines = [{"step": 10, "loss": 3.0, "log_px/a": -2.0}, {"step": 20, "loss": None}]
    lines += [{"step": 30, "loss": 2.0, "kl/shared": 1.0, "bound/validation": -4.0}]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"step": 40, "lo'
    (workdir / "metrics.jsonl").write_text(text)


def names_of(paths):
    return [path.stem for path in paths]


def test_all_figures_are_written_and_readable(tmp_path):
    write_metrics(tmp_path)
    paths = write_figures(
        fakes.FakeModel(fakes.specs()),
        fakes.variables(),
        fakes.dataset(),
        CONFIG,
        tmp_path,
        RESULTS,
    )
    assert names_of(paths) == list(FIGURES)
    for path in paths:
        assert path.parent == tmp_path / "figures" and path.suffix == ".png"
        pixels = np.asarray(Image.open(path).convert("L"))
        assert min(pixels.shape) > 300 and pixels.std() > 10
    assert sorted(names_of(paths)) == sorted(names_of((tmp_path / "figures").iterdir()))


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
    axes = {ax.get_title(loc="left"): ax for ax in figure.axes}["objective and bound (nats)"]
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert shown == [{"meme": "bound", "mmjsd": "objective"}.get(name, "elbo")]


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
    assert paths == []
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
    assert names_of(paths) == ["samples", "conditional", "reconstructions", "style_content"]


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
    (from_image, from_label) = sheets.conditional(shown).axes
    # Three items of classes 1 and 2, four of 3; whole rows come first.
    classes = ["one"] * 4 + ["Ankle…"] * 3 + [r"x\$y\$"] * 3
    assert [text.get_text() for text in from_label.texts] == ["to a", "", "", *classes]
    # Its label is wrong by one class.
    classes = ["Ankle…"] * 4 + [r"x\$y\$"] * 3 + ["zero"] * 3
    below = [text.get_text() for text in from_image.texts]
    assert below == ["given", "to a", "", "", *classes, "to l"]
    found = texts(sheets.samples(shown))
    assert found.count("a") == 3 and len(found) == 33
    assert set(found) <= {"a", "zero", "one", "Ankle boot", r"x\$y\$"}
    paths = write_figures(shown.model, shown.variables, dataset, CONFIG, tmp_path, {})
    assert names_of(paths) == ["samples", "conditional", "reconstructions", "style_content"]


def test_without_private_codes_there_is_no_style(tmp_path, caplog):
    caplog.set_level("INFO")
    specs = tuple(dataclasses.replace(spec, private_dim=0) for spec in fakes.specs())
    paths = write_figures(
        fakes.FakeModel(specs), fakes.variables(), fakes.dataset(), CONFIG, tmp_path, {}
    )
    assert "style_content" not in names_of(paths)
    assert "no image modality has a private code" in caplog.text


def test_one_item_of_each_class_and_whole_rows_first():
    split = fakes.split(20, 0)
    split.present["a"][:4] = False  # the first row of each class
    rows = view.items_to_show(split, 4)
    np.testing.assert_array_equal(split.label[rows], [0, 1, 2, 3])
    np.testing.assert_array_equal(rows, [4, 5, 6, 7])
    assert len(view.items_to_show(split, 10)) == 10
    assert len(set(view.items_to_show(split, 30))) == 20


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


@dataclasses.dataclass(frozen=True)
class Speaker(fakes.FakeModel):
    """Shows tokens as probabilities."""

    def _show(self, params, name, classes):
        shown = super()._show(params, name, classes)
        return jax.nn.one_hot(shown, 7) if name == "t" else shown


def test_texts_stand_beside_images_as_words(tmp_path):
    names = ("a", "t")
    specs = tuple(
        dataclasses.replace(spec, end_id=5, pad_id=6) if spec.name == "t" else spec
        for spec in fakes.specs(names)
    )
    words = ("no", "one", "two", "three", "four", "<end>", "<pad>")
    dataset = dataclasses.replace(fakes.dataset(names), specs=specs, vocabularies={"t": words})
    shown = view.View(Speaker(specs), fakes.variables(names), dataset, tmp_path, {})
    tokens = np.array([[1, 5, 3], [4, 4, 0], [5, 6, 6], [2, 6, 6]])
    assert shown.sentences(specs[1], tokens) == ["“one”", "“four four no”", "“”", "“two”"]
    assert shown.note == ""
    expected = set(shown.sentences(specs[1], fakes.prototypes(names)["t"]))
    for draw in (sheets.samples, sheets.conditional):
        said = [text.get_text() for axes in draw(shown).axes for text in axes.texts]
        quoted = [text for text in said if text.startswith("“")]
        assert len(quoted) >= 2 * len(shown.batch["weight"]) and set(quoted) <= expected
