"""What Slack's events say, as our own objects. Knows neither Slack's servers nor ours.

Each message of a person that is no reply is the root of a thread: in channels, where the answer stands in it,
and in direct messages, where an agent's conversations are such threads (`agent_view`). So a conversation is
always one thread, and a second question in a direct message begins anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bots.message import Attachment, Author, Change, ConversationKey, Message
from bots.platforms.slack.text import mention, plain_text

SUBTYPES = frozenset({None, "file_share", "thread_broadcast"})
"""Of messages that somebody wrote; joins, renamed channels and the like have others."""
CHANGES = frozenset({"message_changed", "message_deleted"})
# What is left of a deleted message that has replies; it comes as a change.
_TOMBSTONE = "tombstone"


@dataclass(frozen=True, slots=True)
class Origin:
    """Which installation an event came to, and who the bot is there."""

    workspace: str
    enterprise: str = ""
    """Set where the app is installed for a whole Enterprise Grid organisation."""
    bot_user: str = ""

    @classmethod
    def of(cls, context: Mapping[str, Any], body: Mapping[str, Any]) -> Origin:
        """`context` is Bolt's, which knows where each kind of body names its workspace."""
        # An organisation's installation may name no workspace: then the event does.
        team = context.get("team_id") or body.get("team_id") or _team_of_user(body)
        is_enterprise = context.get("is_enterprise_install")
        enterprise = context.get("enterprise_id") if is_enterprise else ""
        return cls(team, enterprise or "", context.get("bot_user_id") or "")

    @property
    def address(self) -> dict[str, str]:
        """What a sender needs to find the installation again."""
        return {"enterprise": self.enterprise} if self.enterprise else {}

    def message_id(self, channel: str, ts: str) -> str:
        """The turn's name; it ends in the time from which on the answer can be found."""
        return f"slack:{self.workspace}:{channel}:{ts}"

    def conversation(self, channel: str, thread: str) -> ConversationKey:
        return ConversationKey("slack", self.workspace, channel, thread)


def is_private(event: Mapping[str, Any]) -> bool:
    """Whether nobody but the author reads along; an event of other kinds than messages has no type."""
    return event.get("channel_type") == "im" or str(event["channel"]).startswith("D")


def is_of_person(event: Mapping[str, Any]) -> bool:
    """Whether a person wrote: bots that answer each other would never end."""
    return bool(event.get("user")) and not (event.get("bot_id") or event.get("bot_profile"))


def mentions(event: Mapping[str, Any], user: str) -> bool:
    """Whether the text names `user`."""
    return bool(mention(user).search(event.get("text") or ""))


def conversation_of(event: Mapping[str, Any], origin: Origin) -> ConversationKey:
    """The thread that the message stands in, or begins."""
    return origin.conversation(event["channel"], event.get("thread_ts") or event["ts"])


def message_of(event: Mapping[str, Any], origin: Origin, *, is_direct: bool) -> Message:
    """A message event, or a mention, as a message."""
    return Message(
        id=origin.message_id(event["channel"], event["ts"]),
        conversation=conversation_of(event, origin),
        author=Author(event["user"]),
        text=plain_text(event.get("text") or "", origin.bot_user),
        is_private=is_private(event),
        attachments=tuple(_attachment(found) for found in event.get("files") or ()),
        address=origin.address,
        is_direct=is_direct,
    )


def claims_of(event: Mapping[str, Any], body: Mapping[str, Any], origin: Origin) -> list[str]:
    """Further names under which Slack may deliver the message again, beside its own."""
    event_id, client_id = body.get("event_id"), event.get("client_msg_id")
    names = [f"slack:event:{event_id}"] if event_id else []
    return [*names, *([f"slack:client:{origin.workspace}:{client_id}"] if client_id else [])]


def subject_of(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """The message that was changed, as an event of its own with both texts; None when no person wrote it."""
    before = event.get("previous_message") or {}
    now = before if _is_deletion(event) else event.get("message") or {}
    if not is_of_person(now) or now.get("subtype") not in SUBTYPES:
        return None
    texts = f"{before.get('text') or ''}\n{now.get('text') or ''}"
    return {
        **now,
        "channel": event["channel"],
        "channel_type": event.get("channel_type"),
        "text": texts,
    }


def change_of(event: Mapping[str, Any], subject: Mapping[str, Any], origin: Origin) -> Change | None:
    """A message_changed or message_deleted event; None where the text stays: links were unfurled."""
    old = (event.get("previous_message") or {}).get("text") or ""
    new = (event.get("message") or {}).get("text") or ""
    is_deletion = _is_deletion(event)
    if not is_deletion and old == new:
        return None
    return Change(
        kind="delete" if is_deletion else "edit",
        conversation=conversation_of(subject, origin),
        message_id=origin.message_id(subject["channel"], subject["ts"]),
        author_id=subject["user"],
        text="" if is_deletion else plain_text(new, origin.bot_user),
    )


def stop_of(event: Mapping[str, Any], origin: Origin) -> Change:
    """The native stop button of an agent session."""
    conversation = origin.conversation(event["channel"], event.get("thread_ts") or "")
    return Change("stop", conversation, author_id=event.get("user") or "")


def _is_deletion(event: Mapping[str, Any]) -> bool:
    is_tombstone = (event.get("message") or {}).get("subtype") == _TOMBSTONE
    return event["subtype"] == "message_deleted" or is_tombstone


def _team_of_user(body: Mapping[str, Any]) -> str:
    user = body.get("user")
    return (user.get("team_id") or "") if isinstance(user, dict) else ""


def _attachment(found: Mapping[str, Any]) -> Attachment:
    """A file as Slack names it; a worker fetches it, for an event must be acknowledged within 3 seconds."""
    name, size = str(found.get("name") or found.get("id")), found.get("size") or 0
    if found.get("is_external") or found.get("mode") == "external":
        return Attachment(name, problem="not_uploaded")
    if not found.get("url_private"):
        return Attachment(name, problem="not_fetched")
    return Attachment(name, url=found["url_private"], size=size)
