"""The degradation under jit against the one on the host: the same numbers where nothing is drawn, the same noise where it is."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax import formats
from medjax.data import degrade as host
from medjax.data.phantom import radiograph
from medjax.images import degradation as device
from medjax.images import degrade
from medjax.images.jpeg import jpeg, quantisation
from medjax.rng import generator
from medjax.types import ConfigError

pytestmark = pytest.mark.usefixtures("quick_compile")

KEY = jax.random.key(2)
STILL = (
    ("binomial_blur", {}),
    ("box_blur", {"size": 3}),
    ("box_blur", {"size": 4}),
    ("gaussian_blur", {"sigma": 1.7}),
    ("contrast", {"gain": 0.6}),
    ("down_up", {"factor": 2.0}),
    ("down_up", {"factor": 2.6, "resampler": "lanczos"}),
    ("downsample", {"factor": 3}),
    ("jpeg", {"quality": 30}),
)
FILTERS = ("median", "gaussian")


@pytest.fixture(scope="module")
def image():
    """Smooth, rough and no multiple of eight."""
    y, x = np.mgrid[:39, :51]
    rough = 0.05 * np.random.default_rng(0).standard_normal((39, 51))
    return (0.5 + 0.3 * np.sin(x / 9) + 0.15 * np.cos(y / 5) + rough).clip(0, 1)[..., None].astype(np.float32)


@pytest.fixture(scope="module")
def still(image):
    """Every step of STILL and every filter, in one program."""

    def every(key, image):
        steps = [degrade(key, image, steps=(step,), params={step: params}) for step, params in STILL]
        return steps, [device.prefiltered(image, kind) for kind in FILTERS]

    return jax.device_get(jax.jit(every)(KEY, image))


@pytest.mark.parametrize("number", range(len(STILL)), ids=lambda i: STILL[i][0])
def test_what_draws_nothing_agrees_with_the_host(number, image, still):
    step, params = STILL[number]
    expected = host.degrade(image, generator(0), steps=(step,), params={step: params})
    assert still[0][number].shape == expected.shape and still[0][number].dtype == np.float32
    np.testing.assert_allclose(still[0][number], expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("number", range(len(FILTERS)), ids=FILTERS.__getitem__)
def test_filters_agree_with_the_host(number, image, still):
    np.testing.assert_allclose(still[1][number], host.prefiltered(image, FILTERS[number]), rtol=0, atol=2e-6)


def test_every_step_but_one_has_a_form_on_the_device():
    assert set(host.OPERATIONS) - set(device.OPERATIONS) == {"motion_blur"}


@pytest.fixture(scope="module")
def encoded():
    """JPEG of quality as an argument, compiled once for each shape."""
    return jax.jit(lambda image, quality: jpeg(KEY, image, quality=quality))


@pytest.fixture(scope="module")
def everything():
    """Phantoms, noise, and flat grey, whose mean lies between two steps of quality 50 for every other level."""
    flat = np.arange(64, dtype=np.float32).reshape(4, 16, 1).repeat(8, 0).repeat(8, 1) / 255
    noise = np.random.default_rng(1).random((32, 128, 1), dtype=np.float32)
    films = [radiograph(0, i, size=64).image.astype(np.float32)[..., None] / 65535 for i in range(2)]
    return np.concatenate([flat, noise, np.concatenate(films, 1)])


@pytest.mark.parametrize("quality", [5, 49, 50, 95])
def test_jpeg_is_the_encoders_to_the_level(quality, everything, encoded):
    difference = 255 * abs(np.asarray(encoded(everything, quality)) - host.jpeg(everything, None, quality=quality))
    assert difference.mean() < 1e-3 and difference.max() < 1e-3


def test_jpeg_on_real_radiographs(real_data, encoded):
    paths = sorted((real_data / "cxr_nih" / "images_512").iterdir())[:8]
    images = np.concatenate([formats.read(path)[0] for path in paths])
    difference = 255 * abs(np.asarray(encoded(images, 50)) - host.jpeg(images, None, quality=50))
    print(f"device against encoder at quality 50: mean {difference.mean():.2g}, largest {difference.max():.2g} grey levels")
    assert difference.mean() < 0.5 and difference.max() < 1e-3


def test_the_tables_are_libjpegs():
    """As libjpeg's own comments state them for 50, doubled at 25, and all ones from 100 on."""
    qualities = np.array([1, 25, 50, 75, 100])
    at = dict(zip(qualities.tolist(), np.asarray(jax.jit(jax.vmap(quantisation))(qualities)), strict=True))
    assert at[50][0, :3].tolist() == [16, 11, 10] and at[50][7, 7] == 99
    assert at[25][0, :3].tolist() == [32, 22, 20] and at[75][0, :3].tolist() == [8, 6, 5]
    assert (at[100] == 1).all() and (at[1] == 255).all()


