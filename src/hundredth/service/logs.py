"""The log: one JSON object a line on standard error, one line a request, and never a text unless asked for."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

REQUESTS = logging.getLogger("hundredth.service.requests")

# For uvicorn, which sets it up in each worker.
CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "hundredth.service.logs.JsonFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {"uvicorn": {"level": "INFO"}, "hundredth": {"level": "INFO"}},
}


class JsonFormatter(logging.Formatter):
    """Writes a record as JSON: time, level, logger, message, its `fields`, and the traceback of an error."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True, default=str)
