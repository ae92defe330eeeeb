"""Recombined texts: each the beginning of one text and the end of another."""

from hypothesis import given
from hypothesis import strategies as st

from hundredth.extraction.augmentation import crossover

WORDS = st.lists(st.sampled_from(["red", "blue", "green", "old", "new", "far"]), min_size=1, max_size=6)
TEXTS = st.lists(WORDS.map(lambda words: (" ".join(words),)), min_size=2, max_size=8, unique=True)


@given(TEXTS, st.integers(0, 5))
def test_every_text_is_a_beginning_and_an_end_and_new(texts: list[tuple[str, ...]], seed: int) -> None:
    made = crossover(texts, 20, seed)
    assert len(set(made)) == len(made)
    assert not set(made) & set(texts)
    beginnings = {" ".join(one.split()[:n]) for (one,) in texts for n in range(1, 7)}
    ends = {" ".join(one.split()[n:]) for (one,) in texts for n in range(len(one.split()))}
    joins = {f"{beginning} {end}" for beginning in beginnings for end in ends}
    assert {one for (one,) in made} <= joins


def test_the_same_seed_gives_the_same_texts_and_another_gives_others() -> None:
    texts = [(f"text number {n} of many with words",) for n in range(40)]
    assert crossover(texts, 30, 1) == crossover(texts, 30, 1)
    assert crossover(texts, 30, 1) != crossover(texts, 30, 2)
    assert len(crossover(texts, 30, 1)) == 30


def test_of_a_pair_of_fields_one_is_recombined() -> None:
    texts = [(f"premise {n} says a thing", f"hypothesis {n} doubts it") for n in range(20)]
    for first, second in crossover(texts, 50, 0):
        assert first in {one for one, _ in texts} or second in {one for _, one in texts}
        assert first.startswith("premise")
        assert second.startswith("hypothesis")


def test_what_is_marked_stays_marked_and_nothing_else_is() -> None:
    """Silent otherwise: which of two words is asked about, or none at all."""
    texts = [(f"here the *word{n}* stands among others", f"and a *word{n}* once more / or less") for n in range(20)]
    made = crossover(texts, 60, 0)
    assert len(made) > 20
    for fields in made:
        marked = [[word for word in field.split() if word.startswith("*") or word == "/"] for field in fields]
        assert marked[0] == marked[1][:1]
        assert marked[1][1:] == ["/"]
    bracketed = [(f"[Name {n}] said that *he* would come to the house",) for n in range(20)]
    assert all(text.count("[") == text.count("]") == 1 for (text,) in crossover(bracketed, 40, 0))


def test_chinese_and_japanese_are_cut_between_characters() -> None:
    made = crossover([("我的卡被吞了",), ("昨天转账失败了",)], 10, 0)
    assert made
    assert all(" " not in one for (one,) in made)


def test_words_of_every_script_that_has_spaces_are_joined_with_one() -> None:
    """Silent otherwise: two words that are run together are none."""
    texts = [
        ("Мою карту съел банкомат",),
        ("Где мой возврат денег",),
        ("I lost my café",),
        ("카드를 잃어버렸어요",),
    ]
    known = {word for (text,) in texts for word in text.split()}
    made = crossover(texts, 40, 0)
    assert len(made) > 20
    assert {word for (text,) in made for word in text.split()} <= known


def test_nothing_is_put_behind_chinese_and_japanese_punctuation() -> None:
    made = crossover([("卡被吞了。",), ("转账失败！",), ("どこですか？",)], 20, 0)
    assert made
    assert all(" " not in one for (one,) in made)


def test_too_few_texts_give_fewer_recombinations() -> None:
    assert crossover([("alone",)], 10, 0) == []
    assert crossover([], 10, 0) == []
    assert crossover([("a",), ("b",)], 10, 0) in ([("a b",), ("b a",)], [("b a",), ("a b",)])
    assert crossover([("",), ("  ",)], 10, 0) == []
