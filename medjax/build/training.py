"""A training run assembled from its config: what `medjax train` and the studies call."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from clu import parameter_overview
from jax.sharding import Mesh
from ml_collections import ConfigDict

from medjax import placement, processes
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
from medjax.writers import Muted, Writer, read_metrics


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
    """The persistent compilation cache."""
    if config.train.compilation_cache:
        folder = Path(config.train.compilation_cache).expanduser()
        jax.config.update("jax_compilation_cache_dir", str(folder))
        if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:  # else the user's own
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def train(
    config: ConfigDict,
    workdir: str | Path,
    *,
    hooks: Sequence[tuple[int, Hook]] = (),
    say: Callable[[str], None] = print,
) -> TrainState:
    """Train or resume the run `config` in `workdir`; returns the last state. Of several processes (`processes.join`) each calls
    it with the same `config` and with a `workdir` that all of them see.

    hooks: further ones (see `loop.fit`), called between validating and saving; their time is not the steps'.

    Raises Stopped after SIGTERM or Ctrl-C, with everything saved, and MedjaxError for what the user has to mend.
    """
    workdir, say = Path(workdir), say if processes.leads() else lambda text: None
    configs.check_same(config, workdir)
    checks.periods(config, hooks)
    checks.deterministic(config)
    mesh = mesh_of(config, say)
    begun = (workdir / "config.json").exists()
    processes.barrier("begun")  # before process 0 writes that file
    if not begun:
        superres.check_start(config)
    data = build_data.open_data(config, workdir if begun else None)
    checks.origins(config, data)
    data = data if begun else pooling.balanced(config, data)
    steps = num_steps(config, images_of_an_epoch(data))
    objective = placement.with_placement(networks.objective(config, steps), mesh, split=config.train.fsdp)
    set_up_jax(config)  # after `networks.objective`, which may load other runs, each under settings of its own
    if begun:
        enhancer.check_same(config, workdir)
    checks.pools(config, data)
    batches, transform = resident.train_batches(config, data, part=processes.part())
    example = next(batches(0))  # the first file is read before anything is written
    checks.sizes(config, objective, resident.shapes_of(example, transform))
    objective = resident.with_resident(objective, transform)
    protocol.baseline_names(config)

    if config.data.verify and not begun:
        every, (first, count) = sorted({int(i) for part in data.splits.values() for i in part}), processes.part()
        verify(data.source, every[first::count], progress=config.train.progress and processes.leads())

    workdir.mkdir(parents=True, exist_ok=True)
    for note in data.source.notes:
        say(note)
    with processes.together(workdir), Checkpoints(workdir, best=config.train.best) as checkpoints:
        state = _begin(config, objective, checkpoints, example, mesh, say)
        if not begun and processes.leads():
            build_data.write_splits(data, workdir)
            (workdir / "parameters.txt").write_text(_overview(state))
            canvas = {name: value for name, value in data.source.records[0].extra.items() if name == "fov_mm"}
            known = {**data.facts, **enhancer.facts(config), "images": unseen.images_of(config, data.root), **canvas}
            configs.write(config, workdir, steps=steps, data_root=data.root, parameters=_count(state), **known)
        batches = placement.placed_batches(batches, mesh)
        with _writer(config, workdir, int(state.step)) as writer:
            state = _run(config, objective, state, batches, steps, data, writer, checkpoints, workdir, say, hooks)
    return state


def mesh_of(config: ConfigDict, say: Callable[[str], None]) -> Mesh:
    """The devices that `config` trains on; ConfigError where it asks for more than there are, they divide no batch, or something
    that one device alone can do is asked of several.
    """
    c = config.train
    mesh = placement.mesh_of(c.devices)
    placement.check_sizes(mesh, batch_size=config.data.batch_size, microbatch=c.microbatch)
    alone = {"config.data.cache=device": config.data.cache == "device", "config.train.steps_per_call": c.steps_per_call > 1}
    for name, asked in alone.items():
        if asked and mesh.size > 1:
            raise ConfigError(f"{name} is for one device, and {mesh.size} devices train")
    if mesh.size < jax.device_count():
        say(f"training on {mesh.size} of {jax.device_count()} devices; --config.train.devices=0 takes all of them")
    if c.fsdp and mesh.size == 1:
        say("config.train.fsdp has nothing to split on one device")
    return mesh


def _writer(config: ConfigDict, workdir: Path, step: int) -> Writer:
    return Writer(workdir, resume_step=step, tensorboard=config.train.tensorboard) if processes.leads() else Muted()


def _begin(
    config: ConfigDict, objective: Objective, checkpoints: Checkpoints, example: dict, mesh: Mesh, say: Callable
) -> TrainState:
    """The four ways to start: resumed, warm-started, fresh, or done already; all through the same placement."""
    # Drawing the weights runs once: optimised, on a CPU it compiles for as long as the training step does.
    quick = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    state = jax.jit(objective.init, compiler_options=quick)(named(jax.random.key(config.seed), "init"), example)
    state = placement.place(state, mesh, split=config.train.fsdp)
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
    return placement.place(state, mesh, split=config.train.fsdp)


def _run(config, objective, state, batches, steps, data, writer, checkpoints, workdir, say, hooks) -> TrainState:
    c, start = config.train, int(state.step)
    validate = Validate(objective, config, data, writer)
    patience = _patience(config, validate, workdir, start)
    if start >= steps or patience.stopped:
        say(f"this run is complete at step {start}; evaluate it with medjax evaluate --workdir={workdir}")
        return state
    shown = c.progress and processes.leads()
    log = Log(writer, every=c.log_every, batch_size=config.data.batch_size, start=start, num_steps=steps, progress=shown)
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
