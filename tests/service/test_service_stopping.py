"""How `hundredth serve` ends, and how it tells workers that are slow from those that are gone."""

import json
import os
import signal
import socket
import time
from contextlib import contextmanager, suppress

import pytest
from callers import PREDICT, TEXT

pytestmark = pytest.mark.slow
one_or_two = pytest.mark.parametrize("workers", [1, 2])
_BODY = json.dumps({"text": TEXT}).encode()


@pytest.fixture
def serving(run, make_model):
    """Start a service, and wait until all its workers take requests."""

    def start(workers, *options):
        service = run(make_model(), "--workers", str(workers), *options)
        service.until(lambda: len(service.workers()) == workers and service.ask("/readyz")[0] == 200)
        service.until(lambda: sum("startup complete" in line for line in service.errors) == workers)
        return service

    return start


def _begin(service):
    """Send a request's head, and see that it is being worked on; return the connection and its answer."""
    slow = socket.create_connection(("127.0.0.1", service.port), timeout=30)
    head = ["Host: localhost", "Content-Type: application/json", f"Content-Length: {len(_BODY)}"]
    slow.sendall("\r\n".join([f"POST {PREDICT} HTTP/1.1", *head, "Expect: 100-continue", "", ""]).encode())
    answer = slow.makefile("rb")
    assert answer.readline() == b"HTTP/1.1 100 Continue\r\n"
    assert answer.readline() == b"\r\n"
    return slow, answer


def _refused(service):
    try:
        socket.create_connection(("127.0.0.1", service.port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def _signal_all(service, number):
    """Send a signal to each process of a service, as a terminal does, and who stops a group of processes."""
    for process in {service.process.pid, *service.workers()}:
        os.kill(process, number)


@contextmanager
def _frozen(process):
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)


@one_or_two
def test_what_is_on_its_way_is_answered_and_what_comes_later_refused(serving, workers):
    """Silent otherwise: a caller that is not refused waits until the last worker has ended, for nothing."""
    service = serving(workers)
    begun = [_begin(service) for _ in range(4)]
    service.process.send_signal(signal.SIGTERM)
    service.until(lambda: _refused(service), 8)  # less than the time that a body may take
    for slow, answer in begun:
        slow.sendall(_BODY)
        assert answer.readline() == b"HTTP/1.1 200 OK\r\n"
        slow.close()
    assert service.ended() == 0


@one_or_two
def test_it_is_not_ready_for_a_while_before_it_takes_no_more_connections(serving, workers):
    """Also where the signal goes to all processes, so that workers get it twice; Ctrl-C ends the delay."""
    service = serving(workers, "--stop-delay", "20")
    _signal_all(service, signal.SIGTERM)
    if workers > 1:
        service.until(lambda: sum("Terminated child" in line for line in service.errors) == workers)
        time.sleep(0.5)
    service.until(lambda: service.ask("/readyz")[0] == 503, 5)
    assert service.ask(PREDICT, {"text": TEXT})[0] == 200
    for process in service.workers():
        os.kill(process, signal.SIGINT)
    service.until(lambda: _refused(service), 5)
    assert service.ended() == (0 if workers > 1 else 130)


@one_or_two
def test_an_interrupt_ends_it_as_all_commands(serving, workers):
    service = serving(workers)
    _signal_all(service, signal.SIGINT)
    assert service.ended() == 130
    assert service.errors[-1] == "stopped\n"


def test_workers_end_with_the_process_that_started_them(serving):
    service = serving(2)
    service.process.kill()
    service.until(lambda: _refused(service))
    assert service.ended() == -signal.SIGKILL


def test_a_worker_that_is_slow_is_waited_for_and_one_that_is_gone_is_not(serving):
    service = serving(2)
    first, second = service.workers()
    with _frozen(first):
        time.sleep(7)
    with _frozen(second):
        time.sleep(2)  # it is asked meanwhile whether it lives
        os.kill(second, signal.SIGKILL)
    service.until(lambda: len(service.workers()) == 3)
    assert service.workers()[:2] == [first, second]
    os.kill(first, 0)
    assert service.stop() == 0
