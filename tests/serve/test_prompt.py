from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from indexer.passages import Passage
from serve.prompt import CONTEXT_HEADER, Assembly, ChatMessage, assemble, question_of, render_passage


def words(text: str) -> int:
    return len(text.split())


def passage(text: str, *, title: str = "Ropes", heading: tuple[str, ...] = ("Care",)) -> Passage:
    return Passage(
        chunk_id="c",
        document_id="d",
        title=title,
        heading_path=heading,
        uri="u",
        page=None,
        ordinal=0,
        text=text,
        score=1,
    )


def build(messages: list[ChatMessage], passages: list[Passage], **overrides: int) -> Assembly:
    budget = {"max_context_tokens": 100, "max_model_len": 1000, "max_new_tokens": 50, **overrides}
    return assemble(messages, prompt="You keep ropes.", passages=passages, count_tokens=words, **budget)


def test_one_system_message_in_front_with_prompt_client_system_and_passages() -> None:
    assembly = build(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How long?"}],
        [passage("Twelve metres."), passage("Tar yearly.")],
    )
    system, user = assembly.messages
    assert system == {
        "role": "system",
        "content": "You keep ropes.\n\nBe brief.\n\n" + CONTEXT_HEADER + "\n\n[1] Ropes > Care\nTwelve metres.\n\n"
        "[2] Ropes > Care\nTar yearly.",
    }
    assert user == {"role": "user", "content": "How long?"}
    assert len(assembly.passages) == 2
    assert assembly.dropped == 0


def test_without_passages_and_prompt_the_conversation_is_untouched() -> None:
    messages: list[ChatMessage] = [{"role": "user", "content": "Hello"}]
    assembly = assemble(
        messages,
        prompt=None,
        passages=[],
        max_context_tokens=100,
        max_model_len=100,
        max_new_tokens=10,
        count_tokens=words,
    )
    assert assembly.messages == messages


def test_without_passages_nothing_is_counted() -> None:
    def refuse(text: str) -> int:
        raise AssertionError(f"counted {text!r}")

    assembly = assemble(
        [{"role": "user", "content": "How long? " * 1000}],
        prompt="You keep ropes.",
        passages=[],
        max_context_tokens=100,
        max_model_len=100,
        max_new_tokens=10,
        count_tokens=refuse,
    )
    assert assembly.messages[0] == {"role": "system", "content": "You keep ropes."}


def test_a_passage_over_the_budget_is_dropped_and_a_smaller_one_behind_it_takes_its_number() -> None:
    assembly = build([{"role": "user", "content": "q"}], [passage("word " * 200), passage("short")])
    assert [p.text for p in assembly.passages] == ["short"]
    assert assembly.dropped == 1
    assert "[1] Ropes > Care\nshort" in str(assembly.messages[0]["content"])


def test_of_copies_the_best_goes_in() -> None:
    copies = [passage("Tar yearly.", title="A"), passage("Coil it.\n"), passage("Tar yearly. ", title="B")]
    assembly = build([{"role": "user", "content": "q"}], copies)
    assert [(p.title, p.text) for p in assembly.passages] == [("A", "Tar yearly."), ("Ropes", "Coil it.\n")]
    assert assembly.dropped == 0


def test_what_stands_besides_the_messages_has_to_fit_too() -> None:
    question: list[ChatMessage] = [{"role": "user", "content": "q"}]
    found = [passage("word " * 40)]
    room = {"prompt": None, "max_context_tokens": 100, "max_model_len": 140, "max_new_tokens": 50}
    assert assemble(question, passages=found, count_tokens=words, **room).passages  # type: ignore[arg-type]
    crowded = assemble(question, passages=found, count_tokens=words, besides="tool " * 20, **room)  # type: ignore[arg-type]
    assert (crowded.passages, crowded.dropped) == ((), 1)


@given(
    st.lists(st.integers(1, 120), max_size=8),
    st.integers(1, 400),
    st.integers(1, 300),
)
def test_the_context_never_exceeds_its_budget(sizes: list[int], question: int, new_tokens: int) -> None:
    assembly = build(
        [{"role": "user", "content": "q " * question}],
        [passage(f"w{number} " * size) for number, size in enumerate(sizes)],
        max_model_len=500,
        max_new_tokens=new_tokens,
    )
    total = sum(words(str(m["content"])) for m in assembly.messages)
    if assembly.passages:
        assert assembly.context_tokens <= 100
        assert total + new_tokens <= 500
    assert assembly.dropped + len(assembly.passages) == len(sizes)


def test_a_heading_that_repeats_the_title_is_named_once() -> None:
    assert render_passage(3, passage("x", title="Care", heading=("Care", "Tar"))) == "[3] Care > Tar\nx"


def test_headings_that_open_the_text_are_not_repeated() -> None:
    chunk = passage("Ropes\n\nCare\n\nTar them.\n\nCare", title="Ropes", heading=("Ropes", "Care"))
    assert render_passage(1, chunk) == "[1] Ropes > Care\nTar them.\n\nCare"
    assert render_passage(1, passage("Care")) == "[1] Ropes > Care\nCare"


def test_the_question_is_the_last_user_message_in_text_or_parts() -> None:
    parts = [{"type": "text", "text": "How"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "long?"}]
    assert question_of([{"role": "user", "content": "first"}, {"role": "user", "content": parts}]) == "How\nlong?"
    assert question_of([{"role": "assistant", "content": "hi"}]) == ""
