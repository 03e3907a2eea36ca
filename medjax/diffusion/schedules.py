"""How fast an image drowns in noise: the variance schedule of a diffusion process, as arrays over its T times.

Everything is worked out in float64 and kept as float32 arrays of numpy, so that a schedule is a constant of what is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from medjax.types import Array, ConfigError


class Schedule(NamedTuple):
    """Arrays float32 `[T]`, of which the others follow from `betas`: x_t = signal[t] x_0 + noise[t] epsilon.

    betas: variance that each step adds. alpha_bar: the share of the image's power that is left, prod(1 - beta). signal, noise:
    sqrt(alpha_bar) and sqrt(1 - alpha_bar), the latter without the cancellation of a small t. log_snr: log(alpha_bar / (1 -
    alpha_bar)).
    """

    betas: Array
    alpha_bar: Array
    signal: Array
    noise: Array
    log_snr: Array

    @property
    def num_times(self) -> int:
        """T."""
        return len(self.betas)


def from_betas(betas: Array) -> Schedule:
    """The schedule of variances `[T]`. Raises ConfigError where they do not lie between 0 and 1."""
    betas = np.asarray(betas, np.float64)
    if betas.ndim != 1 or not len(betas) or not ((betas > 0) & (betas < 1)).all():
        raise ConfigError("the variances of a diffusion schedule are a list of numbers between 0 and 1")
    alpha_bar = np.cumprod(1 - betas)
    drowned = -np.expm1(np.log1p(-betas).cumsum())  # 1 - alpha_bar
    arrays = betas, alpha_bar, np.sqrt(alpha_bar), np.sqrt(drowned), np.log(alpha_bar / drowned)
    return Schedule(*(a.astype(np.float32) for a in arrays))


def linear(num_times: int, *, first: float = 1e-4, last: float = 0.02) -> Schedule:
    """Variances from `first` to `last` in equal steps (Ho et al. 2020, section 4)."""
    return from_betas(np.linspace(first, last, _checked(num_times)))


def cosine(num_times: int, *, offset: float = 0.008, most: float = 0.999) -> Schedule:
    """alpha_bar = f(t) / f(0) with f(t) = cos^2((t/T + s) / (1 + s) pi/2) and variances of `most` at most (Nichol and Dhariwal
    2021, eq. 17; s is `offset`).
    """
    times = np.arange(_checked(num_times) + 1) / num_times
    f = np.cos((times + offset) / (1 + offset) * np.pi / 2) ** 2
    return from_betas(np.minimum(1 - f[1:] / f[:-1], most))


SCHEDULES: dict[str, Callable[[int], Schedule]] = {"linear": linear, "cosine": cosine}


def make_schedule(name: str, num_times: int) -> Schedule:
    """The schedule called `name` over `num_times` times. Raises ConfigError for another name, or no times."""
    if name not in SCHEDULES:
        raise ConfigError(f"unknown diffusion schedule {name!r}; known: {', '.join(SCHEDULES)}")
    return SCHEDULES[name](num_times)


def exact_alpha_bar(schedule: Schedule) -> np.ndarray:
    """alpha_bar in float64 `[T]`, from the variances: where quotients and differences of it are needed."""
    return np.exp(np.log1p(-np.asarray(schedule.betas, np.float64)).cumsum())


def _checked(num_times: int) -> int:
    if num_times < 1:
        raise ConfigError(f"a diffusion schedule has at least 1 time, not {num_times}")
    return num_times
