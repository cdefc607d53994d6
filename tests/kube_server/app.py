"""The HTTP side: discovery, verbs, lists and watches. One ASGI application."""

import asyncio
import json
from http import HTTPStatus
from urllib.parse import parse_qs

import yaml

from tests.kube_server.access import Asked
from tests.kube_server.errors import ApiError, bad_request, expired, no_such_path
from tests.kube_server.faults import CutMidLine, Dropped
from tests.kube_server.selectors import matcher
from tests.kube_server.store import TooOld

PATCHES = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
}
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
MAX_BODY = 3 * 1024 * 1024


class Request:
    def __init__(self, scope, body):
        self.method = scope["method"]
        self.parts = [part for part in scope["path"].split("/") if part]
        self.headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        self.query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
        self.body = body

    def json(self):
        try:
            kind = self.headers.get("content-type", "")
            return yaml.safe_load(self.body) if "yaml" in kind else json.loads(self.body or b"{}")
        except (ValueError, yaml.YAMLError) as error:
            raise bad_request(f"the body cannot be read: {error}") from None


class App:
    def __init__(self, server):
        self.server = server

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        request = Request(scope, body[: MAX_BODY + 1])
        try:
            if len(body) > MAX_BODY:
                raise ApiError(413, "RequestEntityTooLarge", f"limit is {MAX_BODY}")
            await self._answer(request, receive, send)
        except ApiError as error:
            headers = {"retry-after": str(error.retry_after)} if error.retry_after is not None else {}
            await _send(send, error.code, error.body(), headers)

    async def _answer(self, request, receive, send):
        parts = request.parts
        if parts in (["healthz"], ["readyz"], ["livez"]):
            await _send(send, 200, None, text=b"ok")
            return
        user = self._user(request)
        if request.method == "GET" and (found := self._discovery(parts)) is not None:
            await _send(send, 200, found)
            return
        place = _place(parts)
        resource = self.server.cluster.find(place.group, place.version, place.plural)
        if place.sub and place.sub not in ("status" if resource.status else None, *resource.subresources):
            raise no_such_path()
        verb = self._verb(request, place)
        named = f"{place.plural}/{place.sub}" if place.sub else place.plural
        name = place.name or _name_in(request.query.get("fieldSelector", ""))
        self._allow(user, Asked(verb, place.group, named, place.namespace, name))
        self.server.faults.strike(verb, place.plural)
        self.server.requests.append((verb, named, place.namespace, place.name))
        if verb == "watch":
            await self._watch(request, resource, place, receive, send)
            return
        code, found = self._do(verb, request, resource, place, user)
        await _send(send, code, found)

    def _user(self, request):
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        user = self.server.users.get(token) if kind == "Bearer" else None
        if user is None:
            raise ApiError(401, "Unauthorized", "Unauthorized")
        return user

    def _allow(self, user, asked):
        if not user.may(asked):
            where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
            text = f'{asked.resource} is forbidden: User "{user.name}" cannot {asked.verb} resource "{asked.resource}"'
            raise ApiError(403, "Forbidden", f'{text} in API group "{asked.group}" {where}')

    @staticmethod
    def _verb(request, place):
        if request.method == "GET":
            if place.name:
                return "get"
            return "watch" if request.query.get("watch") in ("1", "true") else "list"
        if request.method == "DELETE":
            return "delete" if place.name else "deletecollection"
        found = {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(request.method)
        if found is None or (found == "create") == bool(place.name and place.sub != "binding"):
            raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        return found

    # -- discovery ---------------------------------------------------------------------------------------------------

    def _discovery(self, parts):
        resources = list(self.server.cluster.resources())
        if parts == ["version"]:
            return {"major": "1", "minor": "32", "gitVersion": "v1.32.0+edgetwin.tests", "platform": "linux/amd64"}
        if parts == ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        if parts == ["apis"]:
            groups = [_group(name, resources) for name in dict.fromkeys(one.group for one in resources) if name]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        if len(parts) == 2 and parts[0] == "apis":
            if parts[1] not in {one.group for one in resources}:
                raise no_such_path()
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(parts[1], resources)}
        version = None
        if len(parts) == 2 and parts[0] == "api":
            version = ("", parts[1])
        elif len(parts) == 3 and parts[0] == "apis":
            version = (parts[1], parts[2])
        if version is None:
            return None
        found = [one for one in resources if (one.group, one.version) == version]
        if not found:
            raise no_such_path()
        served = [entry for one in found for entry in _served(one)]
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": found[0].api_version,
            "resources": served,
        }

    # -- verbs -------------------------------------------------------------------------------------------------------

    def _do(self, verb, request, resource, place, user):
        cluster = self.server.cluster
        manager = request.query.get("fieldManager") or request.headers.get("user-agent", "unknown").partition("/")[0]
        dry = request.query.get("dryRun") == "All"
        if verb == "get":
            return 200, cluster.shown(resource, cluster.get(resource, place.namespace, place.name))
        if verb == "list":
            return 200, self._list(request, resource, place)
        if verb == "create" and place.sub == "binding":
            cluster.bind(resource, place.namespace, place.name, request.json())
            return 201, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
        if verb == "create":
            made = cluster.create(resource, place.namespace, request.json(), manager, dry=dry)
            return 201, cluster.shown(resource, made)
        if verb == "update":
            body = request.json()
            made = cluster.replace(resource, place.namespace, place.name, body, manager, part=place.sub, dry=dry)
            return 200, cluster.shown(resource, made)
        if verb == "patch":
            return self._patch(request, resource, place, user, manager, dry=dry)
        options = {**request.json(), **_options(request.query)} if request.body else _options(request.query)
        if verb == "delete":
            gone = cluster.delete(resource, place.namespace, place.name, options)
            return 200, cluster.shown(resource, gone)
        fits = matcher(resource.kind, request.query.get("fieldSelector"), request.query.get("labelSelector"))
        found = [one for one in cluster.store.all(resource.group, resource.plural, place.namespace) if fits(one)]
        for one in found:
            cluster.delete(resource, one["metadata"].get("namespace", ""), one["metadata"]["name"], options)
        return 200, self._list_of(resource, found)

    def _patch(self, request, resource, place, user, manager, *, dry):
        kind = PATCHES.get(request.headers.get("content-type", "").partition(";")[0])
        if kind is None:
            raise ApiError(415, "UnsupportedMediaType", "the body of the request was in an unknown format")
        cluster = self.server.cluster
        there = cluster.key(resource, place.namespace, place.name) in cluster.store.objects
        if kind == "apply":
            manager = request.query.get("fieldManager", "")
            if not there:
                self._allow(user, Asked("create", place.group, place.plural, place.namespace, place.name))
        force = request.query.get("force") == "true"
        body = request.json()
        made = cluster.patch(
            resource, place.namespace, place.name, kind, body, manager, part=place.sub, force=force, dry=dry
        )
        return 200 if there else 201, cluster.shown(resource, made)

    def _list(self, request, resource, place):
        store = self.server.cluster.store
        limit = int(request.query.get("limit", 0))
        token = request.query.get("continue")
        if token:
            if token not in store.snapshots:
                raise expired("The provided continue parameter is too old to display a consistent list result.")
            revision, found = store.snapshots.pop(token)
        else:
            fits = matcher(resource.kind, request.query.get("fieldSelector"), request.query.get("labelSelector"))
            found = [one for one in store.all(resource.group, resource.plural, place.namespace) if fits(one)]
            revision = store.revision
        page, rest = (found[:limit], found[limit:]) if limit else (found, [])
        listed = self._list_of(resource, page, revision)
        if rest:
            listed["metadata"] |= {"continue": store.keep(rest), "remainingItemCount": len(rest)}
            store.snapshots[listed["metadata"]["continue"]] = (revision, rest)
        return listed

    def _list_of(self, resource, found, revision=None):
        store = self.server.cluster.store
        items = [self.server.cluster.shown(resource, one) for one in found]
        if resource.schema is None:  # built-in lists name the kind once
            items = [{name: one for name, one in item.items() if name not in ("apiVersion", "kind")} for item in items]
        return {
            "kind": f"{resource.kind}List",
            "apiVersion": resource.api_version,
            "metadata": {"resourceVersion": str(revision or store.revision)},
            "items": items,
        }

    # -- watch -------------------------------------------------------------------------------------------------------

    async def _watch(self, request, resource, place, receive, send):
        fits = matcher(resource.kind, request.query.get("fieldSelector"), request.query.get("labelSelector"))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        stream = self.server.faults.stream()
        gone = asyncio.ensure_future(receive())
        try:
            async for event in self._events(request, resource, place, fits, gone, stream):
                line = json.dumps(event).encode() + b"\n"
                await _send_line(send, stream, line)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except CutMidLine as cut:
            await send({"type": "http.response.body", "body": cut.half, "more_body": False})
        finally:
            gone.cancel()
            stream.close()

    async def _events(self, request, resource, place, fits, gone, stream):
        store, cluster = self.server.cluster.store, self.server.cluster
        loop = asyncio.get_running_loop()
        ends = loop.time() + float(request.query.get("timeoutSeconds", 1800))
        marks = request.query.get("allowWatchBookmarks") in ("1", "true")
        position = int(request.query.get("resourceVersion") or 0)
        if not position:
            position = store.revision
            for one in store.all(resource.group, resource.plural, place.namespace):
                if fits(one):
                    yield {"type": "ADDED", "object": cluster.shown(resource, one)}
        marked = loop.time()
        while not gone.done():
            news = store.news
            try:
                later = store.since(position)
            except TooOld:
                yield {"type": "ERROR", "object": expired(f"too old resource version: {position}").body()}
                return
            for change in later:
                position = change.revision
                key = change.key
                if (key.group, key.plural) == (resource.group, resource.plural) and place.namespace in (
                    "",
                    key.namespace,
                ):
                    event = _event(change, fits)
                    if event:
                        yield {"type": event, "object": cluster.shown(resource, change.last)}
            now = loop.time()
            if marks and (now - marked >= self.server.bookmark_s or now >= ends):
                marked = now
                yield {"type": "BOOKMARK", "object": _bookmark(resource, max(position, store.revision))}
                position = max(position, store.revision) if position <= store.revision else position
            if now >= ends:
                return
            await _any_of(news.wait(), gone, stream.cut.wait(), until_s=min(ends, marked + self.server.bookmark_s))
            if stream.cut.is_set():
                raise Dropped


