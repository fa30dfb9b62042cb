"""Set the demo's four PDF documents from the text in `pdf_text/`.

The text is the source and the PDFs are committed beside it, so that indexing needs no PDF writer.
After an edit run `python deploy/demo/corpus_pdf.py` (needs fpdf2). The output depends on the text alone.

Markup, one item a line: `# ` and `## ` headings, `* ` bullets, `| a | b |` table rows, `===` a new page,
a blank line between paragraphs. The lines above the first `---` give style, file, title and running head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fpdf import FPDF
from fpdf.enums import XPos, YPos

HERE = Path(__file__).parent
TEXT = HERE / "pdf_text"
CORPUS = HERE / "corpus"
DATED = datetime(2025, 5, 1, tzinfo=UTC)
"""Written into every PDF in place of the time of the run."""


@dataclass(frozen=True)
class Look:
    """How one document is set: core font, sizes in points, margin in millimetres, whether tables are ruled."""

    font: str
    body: float
    heading: float
    margin: float
    ruled: bool


LOOKS = {
    "contract": Look(font="Times", body=11, heading=12, margin=24, ruled=False),
    "deed": Look(font="Courier", body=10, heading=12, margin=28, ruled=False),
    "handout": Look(font="Helvetica", body=11, heading=15, margin=20, ruled=True),
    "syllabus": Look(font="Helvetica", body=10.5, heading=13, margin=26, ruled=False),
}


@dataclass(frozen=True)
class Source:
    """One text file of `pdf_text/`: its head lines and its body."""

    look: Look
    file: str
    title: str
    running: str
    body: str


class Sheet(FPDF):
    """A4 pages with a running head and a page number, neither of which is content."""

    def __init__(self, source: Source) -> None:
        """Prepare empty pages for one source."""
        super().__init__(format="A4")
        self.source = source
        self.set_title(source.title)
        self.set_creation_date(DATED)
        self.set_margin(source.look.margin)
        self.set_auto_page_break(True, margin=22)

    def header(self) -> None:
        """Print the running head."""
        self.set_font(self.source.look.font, "I", 8)
        self.cell(0, 6, self.source.running, align="R", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(4)

    def footer(self) -> None:
        """Print the page number."""
        self.set_y(-15)
        self.set_font(self.source.look.font, "", 8)
        self.cell(0, 6, f"page {self.page_no()}", align="C")


def read_source(path: Path) -> Source:
    """Read one text file; raises KeyError when a head line is missing or names an unknown style."""
    head, _, body = path.read_text(encoding="utf-8").partition("\n---\n")
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    return Source(LOOKS[fields["style"]], fields["file"], fields["title"], fields["running"], body)


def items(body: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (kind, lines); consecutive table rows come together, every other line stands alone."""
    kinds = {"#": "h1", "##": "h2", "*": "bullet", "|": "row", "===": "page", "": "blank"}
    kind, lines = "blank", [""]
    for line in body.strip().splitlines():
        this = kinds.get(line.split(" ", 1)[0], "text")
        if this == kind == "row":
            lines.append(line)
            continue
        yield kind, lines
        kind, lines = this, [line]
    yield kind, lines


def draw_table(pdf: Sheet, rows: list[str]) -> None:
    """Draw table rows, the first as the heading; columns share the width equally."""
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    width = pdf.epw / len(cells[0])
    for number, row in enumerate(cells):
        pdf.set_font(pdf.source.look.font, "B" if number == 0 else "", pdf.source.look.body - 1.5)
        top, bottom = pdf.get_y(), pdf.get_y()
        for column, cell in enumerate(row):
            pdf.set_xy(pdf.l_margin + column * width, top)
            pdf.multi_cell(width, 5.5, cell, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
            bottom = max(bottom, pdf.get_y())
        if pdf.source.look.ruled:
            pdf.line(pdf.l_margin, bottom, pdf.l_margin + pdf.epw, bottom)
        pdf.set_y(bottom + 1)
    pdf.ln(2)


def render(source: Source) -> bytes:
    """Set one source and return the PDF's bytes."""
    pdf = Sheet(source)
    look = source.look
    pdf.add_page()
    for kind, lines in items(source.body):
        if kind == "page":
            pdf.add_page()
        elif kind == "row":
            draw_table(pdf, lines)
        elif kind == "blank":
            pdf.ln(3)
        else:
            heading = kind in {"h1", "h2"}
            size = {"h1": look.heading + 3, "h2": look.heading}.get(kind, look.body)
            pdf.set_font(look.font, "B" if heading else "", size)
            text = " ".join(lines).lstrip("#").strip() if heading else " ".join(lines)
            text = "- " + text[2:] if kind == "bullet" else text
            pdf.multi_cell(0, size * 0.5, text, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
            pdf.ln(1.5)
    return bytes(pdf.output())


def main() -> None:
    """Write every PDF of `pdf_text/` into the corpus."""
    for path in sorted(TEXT.glob("*.txt")):
        source = read_source(path)
        (CORPUS / source.file).write_bytes(render(source))
        print(source.file)


if __name__ == "__main__":
    main()
