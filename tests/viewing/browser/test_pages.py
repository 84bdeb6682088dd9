"""The pages in a real browser."""

import json
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest
from viewed_runs import HOSTILE, make_evaluation, make_run, make_trajectory, write_step

from workflow_r1.recording.run_files import RunFiles
from workflow_r1.trajectory import Usage, append_trajectories
from workflow_r1.viewing.export import export_page
from workflow_r1.viewing.reading import Reading
from workflow_r1.viewing.source import Source

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect

pytestmark = pytest.mark.browser

VIEWS = (
    "#/run/0",
    "#/list/0",
    "#/list/0?id=q0-1-1",
    "#/group/0?id=q0-1-1",
    "#/pair/0?before=q0-1-1&after=q0-3-0",
    "#/compare",
)


def saved(directory: Path, *runs: Path, name: str = "page.html") -> str:
    export_page(Reading([Source(run) for run in runs]), directory / name)
    return (directory / name).as_uri()


@pytest.fixture(params=["from a disk", "served"])
def address(request, tmp_path: Path, watching) -> str:
    make_run(tmp_path / "run", steps=3)
    return saved(tmp_path, tmp_path / "run") if request.param == "from a disk" else watching(tmp_path / "run")


def count(page) -> str:
    return page.locator(".count").inner_text()


def test_the_run_opens_with_its_curves_tables_and_atlas(open_page, address) -> None:
    page = open_page(address)
    expect(page.get_by_role("heading", name="run", exact=True)).to_be_visible()
    expect(page.locator(".chart canvas").first).to_be_visible()
    assert page.locator(".chart").count() >= 6
    assert "Right answers. sampled: 0.25 at step 1, 0.75 at step 3; greedy, held out:" in (
        page.locator(".chart").first.get_attribute("aria-label")
    )
    expect(page.get_by_text("Held out, greedy: exact match 25% at step 1, 75% at step 3")).to_be_visible()
    expect(page.get_by_role("heading", name="Start step 1")).to_be_visible()
    expect(page.get_by_role("table", name="All trajectories").get_by_role("row")).to_have_count(2)
    expect(page.get_by_text("Simulation:")).to_be_visible()
    expect(page.get_by_text("nothing to learn from")).to_be_visible()
    expect(page.get_by_text("train on harder questions")).to_be_visible()
    expect(page).to_have_title("run \u2013 Workflow-R1")


def test_filters_choose_and_the_address_keeps_them(open_page, address) -> None:
    page = open_page(f"{address}#/list/0")
    expect(page.locator(".row")).not_to_have_count(0)
    assert count(page) == "24 of 24 trajectories"
    page.get_by_label("Outcome").select_option("right")
    expect(page.locator(".count")).to_have_text("12 of 24 trajectories")
    page.get_by_label("Steps").fill("2-3")
    page.get_by_label("Steps").press("Enter")
    expect(page.locator(".count")).to_have_text("10 of 24 trajectories")
    assert page.url.endswith("#/list/0?outcome=right&step=2-3")
    page.get_by_label("Operator").first.select_option("(invalid)")
    expect(page.locator(".count")).to_have_text("4 of 24 trajectories")
    page.go_back()
    expect(page.locator(".count")).to_have_text("10 of 24 trajectories")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".count")).to_have_text("24 of 24 trajectories")
    page.get_by_label("An operator turned").select_option("right_to_wrong")
    expect(page.locator(".count")).to_have_text("0 of 24 trajectories")


def test_a_search_reads_all_texts(open_page, tmp_path: Path, watching) -> None:
    run = tmp_path / "run"
    files = make_run(run, steps=1)
    files.append_trajectories([make_trajectory(step=2, number=9, observation="A needle in the hay.")], step=2)
    for address in (watching(run), saved(tmp_path, run)):
        page = open_page(f"{address}#/list/0")
        page.get_by_role("searchbox").fill("NEEDLE in")
        expect(page.locator(".count")).to_have_text("1 of 9 trajectories")
        expect(page.locator(".row")).to_have_count(1)


def test_a_link_leads_to_a_trajectory(open_page, address) -> None:
    page = open_page(f"{address}#/list/0")
    page.locator(".row").nth(1).click()
    expect(page.get_by_role("heading", name="Where was the director of film 0 born?")).to_be_visible()
    assert page.url.endswith("#/list/0?id=q0-1-1")
    again = open_page(page.url)
    expect(again.get_by_role("heading", name="Where was the director of film 0 born?")).to_be_visible()
    expect(again.locator(".row.chosen")).to_have_attribute("aria-posinset", "2")
    body = again.locator(".trajectory").inner_text()
    for text in (
        "Los Angeles",
        "los angeles",
        "Cincinnati",
        "cincinnati",
        "log-prob -0.867",
        "ratio 0.9987",
        "advantage",
        "0.002 USD",
    ):
        assert text in body, text


