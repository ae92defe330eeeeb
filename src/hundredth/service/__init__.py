"""The HTTP service of a model: predict, explain, and look at and change its knowledge; no torch."""

from hundredth.service.app import create_app
from hundredth.service.settings import ServiceSettings

__all__ = ["ServiceSettings", "create_app"]
