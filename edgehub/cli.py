"""The one command. A table of names; the code of a command is imported only when it is called.

Exit codes: 0 done, 1 the answer is no (a difference, a time-out, no value moved), 2 wrong usage, 3 no hub or broker,
4 refused input, 5 anything else.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Final, NamedTuple

import typer


class Entry(NamedTuple):
    """Where a command lives, and the line that the overview shows; a group has commands of its own instead, or too."""

    target: str
    line: str
    commands: Mapping[str, Entry] = MappingProxyType({})


MAPPER_COMMANDS: Final = {
    "new": Entry("edgehub.commands.mapper_new:new", "Write the project of a new mapper, with tests that pass."),
    "list": Entry("edgehub.commands.mapper_list:list_", "List the installed mappers, and what is wrong with any."),
    "check": Entry("edgehub.commands.mapper_check:check", "Check documents with their mappers' models, without a hub."),
    "simulate": Entry("edgehub.commands.mapper_simulate:simulate", "Run devices of documents with simulated values."),
    "scan": Entry("edgehub.commands.mapper_scan:scan", "Look for devices, and write documents for them."),
    "schema": Entry("edgehub.commands.mapper_schema:schema", "Print the JSON schema of a mapper's settings."),
}

WEB_COMMANDS: Final = {
    "show": Entry("edgehub.commands.web:show", "Show where the dashboard is, and how to log in."),
    "password": Entry("edgehub.commands.web:password", "Draw another password of the dashboard, or set one."),
}

ALARM_COMMANDS: Final = {
    "list": Entry("edgehub.commands.alarms:list_", "List the alarms that fire, and who has seen them."),
    "ack": Entry("edgehub.commands.alarms:ack", "Acknowledge an alarm that fires."),
    "rules": Entry("edgehub.commands.alarms:rules", "List the rules of alarms."),
}

PUSH_COMMANDS: Final = {
    "test": Entry("edgehub.commands.pushes:try_", "Send one test reading, and say what came back."),
    "aside": Entry("edgehub.commands.pushes:aside", "Show the readings that a target refused for good."),
}

METRICS_COMMANDS: Final = {
    "export": Entry("edgehub.commands.metrics:export", "Send metrics to an OpenTelemetry collector."),
}

MESH_COMMANDS: Final = {
    "routes": Entry("edgehub.commands.mesh_routes:routes", "List services and routes, and why one is not in force."),
    "resolve": Entry("edgehub.commands.mesh_resolve:resolve", "Ask the gateway's DNS, and say what is behind a name."),
    "top": Entry("edgehub.commands.mesh_top:top", "Show what goes through each service, live."),
    "graph": Entry("edgehub.commands.mesh_graph:graph", "Show who calls which service."),
    "doctor": Entry("edgehub.commands.mesh_doctor:doctor", "Check the mesh from name to endpoint, with remedies."),
    "flush": Entry("edgehub.commands.mesh_flush:flush", "Take the mesh's table and route from the kernel."),
}


CLOUD_COMMANDS: Final = {
    "init": Entry("cloudsync.cli:init", "Make the CA of a cloud and its first admin."),
    "run": Entry("cloudsync.cli:run", "Run a cloud until Ctrl-C: brokers, workers, web."),
    "status": Entry("cloudsync.cli:status", "Show how the cloud is."),
    "shard": Entry("cloudsync.cli:shard", "Make the state folder of a machine with a further broker."),
    "get": Entry("cloudsync.ask.reading:get", "Show twins of any gateway."),
    "set": Entry("cloudsync.ask.writing:set_", "Write desired values, or have a gateway do it in time."),
    "set-where": Entry("cloudsync.ask.writing:set_where", "Write desired values of every twin that fits."),
    "query": Entry("cloudsync.ask.reading:query", "Ask for twins with a query in SQL."),
    "watch": Entry("cloudsync.ask.reading:watch", "Follow twins, or the result of a query."),
    "explain": Entry("cloudsync.ask.reading:explain", "Say why a property has the value it has."),
    "history": Entry("cloudsync.ask.reading:history", "Show the readings that a gateway has sent."),
    "alarms": Entry(
        "",
        "What fires at any gateway, who has seen it, and the rules.",
        {
            "list": Entry("cloudsync.ask.alarms:list_", "List the alarms that fire, and who has seen them."),
            "ack": Entry("cloudsync.ask.alarms:ack", "Acknowledge an alarm that fires."),
            "rules": Entry("cloudsync.ask.alarms:rules", "List the rules of gateways."),
        },
    ),
    "apply": Entry("cloudsync.ask.admin:apply", "Apply documents at the gateways that they name."),
    "delete": Entry("cloudsync.ask.admin:delete", "Delete what a file of documents names."),
    "diff": Entry("cloudsync.ask.admin:diff", "Show what apply would change."),
    "pods": Entry("cloudsync.ask.workloads:pods", "Show the cloud's pods, where they are and how."),
    "deployments": Entry("cloudsync.ask.workloads:deployments", "Show the cloud's Deployments."),
    "audit": Entry("cloudsync.ask.admin:audit", "Show who changed what."),
    "rollout": Entry(
        "",
        "Bring a release to gateways, wave by wave.",
        {
            "start": Entry("cloudsync.rollout.cli:start", "Begin a rollout, or show who would be in which wave."),
            "status": Entry("cloudsync.rollout.cli:status", "Show how rollouts are."),
            "pause": Entry("cloudsync.rollout.cli:pause", "Order no further gateway to have it, for now."),
            "resume": Entry("cloudsync.rollout.cli:resume", "Go on."),
            "abort": Entry("cloudsync.rollout.cli:abort", "End it; take back what no gateway has begun."),
        },
    ),
    "bundle": Entry(
        "",
        "Add, list and remove bundles of releases, for rollouts.",
        {
            "add": Entry("cloudsync.bundle_cli:add", "Check a bundle and keep it for gateways."),
            "list": Entry("cloudsync.bundle_cli:list_", "List bundles."),
            "remove": Entry("cloudsync.bundle_cli:remove", "Remove a bundle."),
        },
    ),
    "token": Entry(
        "",
        "Make, list and revoke join tokens for gateways.",
        {
            "create": Entry("cloudsync.accounts_cli:token_create", "Make a join token: one use, shown once."),
            "list": Entry("cloudsync.accounts_cli:token_list", "List join tokens."),
            "revoke": Entry("cloudsync.accounts_cli:token_revoke", "End a join token."),
        },
    ),
    "gateway": Entry(
        "",
        "List and revoke gateways.",
        {
            "list": Entry("cloudsync.accounts_cli:gateway_list", "List the gateways that have joined."),
            "revoke": Entry("cloudsync.accounts_cli:gateway_revoke", "Shut a gateway out."),
            "status": Entry("cloudsync.ask.admin:gateway_status", "Show how gateways are."),
        },
    ),
    "user": Entry(
        "",
        "Make, list and revoke users.",
        {
            "add": Entry("cloudsync.accounts_cli:user_add", "Make a user and its credentials file."),
            "list": Entry("cloudsync.accounts_cli:user_list", "List users."),
            "revoke": Entry("cloudsync.accounts_cli:user_revoke", "Shut a user out."),
        },
    ),
}


HARDWARE_COMMANDS: Final = {
    "boards": Entry("hardware.cli:boards", "List the boards that there are profiles for."),
    "build": Entry("hardware.image.cli:build_image", "Build the bootable image of a board."),
    "deb": Entry("hardware.debian.cli:deb", "Make the Debian package of the gateway."),
    "disks": Entry("hardware.cli:disks", "List disks, and why each may be written or not."),
    "flash": Entry("hardware.flash.cli:flash", "Write an image to a disk, and prove it."),
    "doctor": Entry("hardware.doctor.cli:doctor", "Look at this machine as a gateway; say what is wrong."),
    "provision": Entry("hardware.provision.cli:provision", "Make this machine the gateway that a file says it is."),
    "sign": Entry("hardware.image.sign_cli:sign_image", "Sign an image, for those who flash it."),
    "run": Entry("hardware.run.cli:run", "Build, flash or boot, and wait for the gateway in the cloud."),
    "update": Entry(
        "",
        "Install releases, tried before they stay; go back.",
        {
            "install": Entry("hardware.update.cli:install", "Install a bundle, and keep it if all works again."),
            "status": Entry("hardware.update.cli:status", "Show what runs, and how far an update is."),
            "rollback": Entry("hardware.update.cli:rollback", "Go back to the release from before."),
            "agent": Entry("hardware.update.cli:agent", "Be the service that installs what the cloud wants."),
        },
    ),
    "bundle": Entry(
        "",
        "Make and check signed bundles.",
        {
            "create": Entry("hardware.update.bundle_cli:create", "Make a signed bundle of the program."),
            "image": Entry("hardware.image.bundle_cli:image_bundle", "Make the signed bundle of an image."),
            "check": Entry("hardware.update.bundle_cli:check", "Check a bundle as a gateway does."),
        },
    ),
    "keys": Entry(
        "",
        "Say who may make updates.",
        {"create": Entry("hardware.update.keys_cli:create", "Make a CA for updates, and a key to sign with.")},
    ),
}


COMMANDS: Final = {
    "run": Entry("edgehub.commands.run:run", "Run the gateway until Ctrl-C."),
    "demo": Entry("edgehub.commands.demo:demo", "Run a gateway with a demo plant and show it live."),
    "apply": Entry("edgehub.commands.documents:apply", "Apply documents: device models, devices, connections, pods."),
    "delete": Entry("edgehub.commands.documents:delete", "Delete what a file of documents names."),
    "diff": Entry("edgehub.commands.documents:diff", "Show what apply would change."),
    "get": Entry("edgehub.commands.get:get", "Show twins."),
    "set": Entry("edgehub.commands.set:set_", "Write desired values and wait for the device."),
    "query": Entry("edgehub.commands.query:query", "Ask for twins with a query in SQL."),
    "watch": Entry("edgehub.commands.watch:watch", "Follow twins as they change."),
    "top": Entry("edgehub.commands.top:top", "Show rates, the line to the cloud and what moves, live."),
    "explain": Entry("edgehub.commands.explain:explain", "Say why a property has the value it has."),
    "history": Entry("edgehub.commands.history:history", "Show the readings that were kept of a property."),
    "pushes": Entry(
        "edgehub.commands.pushes:pushes", "List what is pushed to other systems, and how it goes.", PUSH_COMMANDS
    ),
    "pods": Entry("edgehub.commands.pods:pods", "List the pods of the gateway."),
    "describe": Entry("edgehub.commands.describe:describe", "Show all that is known of a pod, with its events."),
    "logs": Entry("edgehub.commands.logs:logs", "Print what a container has said."),
    "exec": Entry("edgehub.commands.exec:exec_", "Run a command in a container."),
    "kubeconfig": Entry("edgehub.commands.kubeconfig:kubeconfig", "Print where Kubernetes clients find the gateway."),
    "status": Entry("edgehub.commands.status:status", "Show how the gateway is."),
    "alarms": Entry("", "What fires, who has seen it, and the rules.", ALARM_COMMANDS),
    "metrics": Entry("", "Metrics, for others than Prometheus.", METRICS_COMMANDS),
    "web": Entry("", "The dashboard: where it is, and its password.", WEB_COMMANDS),
    "account": Entry("edgehub.commands.account:account", "Make logins for programs of yours."),
    "mapper": Entry("", "Write, list and check mappers; simulate devices, look for devices.", MAPPER_COMMANDS),
    "mesh": Entry("", "Show and check how services find each other.", MESH_COMMANDS),
    "join": Entry("edgehub.commands.join:join", "Join a cloud with a token."),
    "cloud": Entry("", "Run a cloud; its gateways, users and tokens.", CLOUD_COMMANDS),
    "hardware": Entry("", "Boards, images onto disks, machines made gateways.", HARDWARE_COMMANDS),
    "check-config": Entry(
        "edgehub.commands.check_config:check_config", "Check the settings and say where they are from."
    ),
}

OVERVIEW: Final = """Device twins and protocol mappers for gateways that work for weeks without a cloud.

