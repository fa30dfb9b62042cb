"""Draws what the demo prints, from its report, as an SVG for a README.

python -m deploy.docs.picture ~/.graftwork/demo/report.json deploy/docs/demo.svg
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME

from deploy.demo.display import WIDTH, show
from deploy.demo.report import DemoReport


def main() -> int:
    """Write the picture; exit code 2 where the report cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("svg", type=Path)
    arguments = parser.parse_args()
    try:
        report = TypeAdapter(DemoReport).validate_json(arguments.report.read_bytes())
    except (OSError, ValidationError) as error:
        print(f"{arguments.report} is not a report of `graftwork demo`: {error}", file=sys.stderr)
        return 2
    arguments.svg.write_text(draw(report))
    return 0


def draw(report: DemoReport) -> str:
    """The answers side by side, the scores and the times as a terminal of `WIDTH` columns shows them, as SVG."""
    console = Console(width=WIDTH, record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    show(report, console)
    return console.export_svg(title="make demo", theme=SVG_EXPORT_THEME, unique_id="demo")


if __name__ == "__main__":
    sys.exit(main())
