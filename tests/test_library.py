"""The library keeps what was learned, tells what it skipped and why, and removes what is gone."""

import os
import shutil

import pytest
from pdfs import make_pdf

from engine.library import lesson, sources
from engine.library.catalogue import Entry
from engine.library.lesson import SAMPLE_PAGES, Learned
from engine.library.library import CATALOGUE_KEY, Library


@pytest.fixture
def library(store):
    return Library(store.redis)


@pytest.fixture
def pages(tmp_path):
    """A folder with two pages."""
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "returns.md").write_text("# Returns\n\nYou have 30 days to return an item.")
    (folder / "hours.md").write_text("# Hours\n\nWe are open from 9:00 to 18:00.")
    return folder


def statuses(results):
    return {result.name: result.status for result in results}


class TestLearning:
    async def test_what_is_new_changed_and_unchanged_is_told(self, library, pages):
        assert statuses(await library.learn([pages])) == {"returns.md": "added", "hours.md": "added"}
        assert statuses(await library.learn([pages])) == {"returns.md": "unchanged", "hours.md": "unchanged"}
        (pages / "hours.md").write_text("# Hours\n\nWe are closed.")
        assert statuses(await library.learn([pages])) == {"returns.md": "unchanged", "hours.md": "changed"}
        assert {document.id: document.text for document in await library.documents()}["hours.md"] == (
            "# Hours\n\nWe are closed."
        )

    async def test_what_is_skipped_is_told_with_its_reason_and_stops_nothing(self, library, pages, tmp_path):
        (pages / "empty.md").write_text("")
        (pages / "faq.jsonl").write_text("no json")
        results = await library.learn([pages, tmp_path / "nowhere"])
        assert Learned("empty.md", "skipped", "empty") in results
        assert Learned(str(tmp_path / "nowhere"), "skipped", "no such file or folder") in results
        (faq,) = [result for result in results if result.name == "faq.jsonl"]
        assert faq.status == "skipped"
        assert faq.reason.startswith("line 1:")
        assert [document.id for document in await library.documents()] == ["hours.md", "returns.md"]

    async def test_a_file_named_directly_is_learned_and_one_of_no_known_kind_is_skipped(self, library, pages):
        (pages / "photo.png").write_bytes(b"x")
        (learned,) = await library.learn([pages / "returns.md"])
        (skipped,) = await library.learn([pages / "photo.png"])
        assert learned == Learned("returns.md", "added")
        assert (skipped.name, skipped.status) == ("photo.png", "skipped")

    async def test_hidden_files_and_other_kinds_in_a_folder_are_left_alone(self, library, pages):
        (pages / ".git").mkdir()
        (pages / ".git" / "notes.md").write_text("x")
        (pages / "photo.png").write_bytes(b"x")
        (pages / "deep").mkdir()
        (pages / "deep" / "more.txt").write_text("x")
        assert set(statuses(await library.learn([pages]))) == {"returns.md", "hours.md", "deep/more.txt"}

    async def test_one_name_in_two_folders_keeps_both(self, library, pages, tmp_path):
        # Given two folders whose pages have the same name
        other = tmp_path / "other"
        other.mkdir()
        (other / "returns.md").write_text("# Returns\n\nElsewhere you have 14 days.")
        await library.learn([pages])

        # When the second is learned
        (second,) = await library.learn([other])

        # Then both are there, and learning again changes nothing
        assert second == Learned(str((other / "returns.md").resolve()), "added")
        texts = [document.text for document in await library.documents()]
        assert len(texts) == 3
        assert any("30 days" in text for text in texts)
        assert any("14 days" in text for text in texts)
        version = await library.version()
        assert set(statuses(await library.learn([pages, other])).values()) == {"unchanged"}
        assert await library.version() == version

    async def test_rows_with_the_same_ids_in_two_files_are_all_kept(self, library, tmp_path):
        for name in ("shop", "club"):
            lines = [f'{{"id": "{n}", "title": "t", "text": "{name} {n}"}}' for n in (1, 2)]
            (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
        await library.learn([tmp_path / "shop.jsonl", tmp_path / "club.jsonl"])
        assert sorted(document.text for document in await library.documents()) == [
            "club 1",
            "club 2",
            "shop 1",
            "shop 2",
        ]

    async def test_a_page_that_moved_takes_its_old_place(self, library, pages, tmp_path):
        await library.learn([pages])
        shutil.move(pages, tmp_path / "moved")
        results = await library.learn([tmp_path / "moved"])
        assert statuses(results) == {"returns.md": "changed", "hours.md": "changed"}
        assert len(await library.documents()) == 2

    async def test_an_empty_folder_takes_nothing_away(self, library, pages):
        """It may be a volume that is not mounted."""
        await library.learn([pages])
        for page in pages.iterdir():
            page.unlink()
        assert await library.learn([pages]) == []
        assert len(await library.documents()) == 2

    async def test_a_page_that_is_gone_from_its_folder_is_removed(self, library, pages, tmp_path):
        # Given two folders, and a page that can no longer be read
        other = tmp_path / "other"
        other.mkdir()
        (other / "elsewhere.md").write_text("# Elsewhere\n\nAnother folder.")
        await library.learn([pages, other])
        (pages / "returns.md").unlink()
        (pages / "hours.md").write_bytes(b"\xff\xff")
        version = await library.version()

        # When one is learned again
        results = await library.learn([pages])

        # Then only what is gone from it is removed
        assert Learned("returns.md", "removed", "no longer there") in results
        assert [document.id for document in await library.documents()] == ["elsewhere.md", "hours.md"]
        assert await library.version() == version + 1
        await library.learn([pages])
        assert await library.version() == version + 1

    async def test_a_row_that_is_gone_from_its_file_is_removed(self, library, tmp_path):
        rows = [f'{{"id": "{n}", "title": "t", "text": "row {n}"}}' for n in (1, 2)]
        (tmp_path / "faq.jsonl").write_text("\n".join(rows))
        await library.learn([tmp_path / "faq.jsonl"])
        (tmp_path / "faq.jsonl").write_text(rows[1])
        assert await library.learn([tmp_path / "faq.jsonl"]) == [
            Learned("2", "unchanged"),
            Learned("1", "removed", "no longer there"),
        ]

    async def test_learning_one_page_removes_no_other(self, library, pages):
        await library.learn([pages])
        (pages / "hours.md").unlink()
        assert await library.learn([pages / "returns.md"]) == [Learned("returns.md", "unchanged")]
        assert len(await library.documents()) == 2

    async def test_the_version_moves_only_when_something_changed(self, library, pages):
        assert await library.version() == 0
        await library.learn([pages])
        assert await library.version() == 1
        await library.learn([pages])
        await library.learn([pages / "nowhere"])
        assert await library.version() == 1
        (pages / "hours.md").write_text("# Hours\n\nWe are closed.")
        await library.learn([pages])
        assert await library.version() == 2

    async def test_a_file_keeps_its_id_however_it_is_named_later(self, library, pages):
        (pages / "deep").mkdir()
        (pages / "deep" / "more.md").write_text("# More\n\nOne.")
        await library.learn([pages])
        (pages / "deep" / "more.md").write_text("# More\n\nTwo.")
        assert await library.learn([pages / "deep" / "more.md"]) == [Learned("deep/more.md", "changed")]
        assert len(await library.documents()) == 3

    async def test_a_bad_row_is_skipped_alone_and_removes_nothing(self, library, tmp_path):
        faq = tmp_path / "faq.jsonl"
        rows = [f'{{"id": "{n}", "title": "t", "text": "row {n}"}}' for n in (1, 2, 3)]
        faq.write_text("\n".join(rows))
        await library.learn([faq])
        faq.write_text("\n".join([rows[0], rows[1][:20], rows[2].replace("row 3", "row three")]))
        results = await library.learn([faq])
        assert [(result.name, result.status) for result in results] == [
            ("faq.jsonl", "skipped"),
            ("1", "unchanged"),
            ("3", "changed"),
        ]
        assert results[0].reason.startswith("line 2: expected an object")
        assert [document.id for document in await library.documents()] == ["1", "2", "3"]

    async def test_the_samples_go_with_the_first_page_of_ones_own(self, library, pages):
        await library.seed(None)
        samples = len(await library.documents())
        results = await library.learn([pages / "hours.md"])
        assert sum(result.reason == "sample page" for result in results) == samples
        assert [document.id for document in await library.documents()] == ["hours.md"]

    async def test_a_library_without_a_catalogue_gets_one(self, store, library, pages):
        await library.learn([pages])
        before = await library.catalogue()
        await store.redis.delete(CATALOGUE_KEY)
        after = await library.catalogue()
        assert {name: entry.digest for name, entry in after.items()} == {
            name: entry.digest for name, entry in before.items()
        }
        assert set(statuses(await library.learn([pages])).values()) == {"unchanged"}


class TestBadInput:
    async def test_everything_bad_is_skipped_with_its_reason_and_the_rest_is_learned(self, library, pages):
        # Given a folder with two good pages and every kind of bad file
        links = "\n".join(f"- [Page number {n}](https://example.org/{n})" for n in range(20))
        bad = {
            "binary.md": (b"\x89PNG\0\0", "binary, no text"),
            "broken.pdf": (b"%PDF-1.7 and nothing else", "a broken PDF"),
            "empty.md": (b"", "empty"),
            "links.md": (links.encode(), "only links: there is nothing to quote"),
            "mixed.txt": ("Grüße\n".encode() + "Grüße".encode("cp1252"), "mixed encodings: line 2"),
            "scan.pdf": (make_pdf(""), "no text in its 1 pages"),
            "secret.pdf": (make_pdf("Text.", password="x"), "encrypted"),
            "twin.md": (b"# Returns\n\nYou have 30 days to return an item.", "the same text as returns.md"),
            "with\nbreak.md": (b"text", "its name has characters that cannot be shown"),
        }
        for name, (content, _) in bad.items():
            (pages / name).write_bytes(content)
        with (pages / "huge.md").open("wb") as file:
            file.truncate(2**31)
        (pages / "loop.md").symlink_to("loop.md")
        (pages / "nowhere.md").symlink_to("gone.md")
        (pages / "around").symlink_to(".")
        os.mkfifo(pages / "pipe.md")
        (pages / os.fsdecode(b"caf\xe9.md")).write_text("text")

        # When it is learned
        results = await library.learn([pages])

        # Then each is told, and the good pages are there
        expected = {name: reason for name, (_, reason) in bad.items()} | {
            "with\\nbreak.md": bad["with\nbreak.md"][1],
            "huge.md": "larger than 10 MB",
            "loop.md": "too many levels of symbolic links",
            "nowhere.md": "no such file or directory",
            "around": "a link to a folder, which is not followed",
            "pipe.md": "no regular file",
            "caf\\udce9.md": "its name has characters that cannot be shown",
        }
        del expected["with\nbreak.md"]
        skipped = {result.name: result.reason for result in results if result.status == "skipped"}
        assert skipped.keys() == expected.keys()
        assert all(skipped[name].startswith(reason) for name, reason in expected.items())
        assert [document.id for document in await library.documents()] == ["hours.md", "returns.md"]

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    async def test_what_may_not_be_read_is_skipped_and_stays_learned(self, library, pages):
        (pages / "deep").mkdir()
        (pages / "deep" / "more.md").write_text("more")
        await library.learn([pages])
        (pages / "hours.md").chmod(0)
        (pages / "deep").chmod(0)
        results = await library.learn([pages])
        (pages / "deep").chmod(0o700)
        assert [(r.status, r.reason) for r in results if r.status != "unchanged"] == [
            ("skipped", "permission denied")
        ] * 2
        assert len(await library.documents()) == 3

    async def test_a_folder_that_vanishes_while_it_is_read_takes_nothing_away(
        self, library, pages, tmp_path, monkeypatch
    ):
        # Given a learned folder that is gone once its first file was read
        await library.learn([pages])
        (pages / "returns.md").write_text("# Returns\n\nNever.")

        async def load(source, allowed):
            content = await sources.load(source, allowed)
            pages.rename(tmp_path / "away")
            return content

        monkeypatch.setattr(lesson, "load", load)

        # When it is learned again
        results = await library.learn([pages])

        # Then what could not be read stays
        assert results == [
            Learned("hours.md", "unchanged"),
            Learned("returns.md", "skipped", "no such file or directory"),
        ]
        assert len(await library.documents()) == 2
        monkeypatch.undo()
        assert await library.learn([pages]) == [Learned(str(pages), "skipped", "no such file or folder")]
        assert len(await library.documents()) == 2

    async def test_a_text_that_is_renamed_is_no_duplicate_of_itself(self, library, pages):
        await library.learn([pages])
        (pages / "returns.md").rename(pages / "sending-back.md")
        assert statuses(await library.learn([pages])) == {
            "hours.md": "unchanged",
            "returns.md": "removed",
            "sending-back.md": "added",
        }

    async def test_a_duplicate_is_learned_once_the_first_says_something_else(self, library, pages):
        (pages / "also.md").write_text((pages / "returns.md").read_text())
        await library.learn([pages / "returns.md"])
        assert statuses(await library.learn([pages]))["also.md"] == "skipped"
        (pages / "returns.md").write_text("# Returns\n\nYou have 14 days.")
        results = statuses(await library.learn([pages]))
        assert (results["also.md"], results["returns.md"]) == ("added", "changed")

    async def test_a_document_that_becomes_a_duplicate_goes(self, library, pages):
        await library.learn([pages])
        (pages / "hours.md").write_text((pages / "returns.md").read_text())
        assert Learned("hours.md", "skipped", "the same text as returns.md") in await library.learn([pages])
        assert [document.id for document in await library.documents()] == ["returns.md"]

    async def test_the_same_answer_to_two_questions_is_no_duplicate(self, library, tmp_path):
        rows = [f'{{"id": "{n}", "question": "Question {n}?", "answer": "Yes."}}' for n in (1, 2)]
        (tmp_path / "faq.jsonl").write_text("\n".join(rows))
        assert statuses(await library.learn([tmp_path / "faq.jsonl"])) == {"1": "added", "2": "added"}


class TestScopes:
    async def scopes(self, library):
        return {document.id: document.scope for document in await library.documents()}

    async def test_learning_again_for_another_place_moves_it_and_without_one_leaves_it(self, library, pages):
        await library.learn([pages], scope="slack:T1")
        assert set(statuses(await library.learn([pages])).values()) == {"unchanged"}
        (pages / "hours.md").write_text("# Hours\n\nWe are closed.")
        await library.learn([pages])
        assert await self.scopes(library) == {"hours.md": "slack:T1", "returns.md": "slack:T1"}
        assert set(statuses(await library.learn([pages], scope="slack:T2")).values()) == {"changed"}
        assert set((await self.scopes(library)).values()) == {"slack:T2"}
        await library.learn([pages / "hours.md"], scope="")
        assert await self.scopes(library) == {"hours.md": "", "returns.md": "slack:T2"}

    async def test_files_of_one_name_for_two_places_are_both_kept(self, library, pages, tmp_path):
        shutil.copytree(pages, tmp_path / "other")
        await library.learn([pages], scope="slack:T1")
        results = await library.learn([tmp_path / "other"], scope="slack:T2")
        assert {result.status for result in results} == {"added"}
        assert sorted((await self.scopes(library)).values()) == ["slack:T1"] * 2 + ["slack:T2"] * 2

    async def test_a_rows_own_scope_goes_first(self, library, tmp_path):
        faq = tmp_path / "faq.jsonl"
        faq.write_text('{"id": "1", "text": "a", "scope": "slack:T9:C1"}\n{"id": "2", "text": "b"}')
        await library.learn([faq], scope="slack:T1")
        assert await self.scopes(library) == {"1": "slack:T9:C1", "2": "slack:T1"}


class TestRemoving:
    async def test_by_id_file_and_folder(self, library, pages, tmp_path):
        (tmp_path / "faq.jsonl").write_text('{"id": "1", "text": "a"}\n{"id": "2", "text": "b"}')
        await library.learn([pages, tmp_path / "faq.jsonl"])
        assert await library.remove(["1"]) == [Learned("1", "removed")]
        assert await library.remove([str(tmp_path / "faq.jsonl")]) == [Learned("2", "removed")]
        shutil.rmtree(pages)
        assert statuses(await library.remove([str(pages)])) == {
            "hours.md": "removed",
            "returns.md": "removed",
        }
        assert await library.documents() == []
        assert await library.catalogue() == {}

    async def test_an_unknown_name_is_told_and_moves_nothing(self, library, pages):
        await library.learn([pages])
        version = await library.version()
        for name in ("nowhere.md", "", "https://example.org/"):
            assert await library.remove([name]) == [
                Learned(name, "skipped", "nothing that is known has this name")
            ]
        assert await library.version() == version


async def test_the_catalogue_tells_kind_passages_and_scope(library, tmp_path):
    (tmp_path / "manual.pdf").write_bytes(make_pdf("One.", "Two."))
    (tmp_path / "faq.jsonl").write_text(
        '{"id": "7", "question": "Why?", "answer": "So.", "scope": "slack:T1"}'
    )
    await library.learn([tmp_path / "manual.pdf", tmp_path / "faq.jsonl", SAMPLE_PAGES / "returns.md"])
    found = await library.catalogue()
    assert {entry.id: (entry.kind, entry.scope) for entry in found.values()} == {
        "7": ("faq", "slack:T1"),
        "manual.pdf": ("pdf", ""),
        "returns.md": ("page", ""),
    }
    assert (found["7"].passages, found["manual.pdf"].passages) == (1, 2)
    assert Entry.from_json(found["7"].to_json()) == found["7"]
