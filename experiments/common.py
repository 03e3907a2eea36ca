"""What the studies share: their flags, one way to end, runs trained to the last step, stages that keep their results."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from medjax import set_cpu_flags
from medjax.files import replace
from medjax.types import DataError, MedjaxError

FILES, PHANTOMS = "files", "phantoms"  # what --data_source may be


def parser(module: str, doc: str, *, seeds: bool = True) -> argparse.ArgumentParser:
    """The flags of every study. doc: the study's docstring, whose first line says what it is; seeds: with `--seeds`."""
    made = argparse.ArgumentParser(prog=f"python -m experiments.{module}", description=doc.splitlines()[0])
    made.add_argument("--scale", choices=("tiny", "small", "paper"), default="small")
    made.add_argument("--workdir", type=Path, required=True)
    if seeds:
        made.add_argument("--seeds", type=int, default=1, help="trainings of every run that differ in the seed alone")
    made.add_argument("--quiet", action="store_true", help="no progress bars")
    return made


def add_data(made: argparse.ArgumentParser, holds: str) -> None:
    """The flags of a study of files, or of phantoms alone. holds: what the folder of the data holds."""
    made.add_argument("--data_source", choices=(FILES, PHANTOMS), help="default: files; tiny: phantoms")
    made.add_argument("--data_root", default="", help=f"the folder that holds {holds} (default: $MEDJAX_DATA)")


def source_of(args: argparse.Namespace) -> str:
    """Files or phantoms, as these flags say."""
    return args.data_source or (PHANTOMS if args.scale == "tiny" else FILES)


def conclude(module: str, conduct: Callable[[], Path], *, opening: str = "\n") -> int:
    """Run a study and print where its report is; what the user has to mend ends it in one sentence. The exit status."""
    set_cpu_flags()
    try:
        print(f"{opening}The report: {conduct()}")
    except MedjaxError as error:
        print(f"{module}: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def kept(path: Path, compute: Callable[[], Any]) -> Any:
    """What `compute` gave when it was asked first, from JSON at `path`."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, json.dumps(compute(), indent=1, default=float) + "\n")
    return json.loads(path.read_text())


def train_to_end(
    name: str,
    config: ConfigDict,
    folder: Path,
    num_images: int,
    *,
    hooks: Sequence[tuple[int, Callable]] = (),
    say: Callable[[str], None] = print,
) -> None:
    """Train or resume a run to its last step; hooks as in `training.train`. Raises MedjaxError if it was stopped before."""
    from medjax.build import training

    state, wanted = training.train(config, folder, hooks=hooks, say=say), training.num_steps(config, num_images)
    if int(state.step) < wanted:
        raise MedjaxError(f"{name} was stopped at step {int(state.step)} of {wanted}; the same command again resumes")


def complete(config: ConfigDict, folder: Path) -> bool:
    """Whether `folder` holds a finished run of `config`, however long its own training was; ConfigError for another run."""
    from medjax.build import config as configs

    if not (folder / "config.json").exists():
        return False
    theirs = configs.read(folder)
    reached = max((int(p.name) for p in (folder / "checkpoints").glob("[0-9]*") if p.name.isdigit()), default=0)
    if reached < configs.resolved(folder)["steps"]:
        return False
    asked = config.copy_and_resolve_references()
    asked.train = theirs.train
    configs.check_same(asked, folder)
    return True


@dataclass(frozen=True)
class Study:
    """What was asked for: where, at which scale, on which data, how many seeds."""

    workdir: Path
    scale_name: str
    source: str = ""
    root: str = ""
    seeds: int = 1
    progress: bool = True

    @property
    def real(self) -> bool:
        """Whether the images are of people."""
        return not self.source.startswith("phantom")

    def above(self, holds: str = "cxr_nih") -> Path:
        """The folder above those of the data sets, which `holds` these: `root`, else $MEDJAX_DATA; DataError where neither is."""
        given = self.root or os.environ.get("MEDJAX_DATA", "")
        if not given:
            raise DataError(f"the study needs images: set --data_root=DIR, or MEDJAX_DATA, to the folder that holds {holds}")
        return Path(given).expanduser()


def example(config: ConfigDict) -> dict[str, np.ndarray]:
    """A batch of noise in the shapes of training."""
    from medjax.build.data import channels
    from medjax.types import to_signed

    side, size = config.data.crop_size, config.data.batch_size
    images = to_signed(np.random.default_rng(0).random((size, side, side, 1), np.float32))
    return {"source": images.repeat(channels(config), -1), "target": images, "index": np.arange(size, dtype=np.int32)}


def step_flops(config: ConfigDict) -> float:
    """Operations of one whole training step with every convolution in its plain form, by XLA's count of the program before
    optimisation; nothing is computed.
    """
    import jax

    from medjax.build import networks, trained
    from medjax.models.conv import traced_for
    from medjax.objective import train_step

    objective, key = networks.objective(config, 1000), jax.random.key(0)
    batch = trained.blank(config, batch_size=config.data.batch_size)
    state = jax.eval_shape(objective.init, key, batch)
    with traced_for("cuda"):  # a CPU's forms have fewer products
        return jax.jit(train_step(objective)).lower(state, batch, key).cost_analysis()["flops"]


def protocol_blocks(summary: Mapping[str, Any]) -> list[str]:
    """A report's last section: the protocol and the versions of a result file."""
    from medjax import report

    def words(value: Any) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{a}: {words(b)}" for a, b in value.items())
        return str(np.array(value).tolist())

    rows = [(name.replace("_", " "), words(value)) for name, value in summary["protocol"].items() if value is not None]
    versions = ", ".join(f"{name} {value}" for name, value in summary["versions"].items())
    return [report.table(("", ""), rows), report.text(f"Versions: {versions}.")]
