"""Who may do what: tokens, and roles as RBAC writes them."""

from dataclasses import dataclass, field
from typing import NamedTuple


class Asked(NamedTuple):
    """What a request asks for, in RBAC's words; ``resource`` with its subresource."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str


@dataclass
class User:
    name: str
    rules: list[dict] | None = None
    """Of ClusterRoles and Roles, each with ``namespace`` if it is bound there only; None: everything."""
    asked: set[tuple[str, str, str]] = field(default_factory=set)
    """What it did: verb, group, resource."""

    def may(self, asked: Asked):
        self.asked.add((asked.verb, asked.group, asked.resource))
        return self.rules is None or any(_allows(rule, asked) for rule in self.rules)


def _allows(rule, asked):
    names = rule.get("resourceNames")
    return (
        rule.get("namespace", asked.namespace) == asked.namespace
        and (asked.group in rule["apiGroups"] or "*" in rule["apiGroups"])
        and (asked.resource in rule["resources"] or "*" in rule["resources"])
        and (asked.verb in rule["verbs"] or "*" in rule["verbs"])
        and (not names or asked.name in names)
    )


def rules_of(documents):
    """The rules of all roles in a file of manifests, roles of one namespace with their namespace."""
    rules = []
    for one in documents:
        if one["kind"] in ("ClusterRole", "Role"):
            where = {"namespace": one["metadata"]["namespace"]} if one["kind"] == "Role" else {}
            rules += [{**rule, **where} for rule in one["rules"]]
    return rules
