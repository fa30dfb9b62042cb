"""What the demo's README claims of its corpus and questions, measured."""

from __future__ import annotations

import json
import re
from calendar import day_name, month_name
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from difflib import SequenceMatcher
from io import BytesIO
from itertools import combinations
from pathlib import Path

import pytest
from pypdf import PdfReader
from rank_bm25 import BM25Okapi
from selectolax.lexbor import LexborHTMLParser

import deploy
from deploy.demo.scoring import count_present, has_all
from tests.deploy.demo.corpus_facts import GENERAL_RULE, SAME_KIND, WOULD_ANSWER
from train.wording import is_refusal, words

DEMO = Path(deploy.__file__).parent / "demo"
CORPUS = DEMO / "corpus"
README = " ".join((DEMO / "README.md").read_text(encoding="utf-8").split())

NEAR_DUPLICATE = 0.3  # Jaccard similarity of word shingles; unrelated prose is below 0.02
SAME_TEMPLATE = 0.8  # similarity of skeletons; a form filled in twice is above 0.95
FURNITURE = "nav, header, footer, aside, script, style, head"


@dataclass(frozen=True)
class Row:
    id: str
    question: str
    answer: str
    must_include: tuple[str, ...]
    sources: tuple[str, ...]
    kind: str
    split: str


def _html_text(path: Path) -> str:
    tree = LexborHTMLParser(path.read_text(encoding="utf-8"))
    for node in tree.css(FURNITURE):
        node.decompose()
    assert tree.body is not None
    return tree.body.text(separator=" ")


def _read(path: Path) -> dict[str, str]:
    key = path.relative_to(CORPUS).as_posix()
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        assert all(set(row) == {"id", "title", "text"} for row in rows)
        return {f"{key}#{row['id']}": f"{row['title']}\n{row['text']}" for row in rows}
    if path.suffix == ".pdf":
        return {key: "\n".join(page.extract_text() for page in PdfReader(path).pages)}
    return {key: _html_text(path) if path.suffix == ".html" else path.read_text(encoding="utf-8")}


@pytest.fixture(scope="module")
def documents() -> dict[str, str]:
    return {key: text for path in sorted(CORPUS.rglob("*")) if path.is_file() for key, text in _read(path).items()}


