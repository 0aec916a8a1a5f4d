"""Logging for every process: one line an event on standard error, with sensitive content removed.

The filter runs over every value as a last defence; nothing should log what customers write at all.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from engine.filter import find

# Shapes of platform tokens and bearer keys (reliability: tokens leak through error texts most often).
_TOKENS = re.compile(
    r"xox[abeprs]-[\w-]{8,}|xapp-[\w-]{8,}|\b[\w-]{23,28}\.[\w-]{6,7}\.[\w-]{27,}|(?i:bearer)\s+[\w.~+/=-]{8,}"
)


def clean(text: str) -> str:
    """`text` without tokens and without what the sensitive-content filter finds."""
    text = _TOKENS.sub("<TOKEN>", text)
    for finding in reversed(find(text)):
        text = text[: finding.start] + f"<{finding.entity}>" + text[finding.end :]
    return text


def _clean_event(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: clean(value) if isinstance(value, str) else value for key, value in event.items()}


def configure(level: str) -> None:
    """Send our own log and that of every library through one formatter to standard error."""
    # Read by transformers and huggingface_hub when they are imported, which is later than this.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _clean_event,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in (
        "httpx",
        "httpx2",
        "uvicorn",
        "uvicorn.error",
        "uvicorn.access",
        "apscheduler",
        "discord",
        "slack_bolt",
        "filelock",
    ):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger called `name`."""
    bound: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return bound
