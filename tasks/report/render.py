"""`python -m tasks.report.render SPEC.json FOLDER`: write FOLDER/report.html and FOLDER/figures.

Flows in: a spec and the store that it names. Flows out: one page that needs no network.
"""

from __future__ import annotations

import sys
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from tasks.report.content import page
from tasks.report.gallery import Gallery
from tasks.report.spec import ReportSpec


def render(spec: ReportSpec, gallery: Gallery) -> str:
    """Return the page; its figures also go into the gallery."""
    environment = Environment(
        loader=PackageLoader("tasks.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(page(spec, gallery))


def main(spec_file: Path, folder: Path) -> None:
    """Write the page into `folder`, and its figures as PNG files into `figures` there."""
    folder.mkdir(parents=True, exist_ok=True)
    text = render(ReportSpec.from_json(spec_file), Gallery(folder / "figures"))
    (folder / "report.html").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
