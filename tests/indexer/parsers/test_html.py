from __future__ import annotations

import time

import pytest

from indexer.parsers.base import ParsedDocument, RawDocument
from indexer.parsers.html import HtmlParser


def parse(html: str | bytes) -> ParsedDocument:
    content = html.encode() if isinstance(html, str) else html
    return HtmlParser().parse(RawDocument(key=None, content=content))


def texts(html: str) -> list[str]:
    return [block.text for block in parse(html).blocks]


PAGE = """<!DOCTYPE html><html><head><title> Water  rights </title><style>p {color: red}</style>
<script>var hidden = "secret";</script></head><body><header>Site name</header><nav><a href="/">Home</a></nav>
<main><header>By Ada</header><h1>Water</h1><p>Irrigate <b>twice</b> a&nbsp;week,<br>not more.</p>
<h2>Wells</h2><ul><li>deep<ul><li>dug</li></ul></li><li><p>shallow</p></li></ul><ol><li>first</li><li>second</li></ol>
<pre>  pump --on
    now</pre><table><thead><tr><th>Well</th><th>m</th></tr></thead><tr><td>A<p>old</p></td><td>12</td></tr></table>
<aside>Advert</aside>
<p hidden>unseen</p><p aria-hidden="true">unseen</p></main><footer>Imprint</footer></body></html>"""


def test_main_content_in_order_without_page_furniture() -> None:
    parsed = parse(PAGE)
    assert parsed.title == "Water rights"
    assert [(block.kind, block.text) for block in parsed.blocks] == [
        ("paragraph", "By Ada"),
        ("heading", "Water"),
        ("paragraph", "Irrigate twice a week, not more."),
        ("heading", "Wells"),
        ("item", "- deep"),
        ("item", "  - dug"),
        ("item", "- shallow"),
        ("item", "1. first"),
        ("item", "2. second"),
        ("code", "  pump --on\n    now"),
        ("table", "Well | m\nA old | 12"),
    ]
    assert parsed.blocks[-1].heading_path == ("Water", "Wells")


def test_without_main_the_body_is_read_less_its_navigation() -> None:
    html = (
        "<body><header>Logo</header><div class=x><div>One</div>two</div><nav>Menu</nav><footer>Imprint</footer></body>"
    )
    assert texts(html) == ["One", "two"]


def test_a_page_header_with_the_heading_is_content() -> None:
    assert texts("<body><header><h1>Wells</h1></header><p>Text</p></body>") == ["Wells", "Text"]


def test_a_lone_article_is_the_content() -> None:
    assert texts("<body><div>Share this</div><article><p>Text</p></article><div>More</div></body>") == ["Text"]


def test_several_articles_are_all_read() -> None:
    assert texts("<body><article>One</article><article>Two</article></body>") == ["One", "Two"]


def test_role_navigation_is_left_out() -> None:
    assert texts("<body><div role='navigation'>Menu</div><div role=main><p>Text</p></div></body>") == ["Text"]


def test_title_falls_back_to_the_first_heading() -> None:
    assert parse("<body><h2>Wells</h2><p>Text</p></body>").title == "Wells"


def test_declared_encoding_is_used() -> None:
    page = "<html><head><meta charset='windows-1252'></head><body><p>Café – 5 €</p></body></html>"
    assert parse(page.encode("cp1252")).blocks[0].text == "Café – 5 €"


def test_a_term_stands_in_front_of_its_description() -> None:
    html = "<dl><dt>Built</dt><dd>1988 <b>by</b> Slee</dd><dt>Deck<dt>Hull<dd><p>steel<p>oak</dd><dt>End</dl><p>x"
    assert texts(html) == ["Built: 1988 by Slee", "Deck: Hull: steel", "oak", "End:", "x"]
    assert texts("<dl><dt>Call</dt><dd><pre>f(x)</pre>does it</dd></dl>") == ["Call:", "f(x)", "does it"]


