"""The settings of the reinforcement learning on the soft prompt."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from hundredth.seeds import Seed

Algorithm = Literal["none", "ppo", "grpo"]


class RLConfig(BaseModel):
    """How the tuned soft prompt is trained further by rewards for the texts that it makes the LLM write."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    algorithm: Algorithm = Field(
        "none",
        description="ppo: with a value head; grpo: each text against the others of its label; none leaves the "
        "tuned prompt as it is",
    )
    steps: int = Field(40, ge=1, description="rollouts to learn from")
    rollout: int = Field(64, ge=2, description="texts a rollout, the same number for each label, at least two")
    epochs: int = Field(2, ge=1, description="most passes over a rollout")
    batch_size: int = Field(16, ge=1, description="texts a gradient step")
    learning_rate: float = Field(2e-3, gt=0, description="peak learning rate of the prompt")
    value_learning_rate: float = Field(1e-2, gt=0, description="learning rate of the value head")
    clip: float = Field(
        0.2, gt=0, lt=1, description="how far a token's probability may move in a rollout, as share"
    )
    value_clip: float = Field(0.2, gt=0, description="how far a value may move in a rollout")
    discount: float = Field(1.0, gt=0, le=1, description="worth of a reward one token later")
    gae_decay: float = Field(0.95, ge=0, le=1, description="lambda of generalised advantage estimation")
    kl_weight: float = Field(0.02, ge=0, description="first weight of the divergence from the tuned prompt")
    kl_target: float = Field(6.0, gt=0, description="divergence aimed at by changing its weight, in nats a text")
    kl_horizon: float = Field(500.0, gt=0, description="texts in which its weight changes by 20 % at most")
    kl_stop: float = Field(0.03, gt=0, description="leave a rollout when the policy has moved so far, nats a token")
    quality: float = Field(1.0, ge=0, description="weight of the annotator's probability of the intended label")
    log_quality: bool = Field(False, description="take the logarithm of that probability")
    diversity: float = Field(0.5, ge=0, description="weight of 1 - Self-BLEU against the others of the label")
    length: float = Field(0.2, ge=0, description="weight of being as long as the training texts")
    unusable: float = Field(1.0, ge=0, description="what an unfinished text, or one that lacks a field, costs")
    rewards: tuple[str, ...] = Field(
        (), description="rewards of your own: module:function, or module:function@WEIGHT"
    )
    least_diversity: float = Field(
        0.5, ge=0, le=1, description="collapse: diversity below this share of the first rollout's"
    )
    most_duplicates: float = Field(
        0.25, ge=0, le=1, description="collapse: share of exact copies this far above the first rollout's"
    )
    most_kl: float = Field(5.0, gt=1, description="collapse: divergence above so many times `kl_target`")
    patience: int = Field(2, ge=1, description="collapse: rollouts in a row that show it")
    log_every: int = Field(10, ge=1, description="write the texts of every so many rollouts as a table")
    seed: Seed = Field(0, description="the texts drawn, and their order")
