"""Messages that were given up are kept for a time, and forgotten when their author asks."""

from scripted import ANNA, BEN, message

from bots import keys


async def bury(store, author):
    await store.inbox.prepare()
    await store.intake.receive(message("secret question", author=author))
    [entry] = await store.inbox.take(1, 10)
    await store.inbox.bury(entry, store.lease.token, "too many attempts")


async def test_forgetting_takes_the_authors_letters_and_leaves_the_others(store):
    await store.lease.acquire()
    for author in (ANNA, BEN):
        await bury(store, author)
    assert await store.privacy.forget(message().conversation, ANNA.id) == 1
    assert await store.redis.xlen(keys.DEAD_LETTERS) == 1


async def test_the_purge_drops_what_is_older_than_the_retention_time(store):
    await store.redis.xadd(keys.DEAD_LETTERS, {"m": b"sealed"}, id="1-1")
    await store.lease.acquire()
    await bury(store, ANNA)
    assert await store.privacy.purge() == 1
    assert await store.redis.xlen(keys.DEAD_LETTERS) == 1
