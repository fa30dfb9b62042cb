from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import InputError
from tests.models import embedded_tokenizer as smollm2
from train.chat_template import add_generation_markers, check_same_text, training_template

TURNS = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text(min_size=1)}),
    min_size=1,
    max_size=5,
)


@cache
def marked() -> str:
    return training_template(smollm2(), base_name="smollm2")


@given(turns=TURNS, open_turn=st.booleans())
def test_the_training_template_renders_the_same_text(turns: list[dict[str, str]], open_turn: bool) -> None:
    own, ours = (
        smollm2().apply_chat_template(turns, chat_template=template, tokenize=False, add_generation_prompt=open_turn)
        for template in (None, marked())
    )
    assert ours == own


def test_exactly_the_assistants_words_and_the_end_of_turn_are_learned() -> None:
    turns = [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "Because [1]."},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": "Yes."},
    ]
    encoded = smollm2().apply_chat_template(
        turns, chat_template=marked(), tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    learned = [token for token, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mask]
    assert smollm2().decode(learned) == "Because [1].<|im_end|>Yes.<|im_end|>"


@pytest.mark.parametrize(
    "turn",
    [
        "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}",
        "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}",
        '{{- "<|im_start|>" + message.role + "\\n" + message.content + "<|im_end|>\\n" }}',
    ],
)
def test_the_usual_spellings_of_the_loop_are_marked(turn: str) -> None:
    template = f"{{% for message in messages %}}{turn}{{% endfor %}}"
    found = add_generation_markers(template)
    assert found is not None
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    own, ours = (smollm2().apply_chat_template(turns, chat_template=t, tokenize=False) for t in (template, found))
    assert ours == own


def test_a_template_without_the_loop_is_left_alone() -> None:
    assert add_generation_markers("{% for m in messages %}{{ m['content'] }}{% endfor %}") is None


class _Other:
    """A tokenizer with another template, rendered by SmolLM2's."""

    def __init__(self, template: str | None) -> None:
        self.chat_template = template

    def apply_chat_template(self, conversation: Any, *, chat_template: str | None = None, **options: Any) -> Any:
        return smollm2().apply_chat_template(conversation, chat_template=chat_template or self.chat_template, **options)


def test_another_text_is_refused() -> None:
    other = _Other("{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}")
    wrong = "{% for message in messages %}{% generation %}{{ message['content'] }}{% endgeneration %}{% endfor %}"
    with pytest.raises(InputError, match="renders other text"):
        training_template(other, given=wrong, base_name="other")
    right = (
        "{% for message in messages %}[{{ message['role'] }}] {% generation %}{{ message['content'] }}"
        "{% endgeneration %}{{ '\n' }}{% endfor %}"
    )
    assert training_template(other, given=right, base_name="other") == right


def test_what_cannot_be_marked_is_refused() -> None:
    with pytest.raises(InputError, match="no chat template"):
        training_template(_Other(None), base_name="raw")
    plain = _Other("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    with pytest.raises(InputError, match="renders other text"):
        check_same_text(plain, "{{ 1 }}", [([{"role": "user", "content": "q"}], [])])
    with pytest.raises(InputError, match="generation"):
        training_template(plain, given="{{ messages[0]['content'] }}", base_name="plain")
