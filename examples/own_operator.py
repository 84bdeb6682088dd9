"""Operators of your own: your LLM, your tool and your search, each in about ten lines.

Written for ``own_operator.toml``; docs/how-to/own-operators.md explains every part.
"""

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import date

from pydantic import BaseModel, Field

from workflow_r1.operators import OperatorResult, OperatorServices, ask_llm, operator

# --- Your LLM: the one in [llm]. `ask_llm` asks for a reply in tags, asks again where it lacks one, and counts tokens.


@operator(purpose="Rewrites a text in plain words.")
async def simplify(text: str, max_words: int = 30, *, services: OperatorServices) -> OperatorResult:
    """Have the LLM write it anew."""
    reply = await ask_llm(
        services,
        instructions=f"Rewrite the text in plain words, {max_words} words at most. Add nothing.",
        inputs=[("text", text)],
        reply={"simplified": "the rewritten text"},
    )
    return OperatorResult(observation=reply.parts.get("simplified", "No reply came."), usage=reply.usage)


# --- Your tool: any code. The types make the menu and the check: the policy learns of a wrong date, this function never sees one.


@operator(purpose="Counts the days from one date to another.")
async def days_between(start: date, end: date) -> str:
    """Subtract; an end before the start gives a negative number."""
    return f"{(end - start).days} days"


# --- Your search: a client that stays open, settings of its own, a time limit, and errors that mean "the service failed".

MANUAL = (
    ("Filter", "Replace the filter every 6 months, or when the lamp blinks red."),
    ("Descaling", "Run the descaling program once a month; it takes 20 minutes."),
    ("Warranty", "The warranty covers the pump for 5 years and everything else for 2 years."),
)


class ManualSettings(BaseModel, extra="forbid"):
    """``[operators.SearchManual]`` in the configuration."""

    num_passages: int = Field(default=3, ge=1)


@asynccontextmanager
async def open_manual() -> AsyncIterator[sqlite3.Connection]:
    """Opened at the first call, closed when the run ends; with a parameter of its own it would get the settings."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE VIRTUAL TABLE manual USING fts5(title, text)")
        connection.executemany("INSERT INTO manual VALUES (?, ?)", MANUAL)
        yield connection


@operator(
    purpose="Searches the manual of the coffee machine.",
    opens=open_manual,
    timeout_seconds=10,
    service_errors=(sqlite3.OperationalError,),
)
async def search_manual(query: str, *, settings: ManualSettings, resource: sqlite3.Connection) -> OperatorResult:
    """Find passages with any of the words, the best first."""
    words = re.findall(r"\w+", query)
    if not words:
        return OperatorResult(observation="The query holds no word. Write SearchManual: some words", valid=False)
    found = resource.execute(
        "SELECT title, text FROM manual WHERE manual MATCH ? ORDER BY rank LIMIT ?",
        (" OR ".join(f'"{word}"' for word in words), settings.num_passages),
    )
    lines = [f"[{number}] {title}: {text}" for number, (title, text) in enumerate(found, start=1)]
    return OperatorResult(observation="\n".join(lines) or "No passage was found.")
