"""The questions that a run trains on and those that it holds out."""

import logging
from typing import Literal

from workflow_r1.assembly.world import embedded_world
from workflow_r1.config.run import DataConfig
from workflow_r1.data import load_questions, report_questions
from workflow_r1.embedded import EmbeddedConfig
from workflow_r1.errors import ConfigError
from workflow_r1.trajectory import Question

logger = logging.getLogger(__name__)

EMBEDDED_TRAIN_QUESTIONS = 4096
"""Training questions drawn from the embedded world where ``data.limit`` does not say otherwise."""


def build_train_questions(config: DataConfig, *, world: EmbeddedConfig) -> list[Question]:
    """Return the questions to train on.

    Args:
        config: where they come from.
        world: the embedded world, which may be their source.

    Raises:
        ConfigError: the source is ``files``, and no file is named.
        DataError: the file is missing, empty or malformed.
    """
    if config.source == "embedded":
        return embedded_world(world).questions("train", config.limit or EMBEDDED_TRAIN_QUESTIONS)
    return _noted(load_files(config, "train")[: config.limit], "data.train")


def build_evaluation_questions(config: DataConfig, num: int, *, world: EmbeddedConfig) -> list[Question]:
    """Held-out questions, the first ``num`` of them.

    Args:
        config: where they come from.
        num: largest number of questions; with 0 no file is read.
        world: the embedded world, which may be their source.

    Raises:
        ConfigError: the source is ``files``, and no file is named.
        DataError: the file is missing, empty or malformed.
    """
    if num == 0:
        return []
    if config.source == "embedded":
        return embedded_world(world).questions("evaluation", num)
    return _noted(load_files(config, "evaluation")[:num], "data.evaluation")


def _noted(questions: list[Question], key: str) -> list[Question]:
    if note := report_questions(questions).emptied_note():
        logger.warning("%s: %s", key, note)
    return questions


def load_files(config: DataConfig, use: Literal["train", "evaluation"]) -> list[Question]:
    """Questions of one of the configured files.

    Raises:
        ConfigError: no file is named.
        DataError: the file is missing, empty or malformed.
    """
    path = config.train if use == "train" else config.evaluation
    if path is None:
        key = f"data.{use}"
        raise ConfigError(f'{key}: expected a file of questions, since data.source = "files"; set {key}')
    return load_questions(path, format=config.format, columns=config.columns)
