"""`forget me`: the right to be forgotten."""

from plugins import Context, command


@command(name="forget-me")
async def forget_me(ctx: Context) -> str:
    """Delete everything that you said to me, and my replies to you."""
    count = await ctx.forget_author()
    if not count:
        return "I have nothing of yours stored."
    return f"Done: I deleted what you said and my replies to it, {count} turns in all."
