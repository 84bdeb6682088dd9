"""``workflow-r1 doctor``: its findings, its remedies, and its exit codes."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scripted_server import Answer, Request, completion, serving

from workflow_r1.embedded import policy_directory
from workflow_r1.inference import ChatReply, ChatRequest, ScriptedChatModel
from workflow_r1.inference.loopback import LoopbackServer
from workflow_r1.installation import install_command
from workflow_r1.rollout.doubles import LoopbackPolicy
from workflow_r1.running.checks import check_directory
from workflow_r1.running.findings import Finding, Status, ok, run_checks
from workflow_r1.store import CallDatabase
from workflow_r1.trajectory import FinishReason, Usage

Call = Callable[..., object]

SECRET = "sk-very-secret-key"


def reply(request: Request) -> Answer:
    """Serve the model ``expert`` as ``expert`` and unlisted as ``alias``; know the key."""
    if request.method == "GET":
        return Answer({"data": [{"id": "expert"}, {"id": "other"}]})
    key, model = request.headers["authorization"], request.json["model"]
    if key != f"Bearer {SECRET}":
        return Answer({"error": {"message": f"unknown key {key}"}}, 401)
    if model not in ("expert", "alias"):
        return Answer({"error": {"message": f"no model {model}"}}, 404)
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    return Answer(completion("yes", "length") | {"model": model, "usage": usage})


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with serving(reply, at="/v1") as server:
        yield server.url


@pytest.fixture
def examine(call: Call, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, dict[str, dict]]]:
    """The exit code, and the findings by their subject; without the policy's, which take the import of torch."""

    def run(*arguments: str, policy: bool = False) -> tuple[int, dict[str, dict]]:
        if not policy:
            monkeypatch.setattr("workflow_r1.running.checks.check_policy", lambda config: [])
        done = call("doctor", "--json", *arguments)
        assert done.stderr == ""
        assert SECRET not in done.stdout
        report = json.loads(done.stdout)
        assert report["exit_code"] == done.returncode
        return done.returncode, {finding["subject"]: finding for finding in report["findings"]}

    return run


def openai(address: str, model: str) -> tuple[str, ...]:
    return ("-o", "llm.kind=openai", "-o", f"llm.base_url={address}", "-o", f"llm.model={model}")


def as_policy(address: str) -> tuple[str, ...]:
    return ("-o", f"policy.base_url={address}", "-o", "policy.model=expert")


def test_the_quickstart_is_well(call: Call) -> None:
    pytest.importorskip("torch")
    done = call("doctor")
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    subjects = (
        "python",
        "packages",
        "configuration",
        "run directory",
        "data",
        "operators",
        "llm",
        "search",
        "store",
        "prices",
        "policy",
        "device",
    )
    for subject in subjects:
        assert any(line.startswith("ok       " + subject) for line in lines), subject
    assert lines[-1].endswith("0 to fix")
    assert not Path("runs").exists()


def test_an_endpoint_that_replies(examine: Callable, endpoint: str) -> None:
    code, findings = examine(*openai(endpoint, "expert"), *as_policy(endpoint), policy=True)
    assert code == 0
    for subject in ("llm", "policy"):
        assert findings[subject]["status"] == "ok"
        assert re.search(rf"expert at {endpoint} replied in \d+\.\d\d s", findings[subject]["found"])
        assert "key from OPENAI_API_KEY" in findings[subject]["found"]


def test_a_model_that_is_unknown_or_not_listed(examine: Callable, endpoint: str) -> None:
    code, findings = examine(*openai(endpoint, "exprt"))
    assert code == 2
    assert "no model exprt" in findings["llm"]["found"]
    assert findings["llm"]["remedy"] == "it serves expert, other; did you mean 'expert'?"
    code, findings = examine(*openai(endpoint, "alias"))
    assert (code, findings["llm"]["status"]) == (0, "warning")


