"""The U-Net denoiser: what it starts as, what it reads, and which sizes it takes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.denoiser import Denoiser, time_embedding
from medjax.types import ConfigError

pytestmark = pytest.mark.usefixtures("quick_compile")

KEY = jax.random.key(0)
SMALL = dict(features=8, multipliers=(1, 2), blocks=1)
RNG = np.random.default_rng(2)
X, CONDITION = jnp.asarray(RNG.normal(size=(2, 3, 8, 12, 1)), jnp.float32)
T = jnp.array([0, 40, 999])


@pytest.fixture(scope="module")
def moved():
    """A denoiser with attention on its coarse level, its parameters as they begin and all of them drawn."""
    module = Denoiser(**SMALL, attention_levels=(1,), unshuffle=2)
    shapes = jax.eval_shape(module.init, KEY, X, T, CONDITION)["params"]
    drawn = jax.tree.map(lambda p: jnp.asarray(0.2 * RNG.normal(size=p.shape), jnp.float32), shapes)
    apply = jax.jit(lambda p, x, t, c: module.apply({"params": p}, x, t, c))
    return apply, drawn


def test_with_its_last_convolution_at_0_it_predicts_nothing(moved):
    apply, drawn = moved
    out = apply(drawn, X, T, CONDITION)
    assert out.shape == X.shape and out.dtype == jnp.float32 and float(jnp.abs(out).max()) > 0.01
    held = {**drawn, "last": jax.tree.map(jnp.zeros_like, drawn["last"])}
    assert float(jnp.abs(apply(held, X, T, CONDITION)).max()) == 0


def test_image_time_and_condition_all_count_and_neighbours_do_not(moved):
    apply, drawn = moved
    out = apply(drawn, X, T, CONDITION)
    for other in ((X + 0.1, T, CONDITION), (X, T + 1, CONDITION), (X, T, CONDITION + 0.1)):
        assert (jnp.abs(out - apply(drawn, *other)).max((1, 2, 3)) > 1e-4).all()
    turned = apply(drawn, X[::-1], T[::-1], CONDITION[::-1])
    np.testing.assert_allclose(turned[::-1], out, atol=1e-5)


def test_gradients_are_finite_when_blocks_are_computed_again():
    """Of every parameter; the tree is that of the network that keeps its blocks."""
    module = Denoiser(features=4, multipliers=(1,), blocks=1, remat=True)
    x, c = X[:, :4, :4], CONDITION[:, :4, :4]
    shapes, plain = (jax.eval_shape(m.init, KEY, x, T, c)["params"] for m in (module, module.clone(remat=False)))
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, plain)
    drawn = jax.tree.map(lambda p: jnp.asarray(0.3 * RNG.normal(size=p.shape), jnp.float32), shapes)
    slope = jax.jit(jax.grad(lambda p: jnp.square(module.apply({"params": p}, x, T, c) - x).mean()))(drawn)
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in jax.tree.leaves(slope))


def test_time_embedding_is_vaswanis():
    t = np.array([0, 3, 500])
    found, half = time_embedding(jnp.asarray(t), 6), 3
    for i in range(half):
        angle = t / 10_000 ** (i / half)
        np.testing.assert_allclose(found[:, i], np.cos(angle), atol=1e-4)
        np.testing.assert_allclose(found[:, half + i], np.sin(angle), atol=1e-4)


def test_sizes_and_levels_it_cannot_take_are_told():
    init = lambda x, condition=None, **options: jax.eval_shape(Denoiser(**{**SMALL, **options}).init, KEY, x, T, condition)
    with pytest.raises(ConfigError, match="of 2 levels takes sizes that are multiples of 4, not 8x6"):
        init(X[:, :, :6], unshuffle=2)
    with pytest.raises(ConfigError, match="as large as its image, 8x12, not"):
        init(X, CONDITION[:, :4])
    with pytest.raises(ConfigError, match="no level 2 for attention in a denoiser of levels 0 to 1"):
        init(X, attention_levels=(2,))
    with pytest.raises(ConfigError, match="unknown attention kind 'cross'"):
        init(X, attention_levels=(1,), attention_kind="cross")
    assert init(X[:, :6, :10])  # any multiple of 2, without a condition
