"""Metrics: `[B, H, W, C]` images in [0, 1] to one value per image, distances between sets of images over feature networks
(`features`), and the statistics of such values.
"""

from __future__ import annotations

from medjax.metrics import (
    artefacts,
    features,
    frechet,
    hypothesis,
    kernel,
    lpips,
    neighbours,
    quality,
    reference,
    region,
    roc,
    statistics,
)
from medjax.metrics.artefacts import checkerboard2, checkerboard4, gms, gmsd, gradient_ratio, spectrum_ratio
from medjax.metrics.quality import PSNR_CAP, mae, ms_ssim, mse, nrmse, psnr, ssim
from medjax.metrics.region import REGION, mae_inside, nrmse_inside, psnr_affine, psnr_inside, ssim_affine, ssim_inside

QUALITY = {"psnr": psnr, "ssim": ssim, "ms_ssim": ms_ssim, "mae": mae, "nrmse": nrmse}
ARTEFACTS = {
    "spectrum_ratio": spectrum_ratio,
    "gradient_ratio": gradient_ratio,
    "gms": gms,
    "gmsd": gmsd,
    "checkerboard2": checkerboard2,
    "checkerboard4": checkerboard4,
}
METRICS = {**QUALITY, **ARTEFACTS}
"""Every metric of the protocol by name: `fn(output, target) -> [B]`, ready for `evaluate(metrics=...)`."""

__all__ = [
    "ARTEFACTS",
    "METRICS",
    "PSNR_CAP",
    "QUALITY",
    "REGION",
    "artefacts",
    "features",
    "frechet",
    "hypothesis",
    "kernel",
    "lpips",
    "neighbours",
    "reference",
    "roc",
    "checkerboard2",
    "checkerboard4",
    "gms",
    "gmsd",
    "gradient_ratio",
    "mae",
    "mae_inside",
    "ms_ssim",
    "mse",
    "nrmse",
    "nrmse_inside",
    "psnr",
    "psnr_affine",
    "psnr_inside",
    "quality",
    "region",
    "spectrum_ratio",
    "ssim",
    "ssim_affine",
    "ssim_inside",
    "statistics",
]
