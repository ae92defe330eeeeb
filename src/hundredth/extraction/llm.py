"""Loading a decoder-only LLM, frozen, in the number format that suits the machine."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from hundredth.errors import UserError
from hundredth.files import fingerprint
from hundredth.gguf_files import unpacked
from hundredth.models import quiet_transformers, resolve_model
from hundredth.precision import fast_dtype

DType = Literal["auto", "float32", "bfloat16"]


@dataclass
class LLM:
    """A frozen causal language model with its tokenizer.

    `identity` is the SHA-256 of the weights and the tokenizer: what is derived from the model is keyed by it.
    """

    name: str
    model: Any
    tokenizer: Any
    identity: str

    @property
    def trunk(self) -> Any:
        """The transformer without the language-model head: token embeddings in, last hidden states out."""
        return self.model.base_model

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.embedding.weight.device

    @property
    def embedding(self) -> nn.Embedding:
        """The token embedding table (V, d)."""
        table: nn.Embedding = self.model.get_input_embeddings()
        return table

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the weights."""
        return self.embedding.weight.dtype

    @property
    def hidden_size(self) -> int:
        """The width d of token embeddings and hidden states."""
        return self.embedding.embedding_dim

    @property
    def end_id(self) -> int:
        """The token that ends a text."""
        end: int = self.tokenizer.eos_token_id
        return end

    @functools.cached_property
    def start_ids(self) -> list[int]:
        """What must stand first in all that the LLM reads: the token that its tokenizer begins with, if any.

        Models that were trained with such a token (Llama, Gemma) rest their attention on it: without it they
        predict far worse.
        """
        start = self.tokenizer.bos_token_id
        ids: list[int] = self.tokenizer("x", verbose=False).input_ids[:1]
        return ids if ids == [start] else []

    @functools.cached_property
    def most_positions(self) -> int | None:
        """How many tokens it reads where it has learnt a vector for each position (GPT-2); else None."""
        learnt = ("wpe", "embed_positions", "position_embeddings")
        named = (name for name, one in self.trunk.named_modules() if isinstance(one, nn.Embedding))
        return self.model.config.max_position_embeddings if any(name.endswith(learnt) for name in named) else None

    @property
    def parameters(self) -> int:
        """The number of parameters, tied ones counted once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def bytes(self) -> int:
        """The bytes that the weights take in memory."""
        return sum(parameter.numel() * parameter.element_size() for parameter in self.model.parameters())

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """Use plain attention inside the block: on a CPU the fused one is slow backwards, above all in bfloat16."""
        before = self.model.config._attn_implementation
        if self.device.type == "cpu":
            self.model.set_attn_implementation("eager")
        try:
            yield
        finally:
            self.model.set_attn_implementation(before)

    def encode(self, text: str) -> list[int]:
        """Tokenize without special tokens."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        return ids

    def encode_to(self, text: str, length: int) -> Tensor:
        """Tokenize to exactly `length` ids (length,): the text's own, repeated or cut."""
        ids = self.encode(text)
        repeated = (ids * (length // len(ids) + 1))[:length]
        return torch.tensor(repeated, dtype=torch.long, device=self.device)

    def decode(self, ids: list[int]) -> str:
        """Turn token ids back into text, dropping special tokens."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def embed(self, ids: Tensor) -> Tensor:
        """Look up token embeddings: ids (...) to (..., d), scaled as the model scales its own inputs.

        Models differ here (Gemma multiplies by sqrt(d) inside its embedding module), so the module is called
        rather than its table indexed.
        """
        out: Tensor = self.embedding(ids)
        return out

    def hidden(self, inputs_BTD: Tensor, mask_BT: Tensor, cache: Any = None) -> Tensor:
        """Run the trunk: embeddings (B, T, D) to last hidden states (B, T, D).

        `mask_BT` covers what the cache holds as well as the new inputs; padding may stand on either side,
        since positions count real tokens only.

        Raises:
            UserError: it has learnt no vector for the last positions of a text.
        """
        positions = (mask_BT.cumsum(dim=1) - 1).clamp(min=0)[:, -inputs_BTD.shape[1] :]
        if self.most_positions is not None and int(positions.max()) >= self.most_positions:
            raise UserError(
                f"LLM {self.name!r} reads at most {self.most_positions} tokens, and a text with its prompt has "
                f"{int(positions.max()) + 1}: lower prompt.max_tokens and annotator.max_tokens"
            )
        out = self.trunk(
            inputs_embeds=inputs_BTD,
            attention_mask=mask_BT,
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        hidden_BTD: Tensor = out.last_hidden_state
        return hidden_BTD

    def logits(self, hidden: Tensor) -> Tensor:
        """Turn hidden states (..., D) into float32 scores over the vocabulary (..., V)."""
        scores: Tensor = self.model.get_output_embeddings()(hidden).float()
        config = self.model.config
        # Other families have settings of the same names that mean something else, or nothing.
        if config.model_type.startswith("granite"):
            scores = scores / config.logits_scaling
        elif config.model_type.startswith("cohere"):
            scores = scores * config.logit_scale
        softcap = getattr(config, "final_logit_softcapping", None)
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        return scores


def cut_longest(fields: Sequence[list[int]], room: int) -> None:
    """Cut fields of tokens at their ends until they have `room` tokens in all, the longest first.

    Each keeps one token, even where there is no room for it.
    """
    while (over := sum(map(len, fields)) - room) > 0:
        longest = max(fields, key=len)
        second = sorted(map(len, fields))[-2] if len(fields) > 1 else 0
        if len(longest) <= 1:
            break
        del longest[max(len(longest) - over, min(second, len(longest) - 1), 1) :]


def choose_dtype(requested: DType = "auto") -> tuple[torch.dtype, str]:
    """Choose the weights' number format, where nothing is requested the machine's fastest, and say why."""
    if requested != "auto":
        return getattr(torch, requested), f"{requested}: as requested"
    return fast_dtype(_device())


def load_llm(name: str, dtype: DType = "auto") -> LLM:
    """Load a decoder-only LLM from a folder, a GGUF file, an installed package or the hub.

    The weights are frozen and in evaluation mode. A GGUF file is converted once to safetensors in the user's
    cache, keyed by its content, because reading it takes many times longer.

    Raises:
        UserError: nothing is found under that name, or what is found is not a decoder-only language model.
    """
    found = resolve_model(name)
    source = unpacked(found)
    chosen, _ = choose_dtype(dtype)
    with quiet_transformers():
        try:
            config = AutoConfig.from_pretrained(source)
            if getattr(config, "is_encoder_decoder", False):
                raise UserError(
                    f"LLM {name!r} is an encoder-decoder ({config.model_type}); a decoder-only model is needed, "
                    "such as SmolLM2, Llama, Qwen, Gemma or GPT-2"
                )
            model = AutoModelForCausalLM.from_pretrained(source, dtype=chosen)
            tokenizer = AutoTokenizer.from_pretrained(source)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise UserError(_why_not(name, found, error)) from error
    if tokenizer.eos_token_id is None:
        raise UserError(f"LLM {name!r}: its tokenizer has no end-of-text token, so generation could never stop")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    nn.Module.to(model, _device()).eval().requires_grad_(False)
    return LLM(name, model, tokenizer, _identity(model, tokenizer))


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _why_not(name: str, found: str | Path, error: Exception) -> str:
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if isinstance(found, Path):
        return f"LLM {name!r}: {found} is not a causal language model that transformers can load ({first_line})"
    return (
        f"LLM {name!r} is not a local folder and could not be had from the model hub ({first_line}); "
        "name a local folder or .gguf file, or check the name and the network"
    )


def _identity(model: Any, tokenizer: Any) -> str:
    """Hash a thin slice of every weight: enough to tell models apart, cheap enough for every start."""
    parts: list[Any] = [tokenizer.get_vocab_size() if hasattr(tokenizer, "get_vocab_size") else len(tokenizer)]
    for key, value in sorted(model.state_dict().items()):
        flat = value.reshape(-1)
        step = max(1, flat.numel() // 64)
        parts.append([key, list(value.shape), [round(x, 5) for x in flat[::step].float().tolist()]])
    return fingerprint(parts)
