"""Students and tokenizers that are made in memory, small enough to run in milliseconds."""

import random
import string

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModel,
    BertConfig,
    DistilBertConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

from hundredth.student.model import Pooling, StudentEncoder

WORDS = ["card", "money", "transfer", "swallow", "account", "machine", "payment", "help", "lost", "cash"]
ENDINGS = ["##ed", "##er", "##ing"]
SPECIALS = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]"]
LETTERS = list(string.ascii_lowercase)
# [MASK] stands behind the rest, as it does in MPNet: its id must move when others go.
VOCABULARY = [*SPECIALS, *LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS, *ENDINGS, "[MASK]"]
LENGTH = 24


def wordpiece_tokenizer(pad_first: bool = True) -> PreTrainedTokenizerFast:
    """A BERT tokenizer; with `pad_first=False`, the padding has id 1, as in RoBERTa and MPNet."""
    pieces = list(VOCABULARY)
    if not pad_first:
        pieces[0], pieces[1] = pieces[4], pieces[0]
        pieces[4] = "[unused0]"
    ids = {piece: index for index, piece in enumerate(pieces)}
    backend = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        model_max_length=LENGTH,
    )


_SHAPE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
CONFIGS = {
    "bert": lambda: BertConfig(vocab_size=len(VOCABULARY), max_position_embeddings=LENGTH, **_SHAPE),
    "roberta": lambda: RobertaConfig(
        vocab_size=len(VOCABULARY), max_position_embeddings=LENGTH + 2, type_vocab_size=1, pad_token_id=1, **_SHAPE
    ),
    "mpnet": lambda: MPNetConfig(
        vocab_size=len(VOCABULARY), max_position_embeddings=LENGTH + 2, pad_token_id=1, **_SHAPE
    ),
    "distilbert": lambda: DistilBertConfig(
        vocab_size=len(VOCABULARY), max_position_embeddings=LENGTH, dim=16, n_layers=2, n_heads=2, hidden_dim=32
    ),
    "modernbert": lambda: ModernBertConfig(
        vocab_size=len(VOCABULARY),
        max_position_embeddings=LENGTH,
        local_attention=8,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
        cls_token_id=4,
        sep_token_id=5,
        **_SHAPE,
    ),
}

every_architecture = pytest.mark.parametrize("architecture", sorted(CONFIGS))


def tiny_student(
    architecture: str = "bert", num_labels: int = 3, pooling: Pooling = "mean", seed: int = 0
) -> tuple[StudentEncoder, PreTrainedTokenizerFast]:
    """A student with random weights, large enough that different texts differ; in evaluation mode."""
    torch.manual_seed(seed)
    encoder = AutoModel.from_config(CONFIGS[architecture]())
    model = StudentEncoder(encoder, num_labels, pooling)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    return model.eval(), wordpiece_tokenizer(pad_first=architecture not in ("roberta", "mpnet"))


def random_texts(count: int, seed: int = 0, fields: int = 1) -> list[tuple[str, ...]]:
    """Texts of one to six known words, with their endings."""
    generator = random.Random(seed)
    endings = ["", *(ending.removeprefix("##") for ending in ENDINGS)]

    def text() -> str:
        count = generator.randint(1, 6)
        return " ".join(generator.choice(WORDS) + generator.choice(endings) for _ in range(count))

    return [tuple(text() for _ in range(fields)) for _ in range(count)]
