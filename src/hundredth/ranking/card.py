"""The model card that lies in the folder of a trained encoder."""

import json
from typing import Any

_TERMS = {
    "contrastive_weight": "contrastive",
    "consistency_weight": "ranking consistency",
    "ranking_weight": "ranking",
}
_METRICS = {
    "spearman": "Spearman's correlation x 100 of cosines with the scores of {count:,} development pairs",
    "teacher_agreement": "Spearman's correlation x 100 of the encoder's rankings with the teachers', the mean over "
    "{count:,} held-out sentences",
}


def encoder_card(name: str, settings: dict[str, Any], result: dict[str, Any]) -> str:
    """Return the card as Markdown: what the encoder is for, its numbers, how it was made, and how to use it."""
    config = settings["config"]
    base = settings["base"]
    head = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": ["sentence-transformers", "sentence-similarity", "feature-extraction", "rankcse"],
    }
    # JSON is YAML.
    front = "\n".join(f"{key}: {json.dumps(value)}" for key, value in head.items())
    terms = ", ".join(f"{word} x {config[key]:g}" for key, word in _TERMS.items() if config[key])
    names = settings["teachers"]
    weights = settings["weights"] or [1 / len(names) for _ in names]
    teachers = ", ".join(f"`{one}` ({weight:.3g})" for one, weight in zip(names, weights, strict=True))
    rows = [
        ("sentences", f"{result['corpus']['sentences']:,}"),
        *([("hard negatives", f"of the column `{settings['negatives']}`")] if settings["negatives"] else []),
        ("steps", f"{result['steps']:,} of {config['batch_size']} sentences"),
        ("loss", terms + (f" ({config['listwise']})" if config["ranking_weight"] else "")),
        ("teachers", teachers or "none"),
        ("learning rate", f"{result['learning_rate']:.3g}"),
        ("precision", result["precision"]),
        ("parameters", f"{result['parameters']:,}"),
    ]
    made = "\n".join(f"| {name} | {value} |" for name, value in rows)
    versions = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
    return f"""---
{front}
---

# {name}

A sentence encoder: texts to vectors of {result["width"]} numbers, alike texts to vectors of a high cosine. It was
trained from `{base}` by hundredth with the losses of RankCSE
([arXiv 2305.16726](https://arxiv.org/abs/2305.16726)), without labels.

```python
from sentence_transformers import SentenceTransformer

encoder = SentenceTransformer("path/to/this/folder")
embeddings = encoder.encode(["A first sentence.", "A second one."])
encoder.similarity(embeddings, embeddings)
```

{_scores(result)}
## How it was made

| | |
|---|---|
{made}

All settings are in `training.json`. Versions: {versions}.
"""


def _scores(result: dict[str, Any]) -> str:
    chosen = result["chosen_by"]
    if chosen is None:
        return "No development score was measured: these are the weights of the last step.\n"
    what = _METRICS[chosen["metric"]].format(count=chosen["count"])
    return f"""## Numbers

{what[0].upper()}{what[1:]}:

| | |
|---|---|
| before training | {chosen["start"]:.2f} |
| best, at step {chosen["step"]:,} | {chosen["best"]:.2f} |
| last step | {chosen["last"]:.2f} |

The best step was chosen by this score, so it flatters; measure on texts that had no part in it.
"""
