"""Forms of convolution and max pooling: one mathematics in many arrangements. `medjax.models.conv` says which is used where.

Maps are `[B, H, W, C]`. Kernels of convolutions are `[kh, kw, in, out]`, of transposed ones `[kh, kw, out, in]`: what goes
from the large map to the small one reads a kernel as it lies. A `Window` says how the taps of a convolution lie on the map
that it reads; a transposed convolution is the adjoint of one, and has that one's window. Every form is differentiated as it
is computed, and so are the gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from medjax.types import Array

Padding = tuple[tuple[int, int], tuple[int, int]]


class Window(NamedTuple):
    """Of a convolution: `size` (H, W) of the map that is read, the kernel's size, strides, and padding before and after."""

    size: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int]
    padding: Padding

    @property
    def positions(self) -> tuple[int, int]:
        """(H', W') of the map that is made."""
        return tuple(
            (n + sum(p) - k) // s + 1 for n, p, k, s in zip(self.size, self.padding, self.kernel, self.strides, strict=True)
        )


# ------------------------------------------------------------------------------------------------ convolution


def conv_plain(x: Array, kernel: Array, *, strides: Sequence[int], padding: Sequence[tuple[int, int]]) -> Array:
    """XLA's own convolution."""
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def conv_dot(x: Array, kernel: Array, *, strides: Sequence[int]) -> Array:
    """A 1x1 convolution without padding as one matrix product over the positions that its strides visit."""
    return product(x[:, :: strides[0], :: strides[1]], kernel[0, 0])


def conv_columns(x: Array, kernel: Array, window: Window) -> Array:
    """im2col and one matrix product: for maps small beside their kernel, and for very few input channels."""
    taps = gather_taps(x, window)
    return product(taps.reshape(*taps.shape[:3], -1), kernel.reshape(-1, kernel.shape[3]))


def conv_shifts(x: Array, kernel: Array, window: Window) -> Array:
    """At stride 1 a matrix product to kh * kw * out channels, which are shifted and added: for very few output channels.

    A convolution at stride 1 is the transposed one of the kernel turned about.
    """
    padding = tuple(tuple(k - 1 - p for p in pads) for k, pads in zip(window.kernel, window.padding, strict=True))
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    return conv_transpose_shifts(x, turned, Window(window.positions, window.kernel, (1, 1), padding))


@jax.custom_vjp
def product(x: Array, weights: Array) -> Array:
    """`x @ weights`, whose gradient for the weights is a product with x in front: in jax's own the cotangent stands there, which
    XLA lays out anew, and with it computes anew whatever it has fused into the cotangent.
    """
    return x @ weights


