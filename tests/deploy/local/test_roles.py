from __future__ import annotations

import pytest

from deploy.local.roles import role_of


@pytest.mark.parametrize(
    ("command", "role"),
    [
        ("ray::ServeReplica:graftwork:Retriever.handle_request", "replica Retriever"),
        ("ray::ServeReplica:graftwork:SpecialistServer:base", "replica SpecialistServer:base"),
        ("VLLM::EngineCore", "engine core"),
        ("VLLM::Worker", "engine worker"),
        ("ray::IDLE", "ray IDLE"),
        ("/x/python -u /x/ray/_private/log_monitor.py --session-dir=/tmp", "ray log monitor"),
        ("/x/python -u /x/ray/autoscaler/v2/monitor.py --gcs", "ray monitor"),
        ("/x/ray/core/src/ray/raylet/raylet --raylet_socket_name=x", "raylet"),
        ("/x/bin/haproxy -db -f /tmp/graftwork-1/h/haproxy.cfg", "haproxy"),
        ("/x/python -m deploy.local.milvus_main server --port 1", "milvus"),
        ("/usr/bin/something --else", "something"),
        ("", "unknown"),
    ],
)
def test_roles(command: str, role: str) -> None:
    assert role_of(command) == role
