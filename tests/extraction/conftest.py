"""Fixtures: a tiny LLM of each family."""

import pytest
from tiny_llms import build_llm

from hundredth.extraction.llm import LLM


@pytest.fixture(params=["llama", "qwen", "gemma", "gpt2"], scope="session")
def any_llm(request: pytest.FixtureRequest) -> LLM:
    return build_llm(request.param)


@pytest.fixture
def llm() -> LLM:
    """A fresh tiny Llama: adapters change a model in place."""
    return build_llm("llama")
