"""A finished run that is made in seconds: a random Llama, a random BERT, and knowledge written by hand."""

import random
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hundredth.extraction.llm import load_llm
from hundredth.files import write_json, write_text
from hundredth.pipeline.config import RunConfig, save_config
from hundredth.pipeline.extract import make_annotator, write_task
from hundredth.pipeline.knowledge import Knowledge, write_jsonl
from hundredth.pipeline.progress import Reporter
from hundredth.pipeline.run import CONFIG, Run, provenance
from hundredth.pipeline.stages import Stage, run_stages
from hundredth.pipeline.teach import full_recipe, make_model, make_student
from hundredth.tasks.schema import Example, Task, TaskData
from hundredth.tasks.verbalisation import Verbalisation

# A label with markup in its name: whatever shows it must escape it.
LABELS = ("card", "parcel", "<b>refund")
WORDS = (
    ("card", "swallowed", "machine", "cash", "pin"),
    ("parcel", "late", "courier", "door", "tracking"),
    ("refund", "money", "back", "paid", "twice"),
)
COMMON = ("my", "the", "is", "was", "please", "help", "today")
VERBALISATION = Verbalisation("Write a message .", ("card", "parcel", "refund"), ("Text",))
TASK = Task("tiny", ("text",), LABELS, VERBALISATION)


def examples(count, seed):
    """Different texts of three of a label's words among two common ones; labels in turn."""
    generator = random.Random(seed)
    made = {}
    while len(made) < count:
        label = len(made) % len(LABELS)
        words = generator.sample(WORDS[label], 3) + generator.sample(COMMON, 2)
        generator.shuffle(words)
        made.setdefault(" ".join(words), label)
    return [Example((text,), label) for text, label in made.items()]


def save_llm(folder):
    vocabulary = ["<unk>", "<end>", ".", ":", "Label", "Text", "Write", "a", "message"]
    vocabulary += [*COMMON, *(word for words in WORDS for word in words)]
    backend = Tokenizer(models.WordLevel({word: id for id, word in enumerate(vocabulary)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", eos_token="<end>", pad_token="<end>"
    )
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(vocabulary), max_position_embeddings=128, **shape))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def save_base(folder):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *COMMON, *(word for words in WORDS for word in words)]
    backend = Tokenizer(models.WordPiece({piece: id for id, piece in enumerate(pieces)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=len(pieces), max_position_embeddings=24, **shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def make_run(root: Path, models_folder: Path) -> Path:
    """Write a run whose stages are all whole; its LLM has never learnt anything, its knowledge is right."""
    config = RunConfig.model_validate(
        {
            "task": {"data": "tiny.csv"},
            "llm": {"name": save_llm(models_folder / "llm"), "dtype": "float32"},
            "base": {"name": save_base(models_folder / "base")},
            "sampling": {"texts": 60},
            "annotator": {"method": "prompt", "members": 2, "epochs": 1, "prompt_length": 4},
            "filters": {"agreement": False},
            "augmentation": {"texts": 0},
            "student": {"min_steps": 40, "epochs": 1, "max_length": 16, "learning_rate": 5e-3},
            "threads": 1,
        }
    )
    data = TaskData(TASK, examples(24, 1), examples(12, 2), notes=[])
    reporter = Reporter(quiet=True)
    llm = load_llm(config.llm.name, config.llm.dtype)
    written = examples(36, 3)
    written[3] = Example(("card <script>alert('kept')</script> machine pin",), 0)
    generator = np.random.default_rng(0)

    def annotator(folder):
        metrics = make_annotator(llm, data, config.annotator, folder, reporter)
        return {**metrics, "llm": {"parameters": llm.parameters, "bytes": llm.bytes}}

    def samples(folder):
        rows = [
            {"item": i, "label": one.label, "texts": one.texts, "logprob": -1.0} for i, one in enumerate(written)
        ]
        # A copy of a training text: the filters take it out.
        rows.append({"item": 36, "label": 0, "texts": data.train[0].texts, "logprob": -1.0})
        write_jsonl(folder / "samples.jsonl", rows)
        return {"sampled": 40, "unusable": 3}

    def knowledge(folder):
        known = [*data.train, *written]
        gold = np.array([one.label for one in known])
        soft = (0.85 * np.eye(len(LABELS))[gold] + 0.05).astype(np.float32)
        embeddings = (np.eye(len(LABELS))[gold] + 0.1 * generator.normal(size=(len(known), 3))).astype(np.float32)
        labels = np.where(np.arange(len(known)) < len(data.train), gold, -1)
        origins = ["gold"] * len(data.train) + ["generated"] * len(written)
        augmented = np.zeros(len(known), np.bool_)
        Knowledge([one.texts for one in known], origins, labels, soft, embeddings, augmented).save(folder)
        counts = {"texts": 37, "near-copies of training or development texts": 1, "kept": 36}
        return {
            "filters": {"generated": counts, "unlabelled": {"texts": 0, "kept": 0}},
            "recombined": {"generated": 0},
        }

    recipe = full_recipe({"gold", "generated"})

    def student(folder):
        everything = Knowledge.load(root / "knowledge")
        return make_student(config.base, config.student, TASK, everything, recipe, llm.parameters, folder, reporter)

    def model(folder):
        everything = Knowledge.load(root / "knowledge")
        made_from = provenance(config)
        return make_model(root / "student", config.model, 16, TASK, data.dev, everything, recipe, made_from, folder)

    def prompt(folder):
        write_json(folder / "nothing.json", {})
        return {}

    makers = {
        "task": lambda folder: write_task(data, folder),
        "prompt": prompt,
        "samples": samples,
        "annotator": annotator,
        "knowledge": knowledge,
        "student": student,
        "model": model,
    }
    needs = Run(root, config, reporter).needs
    run_stages(root, [Stage(name, needs(name), asdict(TASK), make) for name, make in makers.items()])
    write_text(root / CONFIG, save_config(config))
    return root
