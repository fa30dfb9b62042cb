"""What of an HTML page is content, and what is navigation and furniture."""

from __future__ import annotations

import re

from selectolax.lexbor import LexborHTMLParser, LexborNode


def names(listed: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(listed.split())


_NEVER = names("""
    script style noscript template svg iframe object embed nav aside button select textarea canvas audio video map
    dialog menu
""")
_PAGE_PARTS = names("header footer")  # of the page; inside main or article they belong to the content
_ROLES = names("navigation banner contentinfo search complementary menu menubar")
_CLASSES = names("""
    navheader navfooter navigation nav navbar sphinxsidebar sidebar related breadcrumb breadcrumbs pagination pager toc
    table-of-contents skip-link site-header site-footer cookie-banner cookie-consent cookie-notice cookie-bar cookiebar
""")  # DocBook, gtk-doc, Sphinx, Doxygen and common themes
_IDS = names("cookie-banner cookie-consent cookie-notice onetrust-consent-sdk CybotCookiebotDialog")
_NAVIGATION_TABLE = "navigation"  # begins DocBook's `summary` of the tables above and below a page
_UNSEEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_ANCHOR_MARKS = frozenset({"", "#", "¶", "§", "🔗", "\uf0c1"})  # links from a heading to itself


def main_content(tree: LexborHTMLParser) -> LexborNode | None:
    """Return the `main` element, else a lone `article`, else the body."""
    for selector in ("main", "[role=main]"):
        if (node := tree.css_first(selector)) is not None:
            return node
    articles = tree.css("article")
    return articles[0] if len(articles) == 1 else tree.body


def is_furniture(node: LexborNode, *, inside_content: bool, by_name: bool) -> bool:
    """Tell whether an element is no content.

    Args:
        node: An element.
        inside_content: Whether it is inside `main` or `article`.
        by_name: Whether its class and id count.
    """
    tag = node.tag or ""
    if tag in _NEVER:
        return True
    if tag in _PAGE_PARTS and not inside_content:
        return node.css_first("h1") is None
    if tag == "form":  # some pages are one
        return node.css_first("h1, h2, p") is None
    attributes = node.attributes
    if not attributes:
        return False
    if "hidden" in attributes or attributes.get("aria-hidden") == "true":
        return True
    if (attributes.get("role") or "").lower() in _ROLES or _UNSEEN.search(attributes.get("style") or ""):
        return True
    return by_name and _has_furniture_name(attributes) and node.css_first("h1") is None


def _has_furniture_name(attributes: dict[str, str | None]) -> bool:
    if (attributes.get("id") or "") in _IDS:
        return True
    if (attributes.get("summary") or "").lower().startswith(_NAVIGATION_TABLE):
        return True
    return not _CLASSES.isdisjoint((attributes.get("class") or "").lower().split())


def is_anchor_mark(link: LexborNode) -> bool:
    """Tell whether a link is the sign by a heading that links to it."""
    return (link.attributes.get("href") or "").startswith("#") and link.text().strip() in _ANCHOR_MARKS


def is_layout(table: LexborNode) -> bool:
    """Tell whether a table places blocks on the page: it holds other tables, a main heading, or only one cell."""
    return any(node.mem_id != table.mem_id for node in table.css("table, h1, h2")) or len(table.css("td, th")) == 1
