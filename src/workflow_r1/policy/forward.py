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
from workflow_r1.policy.precision import computed_in_float32
from workflow_r1.policy.prefix_trees import TreeBatch, prefix_trees, tree_batch

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
    trees: TreeBatch | None = None,
    temperature: float = 1.0,
    precision: str = "float32",
    statistics: bool = False,
) -> TokenScores:
    """Score the tokens of one micro-batch under the model, with gradient where autograd is on.

    Without trees no attention mask is passed: padding stands at the end of the rows, a causal model's earlier positions
    never see it, and without a mask SDPA takes its causal fast path.

    Args:
        model: a Hugging Face causal language model, with or without peft adapters.
        batch: on the model's device.
        positions: tokens to score; None for the policy's (``turn_ids > 0``). Column 0 has no context: never
            scored.
        trees: the same rows, in the same order, laid out as trees; see :func:`shares_prefixes`.
        temperature: logits are divided by it, as they were when the tokens were sampled.
        precision: ``bfloat16`` runs the model under autocast; the softmax is float32 at least in any case.
        statistics: also compute ``entropy`` and ``is_argmax`` (both stay empty otherwise).
    """
    wanted = batch.turn_ids > 0 if positions is None else positions & batch.attention_mask
    wanted = wanted & (torch.arange(wanted.shape[1], device=wanted.device) > 0)
    if not wanted.any():
        zeros = torch.zeros(wanted.shape, dtype=torch.float32, device=wanted.device)
        return TokenScores(zeros, zeros.clone(), torch.zeros_like(wanted))
    sources, targets, inverse = _predictions(batch, trees, wanted)
    base = base_model(model)
    with autocast(wanted.device, precision):
        # A sharded model brings the same function as a method of its own, which gathers its weights first.
        values, entropies, hits = getattr(base, "score_tokens", partial(score_tokens, base))(
            # Nothing is predicted from the last column: it holds last tokens and padding alone.
            (batch if trees is None else trees).input_ids[:, :-1],
            sources,
            targets,
            depths=None if trees is None or trees.depths is None else trees.depths[:, :-1],
            attends=None if trees is None or trees.attends is None else trees.attends[..., :-1, :-1],
            temperature=temperature,
            statistics=statistics,
        )
    if inverse is not None:
        values, entropies, hits = values[inverse], entropies[inverse], hits[inverse]
    logprobs = torch.zeros(wanted.shape, dtype=values.dtype, device=wanted.device)
    entropy = torch.zeros_like(logprobs)
    is_argmax = torch.zeros_like(wanted)
    if statistics:
        entropy[wanted] = entropies
        is_argmax[wanted] = hits
    return TokenScores(logprobs.masked_scatter(wanted, values), entropy, is_argmax)


def _predictions(
    batch: PackedBatch, trees: TreeBatch | None, wanted: Bool[Tensor, "batch time"]
) -> tuple[Int[Tensor, " tokens"], Int[Tensor, " tokens"], Int[Tensor, " wanted"] | None]:
    """Return what predicts the wanted tokens (a place in the flat context without its last column), and what they are.

    Tokens that several rows share are predicted once; the third result then says which prediction is which wanted token's.
    """
    if trees is None:
        predicts = wanted[:, 1:]
        return predicts.flatten().nonzero()[:, 0], batch.input_ids[:, 1:][predicts], None
    width = trees.input_ids.shape[1]
    nodes, inverse = trees.nodes[wanted].unique(return_inverse=True)
    parents = trees.parents.flatten()[nodes]
    return nodes // width * (width - 1) + parents, trees.input_ids.flatten()[nodes], inverse


