"""The page of a run: whole, on its own, and nothing but text where data have their say."""

from __future__ import annotations

import base64
import dataclasses
import html.parser
import io
import json

import numpy as np
import pytest
from PIL import Image

from mmvae_jax import data
from mmvae_jax.evaluation import Result, write_results
from mmvae_jax.report import FIGURES, captions, figures, sections, view, write_report
from mmvae_jax.report import page as report_page
from mmvae_jax.report.markup import element
from mmvae_jax.report.view import NothingToShow
from tests.evaluation import fakes
from tests.report import test_figures

EVIL = "<script>alert('&')</script>"
NAMES = {"a": EVIL, "v": "v", "t": "</td><img src=x onerror=alert(1)>"}


WORDS = (EVIL, "$one", "two", "three", "four", "five", "six")


class Page(html.parser.HTMLParser):
    """Collects what a test asks for, and refuses tags that do not nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, content):
        if self.open and self.open[-1] != "style":
            self.words.append(content)

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def renamed(known):
    return {NAMES[name]: value for name, value in known.items()}


def evil_parts():
    """Model, variables and data whose names are markup; images, numbers and tokens."""
    specs = tuple(dataclasses.replace(s, name=NAMES[s.name]) for s in fakes.specs(tuple(NAMES)))
    plain = fakes.dataset(tuple(NAMES), test=11)
    splits = {
        name: dataclasses.replace(part, x=renamed(part.x), present=renamed(part.present))
        for name, part in plain.splits.items()
    }
    classes = (EVIL, "one", "two", "three")
    dataset = data.Dataset(
        name="fake",
        specs=specs,
        splits=splits,
        num_classes=4,
        class_names=classes,
        provenance=f"made of {EVIL}",
        vocabularies={NAMES["t"]: WORDS},
    )
    variables = {"params": renamed(fakes.variables(tuple(NAMES))["params"])}
    return fakes.FakeModel(specs), variables, dataset


def nothing(view):
    raise NothingToShow(f"there is no {EVIL}")


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A run with its page."""
    folder = tmp_path_factory.mktemp("page")
    test_figures.write_metrics(folder)
    config = {
        "seed": 7,
        "num_epochs": 3,
        "batch_size": 5,
        "model": {"name": "fake", "latent": EVIL, "options": {"mlp": {"hidden": [1, 2]}}},
        "objective": {"beta": 2.5},
        "evaluation": {"seed": 3},
    }
    run = {
        "config": config,
        "changed": {"seed": 0, "model.latent": "normal", "model.options": {"mlp": {"hidden": []}}},
        "command": f"python -m mmvae_jax.main --config.model.latent='{EVIL}'",
        "versions": {"python": "3"},
        "hardware": {"devices": "1 x <b>cpu</b>"},
    }
    (folder / "config.json").write_text(json.dumps(run))
    matrix = np.array([[0.5, 0.25, np.nan]] * 3)
    results = {
        "bound/test": Result(value=-12.3456, standard_error=0.21, n=11, how=f"K = 2 {EVIL}"),
        f"classifier/accuracy/{EVIL}": Result(value=0.9, n=11),
        "coherence/conditional/matrix": Result(values=matrix, standard_error=matrix / 9, n=11),
        "step": Result(value=30.0),
    }
    write_results(folder / "results.json", results, {"probe": f"no {EVIL} labels"})
    # A few of the figures: the others are no other way to the page.
    some = {name: FIGURES[name] for name in ("training", "samples", "conditional", "relatedness")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "FIGURES", {**some, "empty": figures.Entry(nothing, "", "")})
        write_report(*evil_parts(), config, folder, results)
    return folder


@pytest.fixture(scope="module")
def page(workdir):
    return Page((workdir / "report.html").read_text(encoding="utf-8"))


