"""Training on one's own dialogues: only replies carry loss, and only a better model is kept."""

import json
from dataclasses import replace

import pytest
import torch

from engine.errors import BadTrainingData, ModelUnusable
from engine.generation.model import load_model
from engine.prompt import ask, encode
from engine.training import (
    ReplyDataset,
    StarterShape,
    TrainingOptions,
    _new_tokenizer,
    collate,
    read_dialogues,
    train,
)
from engine.types import ChatTurn

CPU = torch.device("cpu")
SHAPE = StarterShape(vocabulary=400, context=128, width=32, layers=1, heads=2)
QUICK = TrainingOptions(epochs=4, learning_rate=5e-3, batch_size=4, held_out=0.25)


def dialogue(question, answer, **more):
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages, **more}


DIALOGUES = [dialogue(f"question {n}: are you open?", "We are open from nine to five.") for n in range(16)]


@pytest.fixture(autouse=True)
def one_thread():
    """Models this small wait longer for a second thread than it helps."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def data(tmp_path):
    """Write dialogues, or raw lines, to a file."""

    def write(*rows):
        path = tmp_path / "dialogues.jsonl"
        path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
        return path

    return write


class TestLabels:
    def labelled(self, path, context=1000):
        """What each dialogue's labels decode to."""
        tokenizer = _new_tokenizer(["hello world " * 10], SHAPE)
        rows = ReplyDataset(read_dialogues(path, "the desk"), tokenizer, context)
        for row in rows:
            kept = [label for label in row["labels"] if label != -100]
            assert kept == [
                token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label != -100
            ]
            yield tokenizer.decode(kept)

    def test_exactly_what_the_assistant_says_is_learned(self, data):
        path = data(dialogue("hello?", "We are open."), dialogue("Ünïcode 😀", "Grüße 漢字!"))
        assert list(self.labelled(path)) == [
            " We are open.<|endoftext|>\n",
            " Grüße 漢字!<|endoftext|>\n",
        ]

    def test_every_reply_of_a_longer_dialogue_is_learned(self, data):
        longer = {"messages": [{"role": "system", "content": "Be kind."}, *DIALOGUES[0]["messages"] * 2]}
        learned, _ = self.labelled(data(longer, DIALOGUES[1]))
        assert learned == " We are open from nine to five.<|endoftext|>\n" * 2

    def test_a_dialogue_beyond_the_context_is_cut_at_its_beginning(self, data):
        path = data(dialogue("word " * 200, "The end."), DIALOGUES[0])
        learned, _ = self.labelled(path, context=40)
        assert learned == " The end.<|endoftext|>\n"

    def test_training_reads_what_answering_reads(self, data):
        # Given a dialogue with passages
        passages = [{"heading": "Hours", "text": "Nine to five."}]
        (first, _) = read_dialogues(data(dialogue("open?", "Yes.", passages=passages), DIALOGUES[0]), "Ann")

        # Then its turns are the service's: persona, passages before the question, reply
        system, question, reply = first.turns
        assert (system.role, reply.content) == ("system", "Yes.")
        assert "Ann" in system.content
        assert question == ask(["Hours\nNine to five."], "open?", "en")

        # And the prompt of answering is the beginning of what is trained on
        tokenizer = _new_tokenizer(["hello world " * 10], SHAPE)
        (row, _) = ReplyDataset([first, first], tokenizer, 1000)
        prompt = encode(tokenizer, first.turns[:-1])
        assert row["input_ids"][: len(prompt)] == prompt
        assert row["labels"][: len(prompt)] == [-100] * len(prompt)

    def test_padding_carries_neither_loss_nor_attention(self):
        rows = [{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": [8], "labels": [8]}]
        batch = collate(rows, padding=9)
        assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
        assert batch["labels"].tolist() == [[-100, 6, 7], [8, -100, -100]]
        assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


class TestData:
    @pytest.mark.parametrize(
        ("bad", "words"),
        [
            ("no json", "line 3"),
            ("[]", "line 3"),
            ("{}", "line 3: 'messages'"),
            ({"messages": []}, "must end with a user's message and the assistant's reply"),
            ({"messages": DIALOGUES[0]["messages"][:1]}, "must end with a user's message"),
            ({"messages": [{"role": "robot", "content": "x"}] * 2}, "roles must be system, user, assistant"),
            (dialogue("q", None), "contents text"),
            (dialogue("q", "a", passages=[{"text": "t"}]), "line 3: 'heading'"),
        ],
    )
    def test_a_bad_line_is_named_with_what_is_wrong(self, data, tmp_path, bad, words):
        path = data(DIALOGUES[0], "", bad, DIALOGUES[1])
        with pytest.raises(BadTrainingData, match=words) as caught:
            train(path, tmp_path / "out", base=None, options=QUICK, shape=SHAPE)
        assert f"{path}, line 3" in str(caught.value)
        assert not (tmp_path / "out").exists()

    def test_a_line_end_of_another_kind_inside_a_text_is_kept(self, data):
        row = json.dumps(dialogue("one\u2028two", "three"), ensure_ascii=False)
        (first, _) = read_dialogues(data(row, DIALOGUES[0]), "p")
        assert first.turns[1] == ChatTurn("user", "one\u2028two")

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(BadTrainingData, match=r"nowhere\.jsonl: no such file"):
            train(tmp_path / "nowhere.jsonl", tmp_path / "out", base=None)

    def test_one_dialogue_is_too_few(self, data, tmp_path):
        with pytest.raises(BadTrainingData, match="at least two dialogues"):
            train(data(DIALOGUES[0]), tmp_path / "out", base=None)

    def test_a_folder_with_something_in_it_is_not_written_to(self, data, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine.txt").write_text("precious")
        with pytest.raises(BadTrainingData, match="is not empty"):
            train(data(*DIALOGUES), tmp_path / "out", base=None)
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]

    def test_a_base_that_is_no_model_is_refused(self, data, tmp_path):
        with pytest.raises(ModelUnusable, match="is no directory"):
            train(data(*DIALOGUES), tmp_path / "out", base=str(tmp_path / "nowhere"), device="cpu")


class TestTraining:
    def test_training_from_nothing_lowers_the_loss_and_writes_a_model_that_loads(self, data, tmp_path):
        out, steps = tmp_path / "out", []
        report = train(
            data(*DIALOGUES),
            out,
            base=None,
            options=QUICK,
            shape=SHAPE,
            device="cpu",
            on_progress=lambda step, of, loss: steps.append((step, of)),
        )

        # The loss on what was held out fell
        assert report.is_better
        assert report.loss_after < 0.8 * report.loss_before
        assert (report.trained_on, report.held_out) == (12, 4)
        assert steps[-1] == (12, 12)

        # What was written is safetensors, loads, and says how it was made
        names = {path.name for path in out.iterdir()}
        assert {"model.safetensors", "config.json", "tokenizer.json", "training.json"} <= names
        assert not any(name.endswith((".bin", ".pt")) for name in names)
        loaded = load_model(str(out), CPU)
        assert loaded.context_length == SHAPE.context
        assert sum(p.numel() for p in loaded.model.parameters()) == report.parameters
        recipe = json.loads((out / "training.json").read_text())
        assert recipe["base"] is None
        assert recipe["options"]["learning_rate"] == QUICK.learning_rate
        assert recipe["report"]["loss_after"] == report.loss_after

    def test_fine_tuning_changes_a_copy_of_the_base(self, data, tmp_path, model_directory):
        before = (model_directory / "model.safetensors").read_bytes()
        report = train(
            data(*DIALOGUES), tmp_path / "out", base=str(model_directory), options=QUICK, device="cpu"
        )
        assert report.loss_after < report.loss_before
        assert (model_directory / "model.safetensors").read_bytes() == before
        base, tuned = (load_model(str(path), CPU) for path in (model_directory, tmp_path / "out"))
        assert tuned.tokenizer.get_vocab() == base.tokenizer.get_vocab()
        assert not torch.equal(tuned.model.lm_head.weight, base.model.lm_head.weight)
        assert json.loads((tmp_path / "out" / "training.json").read_text())["base"] == str(model_directory)

    def test_a_model_that_came_out_worse_is_not_written(self, data, tmp_path, model_directory):
        out = tmp_path / "out"
        wild = TrainingOptions(epochs=2, learning_rate=50.0, batch_size=4, held_out=0.25)
        report = train(data(*DIALOGUES), out, base=str(model_directory), options=wild, device="cpu")
        assert not report.is_better
        assert not out.exists() or not any(out.iterdir())

    def test_the_same_seed_trains_the_same_model(self, data, tmp_path):
        path = data(*DIALOGUES)
        once = replace(QUICK, epochs=1)
        reports = [
            train(path, tmp_path / name, base=None, options=once, shape=SHAPE, device="cpu") for name in "ab"
        ]
        assert reports[0] == reports[1]
