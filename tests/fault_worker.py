"""Processes for the fault suite, forked ready-made: workers that can be killed at a named point, platforms,
and adapters that hand messages in.

As a program it imports everything once and then forks what its standard input asks for, a JSON line each;
on standard output it and its children say what became of them. Everything ends with it.
"""

import asyncio
import ctypes
import functools
import json
import os
import random
import select
import signal
import time
from pathlib import Path

import fault_platform
from discord_server import EPOCH_MS
from fault_engine import ScriptedAnswers
from fault_judge import ANSWER, QUESTION
from fault_record import Record
from running import background

from bots import keys
from bots.adapter import insist, nonce_of
from bots.build import build_worker, load_plugins, open_senders, open_store
from bots.inbox import Inbox
from bots.message import Author, ConversationKey, Message
from bots.partitions import Partitions
from bots.settings import Settings
from bots.turns import TurnRecord, Turns
from engine.client import EngineClient
from engine.language.languages import detect
from engine.log import configure

POINTS = ("claimed", "opened", "edited", "generated", "shown", "finishing")
"""Where a worker can be killed: after the claim, after the message was opened on the platform, between two
edits, after the reply was stored, after the last edit, before the entry is finished."""
_PR_SET_PDEATHSIG = 1


def settings_of(config):
    """The settings of every process of one run: without limits, which are judged apart."""
    unlimited = dict.fromkeys(("limit_person", "limit_channel", "limit_workspace", "limit_queue"), 0)
    return Settings(data_dir=Path(config["data_dir"]), **{**unlimited, **config.get("settings", {})})