def test_the_graph_leads_to_the_turns(open_page, address) -> None:
    page = open_page(f"{address}#/list/0?id=q0-1-0")
    expect(page.locator(".flow .node")).to_have_count(3)
    assert page.locator(".flow").get_attribute("aria-label") == "Workflow: Question to Search; Search to \u2713 Answer"
    page.get_by_role("button", name="\u2713 Answer, go to turn 2").press("Enter")
    expect(page.locator("#turn-2")).to_be_focused()
    with page.expect_download() as saving:
        page.get_by_role("button", name="Save as SVG").click()
    text = Path(saving.value.path()).read_text()
    assert text.startswith("<svg")
    assert "Search" in text


def test_a_group_stands_side_by_side_and_shows_where_it_parts(open_page, address) -> None:
    page = open_page(f"{address}#/group/0?id=q0-2-0")
    expect(page.locator(".members thead th")).to_have_count(4)
    expect(page.get_by_text("Their words part at turn 1, their actions at turn 1.")).to_be_visible()
    rewards = page.locator(".members tbody tr").first.locator("td").all_inner_texts()
    assert rewards == ["1", "0.5", "0", "-1.5"]
    letters = page.locator(".members tr.parts .letter").all_inner_texts()
    assert sorted(letters) == ["A", "A", "A", "B"]
    page.get_by_role("link", name="No. 4").click()
    expect(page.locator(".trajectory")).to_contain_text("ended: max turns")


def test_the_keyboard_does_all(open_page, address) -> None:
    page = open_page(f"{address}#/list/0")
    expect(page.locator(".row")).not_to_have_count(0)
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator(".row.chosen")).to_have_attribute("aria-posinset", "2")
    page.keyboard.press("k")
    expect(page.locator(".row.chosen")).to_have_attribute("aria-posinset", "1")
    page.get_by_role("listbox").focus()
    page.keyboard.press("End")
    expect(page.locator(".row.chosen")).to_have_attribute("aria-posinset", "24")
    page.keyboard.press("g")
    expect(page.locator(".members thead th")).to_have_count(4)
    page.keyboard.press("t")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("m")
    expect(page.get_by_role("heading", name="Compare")).to_be_visible()
    page.keyboard.press("r")
    page.locator(".chart").first.focus()
    expect(page.locator(".chart canvas").first).to_be_visible()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".chart").first.locator(".at")).to_have_text("step 2")
    page.keyboard.press("Enter")
    expect(page.locator(".count")).to_have_text("8 of 24 trajectories")


def test_each_key_moves_from_where_the_last_one_left(open_page, address) -> None:
    page = open_page(f"{address}#/list/0")
    expect(page.locator(".row")).not_to_have_count(0)
    page.evaluate(
        "for (const key of ['j', 'j', 'j', 'k', 'j'])"
        " document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }))"
    )
    expect(page.locator(".row.chosen")).to_have_attribute("aria-posinset", "3")


def test_a_click_on_a_curve_opens_the_trajectories_of_the_step(open_page, address) -> None:
    page = open_page(address)
    # The page is drawn once more when the rows have come.
    expect(page.get_by_role("link", name="Trajectories (24)")).to_be_visible()
    over = page.locator(".chart .u-over").first
    over.hover()
    over.click(position={"x": over.bounding_box()["width"] - 3, "y": 60})
    expect(page.locator(".count")).to_have_text("8 of 24 trajectories")
    assert page.url.endswith("#/list/0?step=3")


