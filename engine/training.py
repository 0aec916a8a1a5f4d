"""Fine-tuning on one's own dialogues, and training the starter from nothing.

Data are JSON lines: `{"messages": [{"role", "content"}, …], "passages"?: [{"heading", "text"}]}`. Turns are
rendered exactly as the service renders them, and only the assistant's tokens carry loss.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from torch.utils.data import Dataset

from engine.errors import BadTrainingData
from engine.generation.model import choose_device, load_model
from engine.language.languages import detect
from engine.prompt import PLAIN_TEMPLATE, ask, encode, system_turn
from engine.types import ChatTurn

_IGNORED = -100  # the label that torch's cross entropy leaves out
_ROLES = ("system", "user", "assistant")
_END = "<|endoftext|>"


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """How long and how fast. `persona` is what the model is told that it speaks as."""

    epochs: float = 3.0
    learning_rate: float = 5e-5
    batch_size: int = 8
    held_out: float = 0.1
    """Share of the dialogues that is not trained on."""
    seed: int = 0
    persona: str = "the help desk"


@dataclass(frozen=True, slots=True)
class StarterShape:
    """The starter's architecture: GPT-2, a few million parameters."""

    vocabulary: int = 4096
    context: int = 1024
    width: int = 192
    layers: int = 6
    heads: int = 6


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """Mean loss a reply token (nats) on the held-out dialogues, before and after."""

    loss_before: float
    loss_after: float
    trained_on: int
    held_out: int
    parameters: int

    @property
    def is_better(self) -> bool:
        return self.loss_after < self.loss_before


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Turns as they will be rendered, passages already put beside the last question."""

    turns: tuple[ChatTurn, ...]


def read_dialogues(path: Path, persona: str) -> list[Dialogue]:
    """Read JSON lines. Raises `BadTrainingData` naming the line and what is wrong with it."""
    if not path.is_file():
        raise BadTrainingData(f"{path}: no such file")
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if line.strip():
            try:
                found.append(_dialogue(json.loads(line), persona))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise BadTrainingData(
                    f"{path}, line {number}: {error}. Expected "
                    '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}'
                ) from error
    if len(found) < 2:
        raise BadTrainingData(
            f"{path}: at least two dialogues are needed, one to train on and one to test on"
        )
    return found


def _dialogue(row: dict[str, Any], persona: str) -> Dialogue:
    turns = [ChatTurn(message["role"], message["content"]) for message in row["messages"]]
    if any(turn.role not in _ROLES or not isinstance(turn.content, str) for turn in turns):
        raise ValueError(f"roles must be {', '.join(_ROLES)} and contents text")
    if len(turns) < 2 or turns[-1].role != "assistant" or turns[-2].role != "user":
        raise ValueError("a dialogue must end with a user's message and the assistant's reply to it")
    passages = [f"{passage['heading']}\n{passage['text']}" for passage in row.get("passages") or ()]
    turns[-2] = ask(passages, turns[-2].content, detect(turns[-1].content))
    if turns[0].role != "system":
        turns.insert(0, system_turn(persona))
    return Dialogue(tuple(turns))


class ReplyDataset(Dataset[dict[str, list[int]]]):
    """Dialogues as `input_ids` and `labels`, labels set only on what the assistant says."""

    def __init__(self, dialogues: Sequence[Dialogue], tokenizer: Any, context: int) -> None:
        encoded = [_encode_replies(dialogue, tokenizer) for dialogue in dialogues]
        # Cut on the left: the last reply and its question matter most.
        self._rows = [{name: ids[-context:] for name, ids in row.items()} for row in encoded]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> dict[str, list[int]]:
        return self._rows[row]


def _encode_replies(dialogue: Dialogue, tokenizer: Any) -> dict[str, list[int]]:
    """Encode turn by turn: what a reply adds to the prompt before it is what the model should have said."""
    input_ids = encode(tokenizer, dialogue.turns, reply=False)
    labels = [_IGNORED] * len(input_ids)
    for position, turn in enumerate(dialogue.turns):
        if turn.role == "assistant":
            start = len(encode(tokenizer, dialogue.turns[:position]))
            end = len(encode(tokenizer, dialogue.turns[: position + 1], reply=False))
            labels[start:end] = input_ids[start:end]
    return {"input_ids": input_ids, "labels": labels}


def collate(rows: Sequence[dict[str, list[int]]], padding: int) -> dict[str, torch.Tensor]:
    """Pad on the right to the longest: `[batch, length]` int64 each."""
    longest = max(len(row["input_ids"]) for row in rows)

    def padded(name: str, value: int) -> torch.Tensor:
        return torch.tensor([row[name] + [value] * (longest - len(row[name])) for row in rows])

    lengths = torch.tensor([[len(row["input_ids"])] for row in rows])
    return {
        "input_ids": padded("input_ids", padding),
        "labels": padded("labels", _IGNORED),
        "attention_mask": (torch.arange(longest)[None, :] < lengths).long(),
    }


def train(
    data: Path,
    out: Path,
    *,
    base: str | None,
    options: TrainingOptions = TrainingOptions(),
    shape: StarterShape = StarterShape(),
    device: str | None = None,
    on_progress: Callable[[int, int, float | None], None] = lambda step, steps, loss: None,
) -> TrainingReport:
    """Fine-tune `base`, or train a starter from nothing without one; write the better model to `out`.

    Parameters
      data: JSON lines of dialogues
      out: a directory that does not exist or is empty
      on_progress: called with step, steps in all, and the newest training loss (nats a reply token)

    Returns the held-out loss before and after. A model that came out worse is not written.
    Raises `BadTrainingData`, and `ModelUnusable` for the base.
    """
    from transformers import PrinterCallback, Trainer, TrainingArguments

    if out.exists() and any(out.iterdir()):
        raise BadTrainingData(f"{out} is not empty: name a new directory for the trained model")
    torch.manual_seed(options.seed)
    dialogues = read_dialogues(data, options.persona)
    random.Random(options.seed).shuffle(dialogues)
    held_out = max(1, round(len(dialogues) * options.held_out))
    where = choose_device(device)
    model, tokenizer, context = (
        _new_starter(dialogues[held_out:], shape) if base is None else _loaded(base, where)
    )
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (tokenizer.eos_token_id or 0)
    parts = [ReplyDataset(part, tokenizer, context) for part in (dialogues[:held_out], dialogues[held_out:])]
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(out),
            num_train_epochs=options.epochs,
            learning_rate=options.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=0.05,
            weight_decay=0.01,
            per_device_train_batch_size=options.batch_size,
            per_device_eval_batch_size=options.batch_size,
            logging_steps=10,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            seed=options.seed,
            use_cpu=where.type == "cpu",
            dataloader_pin_memory=where.type != "cpu",
        ),
        train_dataset=parts[1],
        eval_dataset=parts[0],
        data_collator=lambda rows: collate(rows, padding),
        callbacks=[_progress(on_progress)],
    )
    trainer.remove_callback(PrinterCallback)
    before = float(trainer.evaluate()["eval_loss"])
    trainer.train()
    after = float(trainer.evaluate()["eval_loss"])
    report = TrainingReport(
        before, after, len(parts[1]), len(parts[0]), sum(p.numel() for p in model.parameters())
    )
    if report.is_better:
        _save(model, tokenizer, out, report, options, base, half=base is None)
    return report


def _progress(on_progress: Callable[[int, int, float | None], None]) -> Any:
    from transformers import TrainerCallback

    class Progress(TrainerCallback):
        """Hands the trainer's log to `on_progress` instead of printing dictionaries."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            on_progress(state.global_step, state.max_steps, (logs or {}).get("loss"))

    return Progress()


