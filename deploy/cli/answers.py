"""graftwork ask | chat."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.context import cli_context, notes, print_json, report, results
from deploy.cli.lifecycle import JsonOption

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam

    from deploy.cli.conversation import Answer
    from deploy.settings import Settings

SpecialistOption = Annotated[str, typer.Option(help="Specialist, adapter or base, as `/v1/models` lists them.")]
UrlOption = Annotated[str | None, typer.Option(help="OpenAI endpoint ending in /v1 [that of the running instance].")]
MaxTokensOption = Annotated[int | None, typer.Option(min=1, help="Longest answer [as the specialist says].")]


def register(app: typer.Typer) -> None:
    """Adds the verbs."""
    app.command()(ask)
    app.command()(chat)


def ask(
    context: typer.Context,
    question: Annotated[str, typer.Argument(help="The question.")],
    specialist: SpecialistOption,
    max_tokens: MaxTokensOption = None,
    url: UrlOption = None,
    json_output: JsonOption = False,
) -> None:
    """Ask one question; prints the answer as it comes, then its sources."""
    endpoint = url or endpoint_of(cli_context(context).load().settings)
    from deploy.cli import conversation

    answer = conversation.ask(
        endpoint,
        specialist=specialist,
        messages=[{"role": "user", "content": question}],
        max_tokens=max_tokens,
        on_text=_ignore if json_output else _write,
    )
    if json_output:
        document = asdict(answer)
        document.pop("sources")
        print_json({"specialist": specialist, "question": question, **document})
    else:
        _finish(answer)


def chat(
    context: typer.Context, specialist: SpecialistOption, max_tokens: MaxTokensOption = None, url: UrlOption = None
) -> None:
    """Talk with a specialist until Ctrl-D; it sees the whole conversation, but for questions that were refused."""
    endpoint = url or endpoint_of(cli_context(context).load().settings)
    from deploy.cli import conversation
    from indexer.errors import InputError

    messages: list[ChatCompletionMessageParam] = []
    while True:
        try:
            question = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return
        if not question:
            continue
        asked: list[ChatCompletionMessageParam] = [*messages, {"role": "user", "content": question}]
        try:
            answer = conversation.ask(
                endpoint, specialist=specialist, messages=asked, max_tokens=max_tokens, on_text=_write
            )
        except InputError as error:
            report(error)
            continue
        messages = [*asked, {"role": "assistant", "content": answer.text}]
        _finish(answer)


def endpoint_of(settings: Settings) -> str:
    """The OpenAI endpoint of the running instance.

    Raises:
        UnavailableError: None is running.
    """
    from deploy.local.runtime import running_instance
    from indexer.errors import UnavailableError

    state = running_instance(settings)
    if state is None:
        raise UnavailableError(
            f"No instance of {settings.home} is running; start it with `graftwork up`, or give --url."
        )
    return f"{state.urls['api']}/v1"


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _ignore(text: str) -> None:  # noqa: ARG001
    return


def _finish(answer: Answer) -> None:
    _write("\n")
    output = results()
    if answer.sources:
        output.print("\nSources")
    for source in answer.sources:
        place = " > ".join(part for part in (source.title, source.heading) if part)
        mark = "  (cited)" if source.cited else ""
        output.print(f"  [{source.n}] {place}{mark}", markup=False)
        output.print(f"      {source.uri}", markup=False, style="dim")
    invalid = answer.graftwork.get("invalid_markers")
    if invalid:
        notes().print(f"{invalid} markers in the answer point at no source.", style="yellow")
    if answer.finish_reason == "length":
        notes().print("The answer was cut at its longest length; --max-tokens allows more.", style="yellow")
    notes().print(_timings(answer), style="dim", markup=False)


def _timings(answer: Answer) -> str:
    parts = [f"total {answer.total_ms:.0f} ms"]
    if answer.first_token_ms is not None:
        parts.insert(0, f"first token {answer.first_token_ms:.0f} ms")
    timings = answer.graftwork.get("timings")
    if isinstance(timings, dict):
        parts += [
            f"{name.removesuffix('_ms')} {value:.0f} ms"
            for name, value in timings.items()
            if name != "total_ms" and isinstance(value, int | float) and value >= 1
        ]
    adapter, collection = answer.graftwork.get("adapter"), answer.graftwork.get("collection")
    if adapter:
        parts.append(f"adapter {adapter}")
    if collection:
        parts.append(f"collection {collection} generation {answer.graftwork.get('generation')}")
    return ", ".join(parts)
