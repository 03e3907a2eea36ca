"""What a run carries from step to step: arrays and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from medjax.types import Array, CheckpointError, ConfigError, PyTree

Weights = Mapping[str, tuple[PyTree, PyTree]]  # {net: (params, stats)}


class Net(NamedTuple):
    """One network: its parameters, every other linen collection (running statistics, ...), its optimiser's state."""

    params: PyTree
    stats: PyTree
    opt_state: PyTree


class TrainState(NamedTuple):
    """`step` int32; `nets` by name; `ema` {name: (params, stats)}; `extra` {name: pytree} (an image pool, ...)."""

    step: Array
    nets: dict[str, Net]
    ema: dict[str, tuple[PyTree, PyTree]]
    extra: dict[str, PyTree]


def new_state(nets: Mapping[str, Net], **extra: PyTree) -> TrainState:
    """A state at step 0 without an EMA."""
    return TrainState(jnp.zeros((), jnp.int32), dict(nets), {}, dict(extra))


def weights_of(state: TrainState) -> dict[str, tuple[PyTree, PyTree]]:
    """(params, stats) of every net: what prediction reads, taken from the EMA where there is one."""
    return {name: (net.params, net.stats) for name, net in state.nets.items()} | dict(state.ema)


def warm_start(state: TrainState, weights: Mapping[str, tuple[PyTree, PyTree]], *, origin: str = "") -> TrainState:
    """`state` with the nets that `weights` names replaced by copies; optimiser states stay fresh, the EMA restarts there.

    Raises CheckpointError where no net has the same name, or one has another architecture (first difference named).
    """
    shared = [name for name in state.nets if name in weights]
    if not shared:
        raise CheckpointError(
            f"nothing to start from in {origin}: it has nets {sorted(weights)}, this run has {sorted(state.nets)}"
        )
    nets, ema = dict(state.nets), dict(state.ema)
    for name in shared:
        params, stats = weights[name]
        check_same_tree(nets[name].params, params, what=f"net {name!r} of {origin}")
        check_same_tree(nets[name].stats, stats, what=f"running statistics of net {name!r} of {origin}")
        nets[name] = nets[name]._replace(params=copy(params), stats=copy(stats))
        if name in ema:
            ema[name] = (copy(params), copy(stats))
    return state._replace(nets=nets, ema=ema)


def interpolate(first: Weights, second: Weights, alpha: float, *, origin: str = "") -> dict[str, tuple[PyTree, PyTree]]:
    """(1 - alpha) * first + alpha * second, array by array, of every net that both have (Wang et al. 2018, eq. 4: `first`
    trained by L1, `second` by a GAN that was started from it).

    origin: where `first` comes from, for messages. Raises ConfigError for an alpha outside [0, 1], CheckpointError where the
    two have no net in common or one has another architecture (first difference named).
    """
    if not 0 <= alpha <= 1:
        raise ConfigError(f"an interpolation has a share alpha from 0 to 1, not {alpha}")
    shared = [name for name in second if name in first]
    if not shared:
        raise CheckpointError(f"nothing to interpolate with in {origin}: it has {sorted(first)}, this run has {sorted(second)}")
    for name in shared:
        check_same_tree(second[name][0], first[name][0], what=f"net {name!r} of {origin}")
        check_same_tree(second[name][1], first[name][1], what=f"running statistics of net {name!r} of {origin}")
    mix = lambda a, b: ((1 - alpha) * a + alpha * b).astype(b.dtype)  # noqa: E731
    return {name: jax.tree.map(mix, first[name], second[name]) for name in shared}


def copy(tree: PyTree) -> PyTree:
    """New buffers: an alias would be freed twice when the state is donated."""
    return jax.tree.map(lambda x: jnp.array(x, copy=True), tree)


def check_same_tree(ours: PyTree, theirs: PyTree, *, what: str) -> None:
    """Raises CheckpointError naming the first array that is missing, left over or of another shape."""
    a, b = ({jax.tree_util.keystr(k): tuple(v.shape) for k, v in jax.tree_util.tree_leaves_with_path(t)} for t in (ours, theirs))
    for name in [*a, *(k for k in b if k not in a)]:
        if a.get(name) != b.get(name):
            raise CheckpointError(
                f"{what} has another architecture: {name} is {b.get(name, 'absent')} there and {a.get(name, 'absent')} here"
            )
