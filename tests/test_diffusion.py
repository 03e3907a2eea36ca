"""Schedules, the forward process and samplers against float64 numpy, and against data whose best denoiser is known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax import diffusion
from medjax.diffusion.samplers import Path
from medjax.diffusion.schedules import exact_alpha_bar
from medjax.rng import named, per_image
from medjax.types import ConfigError

pytestmark = pytest.mark.usefixtures("quick_compile")

KEY = jax.random.key(3)
LINEAR, COSINE = diffusion.linear(1000), diffusion.cosine(1000)
RNG = np.random.default_rng(0)


def betas_of(name, total=1000):
    """Both schedules written out with Python's own numbers."""
    if name == "linear":
        return [1e-4 + (0.02 - 1e-4) * i / (total - 1) for i in range(total)]
    f = [np.cos((i / total + 0.008) / 1.008 * np.pi / 2) ** 2 for i in range(total + 1)]
    return [min(1 - f[i + 1] / f[i], 0.999) for i in range(total)]


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_schedules_are_the_published_ones(name):
    schedule, product, found = diffusion.make_schedule(name, 1000), 1.0, []
    for beta in betas_of(name):
        product *= 1 - beta
        found.append(product)
    alpha_bar = np.array(found)
    np.testing.assert_allclose(schedule.betas, betas_of(name), rtol=1e-6)
    np.testing.assert_allclose(schedule.alpha_bar, alpha_bar, rtol=1e-6)
    np.testing.assert_allclose(schedule.signal**2 + schedule.noise**2, 1, rtol=1e-6)
    np.testing.assert_allclose(schedule.noise, np.sqrt(1 - alpha_bar), rtol=1e-6)
    np.testing.assert_allclose(diffusion.snr(schedule, jnp.arange(1000)), alpha_bar / (1 - alpha_bar), rtol=1e-5)
    np.testing.assert_allclose(exact_alpha_bar(schedule), alpha_bar, rtol=2e-5)
    assert schedule.num_times == 1000 and all(np.asarray(a).dtype == np.float32 for a in schedule)


def test_a_late_start_keeps_nothing_of_the_image():
    """Of the linear schedule 800 of 1000 steps leave -28 dB, 200 leave 2.8 dB."""
    decibel = lambda steps: 10 * np.log10(float(diffusion.snr(LINEAR, steps - 1)))
    assert decibel(800) == pytest.approx(-28.1, abs=0.1) and decibel(200) == pytest.approx(2.8, abs=0.1)