Example: edgetwin apply -f plant.yaml, then edgetwin set plant/tank valve=40, then edgetwin watch plant/tank"""


def main() -> None:
    """Run the command line of this process."""
    application(sys.argv[1:])()


def application(arguments: Sequence[str]) -> typer.Typer:
    """The command line for these arguments: all names, but only the body of the one that is called."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, help=OVERVIEW, pretty_exceptions_enable=False)
    app.callback()(_options)
    _add(app, COMMANDS, [argument for argument in arguments if not argument.startswith("-")])
    return app


def _add(app: typer.Typer, commands: Mapping[str, Entry], words: Sequence[str]) -> None:
    """Give an application its commands; ``words`` name the one that is called."""
    for name, entry in commands.items():
        called = words[:1] == [name]
        if entry.commands:
            alone = bool(entry.target)
            group = typer.Typer(no_args_is_help=not alone, invoke_without_command=alone, help=entry.line)
            if alone and called:
                group.callback()(_body(entry))
            _add(group, entry.commands, words[1:] if called else [])
            app.add_typer(group, name=name)
        else:
            body = _body(entry) if called else _unloaded
            app.command(name, help=_paragraphs(body) if called else entry.line)(body)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version as version_of

        typer.echo(f"edgetwin {version_of('edgetwin')}")
        raise typer.Exit


def _options(
    _version: Annotated[
        bool,
        # Eager: it is there without a command.
        typer.Option("--version", help="Print the version and end.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """All that the command itself takes."""


def _body(entry: Entry) -> Callable[..., Any]:
    module, _, function = entry.target.partition(":")
    body: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return body


def _paragraphs(body: Callable[..., Any]) -> str:
    """The docstring with one line a paragraph: Typer would keep our line ends, whatever the terminal's width."""
    parts = (inspect.getdoc(body) or "").split("\n\n")
    return "\n\n".join(" ".join(part.split()) for part in parts)


def _unloaded() -> None:
    """Stand for a command that was not called."""
