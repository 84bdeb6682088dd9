"""``train --dry-run`` with the policy behind a server: rollouts can be estimated, though nothing can be trained there."""

from collections.abc import Callable

from workflow_r1.inference import ScriptedChatModel
from workflow_r1.inference.loopback import LoopbackServer

TURNS = ("<think>ask</think><tool>AnswerGenerate: Who?</tool>", "<think>settled</think><answer>Bo</answer>")


def test_rollouts_of_a_served_policy_are_estimated(call: Callable) -> None:
    def reply(messages) -> str:
        return TURNS[1] if len(messages) > 1 else TURNS[0]

    with LoopbackServer(ScriptedChatModel(reply)) as server:
        policy = ("-o", f"policy.base_url={server.url}", "-o", "policy.model=m", "-o", "policy.api_key_env=NONE")
        done = call("train", "--dry-run", *policy)
        refused = call("train", *policy)
    assert done.returncode == 0, done.stderr
    assert "The policy was asked at its server" in done.stdout
    assert "LLM calls" in done.stdout
    assert refused.returncode == 2
    assert "policy behind a server cannot be trained" in refused.stderr
