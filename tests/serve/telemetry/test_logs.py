from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray._common.formatters import JSONFormatter

from serve.telemetry.logs import NAME, AccessLog, serve_logging, use_serve_handlers
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


@pytest.fixture
def replica_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that Serve's own configuration of a replica's logs writes to, for JSON; all is as it was afterwards."""
    from ray.serve._private.logging_utils import configure_component_logger
    from ray.serve.schema import LoggingConfig

    loggers = [logging.getLogger(name) for name in ("ray.serve", "graftwork")]
    before = [(logger, [*logger.handlers], logger.level, logger.propagate) for logger in loggers]
    monkeypatch.setattr("ray.serve._private.logging_utils.ServeCoreContextFilter", logging.Filter)  # asks a cluster
    configure_component_logger(
        component_name="SpecialistServer",
        component_id="r1",
        logging_config=LoggingConfig.model_validate({**serve_logging("json"), "logs_dir": str(tmp_path)}),
        max_bytes=1 << 20,
        backup_count=1,
    )
    use_serve_handlers()
    yield tmp_path
    for logger, handlers, level, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


def test_in_a_replicas_log_a_line_is_one_object_with_the_requests_id_and_so_is_a_warning(replica_log: Path) -> None:
    AccessLog("json")(RECORD)
    logging.getLogger("graftwork.serve").warning("retrieval failed")
    (path,) = replica_log.glob("*.log")
    line, warning = (json.loads(text) for text in path.read_text().splitlines())
    wanted = {"request_id": "r-1", "endpoint": "chat", "model": "base", "status": 404, "code": "model_not_found"}
    assert wanted.items() <= line.items()
    assert (line["levelname"], line["message"]) == ("INFO", "request")
    assert (warning["levelname"], warning["message"]) == ("WARNING", "retrieval failed")
