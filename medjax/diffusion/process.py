"""The forward process, its posterior, what a network may predict of it, and what its errors count.

x_t = a_t x_0 + s_t epsilon with a_t = sqrt(alpha_bar_t), s_t = sqrt(1 - alpha_bar_t). A network predicts epsilon, x_0, or
v = a_t epsilon - s_t x_0 (Salimans and Ho 2022), each of which gives the others.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from medjax.diffusion.schedules import Schedule, exact_alpha_bar
from medjax.types import Array, ConfigError

PREDICTIONS = ("epsilon", "v", "x0")
WEIGHTINGS = ("uniform", "min_snr")


def at(values: Array, t: Array, like: Array) -> Array:
    """`values` `[T]` at t, in the type of `like` and shaped to multiply it."""
    found = jnp.asarray(values, like.dtype)[t]
    return found.reshape(found.shape + (1,) * (like.ndim - found.ndim))


def q_sample(schedule: Schedule, x0: Array, t: Array, noise: Array) -> Array:
    """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) epsilon (Ho et al. 2020, eq. 4), shaped as `x0`."""
    return at(schedule.signal, t, x0) * x0 + at(schedule.noise, t, x0) * noise


def posterior(schedule: Schedule, x0: Array, x_t: Array, t: Array) -> tuple[Array, Array]:
    """Mean, shaped as `x0`, and variance of q(x_{t-1} | x_t, x_0) (Ho et al. 2020, eq. 6 and 7); at t = 0 they are x_0 and 0."""
    alpha_bar, betas = exact_alpha_bar(schedule), np.asarray(schedule.betas, np.float64)
    before = np.append(1.0, alpha_bar[:-1])
    drowned = 1 - alpha_bar
    of_x0, of_xt = np.sqrt(before) * betas / drowned, np.sqrt(1 - betas) * (1 - before) / drowned
    mean = at(of_x0, t, x0) * x0 + at(of_xt, t, x0) * x_t
    return mean, at((1 - before) / drowned * betas, t, x0)


def target_of(schedule: Schedule, x0: Array, noise: Array, t: Array, *, prediction: str = "epsilon") -> Array:
    """What a network with this `prediction` learns to give for x_t. Raises ConfigError for an unknown one."""
    check_prediction(prediction)
    if prediction == "epsilon":
        return noise
    return x0 if prediction == "x0" else at(schedule.signal, t, x0) * noise - at(schedule.noise, t, x0) * x0


def to_x0(schedule: Schedule, predicted: Array, x_t: Array, t: Array, *, prediction: str = "epsilon") -> Array:
    """x_0 as `predicted` implies it. Raises ConfigError for an unknown `prediction`."""
    check_prediction(prediction)
    if prediction == "x0":
        return predicted
    a, s = at(schedule.signal, t, x_t), at(schedule.noise, t, x_t)
    return (x_t - s * predicted) / a if prediction == "epsilon" else a * x_t - s * predicted


def to_epsilon(schedule: Schedule, predicted: Array, x_t: Array, t: Array, *, prediction: str = "epsilon") -> Array:
    """epsilon as `predicted` implies it. Raises ConfigError for an unknown `prediction`."""
    check_prediction(prediction)
    if prediction == "epsilon":
        return predicted
    a, s = at(schedule.signal, t, x_t), at(schedule.noise, t, x_t)
    return (x_t - a * predicted) / s if prediction == "x0" else s * x_t + a * predicted


def snr(schedule: Schedule, t: Array) -> Array:
    """alpha_bar / (1 - alpha_bar) at t, in t's shape."""
    return jnp.exp(jnp.asarray(schedule.log_snr)[t])


def loss_weight(
    schedule: Schedule, t: Array, *, prediction: str = "epsilon", weighting: str = "uniform", gamma: float = 5.0
) -> Array:
    """By what the squared error of a `prediction` at t counts, in t's shape.

    uniform: 1 (L_simple of Ho et al. 2020 for epsilon). min_snr: the squared error of x_0 counts min(SNR, gamma), which for
    epsilon is min(SNR, gamma) / SNR, for v min(SNR, gamma) / (SNR + 1) (Hang et al. 2023, section 3.4). Raises ConfigError for
    an unknown prediction or weighting.
    """
    check_prediction(prediction)
    if weighting not in WEIGHTINGS:
        raise ConfigError(f"unknown loss weighting {weighting!r}; known: {', '.join(WEIGHTINGS)}")
    if weighting == "uniform":
        return jnp.ones(jnp.shape(t))
    ratio = snr(schedule, t)
    return jnp.minimum(ratio, gamma) / {"epsilon": ratio, "v": ratio + 1, "x0": 1.0}[prediction]


def check_prediction(prediction: str) -> None:
    """Raises ConfigError for a prediction that is none of `PREDICTIONS`."""
    if prediction not in PREDICTIONS:
        raise ConfigError(f"unknown prediction {prediction!r} of a denoiser; known: {', '.join(PREDICTIONS)}")
