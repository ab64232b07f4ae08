"""Missing files are downloaded by the real downloader, from a server of our own."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import hashlib
import logging
import shutil
import socket
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mmvae_jax import data
from mmvae_jax.data import downloads, folders, sources, transfer
from mmvae_jax.types import UserError
from tests.data.fake_captioned import write_cub, write_flowers
from tests.data.fake_celeba import write_celeba
from tests.data.fake_mnist import write_mnist
from tests.data.fake_svhn import write_svhn

MNIST = [
    f"{part}-{kind}-ubyte.gz"
    for part in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
]
LABELS = {"num_validation": 20, "download": True}
CLOSED = "http://127.0.0.1:1"  # a port where nobody listens


class Site:
    """A server of files by their path, and what it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.halved: set[str] = set()  # files whose second half never comes
        self.asked: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = site.files.get(self.path)
                site.asked.append(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                if content and self.path in site.halved:
                    content = content[: len(content) // 2]
                with contextlib.suppress(OSError):  # who only asks does not take it
                    self.wfile.write(content or b"")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def put(self, below: str, folder: Path) -> None:
        for path in folder.iterdir():
            if path.is_file():
                self.files[f"/{below}/{path.name}"] = path.read_bytes()


@pytest.fixture
def site(tmp_path, monkeypatch) -> Iterator[Site]:
    """MNIST, SVHN and CelebA, tiny, in place of the originals; their checksums are known."""
    found = Site()
    original = tmp_path / "original"
    found.put("mnist", write_mnist(original / "mnist", packed=True))
    found.put("fashion_mnist", write_mnist(original / "fashion_mnist", packed=True, num_train=90))
    found.put("svhn_cropped", write_svhn(original / "svhn"))
    celeba = write_celeba(original / "celeba")
    shutil.make_archive(
        str(celeba / "img_align_celeba"), "zip", root_dir=celeba, base_dir="img_align_celeba"
    )
    found.put("celeb_a", celeba)
    birds, flowers = write_cub(original / "cub"), write_flowers(original / "flowers")
    pack(birds, "CUB_200_2011", birds / "CUB_200_2011.tgz")
    found.put("caltech_birds2011", birds)
    pack(flowers, "jpg", flowers / "102flowers.tgz")
    found.put("oxford_flowers102", flowers)
    move_sources(monkeypatch, found.url)
    known = {f"{found.url}{path}": info(path, content) for path, content in found.files.items()}
    monkeypatch.setattr(transfer, "registered", lambda name: known)
    serve = functools.partial(found.server.serve_forever, 0.01)
    threading.Thread(target=serve, daemon=True).start()
    yield found
    found.server.shutdown()
    found.server.server_close()


def pack(folder: Path, name: str, archive: Path) -> None:
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder / name, name)


def info(path: str, content: bytes):
    from tensorflow_datasets.core.download import checksums

    name = path.rpartition("/")[2]
    return checksums.UrlInfo(len(content), hashlib.sha256(content).hexdigest(), name)


def move_sources(monkeypatch, base: str) -> None:
    """All files come from another server, in a folder by set."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def moved(source: sources.Source) -> sources.Source:
        page = f"{base}/{source.name}/"
        files = (dataclasses.replace(f, url=page + (f.archive or f.name)) for f in source.files)
        return dataclasses.replace(source, page=page, files=tuple(files))

    table = {name: tuple(map(moved, found)) for name, found in sources.SOURCES.items()}
    monkeypatch.setattr(sources, "SOURCES", table)


def refusal(name: str, options: Mapping) -> str:
    with pytest.raises(UserError) as caught:
        data.load(name, options, seed=0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- what comes ---------------------------------------------------------------------------------


def test_what_is_missing_comes_once_into_the_usual_folders(tmp_path, site, caplog, monkeypatch):
    monkeypatch.delenv("MMVAE_DATA_DIR", raising=False)
    caplog.set_level(logging.INFO, "mmvae_jax")
    folder, original = tmp_path / "a" / "b", tmp_path / "original"
    options = {"dir": str(folder), "dm": 1, "num_validation": 0}
    assert "needs data.dir" in refusal("mnist_svhn", {}) and not site.asked
    assert str(folder) in refusal("mnist_svhn", options) and not site.asked  # not asked for
    found = data.load("mnist_svhn", {**options, "download": True}, seed=0)
    assert names(folder) == ["mnist", "svhn"] and names(folder / "mnist") == sorted(MNIST)
    for path in folder.rglob("*.*"):
        assert path.read_bytes() == (original / path.relative_to(folder)).read_bytes()
    same = data.load("mnist_svhn", {**options, "dir": str(original)}, seed=0)
    assert found.fingerprint == same.fingerprint
    log = "\n".join(caplog.messages)
    assert f"mnist_svhn: downloading {MNIST[0]}, {MNIST[1]}" in log and "downloaded MNIST" in log
    assert "2 files of 0.0 MB come from 127.0.0.1" in log and "downloaded SVHN" in log
    caplog.clear()
    site.asked.clear()
    again = data.load("mnist_svhn", {**options, "download": True}, seed=0)
    assert again.fingerprint == found.fingerprint and not site.asked and not caplog.messages


def test_only_the_missing_file_comes(tmp_path, site):
    folder = write_mnist(tmp_path / "mnist", packed=True)
    (folder / MNIST[3]).unlink()
    data.load("mnist_labels", {**LABELS, "dir": str(folder)})
    assert set(site.asked) == {f"/mnist/{MNIST[3]}"} and names(folder) == sorted(MNIST)


def test_what_is_damaged_is_not_replaced(tmp_path, site):
    folder = write_mnist(tmp_path / "mnist", packed=True)
    (folder / MNIST[0]).write_bytes(b"mine")
    assert MNIST[0] in refusal("mnist_labels", {**LABELS, "dir": str(folder)})
    assert (folder / MNIST[0]).read_bytes() == b"mine" and not site.asked


@pytest.mark.parametrize("variable", ["MMVAE_DATA_DIR", "XDG_DATA_HOME"])
def test_without_data_dir_a_known_folder_is_taken(tmp_path, site, monkeypatch, variable):
    monkeypatch.delenv("MMVAE_DATA_DIR", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "sets"))
    above = tmp_path / "sets" / ("mmvae_jax" if variable == "XDG_DATA_HOME" else "")
    mnist = data.load("mnist_labels", LABELS)
    fashion = data.load("fashion_mnist_labels", LABELS)
    assert names(above) == ["fashion_mnist", "mnist"]
    assert len(mnist.splits["train"]) == 100 and len(fashion.splits["train"]) == 70
    assert f"read from {above / 'mnist'}" in mnist.provenance


def test_sets_whose_files_have_the_same_names_stay_apart(tmp_path, site):
    folder = {"dir": str(tmp_path / "sets")}
    data.load("mnist_labels", {**LABELS, **folder})
    assert len(data.load("fashion_mnist_labels", {**LABELS, **folder}).splits["train"]) == 70
    site.asked.clear()
    pairs = data.load("mnist_fashion", {**folder, "download": True, "num_validation": 0})
    assert len(pairs.splits["train"]) == 90 and not site.asked


def test_archives_are_unpacked(tmp_path, site):
    folder = tmp_path / "faces"
    found = data.load("celeba", {"dir": str(folder), "download": True})
    tables = ["list_attr_celeba.txt", "list_eval_partition.txt"]
    assert names(folder) == ["img_align_celeba", *tables, "prepared"]
    assert len(names(folder / "img_align_celeba")) == 12
    same = data.load("celeba", {"dir": str(tmp_path / "original" / "celeba")})
    assert found.fingerprint == same.fingerprint
    site.asked.clear()
    data.load("celeba_vision", {"dir": str(folder), "download": True})
    assert set(site.asked) == {"/celeb_a/list_landmarks_align_celeba.txt"}


def test_captions_are_the_users_to_bring(tmp_path, site):
    folder = tmp_path / "birds"
    said = refusal("cub", {"dir": str(folder), "download": True})
    assert "holds no text_c10" in said and said.endswith("(captions are not downloaded)")
    assert names(folder) == ["CUB_200_2011"]  # once they are there, nothing more is wanted
    site.asked.clear()
    assert refusal("cub", {"dir": str(folder), "download": True}) == said and not site.asked
    shutil.copytree(tmp_path / "original" / "cub" / "cvpr2016_cub", folder / "cvpr2016_cub")
    found = data.load("cub", {"dir": str(folder), "download": True})
    assert len(found.splits["train"]) == 40 and not site.asked


def test_flowers_come_beside_their_captions(tmp_path, site):
    folder = tmp_path / "flowers"
    shutil.copytree(tmp_path / "original" / "flowers" / "text_c10", folder / "text_c10")
    (folder / "setid.mat").write_bytes(b"mine")
    said = refusal("flowers", {"dir": str(folder), "download": True})
    assert "setid.mat" in said and (folder / "setid.mat").read_bytes() == b"mine"
    assert names(folder) == ["imagelabels.mat", "jpg", "setid.mat", "text_c10"]
    assert len(names(folder / "jpg")) == 12


def test_an_archive_of_something_else(tmp_path, site, monkeypatch):
    """It has its registered checksum, but not what the reader looks for: it comes once."""
    (tmp_path / "original" / "cub" / "CUB_200_2011" / "images.txt").unlink()
    pack(tmp_path / "original" / "cub", "CUB_200_2011", tmp_path / "CUB_200_2011.tgz")
    path = "/caltech_birds2011/CUB_200_2011.tgz"
    site.files[path] = (tmp_path / "CUB_200_2011.tgz").read_bytes()
    known = {f"{site.url}{path}": info(path, site.files[path])}
    monkeypatch.setattr(transfer, "registered", lambda name: known)
    said = refusal("cub", {"dir": str(tmp_path / "birds"), "download": True})
    assert "CUB_200_2011.tgz) came, but holds something else" in said
    assert site.asked == [path, path]  # the first time it is only asked for


def test_of_two_processes_one_downloads(tmp_path, site):
    """Locks belong to open files, so that threads stand for processes here."""
    missing = folders.MissingFiles(tmp_path / "mnist", "")
    threads = [
        threading.Thread(target=downloads.fetch, args=("mnist_labels", missing)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert names(tmp_path / "mnist") == sorted(MNIST)
    assert site.asked.count(f"/mnist/{MNIST[3]}") == 1  # the first one also answers "are you there"


def test_urls_and_checksums_are_those_of_the_package():
    for source in {source for found in sources.SOURCES.values() for source in found}:
        known = transfer.registered(source.name)
        for file in source.files:
            assert known[file.url].filename == (file.archive or file.name)
            assert len(known[file.url].checksum) == 64


# --- what does not come -------------------------------------------------------------------------


def test_another_file_than_is_registered_is_refused(tmp_path, site):
    site.files[f"/mnist/{MNIST[2]}"] = b"another"
    said = refusal("mnist_labels", {**LABELS, "dir": str(tmp_path / "sets" / "mnist")})
    assert f"sent as {MNIST[2]} is not the published file: its SHA-256 differs" in said
    assert not (tmp_path / "sets").exists()


def test_a_lost_connection_leaves_nothing(tmp_path, site):
    (tmp_path / "sets").mkdir()
    site.halved.add("/svhn_cropped/test_32x32.mat")
    options = {"dir": str(tmp_path / "sets"), "dm": 1, "download": True}
    said = refusal("mnist_svhn", options)
    assert "127.0.0.1" in said and "did not send all of test_32x32.mat" in said
    assert "train_32x32.mat" in said and MNIST[0] not in said.partition("wanted: ")[2]
    assert names(tmp_path / "sets") == ["mnist"]  # which came before
    assert names(tmp_path / "sets" / "mnist") == sorted(MNIST)
    site.halved.clear()
    assert len(data.load("mnist_svhn", options, seed=0).splits["test"]) == 40


def test_a_file_that_is_gone(tmp_path, site):
    del site.files[f"/mnist/{MNIST[0]}"]
    said = refusal("mnist_labels", {**LABELS, "dir": str(tmp_path / "sets")})
    assert f"answers 404 Not Found when asked for {site.url}/mnist/{MNIST[0]}" in said
    assert not (tmp_path / "sets").exists()


def test_without_a_connection_one_line_comes_soon(tmp_path, monkeypatch):
    move_sources(monkeypatch, CLOSED)
    monkeypatch.setattr(transfer, "_tfds", lambda: pytest.fail("tries again for minutes"))
    start = time.monotonic()
    said = refusal("mnist_svhn", {"dir": str(tmp_path / "sets"), "download": True})
    assert time.monotonic() - start < 5
    assert "127.0.0.1:1 cannot be reached (Connection refused)" in said
    for name in (*MNIST, "train_32x32.mat", "test_32x32.mat"):
        assert name in said.partition("wanted: ")[2]
    assert f"in {tmp_path}/sets/mnist" in said and f"in {tmp_path}/sets/svhn" in said
    assert not (tmp_path / "sets").exists()


def test_a_name_that_is_looked_up_for_ever(tmp_path, monkeypatch):
    move_sources(monkeypatch, CLOSED)
    end = threading.Event()

    def look_up(*_: object) -> None:
        end.wait(60)
        raise OSError("too late")

    monkeypatch.setattr(socket, "create_connection", look_up)
    start = time.monotonic()
    said = refusal("celeba", {"dir": str(tmp_path / "sets"), "download": True})
    end.set()
    assert time.monotonic() - start < 5
    assert "no connection within 2 s" in said and "img_align_celeba.zip" in said


def test_a_server_that_says_nothing(tmp_path, monkeypatch):
    """It is connected, so that it is given longer, but not for ever."""
    monkeypatch.setattr(transfer, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        move_sources(monkeypatch, f"http://127.0.0.1:{server.getsockname()[1]}")
        start = time.monotonic()
        said = refusal("mnist_labels", {**LABELS, "dir": str(tmp_path / "sets")})
        assert time.monotonic() - start < 5
    assert "127.0.0.1" in said and "does not answer" in said and MNIST[0] in said
    assert not (tmp_path / "sets").exists()


def test_a_proxy_is_asked_in_place_of_the_server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert transfer._door("https://example.org/a") == ("example.org", 443)
    assert transfer._door("http://example.org:81/a") == ("example.org", 81)
    monkeypatch.setenv("https_proxy", "proxy.example.org:3128")
    assert transfer._door("https://example.org/a") == ("proxy.example.org", 3128)
    assert transfer._door("http://example.org/a") == ("example.org", 80)
    monkeypatch.setenv("no_proxy", "example.org")
    assert transfer._door("https://example.org/a") == ("example.org", 443)


def test_no_folder_to_write_into(tmp_path, site):
    (tmp_path / "file").write_text("mine")
    said = refusal("mnist_labels", {**LABELS, "dir": str(tmp_path / "file" / "mnist")})
    assert f"{tmp_path}/file/mnist: Not a directory" in said
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_leaves_nothing(tmp_path, site, monkeypatch):
    fetch, full = transfer._fetch, OSError(errno.ENOSPC, "No space left on device")

    def fill(manager, url: str, name: str) -> Path:
        if name == MNIST[1]:
            raise full
        return fetch(manager, url, name)

    monkeypatch.setattr(transfer, "_fetch", fill)
    said = refusal("mnist_labels", {**LABELS, "dir": str(tmp_path / "sets")})
    assert "No space left on device" in said and not (tmp_path / "sets").exists()


def test_no_folder_is_known(site, monkeypatch):
    for name in ("MMVAE_DATA_DIR", "XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(folders.os.path, "expanduser", lambda path: path)  # nobody's account
    assert "needs data.dir" in refusal("mnist_labels", LABELS) and not site.asked


def test_large_files_of_google_need_a_reader_of_forms(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(transfer.TransferError, match="pip install beautifulsoup4"):
        transfer.download("celeb_a", ["https://drive.google.com/uc?id=a"], tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_an_archive_with_a_path_that_leaves_its_folder(tmp_path, site, monkeypatch):
    """The user's line, and nothing of the download stays."""
    path = "/celeb_a/img_align_celeba.zip"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../../../outside.txt", b"text")
    site.files[path] = (tmp_path / "a.zip").read_bytes()
    known = {f"{site.url}{name}": info(name, content) for name, content in site.files.items()}
    monkeypatch.setattr(transfer, "registered", lambda name: known)
    said = refusal("celeba", {"dir": str(tmp_path / "sets"), "download": True})
    left = "img_align_celeba.zip cannot be unpacked ('../../../outside.txt' would leave the folder"
    assert left in said
    assert not list(tmp_path.rglob("outside.txt")) and not (tmp_path / "sets").exists()
