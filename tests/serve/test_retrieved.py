from __future__ import annotations

import json
from dataclasses import replace

from serve.retrieved import Retrieved
from tests.serve.layers.conftest import passage


def test_what_the_server_writes_is_what_a_client_reads() -> None:
    found = (passage(1), replace(passage(3), heading_path=(), page=7, score=0.25))
    written = Retrieved(model="rag", collection="handbook", generation=3, data=found, timings={"embed_ms": 1.5})
    assert Retrieved.model_validate_json(written.model_dump_json()) == written


def test_a_passage_says_its_place_and_a_score_of_six_decimals() -> None:
    written = Retrieved(model="rag", collection="handbook", generation=3, data=(passage(1), passage(3)), timings={})
    data = json.loads(written.model_dump_json())["data"]
    assert [(each["object"], each["index"], each["score"]) for each in data] == [
        ("passage", 0, 1.0),
        ("passage", 1, 0.333333),
    ]
