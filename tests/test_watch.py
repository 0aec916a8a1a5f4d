"""The watched folder is learned again when it changes, by one engine at a time."""

import asyncio

import pytest

from engine.library.library import Library
from engine.library.watch import WATCHER_KEY, Watcher, watching


@pytest.fixture
def folder(tmp_path):
    """A folder with one page."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "hours.md").write_text("# Hours\n\nWe are open.")
    return folder


async def texts(store):
    return {document.id: document.text for document in await Library(store.redis).documents()}


async def test_what_is_added_changed_and_deleted_is_taken_up(store, folder):
    watcher = Watcher(store.redis, folder)
    await watcher.look()
    assert await texts(store) == {"hours.md": "# Hours\n\nWe are open."}

    (folder / "hours.md").write_text("# Hours\n\nWe are closed today.")
    (folder / "deep").mkdir()
    (folder / "deep" / "more.md").write_text("More.")
    await watcher.look()
    assert await texts(store) == {"hours.md": "# Hours\n\nWe are closed today.", "deep/more.md": "More."}

    (folder / "hours.md").unlink()
    await watcher.look()
    assert await texts(store) == {"deep/more.md": "More."}


async def test_a_look_without_a_change_moves_nothing(store, folder):
    watcher = Watcher(store.redis, folder)
    await watcher.look()
    version = await Library(store.redis).version()
    await watcher.look()
    assert await Library(store.redis).version() == version


async def test_a_folder_that_vanishes_removes_nothing_and_is_told_once(store, folder, caplog):
    watcher = Watcher(store.redis, folder)
    await watcher.look()
    folder.rename(folder.with_name("away"))
    await watcher.look()
    await watcher.look()
    assert list(await texts(store)) == ["hours.md"]
    assert caplog.text.count("the folder of knowledge is gone; what was learned stays") == 1

    # When it is back, it is watched again
    folder.with_name("away").rename(folder)
    (folder / "more.md").write_text("More.")
    await watcher.look()
    assert set(await texts(store)) == {"hours.md", "more.md"}


async def test_what_is_skipped_is_told_once(store, folder, caplog):
    watcher = Watcher(store.redis, folder)
    (folder / "empty.md").write_text("")
    await watcher.look()
    (folder / "more.md").write_text("More.")
    await watcher.look()
    assert caplog.text.count("a document was skipped") == 1


async def test_of_two_engines_one_watches_and_the_other_follows_it(store, folder):
    # Given two engines, the second of which looked in vain
    first, second = Watcher(store.redis, folder), Watcher(store.redis, folder)
    await first.look()
    (folder / "more.md").write_text("More.")
    await second.look()
    assert set(await texts(store)) == {"hours.md"}
    assert await store.redis.pttl(WATCHER_KEY) > 0

    # When the first is gone and its lease has ended, then the second learns what it missed
    await store.redis.delete(WATCHER_KEY)
    await second.look()
    assert set(await texts(store)) == {"hours.md", "more.md"}


async def test_a_single_file_can_be_watched(store, folder):
    async with watching(store.redis, folder / "hours.md"):
        async with asyncio.timeout(20):
            while not await texts(store):
                await asyncio.sleep(0.02)
            (folder / "hours.md").write_text("# Hours\n\nWe are closed today.")
            while "closed" not in (await texts(store))["hours.md"]:
                await asyncio.sleep(0.02)


async def test_without_a_folder_nothing_is_watched(store):
    async with watching(store.redis, None):
        await asyncio.sleep(0)
    assert not await store.redis.exists(WATCHER_KEY)
