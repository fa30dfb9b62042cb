"""Context assembly: passages and a prompt become the system message that the model was trained to read.

The demo builds its training rows with the same functions, so that an adapter is served in the shape it was trained in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from indexer.passages import Passage

# A message of a chat request: role and content, plus whatever else the client sent (tool calls, names).
ChatMessage = dict[str, JsonValue]

CONTEXT_HEADER = "Answer from the numbered passages and cite them like [1]. If they do not say, say so."


@dataclass(frozen=True, slots=True)
class Assembly:
    """What the model will see.

    Attributes:
        messages: The request's messages with one system message in front.
        passages: Passages that went in, in the order of their numbers; passages[0] is [1].
        dropped: Passages that did not fit the budget; copies of others are not counted.
        context_tokens: Tokens of the passages that went in, by the base model's tokenizer.
    """

    messages: list[ChatMessage]
    passages: tuple[Passage, ...]
    dropped: int
    context_tokens: int


def render_passage(number: int, passage: Passage) -> str:
    """One numbered passage, as the model reads it: `[1] Title > Heading` and the text below.

    Headings that open the chunk's own text are left out of it: they stand in the first line already.
    """
    paragraphs = passage.text.strip().split("\n\n")
    while len(paragraphs) > 1 and paragraphs[0].strip() in passage.places:
        del paragraphs[0]
    return f"[{number}] {' > '.join(passage.places)}\n" + "\n\n".join(paragraphs)


def render_system(prompt: str | None, client_system: str | None, passages: Sequence[str]) -> str | None:
    """The system message's text; None when there is nothing to say.

    Args:
        prompt: The specialist's own prompt.
        client_system: What the client sent as system message.
        passages: Rendered passages; empty when there is no retrieval or it found nothing.
    """
    parts = [part.strip() for part in (prompt, client_system) if part and part.strip()]
    if passages:
        parts += [CONTEXT_HEADER, *passages]
    return "\n\n".join(parts) or None


def message_text(message: ChatMessage) -> str:
    """The text of a message; of a list of content parts, the text parts joined."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text", "") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return "\n".join(text for text in texts if isinstance(text, str))
    return ""


def question_of(messages: Sequence[ChatMessage]) -> str:
    """The text that retrieval searches for: the last user message; empty when there is none."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return message_text(message).strip()
    return ""


def assemble(
    messages: Sequence[ChatMessage],
    *,
    prompt: str | None,
    passages: Sequence[Passage],
    max_context_tokens: int,
    max_model_len: int,
    max_new_tokens: int,
    count_tokens: Callable[[str], int],
    besides: str = "",
) -> Assembly:
    """Put a prompt and as many passages as fit before a conversation.

    Passages keep their order, best first, so that equal results give equal prefixes for the engine's prefix cache; the
    first one that does not fit is dropped and smaller ones behind it may still go in. Of passages with the same text,
    from copies of a document, the best goes in.

    Args:
        messages: The request's chat messages.
        prompt: The specialist's system prompt.
        passages: What retrieval found, best first.
        max_context_tokens: Tokens that passages may take at most.
        max_model_len: The engine's context length, in tokens.
        max_new_tokens: Tokens the request may generate; they are kept free.
        count_tokens: Counts a text's tokens with the base model's tokenizer.
        besides: What the chat template puts before the model besides messages, such as tools; it has to fit, too.
    """
    client_system = "\n\n".join(message_text(m) for m in messages if m.get("role") == "system") or None
    conversation = [m for m in messages if m.get("role") != "system"]
    budget = 0
    if passages:  # without them nothing has to fit, and nothing is counted
        # Eight tokens per message cover the role markers of the common chat templates (ChatML takes five).
        fixed = count_tokens(render_system(prompt, client_system, ()) or "") + count_tokens(CONTEXT_HEADER)
        fixed += sum(count_tokens(message_text(m)) for m in conversation) + 8 * (len(conversation) + 1)
        fixed += count_tokens(besides) if besides else 0
        budget = min(max_context_tokens, max_model_len - max_new_tokens - fixed)

    kept: list[Passage] = []
    rendered: list[str] = []
    used, texts = 0, set[str]()
    for passage in passages:
        if passage.text.strip() in texts:
            continue
        texts.add(passage.text.strip())
        text = render_passage(len(kept) + 1, passage)
        tokens = count_tokens(text) + 2
        if used + tokens > budget:
            continue
        kept.append(passage)
        rendered.append(text)
        used += tokens
    system = render_system(prompt, client_system, rendered)
    front: list[ChatMessage] = [{"role": "system", "content": system}] if system else []
    return Assembly(
        messages=front + conversation,
        passages=tuple(kept),
        dropped=len(texts) - len(kept),
        context_tokens=used,
    )
