"""What several devices cost on paper: the bytes by which gradients are added up in a step, over the speed of a link, beside the
step's arithmetic.

A ring adds n gradients of N bytes up in 2 (n - 1) / n N bytes sent by each device (Patarasuk and Yuan 2009). `train.fsdp` sends
as many: parameters are gathered and gradients scattered, (n - 1) / n N each. Gradients are float32, as parameters are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from experiments.benchmarks import devices
from experiments.common import step_flops

LINKS = {"NVLink": 450e9, "InfiniBand 400 Gb/s": 50e9, "Ethernet 100 Gb/s": 12.5e9}  # bytes/s one way, one for each device
DEVICE, PRECISION = "NVIDIA H200", "bfloat16"
STATE_BYTES = 16  # per parameter: itself, its gradient and Adam's two moments, float32


@dataclass(frozen=True)
class Model:
    """A config with its fields, images of a batch on each device, and GFLOP of a training step for each image (None: as XLA's
    cost analysis counts them)."""

    config: str
    overrides: tuple[str, ...]
    batch: int
    gflop: float | None


# GFLOP by arithmetic on the layers: forward, backward, both players.
MODELS = {
    "pix2pix 256": Model("pix2pix_cxr:paper", (), 64, devices.PIX2PIX_FLOP / 1e9),
    "CGAN 128": Model("cgan_cxr:paper", (), 64, None),
    "RRDB 23, 48 to 192": Model("esrgan:paper", ("data.image_size=192", "data.load_size=192", "data.crop_size=192"), 16, 245.0),
    "CycleGAN 256": Model("led_cyclegan:paper", (), 8, 1838.0),
    "diffusion 256": Model("led_diffusion:paper", (), 32, None),
    "ResNet-18 224": Model("classifier_cxr:paper", (), 64, None),
}


def count(model: Model) -> tuple[int, float]:
    """(parameters of all nets that learn, GFLOP of a step for each image); nothing is computed."""
    import jax

    from medjax.build import config as configs
    from medjax.build import networks, trained

    config = configs.get(model.config, [*model.overrides, "data.batch_size=1"])
    objective, batch = networks.objective(config, 1000), trained.blank(config, batch_size=1)
    nets = jax.eval_shape(objective.init, jax.random.key(0), batch).nets
    parameters = sum(x.size for net in nets.values() for x in jax.tree.leaves(net.params))
    return parameters, step_flops(config) / 1e9 if model.gflop is None else model.gflop


def summed_bytes(parameters: int, count: int) -> float:
    """Bytes that each of `count` devices sends in a step."""
    return 2 * (count - 1) / count * 4 * parameters


def row(name: str, model: Model, parameters: int, gflop: float, *, count: int) -> dict[str, Any]:
    """A model's line: the step's floor, what its sum takes over each link, and the share of the step's time that is left for
    arithmetic where nothing of the sum is hidden behind it.
    """
    floor = devices.floor_seconds(DEVICE, PRECISION, flop=1e9 * gflop * model.batch, parameters=parameters)
    sent = summed_bytes(parameters, count)
    times = {link: sent / speed for link, speed in LINKS.items()}
    return {
        "model": name, "config": model.config, "devices": count, "batch": model.batch, "parameters": parameters, "gflop": gflop,
        "floor_ms": 1e3 * floor, "bytes": sent, "ms": {link: 1e3 * t for link, t in times.items()},
        "efficiency": {link: floor / (floor + t) for link, t in times.items()},
        "state_mb": STATE_BYTES * parameters / 1e6,
    }  # fmt: skip


def rows(*, count_devices: int = 8) -> list[dict[str, Any]]:
    """The line of every model."""
    return [row(name, model, *count(model), count=count_devices) for name, model in MODELS.items()]


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The lines as a table for a page."""
    head = ["model", "parameters", "batch on each", "step, ms", "sent, MB", *LINKS]
    lines = [head, ["---"] * len(head)]
    for r in rows:
        links = [f"{r['ms'][link]:.2f} ms, {r['efficiency'][link]:.0%}" for link in LINKS]
        step = [f"{r['parameters'] / 1e6:.1f} M", str(r["batch"]), f"{r['floor_ms']:.1f}", f"{r['bytes'] / 1e6:.0f}"]
        lines.append([r["model"], *step, *links])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