def score_tokens(
    base: Any,
    input_ids: Int[Tensor, "batch context"],
    sources: Int[Tensor, " tokens"],
    targets: Int[Tensor, " tokens"],
    *,
    temperature: float,
    statistics: bool,
    depths: Int[Tensor, "batch context"] | None = None,
    attends: Bool[Tensor, "batch 1 context context"] | None = None,
) -> tuple[Float[Tensor, " tokens"], Float[Tensor, " tokens"], Bool[Tensor, " tokens"]]:
    """Run decoder and head once.

    Args:
        base: the causal language model itself, its adapters inside it.
        input_ids: the context.
        sources: for each wanted token the position whose next token it is, counted through all rows.
        targets: the wanted tokens.
        temperature: logits are divided by it.
        statistics: also compute the last two results.
        depths: position of each token; None where it is the token's place in its row.
        attends: True where a token sees another one; None where each sees all before it.

    Returns:
        Log-probabilities, entropies, and whether the target is the most likely token.
    """
    decoder, head = decoder_and_head(base)
    layout = {} if attends is None else {"position_ids": depths, "attention_mask": attends}
    hidden = decoder(input_ids=input_ids, use_cache=False, **layout).last_hidden_state
    return _score_in_chunks(hidden.flatten(0, 1)[sources], targets, head, temperature, statistics)


def shares_prefixes(model: nn.Module) -> bool:
    """Return whether the model gives the rows of a tree the scores that it gives them one by one.

    Every layer must take its mask and its positions from the caller: no sliding windows, no recurrent layers, an attention
    that knows masks. Two rows of ten tokens show the rest.
    """
    config = base_model(model).config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"} or getattr(config, "sliding_window", None) is not None:
        return False
    if config._attn_implementation != "sdpa":
        return False
    vocabulary = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    ids = torch.arange(20, device=next(model.parameters()).device).view(2, 10) * 37 % vocabulary
    ids[1, :6] = ids[0, :6]
    batch = PackedBatch(ids, ids >= 0, torch.ones_like(ids), torch.zeros(ids.shape, device=ids.device))
    trees = tree_batch(prefix_trees(ids.tolist(), hidden_size=2**20), batch, pad_token_id=0)
    with torch.no_grad(), computed_in_float32(model):
        rows, shared = (token_scores(model, batch.rows(trees.rows), trees=each).logprobs for each in (None, trees))
    return torch.allclose(rows, shared, atol=1e-3)


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
    values, entropies, hits = _TokenLogprobs.apply(head(hidden), targets, temperature, statistics)
    return values, entropies, hits


class _TokenLogprobs(torch.autograd.Function):
    """Log-probabilities of tokens, with the statistics of their distributions, from two tables besides the logits.

    The table of probabilities serves value, entropy and gradient: d log p(y) / d logit_v = ([v = y] - p(v)) / temperature.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Float[Tensor, "tokens vocabulary"], targets: Tensor, temperature: float, statistics: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        logits_type = logits.dtype
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if temperature != 1.0:
            logits = logits / temperature
        largest, likeliest = logits.max(dim=-1, keepdim=True)
        shifted = logits - largest
        del logits
        values = shifted.gather(-1, targets[:, None])
        table = shifted.exp() if statistics else shifted.exp_()
        total = table.sum(dim=-1, keepdim=True)
        table.div_(total)
        values = (values - total.log())[:, 0]
        entropies, hits = values.new_zeros(values.shape), torch.zeros_like(targets, dtype=torch.bool)
        if statistics:
            # The shifted logits are near 0 where it matters: the logits themselves would cost digits.
            mean = torch.bmm(table[:, None], shifted[..., None])[:, 0, 0]
            if mean.isnan().any():
                # An impossible token's logit is -inf (a masked vocabulary): it adds nothing, where 0 * -inf is NaN.
                mean = (table * shifted.clamp(min=torch.finfo(shifted.dtype).min)).sum(dim=-1)
            entropies = total.log()[:, 0] - mean
            hits = likeliest[:, 0] == targets
        ctx.save_for_backward(table, targets)
        ctx.temperature, ctx.logits_type = temperature, logits_type
        ctx.mark_non_differentiable(entropies, hits)
        return values, entropies, hits

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, None, None, None]:
        table, targets = ctx.saved_tensors
        scale = gradient[:, None] / ctx.temperature
        # In place: a table of the whole vocabulary is the largest thing in a step, and autograd refuses a second pass.
        table.mul_(-scale).scatter_add_(-1, targets[:, None], scale)
        return table.to(ctx.logits_type), None, None, None
