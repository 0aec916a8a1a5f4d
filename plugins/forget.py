"""`forget me`: the right to be forgotten."""

from plugins import Context, command


@command(name="forget-me")
async def forget_me(ctx: Context) -> str:
    """Delete everything that you said to me, and my replies to you."""
    count = await ctx.forget_author()
    if not count:
        return ctx.say("nothing_stored")
    return ctx.say("forgotten", count=count)
