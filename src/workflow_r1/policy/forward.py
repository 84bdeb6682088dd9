"""Log-probabilities of chosen tokens, with logits at their positions only.

The vocabulary is the widest thing in a language model: over a whole context its logits are larger than all activations
together, and most of the context (prompt, observations) needs none. The decoder therefore runs once over the context,
the hidden states that predict a wanted token are gathered, and only those meet the head.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from workflow_r1.errors import UserError
from workflow_r1.policy.packing import PackedBatch

LOGIT_CHUNK_ELEMENTS = 2**26
"""Most float32 logits alive at once (256 MiB); beyond it they are recomputed chunk by chunk in the backward pass."""


@dataclass(frozen=True, slots=True)
class TokenScores:
    """The model's scores of a batch's tokens; column t describes token t, as in ``PackedBatch``."""

    logprobs: Float[Tensor, "batch time"]
    """Log-probability of token t given all before it, in nats, float32; 0 where it was not asked for."""
    entropy: Float[Tensor, "batch time"]
    """Entropy of the distribution that token t was drawn from, in nats, without gradient; 0 elsewhere."""
    is_argmax: Bool[Tensor, "batch time"]
    """True where token t is the most likely one; False elsewhere."""


def token_scores(
    model: nn.Module,
    batch: PackedBatch,
    *,
    positions: Bool[Tensor, "batch time"] | None = None,
    temperature: float = 1.0,
    precision: str = "float32",
    statistics: bool = False,
) -> TokenScores:
    """Score the tokens of one micro-batch under the model, with gradient where autograd is on.

    No attention mask is passed: padding stands at the end of the rows, a causal model's earlier positions never see it,
    and without a mask SDPA takes its causal fast path.

    Args:
        model: a Hugging Face causal language model, with or without peft adapters.
        batch: on the model's device.
        positions: tokens to score; None for the policy's (``turn_ids > 0``). Column 0 has no context: never
            scored.
        temperature: logits are divided by it, as they were when the tokens were sampled.
        precision: ``bfloat16`` runs the model under autocast; the softmax is float32 in any case.
        statistics: also compute ``entropy`` and ``is_argmax`` (both stay empty otherwise).
    """
    wanted = batch.turn_ids > 0 if positions is None else positions & batch.attention_mask
    predicts = wanted[:, 1:]
    targets = batch.input_ids[:, 1:][predicts]
    logprobs = torch.zeros(wanted.shape, dtype=torch.float32, device=wanted.device)
    entropy = torch.zeros_like(logprobs)
    is_argmax = torch.zeros_like(wanted)
    if targets.numel() == 0:
        return TokenScores(logprobs, entropy, is_argmax)
    base = base_model(model)
    with autocast(wanted.device, precision):
        # A sharded model brings the same function as a method of its own, which gathers its weights first.
        values, entropies, hits = getattr(base, "score_tokens", partial(score_tokens, base))(
            batch.input_ids[:, :-1], predicts, targets, temperature=temperature, statistics=statistics
        )
    inside = torch.zeros_like(wanted)
    inside[:, 1:] = predicts
    logprobs = logprobs.masked_scatter(inside, values)
    if statistics:
        entropy[inside] = entropies
        is_argmax[inside] = hits
    return TokenScores(logprobs, entropy, is_argmax)


def score_tokens(
    base: Any,
    input_ids: Int[Tensor, "batch context"],
    predicts: Bool[Tensor, "batch context"],
    targets: Int[Tensor, " tokens"],
    *,
    temperature: float,
    statistics: bool,
) -> tuple[Float[Tensor, " tokens"], Float[Tensor, " tokens"], Bool[Tensor, " tokens"]]:
    """Run decoder and head once.

    Args:
        base: the causal language model itself, its adapters inside it.
        input_ids: the context.
        predicts: the positions whose next token is wanted.
        targets: the next tokens, in order.
        temperature: logits are divided by it.
        statistics: also compute the last two results.

    Returns:
        Log-probabilities, entropies, and whether the target is the most likely token.
    """
    decoder, head = decoder_and_head(base)
    hidden = decoder(input_ids=input_ids, use_cache=False).last_hidden_state[predicts]
    return _score_in_chunks(hidden, targets, head, temperature, statistics)


def base_model(model: nn.Module) -> Any:
    """Return the causal language model itself where peft has wrapped it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]


