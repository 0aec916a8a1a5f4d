"""The checks of delivery under faults of workers: 1 to 3, 6 (order), 7, 8 and 24 of the project's bar.

Each is a function of its folder and scale that returns rows for the table; what it needs runs in processes.
"""

import asyncio
import contextlib
import json
import signal

from fault_judge import quantile
from fault_rig import Rig
from fault_table import SLOW, Row, row_of
from fault_worker import POINTS

from bots import keys
from bots.dead_letters import DeadLetters


async def kills(folder, scale, platform, check="1"):
    """One of four ready workers is killed every 0.4 s and replaced at once."""
    channels = _channels(scale, platform)
    async with Rig(folder, platform, channels=channels, seed=scale.seed + 1, rules=SLOW, most_ms=60) as rig:
        await rig.start_workers(4)
        done = asyncio.Event()
        # An answer on Slack takes about twice as many calls, and all share the same two cores.
        rate = scale.rate * (0.6 if platform == "slack" else 1)
        adapter = await rig.hand_in(rig.plan(scale.messages, channels), rate, twice=0.1)
        killing = asyncio.create_task(rig.keep_killing(0.4, done))
        await rig.until_handed_in(adapter)
        await rig.until_done(60)
        done.set()
        await killing
        await rig.until_done(10)
    verdict = rig.verdict()
    recovered = {
        "<= 2 s": _at_most(verdict.recovery, scale.recovery_share, 2.0),
        "max <= 5 s": _at_most(verdict.recovery, 1, 5.0),
    }
    row = row_of(check, f"kills, {platform}", verdict, scale.messages)
    figures = {"ms": row.figures["recovery ms"], "conversations": len(verdict.recovery)}
    return [row, Row("7", f"recovery, {platform}", all(recovered.values()), figures)]


def _at_most(values, share, seconds):
    """False without values: then nothing was measured."""
    found = quantile(values, share)
    return found is not None and found <= seconds


def _channels(scale, platform):
    """Slack takes a post a second in a channel: more channels, or the pace is all that is measured."""
    return max(scale.channels, int(2 * scale.rate)) if platform == "slack" else scale.channels


async def pauses(folder, scale, platform):
    """Workers sleep for longer than their lease and go on: the fence holds, the platform may show doubles.

    Discord takes a nonce: none. Slack: at most 0.5 %, each of them in the log.
    """
    messages, channels = int(scale.rate * scale.pauses), _channels(scale, platform)
    async with Rig(folder, platform, channels=channels, seed=scale.seed + 2, rules=SLOW, most_ms=300) as rig:
        await rig.start_workers(4)
        done = asyncio.Event()
        adapter = await rig.hand_in(rig.plan(messages, channels), scale.rate, twice=0.1)
        pausing = asyncio.create_task(rig.keep_pausing(0.4, rig.lease_seconds * 2.2, done))
        await rig.until_handed_in(adapter)
        done.set()
        await pausing
        await rig.until_done(30)
    verdict = rig.verdict()
    share = len(verdict.doubled) / messages
    told = sum(line["kind"] == "audit" and line["what"] == "posted_without_lease" for line in rig.lines())
    answered = messages - len(verdict.doubled)
    is_passed = verdict.once == answered and not (verdict.lost or verdict.cut)
    is_passed &= share <= (0.005 if platform == "slack" else 0) and told >= len(verdict.doubled)
    figures = row_of("2", "", verdict, 0).figures | {"doubled_share": share, "in_audit": told}
    return [Row("2" if platform == "slack" else "1", f"pauses, {platform}", is_passed, figures)]


async def crashes(folder, scale, platform):
    """A worker kills itself at each of the six points, so many times each."""
    engine = {"slow": "slowly", "slow_seconds": 0.5, "words": 24}
    async with Rig(
        folder, platform, channels=60, seed=scale.seed + 3, rules=SLOW, engine=engine, edit_seconds=0.1
    ) as rig:
        await rig.start_workers(4)
        done = asyncio.Event()
        replacing = asyncio.create_task(rig.keep_replacing(4, done))
        plan = [
            [
                f"q{point}{turn}n{row}",
                rig.channel((turn * 6 + row) % 60),
                f"What about q{point}{turn}n{row}, slowly?",
            ]
            for turn in range(scale.crashes)
            for row, point in enumerate(POINTS)
        ]
        adapter = await rig.hand_in(plan, 1.2)
        await rig.until_handed_in(adapter)
        await rig.until_done(30)
        done.set()
        await replacing
    verdict = rig.verdict()
    wanted = 6 * scale.crashes
    at_points = {point: verdict.kills.get(f"worker {point}", 0) for point in POINTS}
    holds = {"all crashed": sum(at_points.values()) == wanted}
    return [
        row_of("3", f"crash points, {platform}", verdict, wanted, holds=holds, points=sum(at_points.values()))
    ]


