"""Every error that the engine raises on purpose.

EngineError
├── BadRequest            the caller must change the request (400)
│   └── ContextTooLong    the message cannot fit the model's context
├── UnknownModel          no such model here (404)
├── Unauthorised          wrong or missing key (401)
├── Unavailable           try again later (503)
│   ├── Overloaded        too many answers are waiting already (429)
│   └── RemoteFailed      another server broke its promise in the middle of an answer
├── ModelUnusable         the model directory cannot be loaded
├── UnreadableDocument    a file that cannot become knowledge
├── BadTrainingData       a line of the training data is not a dialogue
└── BadEvaluationData     a line of the labelled questions is none
"""

from __future__ import annotations


class EngineError(Exception):
    """The root. `status` is the HTTP status that this error becomes, `code` its machine name."""

    status = 500
    code = "engine_error"


class BadRequest(EngineError):
    status = 400
    code = "invalid_request"


class ContextTooLong(BadRequest):
    """The last message alone is longer than the model can read."""

    code = "context_length_exceeded"

    def __init__(self, *, tokens: int, limit: int) -> None:
        self.tokens, self.limit = tokens, limit
        super().__init__(
            f"This message is {tokens} tokens long; with this model it may be at most {limit} tokens "
            f"(about {limit * 3} characters). Shorten it, or send it as a text file with 'summarise'."
        )


class UnknownModel(EngineError):
    status = 404
    code = "model_not_found"


class Unauthorised(EngineError):
    status = 401
    code = "invalid_api_key"


class Unavailable(EngineError):
    """`retry_after` in seconds."""

    status = 503
    code = "unavailable"

    def __init__(self, message: str, *, retry_after: int = 5) -> None:
        self.retry_after = retry_after
        super().__init__(message)


class Overloaded(Unavailable):
    """Nothing is broken, but the queue is full; `retry_after` is estimated from how fast it moves."""

    status = 429
    code = "overloaded"


class ModelUnusable(EngineError):
    code = "model_unusable"


class RemoteFailed(Unavailable):
    status = 502
    code = "remote_failed"


class UnreadableDocument(EngineError):
    status = 400
    code = "unreadable_document"


class BadTrainingData(EngineError):
    status = 400
    code = "bad_training_data"


class BadEvaluationData(EngineError):
    status = 400
    code = "bad_evaluation_data"
