"""`draft`: a short news item from notes."""

from plugins import Context, command


@command
async def draft(ctx: Context, notes: str) -> str:
    """Draft a short news item from your notes; it adds no facts of its own."""
    return await ctx.ask(notes, task="draft")
