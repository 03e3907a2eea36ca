"""Conditional diffusion: a denoiser of targets that is shown their sources (Saharia et al. 2022; Cheng et al. 2023, LED).

The batch holds `source` `[B, H, W, K]`, the condition, and `target` `[B, H, W, C]`, both in [-1, 1] and of one size.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp

from medjax.diffusion import Schedule, check, loss_weight, q_sample, target_of
from medjax.diffusion import sample as draw
from medjax.objective import Metrics, Objective, Player, descend
from medjax.rng import named, per_image
from medjax.state import Net, TrainState, new_state
from medjax.types import Array, Batch, ConfigError, Key, PyTree

CONDITIONS = ("source", "enhanced")


def diffusion(
    denoiser: Player,
    *,
    schedule: Schedule,
    prediction: str = "epsilon",
    weighting: str = "uniform",
    gamma: float = 5.0,
    sampler: str = "ddim",
    steps: int = 50,
    start: int = 0,
    eta: float = 0.0,
    variance: str = "small",
    spacing: str = "quadratic",
    clip: bool = True,
    samples: int = 1,
    enhance: Callable[[Array], Array] | None = None,
    trained_on: str = "source",
    condition: str = "source",
    channels: int = 1,
    validation_times: int = 8,
    microbatch: int = 0,
) -> Objective:
    """Minimise the weighted squared error of `denoiser(x_t, t, condition)` (Ho et al. 2020, eq. 14); the net is `denoiser`.

    Args:
      prediction, weighting, gamma: what is predicted and by what its errors count; see `medjax.diffusion.loss_weight`.
      sampler, steps, eta, variance, spacing, clip: how an image is drawn; see `medjax.diffusion.sample`.
      start: of the schedule's T steps of noise those that the start image gets before it is refined (LED's y0); 0: images
        begin as noise alone.
      samples: draws whose mean `predict` gives. With 1, the default, the point estimate is one draw; the mean of several has a
        smaller squared error and less detail.
      enhance: `[B, H, W, K] -> [B, H, W, K]` in [-1, 1], LED's f, which makes the start image of the source; None: the source
        itself is the start image. No gradient passes through it.
      trained_on, condition: what the denoiser is shown in training and at inference: the `source`, or what `enhance` makes of
        it (`enhanced`). Where they differ a warning says so.
      channels: C. validation_times: times, spread evenly over all, at which `evaluate` measures the loss.
      microbatch: images whose activations are held at once, as in `descend`; 0: the whole batch.

    A batch may hold `place` int32 `[B, 2]`, where its images lie in larger ones; see `medjax.diffusion.sample`. Of one key and
    index a prediction and a validation loss are always the same, whatever the neighbours and the step.

    Raises ConfigError for options that no sampler or loss has, for fewer than one sample, and for a condition that needs an
    enhancer where none is given.
    """
    options = dict(sampler=sampler, steps=steps, start=start, prediction=prediction, eta=eta, variance=variance, spacing=spacing)
    check(schedule, **options)
    loss_weight(schedule, jnp.zeros(1, jnp.int32), prediction=prediction, weighting=weighting, gamma=gamma)
    _check(enhance, trained_on, condition, samples)

    def shown(batch: Batch, which: str) -> Array:
        source = batch["source"]
        return jax.lax.stop_gradient(enhance(source)) if which == "enhanced" else source

    def noisy(x0: Array, t: Array, noise: Array, told: Array, net: Callable) -> tuple[Array, PyTree]:
        """The loss of each image `[B]` at its time, and what the net's pass gives beside."""
        out, rest = net(q_sample(schedule, x0, t, noise), t, told)
        error = jnp.square(out - target_of(schedule, x0, noise, t, prediction=prediction)).mean((1, 2, 3))
        return loss_weight(schedule, t, prediction=prediction, weighting=weighting, gamma=gamma) * error, rest

    def init(key: Key, batch: Batch) -> TrainState:
        t = jnp.zeros(len(batch["target"]), jnp.int32)
        inputs = batch["target"], t, batch["source"]  # `enhance` keeps the shape, which is all that is read here
        return new_state({"denoiser": denoiser.init(named(key, "denoiser"), *inputs)})

    def step(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        x0 = batch["target"]
        t, noise = _drawn(key, jnp.arange(len(x0)), x0.shape[1:], schedule.num_times)
        given = {"x0": x0, "t": t, "noise": noise, "told": shown(batch, trained_on)}

        def loss_fn(params: dict[str, PyTree], stats: dict[str, PyTree], given: dict[str, Array], key: Key) -> tuple:
            held = params["denoiser"], stats["denoiser"]
            net = lambda *inputs: denoiser.apply(*held, *inputs, train=True, rng=named(key, "dropout"))  # noqa: E731
            each, moved = noisy(**given, net=net)
            return each.mean(), ({"loss": each.mean()}, {"denoiser": moved})

        nets, metrics = descend({"denoiser": denoiser}, state.nets, loss_fn, given, key, microbatch=microbatch)
        return state._replace(nets=nets), metrics

    def drawing(state: TrainState, batch: Batch) -> Callable[[Key], Array]:
        """Key to one draw: what all draws of a batch share is made once."""
        source, net = batch["source"], _applied(denoiser, state.nets["denoiser"])
        first = (source.shape[-1] - channels) // 2  # of neighbouring slices as channels, the slice itself
        told, initial = shown(batch, condition), None
        if start:
            initial = shown(batch, "source" if enhance is None else "enhanced")[..., first : first + channels]
        return lambda key: draw(
            named(key, "sample"), lambda x, t: net(x, t, told)[0], schedule, (*source.shape[:3], channels), batch["index"],
            initial=initial, clip=clip, place=batch.get("place"), **options,
        )  # fmt: skip

    def sample(state: TrainState, batch: Batch, key: Key) -> dict[str, Array]:
        return {"target": drawing(state, batch)(key)}

    def predict(state: TrainState, batch: Batch, key: Key) -> dict[str, Array]:
        drawn = drawing(state, batch)
        one = lambda total, i: (total + drawn(jax.random.fold_in(key, i)), None)  # noqa: E731
        zeros = jnp.zeros((*batch["source"].shape[:3], channels))
        return {"target": jax.lax.scan(one, zeros, jnp.arange(samples))[0] / samples}

    def evaluate(state: TrainState, batch: Batch, key: Key) -> Metrics:
        x0, told, net = batch["target"], shown(batch, trained_on), _applied(denoiser, state.nets["denoiser"])
        keys = per_image(named(key, "evaluate"), batch["index"])
        grid = ((jnp.arange(validation_times) + 0.5) / validation_times * schedule.num_times).astype(jnp.int32)

        def at(t: Array) -> Array:
            noise = jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(k, t), x0.shape[1:]))(keys)
            return noisy(x0, jnp.full(len(x0), t), noise, told, net)[0]

        return {"loss": jax.lax.map(at, grid).mean(0)}

    return Objective(init, step, predict, sample, evaluate)