@pytest.fixture(scope="module")
def questions() -> list[Row]:
    rows = [json.loads(line) for line in (DEMO / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
    return [
        Row(**{name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}) for row in rows
    ]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _shingles(text: str, size: int) -> frozenset[tuple[str, ...]]:
    words = _words(text)
    return frozenset(tuple(words[start : start + size]) for start in range(len(words) - size + 1))


def _near_duplicates(texts: Mapping[str, str], *, size: int) -> tuple[float, float]:
    """Share of texts that have a near-duplicate, and the greatest similarity of any pair."""
    shingles = {key: _shingles(text, size) for key, text in texts.items()}
    double: set[str] = set()
    greatest = 0.0
    for one, other in combinations(shingles, 2):
        union = len(shingles[one] | shingles[other])
        similarity = len(shingles[one] & shingles[other]) / union if union else 0.0
        greatest = max(greatest, similarity)
        if similarity >= NEAR_DUPLICATE:
            double |= {one, other}
    return len(double) / len(texts), greatest


LINE_SHAPES = (
    ("h1", r"# "),
    ("h2", r"## "),
    ("h3", r"### "),
    ("check", r"- \[ \]"),
    ("bullet", r"\s*[-*] "),
    ("row", r"\|"),
    ("quote", r">"),
    ("number", r"\s*\d+[.)] "),
    ("clause", r"\d+\.\d+"),
    ("time", r"\d\d:\d\d"),
    ("bold", r"\*\*"),
    ("italic", r"\*"),
    ("field", r"[\w .]{2,28}: "),
    ("indent", r"\s{4,}"),
)


def _size(text: str) -> str:
    return "abcd"[sum(len(text.split()) > limit for limit in (8, 20, 45))]


def _skeleton(key: str, text: str) -> list[str]:
    """The shape of a document without its words: kinds and rough lengths of its lines, elements or clauses."""
    if key.endswith(".html"):
        tree = LexborHTMLParser((CORPUS / key).read_text(encoding="utf-8"))
        for node in tree.css(FURNITURE):
            node.decompose()
        return [f"{n.tag} {_size(n.text())}" for n in tree.css("h1,h2,h3,p,ul,ol,li,dl,dt,dd,table,tr,blockquote")]
    if "#" in key:
        return [_size(clause) for clause in re.split(r"(?<=[.?!:;]) |--|//", text)]
    lines = [line for line in text.splitlines() if line.strip()]
    return [next((n for n, p in LINE_SHAPES if re.match(p, line)), "text") + _size(line) for line in lines]


def _alike(one: Sequence[str], other: Sequence[str]) -> float:
    return SequenceMatcher(None, one, other, autojunk=False).ratio()


def _format(key: str) -> str:
    return Path(key.split("#", maxsplit=1)[0]).suffix


def test_documents_per_format(documents: dict[str, str]) -> None:
    assert Counter(map(_format, documents)) == {".md": 17, ".html": 10, ".txt": 9, ".pdf": 4, ".jsonl": 8}
    assert sum(len(PdfReader(path).pages) >= 2 for path in CORPUS.rglob("*.pdf")) >= 2
    for path in CORPUS.rglob("*.html"):
        tree = LexborHTMLParser(path.read_text(encoding="utf-8"))
        assert tree.css_first("nav"), path
        assert tree.css_first("footer"), path


def test_documents_are_of_a_readable_length(documents: dict[str, str]) -> None:
    lengths = {key: len(text.split()) for key, text in documents.items()}
    assert {key: length for key, length in lengths.items() if not 180 <= length <= 450} == {}


def test_questions_per_kind_and_split(questions: list[Row]) -> None:
    kinds = Counter(row.kind for row in questions)
    assert kinds == {"single": 98, "two_documents": 29, "confusable_number": 36, "exception": 27, "unanswerable": 27}
    held_out = Counter(row.kind for row in questions if row.split == "test")
    assert sum(held_out.values()) == 93
    assert set(held_out) == set(kinds)
    assert len({row.id for row in questions}) == len({row.question for row in questions}) == len(questions) == 217


def test_every_source_exists_and_every_document_is_asked_about(documents: dict[str, str], questions: list[Row]) -> None:
    assert {source for row in questions for source in row.sources} == set(documents)
    assert all(row.sources for row in questions)


def test_split_is_by_document(questions: list[Row]) -> None:
    sides = {split: {s for row in questions if row.split == split for s in row.sources} for split in ("train", "test")}
    assert sides["train"] & sides["test"] == set()
    assert (len(sides["train"]), len(sides["test"])) == (29, 19)


def test_required_phrases_stand_in_the_sources_and_in_the_gold_answer(
    documents: dict[str, str], questions: list[Row]
) -> None:
    for row in questions:
        assert 1 <= len(row.answer.split()) <= 25, row
        assert has_all(row.answer, row.must_include), row
        if row.kind != "unanswerable":
            text = "\n".join(documents[source] for source in row.sources)
            assert count_present(text, row.must_include) == len(row.must_include), row
            assert not is_refusal(row.answer), row


def test_two_documents_are_needed(documents: dict[str, str], questions: list[Row]) -> None:
    for row in questions:
        if row.kind == "two_documents":
            assert len(row.sources) == 2, row
            assert not any(has_all(documents[source], row.must_include) for source in row.sources), row


_COUNTED = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
NUMBER_WORDS = {word: str(number) for number, word in enumerate(words(_COUNTED), start=1)}


def _ids(questions: Sequence[Row], kind: str) -> set[str]:
    return {row.id for row in questions if row.kind == kind}


def _flat(text: str) -> str:
    return " ".join(text.split()).casefold()


def _number(text: str) -> tuple[str, ...]:
    """A number as words, twelve and 12 alike."""
    return tuple(NUMBER_WORDS.get(word, word) for word in words(text))


def _numbers(patterns: Sequence[str], texts: Iterable[str]) -> set[tuple[str, ...]]:
    flat = [_flat(text) for text in texts]
    return {
        _number(group)
        for text in flat
        for pattern in patterns
        for match in re.finditer(pattern, text)
        for group in match.groups()
    }


def _holds(phrase: str, number: tuple[str, ...]) -> bool:
    found = _number(phrase)
    return any(found[start : start + len(number)] == number for start in range(len(found)))


def test_confusable_questions_turn_on_a_number_that_stands_elsewhere_with_another_value(
    documents: dict[str, str], questions: list[Row]
) -> None:
    assert SAME_KIND.keys() == _ids(questions, "confusable_number")
    for row in questions:
        if row.kind == "confusable_number":
            own = _numbers(SAME_KIND[row.id], (documents[source] for source in row.sources))
            right = {number for number in own if any(_holds(phrase, number) for phrase in row.must_include)}
            assert len(right) == 1, row
            others = _numbers(SAME_KIND[row.id], documents.values()) - right
            assert others, row
            assert not any(_holds(phrase, number) for phrase in row.must_include for number in others), row


def test_answering_an_exception_by_the_general_rule_is_wrong(documents: dict[str, str], questions: list[Row]) -> None:
    assert GENERAL_RULE.keys() == _ids(questions, "exception")
    for row in questions:
        if row.kind == "exception":
            text = _flat("\n".join(documents[source] for source in row.sources))
            rule = re.search(GENERAL_RULE[row.id], text)
            assert rule is not None, row
            assert not has_all(rule[0], row.must_include), row
            assert has_all(text, row.must_include), row


def test_unanswerable_questions_are_not_answered_anywhere(documents: dict[str, str], questions: list[Row]) -> None:
    unanswerable = [row for row in questions if row.kind == "unanswerable"]
    assert all(row.must_include == ("do not say",) and is_refusal(row.answer) for row in unanswerable)
    assert WOULD_ANSWER.keys() == _ids(questions, "unanswerable")
    for row in unanswerable:
        pattern, sentence = WOULD_ANSWER[row.id]
        assert re.search(pattern, sentence, re.IGNORECASE), row
        found = [key for key, text in documents.items() if re.search(pattern, " ".join(text.split()), re.IGNORECASE)]
        assert found == [], row


def test_near_duplicates(documents: dict[str, str], questions: list[Row]) -> None:
    share, greatest = _near_duplicates(documents, size=5)
    print(f"documents with a near-duplicate: {share:.1%}, greatest similarity {greatest:.3f}")
    assert share < 0.05
    share, greatest = _near_duplicates({row.id: row.question for row in questions}, size=3)
    print(f"questions with a near-duplicate: {share:.1%}, greatest similarity {greatest:.3f}")
    assert share < 0.05


def test_near_duplicates_would_be_noticed(documents: dict[str, str]) -> None:
    text = documents["rules/working-rules-7.md"]
    assert _near_duplicates({"a": text, "b": text.replace("Grey Hetty", "Tamsel")}, size=5)[0] == 1.0


def test_no_two_documents_share_a_template(documents: dict[str, str]) -> None:
    skeletons = {key: _skeleton(key, text) for key, text in documents.items()}
    pairs = [pair for pair in combinations(skeletons, 2) if _format(pair[0]) == _format(pair[1])]
    alike = {pair: _alike(skeletons[pair[0]], skeletons[pair[1]]) for pair in pairs}
    closest = max(alike, key=lambda pair: alike[pair])
    print(f"closest skeletons: {alike[closest]:.2f}, {' and '.join(closest)}")
    assert alike[closest] < SAME_TEMPLATE


@pytest.mark.parametrize("key", ["people/when-it-goes-wrong.md", "works/tickets.jsonl#VX-2240", "tolls/tolls-2025.md"])
def test_a_template_filled_in_twice_would_be_noticed(documents: dict[str, str], key: str) -> None:
    text = documents[key]
    other = re.sub(r"\d", "4", text).replace("Hetty", "Wickerel").replace("the", "that")
    assert _alike(_skeleton(key, text), _skeleton(key, other)) > 0.95


def _bm25(documents: dict[str, str], questions: Sequence[Row]) -> dict[str, list[str]]:
    """For each answerable question's id the documents, best first."""
    keys = list(documents)
    ranking = BM25Okapi([_words(documents[key]) for key in keys])
    found: dict[str, list[str]] = {}
    for row in questions:
        if row.kind != "unanswerable":
            scores = ranking.get_scores(_words(row.question))
            found[row.id] = [keys[place] for place in sorted(range(len(keys)), key=lambda place: -scores[place])]
    return found


def test_bm25_alone_does_not_answer_all(documents: dict[str, str], questions: list[Row]) -> None:
    ranked = _bm25(documents, questions)
    hits: dict[str, list[bool]] = {}
    for row in questions:
        if row.id in ranked:
            for group in ("all", row.kind, row.split):
                hits.setdefault(group, []).append(ranked[row.id][0] in row.sources)
    shares = {group: sum(found) / len(found) for group, found in hits.items()}
    print("BM25 puts a gold document first: " + ", ".join(f"{group} {share:.0%}" for group, share in shares.items()))
    assert 0.5 < shares["all"] < 0.85
    assert 0.5 < shares["test"] < 0.85
    claimed = re.search(r"first for (\d+) per cent of the answerable questions", README)
    assert claimed is not None
    assert round(100 * shares["all"]) == int(claimed[1])


def test_bm25_seldom_finds_both_of_two_documents(documents: dict[str, str], questions: list[Row]) -> None:
    ranked = _bm25(documents, questions)
    both = [set(row.sources) <= set(ranked[row.id][:4]) for row in questions if row.kind == "two_documents"]
    print(f"BM25 puts both gold documents into the first four for {sum(both)} of {len(both)} two-document questions")
    assert "both into the first four for fewer than half" in README
    assert 0.25 < sum(both) / len(both) < 0.5


def test_weekdays_agree_with_the_calendar(documents: dict[str, str]) -> None:
    days, months = list(day_name), list(month_name)
    names = "|".join([*days, *(day[:3] for day in days)])
    pattern = re.compile(rf"\b({names}) (\d\d?) ([A-Z][a-z]{{2,8}}) (\d{{4}})")
    wrong: list[str] = []
    seen = 0
    for key, text in documents.items():
        for day, number, month, year in pattern.findall(" ".join(text.split())):
            place = next(place for place, name in enumerate(months) if place and name.startswith(month))
            seen += 1
            if not days[date(int(year), place, int(number)).weekday()].startswith(day):
                wrong.append(f"{key}: {day} {number} {month} {year}")
    assert wrong == []
    assert seen > 30


def test_sums_in_the_conversion_account_add_up(documents: dict[str, str]) -> None:
    account = documents["boats/quiet-water-budget.md"]
    rows = re.findall(r"^\| (.+?) \| ([\d,]+) \| ([\d,]+) \| ([+-][\d,]+) \|$", account, re.MULTILINE)
    values = [[int(cell.replace(",", "")) for cell in row[1:]] for row in rows]
    assert len(values) == 6
    assert [sum(column) for column in zip(*values, strict=True)] == [1_180_000, 1_246_000, 66_000]
    assert all(spent - approved == difference for approved, spent, difference in values)


def test_committed_pdfs_hold_their_source_text() -> None:
    pytest.importorskip("fpdf", reason="fpdf2 is needed to set the PDFs anew")
    from deploy.demo.corpus_pdf import TEXT, read_source, render

    sources = [read_source(path) for path in sorted(TEXT.glob("*.txt"))]
    assert {source.file for source in sources} == {p.relative_to(CORPUS).as_posix() for p in CORPUS.rglob("*.pdf")}
    for source in sources:
        fresh = render(source)
        assert fresh == render(source)
        pages = [page.extract_text() for page in PdfReader(BytesIO(fresh)).pages]
        assert pages == [page.extract_text() for page in PdfReader(CORPUS / source.file).pages], source.file
