"""What a search for sources has found so far."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from indexer.errors import InputError
from indexer.sources.media import detect, why_not
from indexer.sources.patterns import Patterns
from indexer.types import FailedDocument, SourceFile


@dataclass(slots=True)
class Found:
    """Files, failures and what was left out, while the user's sources are gone through.

    Attributes:
        patterns: Which files are wanted.
        files: By URI.
        failures: What could not be looked at.
        skipped: Number of entries left out, by reason.
        unreadable: Source ids of the failures.
        folders: Id prefixes of the folders, in the order given.
        left_out: URIs of objects that are there but not wanted.
    """

    patterns: Patterns
    files: dict[str, SourceFile] = field(default_factory=dict)
    failures: list[FailedDocument] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)
    folders: dict[str, None] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)
    _roots: dict[str, str] = field(default_factory=dict)

    def enter(self, name: str, root: str) -> None:
        """Take note of a root, whose name begins the ids of its documents.

        Args:
            name: Of the folder or bucket.
            root: The folder's path or the bucket's URI.

        Raises:
            InputError: Another root has the name.
        """
        if self._roots.setdefault(name, root) != root:
            raise InputError(
                f"{self._roots[name]} and {root} have the same name, so their documents would share ids; "
                "index them into different collections, or their parent folder once."
            )

    def fail(self, uri: str, *, source_id: str, reason: str) -> None:
        """Record what cannot be looked at; its documents have not vanished."""
        self.failures.append(FailedDocument(uri=uri, stage="discover", reason=reason, file=uri, source_id=source_id))
        self.unreadable.append(source_id)

    def take(self, uri: str, *, source_id: str, head: bytes, size: int, named: bool) -> None:
        """Take a file if a parser reads it.

        Args:
            uri: Where it is.
            source_id: The stem of its documents' ids.
            head: Its first SNIFF_BYTES bytes.
            size: Its bytes.
            named: Whether the user named this very file, so that an unknown format is a failure.
        """
        media_type = detect(source_id.rpartition("/")[2], head)
        if media_type is not None:
            self.files[uri] = SourceFile(uri=uri, media_type=media_type, bytes=size, source_id=source_id)
        elif named:
            self.fail(uri, source_id=source_id, reason=why_not(head))
        else:
            self.skipped["unsupported"] += 1
