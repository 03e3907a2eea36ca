"""Networks: published sizes, receptive field, norms against numpy, the identity, any size, dropout only with a key."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.models.blocks import NORMS, BatchNorm, GroupNorm, InstanceNorm, make_norm
from medjax.models.discriminators import MultiScale, PatchGAN
from medjax.models.restorer import Restorer, pixel_shuffle, pixel_unshuffle
from medjax.models.unet import UNet, depth
from medjax.types import ConfigError

pytestmark = pytest.mark.usefixtures("quick_compile")

KEY = jax.random.key(0)


def image(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, size=shape).astype(np.float32)


def shapes(module, *shape):
    return jax.eval_shape(module.init, KEY, jnp.zeros(shape))


def count(variables):
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


def started(module, x, **options):
    return jax.jit(lambda: module.init(KEY, x, **options))()


# ------------------------------------------------------------------------------------------------ published sizes


def test_unet_has_the_published_parameters():
    """pix2pix at 256, one channel in and out: 54.41M; eight levels down to 1x1 at 512 channels."""
    variables = shapes(UNet(), 1, 256, 256, 1)
    assert count(variables) == 54_407_809
    assert variables["params"]["encoder_7"]["kernel"].shape == (4, 4, 512, 512)
    assert "encoder_norm_7" not in variables["params"] and "encoder_norm_0" not in variables["params"]


def test_patchgan_has_the_published_parameters_and_30x30_logits():
    module, x = PatchGAN(), jnp.zeros((1, 256, 256, 2))
    variables = shapes(module, *x.shape)
    assert count(variables) == 2_764_609
    maps = jax.eval_shape(lambda v, x: module.apply(v, x), variables, x)[0]
    assert [m.shape[1:3] for m in maps] == [(128, 128), (64, 64), (32, 32), (31, 31), (30, 30)]


def test_receptive_field_is_70():
    """The pixels that one logit's gradient reaches span 70x70 (Isola et al. 2017)."""
    module, x = PatchGAN(features=1, norm="none"), image(1, 128, 128, 1)
    variables = started(module, x)
    reach = jax.jit(jax.grad(lambda x: module.apply(variables, x)[0][-1][0, 7, 7, 0]))(x)[0, :, :, 0]
    rows, columns = np.nonzero(np.asarray(reach))
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (70, 70)


def test_multi_scale_halves_the_image_each_time():
    module, x = MultiScale(scales=3, features=2, layers=2), jnp.zeros((1, 64, 64, 2))
    outputs = jax.eval_shape(lambda v, x: module.apply(v, x), shapes(module, *x.shape), x)
    assert [s[-1].shape[1] for s in outputs] == [14, 6, 2]
    assert all(len(s) == 4 for s in outputs)


@pytest.mark.parametrize("size, levels", [(256, 8), (512, 8), (32, 5), (96, 5), (24, 3)])
def test_depth_follows_the_image(size, levels):
    assert depth(size) == levels


def test_unet_names_the_sizes_it_takes():
    with pytest.raises(ConfigError, match="5 levels takes sizes that are multiples of 32, not 48x64"):
        shapes(UNet(features=2, levels=5), 1, 48, 64, 1)


# ------------------------------------------------------------------------------------------------ norms


def normed(x, axes):
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5)


def test_batch_norm_equals_numpy_and_follows_pytorchs_running_rule():
    x = image(3, 4, 5, 6).astype(np.float64) * 3 + 1
    module = BatchNorm()
    variables = started(module, x.astype(np.float32), train=False)
    scale, bias = (np.asarray(variables["params"][n]) for n in ("scale", "bias"))
    train = jax.jit(lambda v, x: module.apply(v, x, train=True, mutable=["batch_stats"]))
    y, changed = train(variables, x.astype(np.float32))
    np.testing.assert_allclose(y, normed(x, (0, 1, 2)) * scale + bias, atol=1e-5)
    stats = changed["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.1 * x.mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * x.var((0, 1, 2), ddof=1), rtol=1e-5)
    running = jax.jit(lambda v, x: module.apply(v, x, train=False))({**variables, **changed}, x.astype(np.float32))
    expected = (x - np.asarray(stats["mean"])) / np.sqrt(np.asarray(stats["var"]) + 1e-5) * scale + bias
    np.testing.assert_allclose(running, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["batch", "instance", "group"])
def test_one_image_does_not_depend_on_its_neighbours_at_test_time(name):
    x = image(3, 4, 4, 6)
    module = make_norm(name, predict_norm="batch")
    variables = started(module, x, train=False)
    apply = jax.jit(lambda x: module.apply(variables, x, train=False))
    np.testing.assert_allclose(apply(x)[1:2], apply(x[1:2]), atol=1e-6)
    if name == "batch":
        scale, bias = (np.asarray(variables["params"][n]) for n in ("scale", "bias"))
        np.testing.assert_allclose(apply(x), normed(x, (1, 2)) * scale + bias, atol=1e-5)


def test_instance_and_group_norm_equal_numpy():
    x = image(2, 4, 5, 6)
    np.testing.assert_allclose(InstanceNorm().apply({}, x, train=True), normed(x, (1, 2)), atol=1e-5)
    module = GroupNorm(groups=4)  # 6 channels: the largest number of groups up to 4 that divides them is 3
    variables = {"params": {"scale": jnp.ones(6), "bias": jnp.zeros(6)}}
    expected = normed(x.reshape(2, 4, 5, 3, 2), (1, 2, 4)).reshape(x.shape)
    np.testing.assert_allclose(module.apply(variables, x, train=True), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["batch", "instance", "group"])
def test_a_value_that_is_its_own_mean_gives_the_bias_exactly(name):
    """As at the bottleneck of the U-Net at batch 1: nothing of the image is left there, rounding neither."""
    x = 1e3 * image(1, 1, 1, 6)
    module = make_norm(name) if name != "group" else GroupNorm(groups=6)
    variables = started(module, x, train=True)
    if name != "instance":
        variables["params"]["bias"] = jnp.arange(6.0)

    def out(params, x):
        return module.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])[0]

    params = variables.get("params", {})
    np.testing.assert_array_equal(jax.jit(out)(params, x).ravel(), np.arange(6) if name != "instance" else 0)
    found = jax.jit(jax.grad(lambda params, x: (out(params, x) ** 2).sum(), argnums=(0, 1)))(params, x)
    assert not found[1].any() and not found[0].get("scale", found[1]).any()


