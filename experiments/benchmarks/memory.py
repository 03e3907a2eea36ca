"""How much memory a training step takes: a CGAN at 128 pixels, SRGAN from 128 to 512, and one CGAN that makes 512 directly.

    python -m experiments.benchmarks.memory --output=RESULT.json            (--compile_only: no step is run)

Each system trains whole images at batch 1, 4 and 16: as it is, with rematerialisation, with micro-batches of one image, and
with both. The figure is XLA's memory analysis of the compiled step, which is the one `medjax train` runs: arguments (weights,
optimiser, batch), outputs that are no donated argument, and temporaries. Nothing is computed for it. Where a step would take
less than half a minute it is also run, and the process's peak while stepping is given. Each compilation has a process of its
own and three minutes (--seconds). It ends with the verdict on paper 001's claim that two stages train "without concern for
memory limits" on a card of 4 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.benchmarks.written import write

GIB = 2**30
LIMIT = 4 * GIB  # the paper's card
BATCHES = (1, 4, 16)
FORMS = {
    "plain": (),
    "remat": ("train.remat=True",),
    "micro": ("train.microbatch=1",),
    "remat, micro": ("train.remat=True", "train.microbatch=1"),
}
WORDS = {"remat": "rematerialisation", "micro": "micro-batches of one image", "remat, micro": "both means of saving it"}
WHOLE = ("train.needs_init=False", "method.perceptual.weight=0.0", "method.reconstruction_weight=1.0")
VGG = "SRGAN 128 to 512, VGG19"
SYSTEMS = {
    "paper": {
        "CGAN 128": ("cgan_cxr:paper", ()),
        "SRGAN 128 to 512": ("srgan_cxr:paper", (*WHOLE, "data.crop_size=512")),
        VGG: ("srgan_cxr:paper", (*WHOLE, "data.crop_size=512")),
        "CGAN 512": ("cgan_cxr:paper", ("data.image_size=512", "data.load_size=512", "data.crop_size=512")),
    },
    "tiny": {
        "CGAN 32": ("cgan_cxr:tiny", ()),
        "SRGAN 8 to 32": ("srgan_cxr:tiny", ()),
        "CGAN 64": ("cgan_cxr:tiny", ("data.image_size=64", "data.load_size=64", "data.crop_size=64")),
    },
}
"""By scale: the two stages, the second again with its perceptual loss, and the direct one: (config, overrides)."""
NOTES = (
    "GiB: arguments, outputs that are no donated argument, and temporaries of the compiled training step; what a device adds "
    "(its context, workspaces of its convolutions) comes on top, some 0.3 to 0.6 GiB on a CUDA card",
    "process: the peak resident memory while stepping, libraries and compiler included",
    "micro: gradients averaged over micro-batches of one image; norms' statistics are then those of one image",
    "the row with VGG19 holds its 20 million weights and the maps of both images up to relu5_4, as published; the one without "
    "compares pixels",
)
_RATE = 100e9  # FLOP/s that two cores reach on these networks, from below
_MOST = 30.0  # seconds that a step may take to be run


# ------------------------------------------------------------------------------------------- in the child process


def prepare(scale: str, system: str, batch: int, form: str) -> tuple[Callable, Any, dict, Any]:
    """(step, objective, a batch of zeros, VGG19's variables as shapes or None); `step(state, batch, key, variables)`."""
    from medjax import losses, objectives, weights
    from medjax.build import config as configs
    from medjax.build import networks, trained
    from medjax.objective import Objective, train_step

    name, overrides = SYSTEMS[scale][system]
    config = configs.get(name, [*overrides, f"data.batch_size={batch}", *FORMS[form]])

    def make(variables: Any) -> Objective:
        if variables is None:
            return networks.objective(config, 1000)
        vgg = weights.NETWORKS["vgg19"].features(variables, layers=("relu5_4",), classifier=False)
        perceptual = losses.perceptual(vgg, {"relu5_4": 1.0}, distance="l2")
        return objectives.srgan(*networks.players(config, 1000), perceptual=perceptual, microbatch=config.train.microbatch)

    step = lambda state, batch, key, variables: train_step(make(variables))(state, batch, key)
    variables = weights.NETWORKS["vgg19"].abstract(classifier=False) if system == VGG else None
    return step, networks.objective(config, 1000), trained.blank(config, batch_size=batch), variables


def analyse(scale: str, system: str, batch: int, form: str, *, process: bool) -> dict[str, Any]:
    """Compile the step, and run it twice where that takes no longer than half a minute."""
    from experiments.benchmarks import medjax_step  # the command line's XLA flags, before jax is there
    from experiments.benchmarks.workers import peak_rss, reset_peak_rss
    from medjax.loop import rematerialising

    jax = medjax_step.jax
    step, objective, example, variables = prepare(scale, system, batch, form)
    key = jax.random.key(0)
    state = jax.eval_shape(objective.init, key, example)
    options, clock = rematerialising() if "remat" in form else None, time.perf_counter()
    lowered = jax.jit(step, donate_argnums=0, compiler_options=options).lower(state, example, key, variables)
    parts = batch if "micro" in form else 1
    flop = (lowered.cost_analysis() or {}).get("flops", 0.0) * parts  # it counts the body of a scan once
    compiled = lowered.compile()
    found = {
        "bytes": medjax_step.program_bytes(compiled),
        "gflop": flop / 1e9,
        "compile_s": time.perf_counter() - clock,
        "parameters": {n: sum(x.size for x in jax.tree.leaves(net.params)) for n, net in state.nets.items()},
        "process": None,
    }
    if not process or flop / _RATE > _MOST or found["bytes"]["total"] > _available() / 2:
        return found
    zeros = jax.tree.map(lambda x: jax.numpy.zeros(x.shape, x.dtype), variables)
    held = medjax_step.begin(objective, example, 0)
    reset_peak_rss()
    for _ in range(2):
        held, metrics = compiled(held, example, key, zeros)
        jax.block_until_ready((held, metrics))
    return {**found, "process": round(peak_rss() * 1e6)}


def _available() -> int:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


# ------------------------------------------------------------------------------------------------ in the parent


def measure(
    scale: str, system: str, batch: int, form: str, *, process: bool = True, seconds: float = 180.0, apart: bool = True
) -> dict[str, Any]:
    """A row: `system`, `batch`, `form`, and what `analyse` gave in a fresh process, or `failed`, why it gave nothing.

    apart: False compiles in this process and runs nothing, which for tiny networks is quicker.
    """
    row = {"system": system, "batch": batch, "form": form}
    if not apart:
        return {**row, **analyse(scale, system, batch, form, process=False)}
    asked = json.dumps({"scale": scale, **row, "process": process})
    command = [sys.executable, "-m", "experiments.benchmarks.memory", f"--child={asked}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, cwd=Path(__file__).resolve().parents[2])
    except subprocess.TimeoutExpired:
        return {**row, "failed": f"not compiled within {seconds:g} s"}
    if done.returncode:
        return {**row, "failed": (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1][:300]}
    return {**row, **json.loads(done.stdout.strip().splitlines()[-1])}


def collect(scale: str = "paper", *, batches: Sequence[int] = BATCHES, **options: Any) -> Iterator[dict[str, Any]]:
    """The rows, one at a time, `options` as for `measure`; a batch of one image has no micro-batches."""
    for system in SYSTEMS[scale]:
        for batch in batches:
            for form in FORMS if batch > 1 else ("plain", "remat"):
                yield measure(scale, system, batch, form, **options)


def total(row: Mapping[str, Any]) -> int | None:
    """The bytes of a row's step, None where it was not compiled."""
    return row["bytes"]["total"] if "bytes" in row else None


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for each system and batch, GiB of each form; the process's peak in brackets where it was run."""

    def cell(row: Mapping[str, Any] | None) -> str:
        if row is None or total(row) is None:
            return "-"
        return f"{total(row) / GIB:.2f}" + (f" ({row['process'] / GIB:.2f})" if row["process"] else "")

    found = {(r["system"], r["batch"], r["form"]): r for r in rows}
    lines = [("system", "batch", *FORMS)]
    for system, batch in dict.fromkeys((r["system"], r["batch"]) for r in rows):
        lines.append((system, str(batch), *(cell(found.get((system, batch, form))) for form in FORMS)))
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(w.rjust(n) for w, n in zip(line[1:], widths[1:], strict=True))]) for line in lines
    )


