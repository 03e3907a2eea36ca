"""Names and shapes of small networks as PyTorch's state dicts have them, written out from the public repositories."""

from __future__ import annotations

Shapes = dict[str, tuple[int, ...]]


def _conv(name: str, out: int, inputs: int, size: int, *, bias: bool = False, transposed: bool = False) -> Shapes:
    first = (inputs, out) if transposed else (out, inputs)
    return {f"{name}.weight": (*first, size, size)} | ({f"{name}.bias": (out,)} if bias else {})


def _norm(name: str, features: int) -> Shapes:
    named = {f"{name}.{leaf}": (features,) for leaf in ("weight", "bias", "running_mean", "running_var")}
    return named | {f"{name}.num_batches_tracked": ()}


def unet(inputs: int, outputs: int, levels: int, ngf: int) -> Shapes:
    """UnetGenerator with batch norm."""
    shapes = _conv("model.model.0", ngf, inputs, 4) | _conv("model.model.3", outputs, 2 * ngf, 4, bias=True, transposed=True)
    prefix, widths = "model.model.1.model", [ngf * min(2**i, 8) for i in range(levels)]
    for outer, inner in zip(widths[:-2], widths[1:-1], strict=True):
        shapes |= _conv(f"{prefix}.1", inner, outer, 4) | _norm(f"{prefix}.2", inner)
        shapes |= _conv(f"{prefix}.5", outer, 2 * inner, 4, transposed=True) | _norm(f"{prefix}.6", outer)
        prefix += ".3.model"
    shapes |= _conv(f"{prefix}.1", widths[-1], widths[-2], 4) | _norm(f"{prefix}.4", widths[-2])
    return shapes | _conv(f"{prefix}.3", widths[-2], widths[-1], 4, transposed=True)


def resnet(inputs: int, outputs: int, ngf: int, blocks: int) -> Shapes:
    """ResnetGenerator with instance norm: biases, and nothing for the norms."""
    shapes = _conv("model.1", ngf, inputs, 7, bias=True)
    shapes |= _conv("model.4", 2 * ngf, ngf, 3, bias=True) | _conv("model.7", 4 * ngf, 2 * ngf, 3, bias=True)
    for i in range(10, 10 + blocks):
        for j in (1, 5):
            shapes |= _conv(f"model.{i}.conv_block.{j}", 4 * ngf, 4 * ngf, 3, bias=True)
    shapes |= _conv(f"model.{10 + blocks}", 2 * ngf, 4 * ngf, 3, bias=True, transposed=True)
    shapes |= _conv(f"model.{13 + blocks}", ngf, 2 * ngf, 3, bias=True, transposed=True)
    return shapes | _conv(f"model.{17 + blocks}", outputs, ngf, 7, bias=True)


def patchgan(inputs: int, ndf: int, layers: int) -> Shapes:
    """NLayerDiscriminator with batch norm."""
    shapes = _conv("model.0", ndf, inputs, 4, bias=True)
    for i in range(1, layers + 1):
        width = ndf * min(2**i, 8)
        shapes |= _conv(f"model.{3 * i - 1}", width, ndf * min(2 ** (i - 1), 8), 4) | _norm(f"model.{3 * i}", width)
    return shapes | _conv(f"model.{3 * layers + 2}", 1, ndf * min(2**layers, 8), 4, bias=True)


def srresnet(channels: int, features: int, blocks: int, scale: int) -> Shapes:
    """MSRResNet."""
    shapes = _conv("conv_first", features, channels, 3, bias=True) | _conv("conv_hr", features, features, 3, bias=True)
    shapes |= _conv("conv_last", channels, features, 3, bias=True)
    for i in range(blocks):
        shapes |= _conv(f"body.{i}.conv1", features, features, 3, bias=True)
        shapes |= _conv(f"body.{i}.conv2", features, features, 3, bias=True)
    shapes |= _conv("upconv1", features * (9 if scale == 3 else 4), features, 3, bias=True)
    return shapes | (_conv("upconv2", 4 * features, features, 3, bias=True) if scale == 4 else {})


def rrdb(channels: int, features: int, growth: int) -> Shapes:
    """RRDBNet at scale 4 with one block."""
    plain = {"conv_first": (features, channels), "conv_last": (channels, features)}
    plain |= {name: (features, features) for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr")}
    shapes: Shapes = {}
    for name, (out, inputs) in plain.items():
        shapes |= _conv(name, out, inputs, 3, bias=True)
    for j in (1, 2, 3):
        for k in range(1, 6):
            out = growth if k < 5 else features
            shapes |= _conv(f"body.0.rdb{j}.conv{k}", out, features + growth * (k - 1), 3, bias=True)
    return shapes
