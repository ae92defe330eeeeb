"""How the learning rate goes, wherever something is trained by our own loop."""


def rate_factor(step: int, total: int, warmup: float) -> float:
    """Return the share of the peak learning rate at a step: it rises over the warm-up, then falls to zero."""
    rising = max(1.0, warmup * total)
    return min(1.0, (step + 1) / rising) * (1 - step / total)
