"""Convolutions with the same mathematics as `flax.linen`'s, arranged for XLA; the only module that knows why.

Images and maps are `[B, H, W, C]`. `Conv` keeps its kernel as `[kh, kw, in, out]`; `ConvTranspose` as
`[kh, kw, out, in]`, so that neither its forward nor its backward pass transposes the large weights (weight import has
to know it). `form` chooses among the variants by platform and shape; `plain` is always right and is what every other
form is tested against in float64.

On a CPU, XLA differentiates an input-dilated convolution into one without a fast path, which makes the transposed
convolution of a U-Net several times slower than need be; and on tiny maps the convolution's set-up outweighs its
arithmetic, so there one matrix product over patches does the work. On other platforms the plain form is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from medjax.types import Array

SMALL_MAP = 64  # B*H*W up to which patches and one matrix product beat a convolution on a CPU
Padding = Sequence[tuple[int, int]]


def form(shape: Sequence[int], platform: str | None = None) -> str:
    """Which variant serves an input of `shape` `[B, H, W, C]`: `plain`, `patches` or (transposed only) `phases`."""
    if (platform or jax.default_backend()) != "cpu":
        return "plain"
    batch, height, width, _ = shape
    return "patches" if batch * height * width <= SMALL_MAP else "phases"


# ------------------------------------------------------------------------------------------------ convolution


def conv(x: Array, kernel: Array, *, strides: Sequence[int] = (1, 1), padding: Padding = ((0, 0), (0, 0))) -> Array:
    """Cross-correlation of `[B, H, W, in]` with `[kh, kw, in, out]`, in the form that suits platform and shape."""
    height, width = (
        (n + sum(p) - k) // s + 1 for n, p, k, s in zip(x.shape[1:3], padding, kernel.shape[:2], strides, strict=True)
    )
    chosen = form((x.shape[0], height, width, x.shape[3]))
    return (conv_patches if chosen == "patches" else conv_plain)(x, kernel, strides=strides, padding=padding)


def conv_plain(x: Array, kernel: Array, *, strides: Sequence[int], padding: Padding) -> Array:
    """`conv` by XLA's own convolution."""
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def conv_patches(x: Array, kernel: Array, *, strides: Sequence[int], padding: Padding) -> Array:
    """`conv` as im2col and one matrix product."""
    (kh, kw, _, out), (sh, sw) = kernel.shape, strides
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    height, width = (x.shape[1] - kh) // sh + 1, (x.shape[2] - kw) // sw + 1
    rows, columns = _touched((height, width), (kh, kw), (sh, sw))
    return x[:, rows, columns].reshape(x.shape[0], height, width, -1) @ kernel.reshape(-1, out)