async def order(folder, scale):
    """20 channels, answers of 0 to 300 ms, four workers, kills: no conversation's answers change places."""
    async with Rig(folder, "discord", channels=20, seed=scale.seed + 6, rules=SLOW, most_ms=300) as rig:
        await rig.start_workers(4)
        done = asyncio.Event()
        adapter = await rig.hand_in(rig.plan(scale.order_messages, 20), 40)
        killing = asyncio.create_task(rig.keep_killing(1.0, done))
        await rig.until_handed_in(adapter)
        await rig.until_done(60)
        done.set()
        await killing
    return [row_of("6", "order under kills", rig.verdict(), scale.order_messages)]


async def poison(folder, scale):
    """A message that kills whoever handles it: given up after five, told once; the next one is answered."""
    engine = {"poison": "poisonous"}
    async with Rig(folder, "discord", channels=2, seed=scale.seed + 8, rules=SLOW, engine=engine) as rig:
        await rig.start_workers(2)
        done = asyncio.Event()
        replacing = asyncio.create_task(rig.keep_replacing(2, done))
        bad, good = "qload0n0", "qload0n1"
        plan = [[bad, rig.channel(0), f"Is {bad} poisonous?"], [good, rig.channel(0), f"Is {good} food?"]]
        adapter = await rig.hand_in(plan, 100)
        await rig.until_handed_in(adapter)
        await rig.until_done(40)
        done.set()
        await replacing
        before = rig.verdict()
        letters = await rig.store.redis.xlen(keys.DEAD_LETTERS)
        kills = sum(code == -signal.SIGKILL for code in rig.codes.values())
        replayed = await _replay(rig, engine)
    after = rig.verdict()
    holds = {
        "one dead letter": letters == 1,
        "killed five times": kills == 5,
        "told once": before.told == [bad] and not before.told_twice,
        "next one answered": before.once == 1 and not before.lost,
        "replayed once": replayed and after.once == 2 and not after.doubled,
    }
    return [Row("8", "poison", all(holds.values()), {"kills": kills, **holds})]


async def _replay(rig, engine):
    """Replay every dead letter with workers to whom it is no poison; whether there was one to replay."""
    for name in list(rig.workers):
        await rig.end_worker(name)
    await rig.start_worker(engine=engine | {"poison": ""})
    letters = DeadLetters(rig.store.redis, rig.store.envelope, 90)
    found = [letter async for letter in letters.list()]
    for letter in found:
        await letters.replay(letter.id)
    await rig.until_done(20)
    return len(found) == 1


async def drain(folder, scale):
    """SIGTERM under load: what is in hand is finished, the exit is clean, and others take the rest."""
    async with Rig(folder, "discord", channels=20, seed=scale.seed + 13, rules=SLOW, most_ms=400) as rig:
        await rig.start_workers(2)
        adapter = await rig.hand_in(rig.plan(120, 20), 60, twice=0.1)
        await asyncio.sleep(1)
        ends = []
        for name in list(rig.workers):
            ends.append(await rig.end_worker(name))
            await rig.start_worker()
        await rig.until_handed_in(adapter)
        await rig.until_done(30)
    holds = {"exit 0": all(code == 0 for code, _ in ends), "within 30 s": all(took < 30 for _, took in ends)}
    took = [round(took, 2) for _, took in ends]
    return [row_of("24", "SIGTERM under load", rig.verdict(), 120, holds=holds, seconds=took)]


async def upgrade(folder, scale):
    """What the version before the partitions left in its one stream is answered, also what it had taken."""
    async with Rig(folder, "discord", channels=4, seed=scale.seed + 14, rules=SLOW) as rig:
        await _leave_old_entries(rig, rig.plan(12, 4))
        await rig.start_workers(2)
        await rig.until_done(20)
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(contextlib.suppress(TimeoutError))
            await stack.enter_async_context(asyncio.timeout(10))
            while rig.verdict().once < 12:
                await asyncio.sleep(0.2)
    return [row_of("24", "entries of the old version", rig.verdict(), 12)]


async def _leave_old_entries(rig, plan):
    """As the last version stored them: one stream, messages of fewer fields, some taken by its worker."""
    redis, stream, group = rig.store.redis, "frontdesk:inbox", "workers"
    newer = ("notice", "command", "arguments", "is_direct", "over")
    for question, channel, text in plan:
        message = rig.message(question, channel, text)
        fields = {k: v for k, v in json.loads(message.to_json()).items() if k not in newer}
        sealed = rig.store.envelope.seal(json.dumps(fields), "inbox")
        rig.note_offer(question, message)
        await redis.set(f"frontdesk:claim:{message.id}", 1, ex=86400)
        await redis.xadd(stream, {"m": sealed})
        rig.record.write("accept", q=question, fresh=True, conversation=str(message.conversation))
    with contextlib.suppress(Exception):
        await redis.xgroup_create(stream, group, id="0", mkstream=True)
    await redis.xreadgroup(group, "worker", {stream: ">"}, count=5)
