"""Environment variables that Serve, HAProxy and vLLM read at import: set before `ray start`, on every node."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from serve.haproxy import BINARY_VARIABLE, command_path
from serve.routing.wish import MODEL_HEADER

if TYPE_CHECKING:
    from deploy.settings import Settings

# Starts of a replica before a deployment counts as failed; Serve's 3 let a wrong engine argument take minutes to show.
START_ATTEMPTS = 2
# Where the router sees bodies: the longest part of one that it sees, what goes before it, and the memory for all.
MOST_BUFFER_BYTES, HEAD_BYTES, BODY_MEMORY_BYTES = 512 * 1024, 16 * 1024, 2**30


def serving_environment(settings: Settings, *, haproxy_dir: Path, ports: Mapping[str, int]) -> dict[str, str]:
    """What the serving graph needs in the environment of every Ray process.

    Args:
        settings: `serve.haproxy` decides whether the HAProxy variables are there at all.
        haproxy_dir: Folder for HAProxy's configuration and sockets; Serve's default is one per machine.
        ports: Chosen ports by the names in `deploy.ports`; looked at with HAProxy only.
    """
    common = {
        "RAY_SERVE_MAX_PER_REPLICA_RETRY_COUNT": str(START_ATTEMPTS),
        "RAY_SERVE_LLM_ENABLE_DIRECT_STREAMING": "1",
        # The one header that routers see.
        "RAY_SERVE_SESSION_ID_HEADER_KEY": MODEL_HEADER,
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if not settings.serve.haproxy:
        return {**common, "RAY_SERVE_ENABLE_HA_PROXY": "0"}
    return {
        **common,
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        BINARY_VARIABLE: str(command_path()),
        **_body_variables(settings),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": f"{settings.deploy.drain_s:g}",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(settings.deploy.stream_limit_s),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports["haproxy_metrics"]),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports["haproxy_stats"]),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports["serve_fallback"]),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(haproxy_dir / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(haproxy_dir / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(haproxy_dir),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(haproxy_dir / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(haproxy_dir / "metrics.sock"),
    }


def _body_variables(settings: Settings) -> dict[str, str]:
    """Whether the router sees bodies, and what HAProxy may take of memory for it.

    HAProxy keeps two buffers for each open connection, each of the size given (ray/serve/_private/constants.py), so
    that as many connections are let in as fit `BODY_MEMORY_BYTES`. A body that is longer than a buffer goes by the
    header. Ray's router answers a body that nests deeper than Python's parser goes with 500, which clients see as 503.
    One time is all there is for a body to arrive and for the router to answer: it is that of our own wait for bodies,
    because Serve's 5 s are too short for a slow client, or a machine that is busy with other work.
    """
    if not settings.serve.route_by_body:
        return {"RAY_SERVE_INGRESS_REQUEST_ROUTER_FORWARD_BODY": "0"}
    buffer = min(settings.serve.max_body_bytes, MOST_BUFFER_BYTES) + HEAD_BYTES
    return {
        "RAY_SERVE_INGRESS_REQUEST_ROUTER_FORWARD_BODY": "1",
        "RAY_SERVE_HAPROXY_INGRESS_REQUEST_ROUTER_BUFSIZE": str(buffer),
        "RAY_SERVE_HAPROXY_INGRESS_REQUEST_ROUTER_TIMEOUT_S": str(math.ceil(settings.serve.body_timeout_s)),
        "RAY_SERVE_HAPROXY_MAXCONN": str(max(64, BODY_MEMORY_BYTES // (2 * buffer))),
    }
