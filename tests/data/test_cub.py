"""cub from made-up files in the original's two layouts."""

from __future__ import annotations

import logging
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from mmvae_jax import data
from mmvae_jax.data import cub, frozen_features, images, prepared, words
from mmvae_jax.types import UserError
from tests.data import fake_captioned as fake

LINES = np.concatenate([fake.captions(number) for number in range(fake.BIRDS)])


@pytest.fixture
def folder(tmp_path) -> Path:
    return fake.write_cub(tmp_path / "cub")


@pytest.fixture(scope="module")
def ready(tmp_path_factory) -> Path:
    """Prepared once; tests leave it as it is."""
    made = fake.write_cub(tmp_path_factory.mktemp("birds") / "cub")
    load(made)
    return made


def load(folder: Path | str, **options):
    return data.load("cub", {"dir": str(folder)} | options)


def refusal(folder: Path | str, **options) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def said(dataset, part: str) -> list[str]:
    """The captions of a split in words, up to their ends."""
    vocabulary = np.array(dataset.vocabularies["caption"])
    rows = np.asarray(dataset.splits[part].x["caption"])
    return [" ".join(vocabulary[row[: list(row).index(words.END)]]) for row in rows]


def numbers(dataset, part: str) -> np.ndarray:
    """Which image every row shows."""
    return fake.number_of(np.asarray(dataset.splits[part].x["image"]))


# --- rows -----------------------------------------------------------------------------------------


def test_a_row_is_a_caption_with_its_image(ready):
    dataset = load(ready)
    image, caption = dataset.specs
    assert (image.name, image.shape, image.dtype, image.likelihood) == (
        "image",
        (64, 64, 3),
        "uint8",
        "laplace",
    )
    assert (caption.shape, caption.dtype, caption.likelihood) == ((32,), "int32", "tokens")
    assert (caption.end_id, caption.pad_id, caption.unscored_id) == (2, 1, -1)
    for part, wanted in (("train", fake.TRAIN), ("test", fake.TEST), ("validation", fake.TRAIN)):
        shown = numbers(dataset, part)
        assert Counter(shown.tolist()) == dict.fromkeys(wanted.tolist(), 10)
        np.testing.assert_array_equal(dataset.splits[part].item, shown)
    # Words of training birds are known: each caption names the bird that is shown.
    texts = said(dataset, "train")
    assert all(f"bird{n}" in text for n, text in zip(numbers(dataset, "train"), texts, strict=True))
    assert len(set(texts)) == 40
    # Test birds are of classes whose captions nobody counted.
    assert all(text.startswith("<exc> is red , ") for text in said(dataset, "test"))
    assert dataset.num_classes == 0 and dataset.splits["test"].label is None
    assert "validation repeats training rows" in dataset.provenance


def test_an_image_is_in_memory_once(ready):
    pools = [load(ready).splits[part].x["image"].pool for part in data.SPLITS]
    assert all(isinstance(pool, np.memmap) for pool in pools)
    assert {pool.shape for pool in pools} == {(fake.BIRDS, 64, 64, 3)}


def test_pixels_are_stretched_to_a_square(ready):
    dataset = load(ready)
    row = int(np.flatnonzero(numbers(dataset, "train") == 4)[0])
    expected = np.asarray(fake.picture(4).resize((64, 64), 2)).astype(int)
    found = dataset.splits["train"].x["image"][np.array([row])][0]
    assert np.abs(found - expected).max() <= 3  # JPEG


def test_both_layouts_hold_the_same_rows(ready, tmp_path):
    one, other = load(ready), load(fake.write_cut_out(tmp_path / "cub"))
    assert one.vocabularies == other.vocabularies
    for part in data.SPLITS:
        pairs = [
            sorted(zip(numbers(each, part), said(each, part), strict=True)) for each in (one, other)
        ]
        assert pairs[0] == pairs[1]


def test_captions_in_a_folder_of_the_other_usual_name(tmp_path, ready):
    folder = fake.write_cut_out(tmp_path / "cub")
    (folder / "text_trainvalclasses.txt").rename(folder / "train_captions.txt")
    (folder / "text_testclasses.txt").rename(folder / "test_captions.txt")
    assert said(load(folder), "test")


