"""The command line's look at the installation: `frontdesk doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from bots.build import load_plugins
from bots.console import out, run
from bots.doctor import examine
from bots.doctor_slack import slack_manifest
from bots.errors import StartError
from bots.finding import Finding, wrong
from bots.settings import Settings, load_settings

_STYLES = {"ok": "green", "warning": "yellow", "wrong": "bold red"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    manifest: Annotated[
        bool, typer.Option("--slack-manifest", help="Print the Slack app's manifest, and nothing else.")
    ] = False,
) -> None:
    """Check this installation and say what to do: settings, Redis, engine, plugins, tokens, permissions."""
    try:
        load_settings()
    except StartError as error:
        finding = wrong("settings", str(error))
        if as_json:
            print(_json({"findings": [asdict(finding)]}))
        else:
            _print(finding)
        raise typer.Exit(1) from None

    async def main(settings: Settings) -> None:
        if manifest:
            print(_json(slack_manifest(settings, load_plugins(settings))))
            return
        findings = []
        async for finding in examine(settings):
            findings.append(finding)
            if not as_json:
                _print(finding)
        if as_json:
            print(_json({"findings": [asdict(finding) for finding in findings]}))
        elif any((found.area, found.level) == ("slack", "wrong") for found in findings):
            print(_json(slack_manifest(settings, load_plugins(settings))))
        if any(finding.level == "wrong" for finding in findings):
            raise typer.Exit(1)

    run(main, log_level="critical")


def _print(finding: Finding) -> None:
    out.print(f"{finding.level:8}", style=_STYLES[finding.level], end="")
    out.print(f"{finding.area:12} {finding.text}", markup=False, soft_wrap=True)
    if finding.todo:
        out.print(f"{'':21}→ {finding.todo}", markup=False, soft_wrap=True)


def _json(content: Any) -> str:
    """JSON over several lines; Slack takes it where it asks for YAML as well."""
    return json.dumps(content, indent=2, ensure_ascii=False)