class Probe:
    """Writes down what a worker does, and kills it at a point: once for each question, whoever has it."""

    def __init__(self, config):
        self._record, self._folder = Record(config["record"]), Path(config["data_dir"])
        self._edit_seconds = config.get("edit_seconds")
        self._messages = {}
        self.has_joined = asyncio.Event()

    def install(self, senders):
        """Put itself around the steps of this process' worker."""
        record = Turns.record

        def noted(turns, message, *lease):
            self._messages[keys.turn(message.id)] = message
            return record(turns, message, *lease)

        Turns.record = noted
        self._around(Partitions, "look_after", self._look_after)
        self._around(TurnRecord, "begin", self._begin)
        self._around(TurnRecord, "store_reply", self._store_reply)
        self._around(Inbox, "finish", self._finish)
        for sender in senders.values():
            self._around(sender, "post", self._post)
            self._around(sender, "edit", self._edit)
            if self._edit_seconds is not None:
                sender.edit_seconds = self._edit_seconds

    @staticmethod
    def _around(owner, name, step):
        original = getattr(owner, name)

        @functools.wraps(original)
        async def wrapped(*arguments, **options):
            return await step(original, *arguments, **options)

        setattr(owner, name, wrapped)

    async def _look_after(self, original, *arguments, **options):
        await original(*arguments, **options)
        self.has_joined.set()

    async def _begin(self, original, turn):
        message = self._messages[turn._key]
        self._record.write("began", q=asked(message), pid=os.getpid())
        state = await original(turn)
        self._reach("claimed", message)
        return state

    async def _store_reply(self, original, turn, reply, edit):
        message, whole = self._messages[turn._key], ANSWER.search(reply.text)
        about = {"q": asked(message), "made": whole[2] if whole else "", "pid": os.getpid()}
        self._record.write("storing", **about)
        await original(turn, reply, edit)
        self._record.write("stored", **about)
        self._reach("generated", message)

    async def _finish(self, original, inbox, entries, *rest, **options):
        message = entries[0].content
        self._reach("finishing", message)
        await original(inbox, entries, *rest, **options)
        self._record.write("finished", q=asked(message), pid=os.getpid())
        del self._messages[keys.turn(message.id)]

    async def _post(self, original, message, text, **options):
        ref = await original(message, text, **options)
        self._reach("opened", message)
        if not options["is_growing"]:
            self._reach("shown", message)
        return ref

    async def _edit(self, original, message, ref, text, *, is_growing):
        await original(message, ref, text, is_growing=is_growing)
        self._reach("edited" if is_growing else "shown", message)

    def _reach(self, point, message):
        question = asked(message)
        if not question.startswith(f"q{point}"):
            return
        try:
            os.close(os.open(self._folder / f"killed-{question}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        self._record.write("kill", what="worker", point=point, pid=os.getpid(), q=question)
        os.kill(os.getpid(), signal.SIGKILL)


def asked(message):
    found = QUESTION.search(message.text)
    return found[0] if found else message.id


def run_worker(config, ready):
    """A worker as `frontdesk worker` runs it, stopped by SIGTERM."""

    async def work():
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        settings = settings_of(config)
        url = config.get("engine_url")
        engine = (
            EngineClient(url, silence_seconds=2.0) if url else ScriptedAnswers(**config.get("engine", {}))
        )
        async with open_store(settings, config["redis"]) as store, open_senders(settings, store) as senders:
            probe = Probe(config)
            probe.install(senders)
            worker = build_worker(store, engine, load_plugins(settings), senders, **config.get("worker", {}))
            async with background(_say_when_ready(probe, ready)):
                await worker.run(stop)
        if url:
            await engine.close()

    asyncio.run(work())


async def _say_when_ready(probe, ready):
    """A worker is ready once the others count it among them; its share may still be a dead one's."""
    await probe.has_joined.wait()
    ready({})


def run_adapter(config, ready):
    """Hands messages in at a rate, each conversation's one after the other, some of them twice.

    `plan` is a list of [question, channel, text]; `rate` messages a second; `twice` the share that is
    delivered again within 300 ms.
    """

    async def load():
        record, drawn = Record(config["record"]), random.Random(config["seed"])
        async with open_store(settings_of(config), config["redis"]) as store:
            ready({})
            begun, again = time.monotonic(), set()
            for number, (question, channel, text) in enumerate(config["plan"]):
                await asyncio.sleep(max(0, begun + number / config["rate"] - time.monotonic()))
                message = message_of(config, question, channel, text)
                await _offer(store, record, question, message)
                if drawn.random() < config.get("twice", 0):
                    task = asyncio.create_task(
                        _later(drawn.uniform(0, 0.3), store, record, question, message)
                    )
                    again.add(task)
            if again:
                await asyncio.wait(again)
        record.write("handed-in")

    asyncio.run(load())


async def _later(seconds, store, record, question, message):
    await asyncio.sleep(seconds)
    await _offer(store, record, question, message)


async def _offer(store, record, question, message):
    note_offer(record, question, message)

    async def put():
        fresh = await store.intake.receive(message)
        record.write("accept", q=question, fresh=fresh, conversation=str(message.conversation))

    await insist(put)


def note_offer(record, question, message):
    """That a message is handed in, and by which marks the platform's posts can be told to answer it."""
    marks = [nonce_of(message.id, part) for part in range(3)] + [message.id]
    record.write("offer", q=question, id=message.id, conversation=str(message.conversation), marks=marks)


def message_of(config, question, channel, text):
    """A message as the platform's receiving half makes it."""
    author = Author(f"U{channel}", "Anna")
    if config["platform"] == "discord":
        key = ConversationKey("discord", "1100000000000000000", channel)
        snowflake = str((time.time_ns() // 1000 - 1000 * EPOCH_MS) << 12)
        address = {"message": snowflake}
        return Message(f"discord:{snowflake}", key, author, text, is_private=False, address=address)
    thread, now = config["threads"][channel], f"{time.time():.6f}"
    key = ConversationKey("slack", "T100", channel, thread)
    address = {"thread": thread}
    return Message(f"slack:T100:{channel}:{now}", key, author, text, is_private=False, address=address)


KINDS = {"worker": run_worker, "platform": fault_platform.run, "adapter": run_adapter}


def _say(**fields):
    """One whole line; a pipe keeps lines of this length apart."""
    os.write(1, f"{json.dumps(fields)}\n".encode())


def _fork(order):
    """A child that does what is ordered, and ends with its parent."""
    parent = os.getpid()
    if pid := os.fork():
        return pid
    code = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(log, 2)
        name = order["name"]
        KINDS[order["kind"]](order["config"], lambda about: _say(ready=name, pid=os.getpid(), about=about))
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def main():
    """Fork for as long as somebody orders."""
    configure("warning")
    detect("Which language is this?")  # loads a second's worth of models: a ready worker has them
    _say(ready="zygote", pid=os.getpid(), about={})
    orders, names = b"", {}
    while True:
        readable, _, _ = select.select([0], [], [], 0.01)
        while names and (pid := os.waitpid(-1, os.WNOHANG))[0]:
            _say(ended=names.pop(pid[0]), pid=pid[0], code=os.waitstatus_to_exitcode(pid[1]))
        if not readable:
            continue
        chunk = os.read(0, 1 << 16)
        if not chunk:
            return
        *lines, orders = (orders + chunk).split(b"\n")
        for line in lines:
            order = json.loads(line)
            pid = _fork(order)
            names[pid] = order["name"]
            _say(forked=order["name"], pid=pid)


if __name__ == "__main__":
    main()
