"""Super-resolution networks: their arithmetic, their sizes, what they are before training, and what they refuse."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from medjax import baselines, weights
from medjax.build import config as configs
from medjax.build import networks
from medjax.models.adapted import Adapted
from medjax.models.conv import nearest
from medjax.models.enlarge import corrected
from medjax.models.restorer import pixel_shuffle, pixel_unshuffle
from medjax.models.rrdb import RRDBNet
from medjax.models.sr_discriminator import SRDiscriminator
from medjax.models.srresnet import SRResNet
from medjax.types import ConfigError

pytestmark = pytest.mark.usefixtures("quick_compile")

KEY = jax.random.key(3)
RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (2, 9, 12, 1)).astype(np.float32)
SMALL = {
    SRResNet: {"features": 4, "blocks": 2},
    RRDBNet: {"features": 4, "blocks": 1, "growth": 4},
}


def params_of(module, *shape):
    return jax.jit(module.init)(KEY, jnp.zeros(shape))["params"]


def shapes_of(module, *shape):
    return jax.eval_shape(module.init, KEY, jnp.zeros(shape))["params"]


def drawn(module, *shape):
    """Parameters of its shapes, none of them 0; nothing is compiled for them."""
    rng = np.random.default_rng(4)
    return jax.tree.map(lambda p: rng.normal(0.01, 0.1, p.shape).astype(np.float32), shapes_of(module, *shape))


def nought(module, *shape):
    return jax.tree.map(lambda p: np.zeros(p.shape, np.float32), shapes_of(module, *shape))


def count(module, *shape):
    return sum(x.size for x in jax.tree.leaves(shapes_of(module, *shape)))


def conv(i, o, k=3):
    return k * k * i * o + o


def test_pixel_shuffle_is_its_definition():
    """Shi et al. 2016, eq. 4: the sub-pixel at (row mod r, column mod r) comes from channel c * r^2 + r * (row mod r) + ..."""
    for factor in (2, 3):
        x = RNG.normal(size=(2, 3, 4, 2 * factor**2)).astype(np.float32)
        y = np.asarray(pixel_shuffle(jnp.asarray(x), factor))
        assert y.shape == (2, 3 * factor, 4 * factor, 2)
        for row, column, c in np.ndindex(y.shape[1:]):
            channel = c * factor**2 + factor * (row % factor) + column % factor
            np.testing.assert_array_equal(y[:, row, column, c], x[:, row // factor, column // factor, channel])
        np.testing.assert_array_equal(pixel_unshuffle(jnp.asarray(y), factor), x)


def test_parameters_are_those_of_the_published_layers():
    """Counted layer by layer, kernel and bias, 3 channels."""
    dense = sum(conv(64 + 32 * i, 32) for i in range(4)) + conv(64 + 4 * 32, 64)
    rrdb = conv(3, 64) + 23 * 3 * dense + 4 * conv(64, 64) + conv(64, 3)
    srresnet = conv(3, 64) + 16 * 2 * conv(64, 64) + 2 * conv(64, 256) + conv(64, 64) + conv(64, 3)
    assert rrdb == 16_697_987 == count(RRDBNet(3), 1, 8, 8, 3) and srresnet == 1_517_571 == count(SRResNet(3), 1, 8, 8, 3)
    more = lambda net, **options: count(net(3, blocks=1, **options), 1, 8, 8, 3) - count(net(3, blocks=1), 1, 8, 8, 3)  # noqa: E731
    assert more(RRDBNet, scale=8) == conv(64, 64) and more(SRResNet, scale=8) == conv(64, 256)
    assert more(RRDBNet, direct=True) == conv(64, 48) - 3 * conv(64, 64) - conv(64, 3)


def test_discriminators_have_the_published_layers():
    """Convolutions before a batch norm have no bias; a norm has two numbers a channel."""
    pair = lambda i, o, k: 9 * i * o + 2 * o + k * k * o * o + 2 * o  # noqa: E731
    widths = (64, 128, 256, 512, 512)
    first = lambda k: conv(1, 64) + k * k * 64 * 64 + 128  # noqa: E731
    srgan = first(3) + sum(pair(i, o, 3) for i, o in zip(widths[:3], widths[1:4], strict=True))
    srgan += 512 * 36 * 1024 + 1024 + 1024 + 1
    esrgan = first(4) + sum(pair(i, o, 4) for i, o in zip(widths[:4], widths[1:], strict=True)) + 512 * 16 * 100 + 100 + 101
    assert count(SRDiscriminator(), 1, 96, 96, 1) == srgan
    assert count(SRDiscriminator(stages=5, down_kernel=4, dense=100, grid=4), 1, 128, 128, 1) == esrgan
    assert esrgan == 14_499_401 - 2 * 9 * 64  # that of three channels


@pytest.mark.parametrize("net", SMALL)
@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_every_scale_enlarges_by_itself_and_a_shift_shifts(net, scale, direct):
    """A shift by two pixels of the input is one by 2 * scale of the output, away from the border, whatever the tail."""
    module = net(scale=scale, base="bicubic", direct=direct, **SMALL[net])
    x = jnp.asarray(RNG.uniform(-1, 1, (1, 96, 6, 1)), jnp.float32)
    params = drawn(module, *x.shape)
    apply = jax.jit(lambda x: module.apply({"params": params}, x))
    y, moved = (np.asarray(apply(image)) for image in (x, jnp.roll(x, 2, axis=1)))
    assert y.shape == (1, 96 * scale, 6 * scale, 1) and y.dtype == jnp.float32
    here, there = y[:, 46 * scale : 50 * scale], moved[:, 48 * scale : 52 * scale]
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-4)
    assert np.abs(here - there[:, ::-1]).max() > 1e-2


@pytest.mark.parametrize("net", SMALL)
def test_what_is_corrected_is_the_enlargement_of_pillow(net):
    """With all weights at zero only the base is left: Pillow's bicubic in float32 away from its clipping, or nothing."""
    module = net(scale=4, base="bicubic", **SMALL[net])
    zeros = nought(module, *X.shape)
    unit = (0.5 * X + 1) / 2  # far from black and white, where the overshoot would be clipped
    y = jax.jit(lambda x: module.apply({"params": zeros}, x))(unit)
    for image, enlarged in zip(unit, y, strict=True):
        expected = baselines.upscale(image, size=(36, 48), resampler="bicubic")
        np.testing.assert_allclose(enlarged, expected, atol=2e-6)
    for base, left in (("none", 0.0), ("bilinear", 0.25)):
        plain = dataclasses.replace(module, base=base)
        flat = plain.apply({"params": zeros}, jnp.full((1, 4, 4, 1), 0.25))
        np.testing.assert_allclose(flat, left, atol=1e-6)


