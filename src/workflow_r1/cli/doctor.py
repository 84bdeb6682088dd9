"""``workflow-r1 doctor``."""

import json
from typing import TYPE_CHECKING

import typer

from workflow_r1.cli.parameters import AsJSON, Overrides, Source
from workflow_r1.errors import UserError
from workflow_r1.running.configuration import read_config, run_directory_of

if TYPE_CHECKING:
    from rich.console import Console

    from workflow_r1.running.findings import Finding

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def doctor(
    config: Source = None,
    override: Overrides = None,
    as_json: AsJSON = False,
) -> None:
    """Check the parts of a run before it starts, with a remedy for each problem.

    Looks at packages, data, operators, endpoints and keys, search, the store of calls, prices and the policy.
    Exit code 2: there is a mistake to fix. 1: a service is down. 0: all is well.
    """
    from workflow_r1.running.checks import check_packages, check_python, plan
    from workflow_r1.running.findings import ok, problem, run_checks
    from workflow_r1.running.terminal import Terminal

    console = Terminal()
    findings = [*check_python(), *check_packages()]
    try:
        settings = read_config(config, override)
    except UserError as error:
        findings.append(problem("configuration", error))
    else:
        findings.append(ok("configuration", settings.title))
        with Terminal(stderr=True).status("checking"):
            findings += run_checks(plan(settings, directory=run_directory_of(config), overrides=override or ()))
    ours = any(finding.status == "problem" and not finding.is_service for finding in findings)
    down = any(finding.is_service for finding in findings)
    code = 2 if ours else 1 if down else 0
    if as_json:
        rows = [
            {"subject": f.subject, "status": f.status, "found": f.found, "remedy": f.remedy, "is_service": f.is_service}
            for f in findings
        ]
        typer.echo(json.dumps({"findings": rows, "exit_code": code}, ensure_ascii=False, indent=2))
    else:
        _show(console, findings)
    raise typer.Exit(code)


def _show(console: "Console", findings: "list[Finding]") -> None:
    from rich.text import Text

    width = max(len(finding.subject) for finding in findings) + 2
    for finding in findings:
        line = Text(finding.status.ljust(9), style=_STYLES[finding.status])
        line.append(finding.subject.ljust(width), style="bold")
        line.append(finding.found, style="")
        console.print(line, soft_wrap=True)
        if finding.remedy:
            console.print(Text(" " * (9 + width) + finding.remedy, style="cyan"), soft_wrap=True)
    num = {status: sum(finding.status == status for finding in findings) for status in _STYLES}
    console.print(
        Text(f"\n{num['ok']} ok, {num['warning']} to know, {num['problem']} to fix", style="bold"), soft_wrap=True
    )
