"""The benchmark tasks: where each one lies, and the words that describe it to an LLM."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hundredth.errors import UserError
from hundredth.tables import listed
from hundredth.tasks import glue, senteval, superglue
from hundredth.tasks.glue import Labelled, Splits
from hundredth.tasks.schema import Example
from hundredth.tasks.splits import stratified_split

TEST_FRACTION = 0.2
TEST_SEED = 0


@dataclass(frozen=True)
class Source:
    """One place where a task may lie: a folder below the benchmarks' root, known by a file in it."""

    folder: str
    marker: str
    read: Callable[[Path], Splits]


@dataclass(frozen=True)
class Label:
    """A class: `raw`, how the data spells it (several ways in GLUE and SuperGLUE), `name`, and its words."""

    name: str
    words: str
    raw: tuple[str, ...]


@dataclass(frozen=True)
class Benchmark:
    """What is known of a benchmark task besides its rows. `fields` maps a field to the name shown for it.

    Of several `sources` the first that is there is read.
    """

    fields: dict[str, str]
    labels: tuple[Label, ...]
    about: str
    sources: tuple[Source, ...]
    metric: str = "accuracy"


@dataclass(frozen=True)
class BenchmarkRows:
    """A benchmark's training pool and labelled test split, read from `folder`."""

    folder: Path
    pool: list[Example]
    test: list[Example]
    notes: list[str]


_SENTENCE = {"sentence": "Sentence"}
_PAIR = {"sentence1": "Sentence 1", "sentence2": "Sentence 2"}
_POLARITY = (Label("negative", "negative", ("0",)), Label("positive", "positive", ("1",)))
_ENTAILMENT = (
    Label("not_entailment", "not entailment", ("0", "not_entailment")),
    Label("entailment", "entailment", ("1", "entailment")),
)


def _senteval(folder: str, marker: str, read: Callable[[Path], Splits]) -> Source:
    return Source(f"senteval/downstream/{folder}", marker, read)


def _glue(folder: str, read: Callable[[Path], Splits]) -> Source:
    return Source(f"glue/{folder}", "train.tsv", read)


def _superglue(folder: str, read: Callable[[Path], Splits]) -> Source:
    return Source(f"superglue/{folder}", "train.jsonl", read)


def _same_names(words: dict[str, str]) -> tuple[Label, ...]:
    return tuple(Label(name, phrase, (name,)) for name, phrase in words.items())


BENCHMARKS: dict[str, Benchmark] = {
    "trec": Benchmark(
        {"question": "Question"},
        _same_names(senteval.TREC_COARSE),
        "a factual question",
        (_senteval("TREC", "train_5500.label", senteval.read_trec),),
    ),
    "trec-fine": Benchmark(
        {"question": "Question"},
        _same_names(senteval.TREC_FINE),
        "a factual question",
        (_senteval("TREC", "train_5500.label", senteval.read_trec_fine),),
    ),
    "sst2": Benchmark(
        _SENTENCE,
        _POLARITY,
        "a sentence from a film review",
        (
            _senteval("SST/binary", "sentiment-train", senteval.read_sst2),
            _glue("SST-2", glue.read_sst2),
        ),
    ),
    "mr": Benchmark(
        _SENTENCE,
        _POLARITY,
        "a sentence from a film review",
        (_senteval("MR", "rt-polarity.pos", senteval.read_mr),),
    ),
    "cr": Benchmark(
        _SENTENCE,
        _POLARITY,
        "a sentence from a customer's review of an electronic product",
        (_senteval("CR", "custrev.pos", senteval.read_cr),),
    ),
    "subj": Benchmark(
        _SENTENCE,
        (
            Label("objective", "objective: tells the plot of a film", ("0",)),
            Label("subjective", "subjective: gives an opinion of a film", ("1",)),
        ),
        "a sentence about a film",
        (_senteval("SUBJ", "subj.subjective", senteval.read_subj),),
    ),
    "mpqa": Benchmark(
        {"phrase": "Phrase"},
        _POLARITY,
        "a short phrase of opinion from a news article",
        (_senteval("MPQA", "mpqa.pos", senteval.read_mpqa),),
    ),
    "mrpc": Benchmark(
        _PAIR,
        (Label("different", "different meaning", ("0",)), Label("paraphrase", "same meaning", ("1",))),
        "a pair of sentences from the news",
        (
            _senteval("MRPC", "msr_paraphrase_train.txt", senteval.read_mrpc),
            _glue("MRPC", glue.read_mrpc),
        ),
    ),
    "cola": Benchmark(
        _SENTENCE,
        (
            Label("unacceptable", "ungrammatical", ("0",)),
            Label("acceptable", "grammatical", ("1",)),
        ),
        "a sentence from a linguistics textbook",
        (_glue("CoLA", glue.read_cola),),
        metric="matthews",
    ),
    "rte": Benchmark(
        {"premise": "Premise", "hypothesis": "Hypothesis"},
        _ENTAILMENT,
        "a premise from the news and a hypothesis",
        (_superglue("RTE", superglue.read_inference), _glue("RTE", glue.read_pair)),
    ),
    "wnli": Benchmark(
        _PAIR,
        _ENTAILMENT,
        "a text with a pronoun and a sentence that says what the pronoun means",
        (_glue("WNLI", glue.read_pair),),
    ),
    "qnli": Benchmark(
        {"question": "Question", "sentence": "Sentence"},
        (
            Label("not_entailment", "does not answer the question", ("not_entailment",)),
            Label("entailment", "answers the question", ("entailment",)),
        ),
        "a question and a sentence from an encyclopedia",
        (_glue("QNLI", glue.read_qnli),),
    ),
    "cb": Benchmark(
        {"premise": "Premise", "hypothesis": "Hypothesis"},
        _same_names({name: name for name in ("contradiction", "entailment", "neutral")}),
        "a few sentences and a hypothesis about what their speaker holds to be true",
        (_superglue("CB", superglue.read_inference),),
    ),
    "boolq": Benchmark(
        {"question": "Question", "passage": "Passage"},
        (Label("no", "no", ("False",)), Label("yes", "yes", ("True",))),
        "a yes/no question and a passage from an encyclopedia that answers it",
        (_superglue("BoolQ", superglue.read_boolq),),
    ),
    "copa": Benchmark(
        {"premise": "Premise", "choices": "Choices"},
        (
            Label("first", "the first choice is right", ("0",)),
            Label("second", "the second choice is right", ("1",)),
        ),
        "an everyday event, a question about its cause or result, and two answers split by a slash",
        (_superglue("COPA", superglue.read_copa),),
    ),
    "wic": Benchmark(
        _PAIR,
        (
            Label("different", "different meanings", ("False",)),
            Label("same", "the same meaning", ("True",)),
        ),
        "two sentences that share a word, marked by asterisks",
        (_superglue("WiC", superglue.read_wic),),
    ),
    "wsc": Benchmark(
        {"text": "Text"},
        (
            Label("different", "the pronoun means someone or something else", ("False",)),
            Label("same", "the pronoun means the name in brackets", ("True",)),
        ),
        "a short text with a name in brackets and a pronoun between asterisks",
        (_superglue("WSC", superglue.read_wsc),),
    ),
}


