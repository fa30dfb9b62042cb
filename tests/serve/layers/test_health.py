from __future__ import annotations

import httpx
import pytest

from serve.layers.health import HealthLayer
from tests.serve.layers.conftest import EngineApp


@pytest.mark.parametrize(
    ("lives", "stopping", "why", "status", "code"),
    [
        (True, False, None, 200, None),
        (True, False, "1 pinned adapters are not loaded here.", 503, "not_ready"),
        (True, True, "1 pinned adapters are not loaded here.", 503, "draining"),
        (False, True, "1 pinned adapters are not loaded here.", 503, "unavailable"),
    ],
)
async def test_a_replica_says_whether_it_is_ready(
    lives: bool, stopping: bool, why: str | None, status: int, code: str | None
) -> None:
    layer = HealthLayer(
        EngineApp(),
        engine_lives=lambda: lives,
        unready=lambda: why,
        stopping=lambda: stopping,
        revision=lambda: 3,
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(layer), base_url="http://graftwork") as client:
        answer = await client.get("/readyz")
        assert (await client.get("/healthz")).status_code == 200
    assert answer.status_code == status
    if code is None:
        assert answer.json() == {"status": "ready", "revision": 3}
        return
    assert answer.json()["error"]["code"] == code
    assert (answer.json()["error"]["message"] == why) is (code == "not_ready")
