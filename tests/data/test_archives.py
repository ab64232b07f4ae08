"""Archives that are good, damaged or hostile."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from mmvae_jax.data import archives

KINDS = ("a.zip", "a.tgz")
FILES = {"in/one.txt": b"one", "in/two/..three.txt": b"three", "four.txt": b"4"}
HOSTILE = (
    "../outside.txt",
    "in/../../outside.txt",
    "in/..",
    "..\\outside.txt",
    "C:\\outside.txt",
    "C:outside.txt",
)


def pack(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            part = tarfile.TarInfo(name)
            part.size = len(content)
            archive.addfile(part, io.BytesIO(content))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(archives.ArchiveError) as caught:
        archives.unpack(path, path.name, path.parent / "in" / "side")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(params=[True, False], ids=["filter", "no filter"])
def python(request, monkeypatch):
    """The first Pythons 3.11 have no filter for tar files."""
    if not request.param:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_packed_is_unpacked(tmp_path, kind):
    archives.unpack(pack(tmp_path / kind, FILES), kind, tmp_path / "out")
    found = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {str(p.relative_to(tmp_path / "out")): p.read_bytes() for p in found} == FILES


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", KINDS)
def test_names_that_leave_the_folder_are_refused(tmp_path, kind, name):
    path = pack(tmp_path / kind, {"good.txt": b"good", name: b"bad"})
    assert refusal(path) == f"{name!r} would leave the folder: refused"
    assert {p.name for p in tmp_path.rglob("*") if p.is_file()} <= {kind, "good.txt"}


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize("kind", KINDS)
def test_absolute_names_are_refused(tmp_path, kind):
    outside = tmp_path / "outside.txt"
    path = pack(tmp_path / kind, {str(outside): b"bad"})
    assert refusal(path) == f"{str(outside)!r} would leave the folder: refused"
    assert not outside.exists()


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    """A link to a folder outside, and a file in it, have names that look well."""
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        link = tarfile.TarInfo("door")
        link.type, link.linkname = kind, "../.."
        archive.addfile(link)
        part = tarfile.TarInfo("door/outside.txt")
        part.size = 3
        archive.addfile(part, io.BytesIO(b"bad"))
    assert refusal(tmp_path / "a.tgz") == "'door' is neither a file nor a folder: refused"
    assert not list(tmp_path.rglob("outside.txt"))


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_archives_are_refused(tmp_path, kind):
    path = pack(tmp_path / kind, {"a.txt": bytes(range(256)) * 40})
    whole = path.read_bytes()
    for content in (b"", b"no archive", whole[: len(whole) // 2]):
        path.write_bytes(content)
        assert refusal(path)
