"""The command line: `frontdesk …`. Reads the settings, has everything built, says what went wrong."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from bots import platforms
from bots.audit_cli import audit
from bots.bench_cli import bench
from bots.build import (
    Store,
    answering,
    build_worker,
    load_plugins,
    open_engine,
    open_senders,
    open_store,
)
from bots.calibrate_cli import calibrate
from bots.console import out, run
from bots.dead_letters_cli import dead_letters
from bots.doctor_cli import doctor
from bots.errors import StartError
from bots.eval_cli import evaluate
from bots.history import Turn
from bots.knowledge_cli import learn
from bots.platforms.terminal import Terminal
from bots.pulse import Pulse
from bots.redis_server import commands_client, redis_for
from bots.settings import Settings, secret
from bots.status_cli import status
from bots.talk import chat_live, chat_piped, print_answer, read_file
from bots.tasks import beside, end
from bots.up import stop_on_signals
from bots.up import up as run_up
from engine.library.library import Library
from engine.library.watch import watching
from engine.types import ChatTurn

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="A self-hosted customer-service bot for Discord and Slack.",
)
app.command()(learn)
app.command()(calibrate)
app.command("eval")(evaluate)
app.command()(doctor)
app.command()(status)
app.command()(audit)
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(bench, name="bench")


@app.command()
def up() -> None:
    """Run everything on this machine: Redis, engine, worker, web chat, and each platform with a token."""

    async def main(settings: Settings) -> None:
        await run_up(settings, lambda line: out.print(line, markup=False, soft_wrap=True), stop_on_signals())

    run(main)


@app.command()
def ask(
    text: Annotated[str, typer.Argument(help="The question.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    history: Annotated[Path | None, typer.Option(help="Earlier turns: JSON [{role, content}, …].")] = None,
    file: Annotated[
        list[Path] | None, typer.Option(help="A text or PDF to ask about; an empty question summarises it.")
    ] = None,
) -> None:
    """Ask one question and get one answer."""

    async def main(settings: Settings) -> None:
        if not text.strip() and not file:
            raise StartError("the question is empty: write what you would like to know")
        files, earlier = [read_file(path) for path in file or ()], _read_history(history)
        async with _terminal(settings) as (store, terminal):
            turns = [Turn(turn.role, turn.content, terminal.author) for turn in earlier]
            await store.history.append(terminal.conversation, turns)
            done = await print_answer(terminal, text, files, quiet=as_json)
        if as_json:
            names = ("answer", "decision", "confidence", "citations", "timings", "model")
            print(json.dumps({"answer": done["text"], **{n: done[n] for n in names[1:]}}, ensure_ascii=False))
        if done["decision"] == "error":
            raise typer.Exit(1)

    run(main, log_level="warning")


@app.command()
def chat() -> None:
    """Talk to the bot. Piped input is answered line by line."""

    async def main(settings: Settings) -> None:
        async with _terminal(settings) as (_, terminal):
            failed = await (chat_live(terminal) if sys.stdin.isatty() else chat_piped(terminal))
        if failed:
            raise typer.Exit(1)

    run(main, log_level="warning")


@app.command()
def engine() -> None:
    """Run the engine: the model behind an OpenAI-compatible HTTP API."""

    async def main(settings: Settings) -> None:
        import uvicorn

        from engine.build import build_service
        from engine.server import check_bind, create_app

        check_bind(settings.engine_host, secret(settings.engine_key))
        # No store: the engine has no business with conversations, and needs no master key.
        async with redis_for(settings, shared=True) as url, commands_client(url) as redis:
            await Library(redis).seed(settings.knowledge)
            service = await build_service(settings, redis)
            web = create_app(service, key=secret(settings.engine_key))
            async with watching(redis, settings.knowledge):
                await _serve(uvicorn, web, settings.engine_host, settings.engine_port, "engine_port")

    run(main)


@app.command()
def worker() -> None:
    """Run a worker: answers what is in the inbox. Several share the work."""

    async def main(settings: Settings) -> None:
        stop = stop_on_signals()
        registry = load_plugins(settings)
        async with (
            redis_for(settings, shared=True) as url,
            open_store(settings, url) as store,
            open_senders(settings, store) as senders,
            open_engine(_with_engine_url(settings), store.redis) as client,
        ):
            await build_worker(store, client, registry, senders, shows_basis=settings.show_basis).run(stop)

    run(main)


@app.command()
def web() -> None:
    """Run the web chat."""

    async def main(settings: Settings) -> None:
        import uvicorn

        from bots.platforms.web import create_app
        from bots.platforms.web_page import SAMPLE_QUESTIONS

        async with redis_for(settings, shared=True) as url, open_store(settings, url) as store:
            # The samples' questions are for the sample pages.
            offered = settings.suggestions or (() if settings.knowledge else SAMPLE_QUESTIONS)
            stores = (store.intake, store.relay, store.history, store.vault)
            page = create_app(*stores, redis=store.redis, suggestions=offered)
            await _serve(uvicorn, page, settings.web_host, settings.web_port, "web_port")

    run(main)


def _receive(platform: str) -> None:
    async def main(settings: Settings) -> None:
        async with redis_for(settings, shared=True) as url, open_store(settings, url) as store:
            pulse = Pulse(store.redis, platform)
            receiver = platforms.load(platform).make_receiver(settings, store, load_plugins(settings), pulse)
            async with beside(pulse.keep()):
                await _until_stopped(receiver.run_forever())

    run(main)


@app.command()
def discord() -> None:
    """Receive from Discord."""
    _receive("discord")


@app.command()
def slack() -> None:
    """Receive from Slack: through Socket Mode, or over HTTP without an app-level token."""
    _receive("slack")


@app.command()
def train(
    data: Annotated[
        Path, typer.Argument(help='Dialogues: JSON lines of {"messages": [{role, content}, …]}.')
    ],
    output: Annotated[Path, typer.Option("--out", help="A new directory for the trained model.")],
    base: Annotated[
        str | None, typer.Option(help="The model to fine-tune; without it a small one is made from nothing.")
    ] = None,
    epochs: Annotated[float, typer.Option(min=0.01)] = 3.0,
    learning_rate: Annotated[float, typer.Option(min=0)] = 5e-5,
    batch_size: Annotated[int, typer.Option(min=1)] = 8,
    held_out: Annotated[float, typer.Option(min=0.01, max=0.9, help="Share kept for evaluation.")] = 0.1,
    seed: int = 0,
) -> None:
    """Fine-tune a model on your own dialogues; it is kept only if it became better."""
    from engine.training import TrainingOptions
    from engine.training import train as run_training

    async def main(settings: Settings) -> None:
        options = TrainingOptions(epochs, learning_rate, batch_size, held_out, seed, settings.persona)
        report = await asyncio.to_thread(
            run_training,
            data,
            output,
            base=base,
            options=options,
            device=settings.device,
            on_progress=_print_progress,
        )
        out.print(
            f"held-out loss before {report.loss_before:.3f}, after {report.loss_after:.3f} (nats a token)"
        )
        out.print(f"{report.trained_on} dialogues trained on, {report.held_out} held out")
        if not report.is_better:
            out.print("The model did not become better, so nothing was written.")
            raise typer.Exit(1)
        out.print(f"written to {output}; use it with FRONTDESK_MODEL={output}")

    run(main, log_level="warning")


def main() -> None:
    """The entry point."""
    app()


@asynccontextmanager
async def _terminal(settings: Settings) -> AsyncIterator[tuple[Store, Terminal]]:
    """A terminal on the running frontdesk, or on one in this process."""
    async with (
        redis_for(settings, shared=True) as url,
        open_store(settings, url) as store,
    ):
        await Library(store.redis).seed(settings.knowledge)
        async with answering(settings, store):
            yield store, Terminal(store.intake, store.relay)


def _read_history(path: Path | None) -> list[ChatTurn]:
    if path is None:
        return []
    try:
        turns = [ChatTurn(turn["role"], turn["content"]) for turn in json.loads(path.read_text())]
        if not all(turn.role in {"user", "assistant"} and isinstance(turn.content, str) for turn in turns):
            raise ValueError("roles must be user or assistant, contents text")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StartError(f'--history {path}: {error}. Expected [{{"role": …, "content": …}}, …]') from error
    return turns


def _with_engine_url(settings: Settings) -> Settings:
    """A worker never runs the model itself: it waits for the engine to come up."""
    return settings.model_copy(update={"engine_url": settings.engine_address})


async def _serve(server: Any, web: Any, host: str, port: int, setting: str) -> None:
    """Serve until a signal. Raises `StartError` for a port that cannot be had."""
    config = server.Config(
        web, host=host, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    instance = server.Server(config)
    try:
        await instance.serve()
    except SystemExit:  # uvicorn's way to say that it could not bind
        raise StartError(
            f"port {port} on {host} cannot be used: stop what uses it, or set FRONTDESK_{setting.upper()}"
        ) from None


async def _until_stopped(running: Coroutine[Any, Any, None]) -> None:
    """Run until it ends by itself or a signal comes."""
    stop = stop_on_signals()
    task, stopped = asyncio.create_task(running), asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not task.done():
        await end(task)
        return
    await task


def _print_progress(step: int, steps: int, loss: float | None) -> None:
    if loss is not None:
        out.print(f"step {step} of {steps}  loss {loss:.3f}")


if __name__ == "__main__":
    main()
