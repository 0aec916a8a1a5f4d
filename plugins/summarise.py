"""`summarise`: the thread, an attached text file, or a text."""

from plugins import CommandError, Context, command


@command
async def summarise(ctx: Context, text: str = "") -> str:
    """Summarise this conversation, an attached text file, or the text behind the command."""
    for attachment in ctx.message.attachments:
        if attachment.problem:
            raise CommandError(ctx.problem_of(attachment))
    if not text.strip() and not ctx.files:
        turns = await ctx.recent()
        text = "\n".join(turn.content for turn in turns)
    if not text.strip() and not ctx.files:
        raise CommandError(ctx.say("nothing_to_summarise"))
    return await ctx.ask(text, task="summarise", files=ctx.files)
