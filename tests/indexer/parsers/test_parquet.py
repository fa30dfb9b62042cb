from __future__ import annotations

import hashlib
import io
import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from indexer.parsers.base import ParseError, RawDocument, SplitFailure
from indexer.parsers.parquet import ParquetParser

MIB = 1 << 20


def table(columns: dict[str, object], **options: object) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), sink, **options)
    return sink.getvalue()


def split(content: bytes, *, max_bytes: int = 1000) -> list[RawDocument | SplitFailure]:
    return list(ParquetParser().split(io.BytesIO(content), max_bytes=max_bytes))


def test_each_row_is_a_document_named_by_id_or_row() -> None:
    rows = split(table({"id": ["a", None, ""], "text": ["x", "y", "z"]}))
    assert [row.key for row in rows] == ["a", "R2", "R3"]
    assert [row.key for row in split(table({"id": [7, 8], "content": ["x", "y"]}))] == ["7", "8"]


@pytest.mark.parametrize(
    "metadata",
    [
        pa.array([[("author", "Ada"), ("year", "1843")]], pa.map_(pa.string(), pa.string())),
        pa.array([{"author": "Ada", "year": 1843, "none": None}]),
        pa.array(['{"author": "Ada", "year": 1843}']),
    ],
)
def test_a_document_has_its_title_address_paragraphs_and_metadata(metadata: pa.Array) -> None:
    columns = {"text": ["One.\n\nTwo."], "title": ["Notes"], "uri": ["https://x.example/1"], "metadata": metadata}
    [row] = split(table({**columns, "vector": [[0.5] * 10]}))
    assert isinstance(row, RawDocument)
    document = ParquetParser().parse(row)
    assert (document.title, document.url) == ("Notes", "https://x.example/1")
    assert [block.text for block in document.blocks] == ["One.", "Two."]
    assert document.metadata == (("author", "Ada"), ("year", "1843"))


def test_a_column_that_is_not_read_changes_nothing() -> None:
    one, other = (split(table({"text": ["x"], "score": [score]})) for score in (1.0, 2.0))
    assert one == other


def test_a_bad_row_fails_alone() -> None:
    texts = [b"a", b"\xff", b"c", b"d", b"e" * 2000, b"f"]
    columns = {
        "id": ["1", "2", "3", "1", "5", "6"],
        "text": pa.array(texts, pa.binary()).view(pa.string()),
        "metadata": [None, None, "[1]", None, None, "{"],
    }
    rows = split(table(columns))
    assert [row.key for row in rows] == ["1", "R2", "R3", "R4", "R5", "R6"]
    reasons = [row.reason for row in rows if isinstance(row, SplitFailure)]
    assert [reason.split(":")[0] for reason in reasons[:3]] == ["row 2", "row 3", "row 4"]
    assert "utf-8" in reasons[0]
    assert "must hold an object, this is list" in reasons[1]
    assert "id '1' stands already in row 1" in reasons[2]
    assert reasons[3] == "row 5 is larger than 1000 bytes (max_document_bytes)"
    assert "is not JSON" in reasons[4]


def test_a_row_without_text_fails_alone() -> None:
    rows = split(table({"text": [None, "x"]}))
    assert isinstance(rows[0], SplitFailure)
    assert "no text in the column `text`" in rows[0].reason
    assert isinstance(rows[1], RawDocument)


def test_a_damaged_row_group_costs_its_rows_only() -> None:
    texts = [hashlib.sha512(str(number).encode()).hexdigest() for number in range(30)]
    content = bytearray(table({"text": texts}, row_group_size=10, compression="snappy", use_dictionary=False))
    column = parquet.ParquetFile(io.BytesIO(content)).metadata.row_group(1).column(0)
    start = column.data_page_offset
    content[start + 40 : start + column.total_compressed_size] = b"\xff" * (column.total_compressed_size - 40)
    rows = split(bytes(content))
    read = [row.key for row in rows if isinstance(row, RawDocument)]
    assert read == [f"R{number}" for number in (*range(1, 11), *range(21, 31))]
    [failure] = [row for row in rows if isinstance(row, SplitFailure)]
    assert (failure.key, failure.reason.split("(")[0]) == ("R11-R20", "rows 11 to 20 cannot be read ")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"PAR1 cut off", "no Parquet file"),
        (b"", "no Parquet file"),
        (table({"body": ["x"], "id": ["a"]}), "no column `text` or `content` of texts; there are body, id"),
        (table({"text": [1]}), "the column `text` is of the type int64; text is needed"),
        (table({"text": ["x"], "id": [1.5]}), "text or whole numbers"),
    ],
)
def test_a_file_that_is_no_table_of_documents_is_told(content: bytes, told: str) -> None:
    with pytest.raises(ParseError) as caught:
        split(content)
    assert told in str(caught.value)


class Watched(io.BytesIO):
    largest = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.largest = max(self.largest, len(data))
        return data


def test_memory_is_bound_by_the_batch_and_not_by_the_row_group() -> None:
    """One row group of 120 MiB, as texts of 120 KiB in small pages, and as one of 4 MiB that is stored once for all."""
    texts = [f"{number} " + "word " * 24_000 for number in range(1_000)]
    many = table({"text": texts}, use_dictionary=False, compression="none", write_batch_size=32)
    once = table({"text": ["w" * 4 * MIB] * 30}, compression="zstd")
    for content, count in ((many, 1_000), (once, 30)):
        before, highest, seen = pa.total_allocated_bytes(), 0, 0
        stream = Watched(content)
        for row in ParquetParser().split(stream, max_bytes=8 * MIB):
            assert isinstance(row, RawDocument)
            seen, highest = seen + 1, max(highest, pa.total_allocated_bytes() - before)
        assert seen == count
        assert highest < 40 * MIB
        assert 0 < stream.largest < 8 * MIB
    assert json.loads(row.content)["text"] == "w" * 4 * MIB
