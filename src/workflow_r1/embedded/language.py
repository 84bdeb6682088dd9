"""The language of the embedded world: writes its questions and facts, and lets the simulated expert read them back.

A question is a chain of relations applied to an entity, or a comparison of one year relation over two entities.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Relation:
    """One kind of fact."""

    noun: str
    """``the {noun} of X`` names the object."""
    subject: str
    """Kind of entity that has it."""
    object: str
    """Kind of entity that it leads to, or ``year``."""
    asks: tuple[str, ...]
    """Questions for the object; ``{}`` is the subject."""
    event: str = ""
    """Participle of a comparison (``released``), for years."""
    further: bool = False
    """True where only worlds with long chains have it."""

    @property
    def is_terminal(self) -> bool:
        """True where no relation leads on from its object."""
        return self.object in ("year", "country")


RELATIONS: dict[str, Relation] = {
    relation.noun: relation
    for relation in (
        Relation("director", "film", "person", ("Who directed {}?", "Who is the director of {}?")),
        Relation("star", "film", "person", ("Who starred in {}?", "Who is the star of {}?")),
        Relation(
            "release year", "film", "year", ("When was {} released?", "What is the release year of {}?"), "released"
        ),
        Relation("author", "book", "person", ("Who wrote {}?", "Who is the author of {}?")),
        Relation(
            "publication year",
            "book",
            "year",
            ("When was {} published?", "What is the publication year of {}?"),
            "published",
        ),
        Relation("founder", "company", "person", ("Who founded {}?", "Who is the founder of {}?")),
        Relation("home city", "company", "city", ("Where is {} based?", "What is the home city of {}?")),
        Relation(
            "founding year", "company", "year", ("When was {} founded?", "What is the founding year of {}?"), "founded"
        ),
        Relation("birthplace", "person", "city", ("Where was {} born?", "What is the birthplace of {}?")),
        Relation("spouse", "person", "person", ("Who married {}?", "Who is the spouse of {}?")),
        Relation("birth year", "person", "year", ("When was {} born?", "What is the birth year of {}?"), "born"),
        Relation("country", "city", "country", ("In which country is {}?", "What is the country of {}?")),
        Relation(
            "company", "person", "company", ("In which company is {}?", "What is the company of {}?"), further=True
        ),
        Relation("book", "person", "book", ("Which book is of {}?", "What is the book of {}?"), further=True),
        Relation("film", "company", "film", ("Which film is of {}?", "What is the film of {}?"), further=True),
    )
}
"""Every relation by its noun."""


@dataclass(frozen=True, slots=True)
class Chain:
    """``relations`` applied one after the other to ``entity``."""

    entity: str
    """Name of the entity that the chain starts from."""
    relations: tuple[str, ...]
    """Nouns, in the order in which they are followed."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of two entities by a year: the first, or the last."""

    entities: tuple[str, str]
    """Names, in the order of the question."""
    relation: str
    """Noun of a year relation."""
    last: bool
    """True asks for the later one."""


Query = Chain | Comparison


def write_chain(chain: Chain, *, phrasing: int = 0) -> str:
    """Put a chain into a question, e.g. ``Where was the director of Bolari born?``."""
    subject = chain.entity
    for noun in chain.relations[:-1]:
        subject = describe(noun, subject)
    asks = RELATIONS[chain.relations[-1]].asks
    return asks[phrasing % len(asks)].format(subject)


def write_comparison(comparison: Comparison) -> str:
    """Put a comparison into a question, e.g. ``Which film was released first, Bolari or Sutemi?``."""
    relation = RELATIONS[comparison.relation]
    who = "Who" if relation.subject == "person" else f"Which {relation.subject}"
    order = "last" if comparison.last else "first"
    return f"{who} was {relation.event} {order}, {comparison.entities[0]} or {comparison.entities[1]}?"


def write_steps(query: Query) -> list[str]:
    """Return the questions of a query's single hops; a later hop names its entity by the description."""
    if isinstance(query, Comparison):
        return [write_chain(Chain(entity, (query.relation,))) for entity in query.entities]
    subjects = [query.entity, *(f"that {RELATIONS[noun].object}" for noun in query.relations[:-1])]
    return [RELATIONS[noun].asks[0].format(subject) for noun, subject in zip(query.relations, subjects, strict=True)]


