"""The steps: which sections of a recipe each one reads, and which step it follows."""

from collections.abc import Mapping

from unia.recipe import Recipe

STEPS: Mapping[str, tuple[str, ...]] = {
    "download": ("data",),
    "prepare": ("data",),
    "train": ("model", "pseudo_label", "losses", "train"),
    "infer": ("pseudo_label", "infer"),
    "crf": ("crf",),
    "score": (),
    "evaluate": ("model", "pseudo_label", "infer", "crf"),
    "table": (),
    "figures": ("pseudo_label", "infer"),
    "ablation": (),
    "volumes": (),
}
"""Step -> the sections it reads."""

BEFORE: Mapping[str, str] = {
    "prepare": "download",
    "train": "prepare",
    "infer": "train",
    "crf": "infer",
    "score": "crf",
    "table": "score",
    "figures": "score",
    "ablation": "score",
    "volumes": "crf",
}
"""Step -> the last of those that have to run before it."""


def behind(step: str) -> tuple[str, ...]:
    """The sections that `step` and all steps before it read: what its result depends on."""
    steps = [step]
    while steps[-1] in BEFORE:
        steps.append(BEFORE[steps[-1]])
    read = {section for one in steps for section in STEPS[one]}
    return tuple(section for section in Recipe.model_fields if section in read)
