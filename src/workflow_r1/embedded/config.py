"""The dials of the embedded world. Their defaults are the world of the quickstart."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from workflow_r1.embedded.language import RELATIONS
from workflow_r1.embedded.strategy import CHOICES
from workflow_r1.nearest import did_you_mean
from workflow_r1.trajectory.records import Record

Kind = Literal[
    "one-hop", "two-hop", "three-hop", "four-hop", "five-hop", "six-hop", "seven-hop", "eight-hop", "comparison"
]
"""Class of a question."""

NUM_HOPS: Mapping[str, int] = {
    kind: hops
    for hops, kind in enumerate(
        ("one-hop", "two-hop", "three-hop", "four-hop", "five-hop", "six-hop", "seven-hop", "eight-hop"), start=1
    )
}
"""Hops of each class of chains."""

LONG_HOPS = 4
"""Chains of so many hops and more need the further relations of the language."""

KIND_SHARES: dict[Kind, float] = {"one-hop": 0.15, "two-hop": 0.35, "three-hop": 0.25, "comparison": 0.25}
"""Share of each class of questions."""

MISSING_SHARE = 0.15
"""Share of the facts that no passage states."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class EmbeddedConfig(Record):
    """The embedded world (a simulation); the defaults are the quickstart's."""

    seed: int = 0
    """The world's own seed: names, facts and the expert's mistakes."""
    classes: dict[Kind, Share] = Field(default_factory=dict)
    """Weight of each class of questions, ``one-hop`` to ``eight-hop`` and ``comparison``; a class that is not named has
    none. Empty is 0.15, 0.35 and 0.25 for one to three hops, and 0.25 for comparisons. A chain of four hops or more ends
    in a year or a country and has no relation twice."""
    missing: dict[str, Share] = Field(default_factory=dict)
    """Share of the facts of a relation that no passage states, e.g. ``{spouse = 0.9}``; 0.15 for the others."""
    recall: dict[str, Share] = Field(default_factory=dict)
    """Share of the facts of a relation that the expert knows when asked for one of them; 0.78 for the others. Its other
    rates, and those of chains with this relation, change in proportion."""
    outdated: dict[str, Share] = Field(default_factory=dict)
    """Share of the stated facts of a relation that have changed since: the entity's passage states the former value, and a
    passage of last year the present one. None of the others."""
    namesakes: Share = 0.0
    """Share of the persons and companies that bear the name of another one. Their passages say ``one`` and ``two``, and not
    which of them is meant; the wrong one leads to strangers, of whom no year and no country is known."""
    reading: Share = 1.0
    """Share of the values that the demonstrators read rightly out of a passage; otherwise they take another of its values."""
    padding: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=0)]] = (0, 0)
    """Fewest and most words of the question that the demonstrators copy into each thought: the more, the fewer tokens of a
    turn decide anything; the wider apart, the more the lengths of turns differ."""
    restating: bool = False
    """Lets the demonstrators' thoughts say which relations of a chain are left, whenever one is found: the next one is then
    copied from beside it, and a small policy need not work out where in the question it is."""
    strategy: dict[str, Share] = Field(default_factory=dict)
    """Probabilities of the demonstrators' choices that differ from the quickstart's, e.g. ``{check = 0.2}``; see
    ``workflow_r1.embedded.Strategy``."""

    @field_validator("missing", "recall", "outdated")
    @classmethod
    def _names_relations(cls, value: dict[str, float]) -> dict[str, float]:
        for noun in value:
            if noun not in RELATIONS:
                raise ValueError(
                    f"relations ({', '.join(RELATIONS)}), and {noun!r} is none of them{did_you_mean(noun, RELATIONS)}"
                )
        return value

    @field_validator("strategy")
    @classmethod
    def _names_choices(cls, value: dict[str, float]) -> dict[str, float]:
        for name in value:
            if name not in CHOICES:
                raise ValueError(
                    f"choices ({', '.join(CHOICES)}), and {name!r} is none of them{did_you_mean(name, CHOICES)}"
                )
        return value

    @model_validator(mode="after")
    def _ranges(self) -> "EmbeddedConfig":
        if self.classes and not sum(self.classes.values()) > 0:
            raise ValueError("a class with a weight above 0 in `classes`")
        if self.padding[0] > self.padding[1]:
            raise ValueError(f"the fewest words before the most in `padding` ({list(self.padding)})")
        return self

    @property
    def shares(self) -> Mapping[Kind, float]:
        """Weight of each class of questions."""
        return self.classes or KIND_SHARES

    @property
    def has_long_chains(self) -> bool:
        """True where a class asks for chains that need the further relations."""
        return any(share > 0 and NUM_HOPS.get(kind, 0) >= LONG_HOPS for kind, share in self.classes.items())