_NAME = r"[A-Z][a-z]+"
_ASK_PATTERNS = [
    (relation.noun, re.compile("^" + re.escape(ask).replace(r"\{\}", "(.+)") + "$"))
    for relation in RELATIONS.values()
    for ask in relation.asks
]
_COMPARISON_PATTERN = re.compile(
    rf"^(?:Who|Which \w+) was (\w+) (first|last), ({_NAME}) or ({_NAME})\?$",
)
_DESCRIPTION_PATTERN = re.compile(r"^the ([a-z ]+?) of (.+)$")


def read_question(text: str) -> Query | None:
    """Read back one question; None where the text is not one that this world can put into words."""
    text = " ".join(text.split())
    if len(text) > 400:
        return None
    match = _COMPARISON_PATTERN.match(text)
    if match:
        event, order, first, second = match.groups()
        for relation in RELATIONS.values():
            if relation.event == event and (event != "born" or text.startswith("Who")):
                return Comparison((first, second), relation.noun, order == "last")
        return None
    for noun, pattern in _ASK_PATTERNS:
        match = pattern.match(text)
        if match:
            relations = [noun]
            subject = match.group(1)
            while description := _DESCRIPTION_PATTERN.match(subject):
                if description.group(1) not in RELATIONS:
                    return None
                relations.append(description.group(1))
                subject = description.group(2)
            if re.fullmatch(_NAME, subject):
                return Chain(subject, tuple(reversed(relations)))
    return None


BEARERS = ("one", "two")
"""Marks of two that bear one name."""

_BEARER = "|".join(BEARERS)
_PASSAGE_PATTERN = re.compile(rf"({_NAME})(?: (?:{_BEARER}))? is an? \w+ with ([^.]+)\.")
_BEARER_PATTERN = re.compile(rf"({_NAME}) ({_BEARER}) is an? ")
_FACT_PATTERN = re.compile(rf"({'|'.join(RELATIONS)}) ({_NAME}|[0-9]{{4}})")
_NEWS_PATTERN = re.compile(rf"({_NAME}) has ({'|'.join(RELATIONS)}) ({_NAME}|[0-9]{{4}})\.")


def describe(noun: str, subject: str) -> str:
    """Name an object by its relation, e.g. ``the director of Bolari``."""
    return f"the {noun} of {subject}"


def write_passage(subject: str, kind: str, facts: Sequence[tuple[str, str]], *, bearer: str = "") -> str:
    """State facts, e.g. ``Bolari is a film with director Tonuda, release year 1951.``

    Args:
        subject: name of the entity.
        kind: its kind.
        facts: nouns of relations and their objects.
        bearer: mark of one of two that bear the name (``Karimo two is a person``).
    """
    stated = ", ".join(f"{noun} {value}" for noun, value in facts)
    named = f"{subject} {bearer}" if bearer else subject
    return f"{named} is a {kind} with {stated}." if stated else f"{named} is a {kind}."


def write_news(subject: str, noun: str, value: str) -> str:
    """State that a fact has changed, e.g. ``Karimo has company Bolari.``"""
    return f"{subject} has {noun} {value}."


def describe_news(noun: str, subject: str) -> str:
    """Ask for news of an object, e.g. ``last year company of Karimo``."""
    return f"last year {noun} of {subject}"


def read_news(text: str) -> dict[tuple[str, str], str]:
    """Find the facts that a text states in the form of :func:`write_news`: ``(subject, noun) -> object``."""
    return {(subject, noun): value for subject, noun, value in _NEWS_PATTERN.findall(text[:4000])}


def read_bearers(text: str) -> dict[str, str]:
    """Find the names that two bear, with the mark of the one whose passage is shown: ``Karimo -> two``."""
    return dict(_BEARER_PATTERN.findall(text[:4000]))


def describe_other(noun: str, subject: str, shown: str) -> str:
    """Name an object of the other one that bears a name, e.g. ``the company of Karimo one`` where ``two`` was shown."""
    other = BEARERS[1 - BEARERS.index(shown)]
    return f"{describe(noun, subject)} {other}"


def read_statements(text: str) -> dict[tuple[str, str], str]:
    """Find the facts that a text states in the form of :func:`write_passage`: ``(subject, noun) -> object``."""
    return {
        (subject, noun): value
        for subject, facts in _PASSAGE_PATTERN.findall(text[:4000])
        for noun, value in _FACT_PATTERN.findall(facts)
    }
