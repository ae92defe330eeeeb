"""TRL's GRPO on the same soft prompt, rewards and sampling: what benchmarks/reinforcement.py measures ours against.

The vectors of the prompt become tokens of their own, whose embeddings are trained by peft (TrainableTokens): so the
prompt keeps both its places, before the label and before the text. TRL is no dependency of the project; install it
beside it (`pip install trl`) to have this system measured.
"""

import importlib
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import huggingface_hub.constants
import torch
from datasets import Dataset
from peft import PeftModel, TrainableTokensConfig, get_peft_model
from tokenizers import AddedToken
from torch import Tensor, nn

from hundredth.extraction.batching import Progress
from hundredth.extraction.rewards import WeightedReward
from hundredth.extraction.rl_config import RLConfig
from hundredth.extraction.rollout import scored
from hundredth.extraction.sampling import Sample
from hundredth.extraction.soft_prompt import PromptedLLM, SoftPrompt
from hundredth.models import quiet_transformers

ADAPTER = "default"
WARMUP = 0.1  # as ours


def trl_version() -> str | None:
    """Return TRL's version, or None where it is not installed."""
    try:
        return version("trl")
    except PackageNotFoundError:
        return None


def import_trl() -> Any:
    """Import TRL with its trainer, which takes seconds."""
    # Each new trainer is reported to its makers; the environment variable of this name is read earlier than here.
    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True
    importlib.import_module("trl.trainer.grpo_trainer")
    return importlib.import_module("trl")


def with_trl(
    tuned: PromptedLLM,
    rewards: Sequence[WeightedReward],
    config: RLConfig,
    max_tokens: int,
    progress: Progress = lambda done, total, note: None,
) -> tuple[SoftPrompt, list[dict[str, float]]]:
    """Train the tuned prompt by TRL's GRPO; return it, and the numbers of every rollout.

    What both have is set alike: samples a step, passes, minibatches, peak learning rate, its rise and fall,
    clipping, the first weight of the divergence, the largest gradient. All else is as TRL has it. The LLM is
    changed, so it has to be one of its own.

    Raises:
        ValueError: the texts of a rollout are not a multiple of the labels and of `config.batch_size`.
    """
    trl = import_trl()
    words, labels = tuned.words, len(tuned.words.label_words)
    if config.rollout % labels or config.rollout % config.batch_size:
        raise ValueError(f"{config.rollout} texts are no multiple of {labels} labels and of {config.batch_size}")
    model, prompts = as_tokens(tuned)
    history: list[dict[str, float]] = []

    def reward(completion_ids: list[list[int]], label: list[int], **_: object) -> list[float]:
        samples = [
            Sample(item, one, tuple(ids), (), ids[-1] == tuned.llm.end_id)
            for item, (ids, one) in enumerate(zip(completion_ids, label, strict=True))
        ]
        texts = [words.parse(tuned.llm.decode(list(one.ids))) if one.ended else None for one in samples]
        rollout = scored(samples, texts, rewards, config)
        history.append(rollout.numbers())
        progress(len(history), config.steps, f"score {history[-1]['score']:.3f}")
        return [float(one) for one in rollout.scores]

    updates = config.steps * config.epochs * (config.rollout // config.batch_size)
    with tempfile.TemporaryDirectory() as folder, quiet_transformers():
        arguments = trl.GRPOConfig(
            output_dir=folder,
            use_cpu=not torch.cuda.is_available(),
            bf16=False,  # the weights are in their number format already
            gradient_checkpointing=False,
            max_steps=updates,
            num_generations=config.rollout // labels,
            generation_batch_size=config.rollout,
            per_device_train_batch_size=config.batch_size,
            num_iterations=config.epochs,
            max_completion_length=max_tokens,
            temperature=1.0,
            top_p=1.0,
            top_k=0,
            learning_rate=config.learning_rate,
            warmup_steps=round(WARMUP * updates),
            weight_decay=0.0,
            max_grad_norm=1.0,
            epsilon=config.clip,
            beta=config.kl_weight,
            seed=config.seed,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        trainer = trl.GRPOTrainer(
            model,
            reward_funcs=[reward],
            args=arguments,
            train_dataset=Dataset.from_dict({"prompt": prompts, "label": list(range(labels))}),
            processing_class=tuned.llm.tokenizer,
        )
        with tuned.llm.training():  # as ours learns; TRL is slower with the attention that it would find
            trainer.train()
    return from_tokens(model, labels, tuned), history


def as_tokens(tuned: PromptedLLM) -> tuple[PeftModel, list[str]]:
    """Make the vectors of a prompt tokens with trainable embeddings; return the model, and a prompt a label.

    The LLM's own head is kept, so that none of these tokens is ever written.
    """
    assert tuned.prompt is not None
    llm, words, prompt = tuned.llm, tuned.words, tuned.prompt
    vectors_ND = _stacked(prompt)
    names = [f"<soft-{number}>" for number in range(len(vectors_ND))]
    before = llm.embedding.weight
    llm.tokenizer.add_tokens([AddedToken(name, normalized=False, special=True) for name in names])
    ids = llm.tokenizer.convert_tokens_to_ids(names)
    table_VD = before.new_zeros(max(len(before), max(ids) + 1), before.shape[1])
    table_VD[: len(before)] = before
    table_VD[ids] = vectors_ND.to(before)
    table = nn.Embedding(*table_VD.shape)
    table.weight = nn.Parameter(table_VD, requires_grad=False)
    llm.model.set_input_embeddings(table)
    llm.model.config.tie_word_embeddings = False
    llm.model.generation_config.eos_token_id = llm.end_id
    model: PeftModel = get_peft_model(
        llm.model, TrainableTokensConfig(token_indices=ids, task_type="CAUSAL_LM"), adapter_name=ADAPTER
    )
    with torch.no_grad():
        _vectors(model).data = vectors_ND.clone()  # in float32, as ours
    shared, own = prompt.shared_PD.shape[0], prompt.per_label_CLD.shape[1]
    prompts = []
    for label in range(len(words.label_words)):
        start = shared + label * own
        prompts.append("".join([*names[:shared], words.context(label), *names[start : start + own]]))
    return model, prompts


def from_tokens(model: PeftModel, labels: int, tuned: PromptedLLM) -> SoftPrompt:
    """Return the embeddings of the prompt's tokens as a prompt again."""
    assert tuned.prompt is not None
    shared = tuned.prompt.shared_PD.shape[0]
    vectors_ND = _vectors(model).detach()
    own_CLD = vectors_ND[shared:].reshape(labels, -1, vectors_ND.shape[1])
    return SoftPrompt(vectors_ND[:shared], own_CLD)


def _stacked(prompt: SoftPrompt) -> Tensor:
    return torch.cat([prompt.shared_PD.detach(), prompt.per_label_CLD.detach().flatten(0, 1)])


def _vectors(model: PeftModel) -> nn.Parameter:
    base: Any = model.get_base_model()
    layer = base.get_input_embeddings()
    vectors: nn.Parameter = layer.trainable_tokens_delta[ADAPTER]
    return vectors
