"""Files of arrays: the good ones, and every way in which they can be bad or hostile."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmvae_jax import data
from mmvae_jax.data import array_files
from mmvae_jax.types import ModalitySpec, UserError

GOOD = {
    "a": np.arange(60, dtype=np.float64).reshape(20, 3),
    "b": np.arange(20) % 4,
    "b__present": np.arange(20) < 12,
}


def refusal(path) -> str:
    with pytest.raises(UserError) as caught:
        array_files.read(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


def npy(array, **options) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **options)
    return file.getvalue()


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_archive_gives_its_arrays(tmp_path, save):
    save(tmp_path / "x.npz", fortran=np.asfortranarray(GOOD["a"]), **GOOD)
    found = array_files.read(str(tmp_path / "x.npz"))
    assert set(found) == {*GOOD, "fortran"}
    np.testing.assert_array_equal(found["a"], GOOD["a"])
    np.testing.assert_array_equal(found["fortran"], GOOD["a"])


def test_a_folder_is_mapped_and_not_loaded(tmp_path):
    for name, array in GOOD.items():
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "readme.txt").write_text("ignored")
    found = array_files.read(tmp_path)
    assert set(found) == set(GOOD)
    assert all(isinstance(array, np.memmap) for array in found.values())
    np.testing.assert_array_equal(found["a"], GOOD["a"])


def test_there_is_nothing(tmp_path):
    assert "there is no such file" in refusal(tmp_path / "none.npz")
    assert "holds no .npy files" in refusal(tmp_path)
    assert "holds no arrays" in refusal(archive(tmp_path / "empty.npz", {}))


class Marks:
    """Leaves a file behind if it is ever unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def test_pickled_content_is_refused_and_never_run(tmp_path):
    trap = np.array([Marks(tmp_path / "ran")], object)
    np.savez(tmp_path / "objects.npz", a=trap)
    assert "'a.npy' (at byte 0) holds Python objects" in refusal(tmp_path / "objects.npz")
    folder = tmp_path / "folder"
    folder.mkdir()
    np.save(folder / "a.npy", trap)
    with pytest.raises(UserError, match="holds Python objects"):
        array_files.read(folder)
    content = pickle.dumps(Marks(tmp_path / "ran"))
    assert "cannot be read as an array" in refusal(archive(tmp_path / "p.npz", {"a.npy": content}))
    (tmp_path / "bare.npz").write_bytes(content)
    assert "cannot be read as an .npz of plain arrays" in refusal(tmp_path / "bare.npz")
    (folder / "a.npy").write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as an array"):
        array_files.read(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["../a.npy", "/tmp/a.npy", "folder/a.npy", "..\\a.npy", ".hidden.npy", "C:\\a.npy"]
)
def test_paths_in_an_archive_are_refused(tmp_path, name):
    path = archive(tmp_path / "x.npz", {name: npy(GOOD["a"])})
    assert "is a path, not the name of an array: refused" in refusal(path)
    assert sorted(tmp_path.iterdir()) == [path]


def test_names_that_are_none(tmp_path):
    for name in ("a b.npy", "-a.npy", "_a.npy", f"{'a' * 65}.npy", "a,b.npy", ".npy"):
        refusal(archive(tmp_path / "x.npz", {name: npy(GOOD["a"])}))
    assert "is not an array (.npy)" in refusal(archive(tmp_path / "x.npz", {"notes.txt": b"hi"}))
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zipfile.ZipFile(tmp_path / "x.npz", "w") as file,
    ):
        for _ in range(2):
            file.writestr("a.npy", npy(GOOD["a"]))
    assert "holds 'a.npy' twice" in refusal(tmp_path / "x.npz")


def test_truncated_and_changed_files_say_where(tmp_path):
    np.savez(tmp_path / "good.npz", **GOOD)
    whole = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    message = refusal(tmp_path / "cut.npz")
    assert "lacks its directory" in message and f"{len(whole) // 2} bytes" in message
    place = whole.index(GOOD["a"].tobytes()[80:160])
    (tmp_path / "changed.npz").write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
    assert "'a.npy' (at byte 0) cannot be read as an array: Bad CRC-32" in refusal(
        tmp_path / "changed.npz"
    )
    short = archive(tmp_path / "short.npz", {"a.npy": npy(GOOD["a"])[:-8]})
    assert "float64[20, 3] takes 480 bytes from byte 128 on, there are 472" in refusal(short)
    (tmp_path / "a.npy").write_bytes(npy(GOOD["a"])[:-8])
    with pytest.raises(UserError, match="takes 480 bytes from byte 128 on, there are 472"):
        array_files.read(tmp_path)


