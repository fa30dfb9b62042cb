"""graftwork dataset write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import cli_context, notes, print_json, quiet_stdout, results
from deploy.cli.dataset_teacher import asks, check_choice, endpoint_of, offline_of
from deploy.cli.lifecycle import JsonOption
from deploy.cli.passage_layout import PassagesIn, in_system, in_user

if TYPE_CHECKING:
    from rich.status import Status

    from deploy.settings import Settings
    from train.examples.pipeline import Progress
    from train.examples.report import ExamplesReport
    from train.examples.request import Endpoint, ExamplesRequest, Offline

_SHARE = 0.2


def write(
    context: typer.Context,
    collection: Annotated[str, typer.Option(metavar="C", help="Alias of the collection.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Training rows; FILE.work beside it keeps each answer.")],
    model: Annotated[
        str | None, typer.Option(help="What writes questions and answers; rather a base than a specialist.")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="OpenAI endpoint ending in /v1 [that of the running instance].")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="Environment variable with its key [none; GRAFTWORK_API_KEY].")
    ] = None,
    offline: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Instead of an endpoint: a checkpoint folder or hub id, run for this."),
    ] = None,
    engines: Annotated[
        int | None, typer.Option(help="With --offline: vLLM engines [one on each free GPU; one on the CPU].")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(metavar="JSON", help='With --offline: arguments of vLLM: {"dtype": "float32"}.')
    ] = None,
    chunks: Annotated[int, typer.Option(help="Chunks asked about, evenly over documents.")] = 100,
    questions_per_chunk: Annotated[int, typer.Option(help="Questions about each, at most.")] = 3,
    passages: Annotated[int, typer.Option(help="Passages that an answer is given from.")] = 4,
    prompt: Annotated[str | None, typer.Option(help="The specialist's prompt, to stand in every row.")] = None,
    raft: Annotated[bool, typer.Option("--raft", help="Rows show passages, with distractors.")] = False,
    without_golden: Annotated[
        float | None, typer.Option(metavar="SHARE", help=f"With --raft: rows of distractors alone [{_SHARE}].")
    ] = None,
    passages_in: Annotated[
        PassagesIn | None, typer.Option(help="With --raft: the message that carries them [system, as in serving].")
    ] = None,
    eval_share: Annotated[
        float, typer.Option(metavar="SHARE", help="Of documents, for evaluation: their rows go to FILE's .eval.jsonl.")
    ] = 0.1,
    grounded: Annotated[
        float, typer.Option(metavar="SHARE", help="Of an answer's words that its passages must have; numbers: all.")
    ] = 0.8,
    closed_book_check: Annotated[
        bool, typer.Option("--closed-book-check", help="Leave out what the model answers without passages.")
    ] = False,
    closed_book_f1: Annotated[float, typer.Option(help="Token F1 from which it does.")] = 0.6,
    tenant: Annotated[str | None, typer.Option(help="Whose documents [the setting default_tenant].")] = None,
    seed: Annotated[int, typer.Option(help="Of chunks, split and rows.")] = 0,
    max_tokens: Annotated[int, typer.Option(help="Longest answer.")] = 512,
    concurrency: Annotated[
        int | None, typer.Option(help="Requests under way at once [4; with --offline 32 in each engine].")
    ] = None,
    retries: Annotated[int, typer.Option(help="Of a request, after 429, 5xx and time-outs.")] = 5,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="Of one try.")] = 120.0,
    give_up_after: Annotated[int, typer.Option(help="Requests that fail in a row before all is given up.")] = 5,
    fields: Annotated[
        str | None,
        typer.Option(metavar="JSON", help='More fields of a request; null leaves out: {"temperature": null}.'),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Write training rows from a collection: a model asks about its chunks and answers from its passages.

    An interrupted run goes on where it was, and asks nothing twice.
    """
    settings = cli_context(context).load().settings
    from indexer.errors import InputError, PartialError
    from train.examples.request import ExamplesRequest, Raft, check_request, parse_fields

    check_choice(context, offline=offline is not None)
    if not raft and (without_golden is not None or passages_in is not None):
        raise InputError("--without-golden and --passages-in are for rows with passages; give --raft, too.")
    request = ExamplesRequest(
        out=out.expanduser().absolute(),
        chunks=chunks,
        questions_per_chunk=questions_per_chunk,
        passages=passages,
        prompt=prompt,
        eval_share=eval_share,
        grounded=grounded,
        closed_book=closed_book_f1 if closed_book_check else None,
        raft=Raft(_SHARE if without_golden is None else without_golden) if raft else None,
        seed=seed,
        max_tokens=max_tokens,
    )
    given = parse_fields(fields) if fields is not None else {}
    teacher: Endpoint | Offline
    if offline is not None:
        teacher = offline_of(
            offline,
            settings=settings,
            engines=engines,
            concurrency=concurrency,
            give_up_after=give_up_after,
            fields=given,
            engine=parse_fields(engine, option="--engine") if engine is not None else {},
        )
    else:
        teacher = endpoint_of(
            str(model),
            settings=settings,
            base_url=base_url,
            api_key_env=api_key_env,
            concurrency=concurrency,
            retries=retries,
            timeout_s=timeout,
            give_up_after=give_up_after,
            fields=given,
        )
    check_request(request, teacher)
    with quiet_stdout(json_output):
        report = _write(
            request,
            teacher=teacher,
            collection=collection,
            tenant=tenant or settings.indexer.default_tenant,
            in_question=passages_in is PassagesIn.USER,
            settings=settings,
        )
    if json_output:
        print_json(report.to_json())
    else:
        _print(report)
    if report.failures:
        raise PartialError(
            f"{report.failures} requests gave no answer, the last: {report.last_failure}; run it again to ask only "
            "those."
        )


