"""Tiny random networks of the real classes give the features that the loaders find.

These tests need the extra `features`; without it they are skipped.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmvae_jax import data
from mmvae_jax.data import flowers
from mmvae_jax.types import UserError
from tests.data import fake_captioned as fake

torch = pytest.importorskip("torch", reason="needs the extra 'features'")
safetensors = pytest.importorskip("safetensors.torch", reason="needs the extra 'features'")
models = pytest.importorskip("torchvision.models.resnet", reason="needs the extra 'features'")
transformers = pytest.importorskip("transformers", reason="needs the extra 'features'")

command = importlib.import_module("mmvae_jax.features.__main__")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "bird", "##0", "##1", "is", "red", ",", "line", "."]
HIDDEN = 8


@pytest.fixture(scope="module")
def resnet():
    """One block a stage; statistics of batches are not those of an untrained network."""
    torch.manual_seed(0)
    network = models.ResNet(models.Bottleneck, [1, 1, 1, 1])
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return network.eval()


@pytest.fixture(scope="module")
def resnet_file(resnet, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet.safetensors"
    safetensors.save_file(resnet.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def bert():
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=40,
    )
    return transformers.BertModel(config).eval()


@pytest.fixture
def bert_folder(bert, tmp_path) -> Path:
    """Weights under the names that published ones have: with a prefix, and a head beside them."""
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    bert.config.to_json_file(folder / "config.json")
    state = {f"bert.{name}": tensor.clone() for name, tensor in bert.state_dict().items()}
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    for new, name in old.items():
        state = {key.replace(new, name): tensor for key, tensor in state.items()}
    state["cls.predictions.bias"] = torch.zeros(len(WORDS))
    safetensors.save_file(state, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def birds(tmp_path_factory) -> Path:
    return fake.write_cub(tmp_path_factory.mktemp("birds") / "cub")


@pytest.fixture(scope="module")
def plants(tmp_path_factory) -> Path:
    return fake.write_flowers(tmp_path_factory.mktemp("plants") / "flowers")


def compute(*argv: object) -> Path:
    return command.main([str(word) for word in argv])


def refusal(*argv: object) -> str:
    with pytest.raises(UserError) as caught:
        compute(*argv)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def expected_of(network, path: Path, normalise: bool) -> np.ndarray:
    """By hand: what enters the last layer, for the middle 224x224 pixels at a short side of 224."""
    with Image.open(path) as image:
        width, height = image.size
        image = image.resize((224 * width // height, 224), Image.Resampling.BILINEAR)
        left = (image.width - 224) // 2
        x = np.asarray(image.crop((left, 0, left + 224, 224))) / 255
    if normalise:
        x = (x - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    seen = []
    hook = network.fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network(torch.tensor(x.transpose(2, 0, 1)[None], dtype=torch.float32))
    hook.remove()
    return seen[0][0].numpy()


@pytest.mark.parametrize("normalise", [True, False])
def test_features_of_images_are_the_penultimate_layer(resnet, resnet_file, birds, normalise):
    kind = "image-normalised" if normalise else "image-plain"
    flags = (f"--data.dir={birds}", f"--kind={kind}", f"--weights={resnet_file}", "--batch_size=4")
    folder = compute("--dataset=cub", *flags)
    assert folder == birds / "prepared" / f"cub-{kind}"
    dataset = data.load("cub", {"dir": str(birds), "images": "features", "normalise": normalise})
    assert dataset.specs[0].shape == (2048,)
    assert "features of ResNet of 1+1+1+1 blocks" in dataset.provenance
    raw = data.load("cub", {"dir": str(birds)})
    paths = sorted(birds.glob("CUB_200_2011/images/*/*.jpg"))
    rows = np.asarray(dataset.splits["test"].x["image"])
    shown = fake.number_of(np.asarray(raw.splits["test"].x["image"]))
    for row in (0, 10):
        expected = expected_of(resnet, paths[shown[row]], normalise)
        assert expected.std() > 0
        np.testing.assert_allclose(rows[row], expected, rtol=1e-4, atol=1e-5)


def test_tensors_that_pytorch_saved(resnet, resnet_file, birds, tmp_path):
    path = tmp_path / "resnet.pth"
    torch.save(resnet.state_dict(), path)
    other = tmp_path / "cache"
    flags = ("--dataset=cub", f"--data.dir={birds}", f"--data.cache_dir={other}")
    one = np.load(compute(*flags, f"--weights={path}") / "features.npy", allow_pickle=False)
    two = compute(*flags, f"--weights={resnet_file}", "--device=cpu")
    np.testing.assert_array_equal(one, np.load(two / "features.npy", allow_pickle=False))


def ids_of(caption: str) -> list[int]:
    """WordPiece by hand, for the captions of the fake."""
    text = caption.lower().replace(",", " ,").replace(".", " .").split()
    found = []
    for word in text:
        pieces = [word] if word in WORDS else [word[:-1], f"##{word[-1]}"]
        known = all(piece in WORDS for piece in pieces)
        found += [WORDS.index(piece) for piece in pieces] if known else [1]
    return [2, *found[:28], 3]


def test_features_of_captions(bert, bert_folder, plants):
    flags = ("--dataset=flowers", f"--data.dir={plants}", f"--weights={bert_folder}")
    arrays = {}
    for pool in ("mean", "tokens"):
        folder = compute(*flags, f"--kind=caption-{pool}", "--batch_size=50")
        arrays[pool] = np.load(folder / "features.npy", allow_pickle=False)
    assert arrays["mean"].shape == (120, HIDDEN) and arrays["tokens"].shape == (120, 30, HIDDEN)
    captions = flowers.files(str(plants)).captions
    # The last caption of the first image is longer than 30 tokens.
    for row in (0, 9, 10, 29):
        ids = ids_of(captions[row])
        with torch.no_grad():  # alone, and without padding
            hidden = bert(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()
        np.testing.assert_allclose(arrays["tokens"][row, : len(ids)], hidden, atol=1e-5)
        assert (arrays["tokens"][row, len(ids) :] == 0).all()
        np.testing.assert_allclose(arrays["mean"][row], hidden.mean(0), atol=1e-5)
    assert len(ids_of(captions[9])) == 30


# --- bad input ------------------------------------------------------------------------------------


class Bomb:
    """Whoever unpickles this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_file_that_would_run_code_is_refused(birds, tmp_path):
    torch.save({"conv1.weight": Bomb(tmp_path / "ran")}, tmp_path / "w.pth")
    line = refusal("--dataset=cub", f"--data.dir={birds}", f"--weights={tmp_path / 'w.pth'}")
    assert "cannot be read as tensors alone" in line
    assert not (tmp_path / "ran").exists()


