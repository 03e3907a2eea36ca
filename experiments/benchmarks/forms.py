"""Every form of a convolution against the plain one, forward and backward, on layers of the six models: what to choose by.

    python -m experiments.benchmarks.forms [--only=unet] [--slices=5] [--precision=float32] [--output=RESULT.json]

A row for each layer and form: milliseconds of the value and both gradients in one jitted call, the median and range over slices
in which the forms take turns, and the form that `medjax.models.conv` takes on this machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from medjax import set_cpu_flags

set_cpu_flags()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from experiments.benchmarks.written import write  # noqa: E402
from medjax.build import config as configs  # noqa: E402
from medjax.models import conv as c  # noqa: E402
from medjax.models import conv_forms as forms  # noqa: E402
from medjax.models.conv_forms import Window  # noqa: E402

Form = Callable[[Any, Any], Any]


PRODUCTS = 1024  # positions up to which one matrix product is tried


class Layer(NamedTuple):
    """A convolution as a model has it; `size` is the side of the map that it reads."""

    name: str
    kind: str  # conv, transposed or upsample
    batch: int
    size: int
    inputs: int
    outputs: int
    kernel: int
    stride: int
    padding: int
    output_padding: int = 0


LAYERS = (
    Layer("unet encoder_0", "conv", 4, 256, 1, 64, 4, 2, 1),
    Layer("unet encoder_2", "conv", 4, 64, 128, 256, 4, 2, 1),
    Layer("unet encoder_4", "conv", 4, 16, 512, 512, 4, 2, 1),
    Layer("unet encoder_6", "conv", 4, 4, 512, 512, 4, 2, 1),
    Layer("unet decoder_1", "transposed", 4, 2, 1024, 512, 4, 2, 1),
    Layer("unet decoder_3", "transposed", 4, 8, 1024, 512, 4, 2, 1),
    Layer("unet decoder_5", "transposed", 4, 32, 512, 128, 4, 2, 1),
    Layer("unet output", "transposed", 4, 128, 128, 1, 4, 2, 1),
    Layer("patchgan conv_0", "conv", 4, 256, 2, 64, 4, 2, 1),
    Layer("patchgan logits", "conv", 4, 31, 512, 1, 4, 1, 1),
    Layer("patchgan logits of 128 pixels", "conv", 1, 15, 512, 1, 4, 1, 1),
    Layer("resnet generator down_1", "conv", 1, 128, 64, 128, 3, 2, 1),
    Layer("resnet generator up_0", "transposed", 1, 64, 128, 64, 3, 2, 1, 1),
    Layer("resnet generator last", "conv", 1, 134, 64, 1, 7, 1, 0),
    Layer("rrdb conv_up2", "upsample", 4, 96, 64, 64, 3, 1, 1),
    Layer("rrdb conv_last", "conv", 4, 192, 64, 1, 3, 1, 1),
    Layer("denoiser halve_1", "conv", 4, 128, 64, 128, 3, 2, 1),
    Layer("denoiser double_2", "upsample", 4, 32, 256, 128, 3, 1, 1),
    Layer("denoiser skip", "conv", 4, 128, 128, 64, 1, 1, 0),
    Layer("resnet-18 layer2", "conv", 8, 56, 64, 128, 3, 2, 1),
    Layer("resnet-18 layer4", "conv", 8, 7, 512, 512, 3, 1, 1),
)


def candidates(layer: Layer) -> tuple[dict[str, Form], str]:
    """({form: function of map and kernel}, the form chosen here)."""
    k, s, p = (layer.kernel,) * 2, (layer.stride,) * 2, ((layer.padding,) * 2,) * 2
    if layer.kind == "upsample":
        phases = lambda x, kernel: c.conv_transpose(x, forms.upsampling_kernel(kernel), padding=layer.padding)
        nearest = lambda x, kernel: c.conv(c.nearest(x), kernel, padding=p)
        return {"nearest": nearest, "phases": phases}, c.form_upsample(layer.batch, (layer.size,) * 2)
    if layer.kind == "transposed":
        side = (layer.size - 1) * layer.stride - 2 * layer.padding + layer.kernel + layer.output_padding
        window = Window((side, side), k, s, ((layer.padding, layer.padding - layer.output_padding),) * 2)
        found = {"plain": forms.conv_transpose_plain, "phases": forms.conv_transpose_phases}
        if layer.outputs <= c.FEW or layer.batch * layer.size**2 <= PRODUCTS:
            found["shifts"] = forms.conv_transpose_shifts
        chosen = c.form_transpose(layer.batch, (*k, layer.outputs, layer.inputs), window)
        return {name: lambda x, kernel, form=form: form(x, kernel, window) for name, form in found.items()}, chosen
    window = Window((layer.size,) * 2, k, s, p)
    found = {"strided": c.conv_strided} if layer.stride > 1 else {}
    if layer.inputs <= c.FEW or layer.batch * np.prod(window.positions) <= PRODUCTS:
        found["columns"] = forms.conv_columns
    if layer.outputs == 1 and layer.stride == 1:
        found["shifts"] = forms.conv_shifts
    made = {name: lambda x, kernel, form=form: form(x, kernel, window) for name, form in found.items()}
    made |= {"dot": partial(forms.conv_dot, strides=s)} if layer.kernel == 1 and not layer.padding else {}
    chosen = c.form(layer.batch, (*k, layer.inputs, layer.outputs), window)
    return {"plain": partial(forms.conv_plain, strides=s, padding=p), **made}, chosen


def measure(layer: Layer, *, slices: int, precision: str) -> list[dict[str, Any]]:
    """A row for each form of a layer."""
    rng = np.random.default_rng(0)
    dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
    channels = (layer.outputs, layer.inputs) if layer.kind == "transposed" else (layer.inputs, layer.outputs)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), dtype)
    x = draw(layer.batch, layer.size, layer.size, layer.inputs)
    kernel = draw(layer.kernel, layer.kernel, *channels)
    found, chosen = candidates(layer)
    cotangent = draw(*jax.eval_shape(next(iter(found.values())), x, kernel).shape)

    def whole(form: Form) -> Callable[[], Any]:
        @jax.jit
        def both(x: Any, kernel: Any, g: Any) -> Any:
            out, pull = jax.vjp(form, x, kernel)
            return out, pull(g)

        run = lambda: jax.block_until_ready(both(x, kernel, cotangent))
        run()
        return run

    runs = {name: whole(form) for name, form in found.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(slices):
        for name, run in runs.items():
            begun = time.perf_counter()
            run()
            times[name].append(1000 * (time.perf_counter() - begun))
    plain = statistics.median(next(iter(times.values())))
    return [
        {
            "layer": layer.name, "form": name, "chosen": name == chosen, "batch": layer.batch, "precision": precision,
            "ms": statistics.median(ms), "ms_range": [min(ms), max(ms)], "of_plain": statistics.median(ms) / plain,
        }
        for name, ms in times.items()
    ]  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="layers with this in their names")
    parser.add_argument("--slices", type=int, default=5)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args(argv)
    rows = []
    for layer in LAYERS:
        if args.only in layer.name:
            rows += measure(layer, slices=args.slices, precision=args.precision)
            for row in rows:
                if row["layer"] == layer.name:
                    star = "*" if row["chosen"] else " "
                    print(f"{layer.name:24} {star} {row['form']:8} {row['ms']:9.2f} ms  {row['of_plain']:.2f}", flush=True)
    if args.output:
        device = jax.devices()[0]
        about = {"benchmark": "forms", "load": os.getloadavg()[0], "device_kind": device.device_kind, "platform": device.platform}
        write(args.output, {**about, "versions": configs.versions(), "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
