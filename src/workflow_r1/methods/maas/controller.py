r"""The controller: turns a question's embedding into a distribution over moves, layer after layer, with its gradient.

Layer l scores each move by the cosine of two linear images, of the question q and of the move x_j:

    s_j = u . v_j,   u = W_q q / |W_q q|,   v_j = W_x x_j / |W_x x_j|,   p = softmax(s)          (temperature 1)

x_j is the move's embedding; from the second layer on, that of the first move chosen in the layer before is appended to
it. Moves are drawn without replacement, in proportion to p, until the p of those drawn sum to the threshold or more.

The log-probability of a layer's draws, d_1 ... d_m in this order, is that of drawing without replacement:

    log P = sum_i [ s_(d_i) - log sum_(j not in d_1..d_(i-1)) exp s_j ]

MaAS's code sums log p_(d_i) instead, which is not a distribution over the possible draws: its gradient is biased. Since
cosines lie in [-1, 1], no move is more than e^2 = 7.4 times as probable as another, and an untrained controller is
nearly uniform.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_TINY = 1e-12
"""Shortest length that is divided by."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Draws of one layer."""

    moves: tuple[int, ...]
    """Moves in the order in which they were drawn."""
    previous: int | None
    """First move chosen in the layer before; None in the first layer."""


class Controller:
    """Parameters of the controller, its probabilities, and their gradient.

    Args:
        moves: embeddings of the moves, (moves, dim).
        num_layers: most layers that are drawn.
        hidden: dimension of the linear images.
        seed: seed of the initial parameters, which are those of torch's ``Linear``: uniform in +-1/sqrt(inputs), here
            without bias.
    """

    def __init__(self, moves: Array, *, num_layers: int = 4, hidden: int = 32, seed: int = 0) -> None:
        if moves.ndim != 2 or num_layers < 1:
            raise ValueError(
                f"expected embeddings of moves (moves, dim) and a layer, received {moves.shape}, {num_layers}"
            )
        self.moves = moves
        self.num_layers = num_layers
        rng = np.random.default_rng(seed)
        self.parameters: dict[str, Array] = {}
        """``query.l`` (hidden, dim) and ``move.l`` (hidden, dim or twice it) for each layer l."""
        for layer in range(num_layers):
            for name, inputs in (
                (f"query.{layer}", moves.shape[1]),
                (f"move.{layer}", moves.shape[1] * (1 + (layer > 0))),
            ):
                bound = inputs**-0.5
                self.parameters[name] = rng.uniform(-bound, bound, size=(hidden, inputs))

    def probabilities(self, query: Array, layer: int, previous: int | None) -> Array:
        """Return p over the moves, (moves,).

        Args:
            query: embedding of the question, (dim,).
            layer: 0, 1, ...
            previous: first move chosen in the layer before; None exactly in the first layer.
        """
        scores = self._forward(query, layer, previous)[0]
        weights = np.exp(scores - scores.max())
        return np.asarray(weights / weights.sum())

    def draw(self, query: Array, layer: int, previous: int | None, *, threshold: float, rng: Random) -> Draw:
        """Draw moves until their probabilities sum to the threshold or more."""
        left = dict(enumerate(self.probabilities(query, layer, previous).tolist()))
        drawn: list[int] = []
        total = 0.0
        while left and (not drawn or total < threshold):
            (move,) = rng.choices(list(left), weights=list(left.values()))
            total += left.pop(move)
            drawn.append(move)
        return Draw(tuple(drawn), previous)

    def log_probability(self, query: Array, draws: Sequence[Draw]) -> float:
        """Return the log-probability of the layers' draws."""
        return self.gradient(query, draws)[0]

    def gradient(self, query: Array, draws: Sequence[Draw]) -> tuple[float, dict[str, Array]]:
        """Return the log-probability of the layers' draws, and its gradient by parameter.

        The backward pass is written out: d log P / ds_j is the number of draws of j less the p_j of each draw that
        could have been j; a unit vector y = z/|z| turns a gradient g into (g - y (y.g)) / |z|.

        Args:
            query: embedding of the question, (dim,).
            draws: one for each layer, from the first on.
        """
        total = 0.0
        gradient = {name: np.zeros_like(value) for name, value in self.parameters.items()}
        for layer, draw in enumerate(draws):
            scores, inputs, u, u_length, v, v_lengths = self._forward(query, layer, draw.previous)
            weights = np.exp(scores - scores.max())
            open_moves = np.ones(len(scores))
            by_score = np.zeros(len(scores))
            for move in draw.moves:
                remaining = weights * open_moves
                chance = remaining / remaining.sum()
                total += float(np.log(chance[move]))
                by_score[move] += 1
                by_score -= chance
                open_moves[move] = 0
            by_u = v.T @ by_score
            by_v = np.outer(by_score, u)
            by_query = (by_u - u * (u @ by_u)) / u_length
            by_move = (by_v - v * (v * by_v).sum(axis=1, keepdims=True)) / v_lengths
            gradient[f"query.{layer}"] += np.outer(by_query, query)
            gradient[f"move.{layer}"] += by_move.T @ inputs
        return total, gradient

    def _forward(
        self, query: Array, layer: int, previous: int | None
    ) -> tuple[Array, Array, Array, float, Array, Array]:
        if (previous is None) != (layer == 0):
            raise ValueError(f"expected a previous move from the second layer on, received {previous} in layer {layer}")
        inputs = self.moves
        if previous is not None:
            inputs = np.hstack([self.moves, np.broadcast_to(self.moves[previous], self.moves.shape)])
        raw_u = self.parameters[f"query.{layer}"] @ query
        raw_v = inputs @ self.parameters[f"move.{layer}"].T
        u_length = max(float(np.linalg.norm(raw_u)), _TINY)
        v_lengths = np.maximum(np.linalg.norm(raw_v, axis=1, keepdims=True), _TINY)
        u, v = raw_u / u_length, raw_v / v_lengths
        return v @ u, inputs, u, u_length, v, v_lengths


