"""The rig of the fault suite: a Redis of its own, one platform, workers and adapters as processes, and who
kills them. Everything goes into one record, which `fault_judge` reads.
"""

import asyncio
import contextlib
import os
import platform as machine
import random
import re
import shutil
import signal
import time
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

from fault_family import Family
from fault_judge import judge
from fault_platform import channel_name
from fault_record import Record, read
from fault_worker import asked, message_of, note_offer, settings_of
from redis.asyncio import Redis
from redis.exceptions import RedisError

from bots import redis_server
from bots.build import open_store
from bots.dead_letters import DeadLetters
from bots.partitions import IDLE_LIFE
from bots.redis_server import start_server

_WARNING = re.compile(r"\[(warning|error|critical) *\] (.*?) *(?:\[bots|  |$)")


class Rig:
    """One run. `rules` are the platform's (see `fault_platform.Station`), `most_ms` and `engine` the engine's
    (see `fault_engine.ScriptedAnswers`), `options` the workers' config.
    """

    def __init__(
        self, folder, platform="discord", *, channels=8, seed=0, rules=None, most_ms=0, engine=None, **options
    ):
        self.folder = Path(folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.platform, self.channels, self.seed = platform, channels, seed
        self._rules = {"seed": seed, **(rules or {})}
        self._options = {**options, "engine": {"seed": seed, "most_ms": most_ms, **(engine or {})}}
        self.random = random.Random(seed)
        self.record = Record(self.folder / "record.jsonl")
        self.workers = {}
        """Names of workers that have said they are ready, with their process ids."""
        self._spawned = set()
        self._numbers = 0

    async def __aenter__(self):
        self.record.write("start", seed=self.seed, platform=self.platform, machine=_machine())
        self._data = self.folder / "data"
        self._data.mkdir()
        self._socket = self.folder / "redis.sock"
        self.redis_url = f"unix://{self._socket}"
        await self.start_redis()
        self._log = self.folder / "workers.log"
        self._log.touch()
        self.family = Family(self.folder.name, self._log, self._note_worker)
        await self.family.join()
        config = {"platform": self.platform, "channels": self.channels, "rules": self._rules}
        config["record"] = str(self.record.path)
        about = await self.family.fork("platform", "platform", config)
        self._config = {
            "platform": self.platform,
            "record": str(self.record.path),
            "data_dir": str(self._data),
            "redis": self.redis_url,
            "seed": self.seed,
            **about,
            **self._options,
            "settings": {**about["settings"], **self._options.get("settings", {})},
        }
        settings_of(self._config)
        self._opened = open_store(settings_of(self._config), self.redis_url)
        self.store = await self._opened.__aenter__()  # also makes the master key, before workers race for it
        return self

    async def __aexit__(self, *_):
        with contextlib.suppress(RedisError):
            async for letter in DeadLetters(self.store.redis, self.store.envelope, 90).list():
                self.record.write("dead", q=asked(letter.message))
            for event in await self.store.audit.events(10_000):
                self.record.write("audit", what=event.what, **event.details)
        await self._opened.__aexit__(None, None, None)
        await self.family.end()
        self.redis_process.kill()
        self.redis_process.wait()
        self._note_log()
        self.record.close()

    def verdict(self):
        """Judged from the record as it is on disk."""
        return judge(self.lines())

    def lines(self):
        return read(self.record.path)

    @staticmethod
    def answer_times(lines, but=()):
        """Seconds from offer to whole answer, of all questions but these."""
        return judge([line for line in lines if line.get("q") not in but]).answer_times

    def message(self, question, channel, text):
        return message_of(self._config, question, channel, text)

    def note_offer(self, question, message):
        """As an adapter does."""
        note_offer(self.record, question, message)

    @property
    def codes(self):
        """The exit codes of processes that have ended, by name."""
        return self.family.codes

    @property
    def lease_seconds(self):
        """How long a worker may sleep before others take its place."""
        return IDLE_LIFE

    # --- processes --------------------------------------------------------------------------------------

    async def start_redis(self):
        """Start Redis on its files; returns when it answers."""
        self.redis_process = start_server(self._data, self._socket)
        await _until_up(self.redis_url)

    async def start_redis_as_we_do(self):
        """Start it once as `frontdesk up` does and end it again, then start it for the run: what was said."""
        said, log = [], redis_server.log
        redis_server.log = SimpleNamespace(
            **dict.fromkeys(("error", "warning", "info"), lambda event, **_: said.append(event))
        )
        try:
            async with redis_server.redis_for(settings_of(self._config), shared=False):
                pass
        finally:
            redis_server.log = log
        await self.start_redis()
        return said

    def kill_redis(self):
        """As a power cut without a power cut."""
        self.record.write("kill", what="redis", point="random", pid=self.redis_process.pid)
        self.redis_process.kill()
        self.redis_process.wait()

    async def start_worker(self, **changes):
        """Fork a worker; returns its name when it is ready."""
        self._numbers += 1
        name = f"worker-{self._numbers}"
        await self.family.fork(name, "worker", {**self._config, **changes})
        return name

    async def start_workers(self, count, **changes):
        await asyncio.gather(*(self.start_worker(**changes) for _ in range(count)))

    def kill_worker(self, name, point="random"):
        """SIGKILL; the record says so first, so that nothing shown later counts as earlier."""
        pid = self.workers.pop(name)
        self.record.write("kill", what="worker", point=point, pid=pid)
        os.kill(pid, signal.SIGKILL)

    async def end_worker(self, name, seconds=30):
        """SIGTERM; its exit code and the seconds that took."""
        begun = time.monotonic()
        os.kill(self.workers.pop(name), signal.SIGTERM)
        async with asyncio.timeout(seconds):
            while name not in self.codes:
                await asyncio.sleep(0.02)
        return self.codes[name], time.monotonic() - begun

    async def keep_killing(self, every, until):
        """One of the ready workers is killed every so many seconds, and replaced at once."""
        while not until.is_set():
            await _sleep(every, until)
            if self.workers and not until.is_set():
                self.kill_worker(self.random.choice(sorted(self.workers)))
                self._spawn(self.start_worker())

    async def keep_replacing(self, count, until):
        """Start a worker for each that died by itself."""
        while not until.is_set():
            alive = [name for name in self.workers if name not in self.codes]
            self.workers = {name: self.workers[name] for name in alive}
            await asyncio.gather(*(self.start_worker() for _ in range(count - len(alive))))
            await _sleep(0.02, until)

    async def keep_pausing(self, every, seconds, until):
        """One of the workers sleeps for longer than its lease, then goes on as if nothing had been."""
        while not until.is_set():
            await _sleep(every, until)
            if self.workers and not until.is_set():
                pid = self.workers[self.random.choice(sorted(self.workers))]
                self.record.write("kill", what="worker", point="pause", pid=pid)
                os.kill(pid, signal.SIGSTOP)
                await asyncio.sleep(seconds)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _spawn(self, coroutine):
        task = asyncio.ensure_future(coroutine)
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)

    def _note_worker(self, name, pid):
        if name.startswith("worker"):
            self.workers[name] = pid
            self.record.write("up", pid=pid)

    # --- load and waiting -------------------------------------------------------------------------------

    def channel(self, number):
        return channel_name(self.platform, number)

    def plan(self, messages, channels, kind="load", text=""):
        """Questions round over the channels: `[question, channel, text]` each."""
        return [
            [question := f"q{kind}{number % channels}n{number // channels}", self.channel(number % channels),
             f"What about {question}, can I return it? {text}"]
            for number in range(messages)
        ]  # fmt: skip

    async def hand_in(self, plan, rate, *, twice=0.0, name="adapter"):
        """Fork an adapter that hands these in; returns its name once it has begun."""
        self._numbers += 1
        name = f"{name}-{self._numbers}"
        await self.family.fork(name, "adapter", {**self._config, "plan": plan, "rate": rate, "twice": twice})
        return name

    async def until_handed_in(self, name, seconds=600):
        async with asyncio.timeout(seconds):
            while name not in self.codes:
                await asyncio.sleep(0.02)
        assert self.codes[name] == 0, f"the adapter failed: see {self.folder / 'workers.log'}"

    async def until_done(self, seconds=60):
        """Wait until nothing is left in the inbox, or the time is over: the judge says which."""
        deadline = time.monotonic() + seconds
        quiet = 0
        while time.monotonic() < deadline and quiet < 3:
            try:
                quiet = quiet + 1 if await self.store.inbox.backlog() == 0 else 0
            except (RedisError, OSError):
                quiet = 0
            await asyncio.sleep(0.05)
        return quiet == 3

    def _note_log(self):
        """The warnings of all processes, into the record."""
        for line in self._log.read_text(errors="replace").splitlines():
            if found := _WARNING.search(line):
                self.record.write("log", level=found[1], event=found[2].strip(), line=line)


@asynccontextmanager
async def redis_at(folder):
    """A Redis of one's own in this folder: its URL."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    process = start_server(folder, folder / "redis.sock")
    try:
        await _until_up(f"unix://{folder / 'redis.sock'}")
        yield f"unix://{folder / 'redis.sock'}"
    finally:
        process.kill()
        process.wait()


async def _until_up(url):
    client = Redis.from_url(url, retry=None)
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(RedisError, OSError):
                await client.ping()
                break
            await asyncio.sleep(0.01)
    await client.aclose()


async def _sleep(seconds, until):
    """Sleep, but not longer than `until` is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await until.wait()


def _machine():
    versions = {name: metadata.version(name) for name in ("discord.py", "slack-bolt", "redis", "aiohttp")}
    return {
        "python": machine.python_version(),
        "cores": os.cpu_count(),
        "kernel": machine.release(),
        **versions,
    }
