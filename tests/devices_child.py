"""What test_devices.py runs in a process of its own, on simulated devices and as one of several: `python devices_child.py JOB`.

JOB is JSON: `float64`: with every float32 in float64; `join`: what `processes.join` is given; `small`: what `small_steps` is
given; `runs` [{workdir, config, overrides, until}], each trained in turn. Prints a line of JSON for each, or for its error.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

COMPILED: list[str] = []


def main(job: dict) -> None:
    if job.get("float64"):
        jax.config.update("jax_enable_x64", True)
        jnp.float32 = jnp.float64  # what norms, logits and outputs are cast to: only the order of sums is left to differ
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: COMPILED.append(name) if name == "/jax/core/compile/backend_compile_duration" else None
    )
    from medjax import processes

    if job.get("join"):
        processes.join(*job["join"])
    found = [small_steps(**job["small"])] if "small" in job else []
    found += [trained(**run) for run in job.get("runs", ())]
    if processes.leads() or any("error" in each for each in found):
        print("\n".join(map(json.dumps, found)), flush=True)


def trained(workdir: str, config: str, overrides: list[str], until: int = 0) -> dict:
    """One run by its config, which is asked to stop after step `until`: what it said, programs compiled until each step, how the
    state lies.
    """
    from medjax.build import config as configs
    from medjax.build import training
    from medjax.types import MedjaxError

    said, counts = [], []
    try:
        chosen = configs.get(config, overrides)

        def hook(step: int, *_: object) -> None:
            counts.append(len(COMPILED))
            if step == until:
                signal.raise_signal(signal.SIGTERM)

        state = training.train(chosen, workdir, hooks=((1, hook),), say=said.append)
    except MedjaxError as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"step": int(state.step), "said": said, "compiled": counts, **layout(state)}


def layout(state: object) -> dict:
    """On how many devices the state lies, how many of its arrays are in parts, bytes that one device holds, and of all of it."""
    leaves = jax.tree.leaves(state)
    parts = sum(not x.is_fully_replicated for x in leaves)
    held = sum(x.addressable_data(0).nbytes for x in leaves)
    return {"devices": len(leaves[0].sharding.device_set), "parts": parts, "held": held, "whole": sum(x.nbytes for x in leaves)}


def small_steps(cases: dict[str, tuple[int, bool]], microbatch: int, folder: str | None = None) -> dict:
    """Three steps of a small network with batch norm, dropout, Adam and an average, by case on so many devices, in parts or not;
    of each the largest relative difference of an array to the case `one`, programs compiled after the first step, and how a state
    lies. With a folder also whether what is gathered of the case `split` is that of `whole`, and checkpoints move.
    """
    from medjax import placement
    from medjax.loop import fit

    placement.LARGE = 16
    objective, batches = small(microbatch)
    states, found = {}, {}
    for name, (devices, split) in cases.items():
        mesh, counts = placement.mesh_of(devices), []
        made = placement.with_placement(objective, mesh, split=split)
        state = jax.jit(made.init)(jax.random.key(0), next(batches(0)))
        state = placement.place(state, mesh, split=split)
        hooks = ((1, lambda *_: counts.append(len(COMPILED))),)  # noqa: B023
        states[name] = fit(made, state, placement.placed_batches(batches, mesh), jax.random.key(1), 3, hooks=hooks)
        found[name] = {"differs": apart(states["one"], states[name]), "later": counts[-1] - counts[0], **layout(states[name])}
    if folder:
        found["split"]["alone"] = placement.local(states["split"]).step.sharding.device_set == {jax.devices()[0]}
        found["split"]["gathered"] = apart(*(placement.local(states[name]).ema for name in ("split", "whole")))
        found["split"]["restored"] = moved(Path(folder), states)
    return found


def small(microbatch: int) -> tuple:
    """An objective of a few layers, and batches of eight images of noise for it."""
    import flax.linen as nn
    import optax

    from medjax.models.blocks import BatchNorm, Dropout, leaky_relu
    from medjax.models.conv import Conv
    from medjax.objective import Player, with_ema
    from medjax.objectives import supervised

    class Small(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            x = Conv(8, strides=2, use_bias=False)(x)  # before batch norm a bias has no gradient, and Adam steps by its rounding
            x = leaky_relu(BatchNorm()(x, train=train))
            return Conv(1)(Dropout(0.5)(x).repeat(2, 1).repeat(2, 2))

    def batches(start):
        for step in range(start, 99):
            rng = np.random.default_rng(step)
            images = {name: rng.normal(size=(8, 16, 16, 1)).astype(np.float32) for name in ("source", "target")}
            yield {**images, "index": np.arange(8, dtype=np.int32)}

    return with_ema(supervised(Player(Small(), optax.adam(1e-2)), microbatch=microbatch), 0.9), batches


def apart(one: object, other: object) -> float:
    """The largest difference between the arrays of two trees in shares of an array's norm."""
    pairs = [[np.asarray(x, np.float64) for x in pair] for pair in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)]
    return max(float(np.linalg.norm(a - b) / max(np.linalg.norm(a), 1e-12)) for a, b in pairs)


def moved(folder: Path, states: dict) -> bool:
    """Whether a checkpoint written in parts on four devices comes back to the bit on one, and one of one on four."""
    from medjax.checkpoint import Checkpoints

    exact = []
    for source, target in (("split", "one"), ("one", "split")):
        with Checkpoints(folder / source) as checkpoints:
            checkpoints.save(states[source])
            back = checkpoints.restore(states[target])
        lies = [a.sharding == b.sharding for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(states[target]), strict=True)]
        exact += [apart(states[source], back) == 0, all(lies)]
    return all(exact)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