def _touched(size: Sequence[int], kernel: Sequence[int], strides: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows `[H, 1, kh, 1]` and columns `[1, W, 1, kw]` that each position's taps touch: one gather or scatter by these
    compiles several times faster than a slice for every tap.
    """
    rows, columns = (np.arange(n)[:, None] * s + np.arange(k) for n, k, s in zip(size, kernel, strides, strict=True))
    return rows[:, None, :, None], columns[None, :, None, :]


# ------------------------------------------------------------------------------------- transposed convolution


def conv_transpose(x: Array, kernel: Array, *, strides: Sequence[int] = (2, 2), padding: int = 1) -> Array:
    """Transposed convolution of `[B, H, W, in]` with `[kh, kw, out, in]`, as PyTorch defines it.

    The adjoint of a convolution with these strides and padding: out[s*i + k - padding] += x[i] * kernel[k], of size
    (H - 1) * s - 2 * padding + kh.
    """
    chosen = form(x.shape)
    if chosen == "patches":
        return conv_transpose_patches(x, kernel, strides=strides, padding=padding)
    if chosen == "phases" and kernel.shape[:2] == (4, 4) and tuple(strides) == (2, 2) and padding == 1:
        return conv_transpose_phases(x, kernel)
    return conv_transpose_plain(x, kernel, strides=strides, padding=padding)


def conv_transpose_plain(x: Array, kernel: Array, *, strides: Sequence[int], padding: int) -> Array:
    """`conv_transpose` as XLA's input-dilated convolution."""
    pads = [(k - 1 - padding, k - 1 - padding) for k in kernel.shape[:2]]
    flipped = kernel[::-1, ::-1]
    return lax.conv_general_dilated(
        x, flipped, (1, 1), pads, lhs_dilation=strides, dimension_numbers=("NHWC", "HWOI", "NHWC")
    )


def conv_transpose_patches(x: Array, kernel: Array, *, strides: Sequence[int], padding: int) -> Array:
    """`conv_transpose` as one matrix product to kh * kw * out channels, scattered and added."""
    (kh, kw, out, _), (sh, sw) = kernel.shape, strides
    batch, height, width, _ = x.shape
    taps = jnp.einsum("bhwi,klOi->bhwklO", x, kernel)
    full_h, full_w = (height - 1) * sh + kh, (width - 1) * sw + kw
    rows, columns = _touched((height, width), (kh, kw), (sh, sw))
    y = jnp.zeros((batch, full_h, full_w, out), taps.dtype).at[:, rows, columns].add(taps)
    return y[:, padding : full_h - padding, padding : full_w - padding]


@jax.custom_vjp
def conv_transpose_phases(x: Array, kernel: Array) -> Array:
    """`conv_transpose` for kernel 4, stride 2, padding 1: one 2x2 convolution to 4 * out channels, then interleaving.

    Output row 2m + r reads only two input rows: kernel taps (3, 1) at rows (m - 1, m) for r = 0, taps (2, 0) at rows
    (m, m + 1) for r = 1; columns likewise.
    """
    out, inputs = kernel.shape[2:]
    batch, height, width, _ = x.shape
    taps = kernel[::-1, ::-1].reshape(2, 2, 2, 2, out, inputs).transpose(0, 2, 1, 3, 4, 5)
    y = lax.conv_general_dilated(
        x, taps.reshape(2, 2, 4 * out, inputs), (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWOI", "NHWC")
    ).reshape(batch, height + 1, width + 1, 2, 2, out)
    rows = [jnp.stack([y[:, r : r + height, s : s + width, r, s] for s in (0, 1)], axis=3) for r in (0, 1)]
    return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, out)


def _phases_fwd(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return conv_transpose_phases(x, kernel), (x, kernel)


def _phases_bwd(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    """The input's gradient is the strided convolution of g; the kernel's is that convolution's kernel gradient at x."""
    x, kernel = saved
    strided = partial(conv_plain, strides=(2, 2), padding=((1, 1), (1, 1)))
    _, pull = jax.vjp(lambda k: strided(g, k), kernel)
    return strided(g, kernel), pull(x)[0]


conv_transpose_phases.defvjp(_phases_fwd, _phases_bwd)


@jax.custom_vjp
def conv_halving(x: Array, kernel: Array) -> Array:
    """`conv` for kernel 4, stride 2, padding 1 and even sizes, with its input's gradient through `conv_transpose`.

    The gradient of that gradient is a strided convolution again, so that a penalty on a discriminator's gradient is fast too.
    """
    return conv_plain(x, kernel, strides=(2, 2), padding=((1, 1), (1, 1)))


def _halving_fwd(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return conv_halving(x, kernel), (x, kernel)


def _halving_bwd(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    _, pull = jax.vjp(lambda k: conv_plain(x, k, strides=(2, 2), padding=((1, 1), (1, 1))), kernel)
    return conv_transpose(g, kernel), pull(g)[0]


conv_halving.defvjp(_halving_fwd, _halving_bwd)


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
    use_bias: bool = True
    kernel_init: Callable = gan_init()
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        k = self.kernel_size
        kernel = self.param("kernel", self.kernel_init, (k, k, self.features, x.shape[-1]))
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        y = conv_transpose(x, kernel, strides=(self.strides,) * 2, padding=self.padding)
        return _add_bias(self, y)


def _add_bias(module: nn.Module, y: Array) -> Array:
    if not module.use_bias:
        return y
    return y + module.param("bias", nn.initializers.zeros, (module.features,)).astype(y.dtype)
