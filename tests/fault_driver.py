"""The fault suite by hand: `python tests/fault_driver.py --long --seed N --out DIR`, and it prints its table.

Records stay in DIR, a folder a check: `python tests/fault_judge.py DIR/…/record.jsonl` recomputes a verdict.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
import traceback
from dataclasses import replace
from functools import partial
from pathlib import Path

import fault_checks_around as around
import fault_checks_in_process as in_process
import fault_checks_workers as workers
from fault_table import LONG, SHORT, Row

CHECKS = {
    "kills-discord": partial(workers.kills, platform="discord"),
    "kills-slack": partial(workers.kills, platform="slack", check="2"),
    "pauses-discord": partial(workers.pauses, platform="discord"),
    "pauses-slack": partial(workers.pauses, platform="slack"),
    "crashes-discord": partial(workers.crashes, platform="discord"),
    "crashes-slack": partial(workers.crashes, platform="slack"),
    "slack-events": in_process.slack_events,
    "discord-events": in_process.discord_events,
    "redis-kills": around.redis_kills,
    "redis-cut": around.cut_log,
    "order": workers.order,
    "hung-channel": around.hung_channel,
    "poison": workers.poison,
    "faults-discord": partial(around.platform_faults, platform="discord"),
    "faults-slack": partial(around.platform_faults, platform="slack"),
    "hostile-discord": partial(in_process.hostile, platform="discord"),
    "hostile-slack": partial(in_process.hostile, platform="slack"),
    "flood": around.flood,
    "engine": around.engine_trouble,
    "engine-away": around.engine_gone,
    "drain": workers.drain,
    "upgrade": workers.upgrade,
}


def run_check(name, scale, out, seed=0):
    """The rows of one check; an error in it is a row that failed."""
    try:
        return asyncio.run(CHECKS[name](Path(out) / name, scale))
    except Exception as error:
        traceback.print_exc()
        return [Row("?", name, False, {"error": repr(error)})]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="the full numbers; half an hour")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=tempfile.gettempdir() + "/frontdesk-faults")
    parser.add_argument("--only", nargs="*", choices=CHECKS, default=list(CHECKS))
    given = parser.parse_args()
    scale, rows = replace(LONG if given.long else SHORT, seed=given.seed), []
    for name in given.only:
        begun = time.monotonic()
        rows += (found := run_check(name, scale, given.out))
        for row in found:
            print(f"{time.monotonic() - begun:6.1f} s  {row}", flush=True)
    print(f"\n{sum(row.is_passed for row in rows)} of {len(rows)} passed; records in {given.out}")
    Path(given.out, "table.json").write_text(json.dumps([vars(row) for row in rows], indent=1))
    sys.exit(not all(row.is_passed for row in rows))


if __name__ == "__main__":
    main()
