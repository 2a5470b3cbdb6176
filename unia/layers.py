"""Nested mappings, as YAML gives them: laid over one another, compared, looked into."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from unia.errors import UserError


def overlay(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`top` laid over `base`: mappings merge key by key, everything else replaces."""
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            value = overlay(below, value)
        merged[key] = value
    return merged


def settings_between(base: Mapping[str, Any], changed: Mapping[str, Any]) -> list[str]:
    """The settings (`a.b=value`, value as YAML) that turn `base` into `changed`."""
    found = []
    for key, value in changed.items():
        below = base.get(key, {})
        if isinstance(value, Mapping) and value and isinstance(below, Mapping):
            found += [f"{key}.{rest}" for rest in settings_between(below, value)]
        elif key not in base or value != below:
            text = yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n...\n")
            found.append(f"{key}={text.strip()}")
    return found


def parsed(text: str) -> dict[str, Any]:
    """A setting (`a.b=value`) as a mapping; UserError for what is none."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError(f"--set {text}: must read KEY=VALUE, for instance recipe.crf.iterations=5")
    tree: Any
    try:
        tree = yaml.load(value, Loader=WithoutAliases)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UserError(f"--set {text}: the value is not valid YAML") from None
    for part in reversed(key.split(".")):
        tree = {part: tree}
    return tree


class WithoutAliases(yaml.SafeLoader):
    """YAML whose size is what is written: an alias of aliases can stand for billions of values."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.get_event()
            raise yaml.MarkedYAMLError(
                problem="aliases (*) are not read; write it out", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)


def lines_of(node: yaml.Node | None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    """(path, line) of every key of a YAML document."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*path, str(key.value))
            yield below, key.start_mark.line + 1
            yield from lines_of(value, below)


def at(document: Mapping[str, Any], path: Sequence[str]) -> Any:
    """What stands at `path`."""
    for part in path:
        document = document[part]
    return document


def holds(document: Any, path: Sequence[str]) -> bool:
    """Whether something stands at `path`."""
    for part in path:
        if not isinstance(document, Mapping) or part not in document:
            return False
        document = document[part]
    return True


def tuples(value: Any) -> Any:
    """YAML's lists as tuples, whole numbers kept: what strict validation takes."""
    if isinstance(value, Mapping):
        return {key: tuples(below) for key, below in value.items()}
    return tuple(tuples(below) for below in value) if isinstance(value, list) else value
