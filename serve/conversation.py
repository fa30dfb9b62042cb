"""What a conversation is searched for: its last question, with the ones before it where that leans on them.

By rules, for a model would cost a generation before the search; the words are English, other languages' questions are
taken as they are unless they are short.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from indexer.fusion import STOP_WORDS
from serve.prompt import ChatMessage, message_text, question_of

# fmt: off
_REFERRING = frozenset({
    "another", "former", "he", "her", "him", "his", "it", "its", "latter", "one", "ones", "other", "others", "same",
    "she", "that", "their", "them", "there", "these", "they", "this", "those",
})
_SMALL_TALK = frozenset({
    "bye", "cool", "fine", "good", "goodbye", "great", "hello", "hey", "hi", "morning", "nice", "ok", "okay", "please",
    "perfect", "sorry", "sure", "thank", "thanks", "thx", "welcome", "well", "yes", "no",
})
_FILLING = frozenset({"again", "all", "day", "lot", "much", "oh", "really", "right"})
# fmt: on
MAX_TURNS = 5  # user messages that a search may be made of: what the embedder reads is a few sentences
# A question with fewer words that mean something says too little by itself: "And in winter?"
_FEW_WORDS = 3
_WORD = re.compile(r"[\w'’]+")


def search_query(messages: Sequence[ChatMessage], *, turns: int) -> str:
    """The text that is searched for; empty where no user has said anything.

    Args:
        messages: The conversation.
        turns: User messages that it may be made of at most, the last one counted.
    """
    last = question_of(messages)
    if not last:
        return ""
    said = [text for message in messages if message.get("role") == "user" and (text := message_text(message).strip())]
    parts = [last]
    for earlier in reversed(said[:-1]):
        if len(parts) >= turns or not leans(parts[0]):
            break
        parts.insert(0, earlier)
    return "\n".join(parts)


def leans(question: str) -> bool:
    """Whether a question is hardly one without those before it: it is short, or refers to something."""
    words = _words(question)
    return any(word in _REFERRING for word in words) or len(_telling(words)) < _FEW_WORDS


def is_small_talk(text: str) -> bool:
    """Whether there is nothing in a text that could be looked up, as in "Thanks a lot!"; a question never is."""
    words = _words(text)
    if "?" in text or not any(word in _SMALL_TALK for word in words):
        return False
    return all(word in _SMALL_TALK or word in _FILLING or word in STOP_WORDS for word in words)


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def _telling(words: Sequence[str]) -> list[str]:
    return [word for word in words if word not in STOP_WORDS and word not in _SMALL_TALK]
