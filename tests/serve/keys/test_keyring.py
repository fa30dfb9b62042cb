from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serve.keys import keyring
from serve.keys.document import KeyLimits, document_of
from serve.keys.keyring import Keyring
from serve.keys.secret import PREFIX, Token, hash_secret, new_token
from serve.principal import Limits, Principal
from tests.serve.keys.conftest import NOW, made

TOKEN, ENTRY = made()
RING = Keyring(document_of(ENTRY))
URL_SAFE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"


def test_a_key_is_who_its_entry_says() -> None:
    token, entry = made(
        tenant="mill",
        models=("agronomy", "ropes@3"),
        collections=("handbook",),
        limits=KeyLimits(requests_per_minute=1, tokens_per_minute=2, streams=3),
    )
    ring = Keyring(document_of(ENTRY, entry))
    assert ring.check(token.text, now=NOW) == Principal(
        tenant="mill",
        key_id=token.key_id,
        models=frozenset({"agronomy", "ropes@3"}),
        collections=frozenset({"handbook"}),
        limits=Limits(requests_per_minute=1, tokens_per_minute=2, streams=3),
    )
    assert ring.check(TOKEN.text, now=NOW) == Principal(tenant="farm", key_id=TOKEN.key_id)
    assert (len(ring), ring.tenants) == (2, {"farm", "mill"})


def test_several_keys_of_a_tenant_hold_side_by_side() -> None:
    (old, first), (new, second) = made(), made()
    both, later = Keyring(document_of(first, second)), Keyring(document_of(second))
    assert both.check(old.text, now=NOW) is not None
    assert both.check(new.text, now=NOW) is not None
    assert later.check(old.text, now=NOW) is None
    assert later.check(new.text, now=NOW) is not None


def test_no_collection_is_not_every_collection() -> None:
    token, entry = made(collections=())
    principal = Keyring(document_of(entry)).check(token.text, now=NOW)
    assert principal is not None
    assert principal.collections == frozenset()


def test_a_key_is_refused_from_the_moment_it_expires() -> None:
    token, entry = made(expires_at=NOW)
    ring = Keyring(document_of(entry))
    assert ring.check(token.text, now=NOW - timedelta(microseconds=1)) is not None
    assert ring.check(token.text, now=NOW) is None


def test_the_secret_of_one_key_does_not_open_another() -> None:
    other, entry = made(tenant="mill")
    ring = Keyring(document_of(ENTRY, entry))
    assert ring.check(Token(TOKEN.key_id, other.secret).text, now=NOW) is None
    assert ring.check(Token(other.key_id, TOKEN.secret).text, now=NOW) is None


def test_a_hash_is_not_a_secret_and_a_password_is_none_either() -> None:
    assert RING.check(f"{PREFIX}-{ENTRY.id}-{ENTRY.sha256}", now=NOW) is None
    _, by_hand = made(sha256=hash_secret("password").hex())
    assert Keyring(document_of(by_hand)).check(f"{PREFIX}-{by_hand.id}-password", now=NOW) is None


def test_an_unknown_id_is_compared_like_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []
    real = keyring.hmac.compare_digest

    def compare(kept: bytes, sent: bytes) -> bool:
        compared.append((len(kept), len(sent)))
        return real(kept, sent)

    monkeypatch.setattr(keyring.hmac, "compare_digest", compare)
    assert RING.check(Token(TOKEN.key_id, new_token().secret).text, now=NOW) is None
    assert RING.check(new_token(taken={TOKEN.key_id}).text, now=NOW) is None
    assert compared == [(32, 32), (32, 32)]


def test_an_unknown_id_is_refused_even_where_its_hash_would_match(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "hash_secret", lambda _: bytes(32))
    assert RING.check(Token("unknown", "s" * 43).text, now=NOW) is None


@given(
    st.one_of(
        st.text(),
        st.text(URL_SAFE, min_size=43, max_size=128).map(lambda secret: f"{PREFIX}-{TOKEN.key_id}-{secret}"),
        st.from_regex(rf"{PREFIX}-[a-z0-9]{{1,32}}-[A-Za-z0-9_-]{{43,128}}", fullmatch=True),
    ).filter(lambda text: text != TOKEN.text)
)
@example(f"{PREFIX}-{TOKEN.key_id}-")
@example(TOKEN.text.upper())
@example(TOKEN.text + "A")
def test_no_random_token_passes(text: str) -> None:
    assert RING.check(text, now=NOW) is None


@given(st.integers(0, len(TOKEN.text) - 1), st.sampled_from(URL_SAFE))
def test_no_single_changed_character_passes(place: int, character: str) -> None:
    changed = TOKEN.text[:place] + character + TOKEN.text[place + 1 :]
    assert (RING.check(changed, now=NOW) is not None) == (changed == TOKEN.text)
