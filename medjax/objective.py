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

from medjax.rng import named
from medjax.state import Net, TrainState, copy
from medjax.types import Array, Batch, Key, PyTree

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


LossFn = Callable[[dict[str, PyTree]], tuple[Array, tuple[Metrics, dict[str, PyTree]]]]


def descend(players: Team, nets: Mapping[str, Net], loss_fn: LossFn) -> tuple[dict[str, Net], Metrics]:
    """One step down `loss_fn` for the team `players`.

    `loss_fn({name: params}) -> (loss, (metrics, {name: new statistics}))`. Returns all nets and the metrics.
    """
    params = {name: nets[name].params for name in players}
    grads, (metrics, stats) = jax.grad(loss_fn, has_aux=True)(params)
    return apply_gradients(players, nets, grads, stats), metrics


def train_step(objective: Objective) -> Callable[[TrainState, Batch, Key], tuple[TrainState, Metrics]]:
    """What `fit` and notebooks jit: the key folded with the step, one step, the step counted."""

    def step(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        moved, metrics = objective.step(state, batch, jax.random.fold_in(key, state.step))
        return moved._replace(step=state.step + 1), metrics

    return step


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
