"""The convolutions: every form against the plain one in float64, the plain ones against numpy's own arithmetic."""

from __future__ import annotations

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models import conv as c
from medjax.models import conv_forms as forms
from medjax.models.conv_forms import Window

pytestmark = pytest.mark.usefixtures("quick_compile")

CONVS = [  # height, width, kernel, stride, padding: those in use, and odd ones
    (8, 8, 4, 2, 1),
    (9, 7, 4, 2, 1),
    (6, 5, 4, 1, 1),
    (7, 6, 3, 1, 1),
    (5, 8, 1, 1, 0),
    (7, 8, 1, 2, 0),
    (9, 9, 7, 1, 3),
    (10, 9, 7, 2, 3),
    (8, 7, 3, 2, 0),
    (8, 7, 3, 2, 1),
    (13, 12, 5, 4, 2),
    (2, 2, 4, 2, 1),
    (9, 10, 7, 1, 0),
    (10, 9, 9, 1, 4),
    (13, 15, 11, 4, 2),
    (6, 8, (1, 7), 1, (0, 3)),
    (8, 6, (7, 1), 1, (3, 0)),
    (5, 4, (3, 1), 1, (1, 0)),
]
TRANSPOSED = [  # height, width, kernel, stride, padding, output padding
    (1, 1, 4, 2, 1, 0),
    (3, 5, 4, 2, 1, 0),
    (4, 4, 4, 2, 1, 0),
    (3, 4, 3, 2, 1, 0),
    (3, 4, 3, 2, 1, 1),
    (5, 2, 3, 1, 1, 0),
    (3, 3, 4, 2, 0, 0),
    (3, 2, 2, 2, 0, 0),
    (3, 2, 2, 3, 0, 1),
    (2, 3, 5, 3, 2, 0),
    (2, 3, 5, 3, 2, 2),
]


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def arrays(*shapes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape) for shape in shapes]


def both(number):
    """Of rows and of columns."""
    return number if isinstance(number, tuple) else (number, number)


def numpy_conv(x, kernel, stride, padding):
    """Cross-correlation by its definition."""
    x = np.pad(x, ((0, 0), *((n, n) for n in both(padding)), (0, 0)))
    k, across = kernel.shape[:2]
    height, width = (x.shape[1] - k) // stride + 1, (x.shape[2] - across) // stride + 1
    y = np.zeros((x.shape[0], height, width, kernel.shape[3]))
    for i in range(height):
        for j in range(width):
            window = x[:, i * stride : i * stride + k, j * stride : j * stride + across]
            y[:, i, j] = np.tensordot(window, kernel, 3)
    return y


def numpy_transpose(x, kernel, stride, padding, output_padding):
    """`torch.nn.ConvTranspose2d` by its definition: each input pixel stamps the kernel [k, k, out, in] on the output."""
    batch, height, width, _ = x.shape
    k, out = kernel.shape[0], kernel.shape[2]
    full = [(n - 1) * stride + k + output_padding for n in (height, width)]
    y = np.zeros((batch, *full, out))
    for i in range(height):
        for j in range(width):
            y[:, i * stride : i * stride + k, j * stride : j * stride + k] += np.einsum("bi,kloi->bklo", x[:, i, j], kernel)
    return y[:, padding : full[0] - padding, padding : full[1] - padding]


