"""What all routes share: the model in use, the threads that work with it, and the limits."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from starlette.requests import Request

from hundredth.runtime import Answers, Model
from hundredth.runtime.texts import as_fields
from hundredth.service.access import Access
from hundredth.service.batching import Batcher
from hundredth.service.envelope import note
from hundredth.service.errors import ApiError
from hundredth.service.metrics import Metrics
from hundredth.service.models import Models, Served
from hundredth.service.pool import Pool, wait_for
from hundredth.service.settings import ServiceSettings
from hundredth.store.checks import is_printable

T = TypeVar("T")
Row = tuple[str, ...]
_LONGEST_NAME = 100  # characters
_THREADS = 4  # for all that reads but predictions, and as many for changes


class Service:
    """One process of a service."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.access = Access(settings)
        self.metrics = Metrics()
        self.models = Models(settings.folder.absolute(), settings.threads, settings.engine, self.metrics)
        self.batcher = Batcher(self.models, self.metrics, settings.max_batch, settings.max_queue)
        self.pool = Pool(self.models, _THREADS, settings.max_pending)
        # Apart, as they may wait long for another process's change to end.
        self.changes = Pool(self.models, _THREADS, settings.max_pending)
        self.numbers = Pool(self.models, 1)
        self.stopping = False

    def rows(self, request: Request, model: Model, texts: Sequence[Any]) -> list[Row]:
        """Return the texts of a request in the form of the runtime.

        Raises:
            ApiError: 413, too many or too long.
            UserError: they do not fit the model's fields.
        """
        note(request, texts=len(texts))
        if len(texts) > self.settings.max_texts:
            raise ApiError(413, "too_large", f"{len(texts)} texts: at most {self.settings.max_texts} a request")
        rows = as_fields(texts, model.fields)
        longest = self.settings.max_characters
        for position, row in enumerate(rows):
            if sum(map(len, row)) > longest:
                raise ApiError(413, "too_large", f"text {position} is longer than {longest} characters: cut it")
        if self.settings.log_texts:
            note(request, content=rows)
        return rows

    async def predict(self, request: Request, served: Served, rows: list[Row]) -> Answers:
        """Predict texts, together with those of other requests."""
        return await wait_for(request, self.batcher.submit(served, rows), self.settings.request_timeout)

    async def run(self, request: Request, served: Served, work: Callable[[], T]) -> T:
        """Do something with the model in a thread."""
        return await wait_for(request, self.pool.submit(served, work), self.settings.request_timeout)

    async def change(self, request: Request, served: Served, work: Callable[[], T]) -> T:
        """Change the knowledge in a thread: as `run`, which others that wait for a lock do not hold up."""
        return await wait_for(request, self.changes.submit(served, work), self.settings.request_timeout)

    async def count(self, request: Request, served: Served, work: Callable[[], T]) -> T:
        """Do the same in a thread of its own: numbers are wanted most when there is too much else to do."""
        return await wait_for(request, self.numbers.submit(served, work), self.settings.request_timeout)

    def close(self) -> None:
        """Finish what is being done, and close the model, which saves its index."""
        self.batcher.close()
        self.pool.close()
        self.changes.close()
        self.numbers.close()
        self.models.close()


def name_of(request: Request) -> str:
    """Return who the caller says to be, for the log of changes.

    Raises:
        ApiError: 422, the name is too long or no text.
    """
    given = request.headers.get("x-user", "")
    try:
        name = given.encode("latin-1").decode()
    except UnicodeDecodeError:  # as browsers send it
        name = given
    name = name.strip() or "http"
    if len(name) > _LONGEST_NAME or not is_printable(name):
        message = f"the name in X-User must be at most {_LONGEST_NAME} printable characters"
        raise ApiError(422, "bad_request", message)
    return name
