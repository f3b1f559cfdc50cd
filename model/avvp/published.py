"""Printed numbers of the parsing tables, for the rows beside our own. Light: no torch.

Source: Lamba et al., Interspeech 2021, Table 1 (segment level) and Table 2 (event level); the rows
of AVE, AVSDN and HAN are quoted there, and the frozen row is of its first version (arXiv). One
seed each, no deviation is told. Annotations are those of before 2024, events are gated by the
video's probability.
"""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "Lamba et al. 2021"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """One printed row, in percent: audio, visual, audio-visual, Type@AV, Event@AV."""

    segment: tuple[float, ...]
    event: tuple[float, ...]

    def level(self, level: str) -> tuple[float, ...]:
        """Return the figures of 'segment' or 'event'."""
        return self.segment if level == "segment" else self.event


PUBLISHED_ROWS: dict[str, PublishedRow] = {
    name: PublishedRow(segment=segment, event=event)
    for name, segment, event in (
        ("AVE", (49.9, 37.3, 37.0, 41.4, 43.6), (43.6, 32.4, 32.6, 36.2, 37.4)),
        ("AVSDN", (47.8, 52.0, 37.1, 45.7, 50.8), (34.1, 46.3, 26.5, 35.6, 37.7)),
        ("HAN", (60.1, 52.9, 48.9, 54.0, 55.4), (51.3, 48.9, 43.0, 47.7, 48.0)),
        ("Base", (60.0, 52.6, 48.4, 53.7, 54.8), (51.9, 48.5, 41.9, 47.4, 49.5)),
        ("Base+GCAA", (62.0, 53.4, 48.9, 54.8, 56.3), (53.4, 48.9, 42.0, 48.1, 50.7)),
        ("Base+Adv+Skip", (61.5, 53.3, 48.8, 54.5, 56.0), (53.4, 48.8, 42.0, 48.0, 50.5)),
        ("Base+Adv+Skip+GCAA", (61.6, 54.7, 50.3, 55.5, 56.1), (53.7, 50.5, 43.5, 49.2, 50.9)),
        ("Pretrain (uni)", (59.8, 54.7, 49.4, 54.7, 56.2), (50.8, 51.5, 42.9, 48.4, 49.3)),
        ("Pretrain (cross)", (60.3, 55.1, 49.9, 55.1, 56.4), (52.3, 52.1, 43.9, 49.4, 50.4)),
        ("Pretrain (multi)", (60.8, 54.8, 50.0, 55.2, 56.2), (53.4, 51.6, 44.3, 49.8, 51.2)),
        ("Pretrain frozen (uni)", (58.4, 54.2, 50.4, 54.4, 54.4), (50.0, 50.9, 45.0, 48.6, 47.6)),
    )
}
"""Row of the tables -> what is printed there."""
