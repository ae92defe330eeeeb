"""Looking at the knowledge and changing it."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from hundredth.errors import UnknownLabelError
from hundredth.runtime import ModelStore
from hundredth.runtime.knowledge import labelled
from hundredth.service.bodies import guarded
from hundredth.service.errors import ApiError
from hundredth.service.models import Served
from hundredth.service.openapi import SECURED, answers, body_answers
from hundredth.service.replies import reply
from hundredth.service.request_models import LARGEST_ID, AddRequest, CorrectRequest, SearchRequest, UndoRequest
from hundredth.service.response_models import Added, Changed, EntryPage, EntryShown, Hits, Log, Origin
from hundredth.service.service import Service, name_of
from hundredth.store import Change, Entry

T = TypeVar("T")
_MOST_SHOWN = 1000
_Id = Annotated[int, Path(ge=1, le=LARGEST_ID, description="Id of an entry.", examples=[17])]
_Limit = Annotated[int, Query(ge=1, le=_MOST_SHOWN, description="How many at most.", examples=[50])]


def reading_routes(service: Service) -> APIRouter:
    """Return the routes that look at the knowledge."""
    reads = APIRouter(route_class=guarded(service.access, service.settings, "read"), tags=["knowledge"])

    @reads.get("/v1/knowledge", responses=answers(EntryPage, "A page of entries.", 404, 422))
    async def entries(
        request: Request,
        limit: _Limit = 50,
        after: Annotated[int, Query(ge=0, le=LARGEST_ID, description="Id to go on after.", examples=[0])] = 0,
        origin: Annotated[Origin | None, Query(description="Of this origin only.", examples=["user"])] = None,
        label: Annotated[str | None, Query(description="With this label only.", examples=["refund"])] = None,
        contains: Annotated[str, Query(max_length=1000, description="With these words.", examples=["card"])] = "",
        least_sure: Annotated[bool, Query(description="Those to look at first.", examples=[False])] = False,
    ) -> Response:
        """List entries in order of id; an entry without a label of its own counts by its likeliest.

        With `least_sure` those that no person labelled, the ones of whose label the LLM was least sure first; they
        have no `next`.
        """
        with service.models.using() as served:
            store = _store(served)
            page = await service.run(
                request,
                served,
                partial(
                    store.find,
                    origin=origin,
                    label=label,
                    contains=contains,
                    after=after,
                    limit=limit,
                    least_sure=least_sure,
                ),
            )
            shown = [_shown(served, entry) for entry in page.entries]
            return reply({"entries": shown, "next": page.following, "total": page.total})

    @reads.get("/v1/knowledge/log", responses=answers(Log, "The latest changes.", 404, 422))
    async def log(request: Request, limit: _Limit = 50) -> Response:
        """Say who changed what, when and why, the latest first."""
        with service.models.using() as served:
            changes = await service.run(request, served, partial(_store(served).log, limit))
            return reply({"changes": [_told(change) for change in changes]})

    @reads.get("/v1/knowledge/{id}", responses=answers(EntryShown, "The entry.", 404, 422))
    async def entry(request: Request, id: _Id) -> Response:
        """Show an entry."""
        with service.models.using() as served:
            found = await service.run(request, served, partial(_store(served).get, id))
            return reply(_shown(served, found))

    @reads.post("/v1/knowledge/search", responses=body_answers(Hits, "The nearest entries.", 404))
    async def search(request: Request, asked: SearchRequest) -> Response:
        """Find the entries nearest to a text."""
        with service.models.using() as served:
            store = _store(served)
            [row] = service.rows(request, served.model, [asked.text])
            hits = await service.run(request, served, partial(store.search, row, asked.k))
            shown = [{"entry": _shown(served, hit.entry), "similarity": hit.similarity} for hit in hits]
            return reply({"hits": shown})

    return reads


def writing_routes(service: Service) -> APIRouter:
    """Return the routes that change the knowledge."""
    writes = APIRouter(route_class=guarded(service.access, service.settings, "write"), tags=["knowledge"])

    @writes.post(
        "/v1/knowledge",
        status_code=201,
        responses=body_answers(Added, "The new entries.", 403, 404, status=201),
        openapi_extra=SECURED,
    )
    async def add(request: Request, asked: AddRequest) -> Response:
        """Add texts with their labels, new ones where that is said; the next prediction knows of them."""
        with service.models.using() as served:
            store, by = _writable(served), name_of(request)
            rows = service.rows(request, served.model, asked.texts)
            given = labelled(rows, asked.labels)
            work = partial(store.put, given, new_labels=asked.new_labels, by=by, note=asked.note)
            change = await service.change(request, served, partial(_hinting, work, "new_labels"))
            assert change is not None
            return reply({"ids": list(change.added), "change": _told(change)}, 201)

    @writes.post(
        "/v1/knowledge/correct",
        responses=body_answers(Changed, "The change.", 403, 404),
        openapi_extra=SECURED,
    )
    async def correct(request: Request, asked: CorrectRequest) -> Response:
        """Say what a text's label is: it holds at once for the text and all nearly identical ones."""
        with service.models.using() as served:
            store, by = _writable(served), name_of(request)
            [row] = service.rows(request, served.model, [asked.text])
            work = partial(store.correct, row, asked.label, new_label=asked.new_label, by=by, note=asked.note)
            change = await service.change(request, served, partial(_hinting, work, "new_label"))
            return reply({"change": _told(change)})

    @writes.delete(
        "/v1/knowledge/{id}",
        responses=answers(Changed, "The change.", 403, 404, 422),
        openapi_extra=SECURED,
    )
    async def delete(request: Request, id: _Id) -> Response:
        """Delete an entry; the log keeps it, so that this can be undone."""
        with service.models.using() as served:
            work = partial(_writable(served).forget, [id], by=name_of(request))
            return reply({"change": _told(await service.change(request, served, work))})

    @writes.post(
        "/v1/knowledge/undo",
        responses=body_answers(Changed, "The change that this makes.", 403, 404, 409),
        openapi_extra=SECURED,
    )
    async def undo(request: Request, asked: UndoRequest) -> Response:
        """Take a change back; that is a change too, and can be undone."""
        with service.models.using() as served:
            work = partial(_writable(served).undo, asked.change, by=name_of(request))
            return reply({"change": _told(await service.change(request, served, work))})

    return writes


