"""A real MCP server, made with the package's own server: ``python mcp_server.py`` talks through standard input and output."""

import os
import sys
import time

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("library", log_level="CRITICAL")


@server.tool()
def search(query: str, num: int = 3, language: str = "en") -> list[dict[str, str]]:
    """Find passages: a list of objects, which the server sends as structured content and as text."""
    return [{"id": f"{number}", "title": query, "text": f"{language} {number}"} for number in range(num)]


@server.tool(structured_output=False)
def read(query: str) -> str:
    """Find passages: one text with blank lines between them."""
    return f"First about {query}.\n\nSecond about {query}."


@server.tool(structured_output=False)
def as_json(query: str) -> str:
    """Find passages: JSON as text, the list deep inside."""
    return '{"data": {"hits": [{"contents": "\\"Jaws\\"\\nA film.", "score": 2.5}]}}'


@server.tool(structured_output=False)
def long(query: str) -> str:
    """Find one passage of a megabyte, or a little more."""
    return "word " * 210_000


@server.tool(structured_output=False)
def environment(query: str) -> str:
    """Tell a variable of the server's environment."""
    return os.environ.get(query, "unset")


@server.tool(structured_output=False)
def fail(query: str) -> str:
    """Fail, with a key in the message."""
    raise ToolError(f"no luck with {os.environ.get('LIBRARY_KEY', 'nothing')}")


@server.tool(structured_output=False)
def refuse(query: str) -> str:
    """Refuse what the query says, in the words that it says."""
    raise ToolError(query)


@server.tool(structured_output=False)
def hang(query: str) -> str:
    """Answer too late."""
    time.sleep(1)
    return "late"


@server.tool(structured_output=False)
def die_once(query: str, path: str) -> str:
    """Kill the server, but the first time only."""
    if not os.path.exists(path):  # noqa: PTH110
        with open(path, "w"):  # noqa: PTH123
            os._exit(1)
    return "alive"


if __name__ == "__main__":
    if sys.argv[1:] == ["broken"]:
        sys.exit("the library is closed")
    server.run()
