"""The checks of delivery under faults around the workers: 5, 6 (a channel hangs), 9, 20 and 23 of the bar."""

import asyncio
import os

from fault_engine_server import EngineServer
from fault_judge import quantile
from fault_platform import channel_name
from fault_rig import Rig
from fault_table import SLOW, Row, row_of


async def redis_kills(folder, scale):
    """Redis is killed while everything runs, and started on its files again."""
    messages = 30 * scale.redis_kills
    async with Rig(folder, "discord", channels=20, seed=scale.seed + 4, rules=SLOW, most_ms=60) as rig:
        await rig.start_workers(4)
        adapter = await rig.hand_in(rig.plan(messages, 20), 30, twice=0.1)
        for _ in range(scale.redis_kills):
            await asyncio.sleep(0.8)
            rig.kill_redis()
            await asyncio.sleep(0.1)
            await rig.start_redis()
        await rig.until_handed_in(adapter)
        await rig.until_done(40)
    verdict = rig.verdict()
    return [row_of("5", "Redis killed", verdict, messages)]


async def cut_log(folder, scale):
    """The last 200 bytes of Redis' file are gone: it starts, frontdesk says so, and little is lost.

    Nothing is answered before the cut: entries that were answered could not be lost any more.
    """
    messages = 40
    async with Rig(folder, "discord", channels=4, seed=scale.seed + 5) as rig:
        adapter = await rig.hand_in(rig.plan(messages, 4), 200)
        await rig.until_handed_in(adapter)
        rig.kill_redis()
        newest = max(
            (rig.folder / "data" / "redis").rglob("*.aof"), key=lambda path: ("incr" in path.name, path.name)
        )
        os.truncate(newest, newest.stat().st_size - 200)
        alarms = await rig.start_redis_as_we_do()
        left = await rig.store.inbox.backlog()
        await rig.start_workers(2)
        await rig.until_done(20)
    verdict = rig.verdict()
    lost = messages - left
    holds = {"lost <= 1": lost <= 1, "alarm": any("lost" in alarm or "cut" in alarm for alarm in alarms)}
    is_passed = all(holds.values()) and verdict.once == left and not verdict.doubled
    figures = {
        "offered": messages,
        "left": left,
        "once": verdict.once,
        "lost": lost,
        "alarms": alarms,
        **holds,
    }
    return [Row("5", "Redis' file cut by 200 bytes", is_passed, figures)]


async def hung_channel(folder, scale):
    """One channel's posts hang: the others' answers come as if nothing were."""
    times = {}
    for name, hung in (("without", []), ("with", [channel_name("discord", 0)])):
        async with Rig(
            folder / name, "discord", channels=20, seed=scale.seed + 7, most_ms=60,
            rules={**SLOW, "hung_seconds": scale.hung_seconds, "hung": hung},
        ) as rig:  # fmt: skip
            await rig.start_workers(4)
            plan = rig.plan(int(20 * scale.hung_seconds), 20)
            adapter = await rig.hand_in(plan, 25)
            await rig.until_handed_in(adapter)
            await rig.until_done(2 * scale.hung_seconds + 10)
        times[name] = rig.verdict(), _p95_of_others(rig)
    rise = times["with"][1] / times["without"][1] - 1
    holds = {"others as fast": times["with"][1] < times["without"][1] * 1.2 + scale.noise}
    shown = {"others_p95_ms": [round(1000 * times[n][1]) for n in ("without", "with")], "rise": f"{rise:.0%}"}
    return [row_of("6", "one channel hangs", times["with"][0], len(plan), holds=holds, **shown)]


def _p95_of_others(rig):
    lines = rig.lines()
    first = {line["q"] for line in lines if line["kind"] == "offer" and line["q"].startswith("qload0n")}
    return quantile(rig.answer_times(lines, but=first), 0.95)


