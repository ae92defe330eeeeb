"""JSON as RFC 8259 has it and nothing beyond: what Python's parser lets pass is refused here."""

import json
from typing import Any, NoReturn


class BadJSONError(ValueError):
    """What is wrong with a body, to be read after "the body is not valid JSON: "."""


def parse(body: bytes) -> Any:
    """Return the value of a JSON document in UTF-8.

    Raises:
        BadJSONError: it is no JSON, or holds NaN, an infinity, a name twice, half a surrogate pair or much depth.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadJSONError(f"it is not UTF-8 ({error.reason} at byte {error.start})") from None
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse)
        # Escapes are the only way for half a pair to get past the decoding above.
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise BadJSONError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise BadJSONError(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except UnicodeEncodeError:
        raise BadJSONError("it holds half of a surrogate pair, which is no character") from None
    except BadJSONError:
        raise
    except ValueError:
        raise BadJSONError("it holds a number with too many digits") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise BadJSONError("an object holds the same name twice")
    return made


def _refuse(constant: str) -> NoReturn:
    raise BadJSONError(f"{constant} is no number that JSON knows")
