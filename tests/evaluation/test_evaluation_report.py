import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from hundredth.evaluation.controls import SYSTEMS
from hundredth.evaluation.evidence import confusion, kept_texts, label_scores, left_out_texts, most_wrong
from hundredth.evaluation.findings import QUESTIONS, answers, findings, findings_as_json
from hundredth.evaluation.measure import uncalibrated
from hundredth.evaluation.outcome import Cell
from hundredth.evaluation.plots import (
    SizedScore,
    reliability,
    reliability_plot,
    risk_coverage_plot,
    size_plot,
    spread_out,
)
from hundredth.evaluation.report import write_report
from hundredth.evaluation.table import show
from hundredth.evaluation.wording import count, milliseconds, percent, points, size, verdict
from hundredth.store import calibrate

# What stands beside the scores in a cell.
SIZES = {
    "retrieval": None,
    "ignores_its_store": None,
    "parameters": 1000,
    "bytes": 4000,
    "store_bytes": 0,
    "entries": 0,
    "ms_per_text": 1.0,
}
VOID = {"meta", "br", "link", "img"}


class Page(HTMLParser):
    """Collects elements, texts and attributes, and whether every element was closed."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open, self.text, self.links = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href") and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href") and value]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="session")
def html(evaluated):
    return write_report(evaluated).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def page(html):
    return Page(html)


def wrong_everywhere(evaluated):
    """The evaluation with all test labels moved by one: every right prediction becomes a wrong one."""
    moved = [replace(example, label=(example.label + 1) % 3) for example in evaluated.test]
    return replace(evaluated, test=moved)


def with_scores(evaluated, **right):
    """The evaluation with predictions of our own: each system right on the first so many of 100 texts.

    A list gives a number for each seed.
    """
    gold = np.arange(100) % 3
    cells = {}
    for system, numbers in right.items():
        for seed, number in enumerate(numbers if isinstance(numbers, list) else [numbers]):
            predicted = np.where(np.arange(100) < number, gold, (gold + 1) % 3)
            share = number / 100
            metrics = {"score": share, "accuracy": share, "macro_f1": share, "ece": 0.1, **SIZES}
            if system == "full":
                metrics |= {"retrieval": {"k": 4, "temperature": 0.1, "weight": 0.5}, "ignores_its_store": False}
            name = system.replace("_", "-").replace("--", "+")
            cells.setdefault(name, []).append(Cell(name, seed, metrics, np.eye(3)[predicted]))
    test = [replace(evaluated.test[0], label=int(label)) for label in gold]
    return replace(evaluated, test=test, cells=cells, deployed="full")


def thrice(**scores):
    """The same score with each of three seeds; the LLM has none."""
    return {name: score if name == "llm" else [score] * 3 for name, score in scores.items()}


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(page, html):
    assert page.open == []
    assert {"script", "img", "link", "iframe"}.isdisjoint(page.tags)
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"@import|url\((?!#)", html)


def test_texts_of_users_are_escaped(evaluated):
    """A report is opened from disk and sent around: a text that is run as markup would go unnoticed."""
    text = evaluated.test[-1]
    predicted = int(evaluated.cells["full"][0].probabilities[-1].argmax())
    wrong = replace(evaluated, test=[*evaluated.test[:-1], replace(text, label=(predicted + 1) % 3)])
    html = write_report(wrong).read_text(encoding="utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; courier was late" in html
    assert "&lt;script&gt;alert(&#39;kept&#39;)" in html
    assert "<b>refund" not in html
    assert "&lt;b&gt;refund" in html


def test_the_page_tells_of_every_system_and_setting(page):
    text = " ".join(" ".join(page.text).split())
    for part in (
        "llm",
        "student",
        "full",
        "gap closed",
        "min_steps: 40",
        "near-copies",
        "peak memory",
        "onnxruntime",
    ):
        assert part in text


def test_a_table_of_many_labels_has_a_cell_for_each_pair(html):
    matrix = html[html.index('class="matrix"') : html.index("</table>", html.index('class="matrix"'))]
    assert matrix.count("<td") == 9


def test_the_terminal_shows_every_system_in_80_columns(evaluated):
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    show(evaluated, console)
    shown = console.export_text()
    assert re.search(r"full \* +\d+\.\d ± \d\.\d", shown)
    assert "…" not in shown
    assert all(name in shown for name in ("llm", "student", "31 test texts, 2 seeds", "against full"))
    lines = shown.splitlines()
    assert max(map(len, lines[: lines.index(findings(evaluated)[0])])) <= 80
    assert set(findings(evaluated)) <= set(lines)


def test_confusions_count_each_text_once_a_seed(evaluated):
    counts = confusion(evaluated, "full")
    assert counts.sum() == len(evaluated.test)
    assert np.trace(counts) / counts.sum() == pytest.approx(evaluated.mean("full", "accuracy"))


@pytest.mark.parametrize("system", ["llm", "student", "full"])
def test_label_scores_average_to_macro_f1_and_begin_with_the_hardest(evaluated, system):
    """Those of each seed are averaged: not the same as the scores of all seeds' counts."""
    found = label_scores(evaluated, system)
    assert sum(one.f1 for one in found) / 3 == pytest.approx(evaluated.mean(system, "macro_f1"))
    assert [one.f1 for one in found] == sorted(one.f1 for one in found)
    assert sum(one.texts for one in found) == len(evaluated.test)