def test_held_out_images_and_caps(ready):
    whole, cut = load(ready), load(ready, num_validation=1, num_train=12, num_test=5)
    assert [len(cut.splits[part]) for part in data.SPLITS] == [12, 10, 5]
    held = set(numbers(cut, "validation"))
    assert len(held) == 1 and held < set(fake.TRAIN.tolist())
    assert not held & set(numbers(cut, "train"))
    assert said(cut, "test") == said(whole, "test")[:5]
    assert cut.vocabularies == whole.vocabularies  # counted in all that was published for training
    assert len({whole.fingerprint, cut.fingerprint, load(ready, num_test=5).fingerprint}) == 3
    assert load(ready).fingerprint == whole.fingerprint
    assert "num_validation is 4" in refusal(ready, num_validation=4)


# --- words ----------------------------------------------------------------------------------------


def test_frequent_words_of_training_captions_are_the_vocabulary(ready):
    vocabulary = load(ready).vocabularies["caption"]
    trained = LINES.reshape(-1, 10)[fake.TRAIN].reshape(-1)
    # These captions have no marks inside words.
    counts = Counter(re.findall(r"\w+|[,.]", " ".join(trained).lower()))
    assert counts["thrice"] == 3 and counts["fourfold"] == 4
    assert vocabulary[:3] == ("<exc>", "<pad>", "<eos>")
    assert set(vocabulary[3:]) == {word for word, count in counts.items() if count > 3}
    assert [counts[word] for word in vocabulary[3:]] == sorted(
        (counts[word] for word in vocabulary[3:]), reverse=True
    )


def test_thirty_one_words_then_the_end_then_padding(ready):
    dataset = load(ready)
    rows = np.asarray(dataset.splits["train"].x["caption"])
    first, red = (dataset.vocabularies["caption"].index(word) for word in ("bird0", "red"))
    longest = rows[(rows == red).sum(1) > 1]
    np.testing.assert_array_equal(longest, [[first] + [red] * 30 + [words.END]])
    ends = (rows == words.END).argmax(1)
    assert ((rows == words.END).sum(1) == 1).all()
    behind = np.arange(32) > ends[:, None]
    assert (rows[behind] == words.PADDING).all() and not (rows[~behind] == words.PADDING).any()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("This bird has a red bill.", "this bird has a red bill ."),
        ("a body, feet,wings and a face , and", "a body , feet , wings and a face , and"),
        ("it's the bird's; they're not tarsus'.", "it 's the bird 's ; they 're not tarsus ' ."),
        ("It doesn't (can't) fly!", "it does n't ( ca n't ) fly !"),
        ("long-tailed black/white 3.5 in.", "long-tailed black/white 3.5 in ."),
        ('"blue" ... --  naïve\ttail?', '" blue " ... -- naïve tail ?'),
        ("", ""),
    ],
)
def test_tokens(text, expected):
    assert words.tokens(text) == expected.split()


def test_published_scoring_is_an_option(ready):
    caption = load(ready, unscored="unknown").specs[1]
    assert (caption.likelihood, caption.unscored_id) == ("categorical", words.UNKNOWN)
    assert load(ready, unscored="unknown").fingerprint != load(ready).fingerprint


# --- prepared pixels and features -----------------------------------------------------------------


