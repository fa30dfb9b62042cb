from __future__ import annotations

import pytest

from train.examples.pointing import pointed_at


@pytest.mark.parametrize(
    "question",
    [
        "What does the passage say about tolls?",
        "According to the text, who keeps the ledger?",
        "What is the main point of this section?",
        "Which tolls are mentioned in the document?",
        "Who wrote the given article?",
        "What is described above?",
        "What follows from the table above?",
        "Why, in the following excerpt, is the ferry late?",
        "What does THIS Paragraph explain?",
    ],
)
def test_pointing(question: str) -> None:
    assert pointed_at(question) is not None


@pytest.mark.parametrize(
    "question",
    [
        "Which section of the Harbour Act sets the toll?",
        "Who signs the document that leaves the yard?",
        "How long is the text of the oath?",
        "What does the author of 'Moorings' advise?",
        "When is the table at the north berth laid?",
        "How far above the water is the lamp?",
        "Where does the passage of the strait begin?",
    ],
)
def test_not_pointing(question: str) -> None:
    assert pointed_at(question) is None