@pytest.mark.parametrize(
    "step, params", [("gaussian_noise", {"sigma": 15.0}), ("poisson_noise", {"dose": 50.0}), ("low_dose", {"photons": 40.0})]
)
def test_noise_has_the_hosts_mean_and_variance(step, params):
    flat = np.full((160, 160, 1), 0.4, np.float32)
    drawn = np.asarray(jax.jit(lambda key, image: device.OPERATIONS[step](key, image, **params))(KEY, flat))
    expected = host.OPERATIONS[step](flat, generator(0, step), **params)
    print(f"{step}: mean {drawn.mean():.5f} and {expected.mean():.5f}, deviation {drawn.std():.5f} and {expected.std():.5f}")
    assert abs(drawn.mean() - expected.mean()) < 6 * expected.std() / 160
    assert drawn.std() == pytest.approx(float(expected.std()), rel=0.04)
    assert abs(np.corrcoef(drawn[1:].ravel(), drawn[:-1].ravel())[0, 1]) < 0.03, "pixels are independent"


def test_ranges_are_drawn_for_each_image_and_each_step_has_its_stream(image):
    """A traced sigma blurs as a given one does; a step put before changes no draw of those that follow by another number."""
    ranges = {"gaussian_blur": {"sigma": (0.4, 2.5)}, "gaussian_noise": {"sigma": (1.0, 40.0)}}
    steps = ("gaussian_blur", "gaussian_noise")
    chain = jax.jit(jax.vmap(lambda key: degrade(key, image, steps=steps, params=ranges)))
    drawn = np.asarray(chain(jax.random.split(KEY, 12)))
    noise = [(x - host.gaussian_blur(x, None, sigma=1.0)).std() for x in drawn]
    assert max(noise) > 3 * min(noise)
    np.testing.assert_array_equal(chain(jax.random.split(KEY, 12)[:3]), drawn[:3])
    blur = jax.jit(lambda sigma: device.gaussian_blur(None, image, sigma=sigma, widest=2.5))
    for sigma in (0.4, 1.3, 2.5):
        expected = host.gaussian_blur(image, None, sigma=sigma)
        np.testing.assert_allclose(blur(sigma), expected, rtol=0, atol=2e-6)
    later = np.asarray(degrade(KEY, image, steps=("contrast", "gaussian_noise"), start=1)) - image
    whole = degrade(KEY, image, steps=("contrast", "gaussian_noise"), params={"contrast": {"gain": 1.0}})
    np.testing.assert_allclose(later, whole - image, atol=1e-6)


def test_what_has_no_form_on_the_device_is_named():
    for steps, params, told in (
        (("jpeg", "motion_blur"), {}, "the degradation step motion_blur has no form on a device"),
        (("box_blur",), {"box_blur": {"size": (3, 5)}}, r"box_blur takes one size, not a range .* \(3, 5\)"),
        (("down_up",), {"down_up": {"resampler": "box"}}, "the resampler 'box' has no form on a device"),
    ):
        with pytest.raises(ConfigError, match=told):
            degrade(KEY, jnp.zeros((8, 8, 1)), steps=steps, params=params)
