"""celeba and celeba_vision from made-up files in the original's formats."""

from __future__ import annotations

import errno
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmvae_jax import data
from mmvae_jax.data import celeba, celeba_views, images, prepared
from mmvae_jax.types import UserError
from tests.data import fake_celeba

COUNT = 12
# Which images belong to training, validation and test.
ROWS = [np.flatnonzero(fake_celeba.partition(COUNT) == part) for part in range(3)]


@pytest.fixture
def folder(tmp_path) -> Path:
    return fake_celeba.write_celeba(tmp_path / "celeba", COUNT)


@pytest.fixture(scope="module")
def ready(tmp_path_factory) -> Path:
    """Prepared once; tests leave it as it is."""
    made = fake_celeba.write_celeba(tmp_path_factory.mktemp("faces") / "celeba", COUNT)
    load(made)
    load(made, "celeba_vision")
    return made


def load(folder: Path | str, name: str = "celeba", **options):
    return data.load(name, {"dir": str(folder)} | options)


def refusal(folder: Path | str, name: str = "celeba", **options) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def number_of(pictures: np.ndarray) -> np.ndarray:
    """The numbers that the blocks' red names, for less than 37 images."""
    return np.rint(pictures[:, 30, 32, 0] / 7).astype(int)


def test_images_attributes_and_official_splits(ready):
    dataset = load(ready)
    image, attributes = dataset.specs
    assert (image.shape, image.dtype, image.likelihood) == ((64, 64, 3), "uint8", "bernoulli")
    assert (attributes.name, attributes.shape, attributes.dtype) == ("attributes", (18,), "bool")
    assert attributes.likelihood == "bernoulli" and not dataset.num_classes
    columns = [fake_celeba.ATTRIBUTES.split().index(name) for name in celeba.ATTRIBUTES]
    # The published places of the 18 among the 40.
    assert columns == [4, 5, 8, 9, 11, 12, 15, 17, 18, 20, 21, 22, 26, 28, 31, 32, 33, 35]
    expected = fake_celeba.attributes(COUNT)[:, columns] == 1
    for part, rows in zip(data.SPLITS, ROWS, strict=True):
        split = dataset.splits[part]
        np.testing.assert_array_equal(number_of(split.x["image"]), rows)
        np.testing.assert_array_equal(split.x["attributes"], expected[rows])
    assert isinstance(dataset.splits["train"].x["image"].base, np.memmap)


def test_each_attribute_as_a_modality(ready):
    one, each = load(ready), load(ready, attributes="each")
    assert [spec.name for spec in each.specs] == ["image", *celeba.ATTRIBUTES]
    assert {spec.shape for spec in each.specs[1:]} == {()}
    for part in data.SPLITS:
        stacked = [each.splits[part].x[name] for name in celeba.ATTRIBUTES]
        np.testing.assert_array_equal(np.stack(stacked, 1), one.splits[part].x["attributes"])
    assert one.fingerprint != each.fingerprint


def test_caps(ready):
    whole, cut = load(ready), load(ready, num_train=2, num_validation=1, num_test=1)
    assert [len(cut.splits[part]) for part in data.SPLITS] == [2, 1, 1]
    np.testing.assert_array_equal(
        cut.splits["test"].x["image"], whole.splits["test"].x["image"][:1]
    )
    assert cut.fingerprint != whole.fingerprint
    assert load(ready, num_train=100).fingerprint == whole.fingerprint


