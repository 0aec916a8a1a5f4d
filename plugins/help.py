"""`help`: what can be done here."""

from plugins import Context, command, help_text


@command
async def help(ctx: Context) -> str:
    """Show what I can do."""
    return f"Ask me anything about our help pages, or use a command:\n{help_text(ctx.commands)}"
