from __future__ import annotations

from pathlib import Path

from deploy.local.serving_environment import serving_environment
from deploy.local.state import temp_dir_of
from deploy.settings import Settings
from serve.haproxy import BINARY_VARIABLE

PORTS = {"haproxy_metrics": 9101, "haproxy_stats": 8404, "serve_fallback": 8500}
NODE_ID = "f" * 56
# HAProxy 2.8: "socket path ... too long (max 97)".
LONGEST_SOCKET_PATH = 97


def test_haproxy_variables_are_those_that_serve_reads() -> None:
    from ray.serve._private import constants

    found = serving_environment(Settings(), haproxy_dir=Path("/tmp/x/h"), ports=PORTS)
    named = [name for name in found if name.startswith("RAY_SERVE_") and "_LLM_" not in name]
    assert len(named) > 8
    source = Path(constants.__file__).read_text()
    assert [name for name in named if f'"{name}"' not in source] == []


def test_two_instances_share_no_socket() -> None:
    found = serving_environment(Settings(), haproxy_dir=Path("/tmp/x/h"), ports=PORTS)
    own = [value for name, value in found.items() if name != BINARY_VARIABLE and value.startswith("/")]
    assert own
    assert all(value.startswith("/tmp/x/h") for value in own)
    assert found["RAY_SERVE_HAPROXY_STATS_PORT"] == "8404"


def test_socket_paths_are_short_enough_with_the_node_id_that_serve_adds() -> None:
    haproxy_dir = temp_dir_of("01234567") / "h"
    found = serving_environment(Settings(), haproxy_dir=haproxy_dir, ports=PORTS)
    for name in ("RAY_SERVE_HAPROXY_SOCKET_PATH", "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH"):
        path = Path(found[name])
        assert len(str(path.parent / NODE_ID / path.name)) <= LONGEST_SOCKET_PATH


def test_settings_decide() -> None:
    settings = Settings.model_validate({"serve": {"haproxy": False}, "deploy": {"drain_s": 2.5, "stream_limit_s": 9}})
    assert serving_environment(settings, haproxy_dir=Path("/x"), ports={})["RAY_SERVE_ENABLE_HA_PROXY"] == "0"
    settings.serve.haproxy = True
    found = serving_environment(settings, haproxy_dir=Path("/x"), ports=PORTS)
    assert found["RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"] == "2.5"
    assert found["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"] == "9"


def test_bodies_are_shown_to_the_router_within_a_bound_on_memory() -> None:
    name = "RAY_SERVE_INGRESS_REQUEST_ROUTER_FORWARD_BODY"
    assert serving_environment(Settings(), haproxy_dir=Path("/x"), ports=PORTS)[name] == "0"
    settings = Settings.model_validate({"serve": {"route_by_body": True, "max_body_bytes": 4096}})
    found = serving_environment(settings, haproxy_dir=Path("/x"), ports=PORTS)
    assert found[name] == "1"
    assert found["RAY_SERVE_HAPROXY_INGRESS_REQUEST_ROUTER_BUFSIZE"] == str(4096 + 16384)
    assert found["RAY_SERVE_HAPROXY_INGRESS_REQUEST_ROUTER_TIMEOUT_S"] == "30"
    for size in (4096, 8 * 2**20):
        settings.serve.max_body_bytes = size
        found = serving_environment(settings, haproxy_dir=Path("/x"), ports=PORTS)
        buffer = int(found["RAY_SERVE_HAPROXY_INGRESS_REQUEST_ROUTER_BUFSIZE"])
        assert 2 * buffer * int(found["RAY_SERVE_HAPROXY_MAXCONN"]) <= 2**30


def test_the_header_that_routers_see_is_ours() -> None:
    from serve.routing.wish import MODEL_HEADER

    for haproxy in (True, False):
        settings = Settings.model_validate({"serve": {"haproxy": haproxy}})
        found = serving_environment(settings, haproxy_dir=Path("/x"), ports=PORTS)
        assert found["RAY_SERVE_SESSION_ID_HEADER_KEY"] == MODEL_HEADER