def test_no_text_gives_no_blocks() -> None:
    assert parse("<html><body><script>1</script></body></html>").blocks == ()


def test_ten_thousand_nested_tags_end_quickly() -> None:
    began = time.process_time()
    parsed = parse("<ul><li><div>" * 10_000 + "deep")
    assert [block.text.strip() for block in parsed.blocks] == ["- deep"]
    assert len(parsed.blocks[0].text) < 100
    assert time.process_time() - began < 10


def test_broken_markup_is_read_as_browsers_do() -> None:
    assert texts("<p>one<p>two <b>bold</p><li>three</div>") == ["one", "two bold", "three"]


def test_docbooks_navigation_is_left_out() -> None:
    html = """<body><div class="navheader">
    <table summary="Navigation header"><tr><td>Prev</td><td>Up</td></tr></table></div>
    <table class="nav" summary="Navigation footer"><tr><td>Home</td><td>Next</td></tr></table>
    <div class="sect1"><h2>2.6. Joins</h2><div class="toc"><p>Table of Contents</p><dl><dt>2.6.1. Outer</dt></dl></div>
    <p>Queries can access multiple tables.</p></div><DIV CLASS="NAVFOOTER">Prev</DIV></body>"""
    assert texts(html) == ["2.6. Joins", "Queries can access multiple tables."]


def test_cookie_banners_and_unseen_parts_are_left_out() -> None:
    html = """<body><div id="cookie-banner">We use cookies</div><p>Text</p><p style="display: none">unseen</p>
    <section id="navigation"><h2>Navigation</h2><p>of ships, a chapter</p></section></body>"""
    assert texts(html) == ["Text", "Navigation", "of ships, a chapter"]


def test_names_do_not_count_where_they_leave_nothing() -> None:
    assert texts("<body><div class='toc'><p>All there is</p></div></body>") == ["All there is"]
    assert texts("<body><div class='page sidebar'><h1>Wells</h1><p>Text</p></div>by</body>") == ["Wells", "Text", "by"]
    assert texts("<body><main></main><p>Written by a script beside it</p></body>") == ["Written by a script beside it"]


def test_a_page_in_a_form_is_read_and_a_search_form_is_not() -> None:
    html = "<body><form><label>Search</label></form><form><h1>Wells</h1><p>Text<button>Go</button></p></form></body>"
    assert texts(html) == ["Wells", "Text"]


def test_the_sign_that_links_a_heading_to_itself_is_no_text() -> None:
    html = '<h1>Wells<a class="headerlink" href="#wells">¶</a></h1><h2><a href="#a">§</a>Deep</h2><p><a href="#b">b</a>'
    assert texts(html) == ["Wells", "Deep", "b"]


def test_a_table_for_layout_is_read_as_blocks() -> None:
    html = """<table><tr><td><h1>Wells</h1></td>
    <td><p>One<p>Two<table><tr><td>A</td><td>12</td></tr></table></td></tr></table>
    <table><tr><td><p>Framed</p><ul><li>item</ul></td></tr></table>"""
    assert [(block.kind, block.text) for block in parse(html).blocks] == [
        ("heading", "Wells"),
        ("paragraph", "One"),
        ("paragraph", "Two"),
        ("table", "A | 12"),
        ("paragraph", "Framed"),
        ("item", "- item"),
    ]


def test_terms_without_description_are_items_of_their_own() -> None:
    assert texts("<dl><dt>abbrev, 3<dt>ALTER<dd><dl><dt>TABLE, 5</dl></dl>") == ["abbrev, 3:", "ALTER:", "TABLE, 5:"]


@pytest.mark.parametrize("tag", ["table><tr><td", "header", "dl><dt><dd", "section class=toc", "form", "a href='#x'"])
def test_other_deep_nesting_ends_quickly(tag: str) -> None:
    began = time.process_time()
    parse(f"<{tag}>" * 10_000 + "<h1>deep")
    assert time.process_time() - began < 10
