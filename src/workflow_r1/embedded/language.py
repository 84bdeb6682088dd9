"""How the embedded world is put into words, and how the simulated expert reads them back.

A question is a chain of relations applied to an entity, or a comparison of one year relation over two entities.
"""

import re
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
    statements: tuple[str, ...]
    """Sentences that state it; ``{s}`` and ``{o}`` are subject and object."""
    event: str = ""
    """For years: the participle of a comparison (``released``)."""


RELATIONS: dict[str, Relation] = {
    relation.noun: relation
    for relation in (
        Relation(
            "director", "film", "person",
            ("Who directed {}?", "Who is the director of {}?"),
            ("{s} was directed by {o}.", "The director of {s} is {o}."),
        ),
        Relation(
            "star", "film", "person",
            ("Who starred in {}?", "Who is the star of {}?"),
            ("{o} starred in {s}.", "The star of {s} is {o}."),
        ),
        Relation(
            "release year", "film", "year",
            ("When was {} released?", "What is the release year of {}?"),
            ("{s} was released in {o}.", "The film came out in {o}."),
            event="released",
        ),
        Relation(
            "author", "book", "person",
            ("Who wrote {}?", "Who is the author of {}?"),
            ("{s} was written by {o}.", "The author of {s} is {o}."),
        ),
        Relation(
            "publication year", "book", "year",
            ("When was {} published?", "What is the publication year of {}?"),
            ("{s} was published in {o}.", "The book appeared in {o}."),
            event="published",
        ),
        Relation(
            "founder", "company", "person",
            ("Who founded {}?", "Who is the founder of {}?"),
            ("{s} was founded by {o}.", "The founder of {s} is {o}."),
        ),
        Relation(
            "home city", "company", "city",
            ("Where is {} based?", "What is the home city of {}?"),
            ("{s} is based in {o}.", "The company has its home in {o}."),
        ),
        Relation(
            "founding year", "company", "year",
            ("When was {} founded?", "What is the founding year of {}?"),
            ("{s} was founded in {o}.", "The company dates from {o}."),
            event="founded",
        ),
        Relation(
            "birthplace", "person", "city",
            ("Where was {} born?", "What is the birthplace of {}?"),
            ("{s} was born in {o}.", "The birthplace of {s} is {o}."),
        ),
        Relation(
            "spouse", "person", "person",
            ("Who married {}?", "Who is the spouse of {}?"),
            ("{s} married {o}.", "The spouse of {s} is {o}."),
        ),
        Relation(
            "birth year", "person", "year",
            ("When was {} born?", "What is the birth year of {}?"),
            ("The birth year of {s} is {o}.", "The year of birth is {o}."),
            event="born",
        ),
        Relation(
            "country", "city", "country",
            ("In which country is {}?", "What is the country of {}?"),
            ("{s} is a city in {o}.", "The city lies in {o}."),
        ),
    )
}  # fmt: skip
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
    """Which of two entities comes first (or last) by a year."""

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
        subject = f"the {noun} of {subject}"
    asks = RELATIONS[chain.relations[-1]].asks
    return asks[phrasing % len(asks)].format(subject)


def write_comparison(comparison: Comparison) -> str:
    """Put a comparison into a question, e.g. ``Which film was released first, Bolari or Sutemi?``."""
    relation = RELATIONS[comparison.relation]
    who = "Who" if relation.subject == "person" else f"Which {relation.subject}"
    order = "last" if comparison.last else "first"
    return f"{who} was {relation.event} {order}, {comparison.entities[0]} or {comparison.entities[1]}?"


def write_steps(query: Query) -> list[str]:
    """The questions of a query's single hops; a later hop names what it needs by its description."""
    if isinstance(query, Comparison):
        return [write_chain(Chain(entity, (query.relation,))) for entity in query.entities]
    subjects = [query.entity, *(f"that {RELATIONS[noun].object}" for noun in query.relations[:-1])]
    return [RELATIONS[noun].asks[0].format(subject) for noun, subject in zip(query.relations, subjects, strict=True)]


_NAME = r"[A-Z][a-z]+(?: [A-Z][a-z]+)?"
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


_STATEMENT_PATTERNS = [
    (relation.noun, re.compile(re.escape(statement).replace(r"\{s\}", f"(?P<s>{_NAME})").replace(r"\{o\}", f"(?P<o>{_NAME}|[0-9]{{4}})")))
    for relation in RELATIONS.values()
    for statement in relation.statements
    if "{s}" in statement
]  # fmt: skip


def read_statements(text: str) -> dict[tuple[str, str], str]:
    """Find the facts that a text states: ``(subject, noun) -> object``."""
    facts: dict[tuple[str, str], str] = {}
    for noun, pattern in _STATEMENT_PATTERNS:
        for match in pattern.finditer(text[:4000]):
            facts[match.group("s"), noun] = match.group("o")
    return facts
