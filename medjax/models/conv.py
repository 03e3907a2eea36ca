"""Convolutions and max pooling with the same mathematics as `flax.linen`'s, arranged for XLA; the only module that knows why.

Images and maps are `[B, H, W, C]`. `Conv` keeps its kernel as `[kh, kw, in, out]`; `ConvTranspose` as
`[kh, kw, out, in]`, so that neither its forward nor its backward pass transposes the large weights (weight import has
to know it). `form`, `form_transpose` and `form_upsample` choose among the variants of `medjax.models.conv_forms` by platform
and shape; `plain` is always right and is what every other form is tested against in float64.

On a CPU, XLA has no fast path for the derivative of an input-dilated convolution, which a transposed one is, and multiplies
with the zeros between its inputs, as it does for the input's gradient of a strided one: both go through phases, as does an
enlargement before a convolution, which would multiply with equal neighbours. Maps of very few channels leave a convolution
nothing to work on, and beside a large kernel a small map is not worth laying the kernel out anew: there a matrix product does
it. On other platforms the libraries have such paths of their own, and the plain form is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.models import conv_forms as forms
from medjax.models.conv_forms import Window
from medjax.types import Array

SMALL_MAP = 64  # B*H*W up to which one matrix product beats a convolution on a CPU, whatever the channels
FEW = 2  # channels that leave a convolution nothing to reduce over, or to give
LARGE_MAP = 128 * 128  # B*H*W above which writing out the patches of a strided convolution costs more than it saves
Padding = Sequence[tuple[int, int]]
traced_for = jax.make_user_context("")
"""`with traced_for("cuda"):` chooses the forms of another platform than this machine's; a part of what jit's caches look up."""


def form(batch: int, kernel: Sequence[int], window: Window, platform: str | None = None) -> str:
    """Which variant serves a convolution of `kernel` `[kh, kw, in, out]` over `batch` maps: plain, dot, columns, shifts or
    strided.
    """
    if _platform(platform) != "cpu":
        return "plain"
    if window.kernel == (1, 1) and window.padding == ((0, 0), (0, 0)):
        return "dot"
    if _small(batch, kernel, window):
        return "columns"
    if kernel[3] == 1 and window.strides == (1, 1):
        return "shifts"
    strided = window.strides != (1, 1)
    if kernel[2] <= FEW and not (strided and _positions(batch, window) > LARGE_MAP):
        return "columns"
    return "strided" if strided else "plain"


def form_transpose(batch: int, kernel: Sequence[int], window: Window, platform: str | None = None) -> str:
    """Which variant serves a transposed convolution of `kernel` `[kh, kw, out, in]`: plain, shifts or phases."""
    if _platform(platform) != "cpu":
        return "plain"
    return "shifts" if _small(batch, kernel, window) or kernel[2] <= FEW else "phases"


def form_upsample(batch: int, size: Sequence[int], platform: str | None = None) -> str:
    """Which variant serves an enlargement of maps of `size` (H, W) by 2 before a convolution: nearest or phases.

    Phases, a transposed convolution with a folded kernel, have 4/9 of the products; for tiny maps the folding outweighs that. On
    other platforms they have to be measured.
    """
    large = batch * size[0] * size[1] > SMALL_MAP
    return "phases" if large and _platform(platform) == "cpu" else "nearest"


def _platform(asked: str | None) -> str:
    return asked or traced_for.value or jax.default_backend()


def _small(batch: int, kernel: Sequence[int], window: Window) -> bool:
    """Whether the kernel, which a convolution lays out anew and a matrix product reads as it lies, is larger than all taps of the
    map (or the map is tiny): of `[kh, kw, a, b]` the taps have kh * kw * a values for each position.
    """
    return _positions(batch, window) <= max(SMALL_MAP, kernel[3])


def _positions(batch: int, window: Window) -> int:
    """On the smaller of the two maps."""
    height, width = window.positions
    return batch * height * width


# --------------------------------------------------------------------------------------------------- functions


def conv(x: Array, kernel: Array, *, strides: Sequence[int] = (1, 1), padding: Padding = ((0, 0), (0, 0))) -> Array:
    """Cross-correlation of `[B, H, W, in]` with `[kh, kw, in, out]`, in the form that suits platform and shape."""
    window = Window(x.shape[1:3], kernel.shape[:2], tuple(strides), tuple(tuple(pair) for pair in padding))
    chosen = form(x.shape[0], kernel.shape, window)
    if chosen == "plain":
        return forms.conv_plain(x, kernel, strides=window.strides, padding=window.padding)
    if chosen == "dot":
        return forms.conv_dot(x, kernel, strides=window.strides)
    table = {"columns": forms.conv_columns, "shifts": forms.conv_shifts, "strided": conv_strided}
    return table[chosen](x, kernel, window)


def conv_transpose(
    x: Array, kernel: Array, *, strides: Sequence[int] = (2, 2), padding: int = 1, output_padding: int = 0
) -> Array:
    """Transposed convolution of `[B, H, W, in]` with `[kh, kw, out, in]`, as PyTorch defines it.

    The adjoint of a convolution with these strides and padding: out[s*i + k - padding] += x[i] * kernel[k], of size
    (H - 1) * s - 2 * padding + kh + output_padding.
    """
    sizes = zip(x.shape[1:3], strides, kernel.shape[:2], strict=True)
    size = tuple((n - 1) * s - 2 * padding + k + output_padding for n, s, k in sizes)
    pads = ((padding, padding - output_padding),) * 2
    return _adjoint(x, kernel, Window(size, kernel.shape[:2], tuple(strides), pads))


def _adjoint(x: Array, kernel: Array, window: Window) -> Array:
    """The transposed convolution that is the adjoint of a convolution with `window`."""
    table = {
        "plain": forms.conv_transpose_plain,
        "shifts": forms.conv_transpose_shifts,
        "phases": forms.conv_transpose_phases,
    }
    return table[form_transpose(x.shape[0], kernel.shape, window)](x, kernel, window)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv_strided(x: Array, kernel: Array, window: Window) -> Array:
    """XLA's own convolution, with its input's gradient through the forms of the transposed one.

    The gradient of that gradient is a strided convolution again, so that a penalty on a discriminator's gradient is fast too.
    """
    return forms.conv_plain(x, kernel, strides=window.strides, padding=window.padding)


def _strided_fwd(x: Array, kernel: Array, window: Window) -> tuple[Array, tuple[Array, Array]]:
    return conv_strided(x, kernel, window), (x, kernel)


def _strided_bwd(window: Window, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    _, pull = jax.vjp(lambda k: forms.conv_plain(x, k, strides=window.strides, padding=window.padding), kernel)
    return _adjoint(g, kernel, window), pull(g)[0]


conv_strided.defvjp(_strided_fwd, _strided_bwd)


def upsample_conv(x: Array, kernel: Array) -> Array:
    """Enlargement of `[B, H, W, in]` by 2 by the nearest neighbour, then a convolution with `[k, k, in, out]`, k odd, that keeps
    the size: `[B, 2H, 2W, out]`.
    """
    reach = kernel.shape[0] // 2
    if form_upsample(x.shape[0], x.shape[1:3]) == "phases":
        return conv_transpose(x, forms.upsampling_kernel(kernel), padding=reach)
    return conv(nearest(x), kernel, padding=((reach, reach),) * 2)


def max_pool(x: Array, size: int, stride: int, padding: int = 0) -> Array:
    """Maximum over windows `[B, H, W, C]`; padding never wins."""
    window = Window(x.shape[1:3], (size, size), (stride, stride), ((padding, padding),) * 2)
    return (forms.max_pool_shifts if _platform(None) == "cpu" else forms.max_pool_plain)(x, window)


def nearest(x: Array, factor: int = 2) -> Array:
    """Every pixel of `[B, H, W, C]` repeated `factor` times along both axes."""
    return jnp.repeat(jnp.repeat(x, factor, axis=1), factor, axis=2)


# ---------------------------------------------------------------------------------------------- flax modules


def gan_init(scale: float = 0.02) -> Callable:
    """Normal(0, 0.02): the initialisation of DCGAN, pix2pix and CycleGAN."""
    return nn.initializers.normal(scale)


def he_init(scale: float = 1.0, *, transposed: bool = False) -> Callable:
    """He et al. 2015 for ReLU networks, variance `scale * 2 / fan_in`; `transposed` for `[kh, kw, out, in]`."""
    axes = {"in_axis": -1, "out_axis": -2} if transposed else {}
    return nn.initializers.variance_scaling(2.0 * scale, "fan_in", "truncated_normal", **axes)


class Conv(nn.Module):
    """Convolution `[B, H, W, in]` -> `[B, H', W', features]` with PyTorch's symmetric zero padding.

    `padding=None` keeps the size at stride 1 for odd kernels. `dtype` is the compute type; parameters stay float32.
    """

    features: int
    kernel_size: int = 3
    strides: int = 1
    padding: int | None = None
    use_bias: bool = True
    kernel_init: Callable = gan_init()
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        k, p = self.kernel_size, self.padding
        p = (k - 1) // 2 if p is None else p
        kernel = self.param("kernel", self.kernel_init, (k, k, x.shape[-1], self.features))
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        y = conv(x, kernel, strides=(self.strides,) * 2, padding=((p, p),) * 2)
        return _add_bias(self, y)


class ConvTranspose(nn.Module):
    """Transposed convolution `[B, H, W, in]` -> `[B, 2H, 2W, features]` (kernel 4, stride 2, padding 1 by default)."""

    features: int
    kernel_size: int = 4
    strides: int = 2
    padding: int = 1
    output_padding: int = 0
    use_bias: bool = True
    kernel_init: Callable = gan_init()
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        k = self.kernel_size
        kernel = self.param("kernel", self.kernel_init, (k, k, self.features, x.shape[-1]))
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        pads = {"padding": self.padding, "output_padding": self.output_padding}
        y = conv_transpose(x, kernel, strides=(self.strides,) * 2, **pads)
        return _add_bias(self, y)


class UpsampleConv(nn.Module):
    """Nearest-neighbour enlargement by 2 and a `Conv`, whose parameters it has: `[B, H, W, in]` -> `[B, 2H, 2W, features]`."""

    features: int
    kernel_size: int = 3
    use_bias: bool = True
    kernel_init: Callable = gan_init()
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", self.kernel_init, (self.kernel_size, self.kernel_size, x.shape[-1], self.features))
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        return _add_bias(self, upsample_conv(x, kernel))


def _add_bias(module: nn.Module, y: Array) -> Array:
    if not module.use_bias:
        return y
    return y + module.param("bias", nn.initializers.zeros, (module.features,)).astype(y.dtype)
