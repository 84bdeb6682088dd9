import math
from random import Random

import numpy as np
import pytest

from workflow_r1.methods.maas.controller import Adam, Controller, Draw, pack, unpack

DIM = 10
DRAWS = (Draw((2, 0), None), Draw((1, 4, 3), 2), Draw((0,), 1), Draw((4, 2), 0))


def controller(seed: int = 0) -> Controller:
    moves = np.random.default_rng(100).normal(size=(5, DIM))
    return Controller(moves / np.linalg.norm(moves, axis=1, keepdims=True), hidden=4, seed=seed)


def query() -> np.ndarray:
    vector = np.random.default_rng(7).normal(size=DIM)
    return vector / np.linalg.norm(vector)


def test_controller_has_the_size_of_the_original() -> None:
    # 384*32*2 in the first layer, (384 + 768)*32 in each of three others.
    made = Controller(np.eye(6, 384))
    assert sum(value.size for value in made.parameters.values()) == 384 * 32 * 2 + 3 * (384 + 768) * 32 == 135_168


def test_gradient_is_that_of_finite_differences() -> None:
    made, asked = controller(), query()
    _, gradient = made.gradient(asked, DRAWS)
    step = 1e-6
    for name, value in made.parameters.items():
        for index in list(np.ndindex(value.shape))[::7]:
            kept = value[index]
            value[index] = kept + step
            above = made.log_probability(asked, DRAWS)
            value[index] = kept - step
            below = made.log_probability(asked, DRAWS)
            value[index] = kept
            assert gradient[name][index] == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-8)


def test_gradient_is_that_of_autograd() -> None:
    torch = pytest.importorskip("torch")
    made, asked = controller(1), query()
    total, gradient = made.gradient(asked, DRAWS)
    parameters = {name: torch.tensor(value, requires_grad=True) for name, value in made.parameters.items()}
    moves, q = torch.tensor(made.moves), torch.tensor(asked)
    log_p = torch.zeros((), dtype=torch.float64)
    for layer, draw in enumerate(DRAWS):
        inputs = moves
        if draw.previous is not None:
            inputs = torch.cat([moves, moves[draw.previous].expand_as(moves)], dim=1)
        image = torch.nn.functional.normalize(parameters[f"query.{layer}"] @ q, dim=0)
        images = torch.nn.functional.normalize(inputs @ parameters[f"move.{layer}"].T, dim=1)
        left = torch.softmax(images @ image, dim=0)
        for move in draw.moves:
            log_p = log_p + torch.log(left[move] / left.sum())
            left = left * (torch.arange(len(moves)) != move)
    log_p.backward()
    assert total == pytest.approx(log_p.item(), abs=1e-12)
    for name, parameter in parameters.items():
        np.testing.assert_allclose(gradient[name], parameter.grad.numpy(), atol=1e-12)


def test_probabilities_are_a_softmax_of_cosines() -> None:
    chances = controller().probabilities(query(), 0, None)
    assert chances.sum() == pytest.approx(1)
    assert chances.max() / chances.min() < math.e**2


def test_moves_are_drawn_as_often_as_their_log_probability_says() -> None:
    made, asked, rng = controller(), query(), Random(3)
    num = 40_000
    drawn: dict[tuple[int, ...], int] = {}
    for _ in range(num):
        moves = made.draw(asked, 0, None, threshold=0.3, rng=rng).moves
        drawn[moves] = drawn.get(moves, 0) + 1
    chances = made.probabilities(asked, 0, None)
    for moves, number in drawn.items():
        # Drawing continues exactly as long as the threshold is not reached.
        assert sum(chances[list(moves[:-1])]) < 0.3 <= sum(chances[list(moves)])
        expected = math.exp(made.log_probability(asked, [Draw(moves, None)]))
        assert number / num == pytest.approx(expected, abs=4 * math.sqrt(expected / num))
    assert sum(math.exp(made.log_probability(asked, [Draw(moves, None)])) for moves in drawn) == pytest.approx(1)


def test_training_makes_what_earns_more_probable() -> None:
    made, asked = controller(), query()
    optimiser = Adam(made.parameters, learning_rate=0.01)
    rng = Random(0)
    before = made.probabilities(asked, 0, None)[3]
    for _ in range(150):
        draw = made.draw(asked, 0, None, threshold=0.3, rng=rng)
        _, gradient = made.gradient(asked, [draw])
        reward = 1.0 if 3 in draw.moves else -1.0
        optimiser.ascend({name: reward * value for name, value in gradient.items()})
    assert made.probabilities(asked, 0, None)[3] > 2 * before


def test_adam_takes_the_first_step_of_its_paper() -> None:
    parameters = {"x": np.array([1.0, 2.0])}
    Adam(parameters, learning_rate=0.01).ascend({"x": np.array([5.0, -0.1])})
    np.testing.assert_allclose(parameters["x"], [1.01, 1.99], atol=1e-8)


def test_state_goes_on_where_it_was_and_another_shape_is_refused() -> None:
    one, other = controller(0), controller(1)
    optimiser, restored = Adam(one.parameters, learning_rate=0.01), Adam(other.parameters, learning_rate=0.01)
    for _ in range(2):
        optimiser.ascend(one.gradient(query(), DRAWS)[1])
    unpack(pack(one, optimiser), other, restored)
    for made, of_made in ((one, optimiser), (other, restored)):
        of_made.ascend(made.gradient(query(), DRAWS)[1])
    assert restored.num_steps == 3
    for name, value in one.parameters.items():
        np.testing.assert_array_equal(value, other.parameters[name])
    with pytest.raises(ValueError, match=r"expected query\.0 of shape \(8, 10\), received \(4, 10\)"):
        unpack(pack(one, optimiser), Controller(one.moves, hidden=8))


def test_layer_without_its_previous_move_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="expected a previous move from the second layer on"):
        controller().probabilities(query(), 1, None)
