"""Every adapter against the contract, on real protocols with unmodified discord.py and slack-bolt; and the
example of the guide for those who add one.
"""

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from conformance import Contract, Core
from harness_discord import DiscordHarness
from harness_slack import HttpSlackHarness, SlackHarness
from harness_terminal import TerminalHarness
from harness_web import WebHarness

from bots import platforms, settings

HARNESSES = (DiscordHarness, SlackHarness, HttpSlackHarness, WebHarness, TerminalHarness)
GUIDE = Path(platforms.__file__).with_name("README.md").read_text()


@pytest.fixture(autouse=True)
def impatient_worker(monkeypatch):
    """It notices soon that it is to end."""
    monkeypatch.setattr("bots.worker._TAKE_MS", 15)
    monkeypatch.setattr("bots.worker._PAUSE_SECONDS", 0.01)


class TestEveryPlatform(Contract):
    """What people expect, of one platform after the other."""

    @pytest.fixture(params=HARNESSES, ids=lambda made: made.__name__.removesuffix("Harness"))
    async def harness(self, request, monkeypatch, tmp_path):
        async with request.param(monkeypatch, tmp_path) as made:
            yield made


class TestTheExampleOfTheGuide(Core):
    """Its module and its harness, as they stand there, with the setting that it tells to add."""

    @pytest.fixture
    async def harness(self, monkeypatch, tmp_path):
        class Settings(settings.Settings):
            folder: Path | None = None

        monkeypatch.setattr(settings, "Settings", Settings)
        adapter, test = (
            compile(code, "the guide", "exec")
            for code in re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
        )
        folder, tests = ModuleType("bots.platforms.folder"), ModuleType("guide")
        exec(adapter, vars(folder))
        monkeypatch.setitem(sys.modules, folder.__name__, folder)
        monkeypatch.setattr(platforms, "folder", folder, raising=False)
        exec(test, vars(tests))
        async with tests.FolderHarness(tmp_path) as made:
            yield made


def test_the_guide_names_files_that_are_there():
    root = Path(platforms.__file__).parents[2]
    named = set(re.findall(r"`((?:bots|tests|engine)/[\w/.]+)`", GUIDE))
    made_by_readers = {"bots/platforms/folder.py", "tests/test_platform_folder.py"}
    assert made_by_readers < named
    assert not {name for name in named - made_by_readers if not (root / name).exists()}