def test_pixels_are_prepared_once(folder, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    first = load(folder)
    assert "cub-64: preparing 6 rows" in caplog.text
    monkeypatch.setattr(images, "read_rgb", None)  # pictures are not read again
    assert load(folder).fingerprint == first.fingerprint
    assert "cub-64: loaded" in caplog.text


def put_features(folder: Path, kind: str = "image-normalised", make=None, **options) -> np.ndarray:
    """Features that say which image they are of, float32 [6, 4]."""
    found = cub.files(str(folder))
    values = np.arange(4 * len(found.names), dtype=np.float32).reshape(-1, 4)
    settings = {"network": "ResNet-101", "weights": "0"}
    make = make or (lambda: iter([values[:4], values[4:]]))
    frozen_features.store(found, kind, options.get("cache_dir", ""), (4,), settings, make)
    return values


def test_features_in_place_of_pixels(folder, tmp_path):
    values = put_features(folder)
    other = str(tmp_path / "elsewhere")
    put_features(folder, "image-plain", lambda: iter([-values]), cache_dir=other)
    dataset = load(folder, images="features")
    image = dataset.specs[0]
    assert (image.shape, image.dtype, image.likelihood) == ((4,), "float32", "laplace")
    assert image.likelihood_scale == 0.01 and not image.scale
    assert "image-normalised features of ResNet-101" in dataset.provenance
    plain = load(folder, images="features", normalise=False, cache_dir=other)
    for part in data.SPLITS:
        rows = np.asarray(dataset.splits[part].x["image"])
        # The same rows as of pixels.
        np.testing.assert_array_equal(rows, values[numbers(load(folder), part)])
        np.testing.assert_array_equal(plain.splits[part].x["image"], -rows)
    assert len({dataset.fingerprint, plain.fingerprint, load(folder).fingerprint}) == 3


def test_missing_features_are_refused_with_the_command(folder):
    line = refusal(folder, images="features")
    assert f"no features in {folder / 'prepared' / 'cub-image-normalised'}" in line
    command = "python -m mmvae_jax.features --dataset=cub --kind=image-normalised"
    assert f"{command} --data.dir={folder} --weights=resnet101.safetensors" in line
    line = refusal(folder, images="features", normalise=False, cache_dir="/nowhere")
    assert "--kind=image-plain" in line and "--data.cache_dir=/nowhere" in line


def test_features_of_other_images_are_refused(folder):
    put_features(folder)
    path = next(folder.glob("CUB_200_2011/images/*/*.jpg"))
    path.write_bytes(path.read_bytes() + b"\0")
    line = refusal(folder, images="features")
    assert "features of other images than those in" in line and "mmvae_jax.features" in line


def test_images_that_were_copied_keep_their_features(folder):
    values = put_features(folder)
    for path in folder.glob("CUB_200_2011/images/*/*.jpg"):
        path.touch()
    rows = load(folder, images="features").splits["test"].x["image"]
    assert {tuple(row) for row in np.asarray(rows)} == {tuple(values[i]) for i in fake.TEST}


def test_damaged_and_outdated_features_are_refused(folder, monkeypatch):
    put_features(folder)
    path = folder / "prepared" / "cub-image-normalised" / "features.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert "is damaged" in refusal(folder, images="features")
    path.write_bytes(content)
    said = path.with_name("prepared.json")
    for old, new in (('"settings": {', '"settings": 3, "a": {'), ('"count": 6', '"count": "6"')):
        text = said.read_text()
        assert old in text
        said.write_text(text.replace(old, new))
        assert "is damaged" in refusal(folder, images="features")
        said.write_text(text)
    monkeypatch.setattr(frozen_features, "_VERSION", 2)
    assert "has version 1 of features, 2 is needed" in refusal(folder, images="features")


def test_features_that_are_not_finite_are_refused(folder):
    with pytest.raises(UserError, match="features of images that are not finite"):
        put_features(folder, make=lambda: iter([np.full((6, 4), np.nan, np.float32)]))
    assert not list((folder / "prepared").iterdir())


def test_a_folder_with_a_strange_name(tmp_path):
    """The command can be pasted."""
    folder = fake.write_cub(tmp_path / "my {birds}")
    assert f"'--data.dir={folder}'" in refusal(folder, images="features")


def test_half_computed_features_do_not_count(folder, monkeypatch):
    values = put_features(folder)

    def stops(error):
        yield values[:2] + 100
        raise error

    for error in (UserError("an image is damaged"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            put_features(folder, make=lambda error=error: stops(error))
        rows = np.asarray(load(folder, images="features").splits["train"].x["image"])
        assert rows.max() < 100  # the whole ones from before

    def full(file, rows):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepared, "_write", full)
    with pytest.raises(UserError, match=r"No space left on device.*data\.cache_dir"):
        put_features(folder, "image-plain")
    assert [path.name for path in (folder / "prepared").iterdir()] == ["cub-image-normalised"]


# --- bad input ------------------------------------------------------------------------------------


def test_bad_options_are_named(ready):
    assert "did you mean 'features'" in refusal(ready, images="feature")
    assert "did you mean 'unknown'" in refusal(ready, unscored="unknow")


def test_missing_files_are_named(tmp_path, monkeypatch):
    monkeypatch.delenv("MMVAE_DATA_DIR", raising=False)
    for name in ("images.txt", "text_c10/", "trainvalclasses.txt", "text_testclasses.txt"):
        assert name in refusal("")
    (tmp_path / "cub").mkdir()
    assert "holds no images.txt" in refusal(tmp_path / "cub")
    assert "set data.dir to their folder" in refusal(tmp_path / "cub")
    fake.write_cub(tmp_path / "cub")
    monkeypatch.setenv("MMVAE_DATA_DIR", str(tmp_path))
    assert len(load("").splits["test"]) == 20


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("CUB_200_2011/images/002.Laysan_Albatross/Laysan_Albatross_0001_117.jpg", "lacks 002.L"),
        (
            "cvpr2016_cub/text_c10/002.Laysan_Albatross/Laysan_Albatross_0001_117.txt",
            "(1 of 6 images have no captions)",
        ),
        ("cvpr2016_cub/trainvalclasses.txt", "holds no trainvalclasses.txt"),
        ("cvpr2016_cub/testclasses.txt", "holds no testclasses.txt"),
    ],
)
def test_a_missing_file_is_named(folder, name, said):
    (folder / name).unlink()
    line = refusal(folder)
    assert said in line and Path(name).stem in line


