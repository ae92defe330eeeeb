"""How the service itself is doing: alive, ready, its numbers."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from hundredth.service.bodies import guarded
from hundredth.service.errors import unavailable
from hundredth.service.metrics import CONTENT_TYPE
from hundredth.service.openapi import answers
from hundredth.service.replies import reply
from hundredth.service.response_models import Problem, Status
from hundredth.service.service import Service


def state_routes(service: Service) -> APIRouter:
    """Return the routes for whoever runs the service."""
    open_routes = APIRouter(route_class=guarded(service.access, service.settings, "nothing"), tags=["service"])
    reads = APIRouter(route_class=guarded(service.access, service.settings, "read"), tags=["service"])

    async def alive() -> Response:
        """Say that the process lives."""
        return reply({"status": "ok"})

    async def ready() -> Response:
        """Say whether requests are taken: a model is loaded, and the service is not stopping."""
        if service.stopping:
            raise unavailable("the service is stopping")
        return reply({"status": "ready"})

    for path, handler, errors in (("/healthz", alive, ()), ("/readyz", ready, (503,))):
        open_routes.add_api_route(
            path,
            handler,
            responses={
                200: {"model": Status, "description": "Yes."},
                **{number: {"model": Problem, "description": "No."} for number in errors},
            },
        )
        open_routes.add_api_route(path, handler, methods=["HEAD"], include_in_schema=False)

    numbers = {"content": {"text/plain": {"example": "hundredth_queue_texts 0.0\n"}}, "description": "Numbers."}

    @reads.get("/metrics", response_class=Response, responses={**answers(Status, ""), 200: numbers})
    async def metrics(request: Request) -> Response:
        """Give the numbers for Prometheus."""
        with service.models.using() as served:
            info = {
                "task": served.model.manifest.task.name,
                "version": served.version,
                "number_format": served.model.manifest.encoder.precision,
            }
            text = await service.count(request, served, lambda: service.metrics.text(info, served.entries()))
            return Response(text, headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})

    open_routes.include_router(reads)
    return open_routes