def test_norms_keep_float32_statistics_in_bfloat16():
    """A large mean with a small spread: in bfloat16 the variance would vanish or turn negative."""
    x = (100 + image(1, 8, 8, 4)).astype(jnp.bfloat16)
    for name in NORMS:
        module = make_norm(name, predict_norm="batch")
        y = jax.jit(lambda: module.init_with_output(KEY, x, train=False)[0])()  # noqa: B023
        assert y.dtype == jnp.bfloat16, name
        assert bool(jnp.isfinite(y.astype(jnp.float32)).all()), name


def test_unknown_norms_are_named():
    with pytest.raises(ConfigError, match="'layer'.*batch, instance, group, none"):
        make_norm("layer")
    with pytest.raises(ConfigError, match="'running' or 'batch', not 'test'"):
        started(BatchNorm(predict_norm="test"), image(1, 2, 2, 1), train=False)


# ------------------------------------------------------------------------------------------------ generators


@pytest.fixture(scope="module")
def unet():
    module, x = UNet(features=4, levels=3, predict_norm="batch"), image(2, 16, 24, 1)
    return module, started(module, x), x


def test_unet_dropout_is_on_with_a_key_alone(unet):
    module, variables, x = unet
    apply = jax.jit(lambda key: module.apply(variables, x, rngs=None if key is None else {"dropout": key}))
    plain, again = apply(None), apply(None)
    np.testing.assert_array_equal(plain, again)
    one, two = apply(KEY), apply(jax.random.key(1))
    np.testing.assert_array_equal(one, apply(KEY))
    assert float(jnp.abs(one - plain).max()) > 1e-3 and float(jnp.abs(one - two).max()) > 1e-3


def test_unet_takes_other_sizes_and_stays_in_range(unet):
    module, variables, x = unet
    y = jax.jit(module.apply)(variables, x[:, :8] * 100)
    assert y.shape == (2, 8, 24, 1) and float(jnp.abs(y).max()) <= 1


def test_dropout_keeps_the_expected_value():
    from medjax.models.blocks import Dropout

    x = jnp.ones((1, 100, 100, 1))
    y = Dropout(0.25).apply({}, x, rngs={"dropout": KEY})
    np.testing.assert_allclose(np.unique(y), [0, 4 / 3], rtol=1e-6)
    assert float(y.mean()) == pytest.approx(1, abs=0.02)


def test_untrained_restorer_is_the_identity_at_any_size():
    module = Restorer(features=(4, 4), blocks=(1, 1))
    variables = started(module, image(1, 8, 8, 1))
    apply = jax.jit(lambda x: module.apply(variables, x))
    for shape in ((2, 7, 9, 1), (1, 1, 5, 1)):
        x = image(*shape)
        np.testing.assert_array_equal(apply(x), x)


def randomised(variables):
    rng = np.random.default_rng(2)
    return jax.tree.map(lambda p: jnp.asarray(p + 0.1 * rng.normal(size=p.shape), jnp.float32), variables)


def test_restorer_moves_with_the_image_by_its_stride():
    """Away from the border, shifting by the coarsest stride shifts the output: no pixel's result hangs on its place."""
    module = Restorer(features=(4, 4), blocks=(1, 1))
    x = image(1, 96, 96, 1)
    variables = randomised(started(module, x))
    apply = jax.jit(lambda x: module.apply(variables, x))
    y, moved = apply(x), apply(np.roll(x, (4, 8), (1, 2)))
    inside = np.s_[:, 40:-40, 40:-40]
    np.testing.assert_allclose(np.roll(y, (4, 8), (1, 2))[inside], moved[inside], atol=1e-4)
    assert float(jnp.abs(y - x).max()) > 0.01


@pytest.mark.parametrize(
    "module", [UNet(features=4, levels=2, dtype=jnp.bfloat16), Restorer((4, 4), (1, 1), dtype=jnp.bfloat16)]
)
def test_bfloat16_stays_inside(module):
    """Parameters and images are float32, close to the float32 result; the work between is bfloat16."""
    x = image(1, 16, 16, 1)
    variables = started(module, x)
    assert {p.dtype for p in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    variables = {**variables, "params": randomised(variables["params"])}
    low, full = jax.jit(lambda v, x: [m.apply(v, x) for m in (module, module.clone(dtype=None))])(variables, x)
    assert low.dtype == jnp.float32
    assert 0 < float(jnp.abs(low - full).max()) < 0.2


def test_pixel_shuffle_inverts_pixel_unshuffle_in_pytorchs_order():
    x = image(2, 6, 8, 3)
    np.testing.assert_array_equal(pixel_shuffle(pixel_unshuffle(x, 2), 2), x)
    down = pixel_unshuffle(x, 2)
    assert down.shape == (2, 3, 4, 12)
    np.testing.assert_array_equal(down[0, 1, 2, 4:8], x[0, 2:4, 4:6, 1].reshape(-1))  # channel 1: its 2x2 block, row by row
