from __future__ import annotations

import json
import logging
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvae_jax.training import checkpoints, restore_variables, sharding
from mmvae_jax.training.state import TrainState
from mmvae_jax.types import UserError


def _state(step):
    mesh = sharding.data_mesh()
    variables = {"params": {"w": jnp.full((3, 4), 0.5 * step), "b": jnp.arange(4.0)}}
    moments = jax.tree.map(jnp.ones_like, variables["params"])
    state = TrainState(jnp.int32(step), variables, (moments, jnp.int32(step)))
    return jax.device_put(state, sharding.replicated(mesh))


def _abstract(state):
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A workdir with the steps 1 (the best), 2 and 3."""
    workdir = tmp_path_factory.mktemp("saved")
    with checkpoints.Checkpoints(workdir, {"seed": 1}) as manager:
        for step, bound in ((1, 9.0), (2, 1.0), (3, 2.0)):
            manager.save(_state(step), metrics={"bound/validation": bound}, seconds=step * 10.0)
    return workdir


@pytest.fixture
def workdir(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "run")
    return tmp_path / "run"


def _largest_file(step_folder, item="variables"):
    return max((step_folder / item).rglob("*"), key=lambda f: f.stat().st_size * f.is_file())


def _empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def _half_deleted(folder):
    shutil.rmtree(folder / "variables")


def _truncated(folder):
    file = _largest_file(folder)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _no_meta(folder):
    shutil.rmtree(folder / "meta")


def _metrics_cut_short(folder):
    for file in (folder / "metrics").rglob("metrics"):
        file.write_text('{"sco')
    _half_deleted(folder)


def _other_values(folder):
    # What a flipped byte can do: whole files with other values in them.
    meta = folder / "meta" / "metadata"
    values = json.loads(meta.read_text())
    values["checksum"]["variables"] = "0" * 64
    meta.write_text(json.dumps(values))


DAMAGES = [_empty, _half_deleted, _truncated, _no_meta, _metrics_cut_short, _other_values]


def test_restore_gives_back_the_newest_state(workdir):
    with checkpoints.Checkpoints(workdir) as manager:
        state, meta = manager.restore(_abstract(_state(0)))
    jax.tree.map(np.testing.assert_array_equal, state, _state(3))
    assert jax.tree.structure(state) == jax.tree.structure(_state(3))
    assert (meta["step"], meta["seconds"], meta["config"]) == (3, 30.0, {"seed": 1})
    assert meta["metrics"] == {"bound/validation": 2.0}


def test_the_best_and_the_two_latest_are_kept(workdir):
    with checkpoints.Checkpoints(workdir) as manager:
        manager.save(_state(4), metrics={"bound/validation": 3.0})
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["1", "3", "4"]


def test_without_checkpoints_there_is_nothing_to_restore(tmp_path):
    with checkpoints.Checkpoints(tmp_path) as manager:
        assert manager.restore(_abstract(_state(0))) is None


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoints_are_skipped_and_set_aside(workdir, damage, caplog):
    damage(workdir / "checkpoints" / "3")
    target = _abstract(_state(0))
    with caplog.at_level(logging.WARNING):
        variables, step = restore_variables(workdir, target.variables)
    assert step == 2
    np.testing.assert_array_equal(variables["params"]["w"], np.full((3, 4), 1.0))
    assert "checkpoints/3 is damaged and skipped" in caplog.text
    assert (workdir / "checkpoints" / "3").exists()  # Reading changes nothing.
    with checkpoints.Checkpoints(workdir) as manager:
        state, _ = manager.restore(target)
        assert int(state.step) == 2
        manager.save(_state(3), metrics={})
    assert len(list((workdir / "checkpoints_damaged").glob("3-*"))) == 1
    assert restore_variables(workdir, target.variables)[1] == 3


def test_one_flipped_byte_of_the_values_is_noticed(workdir):
    file = _largest_file(workdir / "checkpoints" / "3")
    content = file.read_bytes()
    found = set()
    for place in range(0, len(content), max(1, len(content) // 12)):
        changed = bytearray(content)
        changed[place] ^= 0x10
        file.write_bytes(changed)
        variables, step = restore_variables(workdir, _abstract(_state(0)).variables)
        np.testing.assert_array_equal(variables["params"]["w"], np.full((3, 4), 0.5 * step))
        np.testing.assert_array_equal(variables["params"]["b"], np.arange(4.0))
        found.add(step)
    assert 2 in found


def test_all_damaged_is_one_line(workdir):
    for step in "123":
        _truncated(workdir / "checkpoints" / step)
    target = _abstract(_state(0))
    with pytest.raises(UserError, match=r"every checkpoint in .* is damaged") as error:
        restore_variables(workdir, target.variables)
    assert "\n" not in str(error.value)
    with (
        checkpoints.Checkpoints(workdir) as manager,
        pytest.raises(UserError, match=r"every checkpoint in .* is damaged"),
    ):
        manager.restore(target)
    assert not (workdir / "checkpoints_damaged").exists()


def test_a_step_may_be_asked_for(workdir):
    target = _abstract(_state(0)).variables
    assert restore_variables(workdir, target, step=2)[1] == 2
    assert restore_variables(workdir, target, step="best")[1] == 1
    with pytest.raises(UserError, match="no checkpoint of step 7: it has 1, 2, 3"):
        restore_variables(workdir, target, step=7)
    _truncated(workdir / "checkpoints" / "2")
    with pytest.raises(UserError, match="checkpoints/2 is damaged"):
        restore_variables(workdir, target, step=2)


def test_targets_without_a_sharding_go_to_the_first_device(workdir):
    target = jax.eval_shape(lambda: _state(0).variables)
    variables, _ = restore_variables(workdir, target)
    assert variables["params"]["w"].devices() == {jax.local_devices()[0]}


def test_missing_checkpoints_are_one_line(tmp_path):
    with pytest.raises(UserError, match="holds no checkpoints: train there first"):
        restore_variables(tmp_path, {})
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match="holds no checkpoint yet"):
        restore_variables(tmp_path, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"w": jnp.zeros((3, 5))}, r"params/w is float32\[3, 4\] there and float32\[3, 5\] here"),
        ({"w": jnp.zeros((3, 4), jnp.int32)}, r"params/w is float32\[3, 4\] there and int32"),
        ({"c": jnp.zeros(2)}, r"params/c is absent there and float32\[2\] here"),
    ],
)
def test_another_models_checkpoint_is_refused(workdir, change, message):
    params = {**_state(0).variables["params"], **change}
    with pytest.raises(UserError, match=message):
        restore_variables(workdir, {"params": params})


def test_checksum_sees_values_names_shapes_and_dtypes():
    def of(**leaves):
        return checkpoints.checksum(leaves)

    base = of(a=np.zeros((2, 3), np.float32))
    assert base == of(a=jnp.zeros((2, 3)))
    others = [
        of(a=np.full((2, 3), 1e-45, np.float32)),
        of(b=np.zeros((2, 3), np.float32)),
        of(a=np.zeros((3, 2), np.float32)),
        of(a=np.zeros((2, 3), np.int32)),
    ]
    assert base not in others
    assert checkpoints.checksum({"a": jnp.zeros(3, jnp.bfloat16), "b": jnp.int32(1)})