def decoder_and_head(model: nn.Module) -> tuple[nn.Module, nn.Linear]:
    """Return the part that makes hidden states and the part that makes logits of them.

    Adapters live inside the decoder's layers, so that the decoder of a peft model is adapted as well.
    """
    base = base_model(model)
    return base.get_decoder(), base.get_output_embeddings()


def check_head(model: nn.Module) -> None:
    """Make sure that hidden states times head are this model's logits.

    Some architectures scale or cap their logits after the head; training them through the bare head would be wrong
    without a sign.

    Raises:
        UserError: the two routes differ on eight tokens.
    """
    device = next(model.parameters()).device
    vocabulary = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    ids = (torch.arange(8, device=device) * 37 % vocabulary)[None]
    with torch.no_grad():
        try:
            decoder, head = decoder_and_head(model)
            ours = head(decoder(input_ids=ids, use_cache=False).last_hidden_state)
        except (AttributeError, TypeError) as error:
            raise UserError(
                f"expected a decoder-only causal language model, received {type(model).__name__}: {error}"
            ) from None
        whole = model(input_ids=ids, use_cache=False).logits
    if not torch.allclose(ours.float(), whole.float(), atol=1e-3, rtol=1e-3):
        raise UserError(
            f"expected logits that are the output layer applied to the hidden states, but {type(model).__name__} "
            f"changes them afterwards (a logit cap or scale). Choose another model"
        )


@contextmanager
def out_of_memory_explained() -> Iterator[None]:
    """Raise an error that says what to lower where a forward or backward pass does not fit.

    Raises:
        UserError: in place of torch's own error.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"the device has too little memory for the update ({str(error).splitlines()[0]}): lower "
            f"`optimiser.micro_batch_tokens` (it changes no result), or set `optimiser.gradient_checkpointing` or "
            f"`optimiser.lora`; then resume"
        ) from None


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return the context in which the model runs: bfloat16 autocast over float32 weights, or nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bfloat16" else nullcontext()


def _score_in_chunks(
    hidden: Float[Tensor, "tokens hidden"],
    targets: Int[Tensor, " tokens"],
    head: nn.Linear,
    temperature: float,
    statistics: bool,
) -> tuple[Float[Tensor, " tokens"], Float[Tensor, " tokens"], Bool[Tensor, " tokens"]]:
    rows = max(1, LOGIT_CHUNK_ELEMENTS // head.weight.shape[0])
    if len(targets) <= rows:
        return _score(hidden, targets, head, temperature, statistics)
    parts = [
        checkpoint(_score, chunk, target, head, temperature, statistics, use_reentrant=False)
        for chunk, target in zip(hidden.split(rows), targets.split(rows), strict=True)
    ]
    values, entropies, hits = zip(*parts, strict=True)
    return torch.cat(values), torch.cat(entropies), torch.cat(hits)


def _score(
    hidden: Float[Tensor, "tokens hidden"],
    targets: Int[Tensor, " tokens"],
    head: nn.Linear,
    temperature: float,
    statistics: bool,
) -> tuple[Float[Tensor, " tokens"], Float[Tensor, " tokens"], Bool[Tensor, " tokens"]]:
    logits = head(hidden).float()
    if temperature != 1.0:
        logits = logits / temperature
    log_softmax = torch.log_softmax(logits, dim=-1)
    values = log_softmax.gather(-1, targets[:, None]).squeeze(-1)
    if not statistics:
        return values, values.detach(), torch.zeros_like(targets, dtype=torch.bool)
    with torch.no_grad():
        # xlogy-free: exp(-inf) * -inf would be NaN, so impossible tokens (a masked vocabulary) are clamped first.
        finite = log_softmax.detach().clamp(min=-1e4)
        entropies = -(finite.exp() * finite).sum(dim=-1)
        hits = log_softmax.detach().argmax(dim=-1) == targets
    return values, entropies, hits