class Adam:
    """Adam (Kingma and Ba 2015) over a dict of arrays.

    Args:
        parameters: changed in place.
        learning_rate: learning rate of each step.
    """

    def __init__(self, parameters: dict[str, Array], *, learning_rate: float) -> None:
        self._parameters = parameters
        self._learning_rate = learning_rate
        self.num_steps = 0
        """Number of steps taken so far."""
        self.first = {name: np.zeros_like(value) for name, value in parameters.items()}
        """Running means of gradients."""
        self.second = {name: np.zeros_like(value) for name, value in parameters.items()}
        """Running means of their squares."""

    def ascend(self, gradient: dict[str, Array]) -> None:
        """Go one step in the direction of the gradient."""
        beta1, beta2, tiny = 0.9, 0.999, 1e-8
        self.num_steps += 1
        for name, of_name in gradient.items():
            self.first[name] = beta1 * self.first[name] + (1 - beta1) * of_name
            self.second[name] = beta2 * self.second[name] + (1 - beta2) * of_name**2
            mean = self.first[name] / (1 - beta1**self.num_steps)
            spread = np.sqrt(self.second[name] / (1 - beta2**self.num_steps))
            self._parameters[name] += self._learning_rate * mean / (spread + tiny)


def pack(controller: Controller, optimiser: Adam, **numbers: float) -> dict[str, Any]:
    """Return the state from which training continues, as named arrays."""
    return {
        **{f"parameter/{name}": value for name, value in controller.parameters.items()},
        **{f"first/{name}": value for name, value in optimiser.first.items()},
        **{f"second/{name}": value for name, value in optimiser.second.items()},
        "moves": controller.moves,
        "num_steps": np.array(optimiser.num_steps),
        **{name: np.array(value) for name, value in numbers.items()},
    }


def unpack(state: dict[str, Any], controller: Controller, optimiser: Adam | None = None) -> None:
    """Put back the result of :func:`pack`, in place.

    Raises:
        ValueError: it is the state of a controller of another shape.
    """
    for name, value in controller.parameters.items():
        kept = state.get(f"parameter/{name}")
        if kept is None or kept.shape != value.shape:
            raise ValueError(f"expected {name} of shape {value.shape}, received {None if kept is None else kept.shape}")
        value[...] = kept
    if optimiser is not None:
        for name in controller.parameters:
            optimiser.first[name] = state[f"first/{name}"]
            optimiser.second[name] = state[f"second/{name}"]
        optimiser.num_steps = int(state["num_steps"])
