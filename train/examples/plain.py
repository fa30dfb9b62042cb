"""Rows of a question and its answer alone, after Balaguer et al., "RAG vs Fine-tuning" (arXiv 2401.08406). Pure."""

from __future__ import annotations

from train.examples.types import Answered, Layout, Row
from train.markers import cited, without_markers


def plain_row(answered: Answered, *, layout: Layout, prompt: str | None) -> Row:
    """Make the row of a question; without passages there is nothing to cite, so that markers go.

    It is made of its golden chunk and of what the answer cites; of all that was shown where it cites nothing.
    """
    question, shown = answered.question, answered.shown
    numbers = [number for number in cited(answered.answer) if 1 <= number <= len(shown)]
    used = {question.golden.chunk_id: question.golden}
    used |= {passage.chunk_id: passage for passage in ([shown[number - 1] for number in numbers] or shown)}
    messages = layout(question.text, prompt=prompt, passages=())
    return Row(
        messages=(*messages, {"role": "assistant", "content": without_markers(answered.answer)}),
        kind="closed",
        golden=question.golden.chunk_id,
        documents=tuple(dict.fromkeys(passage.document_id for passage in used.values())),
        chunks=tuple(used),
        side=question.side,
    )
