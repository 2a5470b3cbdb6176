"""Which losses count at which iteration, and from which labels they learn. Method section 5."""

from dataclasses import dataclass

from unia.recipe import Losses, PseudoLabel, SwitchedLoss


@dataclass(frozen=True)
class ActiveLosses:
    """The losses that count at an iteration, and the source of their labels by then."""

    names: frozenset[str]
    mutual: frozenset[str]  # of these, the ones that take the mutual label
    late: bool  # the late rule of mutual refinement holds

    @classmethod
    def at(cls, iteration: int, losses: Losses, pseudo_label: PseudoLabel) -> "ActiveLosses":
        """The losses of `iteration` (from 0).

        As in the reference a loss counts at iterations > `after` (with 0 from the first on), and the late
        rule holds at iterations > `late_after`; but a label changes its source at iterations >=
        `mutual_after`.
        """
        names, mutual = set(), set()
        for name in Losses.model_fields:
            loss = getattr(losses, name)
            after = getattr(loss, "after", 0)
            if loss.weight > 0 and (after == 0 or iteration > after):
                names.add(name)
                switch = loss.mutual_after if isinstance(loss, SwitchedLoss) else None
                if switch is not None and iteration >= switch:
                    mutual.add(name)
        return cls(frozenset(names), frozenset(mutual), iteration > pseudo_label.late_after)
