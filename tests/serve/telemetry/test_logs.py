from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
from ray._common.formatters import JSONFormatter

from serve.telemetry.logs import NAME, AccessLog, serve_logging
from serve.telemetry.record import RequestRecord

RECORD = RequestRecord("r-1", "chat", "base", None, "t", "k1", 404, "model_not_found", 0.25)


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    out, logger = io.StringIO(), logging.getLogger(NAME)
    handler = logging.StreamHandler(out)
    handler.setFormatter(JSONFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield out
    logger.removeHandler(handler)


def test_serves_formatter_writes_one_object_with_the_request(lines: io.StringIO) -> None:
    AccessLog("json")(RECORD)
    found = json.loads(lines.getvalue())
    wanted = {"request_id": "r-1", "endpoint": "chat", "status": 404, "ms": 250.0, "key_id": "k1", "message": "request"}
    assert wanted.items() <= found.items()


def test_as_text_the_line_says_the_same(lines: io.StringIO) -> None:
    AccessLog("text")(RECORD)
    assert "request_id=r-1 endpoint=chat model=base" in json.loads(lines.getvalue())["message"]


def test_serve_takes_the_logging_settings() -> None:
    from ray.serve.schema import LoggingConfig

    config = LoggingConfig.model_validate(serve_logging("json"))
    assert (config.encoding, config.enable_access_log) == ("JSON", False)
