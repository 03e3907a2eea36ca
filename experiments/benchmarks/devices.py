"""What known accelerators can do at best, and the least time a step can take there.

Peaks are NVIDIA's data sheet figures for dense tensor-core arithmetic (half of the sheets' "with sparsity" values).
float32 is the rate of TF32, which XLA and cuDNN use for float32 products on Ampere and later; on older chips it is the
rate of plain float32. bfloat16 is None where the chip has no such unit.
"""

from __future__ import annotations

from dataclasses import dataclass

PIX2PIX_FLOP = 82.5e9  # arithmetic of one training step of `pix2pix_cxr:paper`, per image of 256 x 256
ATTAINABLE = 0.4  # the share of the peak that a well-fed convolutional network is taken to reach
ADAM_BYTES = 32  # per float32 parameter: p, m, v and the gradient, each read once and written once


@dataclass(frozen=True)
class Peak:
    """`flops` {precision: FLOP/s or None}, `bandwidth` in bytes/s, and where the figures come from."""

    name: str
    flops: dict[str, float | None]
    bandwidth: float
    source: str

    def of(self, precision: str) -> float | None:
        """FLOP/s at `precision`; None where there is no such unit."""
        return self.flops.get(precision)


# Part of the device's name, TFLOP/s in bfloat16 and float32, TB/s. The first match counts.
_TABLE = (
    ("B200", 2250, 1125, 8.0),
    ("GH200", 989, 494, 4.0),
    ("H200", 989, 494, 4.8),
    ("H100 PCIe", 756, 378, 2.0),
    ("H100 NVL", 835, 417, 3.9),
    ("H100", 989, 494, 3.35),
    ("A100-SXM4-80GB", 312, 156, 2.039),
    ("A100 80GB", 312, 156, 1.935),
    ("A100", 312, 156, 1.555),
    ("L40S", 362, 183, 0.864),
    ("RTX 4090", 165, 82.6, 1.008),
    ("RTX 3090", 71, 35.6, 0.936),
    ("L4", 121, 60, 0.3),
    ("V100", None, 15.7, 0.9),
    ("T4", None, 8.1, 0.32),
)
# Measured through large products and copies, where somebody did: nearer to what can be had than the data sheet.
_MEASURED = {"H200": (790, 395, 4.3)}


def _peak(name: str, bfloat16: float | None, float32: float, bandwidth: float, source: str) -> Peak:
    flops = {"bfloat16": bfloat16 and bfloat16 * 1e12, "float32": float32 * 1e12}
    return Peak(name, flops, bandwidth * 1e12, source)


def peak(device_kind: str) -> Peak | None:
    """The data sheet's peak of a device by the name jax gives it (`device_kind`); None for a CPU and unknown chips."""
    for row in _TABLE:
        if row[0] in device_kind:
            return _peak(*row, source=f"NVIDIA data sheet of the {row[0]}, dense")
    return None


def attainable(device_kind: str) -> Peak | None:
    """Measured rates of the device where they are known, else its peak."""
    known = peak(device_kind)
    if known is None or known.name not in _MEASURED:
        return known
    return _peak(known.name, *_MEASURED[known.name], source="measured: bfloat16 product of 8192, device copy; TF32 as half")


def floor_seconds(device_kind: str, precision: str, *, flop: float, parameters: int) -> float | None:
    """The least time of a training step of `flop` operations: the longer of arithmetic and traffic; None if unknown.

    Arithmetic at 40% of the attainable rate; traffic is Adam's alone, so this is low where activations dominate.
    """
    known = attainable(device_kind)
    if known is None or not known.of(precision):
        return None
    return max(flop / (ATTAINABLE * known.of(precision)), ADAM_BYTES * parameters / known.bandwidth)
