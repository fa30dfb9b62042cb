from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from indexer.parsers.base import ParsedDocument, RawDocument
from indexer.parsers.pod import PodParser

PERL_DOC = sorted(Path("/usr/share/perl").glob("5.*.*/pod"))
NEEDS_PERL_DOC = pytest.mark.skipif(
    not PERL_DOC or not (PERL_DOC[0] / "perlfaq4.pod").exists(), reason="Debian's perl-doc is not installed"
)


def parse(pod: str | bytes) -> ParsedDocument:
    content = pod.encode() if isinstance(pod, str) else pod
    return PodParser().parse(RawDocument(key=None, content=content))


def rows(pod: str) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(block.kind, block.text, block.heading_path) for block in parse(pod).blocks]


def test_headings_paragraphs_and_title() -> None:
    pod = "junk before\n\n=head1 NAME\n\nperlx - about C<x>\n\n=head1 USE\n\nOne\nline.\n\n=head2 Deep B<er>\n\nMore.\n"
    assert parse(pod).title == "perlx - about x"
    assert rows(pod) == [
        ("heading", "NAME", ("NAME",)),
        ("paragraph", "perlx - about x", ("NAME",)),
        ("heading", "USE", ("USE",)),
        ("paragraph", "One line.", ("USE",)),
        ("heading", "Deep er", ("USE", "Deep er")),
        ("paragraph", "More.", ("USE", "Deep er")),
    ]


def test_verbatim_paragraphs_in_a_row_are_one_block_and_keep_codes() -> None:
    pod = "=pod\n\nSee:\n\n    my $x = B<1>;\n\n\tprint $x;\n\nDone.\n"
    assert rows(pod) == [
        ("paragraph", "See:", ()),
        ("code", "    my $x = B<1>;\n\n        print $x;", ()),
        ("paragraph", "Done.", ()),
    ]


def test_lists_with_bullets_numbers_and_labels() -> None:
    pod = (
        "=head1 F\n\n=over 4\n\n=item *\n\nbullet\n\n=item * direct\n\n=back\n\n"
        "=over\n\n=item 1.\n\nnumber\n\n=back\n\n"
        "=over 8\n\n=item sort LIST\n\nSorts.\n\n    sort @x\n\n=over\n\n=item *\n\ninner\n\n=back\n\nStill sort.\n\n"
        "=item splice\n\nSplices.\n\n=back\n\nAfter.\n"
    )
    assert rows(pod)[1:] == [
        ("item", "- bullet", ("F",)),
        ("item", "- direct", ("F",)),
        ("item", "1. number", ("F",)),
        ("item", "sort LIST", ("F", "sort LIST")),
        ("paragraph", "Sorts.", ("F", "sort LIST")),
        ("code", "    sort @x", ("F", "sort LIST")),
        ("item", "  - inner", ("F", "sort LIST")),
        ("paragraph", "Still sort.", ("F", "sort LIST")),
        ("item", "splice", ("F", "splice")),
        ("paragraph", "Splices.", ("F", "splice")),
        ("paragraph", "After.", ("F",)),
    ]


def test_a_number_in_front_of_words_is_a_marker_only_before_a_space() -> None:
    pod = "=over\n\n=item 2 two\n\n=item 5.005 changes\n\nText.\n\n=back\n"
    assert [row[1] for row in rows(pod)] == ["2 two", "5.005 changes", "Text."]


def test_cut_for_and_begin_leave_code_and_foreign_formats_out() -> None:
    pod = (
        "=head1 A\n\nkept\n\n=cut\n\nsub code { 1 }\n\n=head1 B\n\n=for html <b>no</b>\n\n=begin html\n\n<i>no</i>\n\n"
        "=head1 not seen\n\n=end html\n\n=begin :text\n\nshown\n\n=end :text\n\nlast\n"
    )
    assert [row[1] for row in rows(pod)] == ["A", "kept", "B", "shown", "last"]


def test_declared_encoding() -> None:
    assert parse("=encoding latin1\n\n=head1 Café\n".encode("latin-1")).blocks[0].text == "Café"


def test_unbalanced_lists_do_not_crash() -> None:
    assert [row[1] for row in rows("=back\n\n=item x\n\ntext\n\n=back\n\n=back\n\n=head1 End\n")] == [
        "x",
        "text",
        "End",
    ]


@NEEDS_PERL_DOC
def test_every_page_of_perl_doc_has_title_headings_and_text() -> None:
    pages = sorted(PERL_DOC[0].glob("*.pod"))
    assert len(pages) > 150
    for page in pages:
        parsed = parse(page.read_bytes())
        assert parsed.title, page.name
        assert len(parsed.blocks) > 3, page.name
        assert any(block.kind == "heading" for block in parsed.blocks), page.name


@NEEDS_PERL_DOC
def test_perlfaq_questions_are_headings() -> None:
    questions = [
        block.text
        for page in sorted(PERL_DOC[0].glob("perlfaq[1-9].pod"))
        for block in parse(page.read_bytes()).blocks
        if block.kind == "heading" and block.text.endswith("?")
    ]
    assert len(questions) > 250
    assert "Why is int() broken?" in questions


@NEEDS_PERL_DOC
@pytest.mark.slow
@pytest.mark.long
def test_same_words_as_perls_own_formatter_on_all_of_perl_doc() -> None:
    if shutil.which("pod2text") is None:
        pytest.skip("perl's pod2text is not installed")
    for page in sorted(PERL_DOC[0].glob("*.pod")):
        ours = words(" ".join(block.text for block in parse(page.read_bytes()).blocks))
        shown = subprocess.run(["pod2text", "--utf8", str(page)], capture_output=True, check=False)
        theirs = words(shown.stdout.decode("utf-8", "replace"))
        missing, added = theirs - ours, ours - theirs
        allowed = 2 + sum(theirs.values()) // 100
        assert missing.total() <= allowed, f"{page.name} lacks {missing.most_common(5)}"
        assert added.total() <= allowed, f"{page.name} adds {added.most_common(5)}"


def words(text: str) -> Counter[str]:
    """Count words, addresses left out: pod2text adds them to links that have a text, we keep the text alone."""
    text = re.sub(r"<\w+:[^>]*>|\w+:[^\s>]+", " ", text)
    return Counter(re.findall(r"[A-Za-z0-9_]{2,}", text))
