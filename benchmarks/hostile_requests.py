"""What somebody who wishes a service ill may send it."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

_PATHS = (
    "/v1/predict",
    "/v1/explain",
    "/v1/knowledge",
    "/v1/knowledge/search",
    "/v1/knowledge/correct",
    "/v1/knowledge/undo",
)
_STRANGE_PATHS = (
    "/static/../../../../etc/passwd",
    "/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/static/..%2f..%2f..%2fetc%2fpasswd",
    "/static/....//....//etc/passwd",
    "/static//etc/passwd",
    "/static/%00",
    "//v1/model",
    "/v1/knowledge/-1",
    "/v1/knowledge/1%27%20OR%201=1--",
    "/v1/knowledge/99999999999999999999999",
    "/v1/knowledge/1e3",
    "/v1/knowledge?limit=-1",
    "/v1/knowledge?limit=99999999999999999999",
    "/v1/knowledge?after=%ff%fe",
    "/v1/knowledge?origin=%00&label=%00&contains=%00",
    "/v1/knowledge?contains=%25%27%3B--",
    "/v1/knowledge/log?limit=0x10",
    "/" + "a" * 5000,
    "/%ff%fe%fd",
    "*",
    "http://169.254.169.254/latest",
)
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "get", "G\u00cbT", "")
_VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1e308,
    10**400,
    "",
    " ",
    "\u0000",
    "\ud800",
    "\u202e\ufeff" * 100,
    "a\u0301" * 5000,
    "x" * 30_000,
    "'; DROP TABLE entries; --",
    "{{7*7}} ${jndi:ldap://x} <script>alert(1)</script>",
    [],
    [[]],
    [None],
    ["a", 1],
    [["a", "b"]],
    {},
    {"__proto__": {}, "constructor": 1},
    {"text": {"text": {}}},
    ["a"] * 300,
)
_BODIES = (
    b"",
    b"null",
    b"[]",
    b'"text"',
    b"{",
    b'{"text": "a"',
    b'{"text": "a", "text": "b"}',
    b'{"text": NaN}',
    b'{"text": "\xff\xfe"}',
    b'\xef\xbb\xbf{"text": "a"}',
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"text": "\\ud800"}',
    b'{"texts": ["' + b"x" * (2 << 20) + b'"]}',
    b"\x00" * 1000,
    b"1" * 10_000,
)
_HEADS = (
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [::1]\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [::1]\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [::1]\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(2000)) + b"\r\n",
    b"POST /v1/predict HTTP/1.1\r\nHost: [::1]\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/predict HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 99999999999999\r\n\r\n{",
    b"POST /v1/predict HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /v1/predict HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/predict HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    b"POST /v1/predict HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"POST /v1/predict HTTP/1.1\r\nHost: [::1]\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [::1]\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,
)


def hostile_requests(number: int, token: str, seed: int = 0) -> Iterator[bytes]:
    """Yield so many requests in bytes; half of those that could change something bear the token."""
    choose = random.Random(seed)
    kinds: tuple[Callable[[random.Random, str], bytes], ...] = (_json, _body, _path, _head, _noise)
    for _ in range(number):
        yield choose.choice(kinds)(choose, token)


def _request(choose: random.Random, token: str, method: str, path: str, body: bytes) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}", "Connection: close"]
    lines.append(f"Content-Type: {choose.choice(['application/json', 'application/json', 'text/xml', 'a', ''])}")
    if choose.random() < 0.5:
        lines.append(f"Authorization: Bearer {choose.choice([token, token[:-1], 'x' * 9000])}")
    if choose.random() < 0.3:
        lines.append(f"X-User: {choose.choice(['Ada', 'a' * 200, chr(0xE9) * 3, chr(9), '%0d%0aX: y'])}")
    if choose.random() < 0.3:
        lines.append(f"X-Request-Id: {choose.choice(['1', '../x', 'a' * 900, '<b>', chr(0xFF)])}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _json(choose: random.Random, token: str) -> bytes:
    names = ["text", "texts", "label", "labels", "note", "k", "change", "abstain_below", "max_error", "more"]
    content = {name: choose.choice(_VALUES) for name in choose.sample(names, choose.randint(0, 5))}
    return _request(choose, token, "POST", choose.choice(_PATHS), json.dumps(content).encode())


def _body(choose: random.Random, token: str) -> bytes:
    return _request(choose, token, "POST", choose.choice(_PATHS), choose.choice(_BODIES))


def _path(choose: random.Random, token: str) -> bytes:
    path = choose.choice([*_STRANGE_PATHS, *_PATHS])
    return _request(choose, token, choose.choice(_METHODS), path, b"")


def _head(choose: random.Random, token: str) -> bytes:
    return choose.choice(_HEADS)


def _noise(choose: random.Random, token: str) -> bytes:
    """Return a good request with some of its bytes exchanged or cut off."""
    body = json.dumps({"text": "where is it ?"}).encode()
    content = bytearray(_request(choose, token, "POST", choose.choice(_PATHS), body))
    for _ in range(choose.randint(1, 8)):
        content[choose.randrange(len(content))] = choose.randrange(256)
    return bytes(content[: choose.randint(1, len(content))] if choose.random() < 0.3 else content)
