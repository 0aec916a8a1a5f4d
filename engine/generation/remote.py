"""Another server's model: anything that speaks OpenAI's chat completions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence

import aiohttp
from tokenizers import Tokenizer

from engine.errors import BadRequest, ContextTooLong, RemoteFailed, Unavailable
from engine.generation import Ended
from engine.generation.model import STARTER
from engine.log import logger
from engine.openai_stream import Completion, body, stream_chat
from engine.types import ChatTurn, Sampling

log = logger("engine.generation")

# Between pieces of one answer; a server that is silent for longer is taken for dead.
_SILENCE_SECONDS = 120


class RemoteGenerator:
    """Sends the conversation to `url` (`…/v1`), with `key` as its bearer.

    The server's tokenizer is unknown here. The starter's stands in: its vocabulary is small, so it counts
    more tokens than a large model's would, which errs on the side of fitting.
    """

    def __init__(self, url: str, *, model: str, key: str | None, context_length: int) -> None:
        self.name, self.context_length = model, context_length
        self.last_written = float("-inf")
        self.tokenizer = Tokenizer.from_file(str(STARTER / "tokenizer.json"))
        self._url = f"{url}/chat/completions"
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._session: aiohttp.ClientSession | None = None

    @property
    def is_alive(self) -> bool:
        """True: whether the server is, is seen when it is asked."""
        return True

    def count(self, turns: Sequence[ChatTurn]) -> int:
        """About the tokens of the prompt; 4 a turn for the template."""
        return sum(4 + len(self.tokenizer.encode(turn.content).ids) for turn in turns)

    async def generate(
        self,
        turns: Sequence[ChatTurn],
        sampling: Sampling,
        deadline: float | None = None,
        conversation: str = "",
    ) -> AsyncGenerator[str | Ended, None]:
        """Yield pieces of text, then `Ended`. Closing the iterator closes the connection.

        The other server is not told which `conversation` it is.

        Raises `Unavailable` at the deadline, and `RemoteFailed` when the server refuses what frontdesk sent.
        """
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, connect=10, sock_read=_SILENCE_SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout)
        request = body(list(turns), sampling, self.name)
        pieces = stream_chat(self._session, self._url, request, self._headers)
        try:
            while True:
                # Never around a yield: that would time the reader.
                async with asyncio.timeout_at(deadline):
                    piece = await anext(pieces)
                self.last_written = time.monotonic()
                if isinstance(piece, Completion):
                    yield Ended(piece.finish_reason, piece.usage)
                    return
                if isinstance(piece, str):
                    yield piece
        except ContextTooLong:
            raise
        except BadRequest as error:
            # Its words are for who runs frontdesk ("Unsupported parameter"), not for a customer.
            log.error(
                "the model's server refused a request; the customer is told to try later", error=str(error)
            )
            raise RemoteFailed("The model's server refused the request.") from error
        except TimeoutError as error:
            raise Unavailable("The answer took too long.") from error
        finally:
            await pieces.aclose()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


async def discover(url: str, key: str | None) -> tuple[str, int | None]:
    """The first model that a server offers, and its context length where it says so (vLLM does).

    Raises `Unavailable` when it cannot be asked.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
            session.get(f"{url}/models", headers=headers) as response,
        ):
            response.raise_for_status()
            model = (await response.json(content_type=None))["data"][0]
            return model["id"], model.get("max_model_len")
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, IndexError) as error:
        raise Unavailable(
            f"{url}/models cannot be asked for a model: name one with FRONTDESK_REMOTE_MODEL."
        ) from error