def check_equal(forms, x, kernel, expected):
    """Every form's value against `expected`, and its gradients (of a random projection) against those of the first form."""
    g = np.random.default_rng(1).normal(size=expected.shape)

    @jax.jit  # of all together: compiling takes longer than running
    def measured(x, kernel):
        return [(out, *pull(g)) for out, pull in (jax.vjp(form, x, kernel) for form in forms)]

    plain, *others = measured(x, kernel)
    np.testing.assert_allclose(plain[0], expected, atol=1e-12)
    for other in others:
        for ours, theirs in zip(other, plain, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("height, width, k, stride, padding", CONVS)
def test_forms_of_convolution_agree(float64, height, width, k, stride, padding):
    x, kernel = arrays((2, height, width, 2), (*both(k), 2, 3))
    options = {"strides": (stride, stride), "padding": tuple((n, n) for n in both(padding))}
    window = Window((height, width), both(k), **options)
    found = [partial(forms.conv_columns, window=window)]
    found += [partial(forms.conv_shifts, window=window)] if stride == 1 else [lambda x, k: c.conv_strided(x, k, window)]
    found += [partial(forms.conv_dot, strides=(stride, stride))] if k == 1 else []
    expected = numpy_conv(x, kernel, stride, padding)
    assert expected.shape[1:3] == window.positions
    check_equal([partial(forms.conv_plain, **options), *found], x, kernel, expected)


@pytest.mark.parametrize("height, width, k, stride, padding, output_padding", TRANSPOSED)
def test_forms_of_transposed_convolution_agree(float64, height, width, k, stride, padding, output_padding):
    x, kernel = arrays((2, height, width, 2), (k, k, 3, 2))
    options = {"strides": (stride, stride), "padding": padding, "output_padding": output_padding}
    sizes = [(n - 1) * stride - 2 * padding + k + output_padding for n in (height, width)]
    window = Window(tuple(sizes), (k, k), (stride, stride), ((padding, padding - output_padding),) * 2)
    assert window.positions == (height, width)
    found = [forms.conv_transpose_plain, forms.conv_transpose_shifts, forms.conv_transpose_phases]
    found = [lambda x, k, form=form: form(x, k, window) for form in found]
    expected = numpy_transpose(x, kernel, stride, padding, output_padding)
    check_equal([*found, partial(c.conv_transpose, **options)], x, kernel, expected)


@pytest.mark.parametrize("shape, kernel", [((9, 8, 2), (4, 4, 2, 1)), ((9, 8, 5), (3, 3, 5, 1))])
def test_chosen_forms_agree_where_channels_are_few(float64, shape, kernel):
    x, weights = arrays((2, *shape), kernel)
    padding = ((kernel[0] // 2,) * 2,) * 2
    plain = partial(forms.conv_plain, strides=(1, 1), padding=padding)
    expected = numpy_conv(x, weights, 1, kernel[0] // 2)
    check_equal([plain, partial(c.conv, padding=padding)], x, weights, expected)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_forms_of_upsampling_convolution_agree(float64, k):
    x, kernel = arrays((2, 6, 7, 3), (k, k, 3, 4))
    phases = lambda x, kernel: c.conv_transpose(x, forms.upsampling_kernel(kernel), padding=k // 2)  # noqa: E731
    expected = numpy_conv(np.repeat(np.repeat(x, 2, 1), 2, 2), kernel, 1, k // 2)
    nearest = lambda x, kernel: c.conv(c.nearest(x), kernel, padding=((k // 2,) * 2,) * 2)  # noqa: E731
    check_equal([c.upsample_conv, nearest, phases], x, kernel, expected)


def test_transposed_convolution_is_the_adjoint_of_the_convolution(float64):
    """<conv(y, k), x> = <y, conv_transpose(x, k)>: how PyTorch defines it, whatever the form."""
    x, y, kernel = arrays((1, 9, 11, 3), (1, 18, 22, 4), (4, 4, 4, 3))
    down = c.conv(jnp.asarray(y), jnp.asarray(kernel), strides=(2, 2), padding=((1, 1), (1, 1)))
    up = c.conv_transpose(jnp.asarray(x), jnp.asarray(kernel))
    assert float((down * x).sum()) == pytest.approx(float((up * y).sum()), abs=1e-10)


def window_of(size, k, stride, padding):
    return Window((size, size), (k, k), (stride, stride), ((padding, padding),) * 2)


@pytest.mark.parametrize(
    "batch, kernel, window, platform, expected",
    [
        (1, (4, 4, 16, 32), window_of(16, 4, 2, 1), "cpu", "columns"),
        (1, (4, 4, 16, 32), window_of(18, 4, 2, 1), "cpu", "strided"),
        (512, (4, 4, 256, 512), window_of(2, 4, 2, 1), "cpu", "columns"),
        (513, (4, 4, 256, 512), window_of(2, 4, 2, 1), "cpu", "strided"),
        (1, (3, 3, 64, 64), window_of(32, 3, 1, 1), "cpu", "plain"),
        (1, (1, 1, 64, 64), window_of(32, 1, 1, 0), "cpu", "dot"),
        (1, (4, 4, 2, 64), window_of(256, 4, 2, 1), "cpu", "columns"),
        (4, (4, 4, 2, 64), window_of(256, 4, 2, 1), "cpu", "strided"),
        (4, (3, 3, 2, 64), window_of(256, 3, 1, 1), "cpu", "columns"),
        (4, (4, 4, 512, 1), window_of(31, 4, 1, 1), "cpu", "shifts"),
        (1, (4, 4, 512, 1), window_of(15, 4, 1, 1), "cpu", "shifts"),
        (1, (4, 4, 512, 1), window_of(31, 4, 1, 1), "gpu", "plain"),
        (1, (4, 4, 64, 128), window_of(2, 4, 2, 1), "gpu", "plain"),
        (1, (1, 1, 64, 128), window_of(2, 1, 1, 0), "tpu", "plain"),
    ],
)
def test_form_depends_on_platform_and_shape(batch, kernel, window, platform, expected):
    assert c.form(batch, kernel, window, platform) == expected


@pytest.mark.parametrize(
    "size, out, platform, expected",
    [(16, 64, "cpu", "shifts"), (32, 64, "cpu", "phases"), (32, 1, "cpu", "shifts"), (16, 64, "gpu", "plain")],
)
def test_form_of_transposed_convolution_depends_on_platform_and_shape(size, out, platform, expected):
    assert c.form_transpose(1, (4, 4, out, 128), window_of(size, 4, 2, 1), platform) == expected


def test_form_of_upsampling_depends_on_platform_and_size():
    found = [c.form_upsample(2, (size, size), platform) for size, platform in ((5, "cpu"), (6, "cpu"), (6, "gpu"))]
    assert found == ["nearest", "phases", "nearest"]


def test_off_a_cpu_the_plain_form_is_used(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    used = []
    monkeypatch.setattr(forms, "conv_plain", lambda *a, **k: used.append("conv"))
    monkeypatch.setattr(forms, "conv_transpose_plain", lambda *a, **k: used.append("transpose"))
    c.conv(jnp.zeros((1, 2, 2, 1)), jnp.zeros((1, 1, 1, 1)))
    c.conv_transpose(jnp.zeros((1, 2, 2, 1)), jnp.zeros((4, 4, 1, 1)))
    c.upsample_conv(jnp.zeros((1, 32, 32, 1)), jnp.zeros((3, 3, 1, 1)))
    monkeypatch.setattr(forms, "max_pool_plain", lambda *a, **k: used.append("pool"))
    c.max_pool(jnp.zeros((1, 4, 4, 1)), 2, 2)
    assert used == ["conv", "transpose", "conv", "pool"]


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


@pytest.mark.parametrize("size, kernel", [((18, 14), (4, 4, 3, 5)), ((18, 14), (4, 4, 2, 5))])
def test_forms_equal_plain_to_the_second_derivative(float64, size, kernel):
    """Value, gradients, and the gradient of a penalty on the input's gradient, as R1 takes it: strided and columns."""
    x, weights, weight = arrays((2, *size, kernel[2]), kernel, (2, size[0] // 2, size[1] // 2, 5))
    options = {"strides": (2, 2), "padding": ((1, 1), (1, 1))}

    def measured(form):
        value = lambda x, k: jnp.sum(weight * jnp.tanh(form(x, k)))  # noqa: E731
        penalty = lambda x, k: jnp.sum(jnp.square(jax.grad(value)(x, k)))  # noqa: E731
        first, second = (jax.grad(fn, argnums=(0, 1))(x, weights) for fn in (value, penalty))
        return form(x, weights), *first, *second

    found, plain = jax.jit(lambda: [measured(partial(form, **options)) for form in (c.conv, forms.conv_plain)])()
    for ours, theirs in zip(found, plain, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_taps_gathered_and_scattered_are_adjoint(float64):
    """<gather(x), t> = <x, scatter(t)>: each is the other's gradient."""
    window = Window((9, 8), (3, 4), (2, 1), ((1, 0), (2, 1)))
    x, taps = arrays((2, 9, 8, 3), (2, *window.positions, 3, 4, 3))
    gathered, scattered = forms.gather_taps(jnp.asarray(x), window), forms.scatter_taps(jnp.asarray(taps), window)
    assert float((gathered * taps).sum()) == pytest.approx(float((x * scattered).sum()), abs=1e-10)


POOLS = [((2, 9, 8, 3), 3, 2, 1), ((1, 7, 7, 2), 3, 1, 1), ((2, 8, 6, 2), 2, 2, 0)]


@pytest.mark.parametrize("shape, size, stride, padding", POOLS)
def test_forms_of_max_pooling_agree(float64, shape, size, stride, padding):
    """Values and gradients; where several values are the maximum they share it."""
    (x,) = arrays(shape)
    window = Window(shape[1:3], (size, size), (stride, stride), ((padding, padding),) * 2)
    pooled = nn.max_pool(jnp.asarray(x), (size, size), (stride, stride), ((padding, padding),) * 2)
    g = np.random.default_rng(1).normal(size=pooled.shape)
    found = [forms.max_pool_plain, forms.max_pool_shifts, lambda x, _: c.max_pool(x, size, stride, padding)]
    pulled = [jax.vjp(lambda x, form=form: form(x, window), jnp.asarray(x)) for form in found]
    plain, *others = [(out, pull(g)[0]) for out, pull in pulled]
    np.testing.assert_array_equal(plain[0], pooled)
    for ours in others:
        np.testing.assert_array_equal(ours[0], plain[0])
        np.testing.assert_allclose(ours[1], plain[1], atol=1e-12)
    assert c.max_pool(jnp.asarray(x, jnp.bfloat16), size, stride, padding).dtype == jnp.bfloat16


def test_values_that_tie_share_the_gradient_of_a_maximum():
    shared = jax.grad(lambda x: c.max_pool(x, 2, 2).sum())(jnp.zeros((1, 4, 6, 2)))
    np.testing.assert_array_equal(shared, np.full((1, 4, 6, 2), 0.25))