def _loaded(base: str, device: torch.device) -> tuple[Any, Any, int]:
    # Half precision loses small updates.
    loaded = load_model(base, device, "float32")
    return loaded.model.train(), loaded.tokenizer, loaded.context_length


def _new_starter(dialogues: Sequence[Dialogue], shape: StarterShape) -> tuple[Any, Any, int]:
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = _new_tokenizer([turn.content for d in dialogues for turn in d.turns], shape)
    end = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=shape.vocabulary,
        n_positions=shape.context,
        n_embd=shape.width,
        n_layer=shape.layers,
        n_head=shape.heads,
        bos_token_id=end,
        eos_token_id=end,
    )
    return GPT2LMHeadModel(config), tokenizer, shape.context


def _new_tokenizer(texts: Sequence[str], shape: StarterShape) -> Any:
    """A byte-level BPE, so that any text can be read, with the plain chat template of `engine.prompt`."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=shape.vocabulary,
        special_tokens=[_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, eos_token=_END, bos_token=_END, model_max_length=shape.context
    )
    fast.chat_template = PLAIN_TEMPLATE
    return fast


def _save(
    model: Any,
    tokenizer: Any,
    out: Path,
    report: TrainingReport,
    options: TrainingOptions,
    base: str | None,
    *,
    half: bool,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    # The starter is shipped in half precision, which halves its size; it is computed in float32.
    (model.half() if half else model).save_pretrained(out, safe_serialization=True)
    tokenizer.save_pretrained(out)
    recipe = {"base": base, "options": asdict(options), "report": asdict(report)}
    (out / "training.json").write_text(json.dumps(recipe, indent=2) + "\n")