def verdict(rows: Sequence[Mapping[str, Any]], *, limit: int = LIMIT) -> tuple[str, str]:
    """("holds" | "fails" | "untestable", the reason with its figures) of "no memory limits on 4 GB", for the rows of a scale.

    It holds if the two stages (all systems but the last, the direct one) fit into `limit` bytes at every batch, as they are.
    """
    known = [r for r in rows if total(r) is not None]
    systems = list(dict.fromkeys(r["system"] for r in rows))
    plain = [r for r in known if r["form"] == "plain"]
    staged = [r for r in plain if r["system"] != systems[-1]]
    if len({r["system"] for r in plain}) < len(systems):
        return "untestable", "not every system was compiled"
    told = [_told(system, [r for r in known if r["system"] == system], limit) for system in systems]
    one = {r["system"]: total(r) for r in plain if r["batch"] == 1}
    if len(one) == len(systems):
        worst, ratio = max(systems[:-1], key=one.get), max(one[s] for s in systems[:-1]) / one[systems[-1]]
        told.append(f"one image in {worst} takes {ratio:.2g} times the memory of {systems[-1]}, which has one stage")
    word = "holds" if all(total(r) <= limit for r in staged) else "fails"
    return word, f"of {limit / GIB:g} GiB: " + "; ".join(told)


