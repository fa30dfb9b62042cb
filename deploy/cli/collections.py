"""graftwork collections evaluate."""

from __future__ import annotations

import typer

from deploy.cli import evaluate

app = typer.Typer(help="Collections of passages in Milvus.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Collections of passages in Milvus."""


evaluate.register(app)