class _Place:
    def __init__(self, group, version, namespace, plural, name, sub):
        self.group, self.version, self.namespace = group, version, namespace
        self.plural, self.name, self.sub = plural, name, sub


def _place(parts):
    if parts[:1] == ["api"] and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[:1] == ["apis"] and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise no_such_path()
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3 and rest[2] != "status":
        namespace, rest = rest[1], rest[2:]
    if len(rest) > 3:
        raise no_such_path()
    plural, name, sub = [*rest, "", ""][:3]
    return _Place(group, version, namespace, plural, name, sub)


def _name_in(selector):
    for part in selector.split(","):
        if part.startswith("metadata.name="):
            return part.partition("=")[2]
    return ""


def _options(query):
    found = {"propagationPolicy": query.get("propagationPolicy")}
    if "gracePeriodSeconds" in query:
        found["gracePeriodSeconds"] = int(query["gracePeriodSeconds"])
    return {name: value for name, value in found.items() if value is not None}


def _group(name, resources):
    versions = dict.fromkeys(one.version for one in resources if one.group == name)
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    stored = next((one.stored for one in resources if one.group == name and one.stored), listed[0]["version"])
    preferred = next((one for one in listed if one["version"] == stored), listed[0])
    return {"name": name, "versions": listed, "preferredVersion": preferred}