def _product_bwd(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, weights = saved
    rows = tuple(range(x.ndim - 1))
    return g @ weights.T, lax.dot_general(x, g, ((rows, rows), ((), ())))


product.defvjp(lambda x, weights: (x @ weights, (x, weights)), _product_bwd)


# ------------------------------------------------------------------------------------- transposed convolution


def conv_transpose_plain(x: Array, kernel: Array, window: Window) -> Array:
    """XLA's input-dilated convolution."""
    pads = []
    for n, k, s, (low, _), count in zip(window.size, window.kernel, window.strides, window.padding, x.shape[1:3], strict=True):
        pads.append((k - 1 - low, n + low - 1 - (count - 1) * s))
    return lax.conv_general_dilated(
        x, kernel[::-1, ::-1], (1, 1), pads, lhs_dilation=window.strides, dimension_numbers=("NHWC", "HWOI", "NHWC")
    )


def conv_transpose_shifts(x: Array, kernel: Array, window: Window) -> Array:
    """One matrix product to kh * kw * out channels, shifted and added: for small maps, and very few channels out."""
    taps = lax.dot_general(kernel, x, (((3,), (3,)), ((), ())))  # the kernel in front, where it is read as it lies
    return scatter_taps(taps.transpose(3, 4, 5, 0, 1, 2), window)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv_transpose_phases(x: Array, kernel: Array, window: Window) -> Array:
    """One convolution at stride 1 to sh * sw * out channels, the phases of the result, which are then interleaved.

    With strides s, the result at s * m + r reads only the taps k with (r + padding - k) divisible by s, at consecutive
    positions of x: for kernel 4, stride 2 and padding 1 the taps (3, 1) at m - 1 and m for r = 0, (2, 0) at m and m + 1 for
    r = 1. The input's gradient is the strided convolution of the cotangent; the kernel's is that convolution's at x.
    """
    (kh, kw, out, inputs), (sh, sw) = kernel.shape, window.strides
    nh, nw = -(-kh // sh), -(-kw // sw)  # taps of a phase
    taps = jnp.pad(kernel, ((0, nh * sh - kh), (0, nw * sw - kw), (0, 0), (0, 0))).reshape(nh, sh, nw, sw, out, inputs)
    taps = taps[::-1, :, ::-1].transpose(0, 2, 1, 3, 4, 5).reshape(nh, nw, sh * sw * out, inputs)
    pads = ((nh - 1,) * 2, (nw - 1,) * 2)
    y = lax.conv_general_dilated(x, taps, (1, 1), pads, dimension_numbers=("NHWC", "HWOI", "NHWC"))
    y = y.reshape(*y.shape[:3], sh, sw, out)

    (rows, high), (columns, wide) = (_phases(window, axis, y.shape[axis + 1]) for axis in (0, 1))
    y = jnp.pad(y, ((0, 0), (0, high), (0, wide), (0, 0), (0, 0), (0, 0))) if high or wide else y
    part = lambda r, c: y[:, r.start : r.stop, c.start : c.stop, r.phase, c.phase]  # noqa: E731
    y = jnp.stack([jnp.stack([part(r, c) for c in columns], 3) for r in rows], 2)
    y = y.reshape(x.shape[0], y.shape[1] * sh, y.shape[3] * sw, out)
    return y[:, : window.size[0], : window.size[1]]


class _Phase(NamedTuple):
    phase: int
    start: int
    stop: int


def _phases(window: Window, axis: int, there: int) -> tuple[list[_Phase], int]:
    """Where the values at s * m + r, r = 0 ... s - 1, lie among `there` positions of their phase, and how many are missing."""
    stride, low = window.strides[axis], window.padding[axis][0]
    count = -(-window.size[axis] // stride)
    found = [_Phase((r + low) % stride, (r + low) // stride, (r + low) // stride + count) for r in range(stride)]
    return found, max(0, found[-1].stop - there)


def _phases_fwd(x: Array, kernel: Array, window: Window) -> tuple[Array, tuple[Array, Array]]:
    return conv_transpose_phases(x, kernel, window), (x, kernel)


def _phases_bwd(window: Window, saved: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    x, kernel = saved
    strided = partial(conv_plain, strides=window.strides, padding=window.padding)
    _, pull = jax.vjp(lambda k: strided(g, k), kernel)
    return strided(g, kernel), pull(x)[0]


conv_transpose_phases.defvjp(_phases_fwd, _phases_bwd)


def upsampling_kernel(kernel: Array) -> Array:
    """`[k, k, in, out]`, k odd, to `[k + 1, k + 1, out, in]`: the transposed convolution with it at stride 2 and padding
    (k - 1) / 2 is the enlargement by 2 by the nearest neighbour and then the convolution with `kernel`, at 4/9 of its arithmetic.
    """
    wide = jnp.promote_types(kernel.dtype, jnp.float32)  # the sums are rounded once
    turned = kernel[::-1, ::-1].swapaxes(2, 3).astype(wide)
    padded = lambda top, left: jnp.pad(turned, ((top, 1 - top), (left, 1 - left), (0, 0), (0, 0)))  # noqa: E731
    return (padded(0, 0) + padded(0, 1) + padded(1, 0) + padded(1, 1)).astype(kernel.dtype)


# ------------------------------------------------------------------------------------------- taps, both ways


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def gather_taps(x: Array, window: Window) -> Array:
    """What every position's taps touch: `[B, H, W, C]` to `[B, H', W', kh, kw, C]`. The adjoint of `scatter_taps`."""
    for place, axis in ((1, 2), (0, 1)):  # columns, then rows: kh + kw slices instead of kh * kw
        x = _padded(x, axis, *window.padding[place])
        stride, reach = window.strides[place], (window.positions[place] - 1) * window.strides[place] + 1
        x = jnp.stack([lax.slice_in_dim(x, k, k + reach, stride, axis) for k in range(window.kernel[place])], 3)
    return x


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def scatter_taps(taps: Array, window: Window) -> Array:
    """Every tap added where it touches: `[B, H', W', kh, kw, C]` to `[B, H, W, C]`. The adjoint of `gather_taps`."""
    for place, axis in ((0, 1), (1, 2)):
        kernel, stride, low = window.kernel[place], window.strides[place], window.padding[place][0]
        last = -(-kernel // stride) - 1
        put = lambda k, taps=taps, s=stride, n=last, axis=axis: _padded(taps[:, :, :, k], axis, k // s, n - k // s)  # noqa: E731
        phases = [sum(put(k) for k in range(phase, kernel, stride)) for phase in range(min(stride, kernel))]
        phases += [jnp.zeros_like(phases[0])] * (stride - len(phases))  # no tap touches these
        merged = jnp.stack(phases, axis + 1) if stride > 1 else phases[0]
        shape = (*phases[0].shape[:axis], -1, *phases[0].shape[axis + 1 :])
        taps = merged.reshape(shape)
        taps = _padded(taps, axis, -low, window.size[place] + low - taps.shape[axis])
    return taps


def _padded(x: Array, axis: int, low: int, high: int, value: float = 0.0) -> Array:
    """`x` with a value before and after along an axis; cropped there where the numbers are negative."""
    if not (low or high):
        return x
    return lax.pad(x, jnp.asarray(value, x.dtype), [(low, high, 0) if i == axis else (0, 0, 0) for i in range(x.ndim)])


gather_taps.defvjp(lambda x, window: (gather_taps(x, window), None), lambda window, _, g: (scatter_taps(g, window),))
scatter_taps.defvjp(lambda taps, window: (scatter_taps(taps, window), None), lambda window, _, g: (gather_taps(g, window),))


# ----------------------------------------------------------------------------------------------- max pooling


def max_pool_plain(x: Array, window: Window) -> Array:
    """XLA's own reduction over windows."""
    pads = ((0, 0), *window.padding, (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window.kernel, 1), (1, *window.strides, 1), pads)


def max_pool_shifts(x: Array, window: Window) -> Array:
    """Maxima over shifted rows, then over shifted columns: equal values, and a gradient by selection, not scattered. Where
    several values are the maximum they share the gradient; XLA's gives it to the first.
    """
    for place, axis in ((0, 1), (1, 2)):
        stride, reach = window.strides[place], (window.positions[place] - 1) * window.strides[place] + 1
        x = _padded(x, axis, *window.padding[place], value=-jnp.inf)
        x = reduce(jnp.maximum, [lax.slice_in_dim(x, k, k + reach, stride, axis) for k in range(window.kernel[place])])
    return x