def test_a_header_that_promises_too_much_costs_nothing(tmp_path):
    """An archive of 200 bytes must not make anyone allocate a petabyte."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 100000000), }"
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    assert "takes 800,000,000,000,000 bytes" in refusal(
        archive(tmp_path / "x.npz", {"a.npy": content})
    )


def test_other_versions_of_the_format(tmp_path):
    array_files.read(archive(tmp_path / "2.npz", {"a.npy": npy(GOOD["a"], version=(2, 0))}))
    content = npy(GOOD["a"], version=(3, 0))
    assert "version (3, 0)" in refusal(archive(tmp_path / "3.npz", {"a.npy": content}))


# --- anything at all ---------------------------------------------------------------------------

_dtypes = st.sampled_from(["u1", "i2", "<i8", "f2", ">f4", "f8", "?", "c8", "S3", "U2", "M8[s]"])
_shapes = st.lists(st.integers(0, 12), max_size=4).map(tuple)


@st.composite
def _arrays(draw):
    dtype, shape = np.dtype(draw(_dtypes)), draw(_shapes)
    content = draw(st.binary(min_size=1, max_size=64))
    size = int(np.prod(shape)) * dtype.itemsize
    return np.frombuffer((content * (size // len(content) + 1))[:size], dtype).reshape(shape)


_names = st.sampled_from(
    ["a", "b", "a__present", "label", "train", "test", "../a", "text", "a__x", "é", ".."]
)


@st.composite
def _files(draw):
    """An archive of odd arrays under odd names, or one damaged in a few places, or just bytes."""
    if draw(st.booleans()):
        chosen = draw(st.dictionaries(_names, _arrays(), max_size=4))
        members = {f"{name}.npy": npy(array) for name, array in chosen.items()}
    else:
        members = {f"{name}.npy": npy(array) for name, array in GOOD.items()}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name, content in members.items():
            made.writestr(name, content)
    content = bytearray(file.getvalue())
    for place, byte in draw(
        st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4)
    ):
        content[place % len(content)] = byte
    return bytes(content[: draw(st.sampled_from([len(content), len(content) // 2, 10]))])


# What a model trained on `GOOD` knows of its modalities; 20 rows of them are whole and fit.
SPECS = (
    ModalitySpec(name="a", shape=(3,), dtype="float32", likelihood="normal"),
    ModalitySpec(name="b", shape=(), dtype="int32", likelihood="categorical", num_classes=4),
)
TRAINED_ON_ARRAYS = {"name": "arrays", "label": "label", "kinds": "text:skip", "nan": "absent"}


def train_or_refuse(path: Path) -> None:
    try:
        assert len(data.load("arrays", {"path": str(path)}).splits["train"])
    except UserError as error:
        assert "\n" not in str(error) and str(path) in str(error)


def impute_or_refuse(path: Path) -> None:
    """What --mode=impute reads, of a model trained on arrays or on something else."""
    for options in (None, TRAINED_ON_ARRAYS):
        try:
            read = data.read_items(path, SPECS, options)
        except UserError as error:
            assert "\n" not in str(error) and str(path) in str(error)
            continue
        for spec in SPECS:
            values, present = read.batch["x"][spec.name], read.present[spec.name]
            assert values.shape == (len(present), *spec.shape) and values.dtype == spec.dtype
            assert np.isfinite(values).all() and not values[~present].any()


def test_a_good_file_is_read_to_impute(tmp_path):
    np.savez(tmp_path / "x.npz", **GOOD)
    impute_or_refuse(tmp_path / "x.npz")
    read = data.read_items(tmp_path / "x.npz", SPECS, TRAINED_ON_ARRAYS)
    assert read.present["b"].sum() == 12


@settings(
    max_examples=150,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(content=_files())
def test_any_file_is_read_or_refused_in_one_line(tmp_path, content):
    folder = tmp_path / "inner"
    folder.mkdir(exist_ok=True)
    path = folder / "x.npz"
    path.write_bytes(content)
    train_or_refuse(path)
    impute_or_refuse(path)
    assert list(tmp_path.iterdir()) == [folder] and list(folder.iterdir()) == [path]
    assert path.read_bytes() == content


@st.composite
def _folders(draw):
    """Good .npy files, and one that is odd, damaged in a few places, cut short or too long."""
    found = {name: npy(array) for name, array in GOOD.items()}
    name = draw(st.sampled_from([*GOOD, "c", "text", "a__x", "..", "é"]))
    array = draw(_arrays()) if draw(st.booleans()) else GOOD["a"]
    content = bytearray(npy(array, version=draw(st.sampled_from([(1, 0), (2, 0), (3, 0)]))))
    for place, byte in draw(
        st.lists(st.tuples(st.integers(0, 130), st.integers(0, 255)), max_size=3)
    ):
        content[place % len(content)] = byte
    end = draw(st.sampled_from([len(content), len(content) - 1, 128, 40, 8, 0]))
    return {**found, name: bytes(content[:end]) + draw(st.sampled_from([b"", b"", b"\0"]))}


@settings(
    max_examples=120,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(files=_folders())
def test_any_folder_is_read_or_refused_in_one_line(tmp_path, files):
    folder = tmp_path / "inner"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, content in files.items():
        (folder / f"{name}.npy").write_bytes(content)
    train_or_refuse(folder)
    impute_or_refuse(folder)
    assert list(tmp_path.iterdir()) == [folder]
    assert {path.stem: path.read_bytes() for path in folder.iterdir()} == files


def _header(text: bytes) -> bytes:
    text += b" " * (63 - (10 + len(text)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read as an array"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "cannot be read as an array"),
        (_header(b"{'descr': '<f8', 'shape': (2,)}"), "cannot be read as an array"),
        (_header(b"{'descr': '<f8', 'fortran_order': False, 'shape': (-2, -1)}"), "truncated or"),
        (_header(b"{'descr': '<f8', 'fortran_order': 3, 'shape': (0,)}"), "cannot be read as an"),
        (_header(b"{'descr': '|O', 'fortran_order': False, 'shape': (0,)}"), "Python objects"),
        (npy(GOOD["a"])[:-1], "takes 480 bytes from byte 128 on, there are 479"),
        (npy(GOOD["a"]) + b"\0", "takes 480 bytes from byte 128 on, there are 481"),
    ],
)
def test_a_damaged_file_of_a_folder_is_named(tmp_path, content, said):
    np.save(tmp_path / "b.npy", GOOD["b"])
    (tmp_path / "a.npy").write_bytes(content)
    message = refusal(tmp_path)
    assert said in message and "a.npy" in message


def test_a_folder_called_like_an_array_is_named(tmp_path):
    (tmp_path / "a.npy").mkdir()
    assert "a.npy cannot be read as an array" in refusal(tmp_path)
