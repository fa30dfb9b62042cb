"""Documents and questions that nobody here wrote: Debian's perl-doc, and questions of its perlfaq."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.serve.test_app import wait_for_models
from tests.stack import Stack

FOLDERS = sorted(Path("/usr/share/perl").glob("5.*/pod")) if Path("/usr/share/perl").is_dir() else []
WITH_FAQ = [folder for folder in FOLDERS if (folder / "perlfaq4.pod").is_file()]

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(not WITH_FAQ, reason="Debian's perl-doc is not installed: apt-get install perl-doc"),
]

# A question as perlfaq asks it, reworded, and the heading under which perlfaq answers it.
QUESTIONS = (
    ("How do I sort a hash by its values instead of its keys?", "perlfaq4.pod", "sort a hash"),
    ("How can I know whether a list or array contains a certain element?", "perlfaq4.pod", "certain element"),
    ("How can I read in an entire file all at once?", "perlfaq5.pod", "entire file"),
)


def documents() -> list[str]:
    """perlfaq's ten pages, a twentieth of perl-doc, so that a test has the time."""
    return [str(path) for path in sorted(WITH_FAQ[0].glob("perlfaq*.pod"))]


@pytest.fixture(scope="module")
def perl(stack: Stack) -> Stack:
    """The collection `perl` and a specialist of the same name."""
    report = stack.run("index", *documents(), "--collection", "perl", "--json", limit_s=580).json
    assert report["documents"]["failed"] == 0
    assert report["documents"]["new"] == len(documents())
    path = stack.home / "perl.json"
    path.write_text(
        json.dumps({"name": "perl", "collection": "perl", "retrieval": {"k": 4, "max_context_tokens": 600}})
    )
    stack.run("specialists", "apply", str(path))
    assert "perl" in wait_for_models(stack, "perl")
    return stack


@pytest.mark.parametrize(("question", "document", "heading"), QUESTIONS)
def test_an_answer_cites_the_section_that_perlfaq_answers_in(
    perl: Stack, question: str, document: str, heading: str
) -> None:
    answer = perl.run("ask", question, "--specialist", "perl", "--max-tokens", "4", "--json").json
    places = [(citation["uri"].rsplit("/", 1)[1], citation["heading"]) for citation in answer["graftwork"]["citations"]]
    assert any(uri == document and heading in place for uri, place in places), places


def test_a_second_run_embeds_nothing(perl: Stack) -> None:
    report = perl.run("index", *documents(), "--collection", "perl", "--json").json
    assert report["documents"]["unchanged"] == report["documents"]["seen"]
    assert report["chunks"]["embedded"] == 0
