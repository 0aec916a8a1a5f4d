"""Finding, starting and reaching a Redis."""

import asyncio
import contextlib

import psutil
import pytest

from bots.errors import DataDirInUse, StartError
from bots.redis_server import check, redis_for, socket_path
from bots.settings import Settings


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:SECRET@127.0.0.1:1/0", "127.0.0.1:1"),
        ("redis://127.0.0.1:1/0?password=SECRET", "127.0.0.1:1"),
        ("unix:///nowhere/redis.sock?password=SECRET", "/nowhere/redis.sock"),
        ("localhost:6379", "FRONTDESK_REDIS_URL"),
    ],
)
async def test_a_redis_that_cannot_be_reached_is_named_without_its_password(url, shown):
    with pytest.raises(StartError) as caught:
        await check(url)
    assert shown in str(caught.value)
    assert "SECRET" not in str(caught.value)


async def test_ours_keeps_its_data_and_is_shared_by_the_same_data_folder(settings):
    from redis.asyncio import Redis

    async with redis_for(settings, shared=True) as url:
        async with redis_for(settings, shared=True) as same, Redis.from_url(same) as client:
            await client.set("kept", 1)
        assert same == url
    async with redis_for(settings, shared=True) as url, Redis.from_url(url) as client:
        assert await client.get("kept") == b"1"
        assert (await client.config_get("appendfsync"))["appendfsync"] == "always"
    assert not socket_path(settings.data_dir.resolve()).exists()


async def test_two_owners_of_one_data_folder_are_refused(settings, monkeypatch):
    monkeypatch.setattr("bots.redis_server._OWNER_WAIT_SECONDS", 0.3)
    async with redis_for(settings, shared=False):
        with pytest.raises(DataDirInUse, match="FRONTDESK_DATA_DIR"):
            async with redis_for(settings, shared=False):
                pass


def test_a_long_data_folder_gets_its_socket_elsewhere(tmp_path):
    long = tmp_path / ("x" * 120)
    assert len(str(socket_path(long))) <= 100
    assert socket_path(long) == socket_path(long)


async def test_a_data_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="FRONTDESK_DATA_DIR"):
        async with redis_for(Settings(data_dir=tmp_path / "file" / "data"), shared=True):
            pass


async def test_ours_is_started_again_when_it_dies_and_has_lost_nothing(settings, monkeypatch):
    from redis.asyncio import Redis
    from redis.exceptions import RedisError

    monkeypatch.setattr("bots.redis_server._LOOK_SECONDS", 0.05)
    async with redis_for(settings, shared=False) as url, Redis.from_url(url) as client:
        await client.set("kept", 1)
        mine = str(settings.data_dir.resolve())
        [server] = [child for child in psutil.Process().children() if mine in " ".join(child.cmdline())]
        server.kill()
        server.wait()
        for _ in range(100):
            with contextlib.suppress(RedisError, OSError):
                assert await client.get("kept") == b"1"
                return
            await asyncio.sleep(0.05)
        pytest.fail("it did not come back")


async def test_a_file_that_was_cut_off_raises_an_alarm_and_the_rest_is_there(settings, caplog):
    from redis.asyncio import Redis

    async with redis_for(settings, shared=False) as url, Redis.from_url(url) as client:
        for number in range(50):
            await client.set(f"key {number}", "x" * 100)
    assert "cut off" not in caplog.text
    (written,) = (settings.data_dir / "redis").rglob("*.aof")
    with written.open("rb+") as file:
        file.truncate(written.stat().st_size - 200)
    async with redis_for(settings, shared=False) as url, Redis.from_url(url) as client:
        assert await client.dbsize() == 48
    assert "cut off" in caplog.text
