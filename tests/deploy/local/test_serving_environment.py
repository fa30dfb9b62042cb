from __future__ import annotations

from pathlib import Path

from deploy.local.serving_environment import serving_environment
from deploy.local.state import temp_dir_of
from deploy.settings import Settings

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
    assert all(value.startswith("/tmp/x/h") for value in found.values() if value.startswith("/"))
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
