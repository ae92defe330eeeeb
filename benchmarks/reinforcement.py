"""What reinforcement learning on the soft prompt buys: PPO and GRPO, with TRL's GRPO beside them.

All start from the tuned prompt and the annotator of a finished run of transfer.py (SmolLM2-135M), which is only
read. They learn from the same rewards, in the same number of steps of the same number of texts, drawn alike. What
comes out is put into our sampler, which draws and scores the same number of texts with the same random numbers for
each; `tuned` is the prompt before. Then the texts are written that benchmarks/closeness.py compares with real ones.

A cell is one task, seed and system, in a process of its own. Stopped and started again, the unfinished cells are
done; results are written after each. Where TRL is not installed, its cells are left out.

    python benchmarks/reinforcement.py [--seeds 3] [--task trec ...] [--system ppo ...] [--steps 10] [--trial]
"""

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from itertools import count, product
from pathlib import Path
from typing import Any

from knowledge_trials import TASKS, USUAL
from platformdirs import user_cache_dir
from publish import Key, in_order, publish
from reinforcement_trl import import_trl, trl_version, with_trl
from transfer import RESULTS, run_jobs
from transfer import WORK as RUNS

from hundredth.extraction.ensemble import load_annotator
from hundredth.extraction.llm import load_llm
from hundredth.extraction.policy import Policy
from hundredth.extraction.ppo import Experience
from hundredth.extraction.reinforcement import reinforce
from hundredth.extraction.rewards import Length, Quality, WeightedReward
from hundredth.extraction.rl_config import Algorithm, RLConfig
from hundredth.extraction.rollout import draw_rollout
from hundredth.extraction.self_bleu import diversity
from hundredth.extraction.soft_prompt import PromptedLLM, SoftPrompt
from hundredth.files import read_json, write_json
from hundredth.pipeline.extract import longest_text, make_samples
from hundredth.pipeline.progress import Reporter
from hundredth.pipeline.run import Run
from hundredth.pipeline.transfer import threads

WORK = Path(user_cache_dir("hundredth")) / "reinforcement"
ALGORITHMS: dict[str, Algorithm] = {"tuned": "none", "ppo": "ppo", "grpo": "grpo", "trl": "grpo"}
COMPARED = ("ppo - trl", "grpo - trl")
CELL = "cell.json"
PER_TOKEN = "gain_per_1000_tokens"
# A multiple of six labels and of the minibatch, which TRL asks for.
ROLLOUT = 48
# Texts that each system is measured by, and those that closeness.py reads.
MEASURED, WRITTEN = 256, 500
# Settings that neither `tuned` nor `trl` reads: their cells stay when one of these changes.
_OURS = {
    *("value_learning_rate", "value_clip", "discount", "gae_decay", "kl_target", "kl_horizon", "kl_stop"),
    *("least_diversity", "most_duplicates", "most_kl", "patience", "log_every"),
}
# No learning draws with it, so that nothing is measured by the random numbers that it was learnt with.
_SEED = 1_000
_TRIAL = {"steps": 2, "rollout": 12, "batch_size": 6}
_TRIAL_TEXTS = 12


class Agreement(Quality):
    """1 for a text whose likeliest label, to the annotator, is the one it was written for; else 0."""

    def __call__(self, texts: list[tuple[str, ...]], labels: list[int]) -> list[float]:
        """Say of each text whether the annotator agrees."""
        likeliest = self.probabilities(texts).argmax(axis=1)
        return [float(one == label) for one, label in zip(likeliest, labels, strict=True)]


def settings(system: str, steps: int, seed: int, *, trial: bool) -> dict[str, Any]:
    """Return what decides what a cell comes to: one that was finished with other settings is done again."""
    of_size = _TRIAL if trial else {"steps": steps, "rollout": ROLLOUT}
    config = RLConfig(algorithm=ALGORITHMS[system], seed=seed, **of_size)
    texts = (_TRIAL_TEXTS, _TRIAL_TEXTS) if trial else (MEASURED, WRITTEN)
    unread = _OURS if system in ("tuned", "trl") else None
    return {"rl": config.model_dump(mode="json", exclude=unread), "measured": texts[0], "written": texts[1]}


