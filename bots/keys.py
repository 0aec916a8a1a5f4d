"""Every Redis key that the chat side uses, built in one place."""

from __future__ import annotations

from bots.message import ConversationKey

INBOX = "frontdesk:inbox"
DEAD_LETTERS = "frontdesk:dead-letters"
WORKERS = "workers"
WORKER_LEASE = "frontdesk:lease:worker"
JOBS = "frontdesk:jobs"
HISTORIES = "frontdesk:history:"
VAULTS = "frontdesk:vault:"


def claim(event_id: str) -> str:
    """Exists once the event was accepted."""
    return f"frontdesk:claim:{event_id}"


def turn(message_id: str) -> str:
    """What has been done for a message so far."""
    return f"frontdesk:turn:{message_id}"


def history(conversation: ConversationKey) -> str:
    """The conversation's turns."""
    return f"{HISTORIES}{conversation}"


def summary(conversation: ConversationKey) -> str:
    """What the conversation's older turns said, in short."""
    return f"frontdesk:summary:{conversation}"


def forgotten(conversation: ConversationKey) -> str:
    """How often somebody was forgotten in the conversation."""
    return f"frontdesk:forgotten:{conversation}"


def vault(conversation: ConversationKey) -> str:
    """The values behind the conversation's placeholders."""
    return f"{VAULTS}{conversation}"


def conversations(author_index: str) -> str:
    """The conversations that an author took part in."""
    return f"frontdesk:author:{author_index}"


def file(message_id: str, row: int) -> str:
    """The text of a message's file."""
    return f"frontdesk:file:{message_id}:{row}"


def files(conversation: ConversationKey) -> str:
    """Which files were sent in the conversation."""
    return f"frontdesk:files:{conversation}"


def relay(conversation: ConversationKey) -> str:
    """What the web page and the terminal are shown."""
    return f"frontdesk:relay:{conversation}"
