from __future__ import annotations

import errno
from pathlib import Path

import pytest

from indexer.errors import UnavailableError, from_system, writing


def test_what_cannot_be_written_is_named_with_path_cause_and_way_out(tmp_path: Path) -> None:
    with (
        pytest.raises(UnavailableError) as caught,
        writing("The log", tmp_path / "log", otherwise="write no log"),
    ):
        (tmp_path / "absent" / "log").write_text("")
    assert str(caught.value) == (
        f"The log cannot be written at {tmp_path}/absent/log: No such file or directory; make room there or let this "
        "user write there, or write no log."
    )


def test_a_path_stands_in_where_the_error_has_none() -> None:
    with (
        pytest.raises(UnavailableError, match="at /x/log: No space left"),
        writing("It", Path("/x/log"), otherwise="-"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "refuses /x: Permission denied; see "),
        (OSError(errno.ENOSPC, "No space left on device"), "asked of it: No space left on device; see "),
        (OSError("two\n lines"), "asked of it: two lines; see "),
        (OSError(), "asked of it: OSError; see "),
    ],
)
def test_an_error_of_the_system_keeps_path_and_cause(error: OSError, words: str) -> None:
    assert words in str(from_system(error))