def run_cell(run: Run, system: str, chosen: dict[str, Any], folder: Path) -> None:
    """Let one system learn, measure what it came to, and write its texts; what says that it is whole comes last."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config, words, llm = RLConfig(**chosen["rl"]), run.data.task.verbalisation, run.llm
    prompt = SoftPrompt.load(run.root / "prompt" / "prompt.safetensors").to(llm.device)
    tuned = PromptedLLM(llm, words, prompt)
    most = run.config.prompt.max_tokens
    longest = longest_text(tuned, run.data, most)
    annotator = load_annotator(llm, words, run.root / "annotator")
    quality = Quality(annotator, logarithm=config.log_quality)
    rewards = [
        WeightedReward("quality", config.quality, quality),
        WeightedReward("diversity", config.diversity, diversity),
        WeightedReward("length", config.length, Length([example.texts for example in run.data.train])),
    ]
    learned: dict[str, Any] = {}
    other = llm
    if system == "trl":
        import_trl()  # not part of its seconds
        # TRL changes the LLM that it trains, and the annotator lies in this one.
        other = load_llm(run.config.llm.name, run.config.llm.dtype)
    with run.reporter.bar(f"learning: {system}") as progress:
        started = time.perf_counter()
        if system == "trl":
            prompt, history = with_trl(PromptedLLM(other, words, prompt), rewards, config, longest, progress)
        elif system != "tuned":
            found = reinforce(tuned, rewards, config, longest, folder / "learning", progress)
            prompt, history = found.prompt, found.history
            learned = {"good_step": found.good_step, "collapse": found.collapse}
    if system != "tuned":
        learned |= {
            "trl": trl_version() if system == "trl" else None,
            "seconds": time.perf_counter() - started,
            "tokens": sum(one["tokens"] for one in history),
            "history": history,
        }
    judged = [*rewards, WeightedReward("agreement", 0.0, Agreement(annotator))]
    measured = measure(tuned, prompt, judged, config, longest, chosen["measured"])
    quality.close()
    sampling = run.config.sampling.model_copy(update={"texts": chosen["written"]})
    make_samples(llm, run.data, prompt, sampling, most, folder, run.reporter)
    prompt.save(folder / "prompt.safetensors")
    write_json(folder / CELL, {"settings": chosen, "measured": measured, "learned": learned})


def measure(
    tuned: PromptedLLM,
    prompt: SoftPrompt,
    rewards: list[WeightedReward],
    config: RLConfig,
    longest: int,
    texts: int,
) -> dict[str, float]:
    """Draw texts with a prompt, always with the same random numbers; return what they are worth and look like.

    Rewards, Self-BLEU and copies are of the usable texts, all else of all. The divergence from the tuned prompt is
    in nats a text.
    """
    policy = Policy.start(tuned)
    policy.prompt.load_state_dict(prompt.state_dict())
    fixed = config.model_copy(update={"rollout": texts, "seed": _SEED, "epochs": 1})
    rollout = draw_rollout(policy.current, rewards, fixed, 0, longest)
    numbers = rollout.numbers()
    written = [token for sample in rollout.samples for token in sample.ids]
    return {
        **{name: value for name, value in numbers.items() if name.startswith("reward_")},
        **{name: numbers[name] for name in ("score", "usable", "duplicates")},
        "self_bleu": 1 - numbers["diversity"],
        "kl": Experience.of(policy, rollout, fixed, 0).numbers()["kl"],
        "length": len(written) / len(rollout.samples),
        "distinct_tokens": len(set(written)),
    }


def gather(work: Path, seeds: list[int], steps: int, target: Path, *, trial: bool) -> None:
    """Write the results of the cells finished with these settings.

    `gain` is what the score rose by from `tuned`, also per thousand tokens that were sampled to learn, the rollout
    that our learning ends with among them, and per minute of learning. "A - B" is the difference of that per token.
    """
    found: dict[Key, dict[int, float]] = {}
    for task in TASKS:
        for seed in seeds:
            cells = {
                system: read_json(folder / CELL)
                for system in ALGORITHMS
                if is_finished(
                    folder := folder_of(work, task, seed, system), settings(system, steps, seed, trial=trial)
                )
            }
            for system, metric, value in _of_seed(cells):
                found.setdefault((task, system, metric, _unit(metric)), {})[seed] = value
    publish(target, found, in_order(product(TASKS, (*ALGORITHMS, *COMPARED))))


def _of_seed(cells: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Yield system, metric and value of the cells of a task and seed, if the one to compare them with is there."""
    if "tuned" not in cells:
        return
    gains: dict[str, float] = {}
    for system, cell in cells.items():
        for metric, value in cell["measured"].items():
            yield system, metric, value
        if system == "tuned":
            continue
        learned = cell["learned"]
        gain = cell["measured"]["score"] - cells["tuned"]["measured"]["score"]
        gains[system] = 1000 * gain / learned["tokens"]
        yield system, "gain", gain
        yield system, "tokens_sampled", learned["tokens"]
        yield system, "seconds", learned["seconds"]
        yield system, PER_TOKEN, gains[system]
        yield system, "gain_per_minute", 60 * gain / learned["seconds"]
    for pair in COMPARED:
        one, other = pair.split(" - ")
        if {one, other} <= gains.keys():
            yield pair, PER_TOKEN, gains[one] - gains[other]


