"""Questions from Perl's FAQ, and a copy of the manual in which no heading of the FAQ can be read any more.

A question is a heading of perlfaq1 to perlfaq9, its answer the section under it. In the manual as it is (*open*) the
heading stands in front of every chunk of its section, so a search finds it by its own words. In the copy (*closed*)
each is replaced by its number, there and wherever else it is quoted: the list of questions, the manual's table of
contents and references from other pages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from indexer.evaluation.questions import Split, split_of
from indexer.parsers.pod_codes import plain

_HEADING = re.compile(r"^=head2[ \t]+(.+?)(?:\n[ \t]*\n|\Z)", re.MULTILINE | re.DOTALL)
_WORD = re.compile(r"\w+")
_BETWEEN = r"(?:\W|[A-Z]<|E<\w+>)+"  # with what POD puts around words: C<print>, E<gt>


@dataclass(frozen=True, slots=True)
class FaqQuestion:
    """One heading of the FAQ.

    Attributes:
        text: The heading as a reader sees it.
        source: The heading as it stands in the file, with POD's codes.
        file: Name of the file, such as `perlfaq4.pod`.
        label: What stands in its place in the closed copy; unique within the file.
        split: `dev` or `test`, by a hash of the text.
    """

    text: str
    source: str
    file: str
    label: str
    split: Split


def faq_questions(manual: Path) -> list[FaqQuestion]:
    """Return the headings of perlfaq1 to perlfaq9 in a folder of POD files."""
    found: list[FaqQuestion] = []
    for file in sorted(manual.glob("perlfaq[1-9].pod")):
        headings = _HEADING.findall(file.read_text(encoding="utf-8"))
        for number, source in enumerate(headings, start=1):
            text = " ".join(plain(source).split())
            found.append(
                FaqQuestion(text=text, source=source, file=file.name, label=f"Section {number}", split=split_of(text))
            )
    return found


def write_closed_copy(manual: Path, questions: Sequence[FaqQuestion], folder: Path) -> None:
    """Write every POD file of `manual` into `folder`, headings of the FAQ blanked."""
    quoted = _any_of(questions)
    for file in sorted(manual.glob("*.pod")):
        text = file.read_bytes().decode("utf-8", "surrogateescape")
        for question in questions:
            if question.file == file.name:
                text = text.replace(f"=head2 {question.source}", f"=head2 {question.label}", 1)
        (folder / file.name).write_bytes(quoted.sub("", text).encode("utf-8", "surrogateescape"))


def question_line(question: FaqQuestion, *, root: str, closed: bool) -> str:
    """Return the line of a file of questions for the copy that was indexed from a folder called `root`."""
    heading = question.label if closed else question.text
    gold = [{"document": f"{root}/{question.file}", "heading": heading}]
    return json.dumps({"question": question.text, "gold": gold, "split": question.split})


def words(text: str) -> str:
    """Return the words of a text in lower case, one space before and after each: what two texts are compared by."""
    return f" {' '.join(_WORD.findall(text.lower()))} "


def _any_of(questions: Sequence[FaqQuestion]) -> re.Pattern[str]:
    """Return a pattern for the questions' words in order, whatever marks stand between them; the longest first."""
    spoken = sorted({words(question.text).strip() for question in questions}, key=len, reverse=True)
    patterns = [_BETWEEN.join(map(re.escape, form.split())) for form in spoken]
    return re.compile(rf"(?<!\w)(?:{'|'.join(patterns)})(?!\w)[?!.]?", re.IGNORECASE)
