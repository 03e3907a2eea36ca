"""The convolutions: every form against the plain one in float64, the plain ones against numpy's own arithmetic."""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models import conv as c

pytestmark = pytest.mark.usefixtures("quick_compile")

CONVS = [  # height, width, kernel, stride, padding: those in use, and odd ones
    (8, 8, 4, 2, 1),
    (9, 7, 4, 2, 1),
    (6, 5, 4, 1, 1),
    (7, 6, 3, 1, 1),
    (5, 8, 1, 1, 0),
    (9, 9, 7, 1, 3),
    (8, 7, 3, 2, 0),
    (2, 2, 4, 2, 1),
]
TRANSPOSED = [
    (1, 1, 4, 2, 1),
    (3, 5, 4, 2, 1),
    (4, 4, 4, 2, 1),
    (3, 4, 3, 2, 1),
    (5, 2, 3, 1, 1),
    (3, 3, 4, 2, 0),
    (2, 3, 5, 3, 2),
]


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def arrays(*shapes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape) for shape in shapes]


def numpy_conv(x, kernel, stride, padding):
    """Cross-correlation by its definition."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    k = kernel.shape[0]
    height, width = (x.shape[1] - k) // stride + 1, (x.shape[2] - k) // stride + 1
    y = np.zeros((x.shape[0], height, width, kernel.shape[3]))
    for i in range(height):
        for j in range(width):
            window = x[:, i * stride : i * stride + k, j * stride : j * stride + k]
            y[:, i, j] = np.tensordot(window, kernel, 3)
    return y


def numpy_transpose(x, kernel, stride, padding):
    """`torch.nn.ConvTranspose2d` by its definition: each input pixel stamps the kernel [k, k, out, in] on the output."""
    batch, height, width, _ = x.shape
    k, out = kernel.shape[0], kernel.shape[2]
    y = np.zeros((batch, (height - 1) * stride + k, (width - 1) * stride + k, out))
    for i in range(height):
        for j in range(width):
            y[:, i * stride : i * stride + k, j * stride : j * stride + k] += np.einsum("bi,kloi->bklo", x[:, i, j], kernel)
    return y[:, padding : y.shape[1] - padding, padding : y.shape[2] - padding]


def value_and_gradients(fn, x, kernel):
    """The output, and the gradients of a random projection of it."""

    @jax.jit
    def both(x, kernel, g):
        out, pull = jax.vjp(fn, x, kernel)
        return out, *pull(g)

    shape = jax.eval_shape(fn, x, kernel).shape
    return both(x, kernel, np.random.default_rng(1).normal(size=shape))


@pytest.mark.parametrize("height, width, k, stride, padding", CONVS)
def test_forms_of_convolution_agree(float64, height, width, k, stride, padding):
    x, kernel = arrays((2, height, width, 3), (k, k, 3, 4))
    options = {"strides": (stride, stride), "padding": ((padding, padding),) * 2}
    plain = value_and_gradients(partial(c.conv_plain, **options), x, kernel)
    np.testing.assert_allclose(plain[0], numpy_conv(x, kernel, stride, padding), atol=1e-12)
    for fn in (c.conv_patches, c.conv):
        found = value_and_gradients(partial(fn, **options), x, kernel)
        for ours, theirs in zip(found, plain, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("height, width, k, stride, padding", TRANSPOSED)
def test_forms_of_transposed_convolution_agree(float64, height, width, k, stride, padding):
    x, kernel = arrays((2, height, width, 3), (k, k, 4, 3))
    options = {"strides": (stride, stride), "padding": padding}
    plain = value_and_gradients(partial(c.conv_transpose_plain, **options), x, kernel)
    np.testing.assert_allclose(plain[0], numpy_transpose(x, kernel, stride, padding), atol=1e-12)
    forms = [partial(c.conv_transpose_patches, **options), partial(c.conv_transpose, **options)]
    if (k, stride, padding) == (4, 2, 1):
        forms.append(c.conv_transpose_phases)
    for fn in forms:
        for ours, theirs in zip(value_and_gradients(fn, x, kernel), plain, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_transposed_convolution_is_the_adjoint_of_the_convolution(float64):
    """<conv(y, k), x> = <y, conv_transpose(x, k)>: how PyTorch defines it, whatever the form."""
    x, y, kernel = arrays((1, 9, 11, 3), (1, 18, 22, 4), (4, 4, 4, 3))
    down = c.conv(jnp.asarray(y), jnp.asarray(kernel), strides=(2, 2), padding=((1, 1), (1, 1)))
    up = c.conv_transpose(jnp.asarray(x), jnp.asarray(kernel))
    assert float((down * x).sum()) == pytest.approx(float((up * y).sum()), abs=1e-10)


@pytest.mark.parametrize(
    "shape, platform, expected",
    [
        ((1, 8, 8, 3), "cpu", "patches"),
        ((1, 8, 9, 3), "cpu", "phases"),
        ((64, 1, 1, 512), "cpu", "patches"),
        ((65, 1, 1, 512), "cpu", "phases"),
        ((1, 1, 1, 512), "gpu", "plain"),
        ((1, 128, 128, 64), "tpu", "plain"),
    ],
)
def test_form_depends_on_platform_and_size(shape, platform, expected):
    assert c.form(shape, platform) == expected


def test_large_maps_off_a_cpu_use_the_plain_form(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    used = []
    monkeypatch.setattr(c, "conv_plain", lambda *a, **k: used.append("conv"))
    monkeypatch.setattr(c, "conv_transpose_plain", lambda *a, **k: used.append("transpose"))
    c.conv(jnp.zeros((1, 2, 2, 1)), jnp.zeros((1, 1, 1, 1)))
    c.conv_transpose(jnp.zeros((1, 2, 2, 1)), jnp.zeros((4, 4, 1, 1)))
    assert used == ["conv", "transpose"]


def test_modules_keep_their_bias_and_types():
    x = jnp.asarray(arrays((1, 12, 12, 3))[0], jnp.float32)
    for module in (c.Conv(5, dtype=jnp.bfloat16), c.ConvTranspose(5, dtype=jnp.bfloat16)):
        params = module.init(jax.random.key(0), x)["params"]
        moved = {**params, "bias": params["bias"] + 2}
        assert params["kernel"].dtype == jnp.float32
        y = module.apply({"params": moved}, x)
        assert y.dtype == jnp.bfloat16
        shift = (y - module.apply({"params": params}, x)).astype(jnp.float32)
        np.testing.assert_allclose(shift, 2, atol=0.05)


def test_initialisations_have_their_published_spread():
    key = jax.random.key(0)
    assert float(c.gan_init()(key, (4, 4, 64, 64)).std()) == pytest.approx(0.02, rel=0.02)
    fan_in = 3 * 3 * 32
    assert float(c.he_init()(key, (3, 3, 32, 128)).std()) == pytest.approx(np.sqrt(2 / fan_in), rel=0.02)
    assert float(c.he_init(transposed=True)(key, (3, 3, 128, 32)).std()) == pytest.approx(np.sqrt(2 / fan_in), rel=0.02)


def test_convolution_equals_flax(float64):
    x, kernel = arrays((2, 9, 9, 3), (3, 3, 3, 4))
    flax = nn.Conv(4, (3, 3), padding=1, use_bias=False).apply({"params": {"kernel": kernel}}, jnp.asarray(x))
    ours = c.Conv(4, 3, use_bias=False).apply({"params": {"kernel": kernel}}, jnp.asarray(x))
    np.testing.assert_allclose(ours, flax, atol=1e-12)


@pytest.mark.parametrize("size", [(8, 6), (2, 2)])
def test_halving_equals_plain_to_its_second_derivative(float64, size):
    """Value, gradients, and the gradient of a penalty on the input's gradient, as R1 takes it."""
    x, kernel, weight = arrays((3, *size, 2), (4, 4, 2, 5), (3, size[0] // 2, size[1] // 2, 5))
    plain = partial(c.conv_plain, strides=(2, 2), padding=((1, 1), (1, 1)))

    def measured(form):
        value = lambda x, k: jnp.sum(weight * jnp.tanh(form(x, k)))  # noqa: E731
        penalty = lambda x, k: jnp.sum(jnp.square(jax.grad(value)(x, k)))  # noqa: E731
        first, second = (jax.jit(jax.grad(fn, argnums=(0, 1)))(x, kernel) for fn in (value, penalty))
        return form(x, kernel), *first, *second

    for ours, theirs in zip(measured(c.conv_halving), measured(plain), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)
