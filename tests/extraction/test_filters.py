"""The filters count what they take out."""

import numpy as np

from hundredth.extraction.filters import FilterConfig, filter_annotated, filter_copies

CONFIG = FilterConfig()


def test_copies_of_protected_texts_and_of_each_other_are_dropped_and_counted() -> None:
    texts = [("where is my parcel today",), ("a broken glass",), ("Where is my parcel, today!",), ("all is well",)]
    filtered = filter_copies(texts, [("A broken glass.",)], CONFIG)
    assert filtered.kept == [0, 3]
    assert list(filtered.counts.values()) == [1, 1]


def test_a_pair_is_a_copy_only_where_both_its_fields_are() -> None:
    """Silent otherwise: one long premise, and most hypotheses about it are lost, those of other labels too."""
    premise = "The committee met on Tuesday to discuss the new timetable, which would cut several late trains."
    gold = (premise, "Late trains would be cut.")
    texts = [
        (premise, "No trains would be affected."),
        (f"{premise}..", "late TRAINS would be cut"),
        ("Nothing was said of it.", "Late trains would be cut."),
        (premise, "No trains would be affected!"),
    ]
    filtered = filter_copies(texts, [gold], CONFIG)
    assert filtered.kept == [0, 2]
    assert list(filtered.counts.values()) == [1, 1]


def test_disagreement_and_low_confidence_are_counted_apart() -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.55, 0.45]], dtype=np.float32)
    filtered = filter_annotated(probabilities, [0, 0, 0], FilterConfig(agreement=True, min_confidence=0.6))
    assert filtered.kept == [0]
    assert filtered.counts == {"annotator disagrees": 1, "low confidence": 1}


def test_agreement_can_be_left_out() -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6]], dtype=np.float32)
    assert filter_annotated(probabilities, [0, 0], FilterConfig(agreement=False)).kept == [0, 1]


def test_no_texts_are_no_fault() -> None:
    assert filter_copies([], [("x",)], CONFIG).kept == []
    assert filter_annotated(np.zeros((0, 2), np.float32), [], CONFIG).kept == []
