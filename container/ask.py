"""Ask a service that has just been started; an answer that is not as it must be ends this with an error.

    python container/ask.py ADDRESS TOKEN_FILE [--read-only]

Answers are asked for, and a change, which must be refused without the token. With it the change must hold; with
--read-only, of a model that is mounted so, it must be refused too. Nothing but the standard library is needed.
"""

import json
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

address, token, options = sys.argv[1], Path(sys.argv[2]).read_text().strip(), sys.argv[3:]


def ask(path, content=None, headers=None):
    """Return the status and the body of an answer; `content` is sent as JSON."""
    body = None if content is None else json.dumps(content).encode()
    request = Request(address + path, body, {"Content-Type": "application/json", **(headers or {})})
    with urlopen(request, timeout=10) as answer:
        return answer.status, answer.read().decode()


def refused(content, headers=None):
    """Return the status with which a change is refused."""
    try:
        ask("/v1/knowledge/correct", content, headers)
    except HTTPError as error:
        return error.code
    sys.exit("the knowledge was changed, and must not be")


status, body = ask("/healthz")
print("/healthz", status, body)
fields = json.loads(ask("/v1/model")[1])["fields"]
text = dict.fromkeys(fields, "where can a parcel be picked up")
status, body = ask("/v1/predict", {"texts": [text]})
(before,) = json.loads(body)["predictions"]
assert abs(sum(before["probabilities"].values()) - 1) < 1e-6, body
print("/v1/predict", status, before["label"], round(before["probability"], 3))
change = {"text": text, "label": min(before["probabilities"], key=before["probabilities"].get)}
print("/v1/knowledge/correct", refused(change), "without the token")
allowed = {"Authorization": f"Bearer {token}"}
if "--read-only" in options:
    print("/v1/knowledge/correct", refused(change, allowed), "with it: the model is read-only")
else:
    ask("/v1/knowledge/correct", change, allowed)
    (after,) = json.loads(ask("/v1/predict", {"texts": [text]})[1])["predictions"]
    assert after["label"] == change["label"] != before["label"], after
    print("/v1/knowledge/correct 200 with it:", after["label"], round(after["probability"], 3))
assert "hundredth_requests_total" in ask("/metrics")[1]
assert "<html" in ask("/")[1]
print("/metrics 200, / 200")
