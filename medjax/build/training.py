"""A training run assembled from its config: what `medjax train` and the studies call."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from clu import parameter_overview
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from medjax.build import config as configs
from medjax.build import data as build_data
from medjax.build import networks, protocol, superres, unseen
from medjax.build.kinds import kind
from medjax.checkpoint import Checkpoints, parse_best
from medjax.data.records import verify
from medjax.loop import Hook, Log, Stopper, check_state, fit, rematerialising
from medjax.objective import Metrics, Objective
from medjax.rng import named
from medjax.state import TrainState, warm_start
from medjax.types import ConfigError, Stopped
from medjax.writers import Writer

SHEET_ROWS = 4
SMALLEST = 32  # pixels; the checkerboard measures compare that many frequencies


def num_steps(config: ConfigDict, num_images: int) -> int:
    """`train.steps`, or steps for `train.epochs` times `num_images`; a pass over what balancing repeats is longer."""
    c = config.train
    if max(c.steps, c.epochs) < 1 or min(c.steps, c.epochs) < 0:
        raise ConfigError(f"set config.train.steps or config.train.epochs above 0 (they are {c.steps} and {c.epochs})")
    return c.steps or c.epochs * max(num_images // config.data.batch_size, 1)


def set_up_jax(config: ConfigDict) -> None:
    """The persistent compilation cache, and deterministic GPU kernels where asked for."""
    if config.train.compilation_cache:
        folder = Path(config.train.compilation_cache).expanduser()
        jax.config.update("jax_compilation_cache_dir", str(folder))
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
    set_up_jax(config)
    configs.check_same(config, workdir)
    if not (workdir / "config.json").exists():
        superres.check_start(config)
    data = build_data.open_data(config, workdir if (workdir / "config.json").exists() else None)
    if config.init_from:
        unseen.check_origin(config, data, config.init_from)
    if "guide" in config.method and config.method.guide.weight and config.method.guide.classifier:
        unseen.check_origin(config, data, config.method.guide.classifier)
    steps = num_steps(config, len(data.splits["train"]))
    objective = networks.objective(config, steps)
    set_up_jax(config)  # again: a guide was read under the settings of its own run
    batches = build_data.train_batches(config, data)
    example = next(batches(0))  # the first file is read before anything is written
    check_sizes(config, objective, example)
    protocol.baseline_names(config)

    if config.data.verify and not (workdir / "config.json").exists():
        verify(data.source, sorted({int(i) for part in data.splits.values() for i in part}), progress=config.train.progress)

    workdir.mkdir(parents=True, exist_ok=True)
    for note in data.source.notes:
        say(note)
    with Checkpoints(workdir, best=config.train.best) as checkpoints:
        state = _begin(config, objective, checkpoints, example, say)
        if not (workdir / "config.json").exists():
            build_data.write_splits(data, workdir)
            (workdir / "parameters.txt").write_text(_overview(state))
            canvas = {name: value for name, value in data.source.records[0].extra.items() if name == "fov_mm"}
            configs.write(config, workdir, steps=steps, data_root=data.root, parameters=_count(state), **data.facts, **canvas)
        with Writer(workdir, resume_step=int(state.step), tensorboard=config.train.tensorboard) as writer:
            state = _run(config, objective, state, batches, steps, data, writer, checkpoints, workdir, say, hooks)
    return state


def check_sizes(config: ConfigDict, objective: Objective, example: dict) -> None:
    """Raises ConfigError where the networks cannot take the images trained on, or those scored, or nothing is called
    what `train.best` names.
    """
    key, side = jax.random.key(0), config.data.image_size
    if side < SMALLEST:
        raise ConfigError(f"config.data.image_size is {side}; the metrics need {SMALLEST} pixels or more")
    state = jax.eval_shape(objective.init, key, example)
    of = lambda v: side * v.shape[1] // example["target"].shape[1]  # a source of fewer pixels keeps its proportion  # noqa: E731
    whole = {k: jax.ShapeDtypeStruct((1, of(v), of(v), v.shape[-1]), v.dtype) for k, v in example.items() if v.ndim == 4}
    beside = {k: jax.ShapeDtypeStruct((1, *v.shape[1:]), v.dtype) for k, v in example.items() if v.ndim != 4}
    scores = jax.eval_shape(lambda *a: kind(config).score(objective, *a), state, {**whole, **beside}, key)
    given = {*(name for name, value in scores.items() if value.shape == (1,)), *kind(config).also, "step"} - {"label"}
    if parse_best(config.train.best)[0] not in given:
        raise ConfigError(f"config.train.best is {config.train.best!r}; a validation gives {', '.join(sorted(given))}")


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
    if start >= steps:
        say(f"this run is complete at step {start}; evaluate it with medjax evaluate --workdir={workdir}")
        return state
    log = Log(
        writer, every=c.log_every, batch_size=config.data.batch_size, start=start, num_steps=steps, progress=c.progress
    )
    validate = Validate(objective, config, data, writer)
    save = Save(checkpoints, log, validate)
    key = named(jax.random.key(config.seed), "train")
    with Stopper() as stopper:
        every = [
            (1, log),
            (c.eval_every, log.off_clock(validate)),
            (c.sample_every, log.off_clock(validate.sheet)),
            *((period, log.off_clock(hook)) for period, hook in hooks),
            (c.eval_every, log.off_clock(save)),
            (c.save_every, log.off_clock(save)),
            (1, stopper),
        ]
        try:
            options = rematerialising() if c.remat else None
            state = fit(objective, state, batches, key, steps, hooks=every, compiler_options=options)
            save(int(state.step), state, {})
        finally:
            log.close()
    if stopper.signal_number and int(state.step) < steps:
        raise Stopped(f"stopped and saved at step {int(state.step)}; the same command again resumes", stopper.signal_number)
    return state


class Validate:
    """Scores validation images, and draws a sheet of a few spread over them: the hooks between logging and saving."""

    def __init__(self, objective: Objective, config: ConfigDict, data: build_data.Data, writer: Writer) -> None:
        self.writer, self.scores, self.config, self.kind = writer, {}, config, kind(config)
        size = config.data.image_size
        self.batches = build_data.eval_batches(
            config, data, "validation", limit=config.train.eval_images, batch_size=max(1, min(4, 1024 // size))
        )
        few = data.splits["validation"][spread(len(data.splits["validation"]), SHEET_ROWS)]
        shown = replace(data, splits={"validation": few})
        self.shown = build_data.eval_batches(config, shown, "validation", batch_size=len(few))
        self.key = named(jax.random.key(config.data.split_seed), "validation")
        self._score = jax.jit(lambda state, batch, key: self.kind.score(objective, state, batch, key))
        self._predict = jax.jit(objective.predict)

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> None:
        """One row of numbers over the validation images."""
        unmasked = lambda batch: {k: v for k, v in batch.items() if k != "mask"}  # noqa: E731
        parts = [(self._score(state, unmasked(batch), self.key), batch["mask"]) for batch in self.batches]
        self.scores = {"step": step, **self.kind.reduce(parts)}
        self.writer.scalars(step, "validation", {k: v for k, v in self.scores.items() if k != "step"})

    def sheet(self, step: int, state: TrainState, metrics: Metrics) -> None:
        """What the kind of method shows of `SHEET_ROWS` images."""
        batch = {k: np.asarray(v) for k, v in next(iter(self.shown)).items()}
        asked = self.kind.asked or (lambda config, batch: {k: batch[k] for k in self.kind.shown if k in batch})
        prediction = self._predict(state, asked(self.config, batch), self.key)
        pictures, labels = self.kind.sheet(self.config, jax.device_get(prediction), batch)
        self.writer.images(step, "validation", pictures, labels=labels)


def spread(count: int, wanted: int) -> list[int]:
    """`wanted` places spread evenly over `count` of them, or all: neighbouring slices of one head show little."""
    wanted = min(wanted, count)
    return [int((i + 0.5) * count / wanted) for i in range(wanted)]


class Save:
    """Writes a checkpoint after everything before it is known to be finite; scored if validated at this step."""

    def __init__(self, checkpoints: Checkpoints, log: Log, validate: Validate) -> None:
        self.checkpoints, self.log, self.validate = checkpoints, log, validate

    def __call__(self, step: int, state: TrainState, metrics: Metrics) -> None:
        self.log.flush()
        check_state(step, state)
        scores = self.validate.scores
        self.checkpoints.save(state, scores if scores.get("step") == step else None)


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
