"""Attention: SAGAN's and the others against numpy, the identity at the start, and the error at a 1x1 map."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.attention import KINDS, attention_maps, make_attention
from medjax.models.unet import UNet
from medjax.types import ConfigError

pytestmark = pytest.mark.usefixtures("quick_compile")


def image(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def randomised(params, seed=1):
    """Parameters without zeros among them, so that every branch counts."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda p: jnp.asarray(0.3 * rng.normal(size=p.shape), jnp.float32), params)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def started(kind, x):
    module = make_attention(kind)
    return module, jax.jit(module.init)(jax.random.key(0), x)["params"]


def applied(module, params, x):
    return np.asarray(jax.jit(module.apply)({"params": params}, x))


def dense(p, x):
    """A 1x1 convolution or dense layer in numpy."""
    return x @ np.asarray(p["kernel"]).reshape(-1, p["kernel"].shape[-1]) + np.asarray(p["bias"])


def test_self_attention_equals_sagan_in_numpy():
    """Zhang et al. 2019, eq. 1-3, written out; Q and K have an eighth of the channels."""
    x = image(2, 3, 4, 16)
    module, params = started("self", x)
    assert params["query"]["kernel"].shape == (1, 1, 16, 2) and params["value"]["kernel"].shape == (1, 1, 16, 16)
    params = randomised(params)
    tokens = x.reshape(2, 12, 16)
    q, k, v = (dense(params[n], tokens) for n in ("query", "key", "value"))
    logits = q @ k.transpose(0, 2, 1)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    expected = x + np.asarray(params["gamma"]) * (weights @ v).reshape(x.shape)
    np.testing.assert_allclose(applied(module, params, x), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["self", "transformer"])
def test_starts_as_the_identity_and_can_leave_it(kind):
    x = image(1, 4, 4, 8)
    module, params = started(kind, x)
    np.testing.assert_array_equal(applied(module, params, x), x)
    grads = jax.jit(jax.grad(lambda p: (module.apply({"params": p}, x) * image(1, 4, 4, 8, seed=3)).sum()))(params)
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(grads)) > 1e-3


@pytest.mark.parametrize("kind", ["self", "spatial", "transformer"])
def test_a_1x1_map_is_an_error_that_says_why(kind):
    with pytest.raises(ConfigError, match="1x1 map attends to nothing.*zero gradient.*encoder:32"):
        started(kind, image(1, 1, 1, 8))


def test_unknown_kind_names_the_known_ones():
    with pytest.raises(ConfigError, match="'cross'.*self, channel, spatial, transformer"):
        make_attention("cross")


def test_channel_attention_equals_squeeze_and_excite_in_numpy():
    x = image(2, 3, 5, 32)
    module, params = started("channel", x)
    params = randomised(params)
    hidden = np.maximum(dense(params["squeeze"], x.mean((1, 2))), 0)
    assert hidden.shape == (2, 2)  # 32 channels over a reduction of 16
    expected = x * sigmoid(dense(params["excite"], hidden))[:, None, None]
    np.testing.assert_allclose(applied(module, params, x), expected, atol=1e-5)


def test_spatial_attention_equals_cbam_in_numpy():
    x = image(1, 5, 6, 4)
    module, params = started("spatial", x)
    params = randomised(params)
    pooled = np.pad(np.stack([x.mean(-1), x.max(-1)], -1), ((0, 0), (3, 3), (3, 3), (0, 0)))
    kernel, bias = np.asarray(params["conv"]["kernel"])[..., 0], float(params["conv"]["bias"][0])
    logits = [[(pooled[0, i : i + 7, j : j + 7] * kernel).sum() + bias for j in range(6)] for i in range(5)]
    np.testing.assert_allclose(applied(module, params, x), x * sigmoid(np.array(logits))[None, ..., None], atol=1e-5)


@pytest.mark.parametrize("kind", ["self", "transformer"])
def test_positions_are_a_set(kind):
    """Without positional codes, moving the pixels about moves the result about in the same way."""
    x = image(1, 2, 4, 8)
    module, params = started(kind, x)
    params, order = randomised(params), np.random.default_rng(5).permutation(8)
    shuffled = x.reshape(1, 8, 8)[:, order].reshape(x.shape)
    y, moved = (applied(module, params, a).reshape(1, 8, 8) for a in (x, shuffled))
    np.testing.assert_allclose(moved, y[:, order], atol=1e-5)
    assert np.abs(y - x.reshape(1, 8, 8)).max() > 0.01


def test_maps_of_a_unet_are_distributions_over_positions():
    module = UNet(features=4, image_size=16, levels=3, attention_at=("encoder:8", "decoder:4"))
    x = image(2, 16, 16, 1)
    variables = jax.jit(module.init)(jax.random.key(0), x)
    maps = jax.jit(lambda v: attention_maps(module, v, x))(variables)
    assert {name: m.shape for name, m in maps.items()} == {
        "attention_encoder_8": (2, 64, 64),
        "attention_decoder_4": (2, 16, 16),
    }
    for found in maps.values():
        assert float(found.min()) >= 0
        np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_keeps_float32_parameters_and_the_maps_type(kind):
    x = image(2, 4, 4, 16)
    module, params = started(kind, x)
    params = randomised(params)
    full = applied(module, params, x)
    low = jax.jit(make_attention(kind, dtype=jnp.bfloat16).apply)({"params": params}, x.astype(jnp.bfloat16))
    assert low.dtype == jnp.bfloat16
    np.testing.assert_allclose(low.astype(jnp.float32), full, atol=0.15, rtol=0.05)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_serves_a_unet(kind):
    module = UNet(features=4, image_size=8, attention_at=("encoder:4", "decoder:2"), attention_kind=kind, dtype=jnp.bfloat16)
    y, variables = jax.eval_shape(module.init_with_output, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    assert {"attention_encoder_4", "attention_decoder_2"} <= set(variables["params"]) and y.dtype == jnp.float32
    assert {p.dtype for p in jax.tree.leaves(variables["params"])} == {jnp.dtype("float32")}


@pytest.mark.parametrize("place", ["bottleneck", "encoder:1", "decoder:1"])
def test_attention_at_the_bottleneck_is_refused_with_the_reason(place):
    module = UNet(features=4, image_size=16, attention_at=(place,))
    with pytest.raises(ConfigError, match="1x1 map.*attends to nothing"):
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 16, 16, 1)))


@pytest.mark.parametrize("place", ["encoder:16", "decoder:3", "middle:4"])
def test_a_place_that_does_not_exist_lists_those_that_do(place):
    module = UNet(features=4, image_size=16, attention_at=(place,))
    with pytest.raises(ConfigError, match=f"no place '{place}'.*known: encoder:8"):
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 16, 16, 1)))