def _drawn(key: Key, place: Array, shape: tuple[int, ...], num_times: int) -> tuple[Array, Array]:
    """A time `[B]` and noise `[B, *shape]` for each place in the batch: a repeated image has draws of its own."""
    times, noise = (per_image(named(key, name), place) for name in ("time", "noise"))
    t = jax.vmap(lambda k: jax.random.randint(k, (), 0, num_times))(times)
    return t, jax.vmap(lambda k: jax.random.normal(k, shape))(noise)


def _applied(denoiser: Player, net: Net) -> Callable:
    return lambda *inputs: denoiser.apply(net.params, net.stats, *inputs)


def _check(enhance: Callable | None, trained_on: str, condition: str, samples: int) -> None:
    if samples < 1:
        raise ConfigError(f"a prediction is the mean of at least 1 sample, not {samples}")
    for which in (trained_on, condition):
        if which not in CONDITIONS:
            raise ConfigError(f"a denoiser's condition is one of {', '.join(CONDITIONS)}, not {which!r}")
        if which == "enhanced" and enhance is None:
            raise ConfigError("the condition 'enhanced' needs an enhancer, and none is given")
    if told := mismatch(trained_on, condition):
        warnings.warn(told, stacklevel=3)


def mismatch(trained_on: str, condition: str) -> str | None:
    """What is to be said of a denoiser that is shown another condition at inference than in training; None where it is not."""
    if trained_on == condition:
        return None
    return (
        f"the denoiser is trained on the condition {trained_on!r} and shown {condition!r} at inference: it has not learnt from "
        "such images"
    )
