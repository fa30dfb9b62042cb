from __future__ import annotations

import pytest
from pydantic import ValidationError

from indexer.settings import IndexerSettings


def test_every_field_is_described() -> None:
    assert all(field.description for field in IndexerSettings.model_fields.values())


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"chunk_tokens": 40, "chunk_overlap_tokens": 30}, "more than half of chunk_tokens"),
        ({"chunk_tokens": 0}, "chunk_tokens"),
        ({"embedder": ""}, "embedder"),
        ({"bulk_above_chunks": 5}, "bulk_above_chunks is set without bulk_uri"),
        ({"bulk_uri": "s3://b/p"}, "bulk_uri is set without bulk_above_chunks"),
        ({"bulk_uri": "s3://b/p", "bulk_above_chunks": -1}, "bulk_above_chunks"),
        ({"milvus_uri": "http://far:19530", "milvus_ca_file": "/ca.pem"}, "milvus_uri is no https:// address"),
    ],
)
def test_bad_values_are_named(values: dict[str, object], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        IndexerSettings.model_validate(values)


def test_the_token_does_not_show() -> None:
    assert "secret" not in repr(IndexerSettings.model_validate({"milvus_token": "secret"}))


@pytest.mark.parametrize(
    "uri", ["http://user:hidden@far:19530", "https://hidden@far", "http://u:hid/den@far", "u:hidden@far"]
)
def test_a_password_in_the_uri_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(ValidationError, match=r"https?://far.* milvus_token as user:password") as caught:
        IndexerSettings(milvus_uri=uri)
    assert "hid" not in str(caught.value)