async def platform_faults(folder, scale, platform):
    """429, 500, a hang or a cut line on a fifth of all posts and edits."""
    rules = {
        **SLOW, "share": 0.2, "faults": ["429", "500", "hang", "reset"],
        "retry_after": scale.retry_after, "hang_seconds": scale.hang_seconds,
    }  # fmt: skip
    async with Rig(folder, platform, channels=20, seed=scale.seed + 9, rules=rules, most_ms=60) as rig:
        await rig.start_workers(4)
        adapter = await rig.hand_in(rig.plan(scale.faulty_messages, 20), 20)
        await rig.until_handed_in(adapter)
        await rig.until_done(60 + 10 * scale.retry_after)
    verdict = rig.verdict()
    holds = {"Retry-After kept": verdict.too_early == 0}
    more = {"too_early": verdict.too_early, "posts_in_1_s": verdict.fastest_posts}
    return [row_of("9", f"platform faults, {platform}", verdict, scale.faulty_messages, holds=holds, **more)]


async def flood(folder, scale):
    """One person floods a channel: the others wait no longer, and the person is told once."""
    limits = {"limit_person": 20, "limit_channel": 10_000, "limit_workspace": 100_000, "limit_queue": 100_000}
    found = {}
    for name in ("without", "with"):
        async with Rig(
            folder / name, "discord", channels=20, seed=scale.seed + 10, rules=SLOW, settings=limits,
            most_ms=60,
        ) as rig:  # fmt: skip
            await rig.start_workers(4)
            calm = [step for step in rig.plan(160, 20) if step[1] != rig.channel(0)]
            adapters = [await rig.hand_in(calm, 20)]
            if name == "with":
                plan = [
                    [f"qflood0n{n}", rig.channel(0), f"What about qflood0n{n}?"] for n in range(scale.flood)
                ]
                adapters.append(await rig.hand_in(plan, scale.flood / 8))
            for adapter in adapters:
                await rig.until_handed_in(adapter)
            await rig.until_done(30)
        lines = rig.lines()
        floods = {line["q"] for line in lines if line["kind"] == "offer" and line["q"].startswith("qflood")}
        found[name] = quantile(rig.answer_times(lines, but=floods), 0.95)
    verdict = rig.verdict()
    answered = {
        q for q in floods if q in {line["q"] for line in lines if line["kind"] == "stored" and line["made"]}
    }
    told = [q for q in verdict.told if q in floods]
    holds = {
        "others answered": not [q for q in verdict.lost if q not in floods],
        "others as fast": found["with"] < found["without"] * 1.2 + scale.noise,
        "at most the limit": len(answered) <= 20,
        "told once": len(told) == 1 and not verdict.told_twice,
    }
    p95 = [round(1000 * found[name]) for name in ("without", "with")]
    return [
        Row(
            "20",
            "one person floods",
            all(holds.values()),
            {"answered": len(answered), "others_p95_ms": p95, **holds},
        )
    ]


async def engine_trouble(folder, scale):
    """The engine is dead, answers 500, breaks off, babbles or hangs: answered once it is back."""
    rows = []
    for mode in ("dead", "500", "half", "garbage", "hang"):
        async with EngineServer() as engine, Rig(
            folder / mode, "discord", channels=4, seed=scale.seed + 11, rules=SLOW, engine_url=engine.url,
            worker={"retry_seconds": 0.1},
        ) as rig:  # fmt: skip
            await rig.start_workers(1)
            engine.mode = mode
            adapter = await rig.hand_in(rig.plan(4, 4), 50)
            await rig.until_handed_in(adapter)
            await engine.until_asked()
            await asyncio.sleep(1)
            engine.mode = "well"
            await rig.until_done(30)
        rows.append(row_of("23", f"engine: {mode}, then well", rig.verdict(), 4, asked=engine.asked))
    return rows


async def engine_gone(folder, scale):
    """The engine stays away, or silent, for longer than the deadline: everybody is told, in words."""
    rows = []
    for mode in ("500", "hang"):
        async with (
            EngineServer() as engine,
            Rig(
                folder / mode,
                "discord",
                channels=4,
                seed=scale.seed + 12,
                rules=SLOW,
                engine_url=engine.url,
                worker={"retry_seconds": 0.05, "engine_patience": 1.0},
            ) as rig,
        ):
            engine.mode = mode
            await rig.start_workers(1)
            adapter = await rig.hand_in(rig.plan(4, 4), 50)
            await rig.until_handed_in(adapter)
            await rig.until_done(15)
        verdict = rig.verdict()
        told_once = len(verdict.told) == 4 and not verdict.told_twice
        holds = {"all told once": told_once, "none silent": not verdict.lost}
        rows.append(Row("23", f"engine: {mode}, for good", all(holds.values()), holds))
    return rows
