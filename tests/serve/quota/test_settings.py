from __future__ import annotations

import pytest
from pydantic import ValidationError

from serve.quota.quota import open_quota
from serve.quota.settings import QuotaSettings


@pytest.mark.parametrize(
    "storage",
    [
        "redis://redis",
        "redis://redis:6379/0",
        "rediss://ada:pass%2Fword@redis:6380/3?ssl_cert_reqs=none",
        "redis://[::1]:6379/",
    ],
)
def test_an_address_that_is_taken_can_be_counted_in(storage: str) -> None:
    open_quota(QuotaSettings.model_validate({"storage": storage}))


@pytest.mark.parametrize(
    "storage",
    [
        "redis+unix:///run/redis.sock",
        "unix:///run/redis.sock",
        "memcached://host",
        "redis://",
        "redis:///0",
        "redis://host:port",
        "redis://host:99999",
        "redis://host/first",
        "redis://host?socket_timeout=soon",
        "redis://:hunter/2@host:6379",
        "redis://[::1",
    ],
)
def test_any_other_is_refused_before_the_start_and_not_repeated(storage: str) -> None:
    with pytest.raises(ValidationError, match=r"no address of a Redis; give redis://HOST:PORT/NUMBER") as caught:
        QuotaSettings.model_validate({"storage": storage})
    assert "hunter" not in caught.value.errors()[0]["msg"]
