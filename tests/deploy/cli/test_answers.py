from __future__ import annotations

from typer.testing import CliRunner

from deploy.cli.main import app
from tests.deploy.cli.conftest import Server, chunk


def test_a_refused_question_is_one_line_and_the_conversation_goes_on_without_it(server: Server) -> None:
    server.stream(chunk(text="Rape oil."), chunk(finish="stop"))
    server.refused_question = "much too long"
    done = CliRunner().invoke(
        app,
        ["chat", "--specialist", "s", "--url", server.url],
        input="Which oil?\nmuch too long\nSure?\n",
        catch_exceptions=False,
        standalone_mode=False,
    )
    assert done.stdout.count("Rape oil.") == 2
    assert done.stderr.splitlines().count("graftwork: That is too long.") == 1
    assert server.body["messages"] == [
        {"role": "user", "content": "Which oil?"},
        {"role": "assistant", "content": "Rape oil."},
        {"role": "user", "content": "Sure?"},
    ]
