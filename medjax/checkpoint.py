"""Checkpoints of a run: the two latest and the best, each complete or absent.

A checkpoint has two items: `weights` {name: {"params", "stats"}}, the trees that prediction reads (the EMA's where there
is one), and `training`, the rest of the state. Inference restores the first alone, so a workdir may hold nothing else:
it can then be used and warm-started from, but not resumed.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from medjax import processes
from medjax.state import Net, TrainState, check_same_tree, weights_of
from medjax.types import CheckpointError, PyTree

logging.getLogger("absl").setLevel(logging.ERROR)  # orbax narrates every save


def parse_best(best: str) -> tuple[str, str]:
    """`"psnr:max"` -> ("psnr", "max")."""
    name, _, mode = best.partition(":")
    if mode not in ("min", "max"):
        raise CheckpointError(f"the best checkpoint is named like 'psnr:max' or 'g_loss:min', not {best!r}")
    return name, mode


class Checkpoints:
    """The checkpoints in `workdir/checkpoints`; use it as a context manager or `close` it.

    best: metric and direction by which one checkpoint is kept beside the two latest, for example "psnr:max".
    """

    def __init__(self, workdir: str | Path, *, best: str = "psnr:max", read_only: bool = False) -> None:
        self.workdir = Path(workdir).resolve()
        self.metric, self.mode = parse_best(best)
        keep_best = policies.BestN(
            get_metric_fn=lambda m: m[self.metric],
            reverse=self.mode == "min",
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(2), keep_best]),
            best_fn=lambda m: m[self.metric],  # without it orbax does not write the metrics that the policy ranks by
            best_mode=self.mode,
            enable_async_checkpointing=False,
            read_only=read_only,
            create=not read_only,
        )
        self._manager = ocp.CheckpointManager(self.workdir / "checkpoints", options=options)

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, in order."""
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """The step of the best checkpoint, or of the latest where none was scored; None where there is none."""
        scored = {}
        for step in self.steps():
            metrics = self._manager.metrics(step)
            if metrics and self.metric in metrics:
                scored[step] = metrics[self.metric]
        if not scored:
            return self._manager.latest_step()
        return (max if self.mode == "max" else min)(scored, key=scored.__getitem__)

    def save(self, state: TrainState, metrics: Mapping[str, float] | None = None) -> None:
        """Write `state` under its step; a failed write leaves the checkpoints that exist as they were.

        Warns where `metrics` lack the one that the best is known by, as an AUC of images of one class alone.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        if metrics and self.metric not in metrics:
            warnings.warn(f"validation gave no {self.metric} at step {step}, so that checkpoint cannot be the best", stacklevel=2)
        scored = {self.metric: float(metrics[self.metric])} if metrics and self.metric in metrics else None
        items = {"weights": _weights(weights_of(state)), "training": _training(state)}
        args = ocp.args.Composite(**{name: ocp.args.StandardSave(tree) for name, tree in items.items()})
        try:
            self._manager.save(step, args=args, metrics=scored, force=True)
            self._manager.wait_until_finished()
        except Exception as error:  # orbax and tensorstore raise many kinds; all of them mean "not written"
            kept = [s for s in self.steps() if s != step]
            raise CheckpointError(
                f"the checkpoint of step {step} could not be written to {self.workdir / 'checkpoints'} "
                f"({_first_line(error)}); the last good one is of step {kept[-1] if kept else 'none'}"
            ) from error

    def restore(self, like: TrainState) -> TrainState | None:
        """The latest state that can be read, in the structure of `like` and laid out as it is, whatever devices the checkpoint
        was written from; None where there is no checkpoint.

        A checkpoint cut short is set aside with a warning and the one before is taken. Raises CheckpointError where
        checkpoints exist and none can be read (nothing is moved then), or where they hold another architecture.
        """
        unreadable: list[tuple[int, Exception]] = []
        for step in reversed(self.steps()):
            try:
                state = self._restore(step, like)
            except CheckpointError:
                raise
            except Exception as error:  # orbax and tensorstore raise many kinds; all of them mean "not readable"
                unreadable.append((step, error))
                continue
            for failed, error in unreadable:
                self._set_aside(failed, error)
            return state
        if unreadable:
            raise CheckpointError(f"no checkpoint in {self.workdir / 'checkpoints'} can be read")
        return None

    def _restore(self, step: int, like: TrainState) -> TrainState:
        folder = self.workdir / "checkpoints"
        if not any((folder / str(s) / "training").exists() for s in self.steps()):
            raise CheckpointError(f"{self.workdir} holds weights alone: start from it with config.init_from, not by resuming")
        with ocp.PyTreeCheckpointer() as reader:
            stored = reader.metadata(self.workdir / "checkpoints" / str(step) / "weights").item_metadata.tree
        weights = _weights(weights_of(like))
        check_same_tree(weights, stored, what=f"the checkpoint of step {step} in {self.workdir}")
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, {"weights": weights, "training": _training(like)})
        args = ocp.args.Composite(**{name: ocp.args.StandardRestore(tree) for name, tree in abstract.items()})
        found = self._manager.restore(step, args=args)
        return _assemble(found["weights"], found["training"])

    def weights(self, which: str = "best") -> tuple[int, dict[str, tuple[PyTree, PyTree]]]:
        """(step, {net: (params, stats)}) of the `best` or `latest` checkpoint, as numpy arrays.

        Where that one is cut short another is taken with a warning. Raises CheckpointError where there is none.
        """
        first = self.best_step() if which == "best" else self._manager.latest_step()
        if first is None:
            raise CheckpointError(f"{self.workdir} has no checkpoint: train it first with medjax train --workdir={self.workdir}")
        for step in [first, *(s for s in reversed(self.steps()) if s != first)]:
            try:
                return step, read_weights(self.workdir / "checkpoints" / str(step) / "weights")
            except Exception as error:  # orbax and tensorstore raise many kinds; all of them mean "not readable"
                warnings.warn(f"the checkpoint of step {step} cannot be read ({_first_line(error)})", stacklevel=2)
        raise CheckpointError(f"no checkpoint in {self.workdir / 'checkpoints'} can be read")

    def _set_aside(self, step: int, error: Exception) -> None:
        aside = self.workdir / f"unreadable_checkpoint_{step}"
        if processes.leads():
            shutil.rmtree(aside, ignore_errors=True)
            shutil.move(self.workdir / "checkpoints" / str(step), aside)
        processes.barrier(f"checkpoint {step} set aside")
        self._manager.reload()
        warnings.warn(
            f"the checkpoint of step {step} cannot be read ({_first_line(error)}); it was moved to {aside} "
            "and the one before is used",
            stacklevel=3,
        )

    def close(self) -> None:
        """Finish what is being written."""
        self._manager.close()

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_weights(folder: Path) -> dict[str, tuple[PyTree, PyTree]]:
    """{net: (params, stats)} of a `weights` item, as numpy arrays on no device."""
    with ocp.PyTreeCheckpointer() as reader:
        meta = reader.metadata(folder).item_metadata.tree
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), meta)
        found = reader.restore(folder, restore_args=as_numpy)
    return {name: (tree["params"], tree.get("stats") or {}) for name, tree in found.items()}


def _weights(weights: Mapping[str, tuple[PyTree, PyTree]]) -> PyTree:
    return {name: {"params": params, "stats": stats} for name, (params, stats) in weights.items()}


def _training(state: TrainState) -> PyTree:
    """What `weights` does not hold: with an EMA that is the raw weights too."""
    raw = {name: (net.params, net.stats) for name, net in state.nets.items() if name in state.ema}
    return {
        "step": state.step,
        "opt_state": {name: net.opt_state for name, net in state.nets.items()},
        "raw": _weights(raw),
        "extra": state.extra,
    }


def _assemble(weights: PyTree, training: PyTree) -> TrainState:
    raw = {**weights, **training["raw"]}
    nets = {n: Net(raw[n]["params"], raw[n]["stats"], opt) for n, opt in training["opt_state"].items()}
    ema = {n: (weights[n]["params"], weights[n]["stats"]) for n in training["raw"]}
    return TrainState(training["step"], nets, ema, training["extra"])


def load_into(state: TrainState, weights: Mapping[str, tuple[PyTree, PyTree]], *, origin: str) -> TrainState:
    """`state` with its nets' weights replaced and no EMA: what `predict` reads. Raises CheckpointError on a mismatch."""
    nets = {}
    for name, net in state.nets.items():
        if name not in weights:
            raise CheckpointError(f"{origin} has no net called {name!r}; it has {', '.join(weights)}")
        params, stats = weights[name]
        check_same_tree(net.params, params, what=f"net {name!r} of {origin}")
        nets[name] = Net(params, stats or net.stats, ())
    return TrainState(state.step, nets, {}, {})


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
