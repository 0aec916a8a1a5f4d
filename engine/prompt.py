"""How a conversation becomes the text that a model reads; training and answering share it.

Everything that may change from turn to turn comes last (passages beside the message), so that what the
model computed for earlier turns stays a prefix.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from engine.types import ChatTurn

SYSTEM = (
    "You are {persona}. Answer the customer in the customer's language, briefly and only from the "
    "help passages given. If they do not hold the answer, say that you do not know."
)
# For models that bring no chat template: plain roles, each turn ended by the end-of-text token.
PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{{ message['role'] }}: {{ message['content'] }}{{ eos_token }}\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def system_turn(persona: str) -> ChatTurn:
    """The system prompt, speaking as `persona`."""
    return ChatTurn("system", SYSTEM.format(persona=persona))


def ask(passages: Sequence[str], message: str) -> ChatTurn:
    """The customer's turn, with the passages that may answer it before the message."""
    if not passages:
        return ChatTurn("user", message)
    listed = "\n\n".join(passages)
    return ChatTurn("user", f"Help passages:\n{listed}\n\nQuestion: {message}")


def encode(tokenizer: Any, turns: Sequence[ChatTurn], *, reply: bool = True) -> list[int]:
    """Token ids of the turns; with `reply` the model is asked to speak next.

    A tokenizer without a chat template gets `PLAIN_TEMPLATE`; one whose template refuses a system turn
    (Gemma's does) gets it as the beginning of the first user turn. Special tokens that somebody typed are
    broken up, so that they stay text.
    """
    messages = [{"role": turn.role, "content": _disarmed(tokenizer, turn.content)} for turn in turns]
    template = None if tokenizer.chat_template else PLAIN_TEMPLATE
    try:
        text = _render(tokenizer, messages, template, reply)
    except Exception:
        if len(messages) < 2 or messages[0]["role"] != "system":
            raise
        first = {"role": "user", "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
        text = _render(tokenizer, [first, *messages[2:]], template, reply)
    token_ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return token_ids


def _disarmed(tokenizer: Any, text: str) -> str:
    """The text, a zero-width space in each special token: nobody may end a turn by typing its end."""
    special = _special_tokens(tokenizer)
    return special.sub(lambda match: f"{match[0][0]}\u200b{match[0][1:]}", text) if special else text


@lru_cache(maxsize=8)
def _special_tokens(tokenizer: Any) -> re.Pattern[str] | None:
    added = (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
    tokens = {token for token in (*tokenizer.all_special_tokens, *added) if len(token) > 1}
    return re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True)))) if tokens else None


def _render(tokenizer: Any, messages: list[dict[str, str]], template: str | None, reply: bool) -> str:
    text: str = tokenizer.apply_chat_template(
        messages, chat_template=template, tokenize=False, add_generation_prompt=reply
    )
    return text