def _unit(metric: str) -> str:
    units = {
        "kl": "nats",
        "length": "tokens",
        "distinct_tokens": "tokens",
        "tokens_sampled": "tokens",
        "seconds": "s",
    }
    return units.get(metric, "fraction" if metric in ("usable", "duplicates", "self_bleu") else "reward")


def folder_of(work: Path, task: str, seed: int, system: str) -> Path:
    """Return the folder of a cell."""
    return work / f"{task}-{seed}-{system}"


def is_finished(folder: Path, chosen: dict[str, Any]) -> bool:
    """Whether a cell was finished with these settings."""
    return (folder / CELL).exists() and read_json(folder / CELL)["settings"] == chosen


def main() -> None:
    """Do every cell that is not finished yet, one at a time, on one thread."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--task", action="append", choices=TASKS, help="only this task; may be repeated")
    parser.add_argument(
        "--system", action="append", choices=list(ALGORITHMS), help="only this one; may be repeated"
    )
    parser.add_argument("--steps", type=int, default=10, help="rollouts to learn from (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="cells at a time; more make the seconds worthless")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where transfer.py keeps its runs (%(default)s)")
    parser.add_argument("--work", type=Path, default=WORK, help="where the cells are kept (%(default)s)")
    parser.add_argument("--trial", action="store_true", help="tiny cells in WORK/trial, to see that all works")
    parser.add_argument("--gather", action="store_true", help="learn nothing: write what the finished cells give")
    parser.add_argument("--one", type=int, metavar="SEED", help=argparse.SUPPRESS)
    options = parser.parse_args()
    tasks, systems = options.task or list(USUAL), options.system or list(ALGORITHMS)
    if options.one is not None:
        for task in tasks:
            run = Run.open(options.runs / f"{task}-{options.one}-pruned", Reporter())
            for system in systems:
                chosen = settings(system, options.steps, options.one, trial=options.trial)
                with threads(1):
                    run_cell(run, system, chosen, folder_of(options.work, task, options.one, system))
        return
    work = options.work / "trial" if options.trial else options.work
    target = (work if options.trial else RESULTS) / "reinforcement.json"
    seeds = list(range(options.seeds))
    if "trl" in systems and trl_version() is None and not options.gather:
        print("TRL is not installed (pip install trl): its cells are left out", file=sys.stderr)
        systems.remove("trl")
    jobs = {}
    for seed in seeds:
        for task in tasks:
            for system in systems:
                folder = folder_of(work, task, seed, system)
                if not is_finished(folder, settings(system, options.steps, seed, trial=options.trial)):
                    more = ["--steps", str(options.steps), "--runs", str(options.runs)]
                    more += ["--trial"] if options.trial else []
                    jobs[folder.name] = ["--task", task, "--system", system, "--one", str(seed), *more]
    if not options.gather:
        with Reporter().bar("cells") as progress:
            finished = count(1)

            def after() -> None:
                progress(next(finished), len(jobs), "")
                gather(work, seeds, options.steps, target, trial=options.trial)

            run_jobs(Path(__file__), jobs, options.jobs, work, after)
    gather(work, seeds, options.steps, target, trial=options.trial)


if __name__ == "__main__":
    main()
