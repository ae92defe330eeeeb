"""Predicting for many requests together: what arrives while a batch is being predicted forms the next one."""

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hundredth.runtime import Answers, Nearness
from hundredth.runtime.model import stacked
from hundredth.service.errors import too_many
from hundredth.service.metrics import Metrics
from hundredth.service.models import Models, Served

Row = tuple[str, ...]


class _Job:
    """The texts of one request, and what has been predicted of them so far."""

    def __init__(self, served: Served, rows: list[Row], future: "asyncio.Future[Answers]") -> None:
        self.served, self.rows, self.future = served, rows, future
        self.taken = 0
        self.parts: list[Answers] = []
        self.left = False

    @property
    def waiting(self) -> int:
        """How many of its texts no batch has taken yet."""
        return len(self.rows) - self.taken


class Batcher:
    """The queue of a process and the one thread that works it off; all but the predicting runs in the event loop.

    A request that finds the queue empty is predicted at once. One with more texts than a batch takes has its turn
    with each batch, so that it does not hold up the others.
    """

    def __init__(self, models: Models, metrics: Metrics, most_together: int, most_waiting: int) -> None:
        self._models, self._metrics = models, metrics
        self._most_together, self._most_waiting = most_together, most_waiting
        self._jobs: deque[_Job] = deque()
        self._waiting = 0
        self._work: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "predict")

    def submit(self, served: Served, rows: list[Row]) -> "asyncio.Future[Answers]":
        """Queue texts; the future is cancelled by those who no longer want the answers.

        Raises:
            ApiError: 429, too many texts are waiting.
        """
        if self._waiting and self._waiting + len(rows) > self._most_waiting:
            raise too_many(f"{self._waiting} texts are waiting already, at most {self._most_waiting} may")
        loop = asyncio.get_running_loop()
        job = _Job(served, rows, loop.create_future())
        self._models.take(served)
        self._jobs.append(job)
        self._count(len(rows))
        if self._work is None:
            self._work = loop.create_task(self._work_off())
        return job.future

    def close(self) -> None:
        """Wait for the batch in work."""
        self._thread.shutdown(wait=True)

    async def _work_off(self) -> None:
        try:
            while batch := self._next():
                await self._predict(batch)
        finally:
            self._work = None

    def _next(self) -> list[tuple[_Job, list[Row]]]:
        """Take the texts of the next batch from the queue, all for one model; empty when there is nothing to do."""
        batch: list[tuple[_Job, list[Row]]] = []
        room = self._most_together
        while self._jobs and room:
            job = self._jobs[0]
            if batch and job.served is not batch[0][0].served:
                break
            self._jobs.popleft()
            if job.future.done():  # nobody wants it any more, or a part of it has failed
                self._count(-job.waiting)
                self._leave(job)
                continue
            rows = job.rows[job.taken : job.taken + room]
            job.taken += len(rows)
            room -= len(rows)
            self._count(-len(rows))
            batch.append((job, rows))
        if batch and batch[-1][0].waiting:
            self._jobs.append(batch[-1][0])
        return batch

    async def _predict(self, batch: list[tuple[_Job, list[Row]]]) -> None:
        rows = [row for _, part in batch for row in part]
        predict = batch[0][0].served.model.answer
        try:
            answers = await asyncio.get_running_loop().run_in_executor(self._thread, predict, rows)
        except Exception as error:
            if len(batch) > 1:  # one request's text must not spoil the others'
                for one in batch:
                    await self._predict([one])
                return
            job = batch[0][0]
            if not job.future.done():
                job.future.set_exception(error)
            if not job.waiting:
                self._leave(job)
            return
        self._metrics.batches.observe(len(rows))
        start = 0
        for job, part in batch:
            job.parts.append(_slice(answers, start, start + len(part)))
            start += len(part)
            if not job.waiting:
                if not job.future.done():
                    job.future.set_result(_joined(job.parts))
                self._leave(job)

    def _leave(self, job: _Job) -> None:
        if not job.left:
            job.left = True
            self._models.give_back(job.served)

    def _count(self, texts: int) -> None:
        self._waiting += texts
        self._metrics.queue.set(self._waiting)


def _slice(answers: Answers, start: int, stop: int) -> Answers:
    rows, near = slice(start, stop), answers.nearness
    return Answers(answers.probabilities[rows], Nearness(near.similarity[rows], near.quantile[rows]))


def _joined(parts: list[Answers]) -> Answers:
    if len(parts) == 1:
        return parts[0]
    return Answers(
        stacked([part.probabilities for part in parts]),
        Nearness(
            np.concatenate([part.nearness.similarity for part in parts]),
            np.concatenate([part.nearness.quantile for part in parts]),
        ),
    )
