"""Speed of the viewer on a large run (opening, filtering, searching), its memory, and its cost to training.

    python benchmarks/viewer.py RUN [--trajectories 50000] [--chromium /usr/bin/chromium]

A run of so many trajectories is made in a temporary folder out of the real rows of RUN, written by the package's own
writers. The browser's figures need ``playwright`` (requirements/pages.txt); without it they are left out. What an open
viewer costs training is measured by ``--training``: pairs of short runs, without and with a viewer that two pages ask every
two seconds.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from statistics import median

from workflow_r1.recording.run_files import RunFiles, trajectories_file
from workflow_r1.trajectory.index import TrajectoryIndex

PER_STEP = 500


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--trajectories", type=int, default=50_000)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    parser.add_argument("--training", type=int, default=0, help="pairs of short training runs")
    parser.add_argument("--steps", type=int, default=4, help="steps of each of them")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        if given.trajectories:
            enlarge(given.run, run, given.trajectories)
            size = sum(path.stat().st_size for path in run.iterdir()) / 1e6
            show("machine", f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
            show("the run", f"{given.trajectories:,} trajectories, {size:.0f} MB")
            measure_server(run, given.chromium)
            measure_export(run, Path(folder))
        if given.training:
            measure_training(given.training, given.steps, Path(folder))


def show(name: str, value: str) -> None:
    """Print one line."""
    print(f"{name:48} {value}", flush=True)


def enlarge(source: Path, run: Path, num: int) -> None:
    """Write a run of so many trajectories out of another one's rows, with ids, steps and groups of its own."""
    files = RunFiles(run, resume=False)
    for name in ("config.toml", "environment.json"):
        shutil.copy(source / name, run / name)
    index = TrajectoryIndex(trajectories_file(source), save=False)
    known = list(index.read_all(index.rows))
    metrics = [json.loads(line) for line in (source / "metrics.jsonl").read_text().splitlines()]
    metrics = [row for row in metrics if row["step"] > 0]
    for step in range(1, -(-num // PER_STEP) + 1):
        first = (step - 1) * PER_STEP
        part = [known[at % len(known)] for at in range(first, min(num, first + PER_STEP))]
        files.append_trajectories(
            [
                each.model_copy(update={"id": f"{each.id}-{step}-{at}", "group_id": f"{each.group_id}-{step}"})
                for at, each in enumerate(part)
            ],
            step=step,
        )
        files.append("metrics.jsonl", metrics[step % len(metrics)] | {"step": step})


class Server:
    """``workflow-r1 watch`` as a process of its own."""

    def __init__(self, run: Path) -> None:
        command = [sys.executable, "-m", "workflow_r1.cli", "watch", str(run), "--port", "0"]
        start = time.monotonic()
        environment = os.environ | {"COLUMNS": "200"}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().split(" at ")[1].strip()
        self.seconds = time.monotonic() - start

    def get(self, path: str) -> tuple[bytes, float]:
        """Ask; return the reply and the seconds that it took."""
        start = time.monotonic()
        with urllib.request.urlopen(self.address + path, timeout=120) as reply:
            return reply.read(), time.monotonic() - start

    def cpu(self) -> float:
        """CPU seconds that it used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Most memory that it had, in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1e3

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()


def measure_server(run: Path, chromium: str | None) -> None:
    """Time the server's replies, and the page in a browser."""
    server = Server(run)
    try:
        show(
            "server: from command to address",
            f"{server.seconds:.1f} s, {server.cpu():.1f} s of CPU, {server.memory():.0f} MB",
        )
        page, seconds = server.get("/")
        show("the page", f"{len(page) / 1e3:.0f} kB, {seconds:.3f} s")
        reply, seconds = server.get("/api/summary?source=0")
        show("summary with atlas and pairs", f"{len(reply) / 1e3:.0f} kB, {seconds:.2f} s")
        cpu = server.cpu()
        reply, seconds = server.get("/api/rows?source=0&seen=1000")
        show("20,000 rows", f"{len(reply) / 1e6:.1f} MB, {seconds:.2f} s, {server.cpu() - cpu:.2f} s of CPU")
        show(
            "one trajectory",
            f"{median(server.get(f'/api/trajectories?source=0&at=0.{at}')[1] for at in range(0, 20_000, 1000)):.3f} s",
        )
        start, cpu, at, num = time.monotonic(), server.cpu(), [0, 0], 0
        while at is not None:
            slice_, _ = server.get(f"/api/search?source=0&words=spouse&file={at[0]}&start={at[1]}")
            at, num = json.loads(slice_)["next"], num + 1
        show(
            "full-text search of all",
            f"{time.monotonic() - start:.1f} s in {num} slices, {server.cpu() - cpu:.1f} s of CPU",
        )
        if chromium:
            measure_browser(server, chromium)
        show("server: most memory", f"{server.memory():.0f} MB")
    finally:
        server.close()


def measure_browser(server: Server, chromium: str) -> None:
    """Time the first view and the filters in a browser."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        show("browser", "not measured: playwright is not installed")
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        # Playwright's waiting evaluates a text, which the pages' policy refuses.
        for name, view, ready in (("run", "/#/run/0", ".chart canvas"), ("list", "/#/list/0", ".row")):
            firsts, wholes, cpu = [], [], []
            for _ in range(3):
                page = browser.new_page(bypass_csp=True)
                session = page.context.new_cdp_session(page)
                session.send("Performance.setTimeDomain", {"timeDomain": "threadTicks"})
                session.send("Performance.enable")
                before, start = server.cpu(), time.monotonic()
                page.goto(server.address + view)
                page.wait_for_selector(ready)
                firsts.append(time.monotonic() - start)
                if name == "list":
                    page.wait_for_function("workflowR1.known[0].isWhole")
                    wholes.append(time.monotonic() - start)
                used = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
                cpu.append(used["TaskDuration"] + server.cpu() - before)
                page.close()
            whole = f", all rows {median(wholes):.2f} s" if wholes else ""
            show(
                f"browser: first view of the {name}",
                f"{median(firsts):.2f} s{whole}, CPU of page and server {median(cpu):.2f} s",
            )
        page = browser.new_page(bypass_csp=True)
        page.goto(server.address + "/#/list/0")
        page.wait_for_function("workflowR1.known[0]?.isWhole")
        times = []
        for outcome in ("right", "wrong", "", "right", "wrong", ""):
            times.append(page.evaluate(
                """(outcome) => new Promise((done) => {
                    const start = performance.now();
                    addEventListener("hashchange", () => requestAnimationFrame(() => setTimeout(() => done(performance.now() - start))), {once: true});
                    workflowR1.go({outcome: outcome || null}, {keep: true});
                })""", outcome))  # fmt: skip
        show("browser: a filter, to the next picture", f"median {median(times):.0f} ms, most {max(times):.0f} ms")
        browser.close()


def measure_export(run: Path, folder: Path) -> None:
    """Time a standalone page of 1,000 trajectories."""
    start = time.monotonic()
    command = [sys.executable, "-m", "workflow_r1.cli", "watch", str(run), "--export", str(folder / "page.html")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    size = (folder / "page.html").stat().st_size / 1e6
    show("standalone page of 1,000 trajectories", f"{size:.1f} MB, {time.monotonic() - start:.1f} s")


def measure_training(num_pairs: int, steps: int, folder: Path) -> None:
    """Compare training without and with an open viewer, in pairs."""
    ratios = []
    for pair in range(num_pairs):
        cpu = {}
        for is_watched in (False, True) if pair % 2 == 0 else (True, False):
            cpu[is_watched] = train(folder / f"{pair}-{is_watched}", steps, is_watched=is_watched)
        ratios.append(cpu[True] / cpu[False])
        show(
            f"training, pair {pair + 1}",
            f"{cpu[False]:.2f} s alone, {cpu[True]:.2f} s watched, CPU of the trainer per step",
        )
    show("ratio of CPU seconds", f"median {median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}")


def train(run: Path, steps: int, *, is_watched: bool) -> float:
    """Train for a few steps; return the trainer's CPU seconds for each."""
    command = [sys.executable, "-m", "workflow_r1.cli", "train", "--output", str(run)]
    for setting in (f"training.steps={steps}", "training.evaluate_every=0", "policy.threads=1"):
        command += ["-o", setting]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = None
    while is_watched and process.poll() is None:
        time.sleep(1)
        if server is None and (run / "metrics.jsonl").is_file():
            server = Server(run)
        elif server is not None:
            # Two open pages ask this.
            for path in ("/api/state", "/api/rows?source=0&seen=0", "/api/summary?source=0"):
                server.get(path)
    if process.wait():
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}: run it by hand to see why")
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    if server is not None:
        server.close()
    return (usage.ru_utime + usage.ru_stime - before.ru_utime - before.ru_stime) / steps


if __name__ == "__main__":
    main()
