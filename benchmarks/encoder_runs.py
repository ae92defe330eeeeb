"""The runs of benchmarks/encoder_ranking.py: bases, systems with their teachers, seeds, and settings to try."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

BASES = ("bert-tiny", "minilm-3")
# None: the rate that is chosen by the width.
RATES = {"bert-tiny": 2e-4, "minilm-3": None}
START = "start"
# Systems with their teachers, those without training and without teachers first.
SYSTEMS: list[tuple[str, tuple[str, ...]]] = [
    (START, ()),
    ("simcse", ()),
    ("consistency", ()),
    ("listnet", ("minilm",)),
    ("listmle", ("minilm",)),
    ("rankcse", ("minilm",)),
    ("rankcse", ("minilm", "mpnet")),
    ("rankcse", ("label-free",)),
]
WEIGHTS: dict[tuple[str, ...], list[float]] = {("minilm", "mpnet"): [1 / 3, 2 / 3]}
SEEDS, MORE_SEEDS = 3, 5
# The seed that draws the sentences.
DRAW = 0
# What is compared with most care has more seeds.
CLOSE = {("bert-tiny", "simcse"), ("bert-tiny", "rankcse")}
# Changes to full RankCSE, as `--set` takes them.
_MEAN = ("listwise=listmle", "listmle_reduction=mean")
VARIANTS: list[tuple[str, ...]] = [
    (),
    ("exclude_diagonal=false",),
    ("ranking_weight=0.3",),
    ("ranking_weight=3",),
    ("teacher_temperature=0.0125",),
    ("teacher_temperature=0.05",),
    ("student_temperature=0.025",),
    ("student_temperature=0.1",),
    ("temperature=0.1",),
    ("listwise=listmle",),
    ("listwise=listmle", "ranking_weight=0.3"),
    ("listwise=listmle", "ranking_weight=3"),
    ("listwise=listmle", "exclude_diagonal=false"),
    _MEAN,
    (*_MEAN, "exclude_diagonal=false"),
    (*_MEAN, "ranking_weight=0.3"),
    (*_MEAN, "ranking_weight=3"),
]


@dataclass(frozen=True)
class Run:
    """One encoder: a base, trained by a method with some teachers and changed settings, from one seed."""

    base: str
    system: str
    teachers: tuple[str, ...]
    seed: int
    changes: tuple[str, ...] = ()

    @property
    def task(self) -> str:
        """The base and the teachers, which results are told apart by."""
        return ", ".join(filter(None, (self.base, " + ".join(self.teachers))))

    @property
    def name(self) -> str:
        """The name of the folder."""
        parts = (self.base, self.system, "+".join(self.teachers), *self.changes, str(self.seed))
        return "-".join(filter(None, parts))


def main_runs(bases: Sequence[str], systems: Sequence[str], teachers: Collection[str], seeds: int) -> list[Run]:
    """Return the runs of the main table, in the order to do them: the first seed of all systems first."""
    found = []
    for base in bases:
        for seed in range(seeds):
            for system, named in SYSTEMS:
                last = 1 if system == START else MORE_SEEDS if (base, system) in CLOSE else SEEDS
                if seed < last and system in systems and set(named) <= set(teachers):
                    found.append(Run(base, system, named, seed))
    return found


def ablation_runs(seeds: int) -> list[Run]:
    """Return the runs that try other settings."""
    return [
        Run("bert-tiny", "rankcse", ("minilm",), seed, changes)
        for seed in range(min(seeds, SEEDS))
        for changes in VARIANTS
    ]
