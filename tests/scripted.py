"""The two ends of the chat side for tests: an engine that says what it is told, a platform that remembers.

Both stop at named steps (`at`), so that a test can hold, fail or kill them there. Run as a program this
file is a worker that kills itself at a step: see `test_worker.py`.
"""

import asyncio
import itertools
import json
import os
import re
import signal
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path

import bots.partitions
import bots.worker
from bots import keys
from bots.build import build_worker, open_store
from bots.errors import FileRefused
from bots.message import Attachment, Author, ConversationKey, Message
from bots.partitions import Partitions, partition_of
from bots.registry import Registry
from bots.settings import Settings
from bots.tasks import end
from engine.types import Outcome

ANNA, BEN = Author("anna", "Anna"), Author("ben", "Ben")
HANG = object()
_numbers = itertools.count()


def conversation(channel="general", thread=""):
    return ConversationKey("test", "acme", channel, thread)


def message(text="How do I return it?", *, channel="general", author=ANNA, is_private=False, **changes):
    """A message with an id of its own."""
    changes = {"id": f"test:{os.getpid()}:{next(_numbers)}", **changes}
    changes["attachments"] = tuple(
        file if isinstance(file, Attachment) else Attachment("notes.txt", file)
        for file in changes.get("attachments", ())
    )
    return Message(
        conversation=conversation(channel), author=author, text=text, is_private=is_private, **changes
    )


async def nothing(step):
    """The hook that does nothing."""


class ScriptedEngine:
    """`script` is an answer, an error, `HANG`, a list of these (the last one repeats), or a function of the
    request that gives one. Steps: asked, streaming (the first piece was taken), generated."""

    def __init__(self, script="You have 30 days to return it.", *, outcome=None, at=nothing, pause=0.0):
        self._script, self._outcome, self._at, self._pause = script, outcome or Outcome(), at, pause
        self.requests = []

    @property
    def asked(self):
        """The last turn of every request."""
        return [request.turns[-1].content for request in self.requests]

    async def chat(self, request):
        self.requests.append(request)
        answer = self._answer(request)
        await self._at("asked")
        if answer is HANG:
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        for number, piece in enumerate(re.findall(r"\S+\s*|\s+", answer)):
            await asyncio.sleep(self._pause)
            yield piece
            if number == 4:
                await self._at("streaming")
        yield self._outcome
        await self._at("generated")

    def _answer(self, request):
        if isinstance(self._script, list):
            return self._script[min(len(self.requests), len(self._script)) - 1]
        return self._script(request) if callable(self._script) else self._script


class ScriptedSender:
    """A platform. With `path` it lives in a file and so outlives the process.

    `once_only`: a second post under one nonce shows no second one. `faults` maps a step to errors, raised
    there one after another. Steps: post, posted (it took effect), edit, edited, finish, finished.
    """

    limit, edit_seconds, shows_citations = 2000, 0.0, True

    def __init__(self, path=None, *, once_only=True, faults=None, at=nothing):
        self._path, self._once_only, self._at = path, once_only, at
        self._faults = {step: iter(errors) for step, errors in (faults or {}).items()}
        self._state = json.loads(path.read_text()) if path and path.exists() else {"posts": [], "shown": []}

    @property
    def shown(self):
        """Every text that was to be seen, in order, also those edited away."""
        return self._state["shown"]

    def texts(self, channel=None):
        """What is to be seen now, oldest first."""
        here = [post for post in self._state["posts"] if channel in (None, post["channel"])]
        return [post["text"] for post in here if post["text"] is not None]

    async def typing(self, message):
        pass

    async def post(self, message, text, *, nonce, is_retry, is_growing):
        await self._step("post")
        posts = self._state["posts"]
        for ref, post in enumerate(posts):
            if self._once_only and post["nonce"] == nonce:
                return str(ref)
        posts.append({"channel": message.conversation.channel, "nonce": nonce, "text": text})
        self._show(text)
        await self._step("posted")
        return str(len(posts) - 1)

    async def fetch(self, message, file):
        raise FileRefused("not_fetched", "there are no files here")

    async def progress(self, message, provisional):
        return False

    async def post_file(self, message, file, *, nonce, is_retry):
        return await self.post(
            message, f"{file.name}: {file.text}", nonce=nonce, is_retry=is_retry, is_growing=False
        )

    async def edit(self, message, ref, text, *, is_growing):
        await self._step("edit")
        self._state["posts"][int(ref)]["text"] = text
        self._show(text)
        await self._step("edited")

    async def delete(self, message, ref):
        await self._step("delete")
        self._state["posts"][int(ref)]["text"] = None
        self._save()

    async def name_of(self, message):
        return ""

    async def finish(self, message, parts, reply, options):
        await self._step("finish")
        await self._step("finished")

    def link_to(self, message):
        return ""

    async def close(self):
        pass

    async def _step(self, step):
        await self._at(step)
        if error := next(self._faults.get(step, iter(())), None):
            raise error

    def _show(self, text):
        self._state["shown"].append(text)
        self._save()

    def _save(self):
        if self._path:
            fresh = self._path.with_suffix(".new")
            fresh.write_text(json.dumps(self._state))
            fresh.replace(self._path)


