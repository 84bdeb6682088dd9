"""Text of passages or examples before a question: one format for every method."""

THE_QUESTION = "The question:"
"""Line before the question wherever something stands before it."""

PASSAGES = "Passages that a search found; they may or may not help:"
"""Line before passages."""


def put_before(question: str, *blocks: str) -> str:
    """Put blocks of text before a question; empty ones are left out, and without any the question stands alone."""
    shown = [block for block in blocks if block]
    return "\n\n".join([*shown, f"{THE_QUESTION}\n{question}"]) if shown else question


def show_passages(observation: str) -> str:
    """Return the block with the passages of ``Search``; empty where it found nothing."""
    if not observation.startswith("[1] "):
        return ""
    return f"{PASSAGES}\n{observation}"