def test_weights_that_do_not_fit_are_refused(resnet, resnet_file, birds, tmp_path):
    flags = ("--dataset=cub", f"--data.dir={birds}")
    assert "there is no file" in refusal(*flags, "--weights=nowhere.safetensors")
    (tmp_path / "w.onnx").write_bytes(b"")
    assert "must end in .safetensors" in refusal(*flags, f"--weights={tmp_path / 'w.onnx'}")
    path = tmp_path / "w.safetensors"
    path.write_bytes(resnet_file.read_bytes()[:-1])
    assert "cannot be read as tensors alone" in refusal(*flags, f"--weights={path}")
    state = resnet.state_dict()

    def said(changed: dict) -> str:
        safetensors.save_file(changed, path)
        return refusal(*flags, f"--weights={path}")

    assert "not those of a ResNet" in said({"a": torch.zeros(1)})
    lacking = {key: tensor for key, tensor in state.items() if key != "bn1.bias"}
    assert "lack bn1.bias (1 tensors)" in said(lacking)
    assert "do not fit a ResNet" in said({**state, "conv1.weight": torch.zeros(64, 1, 7, 7)})
    assert "--device=nonsense cannot be used" in refusal(*flags, "--weights=w", "--device=nonsense")


def test_folders_of_bert_that_do_not_fit_are_refused(bert_folder, plants):
    flags = ("--dataset=flowers", f"--data.dir={plants}", "--kind=caption-mean")
    flags = (*flags, f"--weights={bert_folder}")
    (bert_folder / "vocab.txt").write_text("\n".join([*WORDS, "more"]))
    assert "the tokenizer has 13 tokens, config.json 12" in refusal(*flags)
    (bert_folder / "vocab.txt").write_text("a\nb")
    assert "vocab.txt" in refusal(*flags)
    for name in ("vocab.txt", "model.safetensors", "config.json"):
        (bert_folder / name).unlink()
        line = refusal(*flags)
        assert name in line.partition("there is no ")[2]


def test_a_damaged_image_leaves_nothing(resnet_file, tmp_path):
    folder = fake.write_cub(tmp_path / "cub")
    path = sorted(folder.glob("CUB_200_2011/images/*/*.jpg"))[-1]
    path.write_bytes(path.read_bytes()[:-100])
    flags = (f"--data.dir={folder}", f"--weights={resnet_file}", "--batch_size=2")
    assert str(path) in refusal("--dataset=cub", *flags)
    assert not list((folder / "prepared").iterdir())