def find_benchmark(name: str) -> Benchmark:
    """Return the benchmark task `name`, in any case; UserError lists the known ones."""
    known = BENCHMARKS.get(name.lower())
    if known is None:
        raise UserError(f"unknown benchmark task {name!r}: choose one of {', '.join(sorted(BENCHMARKS))}")
    return known


def read_benchmark(root: Path, name: str) -> BenchmarkRows:
    """Read a task from `root`: the folder that holds glue, superglue or senteval, or one further down.

    The test split is the official one where it has labels, else the dev split. MR, CR, SUBJ and MPQA have
    neither: a fifth of each class, the same in every run, is the test split, and the rest the pool.
    """
    benchmark = find_benchmark(name)
    folder, source = _locate(root, name, benchmark)
    pool_rows, test_rows = source.read(folder)
    notes = [f"{name}: read from {folder}"]
    pool = _indexed(pool_rows, benchmark, folder, "training", notes)
    if test_rows:
        test = _indexed(test_rows, benchmark, folder, "test", notes)
    else:
        pool, test = stratified_split(pool, TEST_FRACTION, TEST_SEED)
        notes.append(f"{name}: no official split; {len(test)} of {len(pool) + len(test)} rows, fixed, are the test")
    if not pool or not test:
        raise UserError(f"{folder} has {len(pool)} training rows and {len(test)} test rows: is it whole?")
    return BenchmarkRows(folder=folder, pool=pool, test=test, notes=notes)


def _locate(root: Path, name: str, benchmark: Benchmark) -> tuple[Path, Source]:
    if not root.exists():
        raise UserError(f"{root} does not exist (looked in {root.absolute().parent})")
    if not root.is_dir():
        raise UserError(f"{root} is a file, but benchmark task {name!r} is read from a folder: leave out --task")
    for source in benchmark.sources:
        parts = source.folder.split("/")
        for depth in range(len(parts) + 1):
            # The task's own folder is taken only under its own name: train.tsv alone could be any task's.
            if depth == len(parts) and root.resolve().name != parts[-1]:
                continue
            folder = root.joinpath(*parts[depth:])
            if (folder / source.marker).is_file():
                return folder, source
    places = [f"{source.folder}/{source.marker}" for source in benchmark.sources]
    raise UserError(f"{root} does not hold benchmark task {name!r}: looked for {' and '.join(places)} in it")


def _indexed(
    rows: list[Labelled], benchmark: Benchmark, folder: Path, split: str, notes: list[str]
) -> list[Example]:
    index = {raw: number for number, label in enumerate(benchmark.labels) for raw in label.raw}
    unknown = sorted({label for _, label in rows} - index.keys())
    if unknown:
        raise UserError(f"{folder}: this task has no labels {listed(unknown, 5)}; is it the right data?")
    examples = [Example(texts, index[label]) for texts, label in rows if all(texts)]
    if len(examples) < len(rows):
        notes.append(f"{folder.name}: dropped {len(rows) - len(examples)} {split} rows without text")
    return examples
