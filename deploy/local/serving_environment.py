"""Environment variables that Serve, HAProxy and vLLM read at import: set before `ray start`, on every node."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.settings import Settings

# Starts of a replica before a deployment counts as failed; Serve's 3 let a wrong engine argument take minutes to show.
START_ATTEMPTS = 2


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
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if not settings.serve.haproxy:
        return {**common, "RAY_SERVE_ENABLE_HA_PROXY": "0"}
    return {
        **common,
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        # No policy looks at the body, and the router fails at one that nests deeper than Python's parser goes.
        "RAY_SERVE_INGRESS_REQUEST_ROUTER_FORWARD_BODY": "0",
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
