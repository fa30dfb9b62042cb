"""A change of the registry, as far as it concerns a running app."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.context import notes

if TYPE_CHECKING:
    from deploy.settings import Settings

# Beyond the time in which replicas look at the registry.
_MARGIN_S = 10.0


def wait_until_served(settings: Settings, revision: int) -> bool | None:
    """Wait until the running app serves a revision of the registry, so that the next command meets it.

    Returns:
        Whether it does; None where no app runs.
    """
    from deploy.local.api import wait_for_revision
    from deploy.local.runtime import running_instance

    state = running_instance(settings)
    if state is None:
        return None
    limit_s = settings.serve.poll_interval_s + _MARGIN_S
    with notes().status("waiting for the app to take it up"):
        served = wait_for_revision(state.urls["api"], revision, limit_s=limit_s)
    if not served:
        notes().print(
            f"The app does not serve revision {revision} after {limit_s:g} s; `graftwork logs` says why.", markup=False
        )
    return served