def test_damaged_images_are_named(folder):
    path = next(folder.glob("CUB_200_2011/images/*/*.jpg"))
    path.write_bytes(path.read_bytes()[:400])
    assert f"image {path} cannot be read" in refusal(folder)
    assert "truncated or damaged, at byte 400 of 400 or before" in refusal(folder)
    assert not list((folder / "prepared").iterdir())


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("CUB_200_2011/images.txt", "\n4 ", "\n5 ", "line 4: '5 002"),
        ("CUB_200_2011/images.txt", "4 002.Laysan_Albatross/", "4 002", "is not '4 CLASS/NAME"),
        ("cvpr2016_cub/trainvalclasses.txt", "003.G", "004.G", "of the class '004.Groove_billed"),
        (
            "cvpr2016_cub/trainvalclasses.txt",
            "003.Groove_billed_Ani\n",
            "",
            "003.Groove_billed_Ani",
        ),
        ("cvpr2016_cub/testclasses.txt", "002.Laysan", "001.Black_footed", "is in trainvalclasses"),
    ],
)
def test_damaged_lists_are_named(folder, name, old, new, said):
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert said in refusal(folder)


def test_empty_lists_are_named(folder):
    for name in ("cvpr2016_cub/testclasses.txt", "CUB_200_2011/images.txt"):
        (folder / name).write_text("")
        assert "truncated" in refusal(folder) and name in refusal(folder)


def test_captions_that_do_not_fit_are_named(folder, tmp_path):
    path = next(folder.glob("cvpr2016_cub/text_c10/*/*.txt"))
    text = path.read_text()
    for change, said in (
        (text + "one more.\n", "holds 11"),
        (text[:200], "captions, an image has"),
    ):
        path.write_text(change)
        assert said in refusal(folder) and str(path) in refusal(folder)
    path.write_bytes(text.encode()[:100] + b"\xff" + text.encode()[100:])
    assert "no text in UTF-8, at byte 100" in refusal(folder)
    folder = fake.write_cut_out(tmp_path / "other")
    path = folder / "text_trainvalclasses.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]))
    assert "holds 4 images" in refusal(folder) and "are 39" in refusal(folder)
    path.write_text("\n".join([*lines[:7], "", *lines[8:]]))
    assert "text_trainvalclasses.txt, line 8 is empty" in refusal(folder)
    path.unlink()
    assert "holds no text_trainvalclasses.txt" in refusal(folder)