@pytest.mark.parametrize("schedule", [LINEAR, COSINE], ids=["linear", "cosine"])
def test_forward_and_posterior_are_those_of_bayes(schedule):
    """The posterior from the two Gaussians it is the product of, precision by precision."""
    alpha_bar, betas = exact_alpha_bar(schedule), schedule.betas.astype(np.float64)
    t = np.array([0, 1, 500, 999])
    x0, noise = RNG.normal(size=(2, 4, 3, 3, 1))
    x_t = diffusion.q_sample(schedule, jnp.float32(x0), t, jnp.float32(noise))
    wide = lambda values: values[:, None, None, None]
    exact = np.sqrt(wide(alpha_bar[t])) * x0 + np.sqrt(wide(1 - alpha_bar[t])) * noise
    np.testing.assert_allclose(x_t, exact, rtol=1e-5, atol=1e-6)
    mean, variance = diffusion.posterior(schedule, jnp.float32(x0), x_t, t)
    assert float(variance[0, 0, 0, 0]) == 0 and np.allclose(mean[0], x0[0], atol=1e-6)
    later = t[1:]
    before, beta = wide(alpha_bar[later - 1]), wide(betas[later])
    precision = (1 - beta) / beta + 1 / (1 - before)
    centre = (np.sqrt(1 - beta) / beta * exact[1:] + np.sqrt(before) / (1 - before) * x0[1:]) / precision
    np.testing.assert_allclose(mean[1:], centre, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(variance[1:, 0, 0, 0], 1 / precision[:, 0, 0, 0], rtol=1e-5)


@pytest.mark.parametrize("prediction", diffusion.PREDICTIONS)
def test_every_prediction_gives_the_image_and_the_noise(prediction):
    x0, noise = jnp.asarray(RNG.uniform(-1, 1, (2, 5, 4, 4, 1)), jnp.float32)
    t = jnp.array([0, 10, 300, 700, 900])
    x_t = diffusion.q_sample(LINEAR, x0, t, noise)
    told = diffusion.target_of(LINEAR, x0, noise, t, prediction=prediction)
    np.testing.assert_allclose(diffusion.to_x0(LINEAR, told, x_t, t, prediction=prediction), x0, atol=2e-5)
    np.testing.assert_allclose(diffusion.to_epsilon(LINEAR, told, x_t, t, prediction=prediction), noise, atol=2e-4)
    if prediction == "v":
        a = np.sqrt(np.cumprod(1 - np.array(betas_of("linear"))))[np.asarray(t)][:, None, None, None]
        np.testing.assert_allclose(told, a * noise - np.sqrt(1 - a**2) * x0, atol=1e-5)


def test_min_snr_weighs_the_error_of_the_image():
    """One number for an error of x0, whatever is predicted: min(SNR, gamma) (Hang et al. 2023)."""
    t = np.array([0, 100, 300, 999])
    ratio = exact_alpha_bar(LINEAR)[t] / (1 - exact_alpha_bar(LINEAR)[t])
    per_x0 = {"epsilon": ratio, "v": ratio + 1, "x0": 1}  # squared error of the prediction for a unit of x0's
    for prediction, factor in per_x0.items():
        weight = diffusion.loss_weight(LINEAR, t, prediction=prediction, weighting="min_snr", gamma=5.0)
        np.testing.assert_allclose(weight * factor, np.minimum(ratio, 5), rtol=1e-4)
        assert (np.asarray(diffusion.loss_weight(LINEAR, t, prediction=prediction)) == 1).all()


@pytest.mark.parametrize("schedule", [LINEAR, COSINE], ids=["linear", "cosine"])
def test_both_ends_of_time_are_finite_with_their_gradients(schedule):
    t, noise = jnp.array([0, 999]), jnp.asarray(RNG.normal(size=(2, 2, 2, 1)), jnp.float32)

    def loss(x0):
        total = 0.0
        for prediction in diffusion.PREDICTIONS:
            x_t = diffusion.q_sample(schedule, x0, t, noise)
            told = diffusion.target_of(schedule, x0, noise, t, prediction=prediction)
            weight = diffusion.loss_weight(schedule, t, prediction=prediction, weighting="min_snr")
            for inverse in (diffusion.to_x0, diffusion.to_epsilon):
                total += (weight[:, None, None, None] * inverse(schedule, told, x_t, t, prediction=prediction) ** 2).mean()
        return total + diffusion.posterior(schedule, x0, x_t, t)[0].mean()

    value, slope = jax.jit(jax.value_and_grad(loss))(jnp.full((2, 2, 2, 1), 0.5))
    assert np.isfinite(value) and np.isfinite(slope).all()


# -------------------------------------------------------------------------------------------------------- samplers


def test_times_fall_from_the_last_to_the_first_without_repetition():
    for total in (1, 2, 7, 1000):
        for steps in {1, 2, 5, 50, total - 1, total} & set(range(1, total + 1)):
            for spacing in diffusion.SPACINGS:
                times = diffusion.timesteps(total, spacing=spacing)(steps)
                assert len(times) == steps and times[0] == total - 1 and (np.diff(times) < 0).all()
                assert times[-1] == 0 or steps == 1
    np.testing.assert_array_equal(diffusion.timesteps(1000)(1000), np.arange(1000)[::-1])
    np.testing.assert_array_equal(diffusion.timesteps(100, spacing="uniform")(4), [99, 66, 33, 0])


SHAPE, INDEX = (2, 3, 2, 1), np.array([5, 9], np.int32)
NOISE = jax.jit(lambda t: diffusion.field(per_image(named(KEY, "noise"), INDEX), SHAPE, time=t))


def network(x, t):
    """Smooth, bounded, and of time."""
    xp = jnp if isinstance(x, jax.Array) else np
    return 0.6 * xp.tanh(1.5 * x + 0.2) + 0.3 * xp.cos(t / 400.0)[:, None, None, None]


def textbook(sampler, schedule, times, x, noise_at, *, prediction, eta=0.0, variance="small"):
    """Each sampler as its paper writes it, step by step in float64."""
    ab = np.cumprod(1 - schedule.betas.astype(np.float64))
    data = []
    for i, t in enumerate(times):
        now, then = ab[t], ab[times[i + 1]] if i + 1 < len(times) else 1.0
        out = network(x, np.full(2, t))
        if prediction == "epsilon":
            eps = out
        else:
            eps = np.sqrt(now) * out + np.sqrt(1 - now) * x if prediction == "v" else (x - np.sqrt(now) * out) / np.sqrt(1 - now)
        x0 = (x - np.sqrt(1 - now) * eps) / np.sqrt(now)
        data.append(x0)
        beta = 1 - now / then
        tilde = (1 - then) / (1 - now) * beta
        if sampler == "ddpm":  # Ho et al. 2020, eq. 11
            mean = (x - beta / np.sqrt(1 - now) * eps) / np.sqrt(1 - beta)
            spread = tilde if variance == "small" else beta * (then < 1)
            x = mean + np.sqrt(spread) * noise_at(t)
        elif sampler == "ddim":  # Song et al. 2021, eq. 12
            sigma = eta * np.sqrt(tilde)
            x = np.sqrt(then) * x0 + np.sqrt(1 - then - sigma**2) * eps + sigma * noise_at(t)
        elif then == 1:  # Lu et al. 2022, with sigma 0
            x = x0
        else:
            lam = lambda p: 0.5 * np.log(p / (1 - p))
            h = lam(then) - lam(now)
            d = x0
            if i > 0:
                r = (lam(now) - lam(ab[times[i - 1]])) / h
                d = (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * data[-2]
            x = np.sqrt((1 - then) / (1 - now)) * x - np.sqrt(then) * (np.exp(-h) - 1) * d
    return x


CASES = {
    "ddpm epsilon": dict(sampler="ddpm", prediction="epsilon"),
    "ddpm large v": dict(sampler="ddpm", prediction="v", variance="large"),
    "ddim x0": dict(sampler="ddim", prediction="x0"),
    "ddim eta v": dict(sampler="ddim", prediction="v", eta=0.6),
    "dpm2m v": dict(sampler="dpm2m", prediction="v"),
}


@pytest.mark.parametrize("name", CASES)
def test_samplers_are_those_of_their_papers(name):
    options = CASES[name]
    schedule = diffusion.cosine(100) if name == "dpm2m v" else diffusion.linear(100, first=1e-3, last=0.1)
    got = jax.jit(lambda key: diffusion.sample(key, network, schedule, SHAPE, INDEX, steps=9, clip=False, **options))(KEY)
    noise_at = lambda t: np.asarray(NOISE(int(t)), np.float64)
    wanted = textbook(schedule=schedule, times=diffusion.timesteps(100)(9), x=noise_at(100), noise_at=noise_at, **options)
    np.testing.assert_allclose(got, wanted, rtol=2e-4, atol=2e-4)


def test_ddim_with_eta_1_is_ddpm():
    alpha_bar = exact_alpha_bar(LINEAR)[diffusion.timesteps(1000)(37)]
    path = Path(alpha_bar, np.append(alpha_bar[1:], 1.0))
    for one, other in zip(diffusion.SAMPLERS["ddim"](path, eta=1.0), diffusion.SAMPLERS["ddpm"](path), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_an_image_is_a_function_of_its_key_and_index_alone():
    """Neighbours do not matter, eta 0 draws nothing after the start, and every index has noise of its own."""
    options = dict(sampler="ddpm", steps=4)
    draw = jax.jit(lambda key, index: diffusion.sample(key, network, LINEAR, (len(index), 4, 4, 1), index, **options))
    both, one = draw(KEY, INDEX), draw(KEY, INDEX[1:])
    np.testing.assert_allclose(both[1:], one, rtol=1e-6)
    assert np.abs(both[0] - both[1]).max() > 0.05 and np.abs(both).max() <= 1
    assert np.abs(draw(jax.random.key(4), INDEX) - both).max() > 0.05


def test_noise_belongs_to_the_pixels_of_the_whole():
    """Tiles that overlap agree there, so a pixelwise denoiser's tiles are cut from its whole image."""
    place, options = np.array([[0, 0], [5, 3]], np.int32), dict(sampler="ddpm", steps=3)
    draw = jax.jit(
        lambda key: (
            diffusion.sample(key, network, LINEAR, (1, 12, 10, 1), INDEX[:1], **options),
            diffusion.sample(key, network, LINEAR, (2, 7, 7, 1), INDEX[[0, 0]], place=place, **options),
        )
    )
    whole, tiles = draw(KEY)
    np.testing.assert_allclose(tiles[0], whole[0, :7, :7], atol=1e-6)
    np.testing.assert_allclose(tiles[1], whole[0, 5:, 3:], atol=1e-6)
    z = np.asarray(jax.jit(lambda key: diffusion.field(key[None], (1, 64, 64, 2), time=3))(KEY))
    assert abs(z.mean()) < 0.03 and abs(z.std() - 1) < 0.03
    assert abs((z[0, 1:, :, 0] * z[0, :-1, :, 0]).mean()) < 0.05 and abs((z[..., 0] * z[..., 1]).mean()) < 0.05


def test_a_start_keeps_what_its_signal_to_noise_ratio_says():
    """A denoiser that takes x_t for the image is right from an early start, and lost from a late one."""
    initial = jnp.asarray(RNG.uniform(-0.5, 0.5, SHAPE), jnp.float32)
    wide = lambda x, t: x
    options = dict(sampler="ddim", prediction="x0", steps=3, clip=False)
    draw = lambda key, start: diffusion.sample(key, wide, LINEAR, SHAPE, INDEX, initial=initial, start=start, **options)
    near, far = jax.jit(lambda key: [draw(key, start) for start in (3, 900)])(KEY)
    assert np.abs(near - initial).max() < 0.1 < np.abs(far - initial).max()


def test_bad_options_are_told_with_both_numbers():
    draw = lambda **options: diffusion.sample(KEY, network, diffusion.linear(20), SHAPE, INDEX, **options)
    for options, told in (
        (dict(steps=21), "21 sampling steps .* has 20 steps"),
        (dict(steps=0), "0 sampling steps"),
        (dict(steps=6, start=5, initial=jnp.zeros(SHAPE)), "6 sampling steps .* starts at step 5 of its 20"),
        (dict(steps=5, start=21, initial=jnp.zeros(SHAPE)), "start at step 21.* 20 steps"),
        (dict(steps=5, start=5), "belong together"),
        (dict(steps=5, sampler="euler"), "unknown sampler 'euler'; known: ddpm, ddim, dpm2m"),
        (dict(steps=5, prediction="score"), "unknown prediction 'score'"),
        (dict(steps=5, spacing="log"), "unknown spacing 'log'"),
        (dict(steps=5, variance="none"), "unknown variance 'none'"),
        (dict(steps=5, eta=1.5), "not 1.5"),
    ):
        with pytest.raises(ConfigError, match=told):
            draw(**options)
    with pytest.raises(ConfigError, match="unknown diffusion schedule 'sine'; known: linear, cosine"):
        diffusion.make_schedule("sine", 10)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        diffusion.from_betas([0.1, 1.0])
    with pytest.raises(ConfigError, match="at least 1 time, not 0"):
        diffusion.linear(0)
    with pytest.raises(ConfigError, match="unknown loss weighting 'p2'"):
        diffusion.loss_weight(LINEAR, 3, weighting="p2")


# --------------------------------------------------------------------------------- data whose best denoiser is known


def moments(sampler, schedule, steps, *, mean, variance, added="small"):
    """Mean and variance of what a sampler makes of N(mean, variance) through its best denoiser: all of it is affine."""
    times = diffusion.check(schedule, sampler=sampler, steps=steps)
    alpha_bar = exact_alpha_bar(schedule)[times]
    table = diffusion.SAMPLERS[sampler](Path(alpha_bar, np.append(alpha_bar[1:], 1.0)), variance=added)
    centre, spread = np.zeros(2), np.diag([1.0, 0.0])  # of x_t and of the x0 before
    for ab, x, x0, previous, noise in zip(alpha_bar, *table, strict=True):
        gain = np.sqrt(ab) * variance / (ab * variance + 1 - ab)
        offset = mean - gain * np.sqrt(ab) * mean
        step = np.array([[x + x0 * gain, previous], [gain, 0]])
        centre, spread = step @ centre + [x0 * offset, offset], step @ spread @ step.T + np.diag([noise**2, 0])
    return centre[0], spread[0, 0]


def test_samples_of_a_known_gaussian_have_its_mean_and_covariance():
    """Two correlated channels of 65,536 pixels, 50 steps of DPM-Solver++: every entry of the covariance within 2%."""
    mean, cov = np.array([0.3, -0.2]), np.array([[0.5, 0.2], [0.2, 0.4]])

    def denoise(x, t):
        ab = jnp.asarray(LINEAR.alpha_bar)[t[0]]
        gain = jnp.sqrt(ab) * cov @ jnp.linalg.inv(ab * cov + (1 - ab) * jnp.eye(2))
        return mean + (x - jnp.sqrt(ab) * mean) @ gain.T

    draw = jax.jit(
        lambda key: diffusion.sample(
            key, denoise, LINEAR, (1, 256, 256, 2), INDEX[:1], sampler="dpm2m", steps=50, prediction="x0", clip=False
        )
    )
    x = np.asarray(draw(KEY), np.float64).reshape(-1, 2)
    np.testing.assert_allclose(x.mean(0), mean, atol=0.02 * 0.7)
    np.testing.assert_allclose(np.cov(x.T), cov, atol=0.02 * 0.5)


@pytest.mark.parametrize("schedule", [LINEAR, COSINE], ids=["linear", "cosine"])
def test_what_50_steps_give(schedule):
    """DPM-Solver++ is within 2%, DDPM with the variance that fits unit data too. DDIM cannot be: of data N(0, v) its variance
    falls short by the factor cos(pi / 2N)^2N at least, 4.8% at 50 steps, however its steps are spaced.
    """
    for variance in (0.05, 0.25, 1.0):
        mean, found = moments("dpm2m", schedule, 50, mean=0.3, variance=variance)
        assert abs(found / variance - 1) < 0.02 and abs(mean / 0.3 - 1) < 0.02
        for sampler in ("ddim", "ddpm"):
            assert abs(moments(sampler, schedule, 50, mean=0.3, variance=variance)[0] / 0.3 - 1) < 0.02
        short = 1 - moments("ddim", schedule, 50, mean=0.0, variance=variance)[1] / variance
        assert 1 - np.cos(np.pi / 100) ** 100 - 1e-3 < short < 0.1
    assert abs(moments("ddpm", schedule, 50, mean=0.3, variance=1.0)[1] - 1) > 0.05  # beta_tilde: no uncertainty
    large = moments("ddpm", schedule, 50, mean=0.3, variance=1.0, added="large")
    assert abs(large[1] - 1) < 0.02 and abs(large[0] / 0.3 - 1) < 0.02


@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("ddpm", 1), ("dpm2m", 2)])
def test_errors_fall_at_the_order_claimed(sampler, order):
    """Of a process with 20,000 times, so that whole numbers of steps do not bend the path."""
    schedule = diffusion.linear(20_000, first=5e-6, last=1e-3)
    errors = [abs(moments(sampler, schedule, n, mean=0.0, variance=0.25)[1] / 0.25 - 1) for n in (25, 50, 100, 200)]
    slopes = np.log2(np.array(errors[:-1]) / errors[1:])
    assert errors == sorted(errors, reverse=True), errors
    assert order - 0.25 < slopes[-1] < order + 0.6, (errors, slopes)


def test_memory_does_not_depend_on_the_number_of_steps():
    def temporary(steps):
        draw = lambda key: diffusion.sample(key, network, LINEAR, (1, 32, 32, 1), INDEX[:1], sampler="dpm2m", steps=steps)
        return jax.jit(draw).lower(KEY).compile().memory_analysis().temp_size_in_bytes

    assert temporary(10) == pytest.approx(temporary(200), abs=8192)
