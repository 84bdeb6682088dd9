"""How what was found or shown beforehand stands before a question: one format for every method."""

THE_QUESTION = "The question:"
"""Line before the question wherever something stands before it."""


def put_before(text: str, question: str) -> str:
    """Put a text before a question."""
    return f"{text}\n\n{THE_QUESTION}\n{question}"


def put_passages_before(observation: str, question: str) -> str:
    """Put what ``Search`` found before a question; the question alone where it found nothing."""
    if not observation.startswith("[1] "):
        return question
    return put_before(f"Passages that a search found; they may or may not help:\n{observation}", question)
