"""Printed numbers of separation papers, for the rows beside our own.

They were measured on other videos, other pairs and other lists of what could still be had: they
tell an order of size, not a rank. Light: no torch.

Sources: TriBERT, Tables 1 and 2; separation_baselines.md (which rows of Table 2 are copied from
earlier papers: all but TriBERT's own); TriBERT, footnote 5 (what the authors of Music Gesture
report).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """One line of a printed table, in decibels."""

    system: str
    data: str
    sdr: float
    sir: float
    sar: float | None
    """None where it is not told."""
    source: str

    def as_json(self) -> dict[str, Any]:
        """Return the fields, marked as printed and not measured here."""
        return {**asdict(self), "measured": False}


def _table(
    source: str, data: str, rows: dict[str, tuple[float, float, float | None]]
) -> list[PublishedRow]:
    return [
        PublishedRow(system=system, data=data, sdr=sdr, sir=sir, sar=sar, source=source)
        for system, (sdr, sir, sar) in rows.items()
    ]


PUBLISHED_ROWS: tuple[PublishedRow, ...] = (
    *_table(
        "TriBERT, Table 1",
        "MUSIC21, single source",
        {
            "Sound-of-Pixels": (6.57, 12.82, 10.78),
            "Music Gesture (re-implemented)": (8.08, 15.27, 11.29),
            "TriBERT": (10.09, 17.45, 12.80),
        },
    ),
    *_table(
        "TriBERT, footnote 5",
        "MUSIC21, all videos then online",
        {"Music Gesture (its authors)": (10.12, 15.81, None)},
    ),
    *_table(
        "TriBERT, Table 1",
        "MUSIC21, multi-source",
        {
            "Sound-of-Pixels": (5.73, 12.11, 10.10),
            "Music Gesture (re-implemented)": (6.72, 14.03, 9.68),
            "TriBERT": (7.66, 14.54, 11.06),
        },
    ),
    *_table(
        "TriBERT, Table 2",
        "MUSIC",
        {
            "NMF-MFCC": (0.92, 5.68, 6.84),
            "AV-Mix-and-Separate": (3.23, 7.01, 9.14),
            "Sound-of-Pixels": (7.26, 12.25, 11.11),
            "Co-Separation": (7.64, 13.8, 11.3),
            "Mask co-efficients": (9.29, 15.09, 12.43),
            "TriBERT, fine-tuned": (12.34, 18.76, 14.37),
        },
    ),
)
