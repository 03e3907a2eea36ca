"""Claims on the networks: sizes counted without computing anything, and what a 1x1 map leaves of norm and attention."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from experiments.attention.costs import count, generator_cost
from experiments.claims import Claim, verdict
from medjax.build import config as configs
from medjax.build import networks
from medjax.models.attention import SelfAttention
from medjax.models.blocks import BatchNorm
from medjax.models.discriminators import PatchGAN
from medjax.types import Array, PyTree

SIDE = 256


def claims() -> list[Claim]:
    """Five rows: generator, discriminator, norm at the bottleneck, attention there, its parameters."""
    return [_unet(), _patchgan(), _bottleneck_norm(), _bottleneck_attention(), _attention_parameters()]


def _unet() -> Claim:
    generator, _ = generator_cost(configs.get("pix2pix_cxr:paper"))
    config = configs.get("pix2pix_cxr:paper")
    module = networks.module(config, "discriminator", networks.DISCRIMINATORS)
    discriminator = count(_shapes(module, (1, SIDE, SIDE, 2))["params"])
    return Claim(
        "generator-size",
        "The U-Net generator has 54M parameters",
        "54M",
        f"{generator / 1e6:.2f}M; discriminator {discriminator / 1e6:.2f}M",
        None,
        verdict(round(generator / 1e6) == 54),
        "Shapes of pix2pix_cxr:paper (one channel in, one out), counted by jax.eval_shape. Holds if it rounds to 54M.",
    )


def _shapes(module, shape: Sequence[int]) -> PyTree:
    image = jax.ShapeDtypeStruct(tuple(shape), jnp.float32)
    return jax.eval_shape(lambda key, x: module.init(key, x, train=False), jax.random.key(0), image)


def receptive_field(strides: Sequence[int], kernel: int = 4) -> int:
    """Side of the patch that one output of a stack of convolutions sees."""
    field, jump = 1, 1
    for stride in strides:
        field, jump = field + (kernel - 1) * jump, jump * stride
    return field


def output_side(side: int, strides: Sequence[int], kernel: int = 4, padding: int = 1) -> int:
    """Side of the map that a stack of convolutions makes of an image."""
    for stride in strides:
        side = (side + 2 * padding - kernel) // stride + 1
    return side


def _patchgan() -> Claim:
    module = PatchGAN()
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 2), jnp.float32)
    logits = jax.eval_shape(lambda v, x: module.apply(v, x), _shapes(module, image.shape), image)[-1][-1]
    published, plain = (2, 2, 2, 1, 1), (2, 2, 2, 2, 1)
    side, field = logits.shape[1], receptive_field(published)
    return Claim(
        "patchgan",
        "The PatchGAN gives 30x30 outputs at 256 pixels, each of a 70x70 patch",
        "30x30, 70x70",
        f"{side}x{side}, {field}x{field}",
        None,
        verdict((side, field) == (30, 70)),
        "Shapes by jax.eval_shape, field by arithmetic, with C512 at stride 1 (as in the original). Equation 3 does"
        f" not say so: were every stride 2 it would be {output_side(SIDE, plain)}x{output_side(SIDE, plain)} and"
        f" {receptive_field(plain)} pixels.",
    )


def _bottleneck_norm() -> Claim:
    norm, key = BatchNorm(), jax.random.key(0)
    code = 3 + 2 * jax.random.normal(key, (1, 1, 1, 512))
    variables = norm.init(key, code, train=False)
    bias = jax.random.normal(jax.random.key(1), (512,))
    variables = {**variables, "params": {**variables["params"], "bias": bias}}
    out, _ = norm.apply(variables, code, train=True, mutable=["batch_stats"])
    away = float(jnp.abs(out[0, 0, 0] - bias).max())
    return Claim(
        "bottleneck-norm",
        "All eight encoder layers are convolution, batch norm, ReLU, down to a 1x1x512 code, at batch size 1",
        "1x1x512, batch size 1",
        f"largest distance of the norm's output from its bias: {away:.1e}, whatever the code",
        None,
        "void" if away == 0 else "holds",
        "Batch norm in training over one position of one image: its mean is the value itself, so the output is the"
        " bias and the innermost code is erased. medjax leaves the norm out there, as the erratum of Isola et al."
        " does.",
    )


def attend(params: PyTree, x: Array) -> Array:
    """The formula of `SelfAttention` (SAGAN eq. 1-3) without its refusal of 1x1 maps."""
    batch, height, width, channels = x.shape
    project = lambda name: (x @ params[name]["kernel"][0, 0] + params[name]["bias"]).reshape(
        batch, height * width, -1
    )  # noqa: E731
    q, k, v = project("query"), project("key"), project("value")
    weights = jax.nn.softmax(jnp.einsum("bic,bjc->bij", q, k))
    return x + params["gamma"] * jnp.einsum("bij,bjc->bic", weights, v).reshape(x.shape)


def attention_gradients(side: int, channels: int = 512) -> tuple[float, float]:
    """(largest gradient of Q and K over several gammas, distance of `attend` from medjax's module or 0 at 1x1)."""
    key = jax.random.key(0)
    x = jax.random.normal(key, (1, max(side, 2), max(side, 2), channels))
    params = jax.jit(SelfAttention().init)(key, x)["params"]
    half = {**params, "gamma": jnp.float32(0.5)}
    gap = jax.jit(lambda p, x: jnp.abs(attend(p, x) - SelfAttention().apply({"params": p}, x)).max())(half, x)
    x = x[:, :side, :side]
    goal = jax.random.normal(jax.random.key(1), x.shape)
    loss = lambda p: jnp.abs(attend(p, x) - goal).mean()  # noqa: E731
    gradient = jax.jit(jax.grad(loss))
    grads = [gradient({**params, "gamma": jnp.float32(g)}) for g in (0.0, -0.0024, 0.5, 1.0)]
    largest = max(float(jnp.abs(g[name]["kernel"]).max()) for g in grads for name in ("query", "key"))
    return largest, float(gap)


def _bottleneck_attention() -> Claim:
    (one, gap), (eight, _) = attention_gradients(1), attention_gradients(8)
    return Claim(
        "bottleneck-attention",
        "Self-attention after the bottleneck (layer 8, 1x1) captures long-range dependencies",
        "attention over a 1x1 map",
        f"largest gradient of Q and K: {one:.1e} at 1x1, {eight:.1e} at 8x8",
        None,
        "void" if one == 0 < eight else "holds",
        "The softmax over one position is 1 for any Q and K, so they get no gradient for any gamma, and the module is"
        f" the linear map x + gamma V x. Computed with the formula of medjax's module (the two agree to {gap:.0e} at"
        " 2x2), which itself refuses a 1x1 map.",
    )


def _attention_parameters() -> Claim:
    sizes = {}
    for channels in (512, 1024):
        for reduction in (8, 1):
            size = count(_attention_shapes(channels, reduction))
            sizes[f"{channels} channels, Q and K at C{'/8' if reduction == 8 else ''}"] = size / 1e6
    matching = [name for name, size in sizes.items() if abs(size - 2.5) <= 0.25]
    return Claim(
        "attention-parameters",
        "The attention module adds about 2.5M parameters",
        "2.5M",
        "; ".join(f"{name}: {size:.2f}M" for name, size in sizes.items()),
        None,
        verdict(bool(matching)),
        "One block, counted by jax.eval_shape. The bottleneck has 512 channels, the concatenated decoder features"
        " 1,024. Holds if one is within 10%.",
    )


def _attention_shapes(channels: int, reduction: int) -> PyTree:
    module, x = SelfAttention(reduction=reduction), jax.ShapeDtypeStruct((1, 2, 2, channels), jnp.float32)
    return jax.eval_shape(module.init, jax.random.key(0), x)["params"]
