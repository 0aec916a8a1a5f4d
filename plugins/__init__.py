"""Commands of frontdesk, one a file. A plugin of your own needs only what is exported here."""

from bots.commands import Context, command, cron, every, help_text
from bots.errors import CommandError

__all__ = ["CommandError", "Context", "command", "cron", "every", "help_text"]
