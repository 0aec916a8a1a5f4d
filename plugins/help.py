"""`help`: what can be done here."""

from plugins import Context, command, help_text


@command
async def help(ctx: Context) -> str:
    """Show what I can do."""
    return f"{ctx.say('help')}\n{help_text(ctx.commands)}"