def _store(served: Served) -> ModelStore:
    if not served.model.has_store:
        raise ApiError(404, "not_found", "this model has no knowledge store: it is a plain classifier")
    return served.model.store


def _writable(served: Served) -> ModelStore:
    store = _store(served)
    if not store.writable:
        raise ApiError(403, "forbidden", "the model's folder is read-only here, so nothing can be changed")
    return store


def _hinting(work: Callable[[], T], setting: str) -> T:
    """Do it; where it fails for a label that the model does not know, say what would add it."""
    try:
        return work()
    except UnknownLabelError as error:
        raise UnknownLabelError(f'{error}: send "{setting}": true') from None


def _told(change: Change) -> dict[str, Any]:
    # What filled the store stays, and so does a label, which is a change without entries.
    stays = change.filled or not (change.added or change.removed)
    return {**change.to_dict(), "undoable": not (change.undone or stays)}


def _shown(served: Served, entry: Entry) -> dict[str, Any]:
    soft = entry.soft_label.tolist()
    labels = served.model.labels[: len(soft)]  # one may have been added since the entry was read
    best = int(entry.soft_label.argmax())
    return {
        "id": entry.id,
        "texts": dict(zip(served.model.fields, entry.texts, strict=True)),
        "label": None if entry.label is None else labels[entry.label],
        "likeliest": labels[best],
        "probability": soft[best],
        "soft_label": dict(zip(labels, soft, strict=True)),
        "origin": entry.origin,
        "added": entry.created,
    }