def test_prepared_once_then_loaded(folder, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    first = load(folder)
    assert "celeba-64-mvae: preparing 12 rows" in caplog.text
    caplog.clear()
    monkeypatch.setattr(images, "read_rgb", None)  # pictures are not read again
    again = load(folder)
    assert "loaded" in caplog.text and "preparing" not in caplog.text
    assert again.fingerprint == first.fingerprint
    np.testing.assert_array_equal(
        again.splits["train"].x["image"], first.splits["train"].x["image"]
    )


def test_changed_sources_and_damaged_copies_are_prepared_anew(folder, caplog):
    caplog.set_level(logging.INFO)
    first = load(folder)
    stored = folder / "prepared" / "celeba-64-mvae"
    assert json.loads((stored / "prepared.json").read_text())["recipe"]["version"] == 1

    def again() -> str:
        caplog.clear()
        found = load(folder)
        assert "preparing" in caplog.text
        assert [path.name for path in (folder / "prepared").iterdir()] == [stored.name]
        return found.fingerprint

    content = (stored / "image.npy").read_bytes()
    (stored / "image.npy").write_bytes(content[:-1])
    assert again() == first.fingerprint
    (stored / "prepared.json").write_text("{}")
    assert again() == first.fingerprint
    Image.fromarray(fake_celeba.face(30)).save(folder / "img_align_celeba" / "000001.jpg")
    assert again() != first.fingerprint


def test_what_another_version_has_prepared_is_made_anew(folder, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    load(folder)
    monkeypatch.setattr(celeba, "_VERSION", celeba._VERSION + 1)
    caplog.clear()
    load(folder)
    assert "preparing 12 rows" in caplog.text and "loaded" not in caplog.text
    caplog.clear()
    load(folder)
    assert "loaded" in caplog.text and "preparing" not in caplog.text


def test_another_folder_for_what_is_prepared(folder, tmp_path):
    load(folder, cache_dir=str(tmp_path / "elsewhere"))
    assert (tmp_path / "elsewhere" / "celeba-64-mvae" / "image.npy").is_file()
    assert not (folder / "prepared").exists()


@pytest.mark.parametrize(("name", "room"), [("celeba", 0), ("celeba_vision", 3)])
def test_a_full_disk_leaves_nothing(folder, monkeypatch, name, room):
    written = []

    def full(file, rows):
        written.append(file.write(rows[:5].data if len(written) == room else rows.data))
        if len(written) > room:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(prepared, "_write", full)
    said = refusal(folder, name)
    assert "No space left on device" in said and "data.cache_dir" in said and "MB" in said
    assert all(path.name == "celeba-64-mvae" for path in (folder / "prepared").iterdir())
    monkeypatch.undo()
    assert len(load(folder, name).splits["train"]) == len(ROWS[0])


def test_a_kill_leaves_nothing_that_counts(folder, monkeypatch):
    def killed(file, rows):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepared, "_write", killed)
    monkeypatch.setattr(prepared.shutil, "rmtree", lambda *args, **kwargs: None)  # no time for that
    with pytest.raises(KeyboardInterrupt):
        load(folder)
    (left,) = (folder / "prepared").iterdir()
    assert left.suffix == ".tmp"
    monkeypatch.undo()
    assert len(load(folder).splits["train"]) == len(ROWS[0])


def test_a_folder_that_cannot_be_written(folder):
    (folder / "prepared").write_text("a file is in the way")
    assert "cannot be prepared" in refusal(folder)


def test_crops():
    picture = Image.fromarray(fake_celeba.face(3))
    # Short side 178 to 64, then rows 7 to 71 of 78.
    smaller = np.asarray(picture.resize((64, 78), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(images.Resize(64)(picture), smaller[7:71])
    square = picture.crop((15, 35, 163, 183)).resize((64, 64), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(images.Resize(64, crop=148)(picture), np.asarray(square))


@pytest.mark.parametrize("crop", ["mvae", "mopoe"])
def test_points_move_with_the_picture(crop):
    resize = celeba.CROPS[crop]
    picture = np.zeros((218, 178, 3), np.uint8)
    picture[98:103, 58:63] = 255  # around (60, 100)
    ink = resize(Image.fromarray(picture))[..., 0].astype(float)
    rows, columns = np.mgrid[:64, :64]
    centre = np.array([(columns * ink).sum(), (rows * ink).sum()]) / ink.sum()
    found = resize.moved(np.array([[60, 100]]), 178, 218)[0]
    np.testing.assert_allclose(found, centre, atol=0.5)


# --- six views ------------------------------------------------------------------------------------


def test_six_views(ready):
    dataset = load(ready, "celeba_vision")
    assert [spec.name for spec in dataset.specs] == list(celeba_views.VIEWS)
    assert [spec.shape[-1] for spec in dataset.specs] == [3, 1, 1, 1, 3, 3]
    train = dataset.splits["train"].x
    np.testing.assert_array_equal(train["image"], load(ready).splits["train"].x["image"])
    np.testing.assert_array_equal(train["obscured"][:, :, :33], train["image"][:, :, :33])
    assert not train["obscured"][:, :, 33:].any() and train["obscured"][:, :, 32].any()
    luma = train["image"] @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(train["grey"][..., 0], luma, atol=0.51)
    lighter = train["watermarked"].astype(int) - train["obscured"]
    assert (lighter >= 0).all() and 0.05 < (lighter > 0).mean() < 0.5
    assert set(np.unique(train["edges"])) == {0, 255} == set(np.unique(train["mask"]))
    assert "not the published data" in dataset.provenance
    assert dataset.fingerprint != load(ready).fingerprint


def test_masks_are_drawn_at_the_landmarks():
    points = np.array([[[20, 25], [44, 25], [32, 36], [24, 48], [40, 48]]])
    mask = celeba_views.masks(points, (64, 64))[0, ..., 0] > 0
    eye, nose = 0.2 * 24, 0.15 * 24
    rows, columns = np.mgrid[:64, :64]
    for (x, y), radius in (((20, 25), eye), ((44, 25), eye), ((32, 36), nose)):
        near = np.hypot(columns - x, rows - y)
        assert mask[near <= radius].all()
        assert not mask[(near > radius) & (near < radius + 3)].any()
    assert mask[48, 24:41].all() and not mask[40, 20:45].all() and not mask[56].any()


def test_edges_of_a_disc_are_its_circle():
    rows, columns = np.mgrid[:64, :64] - 32
    far = np.hypot(rows, columns)
    disc = np.where(far < 18, 220, 30).astype(np.uint8)
    flat = np.full((64, 64), 99, np.uint8)
    found = celeba_views.edges(np.stack([disc, flat])[..., None])[..., 0]
    assert not found[1].any()
    edge = found[0] > 0
    assert np.abs(far[edge] - 18).max() < 1.6
    # Thin, and all the way round: about as many pixels as a circle of this radius has.
    assert 0.8 * 2 * np.pi * 18 < edge.sum() < 1.4 * 2 * np.pi * 18
    angle = np.arctan2(rows, columns)[edge]
    assert len(np.unique(np.floor(angle / (np.pi / 12)) % 24)) == 24


def test_weak_edges_count_where_strong_ones_continue_them():
    step = np.zeros((64, 64))
    # Across the middle a step that fades out to the right; far below, one as weak on its own.
    step[:20] = np.linspace(120, 24, 64)
    faint = np.zeros((64, 64))
    faint[:20, 30:] = 30
    strong, weak = celeba_views.edges(np.stack([step, faint]).astype(np.uint8)[..., None])[..., 0]
    assert strong[:, 2:40].any(0).all()
    assert not weak.any()


# --- bad input ------------------------------------------------------------------------------------


def test_bad_options_are_named(ready):
    assert "did you mean 'each'" in refusal(ready, attributes="eech")
    assert "did you mean 'mopoe'" in refusal(ready, crop="mopo")


def test_missing_files_are_named(folder, monkeypatch, tmp_path):
    monkeypatch.delenv("MMVAE_DATA_DIR", raising=False)
    assert "img_align_celeba" in refusal("") and "MMVAE_DATA_DIR" in refusal("")
    (tmp_path / "empty").mkdir()
    assert "holds no list_eval_partition.txt" in refusal(tmp_path / "empty")
    (folder / "img_align_celeba" / "000003.jpg").unlink()
    assert "lacks 000003.jpg (1 of the 12 images" in refusal(folder)
    (folder / "list_landmarks_align_celeba.txt").unlink()
    assert "list_landmarks_align_celeba.txt" in refusal(folder, "celeba_vision")


def test_files_as_they_are_downloaded(tmp_path, monkeypatch):
    fake_celeba.write_celeba(tmp_path / "celeba", COUNT, split_folders=True)
    monkeypatch.setenv("MMVAE_DATA_DIR", str(tmp_path))
    assert len(load("").splits["train"]) == len(ROWS[0])


def test_damaged_images_are_named(folder):
    path = folder / "img_align_celeba" / "000002.jpg"
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:half])
    said = f"image {path} cannot be read: truncated or damaged, at byte {half:,} of {half:,} or"
    assert said in refusal(folder)
    Image.fromarray(fake_celeba.face(1)[:100]).save(path)
    assert "178x100 pixels" in refusal(folder)
    assert not list((folder / "prepared").iterdir())


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("list_attr_celeba.txt", "12\n", "13\n", "line 1 announces 13 images, 12 follow"),
        ("list_attr_celeba.txt", "12\n", "x\n", "line 1"),
        ("list_attr_celeba.txt", "000005.jpg", "000005.jpg 1", "line 7: "),
        ("list_attr_celeba.txt", "000005.jpg", "000005.jpg q", "line 7: "),
        ("list_attr_celeba.txt", "000005.jpg", "000015.jpg", "lacks 000005.jpg"),
        ("list_attr_celeba.txt", "Smiling", "Smirking", "line 2: there is no attribute Smiling"),
        ("list_attr_celeba.txt", ".jpg -1", ".jpg -3", "is -3, it must be one of -1, 1"),
        ("list_eval_partition.txt", "000001.jpg  0", "000001.jpg  7", "of 000001.jpg is 7"),
        ("list_eval_partition.txt", "000001.jpg", "000002.jpg", "names an image twice"),
        ("list_eval_partition.txt", "  2", "  1", "names no image of the test split"),
    ],
)
def test_damaged_lists_are_named(folder, name, old, new, said):
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    found = refusal(folder)
    assert said in found and name in found


def test_lists_that_are_no_text_are_named(folder):
    path = folder / "list_eval_partition.txt"
    content = bytearray(path.read_bytes())
    content[37] = 0xFF
    path.write_bytes(content)
    said = refusal(folder)
    assert str(path) in said and "at byte 37" in said


def test_truncated_lists_are_named(folder):
    for name in ("list_attr_celeba.txt", "list_landmarks_align_celeba.txt"):
        path = folder / name
        content = path.read_text()
        path.write_text(content[:-20])
        found = refusal(folder, "celeba" if "attr" in name else "celeba_vision")
        assert f"{name}, line 14" in found
        path.write_text("")
        assert "line 1" in refusal(folder, "celeba" if "attr" in name else "celeba_vision")
        path.write_text(content)
