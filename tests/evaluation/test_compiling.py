from __future__ import annotations

import jax
import jax.numpy as jnp

from mmvae_jax.evaluation import compiling


def test_compiled_once_for_equal_shapes_and_asked_for_no_backend_before(monkeypatch):
    traced, asked = [], []
    monkeypatch.setattr(jax, "default_backend", lambda: asked.append(1) or "cpu")

    @compiling.jit(static_argnums=0)
    def power(exponent, x):
        """Of x."""
        traced.append(exponent)
        return x**exponent

    assert not asked and power.__doc__ == "Of x."
    for x in (2.0, 3.0):
        assert power(2, jnp.float32(x)) == x**2
    assert power(3, jnp.float32(2.0)) == 8
    assert traced == [2, 3] and len(asked) == 1


def test_the_quick_way_is_for_a_processor_that_is_to_optimise(monkeypatch):
    given = {}

    def build(function, *, static_argnums, compiler_options):
        given[backend, nothing] = compiler_options
        return function

    monkeypatch.setattr(jax, "jit", build)
    for backend, nothing in (("cpu", False), ("cpu", True), ("gpu", False), ("tpu", False)):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        monkeypatch.setattr(jax.config, "read", lambda name, nothing=nothing: nothing)
        compiling.jit()(lambda: None)()
    quick = {"xla_backend_optimization_level": 1}
    assert given == {
        ("cpu", False): quick,
        ("cpu", True): None,
        ("gpu", False): None,
        ("tpu", False): None,
    }
