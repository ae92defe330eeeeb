"""The model card that lies beside a deployed model."""

from typing import Any

from hundredth.pipeline.config import RunConfig
from hundredth.tasks import TaskData


def model_card(data: TaskData, config: RunConfig, student: dict[str, Any], model: dict[str, Any]) -> str:
    """Return the card as Markdown: what the model is for, its numbers, and how to use it."""
    task, dev, retrieval = data.task, model["dev"], model["retrieval"]
    size = sum(model["bytes"].values())
    if retrieval is None:
        store = "It has no knowledge store."
    elif model["ignores_its_store"]:
        store = (
            f"It comes with a store of {model['entries']:,} entries, but on the development texts it was best "
            "without them (lambda 0): **it ignores its store**; what users add or "
            "correct decides for nearly identical texts alone."
        )
    else:
        store = (
            f"It looks up the {retrieval['k']} nearest of {model['entries']:,} stored entries and gives them the "
            f"weight {retrieval['weight']:g} (temperature {retrieval['temperature']:g})."
        )
        if not model["store_helps"]:
            store += " On the development texts that does no harm, and brings no clear gain."
    labels = ", ".join(f"`{label}`" for label in task.labels)
    return f"""# {task.name}

Labels a text ({", ".join(task.fields)}) as one of: {labels}.

A student of {student["parameters"]:,} parameters ({student["share_of_llm"]:.1%} of the LLM's), taught by
`{config.llm.name}` from {len(data.train)} labelled texts. {store}

| on {dev["texts"]} development texts | |
|---|---|
| {task.metric} | {dev["score"]:.3f} |
| {task.metric} without the store | {dev["score_without_store"]:.3f} |
| expected calibration error | {dev["ece"]:.3f} (before calibration {dev["ece_before"]:.3f}) |
| bytes | {size:,} (encoder: {model["export"]["precision"]}) |

The settings were chosen on these development texts, so the numbers flatter; `hundredth evaluate` measures on
texts that the run has never seen.

```python
import hundredth

model = hundredth.load("path/to/this/folder")
model.predict({["text of one example"] if len(task.fields) == 1 else [("first field", "second field")]!r})
```
"""
