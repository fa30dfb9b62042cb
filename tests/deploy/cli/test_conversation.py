from __future__ import annotations

import json

import pytest

from deploy.cli import conversation
from deploy.cli.context import report
from indexer.errors import GraftworkError, InputError, NotFoundError, UnavailableError
from tests.deploy.cli.conftest import Server, chunk

CITATION = {
    "n": 1,
    "chunk_id": "c",
    "document": "d",
    "title": "Lamps",
    "heading": "Red",
    "uri": "lamps.md",
    "cited": True,
}
GRAFTWORK = {"specialist": "s", "citations": [CITATION], "invalid_markers": 0, "timings": {"total_ms": 3.0}}


def ask(server: Server, said: list[str] | None = None) -> conversation.Answer:
    pieces = [] if said is None else said
    return conversation.ask(
        server.url,
        specialist="s",
        messages=[{"role": "user", "content": "Which oil?"}],
        max_tokens=7,
        on_text=pieces.append,
    )


def test_text_comes_in_pieces_and_sources_at_the_end(server: Server) -> None:
    server.stream(chunk(text="Rape "), chunk(text="oil [1]"), chunk(finish="stop"), chunk(graftwork=GRAFTWORK))
    said: list[str] = []
    answer = ask(server, said)
    assert said == ["Rape ", "oil [1]"]
    assert (answer.text, answer.finish_reason) == ("Rape oil [1]", "stop")
    assert answer.sources == (conversation.Source(1, "Lamps", "Red", "lamps.md", True),)
    assert answer.first_token_ms is not None
    assert 0 < answer.first_token_ms <= answer.total_ms
    assert server.body["stream"] is True
    assert server.body["max_tokens"] == 7


def test_an_answer_without_our_object_has_no_sources(server: Server) -> None:
    server.stream(chunk(finish="stop"))
    answer = ask(server)
    assert (answer.text, answer.first_token_ms, answer.sources, answer.graftwork) == ("", None, (), {})


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, NotFoundError),
        (400, InputError),
        (429, UnavailableError),
        (503, UnavailableError),
        (500, UnavailableError),
    ],
)
def test_refusals_carry_the_servers_sentence(server: Server, status: int, error: type[GraftworkError]) -> None:
    server.status = status
    server.payload = json.dumps({"error": {"message": "The server says why.", "code": status}})
    with pytest.raises(error, match=r"The server says why\.") as caught:
        ask(server)
    assert type(caught.value) is error


def test_a_refusal_that_is_no_json(server: Server) -> None:
    server.status, server.payload = 503, "no server\nis available"
    with pytest.raises(UnavailableError, match="HTTP 503: no server is available"):
        ask(server)


def test_an_error_of_several_lines_is_reported_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(InputError("first\n  second")) == 2
    assert capsys.readouterr().err == "graftwork: first second\n"
