"""Every Redis key that the chat side uses, built in one place."""

from __future__ import annotations

from urllib.parse import quote

from bots.message import ConversationKey

OLD_INBOX = "frontdesk:inbox"
"""Where versions before the partitions put messages."""
OLD_LEASE = "frontdesk:lease:worker"
_INBOXES = "frontdesk:inbox:"
PARTITIONS = 64
"""Of the inbox, by conversation."""
DEAD_LETTERS = "frontdesk:dead-letters"
WORKERS = "frontdesk:workers"
"""Who lives, see `bots.partitions`."""
JOBS = "frontdesk:jobs"
LEASES = "frontdesk:leases"
"""Which worker has which partition."""
FENCE = "frontdesk:fence"
AUDIT = "frontdesk:audit"
COUNTERS = "frontdesk:counters"
FEEDBACK = "frontdesk:feedback"
CONNECTIONS = "frontdesk:connections"
"""How the platforms' receiving processes are connected."""
HISTORIES = "frontdesk:history:"
VAULTS = "frontdesk:vault:"


def inbox(partition: int) -> str:
    """One partition of the inbox."""
    return f"{_INBOXES}{partition}"


def all_inboxes() -> list[str]:
    """Every partition of the inbox."""
    return [inbox(partition) for partition in range(PARTITIONS)]


def limit(name: str, *of: str) -> str:
    """How much of a limit is used up."""
    return ":".join(("frontdesk:limit", name, *(quote(part, safe="") for part in of)))


def handed_over(conversation: ConversationKey) -> str:
    """Exists while people see to the conversation."""
    return f"frontdesk:handed-over:{conversation}"


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


def slack_installation(enterprise_id: str, team_id: str) -> str:
    """The app's tokens in one Slack workspace, or in an organisation as a whole: one of the two is given."""
    return f"frontdesk:slack:installation:{enterprise_id}:{team_id}"


def slack_hold(workspace: str, method: str, channel: str) -> str:
    """Exists while Slack wants no such call there."""
    return f"frontdesk:slack:hold:{workspace}:{method}:{channel}"


def slack_turn(workspace: str, channel: str) -> str:
    """When the posts that were let through to a channel will be worked off."""
    return f"frontdesk:slack:turn:{workspace}:{channel}"


def slack_state(index: str) -> str:
    """An installation in Slack that somebody has begun."""
    return f"frontdesk:slack:state:{index}"


def marks(platform: str) -> str:
    """The newest message that was handled, by conversation."""
    return f"frontdesk:marks:{platform}"


def registered(platform: str, application: str) -> str:
    """A hash of the commands that the platform was told last."""
    return f"frontdesk:registered:{platform}:{application}"