def test_a_trajectory_is_copied_as_json(open_page, tmp_path: Path, watching) -> None:
    make_run(tmp_path / "run", steps=1)
    served = watching(tmp_path / "run")
    page = open_page(f"{served}#/list/0?id=q1-1-0", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy as JSON").click()
    expect(page.get_by_text("Copied as JSON")).to_be_visible()
    copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert (copied["id"], copied["schema_version"], copied["turns"][0]["token_ids"]) == ("q1-1-0", 1, [1, 2, 3])


def test_a_long_text_is_shown_when_it_is_asked_for(open_page, tmp_path: Path, watching) -> None:
    path = tmp_path / "long.jsonl.gz"
    append_trajectories(path, [make_trajectory(step=None, observation="\u202eword " * 170_000 + "the end")])
    page = open_page(f"{watching(path)}#/list/0?id=q0-None-0")
    more = page.get_by_role("button", name="show all 1,020,007 characters")
    assert "the end" not in page.locator(".observation").inner_text()
    more.click()
    expect(page.locator(".observation .text")).to_contain_text("the end")
    assert "\u27e8U+202E\u27e9word" in page.locator(".observation .text").inner_text()


def test_tokens_that_a_service_did_not_count_are_unknown(open_page, tmp_path: Path, watching) -> None:
    made = make_trajectory(step=None)
    first, last = made.turns
    call = first.calls[0].model_copy(update={"usage": Usage(llm_calls=2)})
    path = tmp_path / "uncounted.jsonl.gz"
    append_trajectories(path, [made.model_copy(update={"turns": (first.model_copy(update={"calls": (call,)}), last)})])
    page = open_page(f"{watching(path)}#/list/0?id=q0-None-0")
    expect(page.locator("div.call").first).to_contain_text("2 LLM calls, tokens unknown")


def test_a_run_at_work_updates_the_page_without_loading_it_again(open_page, tmp_path: Path, watching) -> None:
    files = make_run(tmp_path / "run", steps=1)
    address = watching(tmp_path / "run")
    page = open_page(f"{address}#/list/0?id=q0-1-1")
    expect(page.locator(".count")).to_have_text("8 of 8 trajectories")
    curves = open_page(address)
    expect(curves.get_by_text("1 of 4 steps")).to_be_visible()
    page.evaluate("window.before = document.querySelector('.trajectory')")
    write_step(files, 2)
    expect(page.locator(".count")).to_have_text("16 of 16 trajectories")
    expect(page.get_by_role("link", name="Trajectories (16)")).to_be_visible()
    assert page.evaluate("window.before.isConnected")
    expect(curves.get_by_text("2 of 4 steps")).to_be_visible()
    expect(curves.get_by_role("heading", name="Before and after")).to_be_visible()


def test_a_run_that_is_resumed_from_an_earlier_step_loses_its_rows(open_page, tmp_path: Path, watching) -> None:
    files = make_run(tmp_path / "run", steps=1)
    lengths = files.lengths()
    write_step(files, 2)
    page = open_page(f"{watching(tmp_path / 'run')}#/list/0")
    expect(page.locator(".count")).to_have_text("16 of 16 trajectories")
    files.cut_back(lengths)
    expect(page.locator(".count")).to_have_text("8 of 8 trajectories")


def test_a_run_that_is_deleted_leaves_what_was_read(open_page, tmp_path: Path, watching) -> None:
    make_run(tmp_path / "run", steps=1)
    page = open_page(f"{watching(tmp_path / 'run')}#/run/0")
    expect(page.get_by_text("1 of 4 steps")).to_be_visible()
    shutil.rmtree(tmp_path / "run")
    expect(page.get_by_text("is gone: what was read of it before is shown")).to_be_visible()
    expect(page.get_by_text("1 of 4 steps")).to_be_visible()
    page.goto(f"{page.url.partition('#')[0]}#/list/0?id=q0-1-0")
    expect(page.get_by_text("cannot be read: No such file")).to_be_visible()


def test_what_cannot_be_read_is_named(open_page, tmp_path: Path, watching) -> None:
    run = tmp_path / "run"
    make_run(run, steps=1)
    (run / "config.toml").unlink()
    (run / "metrics.jsonl").write_text("not JSON\n")
    for address in (watching(run), saved(tmp_path, run)):
        page = open_page(address)
        expect(page.get_by_text("no config.toml: the run's configuration is unknown")).to_be_visible()
        expect(page.get_by_text("metrics.jsonl: 1 line cannot be read, the first is 1")).to_be_visible()


@pytest.mark.parametrize("place", ["served", "from a disk"])
def test_runs_are_compared(open_page, tmp_path: Path, watching, place: str) -> None:
    runs = [tmp_path / f"seed-{seed}" for seed in (0, 1)]
    for seed, run in enumerate(runs):
        make_run(run, steps=2 + seed, seed=seed)
    page = open_page(watching(*runs) if place == "served" else saved(tmp_path, *runs))
    expect(page.get_by_role("table", name="Means and differences")).to_contain_text("seed-1 \u2212 seed-0")
    expect(page.get_by_text("its band reaches from the lowest to the highest of them")).to_be_visible()
    expect(page.locator(".chart").first).to_have_attribute(
        "aria-label", "Right answers. notebook, 2 seeds: 0.25 at step 1, 0.75 at step 3. The arrow keys move by step."
    )
    page.get_by_role("button", name="graphs").first.click()
    expect(page.locator(".graphs .flow")).to_have_count(2)
    page.get_by_label("Run", exact=True).select_option("1")
    expect(page.get_by_role("heading", name="seed-1")).to_be_visible()


def test_methods_of_an_evaluation_are_compared(open_page, tmp_path: Path, watching) -> None:
    make_evaluation(tmp_path / "evaluation", right={"direct": 1, "policy": 3})
    page = open_page(f"{watching(tmp_path / 'evaluation')}#/compare?side=0/0&side=0/1")
    row = page.get_by_role("table", name="Means and differences").get_by_role("row", name="right")
    expect(row).to_contain_text("+0.5")
    expect(page.get_by_role("table", name="Right answers by question")).to_contain_text("wrong Los Angeles")


def test_hostile_texts_do_nothing(open_page, tmp_path: Path, watching) -> None:
    run = tmp_path / "run"
    hostile = " ".join(HOSTILE)
    files = make_run(run, steps=3, text=lambda text: f"{text} {hostile}")
    for step in (4, 5):
        strange = {f"rollout/calls/{each}": 1.0 for each in HOSTILE} | {
            f"evaluation/class/{each}/exact_match": 0.5 for each in HOSTILE
        }
        files.append("metrics.jsonl", {"step": step, **strange})
        files.append("evaluations.jsonl", {"step": step, "evaluation/exact_match": 0.5, **strange})
    (run / "config.toml").write_text(f"name = {json.dumps(HOSTILE[0])}\n")
    ids = [quote(f"q0-{step}-1 {hostile}", safe="") for step in (1, 3)]
    views = ("#/run/0", f"#/list/0?q={quote(HOSTILE[1], safe='')}", f"#/group/0?id={ids[0]}", f"#/pair/0?before={ids[0]}&after={ids[1]}",
             "#/compare", f"#/{quote(HOSTILE[0])}/0", f"#/list/{quote(HOSTILE[0])}", f"#/list/0?id={ids[0]}")  # fmt: skip
    for address in (watching(run), saved(tmp_path, run)):
        page = open_page(address)
        for view in views:
            page.goto(f"{address}{view}")
            page.wait_for_timeout(250)
        expect(page.locator(".trajectory .head h2")).to_contain_text("Where was the director of film 0 born?")
        made = "main script, main img, main iframe, main object, main [onload], main [onerror], main [onmouseover]"
        assert page.locator(made).count() == 0
        links = page.evaluate("[...document.querySelectorAll('[href]')].map((each) => each.getAttribute('href'))")
        assert all(link.startswith(("#", "data:,")) for link in links)
        assert "\u202e" not in page.locator("body").inner_text()


def test_the_browser_itself_would_refuse_programs_and_html(open_page, address) -> None:
    page = open_page(address)
    expect(page.get_by_role("heading", name="run", exact=True)).to_be_visible()
    refused = page.evaluate("""() => {
        const results = [];
        try { document.body.insertAdjacentHTML("beforeend", "<b>x</b>"); results.push("html"); } catch { results.push("refused"); }
        const script = document.createElement("script");
        try { script.textContent = "window.ran = 1"; document.body.append(script); } catch { /* refused */ }
        results.push(window.ran ?? "refused");
        return results;
    }""")
    page.wait_for_timeout(100)
    assert refused == ["refused", "refused"]
    # The browser says so, which it must not do in any other test.
    assert page.watched.complaints
    page.watched.complaints = [text for text in page.watched.complaints if "requires 'Trusted" not in text]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nobody_is_kept_out(open_page, tmp_path: Path, dark: bool) -> None:
    from axe_playwright_python.sync_playwright import Axe

    make_run(tmp_path / "run", steps=3)
    address = saved(tmp_path, tmp_path / "run")
    page = open_page(address, dark=dark)
    for view in VIEWS:
        page.goto(f"{address}{view}")
        page.wait_for_timeout(300)
        found = Axe().run(page).response["violations"]
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        told = [(each["id"], [node["html"][:200] for node in each["nodes"][:3]]) for each in serious]
        assert not told, f"{view}: {json.dumps(told, indent=1)}"


def test_a_narrow_screen_is_wide_enough(open_page, tmp_path: Path) -> None:
    make_run(tmp_path / "run", steps=3)
    address = saved(tmp_path, tmp_path / "run")
    page = open_page(address, size=(360, 740))
    for view in VIEWS:
        page.goto(f"{address}{view}")
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, view


def test_a_run_continued_by_another_process_is_still_read(open_page, tmp_path: Path, watching) -> None:
    make_run(tmp_path / "run", steps=1)
    page = open_page(f"{watching(tmp_path / 'run')}#/list/0")
    expect(page.locator(".count")).to_have_text("8 of 8 trajectories")
    write_step(RunFiles(tmp_path / "run", resume=True), 2)
    expect(page.locator(".count")).to_have_text("16 of 16 trajectories")
