"""bfloat16 is a type of the computation: what is kept, told and handed out is float32 in every method."""

from __future__ import annotations

from collections.abc import Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.build import config as configs
from medjax.build import networks, trained
from medjax.models.blocks import GroupNorm
from medjax.models.conv import traced_for
from medjax.objective import train_step

CASES = (
    ("pix2pix_cxr:tiny", ("method.feature_matching_weight=1.0", "generator.attention_at=('encoder:8',)"), ()),
    ("classifier_cxr:tiny", ("classifier.norm=group",), ()),
    ("led_diffusion:tiny", ("denoiser.multipliers=(1,1)", "denoiser.attention_levels=(1,)"), ()),
    ("restorer_cxr:tiny", ("train.ema=0.9",), pytest.mark.slow),
    ("led_cyclegan:tiny", (), pytest.mark.slow),
    ("esrgan:tiny_gan", ("train.needs_init=False",), pytest.mark.slow),
    ("esrgan:light", ("data.crop_size=16", "generator.blocks=1", "generator.direct=False"), pytest.mark.slow),
    ("cgan_cxr:tiny", ("method.r1=0.1", "generator.conditional_norm=True"), pytest.mark.slow),
)


def set_up(name, overrides):
    config = configs.get(name, [*overrides, "train.precision=bfloat16"])
    objective, batch = networks.objective(config, 10), trained.blank(config, batch_size=2)
    key = jax.random.key(0)
    return objective, jax.eval_shape(objective.init, key, batch), batch, key


def types(tree):
    return {str(x.dtype) for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)}


def convolutions(jaxpr) -> Iterator[str]:
    """The types that convolutions are computed in, those of the functions inside too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            yield str(equation.outvars[0].aval.dtype)
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from convolutions(inner)


@pytest.mark.parametrize("name, overrides", [pytest.param(name, changes, marks=marks, id=name) for name, changes, marks in CASES])
def test_what_is_kept_and_told_is_float32(name, overrides):
    objective, state, batch, key = set_up(name, overrides)
    assert types(state) == {"float32"}
    with traced_for("cuda"):  # where every convolution is one
        program, (moved, metrics) = jax.make_jaxpr(train_step(objective), return_shape=True)(state, batch, key)
        outputs = [jax.eval_shape(fn, state, batch, key) for fn in (objective.predict, objective.evaluate)]
    assert types(moved) == types(metrics) == types(outputs) == {"float32"}
    assert set(convolutions(program.jaxpr)) == {"bfloat16"}


def test_a_step_in_bfloat16_is_near_one_in_float32(quick_compile):
    found = {}
    for precision in ("float32", "bfloat16"):
        config = configs.get("restorer_cxr:tiny", [f"train.precision={precision}", "train.ema=0.0"])
        objective, batch = networks.objective(config, 10), trained.blank(config, batch_size=2)
        draw = np.random.default_rng(0).uniform
        batch |= {name: draw(-1, 1, batch[name].shape).astype(np.float32) for name in ("source", "target")}
        state = jax.jit(objective.init)(jax.random.key(0), batch)
        _, metrics = jax.jit(train_step(objective))(state, batch, jax.random.key(0))
        found[precision] = float(metrics["g_loss"])
    assert found["bfloat16"] == pytest.approx(found["float32"], rel=0.02)


def test_group_norm_by_sums_is_flaxs_in_float64():
    x = np.random.default_rng(0).normal(3, 2, (2, 5, 4, 12))
    with jax.enable_x64(True):
        ours, theirs = GroupNorm(groups=5), nn.GroupNorm(num_groups=4, epsilon=1e-5, use_fast_variance=False)
        params = {"scale": jnp.linspace(0.5, 1.5, 12), "bias": jnp.linspace(-1, 1, 12)}
        value = lambda norm, x, **kw: norm.apply({"params": params}, x, **kw)  # noqa: E731
        loss = lambda x, norm, **kw: jnp.sum(jnp.tanh(value(norm, x, **kw)) * jnp.cos(x))  # noqa: E731
        np.testing.assert_allclose(value(ours, x, train=True), value(theirs, x), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(jax.grad(loss)(x, ours, train=True), jax.grad(loss)(x, theirs), rtol=1e-12, atol=1e-12)
        told = tuple(np.random.default_rng(1).normal(size=(2, 2, 12)))
        changed = value(theirs, x) * (1 + told[0][:, None, None]) + told[1][:, None, None]
        np.testing.assert_allclose(value(ours, x, told=told, train=True), changed, rtol=1e-12, atol=1e-12)
