"""A platform as its people see it: what `conformance.Contract` asks of everybody who adds one."""

import contextlib
from dataclasses import dataclass

import pytest
from scripted import until

ANNA, BEN = "Anna", "Ben"


@dataclass(frozen=True)
class Post:
    """Something of the bot's that people see: where it stands, and what it says."""

    ref: str
    text: str


class Harness:
    """One platform, and people who use it: a local server that speaks its protocol, where it has one.

    An async context manager. What `ask` returns names the question for the other methods.
    """

    name = ""
    limit: int | None = None
    """Characters that the platform takes in one post."""
    lacks: dict[str, str] = {}  # noqa: RUF012
    """What people cannot do here, by the name of the method or the word in `needs`, and why."""

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    def needs(self, *names):
        """Skip a test that asks for what the platform does not have."""
        for name in names:
            if name in self.lacks:
                pytest.skip(f"{self.name}: {self.lacks[name]}")

    def receiving(self, store, registry):
        """A context in which the receiving half is connected."""
        raise NotImplementedError

    def sending(self, store):
        """A context with the senders by platform, for a worker."""
        raise NotImplementedError

    async def ask(self, text, *, person=ANNA, is_private=False, file=None, after=None):
        """Somebody writes to the bot; `file` is a name and its bytes, `after` an earlier question whose
        conversation goes on. Where there are no groups every conversation is private."""
        raise NotImplementedError

    def posts(self):
        """What the bot shows now, oldest first, as people read it."""
        raise NotImplementedError

    def outgoing(self):
        """Everything that the bot ever sent to be shown, as text, also what was edited away."""
        raise NotImplementedError

    # What not every platform has: redeliver, edit, delete, stop, rate, choose and options, call, files, busy,
    # bots_say, pings and wrong_settings; see the contract for what they are asked.

    def sources(self):
        """What is shown of where an answer comes from."""
        return "\n".join(self.texts())

    def texts(self):
        return [post.text for post in self.posts()]

    async def shows(self, *texts):
        """Wait until the bot shows exactly this."""
        with contextlib.suppress(AssertionError):
            await until(lambda: self.texts() == list(texts), 10)
        assert self.texts() == list(texts)

    async def begun(self):
        """The one post, once there is one."""
        await until(self.posts, 10)
        (post,) = self.posts()
        return post
