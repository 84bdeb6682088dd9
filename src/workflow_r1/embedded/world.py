"""The embedded world: a generated knowledge base with questions, passages and a search over them. A simulation.

Every name is invented, so nothing can be answered from memory. Some facts are missing from the passages; the simulated
expert (``embedded.expert``) knows them, but is often wrong. Training and evaluation share no entity and no name.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal

from workflow_r1.embedded.config import LONG_HOPS, MISSING_SHARE, NUM_HOPS, EmbeddedConfig, Kind
from workflow_r1.embedded.language import (
    BEARERS,
    RELATIONS,
    Chain,
    Comparison,
    Query,
    Relation,
    write_chain,
    write_comparison,
    write_news,
    write_passage,
)
from workflow_r1.embedded.names import NameMaker
from workflow_r1.retrieval import BM25Index, Passage
from workflow_r1.trajectory import Question

Split = Literal["train", "evaluation"]

DATASET = "embedded world (a simulation)"
"""Name of the dataset, shown wherever its figures are."""

ENTITIES_PER_SPLIT = {"country": 12, "city": 60, "person": 360, "film": 240, "book": 160, "company": 140}
"""Number of entities of each kind in each split."""

NAMESAKE_KINDS = ("person", "company")
"""Kinds of entities whose names others may bear."""

STRANGERS_PER_SPLIT = {"person": 24, "company": 12, "city": 12, "film": 12, "book": 12}
"""Number of strangers of each kind in each split: the entities that the wrong one of two namesakes leads to."""

NEWS = "Last year"
"""Title of the passages that state changed facts."""

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
    """One generated world; equal settings make equal worlds.

    Args:
        config: the dials; a seed alone is the quickstart's world of that seed.
    """

    def __init__(self, config: EmbeddedConfig | int = 0) -> None:
        self.config = EmbeddedConfig(seed=config) if isinstance(config, int) else config
        self.seed = seed = self.config.seed
        self.relations: dict[str, Relation] = {
            noun: relation
            for noun, relation in RELATIONS.items()
            if self.config.has_long_chains or not relation.further
        }
        """The relations of this world by their nouns."""
        rng = random.Random(f"world {seed}")
        names = NameMaker(rng)
        self.entities: dict[str, Entity] = {}
        """Every entity by its name, strangers among them."""
        self.by_kind: dict[tuple[Split, str], list[str]] = {}
        """Names of the entities of one split and kind, without strangers."""
        self.namesakes: dict[str, dict[str, str]] = {}
        """Name that two entities bear -> facts of the one that no question means."""
        self.outdated: dict[tuple[str, str], str] = {}
        """Name and noun of a fact that has changed -> its former object."""
        splits: tuple[Split, ...] = ("train", "evaluation")
        for split in splits:
            self._make_entities(split, rng, names)
        if self.config.namesakes:
            for split in splits:
                self._make_namesakes(split, random.Random(f"namesakes {seed} {split}"), names)
        if self.config.outdated:
            self._change_facts(random.Random(f"outdated {seed}"))

    def _make_entities(self, split: Split, rng: random.Random, names: NameMaker) -> None:
        evaluation = split == "evaluation"
        for kind, number in ENTITIES_PER_SPLIT.items():
            self.by_kind[split, kind] = [names.name(evaluation=evaluation) for _ in range(number)]
        for kind in ENTITIES_PER_SPLIT:
            for name in self.by_kind[split, kind]:
                facts: dict[str, str] = {}
                for relation in self._relations_of(kind):
                    if relation.object == "year":
                        facts[relation.noun] = str(rng.randint(FIRST_YEAR, LAST_YEAR))
                    else:
                        # A film's director and star, or a person and the spouse, are never the same person.
                        facts[relation.noun] = _choose(
                            rng, self.by_kind[split, relation.object], {name, *facts.values()}
                        )
                self.entities[name] = Entity(name, kind, split, facts, self._draw_missing(facts, rng))

    def _relations_of(self, kind: str) -> Iterator[Relation]:
        return (relation for relation in self.relations.values() if relation.subject == kind)

    def _draw_missing(self, facts: Mapping[str, str], rng: random.Random) -> frozenset[str]:
        shares = self.config.missing
        return frozenset(noun for noun in facts if rng.random() < shares.get(noun, MISSING_SHARE))

    def _make_namesakes(self, split: Split, rng: random.Random, names: NameMaker) -> None:
        """Make strangers, who know each other only, and let some names be borne by one of their acquaintances, too."""
        evaluation = split == "evaluation"
        strangers = {
            kind: [names.name(evaluation=evaluation) for _ in range(number)]
            for kind, number in STRANGERS_PER_SPLIT.items()
        }

        def acquaintances(name: str, kind: str) -> dict[str, str]:
            facts: dict[str, str] = {}
            for relation in self._relations_of(kind):
                if not relation.is_terminal:
                    facts[relation.noun] = _choose(rng, strangers[relation.object], {name, *facts.values()})
            return facts

        for kind, members in strangers.items():
            for name in members:
                facts = acquaintances(name, kind)
                self.entities[name] = Entity(name, kind, split, facts, self._draw_missing(facts, rng))
        for kind in NAMESAKE_KINDS:
            for name in self.by_kind[split, kind]:
                if rng.random() < self.config.namesakes:
                    # Years are those of the one that is meant: passages of one length tie in a search.
                    self.namesakes[name] = self.entities[name].facts | acquaintances(name, kind)

    def _change_facts(self, rng: random.Random) -> None:
        for (split, _), members in self.by_kind.items():
            for name in members:
                entity = self.entities[name]
                for noun, value in entity.facts.items():
                    if noun in entity.missing or rng.random() >= self.config.outdated.get(noun, 0.0):
                        continue
                    kind = self.relations[noun].object
                    if kind == "year":
                        former = [str(year) for year in range(FIRST_YEAR, LAST_YEAR + 1)]
                    else:
                        former = self.by_kind[split, kind]
                    self.outdated[name, noun] = _choose(rng, former, {name, value})

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
        """One passage per entity, one per namesake and one per changed fact, in a shuffled order."""
        rng = random.Random(f"passages {self.seed}")
        passages = []
        for entity in self.entities.values():
            stated = [noun for noun in entity.facts if noun not in entity.missing]
            rng.shuffle(stated)
            name = entity.name
            facts = [(noun, self.outdated.get((name, noun), entity.facts[noun])) for noun in stated]
            bearers = [("", facts)]
            if (other := self.namesakes.get(name)) is not None:
                marks = rng.sample(BEARERS, 2)
                bearers = [(marks[0], facts), (marks[1], [(noun, other[noun]) for noun in stated])]
            for bearer, of_bearer in bearers:
                text = write_passage(name, entity.kind, of_bearer, bearer=bearer)
                passages.append(Passage(id="", title=name, text=text, score=0.0))
        for name, noun in self.outdated:
            text = write_news(name, noun, self.entities[name].facts[noun])
            passages.append(Passage(id="", title=NEWS, text=text, score=0.0))
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
        self, split: Split, num: int, *, seed: int = 0, kind_shares: Mapping[Kind, float] | None = None
    ) -> list[Question]:
        """Draw questions of one split, without repetition, the classes mixed by ``kind_shares``.

        Args:
            split: ``train`` or ``evaluation``; they share no entity and no name.
            num: number of questions.
            seed: another seed draws others.
            kind_shares: share of each class; None takes those of the configuration.

        Raises:
            ValueError: the world is too small for so many different questions.
        """
        rng = random.Random(f"questions {self.seed} {split} {seed}")
        shares = self.config.shares if kind_shares is None else kind_shares
        kinds = list(shares)
        seen: set[str] = set()
        questions: list[Question] = []
        attempts = 0
        while len(questions) < num:
            attempts += 1
            if attempts > 50 * num + 1000:
                raise ValueError(
                    f"expected at most some {len(questions)} different questions of split {split!r}, asked for {num}"
                )
            kind = rng.choices(kinds, weights=list(shares.values()))[0]
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
                    metadata={"kind": f"{kind}, namesake" if self.meets_namesake(query) else kind},
                )
            )
        return questions

    def draw_query(self, split: Split, kind: Kind, rng: random.Random) -> Query:
        """Draw a query of one class."""
        if kind == "comparison":
            relation = rng.choice([relation for relation in self.relations.values() if relation.event])
            first, second = rng.sample(self.by_kind[split, relation.subject], 2)
            return Comparison((first, second), relation.noun, last=rng.random() < 0.5)
        num_hops = NUM_HOPS[kind]
        while True:
            start = rng.choice(["film", "film", "book", "company", "person", "person", "city"])
            relations: list[str] = []
            at = start
            while len(relations) < num_hops and at not in ("year", "country"):
                options = [relation.noun for relation in self._relations_of(at)]
                if num_hops >= LONG_HOPS:
                    is_last = len(relations) == num_hops - 1
                    options = [noun for noun in options if self.relations[noun].is_terminal == is_last]
                    # The place of a relation in the question is then the place in the chain.
                    options = [noun for noun in options if noun not in relations]
                    if not options:
                        break
                relations.append(rng.choice(options))
                at = self.relations[relations[-1]].object
            # A spouse's spouse is another question about the same two people.
            repeated = any(a == b == "spouse" for a, b in pairwise(relations))
            if len(relations) == num_hops and not repeated:
                return Chain(rng.choice(self.by_kind[split, start]), tuple(relations))

    def meets_namesake(self, query: Query) -> bool:
        """Return True where a chain leads through a name that two bear, and the wrong one leads astray."""
        if isinstance(query, Comparison) or not self.namesakes:
            return False
        at = query.entity
        for noun in query.relations:
            if at in self.namesakes and not self.relations[noun].is_terminal:
                return True
            at = self.entities[at].facts[noun]
        return False


def _choose(rng: random.Random, names: list[str], taken: set[str]) -> str:
    """Draw one of the names that is not taken."""
    value = rng.choice(names)
    while value in taken:
        value = rng.choice(names)
    return value


def policy_directory() -> Path:
    """Directory of the shipped warm-start policy, in Hugging Face format."""
    return Path(__file__).parent / "policy"
