"""From noise to an image: DDPM, DDIM and DPM-Solver++(2M) as one scan over a table of coefficients.

With data prediction every one of them is, from t to the next time s,

    x_s = c_x x_t + c_0 x0(x_t) + c_previous x0(of the step before) + c_noise z

where x0 is what the denoiser implies, clipped to [-1, 1] where that is asked for. A sampler is the function that gives the
coefficients of all steps, in float64; what it costs is one call of the denoiser for each step, and its memory does not depend
on how many there are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medjax.diffusion.process import check_prediction, q_sample, to_x0
from medjax.diffusion.schedules import Schedule, exact_alpha_bar
from medjax.rng import named, per_image
from medjax.types import Array, ConfigError, Key

SPACINGS = ("quadratic", "uniform")
VARIANCES = ("small", "large")
Denoise = Callable[[Array, Array], Array]  # x_t [B, H, W, C], t int32 [B] -> prediction [B, H, W, C]


class Coefficients(NamedTuple):
    """Of each step float64 `[N]`: of x_t, of x0, of the step before's x0, and of fresh noise."""

    x: np.ndarray
    x0: np.ndarray
    previous: np.ndarray
    noise: np.ndarray


class Path(NamedTuple):
    """alpha_bar before and after each of N steps, float64 `[N]`; the last step ends at 1, the image."""

    before: np.ndarray
    after: np.ndarray


def timesteps(num_times: int, *, spacing: str = "quadratic") -> Callable[[int], np.ndarray]:
    """`steps -> times int [steps]`, falling from `num_times` - 1 to 0 without repetition.

    uniform: equally far apart. quadratic: equally far apart in sqrt(t), denser where little noise is left and most of the
    error arises (Song et al. 2021, DDIM, appendix D.2). One step alone starts at `num_times` - 1.
    """
    if spacing not in SPACINGS:
        raise ConfigError(f"unknown spacing {spacing!r} of a sampler's steps; known: {', '.join(SPACINGS)}")

    def chosen(steps: int) -> np.ndarray:
        share = np.linspace(0, 1, steps) if steps > 1 else np.ones(1)
        places = np.rint((num_times - 1) * (share**2 if spacing == "quadratic" else share)).astype(int)
        # times that fall together move apart, upwards: each is at least the one before plus 1
        return (np.maximum.accumulate(places - np.arange(steps)) + np.arange(steps))[::-1]

    return chosen


def ddpm(path: Path, *, eta: float = 0.0, variance: str = "small") -> Coefficients:
    """Ancestral sampling (Ho et al. 2020, algorithm 2) over any choice of times (Nichol and Dhariwal 2021, eq. 19).

    variance: of the noise added, the posterior's beta_tilde ("small") or beta ("large"), the two ends of what is right: for an
    image without, and with all, uncertainty (Ho et al. 2020, section 3.2). None is added by the last step. eta is not read.
    """
    del eta
    beta = 1 - path.before / path.after
    drowned = 1 - path.before
    tilde = beta * (1 - path.after) / drowned
    added = tilde if variance == "small" else np.where(path.after < 1, beta, 0.0)
    of_x = np.sqrt(path.before / path.after) * (1 - path.after) / drowned
    return Coefficients(of_x, np.sqrt(path.after) * beta / drowned, np.zeros_like(beta), np.sqrt(added))


def ddim(path: Path, *, eta: float = 0.0, variance: str = "small") -> Coefficients:
    """Song et al. 2021, eq. 12 and 16: eta 0 draws nothing after the start, eta 1 is `ddpm`. Of first order."""
    del variance
    tilde = (1 - path.before / path.after) * (1 - path.after) / (1 - path.before)
    added = eta**2 * tilde
    of_x = np.sqrt(np.maximum(1 - path.after - added, 0) / (1 - path.before))
    return Coefficients(of_x, np.sqrt(path.after) - of_x * np.sqrt(path.before), np.zeros_like(of_x), np.sqrt(added))


