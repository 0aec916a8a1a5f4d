"""How a conversation becomes the text that a model reads; training and answering share it.

Texts stand in `engine/data/prompts`, one file a purpose. Everything that may change from turn to turn comes
last (passages beside the message), so that what the model computed for earlier turns stays a prefix.
Passages and texts are data between tags, which nothing inside them can close or open.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from engine.language.languages import NAMES
from engine.library.visible import seen, visible
from engine.types import ChatTurn

# For models that bring no chat template: plain roles, each turn ended by the end-of-text token.
PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{{ message['role'] }}: {{ message['content'] }}{{ eos_token }}\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
_FOLDER = Path(__file__).parent / "data" / "prompts"
_MOST_PERSONA_CHARACTERS = 200
# So many words in a row are no chance.
_RUN = 5
# What could be read as the beginning of a tag, with the brackets and the spacing that somebody might try.
_BRACKET = re.compile(r"[<＜﹤‹〈⟨](?=[\s/／\\]{0,8}(\w{4,10}))")
_TAGS = ("passage", "text", "notes")
# Letters of other scripts that look like those of our tags and are not made Latin by NFKC.
_LOOKALIKES = str.maketrans("рρаαɑѕꜱɡցеҽтτхχոпоο", "ppaaassggeettxxnnoo")


def system_turn(persona: str) -> ChatTurn:
    """The system prompt, speaking as `persona`: a name, kept to one line."""
    name = " ".join(visible(persona).split())[:_MOST_PERSONA_CHARACTERS]
    return ChatTurn("system", _template("system").format(persona=name))


def with_summary(system: ChatTurn | None, summary: str) -> ChatTurn:
    """The system turn with what was said before the turns that follow it."""
    head = system.content if system else ""
    text = _template("earlier").format(system=head, summary=as_data(summary))
    return ChatTurn("system", text.strip())


def ask(passages: Sequence[str], message: str, language: str = "") -> ChatTurn:
    """The customer's turn, with the passages that may answer it before the message.

    Parameters
      language: to answer in, ISO 639-1; without it the customer's own, whatever it is
    """
    if not passages:
        return ChatTurn("user", message)
    listed = [
        _template("passage").format(number=number, text=as_data(visible(text)))
        for number, text in enumerate(passages, 1)
    ]
    return fill("answer", language, count=len(passages), passages="\n".join(listed), message=as_data(message))


def fill(purpose: str, language: str, **values: object) -> ChatTurn:
    """The template of `engine/data/prompts` for one purpose as the user's turn, with `values` as they are.

    What somebody else wrote goes through `as_data` first.
    """
    named = NAMES.get(language, "the customer's language")
    return ChatTurn("user", _template(purpose).format(language=named, **values))


def as_data(text: str) -> str:
    """What somebody else wrote, ready to stand between tags: without unseen characters and tags of ours."""
    return _BRACKET.sub(lambda found: "(" if _is_tag(found[1]) else found[0], seen(text))


def repeats_prompt(sentence: str) -> bool:
    """Whether a sentence has five words in a row of our own instructions to the model."""
    return not _runs(sentence).isdisjoint(_own_runs())


@cache
def _own_runs() -> frozenset[tuple[str, ...]]:
    return frozenset().union(*(_runs(path.read_text(encoding="utf-8")) for path in _FOLDER.glob("*.txt")))


def _runs(text: str) -> frozenset[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return frozenset(zip(*(words[start:] for start in range(_RUN)), strict=False))


def _is_tag(word: str) -> bool:
    plain = unicodedata.normalize("NFKC", word).casefold().translate(_LOOKALIKES)
    return plain.startswith(_TAGS)


@cache
def _template(purpose: str) -> str:
    return (_FOLDER / f"{purpose}.txt").read_text(encoding="utf-8").strip()


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