def _served(one):
    yield {
        "name": one.plural,
        "singularName": one.kind.lower(),
        "namespaced": one.namespaced,
        "kind": one.kind,
        "verbs": list(VERBS),
        "shortNames": list(one.short),
    }
    for sub in (*(["status"] if one.status else []), *one.subresources):
        verbs = ["create"] if sub == "binding" else ["get", "patch", "update"]
        kind = "Binding" if sub == "binding" else one.kind
        yield {
            "name": f"{one.plural}/{sub}",
            "singularName": "",
            "namespaced": one.namespaced,
            "kind": kind,
            "verbs": verbs,
        }


def _event(change, fits):
    was = change.before is not None and fits(change.before)
    is_ = change.after is not None and fits(change.after)
    if is_:
        return "MODIFIED" if was else "ADDED"
    return "DELETED" if was else None


def _bookmark(resource, revision):
    metadata = {"resourceVersion": str(revision), "creationTimestamp": None}
    return {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}


async def _any_of(*waits, until_s):
    tasks = [asyncio.ensure_future(one) for one in waits]
    timeout_s = max(0.0, until_s - asyncio.get_running_loop().time())
    await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    tasks[0].cancel()
    tasks[2].cancel()


async def _send_line(send, stream, line):
    if stream.half:
        stream.half = False
        raise CutMidLine(line[: len(line) // 2])
    await send({"type": "http.response.body", "body": line, "more_body": True})


async def _send(send, code, value, headers=None, text=b""):
    body = text or json.dumps(value).encode()
    kind = b"text/plain" if text else b"application/json"
    pairs = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    pairs += [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    await send({"type": "http.response.start", "status": HTTPStatus(code).value, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
