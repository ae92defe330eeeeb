"""Real models small enough to be made in a second, and a small task: what whole runs are tested with."""

import csv
import json
import os
import shutil
import signal

# Before torch is imported: the tests' models are so small that a second thread only gets in the way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# In the background of a shell Ctrl-C is ignored, which the processes that the tests start would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

TICKETS = {
    "card_swallowed": [
        "The cash machine swallowed my card this morning.",
        "My card went in and the machine never gave it back.",
        "The machine in the station has eaten my card.",
        "Your machine kept my card after I typed the wrong code.",
        "I put my card in and the screen went black.",
        "The cash machine took my card and closed the slot.",
        "How do I get my card back from the machine?",
        "The machine held on to my card and gave no receipt.",
        "My card is stuck inside the machine at the airport.",
        "It swallowed the card before I could take the cash.",
        "The slot closed and my card was gone.",
        "A machine at your branch swallowed my new card.",
    ],
    "refund": [
        "When will I get my money back for the order?",
        "The shop says it sent the refund, but I cannot see it.",
        "I returned the shoes and still wait for my refund.",
        "Please give me back what I paid for the hotel.",
        "My refund has not reached my account yet.",
        "I was charged twice and want one payment back.",
        "How long does a refund take to arrive?",
        "The seller agreed to a refund two weeks ago.",
        "I cancelled the ticket, where is my money?",
        "They took the full price, I want half of it back.",
        "Can you see a refund from the bookshop?",
        "The refund was smaller than what I had paid.",
    ],
    "lost_phone": [
        "I lost my phone and cannot open the app.",
        "My phone was stolen on the bus last night.",
        "I left my phone in a taxi, please block the app.",
        "Someone has my phone and could see my account.",
        "How do I log in from a new phone?",
        "My phone fell into the sea with the app on it.",
        "The phone with my bank app is gone.",
        "Please remove my old phone, it was stolen.",
        "I cannot find my phone, is my money safe?",
        "A thief took my phone out of my bag.",
        "My new phone does not know my account.",
        "I lost the phone that gets your codes.",
    ],
}
SENTENCES = [text for texts in TICKETS.values() for text in texts]
# Settings under which a whole run on the tiny models takes seconds.
_SMALL: dict[str, Any] = {
    "prompt": {
        "length": 4,
        "label_length": 2,
        "epochs": 4,
        "batch_size": 8,
        "learning_rate": 0.02,
        "max_tokens": 64,
    },
    "sampling": {"texts": 12, "temperature": 0.7},
    "annotator": {"method": "lora", "members": 2, "epochs": 2, "rank": 2, "max_tokens": 64},
    "filters": {"agreement": False},
    "augmentation": {"texts": 6},
    "student": {"epochs": 1, "min_steps": 20, "batch_size": 8, "max_length": 32, "learning_rate": 3e-3},
    "model": {"retrieval": {"k": [1, 4], "temperature": [0.05], "weight": [0.0, 0.5]}},
    "threads": 1,
}
WriteTable = Callable[..., Path]


def _write_table(path: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = ("text", "label")) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="session")
def write_table() -> WriteTable:
    """Write rows with their header as CSV; return the path."""
    return _write_table


@pytest.fixture(scope="session")
def ticket_rows() -> list[tuple[str, str]]:
    """Texts with their labels: 3 labels, 12 texts each."""
    return [(text, label) for label, texts in TICKETS.items() for text in texts]


@pytest.fixture
def tickets(tmp_path: Path, ticket_rows: list[tuple[str, str]]) -> Path:
    """A file of them."""
    return _write_table(tmp_path / "tickets.csv", ticket_rows)


@pytest.fixture(scope="session")
def small_settings(tiny_llm: Path, tiny_encoder: Path) -> dict[str, Any]:
    """A config of a whole run on the tiny models, but for its task."""
    return {**_SMALL, "llm": {"name": str(tiny_llm), "dtype": "float32"}, "base": {"name": str(tiny_encoder)}}


@pytest.fixture(scope="session")
def small_config(small_settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a file for --config."""
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text(json.dumps(small_settings))  # JSON is YAML
    return path


@pytest.fixture(scope="session")
def undisturbed_run(
    small_settings: dict[str, Any], ticket_rows: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a finished run, for all tests: not to be changed."""
    from hundredth.pipeline.config import make_config
    from hundredth.pipeline.transfer import transfer

    folder = tmp_path_factory.mktemp("undisturbed")
    data = _write_table(folder / "tickets.csv", ticket_rows)
    transfer(make_config({"task": {"data": data}, **small_settings}), folder / "run")
    return folder / "run"


@pytest.fixture
def finished_run(undisturbed_run: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed at will."""
    shutil.copytree(undisturbed_run, tmp_path / "run")
    return tmp_path / "run"


def _byte_level_tokenizer(size: int) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>", pad_token="<|end|>")


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Llama of two layers that has learnt to write sentences of the task, after a fashion."""
    labels = [label for label, texts in TICKETS.items() for _ in texts]
    return _save_learnt_llm(tmp_path_factory.mktemp("tiny-llm"), SENTENCES, labels)


@pytest.fixture(scope="session")
def save_learnt_llm() -> Callable[..., Path]:
    """Train and save the same model for other sentences."""
    return _save_learnt_llm


def _save_learnt_llm(folder: Path, sentences: Sequence[str], labels: Sequence[str], steps: int = 80) -> Path:
    """Train a Llama of two layers to write these sentences, each of its label, and save it into `folder`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokenizer = _byte_level_tokenizer(320)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    ids = [[*tokenizer(f" {text}").input_ids, tokenizer.eos_token_id] for text in sentences]
    longest = max(map(len, ids))
    ends = torch.tensor([[len(one)] for one in ids])
    padded = torch.tensor([one + [tokenizer.eos_token_id] * (longest - len(one)) for one in ids])
    targets = torch.where(torch.arange(longest) < ends, padded, -100)
    words = torch.tensor([tokenizer(f" {label}").input_ids[0] for label in labels])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        # Noise before the sentence, with a trace of the label in it: the model learns to see past a prompt, and
        # that there is something to find in it.
        noise = torch.randint(len(tokenizer), (len(ids), int(torch.randint(4, 80, ()))))
        near = noise.shape[1] - 1 - int(torch.randint(0, 3, ()))
        noise[:, near] = words
        loss = model(
            input_ids=torch.cat([noise, padded], dim=1),
            labels=torch.cat([torch.full_like(noise, -100), targets], dim=1),
        ).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a BERT of two layers with random weights and word pieces of the task's sentences."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(0)
    pieces = BertWordPieceTokenizer()
    pieces.train_from_iterator(SENTENCES, vocab_size=300, min_frequency=1, show_progress=False)
    tokenizer = BertTokenizerFast(tokenizer_object=pieces._tokenizer)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    folder = tmp_path_factory.mktemp("tiny-encoder")
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def poolerless(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as many checkpoints are: without weights for the model's own pooler."""
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_encoder, tmp_path_factory.mktemp("poolerless") / "model")
    weights = {k: v for k, v in load_file(folder / "model.safetensors").items() if "pooler" not in k}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder
