from __future__ import annotations

import dataclasses
from html.parser import HTMLParser
from pathlib import Path

from tests.train.runs.conftest import RESULT, record, store
from train.runs.page import render_page
from train.runs.stored import Run, read_run

HOSTILE = "<script>alert(\"1\")</script> & 'so' on"


class Reader(HTMLParser):
    """What a browser would make of a page: its elements, the addresses it loads, its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loaded: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loaded += [value or "" for name, value in attrs if name in {"src", "href"}]

    def handle_data(self, data: str) -> None:
        self.text += data


def stored(storage: Path, **changes: object) -> Run:
    return read_run(store(storage, record("agronomy-1", **changes)))


def test_the_page_has_facts_curve_and_settings_and_loads_nothing(tmp_path: Path) -> None:
    page = Reader(render_page(stored(tmp_path)))
    for words in ("agronomy@3", "3 of 4", "2.500 -> 0.750", "exact_match", "learning_rate", "0.0005", "more.jsonl=0.5"):
        assert words in page.text
    assert "svg" in page.tags
    assert page.loaded == []


def test_what_a_record_says_is_text(tmp_path: Path) -> None:
    run = stored(
        tmp_path,
        base=HOSTILE,
        datasets=(HOSTILE,),
        state="failed",
        reason=HOSTILE,
        settings={HOSTILE: {"key": HOSTILE}},
        result=None,
    )
    page = Reader(render_page(run))
    assert "script" not in page.tags
    assert page.text.count(HOSTILE) == 4
    hostile_scores = stored(tmp_path, result=dataclasses.replace(RESULT, scores={HOSTILE: 1.0}))
    assert "script" not in Reader(render_page(hostile_scores)).tags
