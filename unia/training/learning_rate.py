"""The learning rate over the iterations. Method section 5."""


def learning_rate(
    base: float, step: int, warmup: int, warmup_ratio: float, iterations: int, power: float
) -> float:
    """The rate used at `step` (from 0): a linear warm-up from base * warmup_ratio, then polynomial decay.

    The decay is counted from step 0, so the rate drops a little where the warm-up ends.
    """
    if step < warmup:
        return base * (1 - (1 - step / warmup) * (1 - warmup_ratio))
    return base * (1 - step / iterations) ** power
