"""Changes how many replicas a running instance has; those that stay are not restarted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from deploy.local.app_config import serve_config
from deploy.local.preflight import examine, plan_for
from deploy.local.serve_client import AppStatus, ServeClient
from indexer.errors import UnavailableError
from serve.scale import Scale, scaled

if TYPE_CHECKING:
    from deploy.settings import Settings


def rescale(
    settings: Settings, *, from_scale: Scale, client: ServeClient, progress: Callable[[AppStatus], None]
) -> AppStatus:
    """Asks Serve for the replicas of the settings and returns once it has as many.

    One that goes finishes what it runs, within `serve.shutdown_grace_s`.

    Args:
        settings: The settings; all but the numbers of replicas are those the instance was started with.
        from_scale: The numbers it has now.
        client: Serve of the instance.
        progress: Told whenever the app's state changes.

    Raises:
        UnavailableError: The machine's memory does not hold the further replicas, or they do not come in time.
        GraftworkError: A new replica does not start.
    """
    check_memory(settings, from_scale=from_scale)
    client.deploy(serve_config(settings))
    patience = settings.deploy.start_timeout_s + settings.deploy.drain_s + settings.serve.shutdown_grace_s
    return client.wait_until_running(timeout_s=patience, progress=progress)


def check_memory(settings: Settings, *, from_scale: Scale) -> None:
    """Compare what further replicas need with what is free.

    Raises:
        UnavailableError: They need more.
    """
    before = settings.model_copy(update={"serve": scaled(settings.serve, from_scale)})
    wanted = examine(settings, own_instance_up=True)
    more = wanted.plan.memory_mib - plan_for(before, wanted.facts).memory_mib
    if more > wanted.facts.free_memory_mib:
        raise UnavailableError(
            f"{wanted.facts.free_memory_mib} MiB of memory are free and the further replicas need about {more} MiB; "
            "free some, ask for fewer, or set deploy.min_free_memory_mib."
        )
