"""Ray Serve's hook for routing: asks `choose` where each request goes.

Named in `request_router_config` of the replicas' deployment; each of its handles has one, and HAProxy's router process.
A request comes with one header, which Serve calls its session id, and with its body where HAProxy shows that
(`serve.route_by_body`).
"""

from __future__ import annotations

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from serve import contact
from serve.routing.choose import choose
from serve.routing.published import read_stats
from serve.routing.view import RouterView
from serve.routing.wish import Belonging, merged, read_body, read_header


class AdapterRouter(RequestRouter):
    """Sends requests where their adapter is, within a bound on the load."""

    def initialize_state(self, **_: object) -> None:
        """Know nothing yet; called by Serve."""
        self._view = RouterView()

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """The chosen replica first, then all others, for the case that it takes nothing."""
        if not candidate_replicas:
            return []
        if pending_request is not None:
            pending_request.routing_context.should_backoff = True
        by_name = {replica.replica_id.unique_id: replica for replica in candidate_replicas}
        self._view.see({name: read_stats(replica.routing_stats) for name, replica in by_name.items()})
        found = belonging_of(pending_request)
        wish = self._view.wish(model=found.model, session=found.session, prefix=found.prefix)
        choice = choose(self._view.replicas(), wish)
        self._view.sent(wish, choice)
        others = [replica for name, replica in by_name.items() if name != choice.replica]
        return [[by_name[choice.replica]], others]


def belonging_of(request: PendingRequest | None) -> Belonging:
    """What a request that Serve routes says of where it belongs."""
    if request is None:
        return Belonging()
    header = read_header(request.metadata.session_id)
    for argument in request.args:
        body = contact.routed_body(argument)
        if body is not None:
            return merged(header, read_body(body))
    return header
