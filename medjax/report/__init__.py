"""Self-contained HTML reports: `build` makes that of a run, `page` any other of sections, text, tables and figures."""

from __future__ import annotations

from medjax.report import blocks
from medjax.report.build import build
from medjax.report.html import Section, claims_table, details, figure, note, page, save, table, text, warning

__all__ = [
    "Section",
    "blocks",
    "build",
    "claims_table",
    "details",
    "figure",
    "note",
    "page",
    "save",
    "table",
    "text",
    "warning",
]
