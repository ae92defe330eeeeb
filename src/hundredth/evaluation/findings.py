"""What the controls show: what each part of the method, and each source of knowledge, is worth."""

from dataclasses import dataclass
from typing import Any

from hundredth.evaluation.outcome import Evaluation
from hundredth.evaluation.statistics import Difference
from hundredth.evaluation.wording import by, interval, percent, share
from hundredth.store import Origin


@dataclass(frozen=True)
class Question:
    """What `part` is worth: `system` has it, and `other` is the same without it."""

    part: str
    system: str
    other: str
    source: Origin | None = None


# In the order of METHODS 2: knowledge first, by its source, then the store, then how the texts were written.
QUESTIONS = (
    Question("everything that the LLM gave", "full", "student"),
    Question("everything that the LLM gave, unlabelled texts among it", "full+unlabelled", "student"),
    Question("the LLM's soft labels of the gold texts", "kd-gold", "student", "gold"),
    Question("the texts that the LLM wrote", "kd-generated", "kd-gold", "generated"),
    Question("the unlabelled texts", "kd-unlabelled", "kd-gold", "unlabelled"),
    Question("the unlabelled texts beside all else", "full+unlabelled", "full"),
    Question("retrieval from the gold texts", "retrieval-gold", "kd-gold"),
    Question("retrieval", "full", "kd-generated"),
    Question("reinforcement learning on the soft prompt", "full", "no-ppo"),
    Question("a trained prompt in place of a plain instruction", "full", "no-prompt"),
)


@dataclass(frozen=True)
class Answer:
    """What the evaluation says to a question; `texts` of its source were in the run's knowledge, if it has one."""

    question: Question
    difference: Difference
    texts: int | None

    @property
    def worth(self) -> str:
        """Say in words what the part is worth; one training of each system cannot tell that."""
        if not self.difference.is_clear:
            return "nothing measurable here"
        better = self.difference.mean > 0
        if self.difference.seeds == 1:
            return "more with it, in one training of each" if better else "less with it, in one training of each"
        return "a gain" if better else "harm"


def answers(evaluation: Evaluation) -> list[Answer]:
    """Return the answers to all questions whose two systems were evaluated."""
    knowledge = evaluation.run.knowledge
    return [
        Answer(
            one,
            evaluation.compare(one.system, one.other),
            None if one.source is None else len(knowledge.of((one.source,), augmented=False)),
        )
        for one in QUESTIONS
        if {one.system, one.other} <= evaluation.cells.keys()
    ]


def findings(evaluation: Evaluation) -> list[str]:
    """Say what each control shows, a line each, also where it shows nothing."""
    lines = []
    for one in answers(evaluation):
        question = one.question
        compared = f"{question.system} \N{MINUS SIGN} {question.other}"
        lines.append(f"{_capital(question.part)}: {one.worth}: {by(one.difference)} ({compared}).")
    reference = evaluation.reference
    if "llm" in evaluation.cells and reference != "llm":
        lines.append(_against_llm(evaluation, reference))
    for name in evaluation.cells:
        ignoring, having = evaluation.ignoring_its_store(name)
        if ignoring:
            who = "every seed" if ignoring == having else f"{ignoring} of {having} seeds"
            lines.append(f"{name}: {who} ignored the store (lambda 0), because on dev it was best without.")
    return lines


def findings_as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return differences, shares of the gap and findings as plain values, scores as fractions."""
    reference = evaluation.reference
    found = answers(evaluation)
    pairs = [(name, reference) for name in evaluation.cells if name != reference]
    pairs += [(one.question.system, one.question.other) for one in found]
    return {
        "differences": [
            {"system": system, "other": other, **evaluation.compare(system, other).to_dict()}
            for system, other in dict.fromkeys(pairs)
        ],
        "gap_closed": {
            name: {"share": closed, "interval": evaluation.gap_interval(name)}
            for name in evaluation.cells
            if (closed := evaluation.gap_closed(name)) is not None
        },
        "contributions": [
            {"source": one.question.source, "texts": one.texts, **one.difference.to_dict()}
            for one in found
            if one.question.source is not None
        ],
        "findings": findings(evaluation),
        "notes": evaluation.notes,
    }


def _against_llm(evaluation: Evaluation, system: str) -> str:
    gap = evaluation.compare("llm", system)
    closed, between = evaluation.gap_closed(system), evaluation.gap_interval(system)
    line = f"The LLM itself ({percent(evaluation.mean('llm', 'score'))}) against {system}: {by(gap)}"
    if closed is None:
        return f"{line}."
    unsure = f" ({interval(*between, share)})" if between is not None else ", though of a gap that may be nothing"
    return f"{line}; {system} closes {share(closed)} of the gap from student to LLM{unsure}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