def _told(system: str, rows: Sequence[Mapping[str, Any]], limit: int) -> str:
    """What one system takes at each batch, and in which other form the largest batch takes least."""
    plain = {r["batch"]: total(r) for r in rows if r["form"] == "plain"}
    text = f"{system} takes " + ", ".join(f"{size / GIB:.2f} at batch {batch}" for batch, size in sorted(plain.items()))
    over = [batch for batch, size in sorted(plain.items()) if size > limit]
    text += f" (too much from batch {over[0]} on)" if over else ""
    last = [r for r in rows if r["batch"] == max(plain)]
    least = min(last, key=total)
    return text + (f", there {total(least) / GIB:.2f} with {WORDS[least['form']]}" if least["form"] != "plain" else "")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table and the verdict; 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=tuple(SYSTEMS), default="paper")
    parser.add_argument("--batch", type=lambda text: [int(n) for n in text.split(",")], default=BATCHES, help="1,4,16")
    parser.add_argument("--compile_only", action="store_true", help="run no step")
    parser.add_argument("--seconds", type=float, default=180.0, help="that one process may take")
    parser.add_argument("--output", type=Path, help="write everything as JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # the time to compile is part of the answer
        print(json.dumps(analyse(**json.loads(args.child))))
        return 0
    rows = []
    for row in collect(args.scale, batches=args.batch, process=not args.compile_only, seconds=args.seconds):
        rows.append(row)
        size = total(row)
        told = row.get("failed") or f"{size / GIB:.3f} GiB, compiled in {row['compile_s']:.0f} s"
        print(f"{row['system']}, batch {row['batch']}, {row['form']}: {told}", flush=True)
    from medjax.build import config as configs

    word, reason = verdict(rows)
    print("\n".join((table(rows), *NOTES, f"{word}: {reason}")))
    about = {"benchmark": "memory", "scale": args.scale, "limit_bytes": LIMIT, "versions": configs.versions()}
    result = {**about, "rows": rows, "verdict": word, "how": reason, "notes": NOTES}
    write(args.output, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
