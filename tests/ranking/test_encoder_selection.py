"""Scored pairs, and the two scores by which the best step is chosen."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer
from tiny_bases import sentences

from hundredth.errors import UserError
from hundredth.ranking.pairs import ScoredPairs, read_scored_pairs
from hundredth.ranking.selection import PairScore, TeacherAgreement
from hundredth.ranking.tokens import Tokenizer

ROWS = [("a b", "c, d", 1.5), ('say "e"', "f", 3.0), ("g", "h", 0.0)]
CSV = '{}a b,"c, d",1.5\n"say ""e""",f,3\ng,h,0\n'
TSV = '{}a b\tc, d\t1.5\nsay "e"\tf\t3\ng\th\t0\n'
JSONL = '{"text1": "a b", "text2": "c, d", "similarity": 1.5}\n\n' + (
    '{"similarity": 3, "text2": "f", "text1": "say \\"e\\""}\n{"text1": "g", "text2": "h", "similarity": 0}\n'
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV.format("sentence1,sentence2,score\n")),
        ("a.csv", CSV.format("")),
        ("a.csv", "\ufeff" + CSV.format("Text1,Text2,Similarity\n").replace("\n", "\r\n")),
        ("a.tsv", TSV.format("first\tsecond\tlabel\n")),
        ("a.tsv", TSV.format("")),
        ("a.jsonl", JSONL),
    ],
)
def test_scored_pairs_are_read(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content.encode())
    found = read_scored_pairs(tmp_path / name)
    assert list(zip(found.first, found.second, found.scores.tolist(), strict=True)) == ROWS


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "", "holds no pairs"),
        ("a.txt", "a", "ends in '.txt', which is no kind of scored pairs: use .csv, .tsv or .jsonl"),
        ("a.csv", "a,b,c\nd,e,f\n", "has the columns a, b, c: scored pairs need sentence1, sentence2 and score"),
        ("a.csv", "a,b,1\nd,e\n", "a.csv line 2: 2 columns, where 3 are needed"),
        ("a.tsv", "a\tb\t1\nd\te\thigh\n", "a.tsv line 2: the score 'high' is no number"),
        ("a.tsv", "a\tb\t1\n\n \te\t2\n", "a.tsv line 3: a text of the pair is empty"),
        ("a.tsv", "a\tb\t1\nc\te\tnan\n", "a.tsv line 2: the score 'nan' is no number"),
        ("a.jsonl", '{"text1": "a", "text2": "b", "score": 1}\n{"text1"', "a.jsonl line 2: not valid JSON"),
        ("a.jsonl", "[1]", "has the columns none"),
        (
            "a.jsonl",
            '{"text1": "a", "text2": "cut \\ud83d", "score": 1}',
            "a.jsonl line 1: a text holds half of a surrogate pair",
        ),
        ("a.csv", "a,b,1\nd,e,2\n", "scored pairs: 2 of them, but a ranking needs at least 3"),
        ("a.csv", "a,b,1\nd,e,1\nf,g,1\n", "all scores are 1, so that they rank nothing"),
    ],
)
def test_what_are_no_scored_pairs(name: str, content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as error:
        read_scored_pairs(tmp_path / name)
    assert said in str(error.value)


def test_pairs_whose_lists_do_not_fit() -> None:
    with pytest.raises(UserError, match="3 and 2 texts, but 3 scores"):
        ScoredPairs(["a", "b", "c"], ["d", "e"], np.arange(3.0))
    with pytest.raises(UserError, match="half of a surrogate pair"):
        ScoredPairs(["a", "b", "c"], ["d", "e", "\ud83d"], np.arange(3.0))


@pytest.fixture
def model(tiny_encoder: Path) -> SentenceTransformer:
    torch.manual_seed(0)
    made = SentenceTransformer(str(tiny_encoder), device="cpu")
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return made


def test_the_score_of_pairs_is_the_rank_correlation_of_their_cosines(model: SentenceTransformer) -> None:
    texts = sentences(20)
    pairs = ScoredPairs(texts[:12], texts[8:], np.random.default_rng(0).random(12))
    scored = PairScore(Tokenizer(model), pairs)
    first, second = (model.encode(part, normalize_embeddings=True) for part in (texts[:12], texts[8:]))
    expected = 100 * spearmanr((first * second).sum(axis=1), pairs.scores).statistic
    assert scored(model) == {"spearman": pytest.approx(expected, abs=1e-6)}


def test_agreement_with_a_teacher_is_the_mean_rank_correlation_of_all_rows(model: SentenceTransformer) -> None:
    texts = sentences(15)
    tokenizer = Tokenizer(model)
    rows = torch.nn.functional.normalize(torch.randn(15, 24, generator=torch.manual_seed(0)), dim=1)
    own = model.encode(texts, normalize_embeddings=True)
    correlations = []
    for i in range(15):
        others = [j for j in range(15) if j != i]
        teacher = (rows[others] @ rows[i]).numpy()
        correlations.append(spearmanr(own[others] @ own[i], teacher).statistic)
    found = TeacherAgreement(tokenizer, tokenizer(texts), rows)(model)
    assert found == {"teacher_agreement": pytest.approx(100 * np.mean(correlations), abs=1e-3)}
    itself = TeacherAgreement(tokenizer, tokenizer(texts), torch.from_numpy(own))(model)
    assert itself == {"teacher_agreement": pytest.approx(100, abs=0.1)}
