"""What must hold inside a route beyond the types of its fields. Pure.

A route may name its own Service as a backend: a backend is what is behind a Service, never another route, so that
nothing goes in a circle. What does go in a circle, a redirect to the same address, is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from twin.manifest.document import Document, DocumentKind
from twin.manifest.problems import KeyPath, Problem, suggestion
from twin.manifest.regular import fault
from twin.manifest.routes import (
    FILTERS,
    Filter,
    HeaderFilter,
    HttpMatch,
    HttpRouteSpec,
    HttpRule,
    ParentRef,
    PathMatch,
    PathModifier,
    PlainBackendRef,
    PlainRule,
    Redirect,
    TcpRouteSpec,
    TlsRouteSpec,
    ValueMatch,
)

MAX_PARENTS: Final = 32
MAX_HOSTS: Final = 16
MAX_RULES: Final = 64
MAX_EACH: Final = 64
"""Matches, backends or filters of one rule."""
_IN_PATHS: Final = ("//", "/./", "/../", "%2f", "%2F", "#", "?")
_ENDS: Final = ("/..", "/.")


def broken_route(document: Document, spec: HttpRouteSpec | TcpRouteSpec) -> Iterator[Problem]:
    """Find what is wrong in a route."""
    yield from _parents(document, spec.parent_refs)
    hosts = spec.hostnames if isinstance(spec, HttpRouteSpec | TlsRouteSpec) else ()
    yield from _too_many(document, ("spec", "hostnames"), len(hosts), MAX_HOSTS)
    yield from _twice(document, ("spec", "hostnames"), hosts, "the host name")
    if not spec.rules:
        yield document.problem(("spec", "rules"), "a route has one rule or more", "Add one with backendRefs.")
    yield from _too_many(document, ("spec", "rules"), len(spec.rules), MAX_RULES)
    rules: Sequence[HttpRule | PlainRule] = spec.rules
    names: list[tuple[KeyPath, str]] = [
        (("spec", "rules", index, "name"), one.name) for index, one in enumerate(rules) if one.name
    ]
    yield from _again(document, names, "the rule")
    if isinstance(spec, HttpRouteSpec):
        yield from _http_rules(document, spec)
    else:
        if len(spec.rules) > 1:
            text = f"every connection comes to the first rule of a {document.kind}"
            yield document.problem(("spec", "rules", 1), text, "Keep one, with all backendRefs and their weights.")
        for index, rule in enumerate(spec.rules):
            yield from _backends(document, ("spec", "rules", index), rule)


def broken_backend(document: Document, one: PlainBackendRef, path: KeyPath) -> Iterator[Problem]:
    """Find what is wrong in what names a port of a Service."""
    if (one.group, one.kind) not in (("", "Service"), ("core", "Service")):
        text = f"a backend is a Service, and not a {one.group + '/' if one.group else ''}{one.kind}"
        remedy = "Leave group and kind out. For an address outside, name a Service that has an EndpointSlice with it."
        yield document.problem((*path, "kind"), text, remedy)
    elif one.port is None:
        yield document.problem(
            (*path, "port"), f"port is missing: which one of {one.name}", "Add it, such as port: 80."
        )


def _parents(document: Document, parents: Sequence[ParentRef]) -> Iterator[Problem]:
    path: KeyPath = ("spec", "parentRefs")
    if not parents:
        remedy = 'Add the Service whose clients it is for: {group: "", kind: Service, name: shop, port: 80}.'
        yield document.problem(path, "a route without a parent has no clients", remedy)
    yield from _too_many(document, path, len(parents), MAX_PARENTS)
    seen: list[tuple[KeyPath, str]] = []
    for index, one in enumerate(parents):
        if one.kind != "Service" or one.group not in ("", "core"):
            text = (
                f"the parent of a route is a Service here, and not a {one.group + '/' if one.group else ''}{one.kind}"
            )
            remedy = (
                f'Write group: "", kind: Service and the name of the Service that clients call, such as {one.name}.'
            )
            yield document.problem((*path, index, "kind"), text, remedy)
        if one.namespace not in (None, document.namespace):
            text = (
                f"it is in {document.namespace} and its parent in {one.namespace}; only a neighbour may steer a Service"
            )
            yield document.problem((*path, index, "namespace"), text, f"Put the route in {one.namespace}.")
        seen.append(((*path, index), f"{one.name}:{one.port or one.section_name or ''}"))
    yield from _again(document, seen, "the parent")


def _http_rules(document: Document, spec: HttpRouteSpec) -> Iterator[Problem]:
    seen: list[tuple[KeyPath, str]] = []
    for index, rule in enumerate(spec.rules):
        path: KeyPath = ("spec", "rules", index)
        yield from _http_rule(document, rule, spec.hostnames, path)
        where: list[tuple[KeyPath, HttpMatch]] = [((*path, "matches", at), one) for at, one in enumerate(rule.matches)]
        for place, match in where or [(path, HttpMatch())]:
            yield from _match(document, match, place)
            seen.append((place, match.model_dump_json()))
    first: dict[str, KeyPath] = {}
    for place, text in seen:
        had = first.setdefault(text, place)
        if had is not place:
            said = "the same is matched by " + "".join(f"[{one}]" if isinstance(one, int) else one for one in had[1:3])
            yield document.problem(place, f"{said}, which comes first: this is never used", "Keep one of the two.")


def _http_rule(document: Document, rule: HttpRule, hosts: Sequence[str], path: KeyPath) -> Iterator[Problem]:
    yield from _too_many(document, (*path, "matches"), len(rule.matches), MAX_EACH)
    yield from _filters(document, rule.filters, rule, hosts, (*path, "filters"))
    redirects = any(one.type == "RequestRedirect" for one in rule.filters)
    if redirects and rule.backend_refs:
        text = "what is redirected comes to no backend"
        yield document.problem((*path, "backendRefs"), text, "Keep backendRefs or the RequestRedirect.")
    if not redirects:
        yield from _backends(document, path, rule)
    for index, one in enumerate(rule.backend_refs):
        at: KeyPath = (*path, "backendRefs", index, "filters")
        yield from _filters(document, one.filters, rule, hosts, at)
        if any(filter_.type in ("RequestRedirect", "URLRewrite") for filter_ in one.filters):
            text = "a backend cannot redirect or rewrite: it has been chosen by then"
            yield document.problem(at, text, "Give the filter to the rule.")
    whole, each = rule.timeouts.request_ms, rule.timeouts.backend_request_ms
    if whole and (each is None or each > whole or each == 0) and each is not None:
        text = "one try has more time than all together"
        yield document.problem((*path, "timeouts", "backendRequest"), text, "Make it at most timeouts.request.")


def _backends(document: Document, path: KeyPath, rule: HttpRule | PlainRule) -> Iterator[Problem]:
    at: KeyPath = (*path, "backendRefs")
    if not rule.backend_refs:
        remedy = "Add one: the parent itself, if only its own endpoints are meant."
        yield document.problem(at, "a rule without backendRefs sends nothing anywhere", remedy)
    yield from _too_many(document, at, len(rule.backend_refs), MAX_EACH)
    seen: list[tuple[KeyPath, str]] = []
    for index, one in enumerate(rule.backend_refs):
        yield from broken_backend(document, one, (*at, index))
        seen.append(((*at, index), f"{one.namespace or document.namespace}/{one.name}:{one.port}"))
        if one.filters and document.kind is not DocumentKind.HTTP_ROUTE:
            yield document.problem((*at, index, "filters"), f"a {document.kind} has no filters", "Leave them out.")
    yield from _again(document, seen, "the backend")
    if rule.backend_refs and not any(one.weight for one in rule.backend_refs):
        yield document.problem((*at, 0, "weight"), "all weights are 0, so that nothing is sent", "Make one 1 or more.")


def _match(document: Document, match: HttpMatch, path: KeyPath) -> Iterator[Problem]:
    yield from _path(document, match.path, (*path, "path"))
    for key, ones in (("headers", match.headers), ("queryParams", match.query_params)):
        yield from _too_many(document, (*path, key), len(ones), MAX_EACH)
        names = [one.name.lower() if key == "headers" else one.name for one in ones]
        yield from _again(document, [((*path, key, at, "name"), one) for at, one in enumerate(names)], "the name")
        for at, one in enumerate(ones):
            yield from _regular(document, one, (*path, key, at, "value"))


def _path(document: Document, match: PathMatch, path: KeyPath) -> Iterator[Problem]:
    if match.type == "RegularExpression":
        yield from _regular(document, match, (*path, "value"))
        return
    yield from _plain_path(document, match.value, (*path, "value"))
    if match.value.endswith("*"):
        text = f"{match.value[:60]!r} has a wildcard in the wrong place"
        remedy = f"PathPrefix with {match.value.rstrip('*').rstrip('/') or '/'} matches all that is below it."
        yield document.problem((*path, "value"), text, remedy)


def _plain_path(document: Document, value: str, path: KeyPath) -> Iterator[Problem]:
    wrong = next((one for one in _IN_PATHS if one in value), None) or next(
        (e for e in _ENDS if value.endswith(e)), None
    )
    if not value.startswith("/") or not value.isascii() or not value.isprintable() or " " in value:
        yield document.problem(path, f"{value[:60]!r} is not a path", "Write one from the root, such as /orders.")
    elif wrong is not None:
        yield document.problem(path, f"no path has {wrong} in it when it is compared", "Write it without.")


def _regular(document: Document, match: PathMatch | ValueMatch, path: KeyPath) -> Iterator[Problem]:
    if match.type == "RegularExpression" and (text := fault(match.value)):
        remedy = "Write a simpler one that fits the whole text, such as /v[0-9]+/.*, or several matches."
        yield document.problem(path, f"{match.value[:60]!r} {text}", remedy)


def _filters(
    document: Document, filters: Sequence[Filter], rule: HttpRule, hosts: Sequence[str], path: KeyPath
) -> Iterator[Problem]:
    yield from _too_many(document, path, len(filters), MAX_EACH)
    types = [one.type for one in filters]
    single = [((*path, at, "type"), one) for at, one in enumerate(types) if one != "RequestMirror"]
    yield from _again(document, [one for one in single if one[1] in FILTERS], "a filter of type")
    if "RequestRedirect" in types and "URLRewrite" in types:
        text = "what is redirected is not sent on, so that nothing can be rewritten"
        yield document.problem((*path, types.index("URLRewrite")), text, "Keep one of the two.")
    for index, one in enumerate(filters):
        at: KeyPath = (*path, index)
        if one.type not in FILTERS:
            remedy = suggestion(one.type, FILTERS, what="Use one of")
            yield document.problem((*at, "type"), f"the mesh has no filter {one.type[:60]!r}", remedy)
            continue
        given = [key for key in FILTERS.values() if key in one.model_dump(by_alias=True, exclude_none=True)]
        if given != [FILTERS[one.type]]:
            text = f"a {one.type} has its settings in {FILTERS[one.type]}" + (
                f", and not in {given[0]}" if given else ""
            )
            yield document.problem(at, text, f"Write {FILTERS[one.type]}, and no other of these keys.")
            continue
        yield from _filter(document, one, rule, hosts, (*at, FILTERS[one.type]))


def _filter(document: Document, one: Filter, rule: HttpRule, hosts: Sequence[str], path: KeyPath) -> Iterator[Problem]:
    headers = one.request_header_modifier or one.response_header_modifier
    if headers is not None:
        yield from _headers(document, headers, path)
    elif one.request_redirect is not None:
        yield from _modifier(document, one.request_redirect.path, rule, (*path, "path"))
        if _is_circle(one.request_redirect, rule, hosts):
            text = "it redirects to the address that was asked for, in a circle"
            yield document.problem(path, text, "Give it another scheme, hostname, port or path.")
    elif one.url_rewrite is not None:
        yield from _modifier(document, one.url_rewrite.path, rule, (*path, "path"))
        if one.url_rewrite.hostname is None and one.url_rewrite.path is None:
            yield document.problem(path, "it rewrites nothing", "Add hostname or path, or leave the filter out.")
        elif (one.url_rewrite.hostname or "").startswith("*."):
            yield document.problem((*path, "hostname"), "it has a wildcard in the wrong place", "Write one host name.")
    elif one.request_mirror is not None:
        mirror = one.request_mirror
        yield from broken_backend(document, mirror.backend_ref, (*path, "backendRef"))
        if mirror.percent is not None and mirror.fraction is not None:
            yield document.problem((*path, "fraction"), "percent says how many already", "Keep one of the two.")
        if mirror.fraction and mirror.fraction.numerator > mirror.fraction.denominator:
            yield document.problem(
                (*path, "fraction"), "it is more than all requests", "Make numerator the smaller one."
            )


def _is_circle(one: Redirect, rule: HttpRule, hosts: Sequence[str]) -> bool:
    """Whether nothing is other than before: what is left out stays as it was."""
    same_host = one.hostname is None or tuple(hosts) == (one.hostname,)
    same_path = one.path is None
    if one.path is not None and one.path.type == "ReplacePrefixMatch" and rule.matches:
        same_path = all(match.path.value == one.path.replace_prefix_match for match in rule.matches)
    return one.scheme is None and one.port is None and same_host and same_path


def _headers(document: Document, one: HeaderFilter, path: KeyPath) -> Iterator[Problem]:
    if not (one.set or one.add or one.remove):
        yield document.problem(path, "it changes no header", "Add set, add or remove, or leave the filter out.")
    seen: list[tuple[KeyPath, str]] = []
    for key, names in (("set", one.set), ("add", one.add)):
        seen += [((*path, key, at, "name"), header.name.lower()) for at, header in enumerate(names)]
    seen += [((*path, "remove", at), name.lower()) for at, name in enumerate(one.remove)]
    yield from _again(document, seen, "the header")
    for place, name in seen:
        if name in ("host", "content-length", "transfer-encoding", "connection", "upgrade"):
            remedy = "Use URLRewrite with hostname." if name == "host" else "Leave it out."
            yield document.problem(place, f"{name} is what a request stands on, and is no filter's to change", remedy)


def _modifier(document: Document, one: PathModifier | None, rule: HttpRule, path: KeyPath) -> Iterator[Problem]:
    if one is None:
        return
    values = {"ReplaceFullPath": one.replace_full_path, "ReplacePrefixMatch": one.replace_prefix_match}
    keys = {"ReplaceFullPath": "replaceFullPath", "ReplacePrefixMatch": "replacePrefixMatch"}
    value = values.pop(one.type)
    if value is None or any(other is not None for other in values.values()):
        text = f"{one.type} has its path in {keys[one.type]}"
        yield document.problem(path, text, f"Write {keys[one.type]}, and no other path.")
        return
    yield from _plain_path(document, value or "/", (*path, keys[one.type]))
    prefixes = [match.path.type == "PathPrefix" for match in rule.matches]
    if one.type == "ReplacePrefixMatch" and not all(prefixes):
        text = "there is no prefix to replace: a match of the rule is no PathPrefix"
        yield document.problem((*path, "type"), text, "Use ReplaceFullPath, or match by PathPrefix alone.")


def _again(document: Document, seen: Iterable[tuple[KeyPath, str]], what: str) -> Iterator[Problem]:
    first: dict[str, KeyPath] = {}
    for place, name in seen:
        had = first.setdefault(name, place)
        if had != place:
            yield document.problem(place, f"{what} {name.strip(':')} is there already", "Keep one of the two.")


def _twice(document: Document, path: KeyPath, names: Sequence[str], what: str) -> Iterator[Problem]:
    yield from _again(document, [((*path, index), name) for index, name in enumerate(names)], what)


def _too_many(document: Document, path: KeyPath, count: int, most: int) -> Iterator[Problem]:
    if count > most:
        yield document.problem(path, f"there are {count}, more than {most}", "Use several documents.")
