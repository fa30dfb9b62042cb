"""One run as one HTML page that needs nothing else: no script, no other file, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from train.runs.curve import draw_curve
from train.runs.facts import facts, shown_value
from train.runs.stored import Run

_STYLE = (
    ":root{color-scheme:light dark}body{font:15px/1.5 sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}th,td{text-align:left;vertical-align:top;padding:.15rem 1.5rem .15rem 0;"
    "overflow-wrap:anywhere}th{font-weight:normal;opacity:.7;white-space:nowrap}svg{max-width:100%;height:auto}"
)


def render_page(run: Run) -> str:
    """Return the page; whatever stands in the run's record is text in it, never markup."""
    name = escape(run.name)
    settings = ((key, shown_value(value)) for key, value in sorted(run.record.settings.items()))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{name}</h1>
{_table(facts(run))}
<h2>Loss</h2>
{_picture(run)}
<h2>Settings</h2>
{_table(settings)}
</body>
</html>
"""


def _picture(run: Run) -> str:
    result = run.record.result
    drawing = draw_curve(run.progress, eval_loss=None if result is None else result.eval_loss, form="svg").decode()
    return drawing[drawing.index("<svg") :]


def _table(rows: Iterable[tuple[str, str]]) -> str:
    lines = "\n".join(f"<tr><th>{escape(label)}</th><td>{escape(text)}</td></tr>" for label, text in rows)
    return f"<table>\n{lines}\n</table>"
