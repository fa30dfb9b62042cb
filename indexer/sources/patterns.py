"""Which files below a root are wanted: patterns as in a `.gitignore`, through pathspec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pathspec import GitIgnoreSpec

from indexer.errors import InputError


@dataclass(frozen=True, slots=True)
class Patterns:
    """What is wanted and what is not, relative to the root that a file was found under.

    Attributes:
        include: A file has to match one of these; None takes every file.
        exclude: A file must not match these; a later `!pattern` takes back.
    """

    include: GitIgnoreSpec | None
    exclude: GitIgnoreSpec

    def wants(self, relative: str, *, glob: GitIgnoreSpec | None = None) -> bool:
        """Tell whether a file is wanted.

        Args:
            relative: The file's path below its root, with `/` between parts.
            glob: What the user's own path says besides, where it was a pattern.
        """
        return (
            (glob is None or glob.match_file(relative))
            and (self.include is None or self.include.match_file(relative))
            and not self.exclude.match_file(relative)
        )

    def shuts_out(self, folder: str) -> bool:
        """Tell whether nothing in a folder can be wanted, so that it need not be looked at."""
        takes_back = any(pattern.include is False for pattern in self.exclude.patterns)
        return not takes_back and self.exclude.match_file(f"{folder}/")


def make_patterns(*, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Patterns:
    """Read the user's patterns.

    Raises:
        InputError: One of them is none.
    """
    return Patterns(include=make_spec(include) if include else None, exclude=make_spec(exclude))


def make_spec(patterns: Sequence[str]) -> GitIgnoreSpec:
    """Read patterns of one kind.

    Raises:
        InputError: One of them is none.
    """
    for pattern in patterns:
        try:
            spec = GitIgnoreSpec.from_lines([pattern])
        except ValueError as error:
            raise InputError(
                f"{pattern!r} is no pattern ({error}); write it as in a .gitignore, such as *.md."
            ) from error
        if all(compiled.include is None for compiled in spec.patterns):
            raise InputError(
                f"{pattern!r} matches nothing; write a pattern as in a .gitignore, such as *.md or drafts/."
            )
    return GitIgnoreSpec.from_lines(patterns)
