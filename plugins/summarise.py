"""`summarise`: the thread, an attached text file, or a text."""

from plugins import CommandError, Context, command


@command
async def summarise(ctx: Context, text: str = "") -> str:
    """Summarise this conversation, an attached text file, or the text behind the command."""
    for attachment in ctx.message.attachments:
        if attachment.problem:
            raise CommandError(attachment.problem)
        text += f"\n{attachment.text}"
    if not text.strip():
        turns = await ctx.recent()
        text = "\n".join(turn.content for turn in turns)
    if not text.strip():
        raise CommandError(
            "There is nothing to summarise yet: attach a text file, or put the text behind it."
        )
    return await ctx.ask(text, task="summarise")
