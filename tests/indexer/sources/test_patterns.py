from __future__ import annotations

import pytest

from indexer.errors import InputError
from indexer.sources.patterns import make_patterns, make_spec

FILES = ("a.md", "b.txt", "drafts/c.md", "deep/drafts/d.md", "deep/er/e.md", "drafts.md")


def wanted(*, include: list[str] | None = None, exclude: list[str] | None = None, glob: str | None = None) -> list[str]:
    patterns = make_patterns(include=include or [], exclude=exclude or [])
    return [name for name in FILES if patterns.wants(name, glob=make_spec([glob]) if glob else None)]


def test_without_patterns_everything_is_wanted() -> None:
    assert wanted() == list(FILES)


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["*.txt"], [], ["b.txt"]),
        (["*.txt", "/a.*"], [], ["a.md", "b.txt"]),
        (["deep/"], [], ["deep/drafts/d.md", "deep/er/e.md"]),
        ([], ["drafts/"], ["a.md", "b.txt", "deep/er/e.md", "drafts.md"]),
        ([], ["/drafts/"], ["a.md", "b.txt", "deep/drafts/d.md", "deep/er/e.md", "drafts.md"]),
        ([], ["drafts/**"], ["a.md", "b.txt", "deep/drafts/d.md", "deep/er/e.md", "drafts.md"]),
        (["*.md"], ["drafts/", "/a.md"], ["deep/er/e.md", "drafts.md"]),
        ([], ["*.md", "!drafts.md"], ["b.txt", "drafts.md"]),
    ],
)
def test_include_and_exclude(include: list[str], exclude: list[str], expected: list[str]) -> None:
    assert wanted(include=include, exclude=exclude) == expected


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("/*.md", ["a.md", "drafts.md"]),
        ("/**/*.md", ["a.md", "drafts/c.md", "deep/drafts/d.md", "deep/er/e.md", "drafts.md"]),
        ("/deep/*/e.md", ["deep/er/e.md"]),
        ("/d?afts/c.md", ["drafts/c.md"]),
    ],
)
def test_a_pattern_of_paths_begins_at_its_folder(glob: str, expected: list[str]) -> None:
    assert wanted(glob=glob) == expected


def test_a_folder_is_shut_out_only_if_nothing_is_taken_back() -> None:
    assert make_patterns(exclude=["drafts/"]).shuts_out("deep/drafts")
    assert make_patterns(exclude=["/deep/**"]).shuts_out("deep/er")
    assert not make_patterns(exclude=["*.md"]).shuts_out("deep")
    assert not make_patterns(exclude=["drafts/", "!drafts/c.md"]).shuts_out("drafts")


@pytest.mark.parametrize("pattern", ["", "  ", "# words", "/", "!"])
def test_what_is_no_pattern_is_named(pattern: str) -> None:
    with pytest.raises(InputError, match=r"as in a .gitignore"):
        make_patterns(exclude=["*.md", pattern])
