"""Commands of frontdesk, one a file. A plugin of your own needs only what is exported here."""

from bots.commands import command, cron, every, help_text
from bots.context import Context
from bots.errors import CommandError

__all__ = ["CommandError", "Context", "command", "cron", "every", "help_text"]
