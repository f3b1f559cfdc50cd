"""`python -m tasks.report.render SPEC.json FOLDER`: write FOLDER/report.html.

Flows in: a spec and the store that it names. Flows out: one page that needs no network.
"""

from __future__ import annotations

import sys
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from tasks.report.content import page
from tasks.report.spec import ReportSpec


def render(spec: ReportSpec) -> str:
    """Return the page."""
    environment = Environment(
        loader=PackageLoader("tasks.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(page(spec))


def main(spec_file: Path, folder: Path) -> None:
    """Write the page into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.html").write_text(render(ReportSpec.from_json(spec_file)), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
