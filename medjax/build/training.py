"""A training run assembled from its config: what `medjax train` and the studies call."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from clu import parameter_overview
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from medjax.build import checks, enhancer, networks, pooling, protocol, resident, superres, unseen
from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build.validating import Save, Validate
from medjax.checkpoint import Checkpoints, parse_best
from medjax.data.pools import HIGH, LOW, in_pool, pooled
from medjax.data.records import verify
from medjax.loop import Hook, Log, Patience, Stopper, fit, rematerialising
from medjax.objective import Objective
from medjax.rng import named
from medjax.state import TrainState, warm_start
from medjax.types import ConfigError, Stopped
from medjax.writers import Writer, read_metrics


def num_steps(config: ConfigDict, num_images: int) -> int:
    """`train.steps`, or steps for `train.epochs` times `num_images`; a pass over what balancing repeats is longer."""
    c = config.train
    if max(c.steps, c.epochs) < 1 or min(c.steps, c.epochs) < 0:
        raise ConfigError(f"set config.train.steps or config.train.epochs above 0 (they are {c.steps} and {c.epochs})")
    return c.steps or c.epochs * max(num_images // config.data.batch_size, 1)


def images_of_an_epoch(data: build_data.Data) -> int:
    """The training images that an epoch goes through; of two pools, those of the larger."""
    train = data.splits["train"]
    return max(len(in_pool(data.source, train, pool)) for pool in (LOW, HIGH)) if pooled(data.source) else len(train)


def set_up_jax(config: ConfigDict) -> None:
    """The persistent compilation cache, and deterministic GPU kernels where asked for."""
    if config.train.compilation_cache:
        folder = Path(config.train.compilation_cache).expanduser()
        jax.config.update("jax_compilation_cache_dir", str(folder))
        if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:  # else the user's own
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    flagged = "--xla_gpu_deterministic_ops" in os.environ.get("XLA_FLAGS", "")
    if config.train.deterministic and not flagged and jax.default_backend() == "gpu":
        raise ConfigError("train.deterministic needs XLA_FLAGS=--xla_gpu_deterministic_ops=true set before the start")


def train(
    config: ConfigDict,
    workdir: str | Path,
    *,
    hooks: Sequence[tuple[int, Hook]] = (),
    say: Callable[[str], None] = print,
) -> TrainState:
    """Train or resume the run `config` in `workdir`; returns the last state.

    hooks: further ones (see `loop.fit`), called between validating and saving; their time is not the steps'.

    Raises Stopped after SIGTERM or Ctrl-C, with everything saved, and MedjaxError for what the user has to mend.
    """
    workdir = Path(workdir)
    configs.check_same(config, workdir)
    checks.periods(config, hooks)
    begun = (workdir / "config.json").exists()
    if not begun:
        superres.check_start(config)
    data = build_data.open_data(config, workdir if begun else None)
    checks.origins(config, data)
    data = data if begun else pooling.balanced(config, data)
    steps = num_steps(config, images_of_an_epoch(data))
    objective = networks.objective(config, steps)
    set_up_jax(config)  # after `networks.objective`, which may load other runs, each under settings of its own
    if begun:
        enhancer.check_same(config, workdir)
    checks.pools(config, data)
    batches, transform = resident.train_batches(config, data)
    example = next(batches(0))  # the first file is read before anything is written
    checks.sizes(config, objective, resident.shapes_of(example, transform))
    objective = resident.with_resident(objective, transform)
    protocol.baseline_names(config)

    if config.data.verify and not begun:
        verify(data.source, sorted({int(i) for part in data.splits.values() for i in part}), progress=config.train.progress)

    workdir.mkdir(parents=True, exist_ok=True)
    for note in data.source.notes:
        say(note)
    with Checkpoints(workdir, best=config.train.best) as checkpoints:
        state = _begin(config, objective, checkpoints, example, say)
        if not begun:
            build_data.write_splits(data, workdir)
            (workdir / "parameters.txt").write_text(_overview(state))
            canvas = {name: value for name, value in data.source.records[0].extra.items() if name == "fov_mm"}
            known = {**data.facts, **enhancer.facts(config), "images": unseen.images_of(config, data.root), **canvas}
            configs.write(config, workdir, steps=steps, data_root=data.root, parameters=_count(state), **known)
        with Writer(workdir, resume_step=int(state.step), tensorboard=config.train.tensorboard) as writer:
            state = _run(config, objective, state, batches, steps, data, writer, checkpoints, workdir, say, hooks)
    return state


def _begin(config: ConfigDict, objective: Objective, checkpoints: Checkpoints, example: dict, say: Callable) -> TrainState:
    """The four ways to start: resumed, warm-started, fresh, or done already; all through the same placement."""
    # Drawing the weights runs once: optimised, on a CPU it compiles for as long as the training step does.
    quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    state = jax.jit(objective.init, compiler_options=quick)(named(jax.random.key(config.seed), "init"), example)
    found = checkpoints.restore(state)
    if found is not None:
        say(f"resuming at step {int(found.step)}")
        state = found
    elif config.init_from:
        origin = Path(config.init_from).expanduser()
        source = configs.read(origin)
        with Checkpoints(origin, best=source.train.best, read_only=True) as theirs:
            step, weights = theirs.weights("best")
        state = warm_start(state, weights, origin=str(origin))
        say(f"starting from step {step} of {origin}")
    else:
        say(", ".join(f"{name}: {count:,} parameters" for name, count in _count(state).items()))
    mesh = jax.make_mesh((1,), ("data",), devices=jax.devices()[:1])
    return jax.device_put(state, NamedSharding(mesh, PartitionSpec()))


def _run(config, objective, state, batches, steps, data, writer, checkpoints, workdir, say, hooks) -> TrainState:
    c, start = config.train, int(state.step)
    validate = Validate(objective, config, data, writer)
    patience = _patience(config, validate, workdir, start)
    if start >= steps or patience.stopped:
        say(f"this run is complete at step {start}; evaluate it with medjax evaluate --workdir={workdir}")
        return state
    log = Log(
        writer, every=c.log_every, batch_size=config.data.batch_size, start=start, num_steps=steps, progress=c.progress
    )
    save = Save(checkpoints, log, validate)
    key = named(jax.random.key(config.seed), "train")
    with Stopper() as stopper:
        every = [
            (1, log),
            (c.eval_every, log.off_clock(validate)),
            (c.sample_every, log.off_clock(validate.sheet)),
            (c.eval_every, patience),
            *((period, log.off_clock(hook)) for period, hook in hooks),
            (c.eval_every, log.off_clock(save)),
            (c.save_every, log.off_clock(save)),
            (1, stopper),
        ]
        try:
            options = rematerialising() if c.remat else None
            calls = {"steps_per_call": c.steps_per_call, "compiler_options": options}
            state = fit(objective, state, batches, key, steps, hooks=every, **calls)
            save(int(state.step), state, {})
        finally:
            log.close()
    if patience.stopped:
        say(patience.stopped)
    elif stopper.signal_number and int(state.step) < steps:
        raise Stopped(f"stopped and saved at step {int(state.step)}; the same command again resumes", stopper.signal_number)
    return state


def _patience(config: ConfigDict, validate: Validate, workdir: Path, start: int) -> Patience:
    """`config.train.patience`, with what the run has validated before `start`."""
    metric, mode = parse_best(config.train.best)
    rows = read_metrics(workdir) if start else []
    known = [(r["step"], r[metric]) for r in rows if r["split"] == "validation" and r["step"] <= start and metric in r]
    return Patience(lambda: validate.scores, metric=metric, mode=mode, patience=config.train.patience, history=known)


def _overview(state: TrainState) -> str:
    tables = {n: parameter_overview.get_parameter_overview(net.params, include_stats=False) for n, net in state.nets.items()}
    return "\n".join(f"{name}\n{table}\n" for name, table in tables.items())


def _count(state: TrainState) -> dict[str, int]:
    return {name: sum(x.size for x in jax.tree.leaves(net.params)) for name, net in state.nets.items()}


def train_seeds(config: ConfigDict, workdir: str | Path, seeds: int, *, say: Callable[[str], None] = print) -> None:
    """`seeds` runs that differ in `config.seed` alone, in `workdir/seed_0`, `seed_1`, ..."""
    for seed in range(seeds):
        copy = config.copy_and_resolve_references()
        copy.seed = config.seed + seed
        say(f"seed {copy.seed}")
        train(copy, Path(workdir) / f"seed_{copy.seed}", say=say)
