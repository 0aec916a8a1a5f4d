"""The common message format: conversation keys and JSON, whatever characters they carry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import message

from bots.message import Attachment, Author, ConversationKey, Message, Reply
from engine.types import Citation

ODD = "a:b/c%3A d\n\0é👨‍👩‍👧\u202e"
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def test_a_key_says_where_a_conversation_is():
    assert str(ConversationKey("slack", "T1", "C1", "171.5")) == "slack:T1:C1:171.5"
    assert str(ConversationKey("discord", "7", "8")) == "discord:7:8:"


@given(TEXT, TEXT, TEXT, TEXT)
def test_a_key_is_read_back_whatever_its_parts_are(platform, workspace, channel, thread):
    key = ConversationKey(platform, workspace, channel, thread)
    assert ConversationKey.parse(str(key)) == key
    assert str(key).count(":") == 3


def test_parts_with_colons_do_not_make_two_conversations_one():
    assert str(ConversationKey("a:b", "c", "d")) != str(ConversationKey("a", "b:c", "d"))


@pytest.mark.parametrize("text", ["", "slack", "a:b:c", "a:b:c:d:e"])
def test_what_is_no_key_is_refused(text):
    with pytest.raises(ValueError):
        ConversationKey.parse(text)


@given(TEXT)
def test_a_message_survives_json_with_any_characters(text):
    sent = Message(
        id=f"test:{text}",
        conversation=ConversationKey("test", text, text),
        author=Author(text, text),
        text=text,
        is_private=True,
        attachments=(Attachment(text, text), Attachment("b", problem=text)),
        address={"channel": text},
        job=text,
    )
    assert Message.from_json(sent.to_json()) == sent
    assert Message.from_json(sent.to_json().encode()) == sent


def test_a_reply_survives_json():
    reply = Reply(ODD, "hand_over", 0.25, (Citation(ODD, "Returns", 3, 9, ODD),), "model", {"total_ms": 1.5})
    assert Reply.from_json(reply.to_json()) == reply


@pytest.mark.parametrize(
    ("decision", "belongs"),
    [
        ("answer", True),
        ("ask_back", True),
        ("hand_over", True),
        ("refuse", True),
        ("command", False),
        ("error", False),
    ],
)
def test_commands_and_errors_are_no_part_of_the_conversation(decision, belongs):
    assert Reply("text", decision).is_conversation is belongs


def test_a_message_cannot_be_changed():
    with pytest.raises(AttributeError):
        message().text = "other"
