"""The application: routes, errors, and what begins and ends with the process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version

from fastapi import FastAPI, Request
from starlette.responses import Response

from hundredth.errors import UnavailableError, UserError
from hundredth.service.envelope import Envelope
from hundredth.service.errors import add_handlers, from_user_error
from hundredth.service.hosts import Hosts, accepted_hosts
from hundredth.service.knowledge_routes import reading_routes, writing_routes
from hundredth.service.openapi import describe
from hundredth.service.page import docs_routes, page_routes
from hundredth.service.predict_routes import predict_routes
from hundredth.service.service import Service
from hundredth.service.settings import ServiceSettings
from hundredth.service.signals import handled
from hundredth.service.state_routes import state_routes


def create_app(settings: ServiceSettings) -> FastAPI:
    """Load the model and return the application that serves it; `app.state.service` is the `Service`.

    The application answers as it is. Run by a server it also looks for new models, and closes the model at the end.

    Raises:
        UserError: the model cannot be loaded, or the settings do not go together.
    """
    accepted = accepted_hosts(settings)
    service = Service(settings)
    app = FastAPI(
        title="hundredth",
        version=version("hundredth"),
        description="A small model with a knowledge store: predict, explain, correct.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_life,
    )
    app.state.service = service
    for routes in (
        predict_routes(service),
        reading_routes(service),
        writing_routes(service),
        state_routes(service),
    ):
        app.include_router(routes)
    app.include_router(page_routes())
    if settings.api_docs:
        app.include_router(docs_routes())
    add_handlers(app)

    async def of_the_model(request: Request, error: Exception) -> Response:
        assert isinstance(error, UserError)
        if isinstance(error, UnavailableError):
            service.models.poke()  # the folder may have been replaced
        return from_user_error(error, settings.folder.absolute()).response()

    app.add_exception_handler(UserError, of_the_model)
    app.add_middleware(Hosts, accepted=accepted)
    app.add_middleware(Envelope, metrics=service.metrics)
    describe(app, service.access)
    return app


@contextlib.asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    watching = asyncio.create_task(service.models.watch(service.settings.watch))
    try:
        with handled(service):
            yield
    finally:
        service.stopping = True
        watching.cancel()
        await asyncio.to_thread(service.close)
