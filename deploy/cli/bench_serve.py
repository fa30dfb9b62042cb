"""graftwork bench serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import cli_context, notes, print_json, quiet_stdout, results
from deploy.cli.lifecycle import JsonOption

if TYPE_CHECKING:
    from deploy.bench.serving import Comparison

_PEERS = "vllm,ray-serve-llm,graftwork"


def serve(
    context: typer.Context,
    concurrency: Annotated[
        str, typer.Option(metavar="N,...", help="Requests under way at once, a run for each.")
    ] = "1,16",
    input_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a prompt, without the chat template's.")] = 128,
    output_tokens: Annotated[int, typer.Option(min=2, help="Tokens of an answer; all are generated.")] = 64,
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each kind; their median counts.")] = 3,
    peers: Annotated[str, typer.Option(metavar="NAME,...", help="Servers, in this order.")] = _PEERS,
    adapter: Annotated[
        str | None,
        typer.Option(metavar="ADAPTER", help="Folder, or NAME[@VERSION] of the registry, to measure besides the base."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the prompts.")] = 0,
    json_output: JsonOption = False,
) -> None:
    """Hold the app with all its layers against bare vLLM and Ray Serve LLM's default app, on this machine's cores.

    Each is started with the same engine arguments, warmed up, measured and stopped, one after another.
    """
    settings = cli_context(context).load().settings
    from serve.bench.load import Load
    from serve.bench.peers import PEERS

    load = Load(
        concurrency=tuple(_number(text) for text in _listed(concurrency)),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        repeats=repeats,
        seed=seed,
    )
    names = _listed(peers)
    from indexer.errors import InputError, PartialError

    if unknown := [name for name in names if name not in PEERS]:
        raise InputError(f"{unknown[0]!r} is no server of this measurement; known are {', '.join(PEERS)}.")
    from deploy.bench.serving import compare

    with quiet_stdout(json_output), notes().status("starting") as status:
        compared = compare(settings, peers=names, load=load, adapter=adapter, tell=status.update)
    if json_output:
        from pydantic_core import to_jsonable_python

        print_json(to_jsonable_python(compared, inf_nan_mode="null"))
    else:
        _print(compared)
    problems = [one.problem for one in compared.peers.values() if one.problem is not None]
    if problems:
        raise PartialError(" ".join(problems))


def _listed(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _number(text: str) -> int:
    if text.isdigit() and int(text) > 0:
        return int(text)
    from indexer.errors import InputError

    raise InputError(f"{text!r} in --concurrency is no number of requests; write it as 1,16.")


def _print(compared: Comparison) -> None:
    from rich.table import Table

    output, load = results(), compared.load
    output.print(
        f"{compared.base_model}, {compared.cores} cores, about {load.input_tokens} tokens in and {load.output_tokens} "
        f"out, medians of {load.repeats} runs",
        markup=False,
    )
    table = Table(box=None, pad_edge=False)
    for name in ("server", "traffic"):
        table.add_column(name)
    for name in ("at once", "ttft ms", "p95", "tpot ms", "itl ms", "tok/s out", "req/s", "failed"):
        table.add_column(name, justify="right")
    for name, measured in compared.peers.items():
        for run in measured.runs:
            found = run.figures
            table.add_row(
                name,
                run.traffic,
                str(run.concurrency),
                f"{found.median_ttft_ms:.1f}",
                f"{found.p95_ttft_ms:.1f}",
                f"{found.median_tpot_ms:.2f}",
                f"{found.median_itl_ms:.2f}",
                f"{found.output_throughput:.1f}",
                f"{found.request_throughput:.2f}",
                f"{found.failed:g}",
            )
    output.print(table)
    for name, measured in compared.peers.items():
        for run in measured.runs:
            for error, count in run.errors.items():
                output.print(f"{name}, {run.traffic}, {run.concurrency} at once: {count} x {error}", markup=False)
    for ratio in compared.ratios:
        output.print(
            f"graftwork over {ratio.over}, {ratio.traffic}, {ratio.concurrency} at once: ttft x {ratio.ttft:.2f} "
            f"({ratio.ttft_difference_ms:+.1f} ms), tpot x {ratio.tpot:.2f}, tok/s x {ratio.output_throughput:.3f}",
            markup=False,
        )
