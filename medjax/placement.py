"""Where a run's arrays lie: a mesh of devices, batches split over it, states whole on every device or split as well.

The mesh has one axis, `data`, over the devices of all processes. A batch is split along its images and the step is compiled once
for all devices (Xu et al. 2021, GSPMD): what it reads of a whole batch, such as the statistics of batch norm, is of the global
batch, and XLA adds the gradients up. With `split`, large arrays of nets and averages lie in parts too (Rajbhandari et al. 2020,
ZeRO; Zhao et al. 2023, FSDP): the parameters are gathered for a step, the optimiser's moments and the averages never are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from medjax.state import TrainState
from medjax.types import Array, Batch, Batches, ConfigError, Key, PyTree

if TYPE_CHECKING:
    from medjax.objective import Metrics, Objective

AXIS = "data"
LARGE = 1 << 16  # elements from which an array is split; smaller ones cost more to gather than they take
_MESH: ContextVar[Mesh | None] = ContextVar("the mesh that the step being traced runs on", default=None)


def mesh_of(devices: int = 1) -> Mesh:
    """A mesh of the first `devices` devices of every process (0: all), those of one process side by side.

    Raises ConfigError for more devices than a process has.
    """
    each = [[d for d in jax.devices() if d.process_index == p] for p in range(jax.process_count())]
    there = min(len(own) for own in each)
    if not 0 <= devices <= there:
        kind = each[0][0].device_kind
        raise ConfigError(f"config.train.devices is {devices}, and there are {there} here ({kind}); 0 takes all of them")
    return Mesh(np.array([d for own in each for d in own[: devices or there]]), (AXIS,))


def check_sizes(mesh: Mesh, *, batch_size: int, microbatch: int = 0) -> None:
    """Raises ConfigError where the devices of `mesh` would get uneven shares of a batch or of a micro-batch."""
    for name, size in (("data.batch_size", batch_size), ("train.microbatch", microbatch)):
        if size % mesh.size:
            raise ConfigError(f"config.{name}, {size}, is no multiple of the {mesh.size} devices that train")


def shardings(state: TrainState, mesh: Mesh, *, split: bool = False) -> TrainState:
    """Where each array of `state` belongs: whole on every device; with `split`, those of nets and averages that have at least
    `LARGE` elements in equal parts along the longest axis that the number of devices divides.
    """
    whole = lambda x: NamedSharding(mesh, PartitionSpec())  # noqa: E731
    apart = lambda x: NamedSharding(mesh, _spec(x.shape, mesh.size))  # noqa: E731
    every = jax.tree.map(whole, state)
    if not split:
        return every
    return every._replace(nets=jax.tree.map(apart, state.nets), ema=jax.tree.map(apart, state.ema))


def _spec(shape: tuple[int, ...], count: int) -> PartitionSpec:
    even = [axis for axis, length in enumerate(shape) if length % count == 0]
    if int(np.prod(shape)) < LARGE or not even:
        return PartitionSpec()
    return PartitionSpec(*(None,) * max(even, key=lambda axis: shape[axis]), AXIS)


def place(state: TrainState, mesh: Mesh, *, split: bool = False) -> TrainState:
    """`state` laid out as `shardings` says. In each of several processes `state` is the same, or lies on the mesh already."""
    return jax.tree.map(_placed, state, shardings(state, mesh, split=split))


def _placed(x: Array, where: NamedSharding) -> Array:
    if where.is_fully_addressable or not x.is_fully_addressable:
        return jax.device_put(x, where)
    whole = np.asarray(x)
    return jax.make_array_from_callback(whole.shape, where, lambda at: whole[at])


def placed_batches(batches: Batches, mesh: Mesh) -> Batches:
    """`batches` split over `mesh` by their images; each process gives the rows of its own devices. On one device as they are."""
    if mesh.size == 1:
        return batches
    where = NamedSharding(mesh, PartitionSpec(AXIS))

    def placed(start: int) -> Iterator[dict[str, Array]]:
        for batch in batches(start):
            yield {name: jax.make_array_from_process_local_data(where, rows) for name, rows in batch.items()}

    return placed


def with_placement(objective: Objective, mesh: Mesh, *, split: bool = False) -> Objective:
    """`objective` whose step leaves the state where `place` put it; itself on one device."""
    if mesh.size == 1:
        return objective
    whole = NamedSharding(mesh, PartitionSpec())

    def step(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        gathered = {n: net._replace(params=_kept(net.params, whole)) for n, net in state.nets.items()}
        with _tracing(mesh):
            moved, metrics = objective.step(state._replace(nets=gathered), batch, key)
        return _kept(moved, shardings(moved, mesh, split=split)), _kept(metrics, whole)

    return objective._replace(step=step)


def _kept(tree: PyTree, where: PyTree) -> PyTree:
    return jax.lax.with_sharding_constraint(tree, where)


@contextmanager
def _tracing(mesh: Mesh) -> Iterator[None]:
    token = _MESH.set(mesh)
    try:
        yield
    finally:
        _MESH.reset(token)


def spread(tree: PyTree, axis: int) -> PyTree:
    """Arrays of a step whose `axis` counts images, split along it over the mesh that the step runs on. Of a batch cut into
    micro-batches the compiler would else give each device parts of its own, which come one after the other.
    """
    mesh = _MESH.get()
    return tree if mesh is None else _kept(tree, NamedSharding(mesh, PartitionSpec(*(None,) * axis, AXIS)))


def local(state: TrainState) -> TrainState:
    """What prediction reads of `state`, whole on the first device of this process; a state on one device itself."""
    where = state.step.sharding
    if len(where.device_set) == 1:
        return state
    kept = state._replace(nets={name: net._replace(opt_state=()) for name, net in state.nets.items()})
    whole = jax.device_put(kept, NamedSharding(where.mesh, PartitionSpec()))
    return jax.tree.map(lambda x: x.addressable_data(0), whole)