def dpm2m(path: Path, *, eta: float = 0.0, variance: str = "small") -> Coefficients:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): multistep, data prediction, of second order; the first and the last step
    are of first order. Nothing is drawn after the start; eta and variance are not read.
    """
    del eta, variance
    a, s = np.sqrt(path.after), np.sqrt(1 - path.after)
    whole = -a * np.expm1(-_gaps(path))  # of D in the algorithm
    half = np.zeros_like(whole)  # 1 / (2 r)
    gaps = _gaps(path)
    half[1:-1] = gaps[1:-1] / gaps[:-2] / 2
    return Coefficients(s / np.sqrt(1 - path.before), whole * (1 + half), -whole * half, np.zeros_like(whole))


def _gaps(path: Path) -> np.ndarray:
    """By how much log(a/s) rises in each step; infinite in the last."""
    with np.errstate(divide="ignore"):
        before, after = (np.log(p / (1 - p)) / 2 for p in path)
    return after - before


SAMPLERS: dict[str, Callable[..., Coefficients]] = {"ddpm": ddpm, "ddim": ddim, "dpm2m": dpm2m}


def check(
    schedule: Schedule,
    *,
    sampler: str = "ddim",
    steps: int = 50,
    start: int = 0,
    prediction: str = "epsilon",
    eta: float = 0.0,
    variance: str = "small",
    spacing: str = "quadratic",
) -> np.ndarray:
    """The times int `[steps]` that `sample` passes through with these options, the latest first.

    Raises ConfigError for an unknown sampler, prediction, variance or spacing, for a start beyond T, for more steps than there
    are times below it, and for an eta outside [0, 1].
    """
    total = schedule.num_times
    check_prediction(prediction)
    if sampler not in SAMPLERS:
        raise ConfigError(f"unknown sampler {sampler!r}; known: {', '.join(SAMPLERS)}")
    if variance not in VARIANCES:
        raise ConfigError(f"unknown variance {variance!r} of a sampler; known: {', '.join(VARIANCES)}")
    if not 0 <= start <= total:
        raise ConfigError(f"sampling cannot start at step {start}: this diffusion has {total} steps of noise")
    if not 1 <= steps <= (start or total):
        there = f"starts at step {start} of its {total}" if start else f"has {total} steps of noise"
        raise ConfigError(f"{steps} sampling steps cannot be taken where the diffusion {there}")
    if not 0 <= eta <= 1:
        raise ConfigError(f"eta of a sampler is from 0 (nothing drawn) to 1 (as much as DDPM draws), not {eta}")
    return timesteps(start or total, spacing=spacing)(steps)


def sample(
    key: Key,
    denoise: Denoise,
    schedule: Schedule,
    shape: tuple[int, int, int, int],
    index: Array,
    *,
    sampler: str = "ddim",
    steps: int = 50,
    initial: Array | None = None,
    start: int = 0,
    prediction: str = "epsilon",
    eta: float = 0.0,
    variance: str = "small",
    spacing: str = "quadratic",
    clip: bool = True,
    place: Array | None = None,
) -> Array:
    """Images `shape`, `[B, H, W, C]`, drawn by `sampler` in `steps` calls of the denoiser; float32, and under jit one scan.

    Args:
      denoise: `(x_t, t int32 [B]) -> prediction`, of what `prediction` names.
      index: int32 `[B]`; an image is a function of (key, its index, its place), whatever its neighbours.
      initial, start: images `shape` that begin with `start` of the T steps of noise, instead of noise alone (start 0). At a
        start whose signal-to-noise ratio is small they hardly matter.
      eta: DDIM's share of DDPM's noise. variance, spacing: see `ddpm` and `timesteps`.
      clip: x0 to [-1, 1] in every step, the result with it.
      place: int32 `[B, 2]`, the pixel of a larger image at which each of these begins: noise belongs to the pixels of that, so
        tiles of one index agree where they overlap.

    Raises ConfigError as `check` does, and where of `initial` and `start` one is missing.
    """
    if (initial is None) != (start == 0):
        raise ConfigError(f"an initial image and a start above 0 belong together; the start is {start}")
    times = check(
        schedule, sampler=sampler, steps=steps, start=start, prediction=prediction, eta=eta, variance=variance, spacing=spacing
    )
    alpha_bar = exact_alpha_bar(schedule)[times]
    table = SAMPLERS[sampler](Path(alpha_bar, np.append(alpha_bar[1:], 1.0)), eta=eta, variance=variance)
    keys = per_image(named(key, "noise"), index)
    drawn = lambda t: field(keys, shape, place=place, time=t)  # noqa: E731
    x = drawn(schedule.num_times)
    x = x if initial is None else q_sample(schedule, initial, times[0], x)

    def one(held: tuple[Array, Array], now: tuple[Array, Coefficients]) -> tuple[tuple[Array, Array], None]:
        (x, previous), (t, c) = held, now
        x0 = to_x0(schedule, denoise(x, jnp.full(shape[:1], t)), x, t, prediction=prediction).astype(x.dtype)
        x0 = jnp.clip(x0, -1, 1) if clip else x0
        moved = c.x * x + c.x0 * x0 + c.previous * previous
        return (moved + c.noise * drawn(t) if table.noise.any() else moved, x0), None

    rows = jax.tree.map(lambda c: jnp.asarray(c, x.dtype), table)
    return jax.lax.scan(one, (x, jnp.zeros_like(x)), (jnp.asarray(times, jnp.int32), rows))[0][0]


def field(key: Key, shape: tuple[int, int, int, int], *, time: Array, place: Array | None = None) -> Array:
    """Standard normal noise `shape`, `[B, H, W, C]`, of keys `[B]` and a time: a function of each pixel's own position.

    place: int32 `[B, 2]`, the position of each image's first pixel, (0, 0) by default.
    """
    batch, height, width, channels = shape
    place = jnp.zeros((batch, 2), jnp.int32) if place is None else place
    fold = jax.vmap(jax.random.fold_in, in_axes=(None, 0))

    def one(key: Key, corner: Array) -> Array:
        rows = fold(jax.random.fold_in(key, time), corner[0] + jnp.arange(height))
        pixels = jax.vmap(fold, in_axes=(0, None))(rows, corner[1] + jnp.arange(width))
        return jax.vmap(jax.vmap(lambda k: jax.random.normal(k, (channels,))))(pixels)

    return jax.vmap(one)(key, place)
