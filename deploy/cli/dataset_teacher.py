"""What writes the rows of `dataset write`: an endpoint, or engines that are run for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from deploy.cli.answers import endpoint_of as running_endpoint

if TYPE_CHECKING:
    import typer
    from pydantic import JsonValue

    from deploy.settings import Settings
    from train.examples.request import Endpoint, Offline
    from train.examples.teacher import Books, Teacher

# What is said of an endpoint, and what of engines.
_OF_ENDPOINT = ("model", "base_url", "api_key_env", "retries", "timeout")
_OF_ENGINES = ("engines", "engine")


def check_choice(context: typer.Context, *, offline: bool) -> None:
    """Refuses what was said of the other of the two ways.

    Raises:
        InputError: An option belongs to the other way, or nothing is named that writes.
    """
    from indexer.errors import InputError

    def given(names: tuple[str, ...]) -> list[str]:
        sources = {name: context.get_parameter_source(name) for name in names}
        return [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]

    if offline:
        if wrong := given(_OF_ENDPOINT):
            option = f"--{wrong[0].replace('_', '-')}"
            raise InputError(f"{option} is of an endpoint; leave out that or --offline.")
        return
    if wrong := given(_OF_ENGINES):
        raise InputError(f"--{wrong[0]} is for engines of our own; give --offline, too.")
    if not given(("model",)):
        raise InputError("Nothing is named that writes the rows; give --model, or --offline.")


def endpoint_of(
    model: str,
    *,
    settings: Settings,
    base_url: str | None,
    api_key_env: str | None,
    concurrency: int | None,
    retries: int,
    timeout_s: float,
    give_up_after: int,
    fields: dict[str, JsonValue],
) -> Endpoint:
    """The endpoint that was named, or that of the running instance.

    Raises:
        InputError: The variable that should hold its key is not set.
        UnavailableError: None was named, and no instance is up.
    """
    from train.examples.request import Endpoint

    return Endpoint(
        url=base_url or running_endpoint(settings),
        model=model,
        api_key=_key(base_url, api_key_env),
        **({} if concurrency is None else {"concurrency": concurrency}),
        retries=retries,
        timeout_s=timeout_s,
        give_up_after=give_up_after,
        fields=fields,
    )


def offline_of(
    name: str,
    *,
    settings: Settings,
    engines: int | None,
    concurrency: int | None,
    give_up_after: int,
    fields: dict[str, JsonValue],
    engine: dict[str, JsonValue],
) -> Offline:
    """The model and its engines; the embedded base model is unpacked here if it was not.

    Raises:
        InputError: vLLM does not know an argument or field, or the model is no checkpoint.
        NotFoundError: There is no such model.
        UnavailableError: vLLM is not installed.
    """
    from deploy.engine_arguments import check_offline
    from serve.app import accelerator_kind
    from train.base_model import resolve_base
    from train.examples.request import Offline

    check_offline(engine=engine, fields=fields)
    return Offline(
        base=resolve_base(name, models_dir=settings.train.models_dir),
        accelerator=accelerator_kind(settings.serve),
        engines=engines,
        **({} if concurrency is None else {"concurrency": concurrency}),
        give_up_after=give_up_after,
        fields=fields,
        engine=engine,
        environment=settings.serve.engine_environment,
    )


def asks(teacher: Endpoint | Offline, *, max_tokens: int) -> Callable[[Books], Teacher]:
    """What asks it, to be given the books of a run."""
    from train.examples.request import Endpoint, request_fields

    fields = request_fields(teacher.fields, max_tokens=max_tokens)
    if isinstance(teacher, Endpoint):
        from train.examples.asking import Asker

        return lambda books: Asker(teacher, books=books, fields=fields)
    from train.examples.offline import OfflineAsker

    return lambda books: OfflineAsker(teacher, books=books, fields=fields)


def _key(base_url: str | None, variable: str | None) -> str:
    """The endpoint's key; the running instance's is never sent to another endpoint unless it is named."""
    from deploy.local.api import NO_KEY, api_key
    from indexer.errors import InputError

    if variable is None:
        return api_key() if base_url is None else NO_KEY
    key = os.environ.get(variable, "").strip()
    if not key:
        raise InputError(f"The environment variable {variable!r} of --api-key-env is not set; export the key in it.")
    return key
