"""`hours`: when we are open, from the help pages."""

from plugins import Context, command


@command
async def hours(ctx: Context) -> str:
    """Say when we are open."""
    return await ctx.ask("What are your opening hours?")
