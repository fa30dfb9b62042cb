from __future__ import annotations

import pytest

from indexer.errors import InputError
from indexer.store.expressions import chunks_are, tenant_and_documents, tenant_is


def test_values_are_quoted() -> None:
    assert tenant_is('a" or tenant != "') == 'tenant == "a\\" or tenant != \\""'
    assert chunks_are(["a", "b"]) == 'chunk_id in ["a", "b"]'
    assert tenant_and_documents("t", ["d\\1"]) == 'tenant == "t" and document_id in ["d\\\\1"]'


@pytest.mark.parametrize("tenant", ["", "a\nb", "x" * 129, "é" * 65])
def test_bad_tenants_are_refused(tenant: str) -> None:
    with pytest.raises(InputError, match="Tenant"):
        tenant_is(tenant)
