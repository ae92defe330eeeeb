"""The words that a student knows: what an LLM is asked about beside texts, so that each of them is learnt."""

import json
from collections.abc import Sequence

from transformers import PreTrainedTokenizerFast

from hundredth.student.model import plain_tokenizer
from hundredth.student.prune import count_pieces

# What byte-level BPE and Unigram vocabularies write before a piece that begins a word.
_BEGINNINGS = ("\u0120", "\u2581")


def known_words(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], count: int) -> list[str]:
    """Return up to `count` words that are one piece of the vocabulary, first those of `texts` by their frequency.

    Then come the others in the order of their ids, which in most vocabularies is that of their frequency. A word is
    of two letters or more; of those that differ in capitals alone the first is returned.
    """
    backend = plain_tokenizer(tokenizer)
    model = json.loads(backend.to_str())["model"]
    counts = count_pieces(tokenizer, texts)
    found: dict[str, str] = {}
    for piece, id in sorted(backend.get_vocab().items(), key=lambda item: (-counts[item[1]], item[1])):
        if len(found) == count:
            break
        if model["type"] == "WordPiece":
            begins = not piece.startswith(model["continuing_subword_prefix"])
        else:
            begins = piece.startswith(_BEGINNINGS)
        word = backend.decode([id]).strip() if begins else ""
        if len(word) > 1 and word.isalpha():
            found.setdefault(word.casefold(), word)
    return list(found.values())
