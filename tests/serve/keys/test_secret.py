from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from serve.keys.secret import Token, new_token, parse_token, without_secrets


def test_a_token_is_read_back_as_it_was_made() -> None:
    for _ in range(200):  # a secret may hold '-' and '_' anywhere
        token = new_token()
        assert parse_token(token.text) == token
        assert token.text == f"gw-{token.key_id}-{token.secret}"


def test_a_secret_is_32_bytes_that_never_come_again() -> None:
    tokens = [new_token() for _ in range(200)]
    assert {len(base64.urlsafe_b64decode(token.secret + "=")) for token in tokens} == {32}
    assert len({token.secret for token in tokens}) == 200


def test_an_id_that_is_taken_is_not_given_again() -> None:
    class FirstIsTaken:
        asked: list[object]

        def __init__(self) -> None:
            self.asked = []

        def __contains__(self, key_id: object) -> bool:
            self.asked.append(key_id)
            return len(self.asked) == 1

    taken = FirstIsTaken()
    token = new_token(taken=taken)
    assert token.key_id == taken.asked[1] != taken.asked[0]


def test_what_a_token_prints_as_holds_no_secret() -> None:
    token = new_token()
    assert token.secret not in repr(token)
    assert token.key_id in repr(token)


def test_another_form_is_no_token() -> None:
    secret = "s" * 43
    assert parse_token(f"gw-abc-{secret}") == Token("abc", secret)
    for text in (
        "",
        f"gw-abc-{secret[:-1]}",
        f"gw-abc-{secret}\n",
        f" gw-abc-{secret}",
        f"gw-ABC-{secret}",
        f"gw--{secret}",
        f"sk-abc-{secret}",
        f"gw-abc-{secret[:-1]}é",
        f"gw-abc-{'s' * 129}",
    ):
        assert parse_token(text) is None, text


@given(st.text())
def test_text_around_a_token_stays_and_its_secret_goes(text: str) -> None:
    token = new_token()
    shown = without_secrets(f"{text} {token.text} {text}")
    assert token.secret not in shown
    assert "**********" in shown
