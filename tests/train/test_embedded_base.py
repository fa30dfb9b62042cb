from __future__ import annotations

from pathlib import Path

import pytest

from indexer.errors import UnavailableError
from tests.full_disk import full_disk
from train.embedded_base import EMBEDDED_BASE, materialise_embedded_base


def test_a_folder_that_cannot_be_made_is_named_with_its_cause(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    models = tmp_path / "file" / "models"
    with pytest.raises(UnavailableError, match=f"cannot be written at {models}: Not a directory; .*train.models_dir"):
        materialise_embedded_base(models)


@pytest.mark.slow
@pytest.mark.long
def test_a_disk_that_fills_while_it_is_unpacked_is_named_and_nothing_stays(tmp_path: Path) -> None:
    with (
        full_disk(room_bytes=10 * 2**20),
        pytest.raises(UnavailableError, match=r"cannot be written at .*File too large"),
    ):
        materialise_embedded_base(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f".{EMBEDDED_BASE}.lock"]
