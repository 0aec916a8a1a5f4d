"""Whether a container is well; exit status 0 or 1. The slim image has no curl.

healthcheck.py http://127.0.0.1:8718/health    answers with 200
healthcheck.py redis                           the configured Redis answers
healthcheck.py worker                          and some worker lives
"""

import sys
import urllib.request


def main(what: str) -> bool:
    """True when all is well; any exception means the opposite."""
    if what.startswith("http://"):
        with urllib.request.urlopen(what, timeout=14) as response:  # noqa: S310 -- http only, see above
            return bool(response.status == 200)

    from redis import Redis

    from bots.partitions import any_lives
    from bots.settings import load_settings, secret

    url = secret(load_settings().redis_url)
    if url is None:
        return False
    with Redis.from_url(url, socket_timeout=5, retry=None) as redis:
        return any_lives(redis) if what == "worker" else bool(redis.ping())


if __name__ == "__main__":
    try:
        is_well = main(sys.argv[1])
    except Exception as error:  # Docker shows the last line; an address may hold a password
        sys.exit(f"unhealthy: {type(error).__name__}")
    sys.exit(0 if is_well else "unhealthy")