class HoldAt:
    """A hook that holds for ever at one step and says that it got there."""

    def __init__(self, step):
        self._step, self.reached = step, asyncio.Event()

    async def __call__(self, step):
        if step == self._step:
            self.reached.set()
            await asyncio.Event().wait()


class KillAt:
    """A hook that kills the process at one step, as the kernel does when memory is out."""

    def __init__(self, step):
        self._step = step

    async def __call__(self, step):
        if step == self._step:
            os.kill(os.getpid(), signal.SIGKILL)


def build(store, engine, sender, *, registry=None, patience=0.2, is_guest=False):
    """A worker with short pauses."""
    return build_worker(
        store,
        engine,
        registry or Registry(),
        {"test": sender, "discord": sender},
        retry_seconds=0.01,
        engine_patience=patience,
        is_guest=is_guest,
    )


@asynccontextmanager
async def working(store, engine, sender, **options):
    """A worker beside the test, stopped as by SIGTERM at the end."""
    stop = asyncio.Event()
    task = asyncio.create_task(build(store, engine, sender, **options).run(stop))
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)


@asynccontextmanager
async def killed(store, engine, sender):
    """A worker beside the test that ends in the middle of what it does."""
    worker = build(store, engine, sender)
    task = asyncio.create_task(worker.run(asyncio.Event()))
    worker._partitions.leave = nobody_leaves
    try:
        yield
    finally:
        await end(task)
        await store.redis.delete(keys.WORKERS)  # as if its time were over


async def nobody_leaves():
    """What dies gives nothing back."""


class Leased:
    """A lease on every partition, without a worker: for what is tested by itself."""

    def __init__(self, store):
        self._store, self.partitions = store, Partitions(store.redis)

    async def take(self, count=100, *, after=None, wait_ms=20, inbox=None):
        """What is in the inbox, from the start, as entries."""
        after = after or dict.fromkeys(range(keys.PARTITIONS), "0")
        return await (inbox or self._store.inbox).take(after, count, wait_ms)

    async def texts(self, **options):
        """The texts of the messages in the inbox."""
        return [entry.content.text for entry in await self.take(**options) if entry.content]

    async def token(self, partition):
        """The partition's token."""
        await self.partitions.look_after({})
        return self.partitions.token(partition)

    async def record(self, question):
        """The record of a question's turn."""
        partition = partition_of(question.conversation)
        return self._store.turns.record(question, partition, await self.token(partition))

    async def finish(self, entry, turns=()):
        await self._store.inbox.finish([entry], await self.token(entry.partition), turns)

    async def bury(self, entry, reason):
        await self._store.inbox.bury([entry], await self.token(entry.partition), reason, 1)

    async def lose(self):
        """Another takes everything, behind our back."""
        await self._store.redis.delete(keys.WORKERS)
        other = Partitions(self._store.redis)
        await other.look_after({})
        return other


async def until(condition, seconds=5):
    """Wait until `condition()`, async or not, is true."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


async def until_answered(store, left=0, seconds=5):
    """Wait until so many messages are left in the inbox."""

    async def is_done():
        return await store.inbox.backlog() == left

    await until(is_done, seconds)


async def raw_redis(redis):
    """Every key and every value in Redis, as one string of bytes."""
    found = []
    async for key in redis.scan_iter():
        kind = await redis.type(key)
        match kind:
            case b"string":
                value = await redis.get(key)
            case b"hash":
                value = await redis.hgetall(key)
            case b"set":
                value = await redis.smembers(key)
            case b"stream":
                value = await redis.xrange(key)
            case _:
                raise AssertionError(f"{key} is a {kind}")
        found.append(repr((key, value)))
    return "\n".join(found)


def hurry(life=0.4):
    """Short times for workers in tests: how long they live without a sign, in seconds."""
    partitions = bots.partitions
    partitions.BUSY_LIFE = partitions.IDLE_LIFE = life
    partitions.BUSY_BEAT = partitions.IDLE_BEAT = life / 4
    partitions.LOOK_SECONDS = bots.worker.LOOK_SECONDS = 0.03
    bots.worker._TAKE_MS, bots.worker._PAUSE_SECONDS = 50, 0.02


async def _work_and_die(url, data_dir, platform, step, text, life):
    hurry(float(life))
    hook = KillAt(step)
    async with open_store(Settings(data_dir=Path(data_dir)), url) as store:
        sender = ScriptedSender(Path(platform), at=hook)
        await build(store, ScriptedEngine(text, at=hook), sender).run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(_work_and_die(*sys.argv[1:]))


class AskingBack:
    """An engine that asks back at first, and then says what it was asked."""

    options = ("How do I return an item?", "How do I return a gift?")

    async def chat(self, request):
        asked = request.turns[-1].content
        if asked in self.options:
            yield f"You asked a colleague: {asked}"
            yield Outcome()
        else:
            listed = "\n".join(f"{number}. {option}" for number, option in enumerate(self.options, 1))
            yield f"Do you mean:\n{listed}"
            yield Outcome(decision="ask_back", options=self.options)