def _write(
    request: ExamplesRequest,
    *,
    teacher: Endpoint | Offline,
    collection: str,
    tenant: str,
    in_question: bool,
    settings: Settings,
) -> ExamplesReport:
    from deploy.local.runtime import runtime
    from train.examples.request import Endpoint

    offline = not isinstance(teacher, Endpoint)
    with notes().status("reaching Milvus") as status, runtime(settings, need_ray=offline) as found:
        from indexer.search import open_searcher, open_store
        from indexer.store.expressions import check_tenant
        from train.examples.corpus import StoredCorpus
        from train.examples.pipeline import write_examples

        check_tenant(tenant)
        store = open_store(found.indexer)
        made = store.locate(collection)
        status.update("loading the models")
        searcher = open_searcher(found.indexer, cross_encoder=False, store=store)
        searcher.generation(collection)  # one made by another embedder is told before anything is asked
        return write_examples(
            request,
            corpus=StoredCorpus(store=store, searcher=searcher, made=made, tenant=tenant),
            teacher=asks(teacher, max_tokens=request.max_tokens),
            layout=in_user if in_question else in_system,
            progress=lambda progress: _show(progress, status),
        )


def _show(progress: Progress, status: Status) -> None:
    status.update(f"{progress.stage}: {progress.done} of {progress.total}")


def _print(report: ExamplesReport) -> None:
    output = results()
    kinds = ", ".join(f"{count} {kind}" for kind, count in report.kinds.items())
    output.print(
        f"{report.collection} generation {report.generation}: {report.chunks} chunks of {report.documents} documents",
        markup=False,
    )
    output.print(f"{report.out}  {len(report.training)} rows", markup=False)
    if report.eval_out is not None:
        output.print(f"{report.eval_out}  {len(report.evaluation)} rows", markup=False)
    output.print(f"kinds: {kinds}", markup=False)
    output.print(f"left out: {len(report.rejected)}", markup=False)
    for reason, count in report.reasons.items():
        output.print(f"    {count} {reason}", markup=False)
    for stage, cost in report.costs.items():
        if not (cost.requests or cost.remembered or cost.failed):
            continue
        uncounted = f", {cost.uncounted} uncounted" if cost.uncounted else ""
        failed = f", {cost.failed} failed" if cost.failed else ""
        output.print(
            f"{stage}: {cost.requests} answers, {cost.prompt_tokens} tokens in and {cost.completion_tokens} out"
            f"{uncounted}{failed}; {cost.remembered} from the journal, {cost.remembered_prompt_tokens} in and "
            f"{cost.remembered_completion_tokens} out",
            markup=False,
        )
        if cost.engine_seconds:
            gpus = f", {cost.gpu_seconds:.0f} of GPUs" if cost.gpu_seconds else " on CPU"
            output.print(f"    {cost.engine_seconds:.0f} s of engines{gpus}", markup=False)
    if report.eval_out is not None and not report.evaluation:
        notes().print("No document fell to evaluation; a larger --eval-share or another --seed changes that.")