def test_the_most_wrong_texts_are_wrong_and_worst_first(evaluated):
    found, in_all = most_wrong(wrong_everywhere(evaluated), most=5)
    assert len(found) == 5
    assert in_all >= 25
    assert all(one.explanation.label != one.gold for one in found)
    assert [one.gold_probability for one in found] == sorted(one.gold_probability for one in found)


def test_knowledge_is_shown_with_its_label_and_what_was_left_out_with_the_reason(evaluated):
    run = evaluated.run
    assert [(label, len(texts)) for label, texts in kept_texts(run)] == [
        (label, 3) for label in run.data.task.labels
    ]
    assert all(one.probability == pytest.approx(0.9) for _, texts in kept_texts(run) for one in texts)
    (out,) = left_out_texts(run)
    assert out.texts == run.data.train[0].texts
    assert out.reason == "a near-copy"


def test_calibration_can_be_undone():
    before = np.random.default_rng(0).dirichlet(np.ones(4), size=20)
    np.testing.assert_allclose(uncalibrated(calibrate(before, 1.7), 1.7), before, rtol=1e-9)


def test_a_clear_gain_is_said_with_the_share_of_the_gap(evaluated):
    said = " ".join(verdict(with_scores(evaluated, **thrice(llm=95, student=70, kd_generated=80, full=90))))
    assert "The model scores 90.0 ± 0.0 % (accuracy)." in said
    assert "It is better than the same student on the gold labels alone: +20.0 points" in said
    assert "It closes 80 % of the gap" in said
    assert "Retrieval helps" in said


def test_one_training_of_each_shows_no_gain(evaluated):
    """Intervals over the texts alone leave out zero in half of the cases where there is nothing."""
    made = with_scores(evaluated, llm=95, student=60, kd_gold=62, kd_generated=80, full=90)
    said = " ".join(verdict(made))
    assert "It came out better than the same student on the gold labels alone, each trained once: +30.0" in said
    assert "other seeds may say otherwise" in said
    assert "Retrieval came out better in one training" in said
    assert findings(made)[0].startswith("Everything that the LLM gave: more with it, in one training of each: +30")
    harm = with_scores(evaluated, llm=95, student=90, kd_generated=80, full=60)
    assert "came out worse than the same student" in verdict(harm)[1]
    assert not any(" a gain" in line or " harm" in line for line in [*verdict(made), *findings(made)])


def test_a_gain_that_may_be_chance_is_not_called_one(evaluated):
    said = " ".join(verdict(with_scores(evaluated, llm=95, student=89, kd_generated=90, full=90)))
    assert "cannot be told apart from the same student" in said
    assert "Retrieval adds nothing that can be told from chance" in said


def test_harm_is_called_harm(evaluated):
    said = " ".join(verdict(with_scores(evaluated, **thrice(llm=95, student=90, kd_generated=80, full=60))))
    assert "did harm" in said
    assert "It closes nothing of the gap" in said
    assert "Retrieval does harm" in said


def test_an_llm_that_is_no_better_is_named(evaluated):
    said = " ".join(verdict(with_scores(evaluated, llm=80, student=80, kd_generated=80, full=80)))
    assert "The LLM (80.0) is itself not a point better than that student (80.0)" in said


def test_a_store_that_is_ignored_is_named(evaluated):
    made = with_scores(evaluated, llm=90, student=80, full=85)
    made.cells["full"][0].metrics["ignores_its_store"] = True
    assert "Its store adds nothing" in " ".join(verdict(made))


def test_every_question_is_about_two_systems_of_which_one_lacks_the_part():
    assert all({one.system, one.other} <= SYSTEMS.keys() and one.system != one.other for one in QUESTIONS)
    asked = {name for one in QUESTIONS for name in (one.system, one.other)}
    assert asked == SYSTEMS.keys() - {"llm"}


def test_each_control_says_what_it_shows(evaluated):
    scores = thrice(llm=95, student=60, kd_gold=62, kd_generated=80, retrieval_gold=45, no_ppo=81, full=81)
    made = with_scores(evaluated, **scores)
    for cell in made.cells["full"]:
        cell.metrics["ignores_its_store"] = True
    said = findings(made)
    assert said[0].startswith("Everything that the LLM gave: a gain: +21.0 points, 95 % interval +1")
    assert said[0].endswith(" (full − student).")
    assert said[1].startswith("The LLM's soft labels of the gold texts: nothing measurable here: +2.0 points")
    assert said[2].startswith("The texts that the LLM wrote: a gain: +18.0 points")
    assert said[3].startswith("Retrieval from the gold texts: harm: −17.0 points")
    assert said[4].startswith("Retrieval: nothing measurable here: +1.0 points")
    assert said[5] == (
        "Reinforcement learning on the soft prompt: nothing measurable here: +0.0 points, 95 % interval +0.0 to "
        "+0.0 (full − no-ppo)."
    )
    assert re.match(
        r"The LLM itself \(95\.0\) against full: \+14\.0 points, .*; full closes 60 % of the gap", said[6]
    )
    assert said[7:] == ["full: every seed ignored the store (lambda 0), because on dev it was best without."]


