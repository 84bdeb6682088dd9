"""The terminal that the commands write to."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from workflow_r1.printable import printable


class Terminal(Console):
    """A rich console on which text cannot act.

    rich lets ESC through: a passage could move the cursor, set the clipboard, or forge a link. Here every piece of text is
    made printable on its way out, wherever it came from; what rich itself sends to steer the terminal is untouched.
    Markup is another matter: text from outside goes into a ``Text``, or is printed with ``markup=False``.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as rich does, each text made printable."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))
