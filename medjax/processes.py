"""A run of several processes, on one machine or many: how they join, who writes, what they agree on.

Every process runs the same program on its own devices and its own part of each batch; `jax.distributed` tells them of each other
and ends all of them when one dies. Process 0 writes what is written once. With one process every function here does nothing.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import jax
import numpy as np
from jax.experimental import multihost_utils

from medjax.types import ConfigError, MedjaxError

HEARTBEAT_SECONDS = 30  # without a sign of life from a process the others end
SHUTDOWN_SECONDS = 15  # that a process which ends waits for the others


class ProcessError(MedjaxError):
    """Another process of the run is gone, so that this one cannot go on."""


def join(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """Make this process one of several; before anything of jax has looked for devices.

    coordinator: HOST:PORT at which process 0 listens; processes: how many there are; process: which of them this is. Without
    the three jax reads them from Slurm, Kubernetes or Open MPI. Raises ConfigError where it finds none of those, where some of
    the three are missing or out of range, and where the others cannot be reached.
    """
    given = (coordinator, processes, process)
    stated = any(value is not None for value in given)
    if stated and None in given:
        raise ConfigError("--coordinator=HOST:PORT, --processes=N and --process=I belong together: one of them is missing")
    if stated and (not 0 <= process < processes or not coordinator.rpartition(":")[2].isdigit()):
        told = f"--coordinator={coordinator} --processes={processes} --process={process}"
        raise ConfigError(f"{told}: processes are numbered from 0 to N - 1, and the coordinator is HOST:PORT")
    try:
        jax.distributed.initialize(
            *given,
            cluster_detection_method="deactivate" if stated else None,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=SHUTDOWN_SECONDS,
        )
    except ValueError as error:
        raise ConfigError(
            f"no job of Slurm, Kubernetes or Open MPI is found here ({error}): give --coordinator, --processes and --process"
        ) from error
    except RuntimeError as error:
        raise ConfigError(f"the processes of this run cannot join: {str(error).splitlines()[0]}") from error


def several() -> bool:
    """Whether the run has more than one process."""
    return jax.process_count() > 1


def leads() -> bool:
    """Whether this process writes what is written once."""
    return jax.process_index() == 0


def part() -> tuple[int, int]:
    """(this process's number, how many there are)."""
    return jax.process_index(), jax.process_count()


def neighbours() -> int:
    """How many processes of the run are on this machine, this one among them; all of them have to ask."""
    if not several():
        return 1
    own = np.frombuffer(hashlib.sha256(platform.node().encode()).digest()[:4], np.uint32)
    return int((multihost_utils.process_allgather(own) == own).sum())


def barrier(name: str) -> None:
    """Wait here for all processes."""
    if several():
        multihost_utils.sync_global_devices(name)


def agreed(values: Mapping[str, float]) -> dict[str, float]:
    """Process 0's `values`, to the bit, in all processes; each must have the same names."""
    if not several():
        return dict(values)
    own = np.array([float(values[name]) for name in sorted(values)], np.float64)
    bits = multihost_utils.broadcast_one_to_all(own.view(np.uint32))  # jax without 64 bits would round them
    return dict(zip(sorted(values), np.asarray(bits).view(np.float64).tolist(), strict=True))


def must_stop(step: int) -> bool:
    """Whether a process was sent SIGTERM, and this is the step after which all of them stop; to be asked after every step."""
    return several() and multihost_utils.reached_preemption_sync_point(step)


@contextmanager
def together(workdir: object) -> Iterator[None]:
    """Around the steps of a run: what jax raises when a collective fails in one of several processes becomes a ProcessError.
    Memory that runs out is this process's own fault, and raised as it is.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not several() or "RESOURCE_EXHAUSTED" in str(error):
            raise
        told = f"process {jax.process_index()} of {jax.process_count()} lost the others ({str(error).splitlines()[0][:200]})"
        raise ProcessError(f"{told}; the checkpoints in {workdir} are whole, and the same commands again resume") from error
