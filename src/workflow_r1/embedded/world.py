"""The embedded world: a generated knowledge base with questions, passages and a search over them. A simulation.

Every name is invented, so nothing can be answered from memory. Some facts are missing from the passages; the simulated
expert (``embedded.expert``) knows them, but is often wrong. Training and evaluation share no entity and no name.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal

from workflow_r1.embedded.language import (
    RELATIONS,
    Chain,
    Comparison,
    Query,
    write_chain,
    write_comparison,
    write_passage,
)
from workflow_r1.embedded.names import NameMaker
from workflow_r1.retrieval import BM25Index, Passage
from workflow_r1.trajectory import Question

Split = Literal["train", "evaluation"]
Kind = Literal["one-hop", "two-hop", "three-hop", "comparison"]

DATASET = "embedded world (a simulation)"
"""Name of the dataset, shown wherever its figures are."""

KIND_SHARES: dict[Kind, float] = {"one-hop": 0.15, "two-hop": 0.35, "three-hop": 0.25, "comparison": 0.25}
"""Share of each class of questions."""

ENTITIES_PER_SPLIT = {"country": 12, "city": 60, "person": 360, "film": 240, "book": 160, "company": 140}
"""Number of entities of each kind in each split."""

MISSING_SHARE = 0.15
"""Share of the facts that no passage states."""

FIRST_YEAR, LAST_YEAR = 1950, 1999


@dataclass(frozen=True, slots=True)
class Entity:
    """One thing of the world."""

    name: str
    kind: str
    split: Split
    facts: dict[str, str] = field(default_factory=dict)
    """Noun of the relation -> name of the object, or a year."""
    missing: frozenset[str] = frozenset()
    """Nouns of the facts that no passage states."""


class EmbeddedWorld:
    """One generated world; equal seeds make equal worlds.

    Args:
        seed: seed of names, facts, passages and questions.
        missing_share: share of facts that no passage states.
    """

    def __init__(self, seed: int = 0, *, missing_share: float = MISSING_SHARE) -> None:
        self.seed = seed
        rng = random.Random(f"world {seed}")
        names = NameMaker(rng)
        self.entities: dict[str, Entity] = {}
        """Every entity by its name."""
        self.by_kind: dict[tuple[Split, str], list[str]] = {}
        """Names of the entities of one split and kind."""
        splits: tuple[Split, ...] = ("train", "evaluation")
        for split in splits:
            self._make_entities(split, rng, names, missing_share)

    def _make_entities(self, split: Split, rng: random.Random, names: NameMaker, missing_share: float) -> None:
        evaluation = split == "evaluation"
        for kind, number in ENTITIES_PER_SPLIT.items():
            self.by_kind[split, kind] = [names.name(evaluation=evaluation) for _ in range(number)]
        for kind in ENTITIES_PER_SPLIT:
            for name in self.by_kind[split, kind]:
                facts: dict[str, str] = {}
                for relation in RELATIONS.values():
                    if relation.subject != kind:
                        continue
                    if relation.object == "year":
                        facts[relation.noun] = str(rng.randint(FIRST_YEAR, LAST_YEAR))
                    else:
                        # A film's director and star, or a person and the spouse, are never the same person.
                        candidates = self.by_kind[split, relation.object]
                        taken = {name, *facts.values()}
                        value = rng.choice(candidates)
                        while value in taken:
                            value = rng.choice(candidates)
                        facts[relation.noun] = value
                missing = frozenset(noun for noun in facts if rng.random() < missing_share)
                self.entities[name] = Entity(name, kind, split, facts, missing)

    def answer(self, query: Query) -> str | None:
        """The true answer to a query; None where it asks for something that does not exist."""
        if isinstance(query, Comparison):
            years = [self._follow(entity, (query.relation,)) for entity in query.entities]
            if years[0] is None or years[1] is None or years[0] == years[1]:
                return None
            first_is_answer = (years[0] < years[1]) != query.last
            return query.entities[0 if first_is_answer else 1]
        return self._follow(query.entity, query.relations)

    def _follow(self, name: str, relations: tuple[str, ...]) -> str | None:
        for noun in relations:
            entity = self.entities.get(name)
            if entity is None or noun not in entity.facts:
                return None
            name = entity.facts[noun]
        return name

    @cached_property
    def passages(self) -> list[Passage]:
        """One passage per entity, in a shuffled order."""
        rng = random.Random(f"passages {self.seed}")
        passages = []
        for entity in self.entities.values():
            stated = [noun for noun in entity.facts if noun not in entity.missing]
            rng.shuffle(stated)
            text = write_passage(entity.name, entity.kind, [(noun, entity.facts[noun]) for noun in stated])
            passages.append(Passage(id="", title=entity.name, text=text, score=0.0))
        rng.shuffle(passages)
        return [
            Passage(id=f"p{number:05d}", title=passage.title, text=passage.text, score=0.0)
            for number, passage in enumerate(passages)
        ]

    @cached_property
    def search(self) -> BM25Index:
        """Real BM25 retrieval over the passages."""
        return BM25Index.from_passages(self.passages)

    def questions(
        self, split: Split, num: int, *, seed: int = 0, kind_shares: Mapping[Kind, float] = KIND_SHARES
    ) -> list[Question]:
        """Draw questions of one split, without repetition, the classes mixed by ``kind_shares``.

        Args:
            split: ``train`` or ``evaluation``; they share no entity and no name.
            num: number of questions.
            seed: another seed draws others.
            kind_shares: share of each class.

        Raises:
            ValueError: the world is too small for so many different questions.
        """
        rng = random.Random(f"questions {self.seed} {split} {seed}")
        kinds = list(kind_shares)
        seen: set[str] = set()
        questions: list[Question] = []
        attempts = 0
        while len(questions) < num:
            attempts += 1
            if attempts > 50 * num + 1000:
                raise ValueError(
                    f"expected at most some {len(questions)} different questions of split {split!r}, asked for {num}"
                )
            kind = rng.choices(kinds, weights=list(kind_shares.values()))[0]
            query = self.draw_query(split, kind, rng)
            text = (
                write_comparison(query)
                if isinstance(query, Comparison)
                else write_chain(query, phrasing=rng.randrange(2))
            )
            answer = self.answer(query)
            if answer is None or text in seen:
                continue
            seen.add(text)
            questions.append(
                Question(
                    id=f"embedded-{self.seed}-{split}-{seed}-{len(questions):05d}",
                    text=text,
                    golden_answers=(answer,),
                    dataset=DATASET,
                    split=split,
                    metadata={"kind": kind},
                )
            )
        return questions

    def draw_query(self, split: Split, kind: Kind, rng: random.Random) -> Query:
        """Draw a query of one class."""
        if kind == "comparison":
            relation = rng.choice([relation for relation in RELATIONS.values() if relation.event])
            first, second = rng.sample(self.by_kind[split, relation.subject], 2)
            return Comparison((first, second), relation.noun, last=rng.random() < 0.5)
        num_hops = {"one-hop": 1, "two-hop": 2, "three-hop": 3}[kind]
        while True:
            start = rng.choice(["film", "film", "book", "company", "person", "person", "city"])
            relations: list[str] = []
            at = start
            while len(relations) < num_hops and at not in ("year", "country"):
                options = [noun for noun, relation in RELATIONS.items() if relation.subject == at]
                relations.append(rng.choice(options))
                at = RELATIONS[relations[-1]].object
            # A spouse's spouse is another question about the same two people.
            repeated = any(a == b == "spouse" for a, b in pairwise(relations))
            if len(relations) == num_hops and not repeated:
                return Chain(rng.choice(self.by_kind[split, start]), tuple(relations))


def policy_directory() -> Path:
    """Directory of the shipped warm-start policy, in Hugging Face format."""
    return Path(__file__).parent / "policy"
