"""What a method is: a NamedTuple of pure functions, and the few tools they are written with.

A batch is a dict of arrays as in `medjax.types`; keys are typed jax keys. Behaviour is added by functions from
objectives to objectives, as optax wraps transformations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from medjax.placement import spread
from medjax.rng import named
from medjax.state import Net, TrainState, copy
from medjax.types import RESIDENT, Array, Batch, ConfigError, Key, PyTree

Metrics = dict[str, Array]


class Objective(NamedTuple):
    """A method: how its state begins, moves, predicts, samples and is scored.

    `init(key, batch) -> TrainState`
    `step(state, batch, key) -> (TrainState, {name: scalar})`
    `predict(state, batch, key) -> {name: array}`: the point estimate, keyed like the batch
    `sample(state, batch, key) -> {name: array}`: one draw; where nothing is random, `predict`
    `evaluate(state, batch, key) -> {name: [B]}`: per-image validation values
    """

    init: Callable[[Key, Batch], TrainState]
    step: Callable[[TrainState, Batch, Key], tuple[TrainState, Metrics]]
    predict: Callable[[TrainState, Batch, Key], dict[str, Array]]
    sample: Callable[[TrainState, Batch, Key], dict[str, Array]]
    evaluate: Callable[[TrainState, Batch, Key], dict[str, Array]]


@dataclasses.dataclass(frozen=True)
class Player:
    """A linen module and the optimiser that trains it."""

    module: nn.Module
    tx: optax.GradientTransformation = dataclasses.field(default_factory=optax.identity)

    def init(self, key: Key, *inputs: Array) -> Net:
        """A fresh net for inputs of these shapes."""
        variables = dict(self.module.init({"params": named(key, "params")}, *inputs, train=False))
        params = variables.pop("params")
        variables.pop("intermediates", None)
        return Net(params, variables, self.tx.init(params))

    def apply(
        self, params: PyTree, stats: PyTree, *inputs: Array, train: bool = False, rng: Key | None = None
    ) -> tuple[PyTree, PyTree]:
        """(output, statistics). `train` updates the statistics; `rng` turns dropout on."""
        rngs = None if rng is None else {"dropout": rng}
        variables = {"params": params, **stats}
        if not train:
            return self.module.apply(variables, *inputs, train=False, rngs=rngs), stats
        y, changed = self.module.apply(variables, *inputs, train=True, rngs=rngs, mutable=list(stats))
        return y, {**stats, **changed}


Team = Mapping[str, Player]


def apply_gradients(
    players: Team, nets: Mapping[str, Net], grads: Mapping[str, PyTree], stats: Mapping[str, PyTree]
) -> dict[str, Net]:
    """One optimiser step for every net that `grads` names; the others stay as they are."""
    moved = {}
    for name, grad in grads.items():
        net = nets[name]
        updates, opt_state = players[name].tx.update(grad, net.opt_state, net.params)
        moved[name] = Net(optax.apply_updates(net.params, updates), stats.get(name, net.stats), opt_state)
    return {**nets, **moved}


LossFn = Callable[[dict[str, PyTree], dict[str, PyTree], PyTree, Key], tuple[Array, tuple[Metrics, dict[str, PyTree]]]]


def descend(
    players: Team, nets: Mapping[str, Net], loss_fn: LossFn, batch: PyTree, key: Key, *, microbatch: int = 0
) -> tuple[dict[str, Net], Metrics]:
    """One step down `loss_fn` for the team `players`. Returns all nets and the metrics.

    `loss_fn({name: params}, {name: statistics}, batch, key) -> (loss, (metrics, {name: new statistics}))`, where the loss and the
    metrics are means over the images of `batch`, a tree of arrays `[B, ...]`.

    microbatch: images for which activations are held at once (0: all of them). The step is then taken along the mean of the
    gradients of B / microbatch parts of the batch, one after the other. What is known of each image by itself is the same as in
    one piece, up to rounding: draw such randomness before, and let it lie in `batch`. What a network or a loss reads of a whole
    batch (the statistics of batch norm, a mean over logits) it reads of a part; running statistics pass through the parts in
    their order; and `key`, for dropout, is folded with a part's number. Raises ConfigError where parts would be uneven.
    """
    params, stats = ({name: getattr(nets[name], part) for name in players} for part in ("params", "stats"))
    slope = jax.grad(loss_fn, has_aux=True)
    if in_parts(batch, microbatch):
        grads, metrics, stats = _mean_slope(slope, params, stats, batch, key, microbatch)
    else:
        grads, (metrics, stats) = slope(params, stats, batch, key)
    return apply_gradients(players, nets, grads, stats), metrics


def in_parts(batch: PyTree, microbatch: int) -> bool:
    """Whether micro-batches of this size split `batch` at all; ConfigError where they would not be of one size."""
    size = len(jax.tree.leaves(batch)[0])
    if microbatch < 0 or (microbatch and size % microbatch):
        raise ConfigError(f"a batch of {size} images is no multiple of micro-batches of {microbatch}")
    return microbatch not in (0, size)


def parts_of(batch: PyTree, microbatch: int) -> PyTree:
    """`batch` as `[B / microbatch, microbatch, ...]`; over several devices each part is spread over all of them."""
    return spread(jax.tree.map(lambda x: x.reshape(-1, microbatch, *x.shape[1:]), batch), axis=1)


def _mean_slope(slope: Callable, params: PyTree, stats: PyTree, batch: PyTree, key: Key, microbatch: int) -> tuple:
    """(mean gradient, mean metrics, last statistics) over the parts of `batch`; in a scan one part's memory is the next's."""
    parts = parts_of(batch, microbatch)
    count = len(jax.tree.leaves(parts)[0])

    def one(held: tuple[PyTree, PyTree], numbered: tuple[Array, PyTree]) -> tuple[tuple[PyTree, PyTree], Metrics]:
        (total, stats), (number, part) = held, numbered
        grads, (metrics, moved) = slope(params, stats, part, jax.random.fold_in(key, number))
        return (jax.tree.map(jnp.add, total, grads), {**stats, **moved}), metrics

    start = (jax.tree.map(jnp.zeros_like, params), stats)
    (total, stats), metrics = jax.lax.scan(one, start, (jnp.arange(count), parts))
    return jax.tree.map(lambda g: g / count, total), jax.tree.map(lambda m: m.mean(0), metrics), stats


def train_step(objective: Objective) -> Callable[[TrainState, Batch, Key], tuple[TrainState, Metrics]]:
    """What `fit` and notebooks jit: the key folded with the step, one step, the step counted."""

    def step(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        moved, metrics = objective.step(state, batch, jax.random.fold_in(key, state.step))
        return moved._replace(step=state.step + 1), metrics

    return step


def train_steps(objective: Objective) -> Callable[[TrainState, Batch, Key], tuple[TrainState, Metrics]]:
    """Several of `train_step` in one call of the device: batches are stacked `[K, B, ...]`, but for what is `resident`, and
    metrics are `[K]`. XLA compiles the body of a scan otherwise than the step alone, so results agree up to rounding.
    """
    step = train_step(objective)

    def steps(state: TrainState, batches: Batch, key: Key) -> tuple[TrainState, Metrics]:
        shared = {name: value for name, value in batches.items() if name == RESIDENT}
        moving = {name: value for name, value in batches.items() if name != RESIDENT}
        return jax.lax.scan(lambda state, batch: step(state, {**batch, **shared}, key), state, moving)

    return steps


def with_ema(objective: Objective, decay: float, names: tuple[str, ...] = ("generator",)) -> Objective:
    """`objective` predicting with an exponential moving average of the nets `names`, parameters and statistics.

    The decay warms up as min(decay, (1 + step) / (10 + step)), so early averages are not the initial weights.
    """
    chex.assert_scalar_in(decay, 0.0, 1.0)

    def init(key: Key, batch: Batch) -> TrainState:
        state = objective.init(key, batch)
        return state._replace(ema={n: copy((state.nets[n].params, state.nets[n].stats)) for n in names})

    def step(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        moved, metrics = objective.step(state, batch, key)
        rate = 1 - jnp.minimum(decay, (1.0 + state.step) / (10.0 + state.step))
        new = {n: (moved.nets[n].params, moved.nets[n].stats) for n in names}
        return moved._replace(ema=jax.tree.map(lambda e, p: e + rate * (p - e), state.ema, new)), metrics

    def averaged(state: TrainState) -> TrainState:
        swapped = {n: state.nets[n]._replace(params=p, stats=s) for n, (p, s) in state.ema.items()}
        return state._replace(nets={**state.nets, **swapped})

    return Objective(
        init,
        step,
        lambda state, batch, key: objective.predict(averaged(state), batch, key),
        lambda state, batch, key: objective.sample(averaged(state), batch, key),
        lambda state, batch, key: objective.evaluate(averaged(state), batch, key),
    )


def with_transform(objective: Objective, fn: Callable[[Batch, Key], Batch]) -> Objective:
    """`objective` whose training batches pass through `fn(batch, key)` under jit (augmentation, degradation)."""
    return objective._replace(
        init=lambda key, batch: objective.init(key, fn(batch, named(key, "transform"))),
        step=lambda state, batch, key: objective.step(state, fn(batch, named(key, "transform")), key),
    )
