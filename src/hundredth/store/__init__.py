"""The knowledge store: entries in SQLite, a derived search index, the retrieval maths; no torch."""

from hundredth.store.changes import Change
from hundredth.store.entries import ORIGINS, Entry, Origin
from hundredth.store.index import Neighbours
from hundredth.store.listing import Filter, Page
from hundredth.store.retrieval import (
    calibrate,
    decide,
    late_shares,
    late_weights,
    mix,
    mixture,
    neighbour_distribution,
    neighbour_weights,
    neighbours_needed,
    softmax,
)
from hundredth.store.store import KnowledgeStore

__all__ = [
    "ORIGINS",
    "Change",
    "Entry",
    "Filter",
    "KnowledgeStore",
    "Neighbours",
    "Origin",
    "Page",
    "calibrate",
    "decide",
    "late_shares",
    "late_weights",
    "mix",
    "mixture",
    "neighbour_distribution",
    "neighbour_weights",
    "neighbours_needed",
    "softmax",
]