def test_names_and_captions_stay_text(page, workdir):
    raw = (workdir / "report.html").read_text(encoding="utf-8")
    assert "<script" not in raw and "onerror=alert(1)>" not in raw
    assert not page.of("script")
    assert all(not key.startswith("on") for _, attributes in page.tags for key in attributes)
    for told in (
        f"made of {EVIL}",
        f"no {EVIL} labels",
        f"K = 2 {EVIL}",
        f"--config.model.latent='{EVIL}'",
        f"fake, 112 parameters, {EVIL} latents",
        "Seeds training 7, evaluation and figures 3",
        "1 x <b>cpu</b>",
        NAMES["t"],
    ):
        assert told.replace("112", str(parameters())) in page.text, told
    caption = fakes.prototypes(tuple(NAMES))["t"][0]
    assert " ".join(WORDS[token] for token in caption) in page.text


def parameters():
    sizes = (items.size for items in fakes.prototypes(tuple(NAMES)).values())
    return f"{sum(sizes):,}"


def test_nothing_is_fetched_and_every_image_can_be_seen(page):
    policy = page.of("meta")[2]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert policy["content"].startswith("default-src 'none'")
    for attributes in page.of("img"):
        kind, _, content = attributes["src"].partition(",")
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(content, validate=True))) as image:
            image.load()
            assert image.width >= 64
        assert attributes["alt"]
    for _, attributes in page.tags:
        assert not {"srcset", "action", "background"} & set(attributes)
        assert attributes.get("href", "#").startswith("#")
        assert "url(" not in attributes.get("style", "")
    assert "@import" not in page.text


def test_the_table_of_contents_leads_somewhere(page):
    places = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    links = [attributes["href"].removeprefix("#") for attributes in page.of("a")]
    assert len(set(places)) == len(places) and links == places
    assert {"overview", "results", "training", "text", "left-out", "config"} <= set(places)


def test_every_figure_is_shown_or_left_out_with_the_reason(page, workdir):
    drawn = {path.stem for path in (workdir / "figures").glob("*.png")}
    assert drawn == {"training", "samples", "conditional", "relatedness"}
    assert all(f"figures/{name}.png and .pdf" in page.text for name in drawn)
    assert f"empty there is no {EVIL}" in page.text
    shown = [a["alt"] for a in page.of("img") if not a["alt"].startswith("item ")]
    assert len(shown) == len(drawn) == len(page.of("figure")) == len(page.of("figcaption"))


def sheets_of(folder, count):
    """A figure of so many sheets, as files."""
    found = {}
    for name in ("training", *(f"training_{place}" for place in range(2, count + 1))):
        found[name] = folder / f"{name}.png"
        Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(found[name], dpi=(200, 200))
    return found


def test_further_sheets_are_folded_until_the_page_is_too_large(tmp_path, monkeypatch):
    found = sheets_of(tmp_path, 4)
    section = report_page._parts(found, [])[0]
    whole = Page("".join(section.content))
    assert len(whole.of("img")) == 4 and len(whole.of("details")) == 1 and "3 more" in whole.text
    assert "Files: figures/training_4.png and .pdf." in whole.text
    size = found["training"].stat().st_size
    monkeypatch.setattr(report_page, "_MOST_FOLDED", 2 * size)
    some = Page("".join(report_page._parts(found, [])[0].content))
    assert len(some.of("img")) == 3 and "2 more" in some.text
    assert "too large for this page: figures/training_4.png." in some.text
    monkeypatch.setattr(report_page, "_MOST_FOLDED", 0)
    none = Page("".join(report_page._parts(found, [])[0].content))
    assert len(none.of("img")) == 1 and not none.of("details")
    named = "figures/training_2.png, figures/training_3.png, figures/training_4.png."
    assert f"too large for this page: {named}" in none.text


def test_numbers_stand_with_their_errors(page):
    assert "-12.35 ± 0.21 bound on log p(x), nats n = 11" in page.text
    assert "0.500 ± 0.056 0.250 ± 0.028 –" in page.text
    assert sections.number(0.88983, 0.0039) == "0.8898"
    assert sections.number(1070.49, 3.7186) == "1070.5"
    assert sections.number(3120.0) == "3,120" and sections.number(float("nan")) == "–"
    assert sections.plus_minus(None) == "" and sections.plus_minus(12.0) == "± 12"


