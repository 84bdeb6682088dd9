"""A task that the embedded policy can act in as it is: every call is an action, and its reward depends on its letters."""

from collections.abc import Sequence

from workflow_r1.operators import OperatorServices
from workflow_r1.tasks import Action, Episode, Reply, Split, Task
from workflow_r1.trajectory import Question

ASKED = ("Who is the spouse of {}?", "Where was {} born?", "What is the currency of {}?")
NAMES = ("Mirere Sul", "Zor Jarida", "Kelimo Tan", "Imoida Ver", "Sul Zor", "Tan Mirere", "Ver Kelimo", "Jarida Imo")


class Letters(Episode):
    """It ends with an answer, or with the third action."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._num_actions = 0

    def start(self) -> str:
        """Return what the embedded policy knows as a question."""
        return f"Question: {self._text}"

    async def act(self, action: Action) -> Reply:
        """Reward the number of letters, and end at an answer or the third action."""
        self._num_actions += 1
        reward = len(action.input) % 5 / 4
        if action.name == "answer" or self._num_actions == 3:
            return Reply(done=True, reward=reward, success=reward >= 0.5, parts={"actions": self._num_actions})
        return Reply(f"{action.name} has {len(action.input)} letters", reward=reward)


class CountLetters(Task):
    """The task."""

    name = "letters"
    is_simulation = True

    def instances(self, split: Split, num: int | None) -> Sequence[Question]:
        """Return instances whose texts are unique in each split."""
        first = 0 if split == "train" else 4
        names = [f"{one} {other}" for one in NAMES[first : first + 4] for other in NAMES]
        texts = [asked.format(name) for asked in ASKED for name in names]
        made = [Question(id=f"{split}-{number}", text=text, golden_answers=()) for number, text in enumerate(texts)]
        return made[:num]

    def open(self, instance: Question, services: OperatorServices) -> Episode:
        """Return a fresh episode."""
        return Letters(instance.text)