def test_an_untrained_net_over_a_base_is_that_base():
    """RRDBNet to the bit; SRResNet, whose published initialisation is small, to a few hundredths."""
    for net, tolerance in ((RRDBNet, 0.0), (SRResNet, 5e-2)):
        for direct in (False, True):
            module = net(base="bicubic", direct=direct, **SMALL[net])
            y = jax.jit(module.apply)({"params": params_of(module, *X.shape)}, X)
            base = corrected(jnp.zeros(y.shape), X, scale=4, base="bicubic")
            np.testing.assert_allclose(y, base, atol=tolerance)


def test_of_neighbouring_slices_the_middle_one_is_enlarged():
    x = jnp.asarray(np.stack([np.full((1, 4, 4), v) for v in (0.1, 0.5, 0.9)], -1), jnp.float32)
    np.testing.assert_allclose(corrected(jnp.zeros((1, 8, 8, 1)), x, scale=2, base="bilinear"), 0.5, atol=1e-6)


def test_nearest_repeats_pixels():
    np.testing.assert_array_equal(nearest(X[:1], 3)[0, ..., 0], np.kron(X[0, ..., 0], np.ones((3, 3))))


@pytest.mark.parametrize("net", SMALL)
def test_rematerialised_blocks_are_the_same_function(net):
    plain, again = (net(base="bicubic", remat=remat, **SMALL[net]) for remat in (False, True))
    params = drawn(plain, *X.shape)
    assert shapes_of(plain, *X.shape) == shapes_of(again, *X.shape)

    def loss(module):
        return lambda p: jnp.square(module.apply({"params": p}, X)).mean()

    values = [jax.jit(jax.value_and_grad(loss(module)))(params) for module in (plain, again)]
    assert float(values[0][0]) == pytest.approx(float(values[1][0]), rel=1e-6)
    for a, b in zip(*(jax.tree.leaves(grad) for _, grad in values), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        assert np.abs(a).max() > 0
    traced = [str(jax.make_jaxpr(jax.grad(loss(module)))(params)) for module in (plain, again)]
    assert "remat" not in traced[0] and "remat" in traced[1]


@pytest.mark.parametrize(
    "module, message",
    [
        (SRResNet(scale=5), "enlarges by 2, 3, 4 or 8, not 5"),
        (RRDBNet(scale=3), "enlarges by 8, 4, 2 or 1, not 3"),
        (RRDBNet(scale=2), "at scale 2 takes multiples of 2, not 9x12"),
        (SRResNet(base="lanczos"), "of the kind none, bilinear, bicubic, not 'lanczos'"),
        (SRDiscriminator(grid=2), "takes images from 32x32 on, not 9x12"),
    ],
)
def test_what_a_network_cannot_do_is_told(module, message):
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(module.init, KEY, jnp.zeros(X.shape))


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_published_names_of_every_scale_tell_the_options(scale):
    for name, module in (("rrdb", RRDBNet), ("srresnet", SRResNet)):
        options = {**SMALL[module], "scale": scale, "out_channels": 1}
        params = nought(module(**options), 1, 8, 8, 1)
        state = weights.to_state({"params": params}, weights.TRAINED[name].mapping(**options))
        found = weights.TRAINED[name].options_of(state)
        assert {k: found[k] for k in options} == options


# ------------------------------------------------------------------------------------------------ discriminator


CRITIC = SRDiscriminator(features=4, stages=2, grid=2, dense=6)


def test_a_discriminator_gives_maps_and_one_logit_at_every_size():
    variables = jax.jit(CRITIC.init)(KEY, jnp.zeros((1, 8, 8, 1)))
    for side in (8, 13, 40):
        ((*maps, logits),) = jax.jit(CRITIC.apply)(variables, jnp.asarray(RNG.normal(size=(3, side, side, 1)), jnp.float32))
        assert [m.shape[-1] for m in maps] == [4, 4, 8, 8] and logits.shape == (3, 1, 1, 1) and logits.dtype == jnp.float32
        assert len(set(np.asarray(logits).ravel().tolist())) == 3


def test_its_pooling_changes_nothing_at_the_published_size_and_averages_beyond():
    """At 8 pixels the last maps are 2x2 and go to the dense layers as they are; at 16 each of four 2x2 parts is averaged."""
    variables = jax.jit(CRITIC.init)(KEY, jnp.zeros((1, 8, 8, 1)))
    params = variables["params"]
    for side in (8, 16):
        ((*maps, logits),) = jax.jit(CRITIC.apply)(variables, jnp.asarray(RNG.normal(size=(2, side, side, 1)), jnp.float32))
        last = np.asarray(maps[-1], np.float64)
        block = last.shape[1] // 2
        grid = last.reshape(2, 2, block, 2, block, -1).mean((2, 4)).reshape(2, -1)
        hidden = grid @ params["dense"]["kernel"] + params["dense"]["bias"]
        hidden = np.where(hidden > 0, hidden, 0.2 * hidden)
        expected = hidden @ params["logits"]["kernel"] + params["logits"]["bias"]
        np.testing.assert_allclose(logits[:, 0, 0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["batch", "instance", "group", "none"])
def test_its_gradients_are_finite_and_reach_every_weight(norm):
    module = SRDiscriminator(features=4, stages=2, grid=1, dense=6, norm=norm)
    variables = jax.jit(module.init)(KEY, jnp.zeros((1, 16, 16, 1)))
    params, rest = variables["params"], {k: v for k, v in variables.items() if k != "params"}
    x = jnp.asarray(RNG.normal(size=(4, 16, 16, 1)), jnp.float32)
    rest_names = list(rest)

    def loss(params):
        out = module.apply({"params": params, **rest}, x, train=True, mutable=rest_names)[0]
        return jnp.square(out[0][-1] - 1).sum()

    grads = jax.jit(jax.grad(loss))(params)
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(grad).all() and np.abs(grad).max() > 0, jax.tree_util.keystr(path)


def test_under_spectral_norm_the_size_of_a_kernel_does_not_matter():
    module = SRDiscriminator(features=4, stages=2, grid=1, dense=6, norm="none", spectral=True)
    x = jnp.asarray(RNG.normal(size=(2, 16, 16, 1)), jnp.float32)
    variables = jax.jit(module.init)(KEY, x)
    assert set(variables) == {"params", "spectral"}
    grown = jax.tree_util.tree_map_with_path(lambda p, v: 7 * v if p[-1].key == "kernel" else v, variables["params"])
    logits = [jax.jit(module.apply)({**variables, "params": p}, x)[0][-1] for p in (variables["params"], grown)]
    np.testing.assert_allclose(*logits, rtol=1e-4)
    plain = dataclasses.replace(module, spectral=False)
    others = [jax.jit(plain.apply)({"params": p}, x)[0][-1] for p in (variables["params"], grown)]
    assert not np.allclose(*others, rtol=0.5)


# ---------------------------------------------------------------------------------------------------- from configs


def test_a_config_gives_the_net_its_enlargement():
    for scale in (2, 4, 8):
        config = configs.get("esrgan:small", [f"data.scale={scale}"])
        module = networks.module(config, "generator", networks.GENERATORS)
        assert isinstance(module, SRResNet) and module.scale == scale and module.base == "bicubic" and module.direct
    config = configs.get("esrgan:paper")
    assert networks.module(config, "generator", networks.GENERATORS) == RRDBNet(1, 64, 23, 32, 4)
    config.generator = ConfigDict({**config.generator, "scale": 2})
    with pytest.raises(ConfigError, match=r"generator.scale is 2, config.data.scale 4"):
        networks.module(config, "generator", networks.GENERATORS)


def test_a_colour_net_of_the_unit_range_enlarges_grey_images_in_the_signed_one():
    """As imported: three channels in [0, 1]; with weights of zero the bilinear enlargement is left, in [-1, 1] again."""
    config = configs.get("srgan_cxr:srresnet_tiny", ["data.scale=2"])
    imported = {"base": "bilinear", "channels": 3, "out_channels": 3, "value_range": "unit"}
    config.generator = ConfigDict({**config.generator, **imported})
    module = networks.module(config, "generator", networks.GENERATORS)
    assert isinstance(module, Adapted) and module.enlarges == 2
    ramp = np.broadcast_to(np.linspace(-0.8, 0.8, 20, dtype=np.float32)[:, None, None], (1, 20, 7, 1))
    zeros = nought(module, *ramp.shape)
    y = np.asarray(jax.jit(module.apply)({"params": zeros}, ramp))
    assert y.shape == (1, 40, 14, 1)
    between = np.interp(np.arange(40) / 2 - 0.25, np.arange(20), ramp[0, :, 0, 0])
    np.testing.assert_allclose(y[0, :, 0, 0], between, atol=1e-5)