def test_what_differs_from_the_defaults_is_marked(page):
    assert "3 of 8 values differ" in page.text
    assert f"model.latent {EVIL} normal" in page.text
    assert "model.options.mlp.hidden (1, 2) ()" in page.text
    assert len([a for a in page.of("tr") if a.get("class") == "changed"]) == 2 * 3


def test_without_a_record_of_defaults_nothing_is_marked():
    tables = Page("".join(sections.config_tables({"config": {"seed": 1}})))
    assert "not recorded" in tables.text and "seed 1" in tables.text
    tables = Page("".join(sections.config_tables({"config": {"seed": 1}, "changed": {}})))
    assert "Nothing differs" in tables.text


def test_what_differs_was_set_by_the_argument_or_by_a_flag():
    run = {
        "config": {"seed": 1, "data": {"name": "b"}, "model": {"options": {"mlp": 3}}},
        "changed": {"data.name": "a", "model.options": {"mlp": 2}},
    }
    assert "set by" not in Page("".join(sections.config_tables(run))).text
    text = Page("".join(sections.config_tables({**run, "flags": ["model.options"]}))).text
    assert "2 of 3 values differ" in text and "set by" in text
    assert "data.name b a argument" in text and "model.options.mlp 3 2 flag" in text
    assert "seed 1 data.name" in text  # neither of both


def test_validation_rows_have_a_page_of_their_own_and_no_pictures(tmp_path):
    config = {"evaluation": {"seed": 0, "split": "validation"}}
    path = write_report(*evil_parts(), config, tmp_path, {"bound/validation": Result(value=1.5)})
    assert path == tmp_path / "report-validation.html"
    found = Page(path.read_text(encoding="utf-8"))
    assert "Measured on the validation rows" in found.text and "1.5" in found.text
    assert not found.of("img") and "figures show test items" in found.text
    assert [p.name for p in tmp_path.iterdir()] == ["report-validation.html"]


@pytest.mark.parametrize("step", [30, 20])
def test_numbers_of_another_step_are_left_out_with_the_reason(tmp_path, step):
    measured = {
        "bound/test": Result(value=-12.5, n=11),
        "seconds/train": Result(value=77.0),
        "step": Result(value=30.0),
    }
    write_results(tmp_path / "results.json", measured, {"probe": "no labels"})
    (tmp_path / "config.json").write_text('{"config": {"num_epochs": 3, "batch_size": 5}}')
    config = {"evaluation": {"figures": False}}
    shown = {"step": Result(value=float(step))}
    path = write_report(*evil_parts(), config, tmp_path, shown)
    text = Page(path.read_text(encoding="utf-8")).text
    assert f"Checkpoint step {step}" in text and "3 epochs, batches of 5, 77 s" in text
    reason = "results.json was measured at step 30, and this is step 20"
    same = step == 30
    assert ("-12.5" in text, "no labels" in text, reason in text) == (same, same, not same)


def test_elements_escape_all_but_elements():
    made = element("p", "<b>", element("i", 'a"b'), 3, None, class_="x", title='">', hidden=True)
    assert made == '<p class="x" title="&quot;&gt;" hidden>&lt;b&gt;<i>a&quot;b</i>3</p>'
    assert element("p", "a\x00\x1b\ud800ä\u200cb") == "<p>aä\u200cb</p>"


def test_texts_without_images_stand_alone():
    dataset = dataclasses.replace(fakes.dataset(("t",)), vocabularies={"t": WORDS})
    seen = view.View(
        fakes.FakeModel(fakes.specs(("t",))), fakes.variables(("t",)), dataset, None, {}
    )
    items, drawn = captions.captions(seen)
    written = [" ".join(WORDS[i] for i in row) for row in fakes.prototypes(("t",))["t"]]
    found = [texts for picture, texts in items.rows if picture is None]
    assert len(found) == 10 and all(row[0] == row[1] in written for row in found)
    assert len(drawn.rows) == 10 and all(row[0] in written for _, row in drawn.rows)
