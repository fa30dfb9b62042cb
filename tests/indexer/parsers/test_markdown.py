from __future__ import annotations

from indexer.parsers.base import ParsedBlock, ParsedDocument, RawDocument
from indexer.parsers.markdown import MarkdownParser


def parse(text: str) -> ParsedDocument:
    return MarkdownParser().parse(RawDocument(key=None, content=text.encode()))


def test_headings_make_paths_and_the_first_is_the_title() -> None:
    parsed = parse("# Soil\n\nIntro.\n\n## Acid\n\n### Lime\n\nAdd it.\n\n## Sand\n\nDrain.\n")
    assert parsed.title == "Soil"
    assert [(block.kind, block.text, block.heading_path) for block in parsed.blocks] == [
        ("heading", "Soil", ("Soil",)),
        ("paragraph", "Intro.", ("Soil",)),
        ("heading", "Acid", ("Soil", "Acid")),
        ("heading", "Lime", ("Soil", "Acid", "Lime")),
        ("paragraph", "Add it.", ("Soil", "Acid", "Lime")),
        ("heading", "Sand", ("Soil", "Sand")),
        ("paragraph", "Drain.", ("Soil", "Sand")),
    ]


def test_inline_markup_is_removed_and_its_text_kept() -> None:
    parsed = parse("A *soft* **bold** `x < y` [link](http://a.b) ![a pear](p.png) &amp; <b>tag</b> ~~gone~~ end\nnext")
    assert parsed.blocks[0].text == "A soft bold x < y link a pear & tag gone end\nnext"


def test_code_keeps_its_lines() -> None:
    parsed = parse("```python\ndef f():\n    # not a heading\n    return 1\n```\n\n    indented\n      more\n")
    assert [(block.kind, block.text) for block in parsed.blocks] == [
        ("code", "def f():\n    # not a heading\n    return 1"),
        ("code", "indented\n  more"),
    ]


def test_lists_keep_markers_and_depth() -> None:
    parsed = parse("- one\n- two\n  1. inner\n  2. second\n\n     still second\n- three\n")
    assert [block.text for block in parsed.blocks] == [
        "- one", "- two", "  1. inner", "  2. second", "  still second", "- three"
    ]  # fmt: skip
    assert {block.kind for block in parsed.blocks} == {"item"}


def test_ordered_list_counts_from_its_start() -> None:
    assert [block.text for block in parse("7. a\n8. b\n").blocks] == ["7. a", "8. b"]


def test_table_is_one_block() -> None:
    parsed = parse("| Crop | Days |\n|---|---|\n| *Oats* | 90 |\n| Rye | 110 |\n")
    assert parsed.blocks == (ParsedBlock(kind="table", text="Crop | Days\nOats | 90\nRye | 110"),)


def test_front_matter_gives_title_and_metadata_and_is_no_text() -> None:
    parsed = parse("---\ntitle: The Guide\nyear: 2031\ntags: [a, b]\n---\n# Other\n\nText.\n")
    assert parsed.title == "The Guide"
    assert parsed.metadata == (("year", "2031"),)
    assert [block.text for block in parsed.blocks] == ["Other", "Text."]


def test_a_rule_at_the_top_is_not_front_matter() -> None:
    parsed = parse("---\n: [not yaml\n---\n\nText.\n")
    assert "Text." in [block.text for block in parsed.blocks]


def test_html_block_loses_tags_and_scripts() -> None:
    parsed = parse("<div>Seen <b>here</b><script>alert(1)</script></div>\n")
    assert parsed.blocks[0].text == "Seen here"


def test_windows_line_ends() -> None:
    assert [block.text for block in parse("# A\r\n\r\nB\r\nC\r\n").blocks] == ["A", "B\nC"]


def test_front_matter_that_cannot_be_used_costs_no_text() -> None:
    for fields in ("date: 2031-02-30", "title: [a, b]", "[" * 3000):
        assert parse(f"---\n{fields}\n---\n\nText.\n").blocks[-1].text == "Text."
    assert parse("---\ntitle: [a, b]\n---\n\nText.\n").title is None
