"""A folder in SentEval's layout with a few rows of two STS tasks and two transfer tasks."""

from pathlib import Path

STS_B, SICK = ("train", "dev", "test"), "SICK_test_annotated.txt"


def write_senteval(root: Path, rows: list[tuple[str, str]]) -> Path:
    """Write STS-B, SICK-R, MR and TREC made of `rows`, (text, label); return the folder."""
    downstream = root / "senteval" / "downstream"
    texts = [text for text, _ in rows]
    pairs = [(texts[i], texts[(i * step) % len(texts)], step - 1) for step in (1, 2, 6) for i in range(8)]
    benchmark = downstream / "STS" / "STSBenchmark"
    benchmark.mkdir(parents=True)
    for split in STS_B:
        lines = [f"g\tf\t2012\t{i}\t{5 - score}\t{a}\t{b}\n" for i, (a, b, score) in enumerate(pairs)]
        (benchmark / f"sts-{split}.csv").write_text("".join(lines))
    sick = downstream / "SICK"
    sick.mkdir()
    header = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n"
    lines = [f"{i}\t{a}\t{b}\t{5 - score}\tNEUTRAL\n" for i, (a, b, score) in enumerate(pairs)]
    (sick / SICK).write_text(header + "".join(lines))
    reviews = downstream / "MR"
    reviews.mkdir()
    for name, label in (("rt-polarity.neg", "refund"), ("rt-polarity.pos", "lost_phone")):
        (reviews / name).write_text("".join(f"{text}\n" for text, one in rows if one == label))
    questions = downstream / "TREC"
    questions.mkdir()
    coarse = {"card_swallowed": "HUM", "refund": "NUM", "lost_phone": "LOC"}
    lines = [f"{coarse[label]}:x {text}\n" for text, label in rows]
    (questions / "train_5500.label").write_text("".join(lines))
    (questions / "TREC_10.label").write_text("".join(lines[::3]))
    return root / "senteval"