def test_a_bad_key_is_the_users_and_is_never_shown(
    examine: Callable, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "sk-another-secret-key"
    monkeypatch.setenv("OTHER_KEY", other)
    options = (*openai(endpoint, "expert"), "-o", "llm.api_key_env=OTHER_KEY")
    code, findings = examine(*options)
    assert code == 2
    assert "OTHER_KEY" in findings["llm"]["found"]
    assert other not in json.dumps(findings)
    monkeypatch.delenv("OTHER_KEY")
    without = ("-o", "llm.kind=openai", "-o", "llm.model=m", "-o", "llm.api_key_env=OTHER_KEY")
    code, findings = examine(*without)
    assert code == 2
    assert "found none; set it" in findings["llm"]["found"]


def test_the_variable_that_holds_no_key_is_named(examine: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTHER_KEY", raising=False)
    with LoopbackServer(ScriptedChatModel(lambda messages: "yes")) as server:
        code, findings = examine(*openai(server.url, "m"), "-o", "llm.api_key_env=OTHER_KEY")
    assert code == 0
    assert findings["llm"]["found"].endswith("(no key in OTHER_KEY)")


def test_a_service_that_is_down_is_told_from_the_users_mistake(examine: Callable, endpoint: str) -> None:
    down = openai("http://127.0.0.1:9/v1", "m")
    code, findings = examine(*down)
    assert code == 1
    assert findings["llm"]["is_service"] is True
    assert "llm.base_url" in findings["llm"]["found"]
    code, findings = examine(*down, "-o", "data.source=files", "-o", "data.train=absent.jsonl")
    assert code == 2
    assert "absent.jsonl" in findings["data.train"]["found"]


def test_an_endpoint_that_another_stands_in_for(examine: Callable, endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(
        f"[llm]\nkind = 'openai'\nmodel = 'expert'\nbase_url = '{endpoint}'\nroles = {{ default = ['llm', 'spare'] }}\n"
        "[llm.endpoints.spare]\nbase_url = 'http://127.0.0.1:9/v1'\n"
    )
    code, findings = examine("run.toml")
    assert (code, findings["llm"]["status"], findings["llm.endpoints.spare"]["status"]) == (0, "ok", "warning")
    code, findings = examine("run.toml", "-o", "llm.base_url=http://127.0.0.1:9/v1")
    assert (code, findings["llm"]["status"], findings["llm.endpoints.spare"]["status"]) == (1, "problem", "problem")


def test_a_replay_asks_no_service(examine: Callable) -> None:
    search = ("-o", "search.kind=server", "-o", "search.server.url=http://127.0.0.1:9")
    code, findings = examine(*openai("http://127.0.0.1:9/v1", "m"), *search)
    assert (code, findings["llm"]["is_service"], findings["search"]["is_service"]) == (1, True, True)
    replay = (
        *openai("http://127.0.0.1:9/v1", "m"),
        *search,
        "-o",
        "store.mode=replay",
        "-o",
        "store.path=calls.sqlite3",
    )
    code, findings = examine(*replay)
    assert (code, findings["store"]["status"], findings["llm"]["status"]) == (2, "problem", "ok")
    assert "record one first" in findings["store"]["found"]
    CallDatabase("calls.sqlite3").close()
    code, findings = examine(*replay)
    assert (code, findings["llm"]["status"], findings["search"]["status"]) == (0, "ok", "ok")
    assert findings["store"]["found"] == "0 calls in calls.sqlite3"


def test_a_store_is_not_made_and_a_damaged_one_is_told(examine: Callable) -> None:
    use = ("-o", "store.mode=use", "-o", "store.path=calls.sqlite3")
    code, findings = examine(*use)
    assert (code, findings["store"]["found"]) == (0, "nothing at calls.sqlite3 yet: the first call makes it")
    assert not Path("calls.sqlite3").exists()
    Path("calls.sqlite3").write_bytes(b"no database" * 100)
    code, findings = examine(*use)
    assert (code, findings["store"]["status"]) == (2, "problem")
    assert Path("calls.sqlite3").read_bytes() == b"no database" * 100


def test_a_budget_of_money_needs_the_prices_that_are_needed(examine: Callable, endpoint: str) -> None:
    service = (*openai(endpoint, "expert"), "-o", "budget.money=1")
    code, findings = examine(*service)
    assert (code, findings["prices"]["status"]) == (2, "problem")
    assert 'unknown: prices.models."expert"' in findings["prices"]["found"]
    priced = ("-o", "prices.models.expert={prompt_per_million = 1, completion_per_million = 2}")
    code, findings = examine(*service, *priced)
    assert (code, findings["prices"]["found"]) == (0, "known for every service")
    code, findings = examine(*priced)
    assert (code, findings["prices"]["status"]) == (0, "ok")


def test_files_of_questions_are_read_to_their_end(examine: Callable, tmp_path: Path) -> None:
    good = '{"id": "1", "question": "Who?", "golden_answers": ["x"]}\n'
    (tmp_path / "good.jsonl").write_text(good)
    (tmp_path / "bad.jsonl").write_text(good + '{"id": \n')
    files = ("-o", "data.source=files", "-o", "data.train=good.jsonl")
    code, findings = examine(*files)
    assert code == 0
    assert findings["data.train"]["found"] == "1 questions in good.jsonl"
    assert findings["data.evaluation"]["status"] == "warning"
    code, findings = examine(*files, "-o", "data.evaluation=good.jsonl")
    assert code == 0
    assert findings["data"]["found"] == "1 held-out questions are also trained on, e.g. 1"
    code, findings = examine(*files, "-o", "data.evaluation=bad.jsonl")
    assert code == 2
    assert "bad.jsonl:2" in findings["data.evaluation"]["found"]


def test_search_asks_once_and_builds_no_index(examine: Callable, tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"id": "1", "title": "Ada", "text": "Ada was born in 1950."}\n')
    bm25 = ("-o", "search.kind=bm25", "-o", "search.index=index")
    _, findings = examine(*bm25, "-o", "search.corpus=corpus.jsonl")
    assert findings["search"]["status"] == "warning"
    assert "the first run builds it from corpus.jsonl" in findings["search"]["remedy"]
    assert not (tmp_path / "index").exists()
    code, findings = examine(*bm25, "-o", "search.corpus=absent.jsonl")
    assert code == 2
    assert "absent.jsonl" in findings["search"]["found"]
    code, findings = examine(*bm25)
    assert "search.corpus" in findings["search"]["found"]
    _, findings = examine(*bm25, "-o", "environment.operators=['Review']")
    assert findings["search"]["found"] == "nothing in the run needs it"
    _, findings = examine()
    assert findings["search"]["found"].startswith("embedded: 1 passages in ")


def test_plugins_and_entry_points(examine: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("1 / 0\n")
    code, findings = examine("-o", "plugins=['mine.py']")
    assert code == 2
    assert "mine.py:1: expected to import it, received ZeroDivisionError" in findings["operators"]["found"]
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[workflow_r1.operators]\nbad = absent_package:x\n")
    monkeypatch.syspath_prepend(tmp_path)
    _, findings = examine()
    assert findings["operators"]["status"] == "ok"
    assert findings["entry points"]["status"] == "warning"
    assert "absent_package" in findings["entry points"]["found"]


def test_a_reward_of_ones_own_is_imported(examine: Callable, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def brevity(group):\n    return [0.0 for _ in group]\n")
    code, findings = examine("-o", 'reward.weights={f1 = 1.0, "mine.py:brevity" = 0.5}')
    assert code == 0
    assert findings["reward"]["found"].startswith("1 f1 + 0.5 ")
    assert findings["reward"]["found"].endswith("mine.py:brevity; compared within each group")
    code, findings = examine("-o", "reward=mine.py:brevty")
    assert code == 2
    assert "did you mean 'brevity'" in findings["reward"]["found"]
    assert "reward" not in examine()[1]


def test_a_configuration_that_is_wrong_is_a_finding(examine: Callable) -> None:
    code, findings = examine("-o", "training.stpes=3")
    assert code == 2
    assert "did you mean 'training.steps'" in findings["configuration"]["found"]
    assert findings["python"]["status"] == "ok"


def test_a_policy_that_cannot_be_loaded(examine: Callable, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from workflow_r1.embedded import policy_directory

    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (policy_directory() / name).is_file():
            (tmp_path / "model").mkdir(exist_ok=True)
            (tmp_path / "model" / name).write_bytes((policy_directory() / name).read_bytes())
    code, findings = examine("-o", "policy.model=model", policy=True)
    assert code == 2
    assert "but no *.safetensors" in findings["policy"]["found"]
    code, findings = examine("-o", "policy.model=./absent", policy=True)
    assert "there is no directory './absent'" in findings["policy"]["found"]
    code, findings = examine("-o", "policy.model=nobody/has-this-model", policy=True)
    assert (code, findings["policy"]["status"]) == (0, "warning")
    code, findings = examine("-o", "policy.device=cuda:7", policy=True)
    assert code == 2


def test_budgets_and_a_prompt_that_the_policy_cannot_follow(examine: Callable, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "my.toml").write_text('name = "mine"\n')  # The embedded policy by default, and the paper's budgets.
    code, findings = examine("my.toml", policy=True)
    assert code == 2
    assert "room for 2,048 tokens, and a trajectory may take 9,472" in findings["budgets"]["found"]
    assert "environment.max_response_tokens" in findings["budgets"]["found"]
    assert 'environment.prompt_style = "brief"' in findings["prompt"]["remedy"]
    code, findings = examine(
        "-o", "environment.max_response_tokens=1920", policy=True
    )  # With 128 of the prompt: all of it.
    assert code == 0
    assert not findings.keys() & {"budgets", "prompt"}


def test_without_torch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # The command names what lies below the working directory by its short path.
    script = (
        "import importlib.util as util, sys\n"
        "for name in ('torch', 'transformers', 'matplotlib'): sys.modules[name] = None\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "from workflow_r1.cli import main\n"
        "sys.argv = ['workflow-r1', 'doctor']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2, done.stderr
    assert install_command("train") in done.stdout
    assert "1 to fix" in done.stdout


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (finding,) = check_directory(tmp_path / "file" / "runs")
    assert finding.status == "problem"
    assert "set `directory`" in finding.remedy
    (finding,) = check_directory(tmp_path / "new" / "runs")
    assert finding.status == "ok"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_checks_run_at_once_within_a_limit_and_may_fail_themselves() -> None:
    def hang() -> list[Finding]:
        time.sleep(20)
        return []

    def crash() -> list[Finding]:
        raise KeyError("oops")

    def half() -> Iterator[Finding]:
        yield ok("half", "the first half")
        raise KeyError("oops")

    started = time.monotonic()
    found = run_checks({"a": hang, "b": crash, "c": hang, "d": half, "e": lambda: [ok("e", "fine")]}, limit_seconds=0.5)
    assert time.monotonic() - started < 5
    assert [(finding.subject, finding.status) for finding in found] == [
        ("a", Status.WARNING),
        ("b", Status.PROBLEM),
        ("c", Status.WARNING),
        ("half", Status.OK),
        ("d", Status.PROBLEM),
        ("e", Status.OK),
    ]
    assert "not finished within 0.5 s" in found[0].found
    assert "KeyError" in found[1].found


class Counting:
    """A chat model that counts words, of the whole history or without the thoughts of earlier turns."""

    def __init__(self, *, drops: bool) -> None:
        self.drops = drops

    async def __call__(self, request: ChatRequest) -> ChatReply:
        texts = [
            message.content.split("</think>")[-1] if self.drops else message.content for message in request.messages
        ]
        usage = Usage(llm_calls=1, prompt_tokens=len(" ".join(texts).split()), completion_tokens=1)
        return ChatReply("yes", FinishReason.STOP, usage)


@pytest.mark.parametrize(("drops", "status", "found"), [(True, "warning", "drops"), (False, "ok", "with the thoughts")])
def test_who_renders_the_history_of_a_policy_behind_a_chat_server(examine: Callable, drops, status, found) -> None:
    with LoopbackServer(Counting(drops=drops)) as server:
        _, findings = examine(*as_policy(server.url), policy=True)
    assert findings["policy's history"]["status"] == status
    assert found in findings["policy's history"]["found"]


def test_a_policy_behind_a_server_of_tokens(examine: Callable) -> None:
    pytest.importorskip("transformers")
    policy = LoopbackPolicy(lambda request, adapter: ([5], [-0.5]), model="expert")
    tokenizer = ("-o", f"policy.tokenizer={policy_directory()}")
    with LoopbackServer(ScriptedChatModel(lambda _: "."), routes=policy.routes) as server:
        _, findings = examine(*as_policy(server.url), *tokenizer, policy=True)
    assert findings["policy"]["status"] == "ok" and "continues tokens" in findings["policy"]["found"]

    async def text_alone(request):
        return 200, {"choices": [{"text": "a"}]}

    with LoopbackServer(
        ScriptedChatModel(lambda _: "."), routes={**policy.routes, "/v1/completions": text_alone}
    ) as server:
        _, findings = examine(*as_policy(server.url), *tokenizer, policy=True)
    assert findings["policy"]["status"] == "problem" and 'policy.exchange = "chat"' in findings["policy"]["found"]