def test_seeds_that_ignore_their_store_are_counted(evaluated):
    made = with_scores(evaluated, full=[80, 82, 84])
    made.cells["full"][1].metrics["ignores_its_store"] = True
    assert findings(made)[-1].startswith("full: 1 of 3 seeds ignored the store")
    assert not made.ignores_its_store("full")


def test_what_the_controls_show_is_there_for_scripts(evaluated):
    made = with_scores(evaluated, llm=95, student=60, kd_gold=62, kd_generated=80, full=81)
    found = findings_as_json(made)
    pairs = {(one["system"], one["other"]): one for one in found["differences"]}
    assert {("llm", "full"), ("student", "full"), ("kd-gold", "full"), ("kd-generated", "full")} <= pairs.keys()
    assert {("full", "student"), ("full", "kd-generated"), ("kd-generated", "kd-gold")} <= pairs.keys()
    assert pairs["full", "student"]["mean"] == pytest.approx(0.21)
    assert pairs["student", "full"]["low"] == pytest.approx(-pairs["full", "student"]["high"])
    assert found["gap_closed"]["full"]["share"] == pytest.approx(0.6)
    low, high = found["gap_closed"]["full"]["interval"]
    assert low < 0.6 < high
    assert [(one["source"], one["texts"]) for one in found["contributions"]] == [("gold", 24), ("generated", 36)]
    assert found["contributions"][1]["mean"] == pytest.approx(0.18)
    assert found["findings"] == findings(made)


def test_the_report_tells_what_each_source_and_control_is_worth(evaluated):
    made = with_scores(evaluated, **thrice(llm=95, student=60, kd_gold=62, kd_generated=80, full=81))
    page = " ".join(" ".join(Page(write_report(made).read_text(encoding="utf-8")).text).split())
    assert "What each source of knowledge contributes" in page
    assert re.search(r"the texts that the LLM wrote 36 \+18\.0 \+1\d\.\d to \+2\d\.\d a gain", page)
    assert all(line in page for line in findings(made))
    assert re.search(r"student − full −21\.0 −2\d\.\d to −1\d\.\d", page)
    assert [one.worth for one in answers(made)] == [
        "a gain",
        "nothing measurable here",
        "a gain",
        "nothing measurable here",
    ]


def test_plots_are_valid_and_take_the_pages_colours():
    systems = [SizedScore("llm", 5e8, 0.9, None, False), SizedScore("full", 2e6, 0.85, 0.01, True)]
    gold = np.arange(30) % 3
    curve = np.random.default_rng(0).dirichlet(np.ones(3), size=30)
    for svg in (
        size_plot(systems, "accuracy"),
        reliability_plot(gold, [("now", curve), ("before", curve)]),
        risk_coverage_plot(gold, [curve, curve]),
    ):
        assert ElementTree.fromstring(svg.replace("xlink:href", "href")).tag == "svg"
        assert "var(--accent)" in svg
        assert not re.search(r"#0[1-9a]0", svg)


def test_plots_are_the_same_every_time():
    systems = [SizedScore("full", 2e6, 0.85, 0.01, True)]
    assert size_plot(systems, "accuracy") == size_plot(systems, "accuracy")


def test_reliability_counts_every_text_once():
    probabilities = np.array([[0.95, 0.05], [0.9, 0.1], [0.4, 0.6]])
    confidence, right, texts = reliability(np.array([0, 1, 1]), probabilities, bins=10)
    np.testing.assert_allclose(confidence, [0.6, 0.9, 0.95])
    np.testing.assert_allclose(right, [1, 0, 1])
    assert texts.tolist() == [1, 1, 1]


def test_names_are_moved_apart_and_stay_in_order():
    moved = spread_out([90.0, 90.5, 91.0, 60.0], 2.0)
    assert moved == pytest.approx([88.5, 90.5, 92.5, 60.0])


def test_numbers_are_written_for_people():
    assert percent(0.912, 0.0044) == "91.2 ± 0.4"
    assert percent(-0.009, 0.035) == "\N{MINUS SIGN}0.9 ± 3.5"
    assert percent(None) == "–"
    assert points(-0.012) == "−1.2"
    assert [count(value) for value in (950, 12_345, 4_400_000)] == ["950", "12.3k", "4.4M"]
    assert [size(value) for value in (999, 2_000_000)] == ["999 B", "2.0 MB"]
    assert [milliseconds(value) for value in (0.1234, 12.34, 123.4, 1234.0)] == ["0.123", "12.3", "123", "1,234"]
