"""Completions by tokens: the requests to two kinds of servers, and the reading of their replies.

vLLM continues token ids at ``/v1/completions`` and returns the sampled ones with ``return_token_ids``. llama.cpp's
server does so at ``/completion`` with ``return_tokens``; its ``/v1/completions`` takes token ids but answers in text
alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workflow_r1.inference.completion import BROKEN_OFF
from workflow_r1.rollout.policy import log_probabilities
from workflow_r1.services.attempts import AttemptError
from workflow_r1.services.failures import FailureKind
from workflow_r1.trajectory import Usage


@dataclass(frozen=True, slots=True)
class Completion:
    """Result of the server's sampling."""

    token_ids: tuple[int, ...]
    """Sampled tokens, including the one that ended the turn."""
    logprobs: tuple[float, ...]
    """Log-probability of each token, in nats; empty where the server gives none."""
    is_stopped: bool
    """True where the turn ended by itself (an end token or a stop string), not by its token budget."""
    version: int | None
    """Optimiser steps of the weights that sampled it."""
    usage: Usage = field(default_factory=Usage)
    """Tokens sent and received, and their price, where a meter counts them."""


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """Request to either server."""

    prompt: Sequence[int]
    """The context."""
    max_tokens: int
    """Most tokens to sample."""
    temperature: float
    """0 takes the most likely token."""
    top_p: float
    """Nucleus sampling."""
    seed: int
    """Seed of the sampling."""
    stop_token_ids: Sequence[int]
    """Tokens that end it."""
    stop: Sequence[str]
    """Texts that end it; they stay in the reply."""


# A model's own generation_config.json, or the server's defaults, would otherwise change the distribution that is sampled.
_NEUTRAL = {"top_k": 0, "min_p": 0.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


def vllm_request(request: CompletionRequest) -> dict[str, Any]:
    """Return the body for ``/v1/completions`` of vLLM, without the model's name."""
    return {
        "prompt": list(request.prompt),
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        **_NEUTRAL,
        "repetition_penalty": 1.0,
        "seed": request.seed,
        "stop_token_ids": list(request.stop_token_ids),
        "stop": list(request.stop),
        "include_stop_str_in_output": True,
        "skip_special_tokens": False,
        "return_token_ids": True,
        "logprobs": 0,
    }


def read_completion(reply: Any, prompt: Sequence[int], version: int | None) -> Completion:
    """Read a reply of vLLM's ``/v1/completions``.

    Raises:
        ValueError: tokens or log-probabilities are missing, a number is not a log-probability, or the prompt is not the
            one that was sent.
        AttemptError: the server broke the turn off, such as one under way when its weights were swapped by someone else.
    """
    try:
        choice = reply["choices"][0]
        if (end := choice.get("finish_reason")) in BROKEN_OFF:
            raise AttemptError(FailureKind.SERVER_ERROR, f"a turn that the server broke off (finish_reason {end!r})")
        ids = tuple(int(token) for token in choice["token_ids"])
        logprobs = log_probabilities(choice["logprobs"]["token_logprobs"])
        received = choice.get("prompt_token_ids")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError(
            "expected token_ids and logprobs: is it a vLLM or a llama.cpp server? Where it only evaluates the policy, set "
            'policy.exchange = "chat"'
        ) from None
    if received is not None and list(received) != list(prompt):
        raise ValueError("the server sampled after another prompt than was sent")
    if not ids or len(ids) != len(logprobs):
        raise ValueError(f"expected one log-probability for each token, found {len(logprobs)} for {len(ids)}")
    return Completion(ids, logprobs, end != "length", version)


def llama_request(request: CompletionRequest) -> dict[str, Any]:
    """Return the body for ``/completion`` of llama.cpp's server. It knows no tokens that end a turn but the model's own."""
    return {
        "prompt": list(request.prompt),
        "n_predict": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        **_NEUTRAL,
        "typical_p": 1.0,
        "repeat_penalty": 1.0,
        "seed": request.seed % 2**32,
        "stop": list(request.stop),
        "return_tokens": True,
        "cache_prompt": True,
    }


def read_llama_completion(reply: Any, request: CompletionRequest, version: int | None) -> Completion:
    """Read a reply of llama.cpp's ``/completion``; it is cut behind the first token that ends a turn.

    Raises:
        ValueError: the tokens are missing.
    """
    try:
        ids = tuple(int(token) for token in reply["tokens"])
        stopped = reply.get("stop_type") != "limit"
    except (KeyError, TypeError):
        raise ValueError("expected the sampled tokens of llama.cpp's /completion, found none") from None
    if not ids:
        raise ValueError("expected a sampled token, found none")
    end = next((place + 1 for place, token in enumerate(ids) if token in request.stop_token_ids), None)
    return Completion(ids[:end], (), stopped or end is not None, version)


def is_llama_server(models: Sequence[Mapping[str, Any]]) -> bool:
    """Return True for a list of models as llama.cpp's server sends it."""
    return any(model.get("owned_by") == "llamacpp" for model in models)


def max_length(models: Sequence[Mapping[str, Any]]) -> int | None:
    """Most tokens, prompt and turn together, that a server takes by its list of models; None where it does not say."""
    for model in models:
        meta = model.get("meta")
        length = meta.get("n_ctx") if isinstance(meta, Mapping) else model.get("max_model_len")
        if isinstance(length, int):
            return length
    return None
