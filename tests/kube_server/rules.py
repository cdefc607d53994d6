"""What writes go through: names, schemas, defaults, fields that may not change, versions, managers, deletion."""

import base64
import copy
import json
import re
import uuid
from datetime import UTC, datetime, timedelta

from tests.kube_server import patches
from tests.kube_server.defaults import defaulted, suffix
from tests.kube_server.errors import ApiError, bad_request, conflict, exists, invalid, not_found
from tests.kube_server.resources import BUILT_IN, Resource, custom
from tests.kube_server.schema import broken_schema, problems, pruned
from tests.kube_server.store import Key, Store

NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_MANAGED_METADATA = ("f:labels", "f:annotations", "f:finalizers", "f:ownerReferences")
_FROZEN = ("containers", "initContainers", "volumes", "nodeName", "restartPolicy", "hostNetwork", "serviceAccountName")
_CRDS = next(one for one in BUILT_IN if one.plural == "customresourcedefinitions")


def now():
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Cluster:
    """All objects and the rules of writing them."""

    def __init__(self, store: Store | None = None):
        self.store = store or Store()
        if not self.store.objects:
            for name in NAMESPACES:
                self.create(self.find("", "v1", "namespaces"), "", {"metadata": {"name": name}}, "kubernetes")

    # -- what there is -----------------------------------------------------------------------------------------------

    def resources(self):
        yield from BUILT_IN
        for definition in self.store.all(_CRDS.group, _CRDS.plural):
            yield from custom(definition)

    def find(self, group, version, plural) -> Resource:
        for one in self.resources():
            if (one.group, one.version, one.plural) == (group, version, plural):
                return one
        raise ApiError(404, "NotFound", "the server could not find the requested resource")

    def key(self, resource, namespace, name):
        return Key(resource.group, resource.plural, namespace if resource.namespaced else "", name)

    def get(self, resource, namespace, name):
        found = self.store.objects.get(self.key(resource, namespace, name))
        if found is None:
            raise not_found(resource, name)
        return found

    @staticmethod
    def shown(resource, stored):
        """As the version asked for: no conversion but of the version's name. The schema is that of the version kept."""
        return {**stored, "apiVersion": resource.api_version, "kind": resource.kind}

    # -- writes ------------------------------------------------------------------------------------------------------

    def create(self, resource, namespace, body, manager="", *, dry=False, apply=False):
        new = self._checked(resource, namespace, body)
        metadata = new["metadata"]
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + suffix()
        name = metadata.get("name", "")
        if not isinstance(name, str) or not NAME.fullmatch(name) or len(name) > 253:
            text = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"
            raise invalid(resource, name, [("metadata.name", f'Invalid value: "{name}": {text}')])
        key = self.key(resource, namespace, name)
        if resource.namespaced:
            spaces = self.find("", "v1", "namespaces")
            space = self.store.objects.get(self.key(spaces, "", namespace))
            if space is None:
                raise not_found(spaces, namespace)
            if "deletionTimestamp" in space["metadata"]:
                raise ApiError(403, "Forbidden", f"unable to create new content in namespace {namespace}: terminating")
        if key in self.store.objects:
            raise exists(resource, name)
        for field in (
            "resourceVersion",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
            "managedFields",
        ):
            metadata.pop(field, None)
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": now()}
        if resource.namespaced:
            metadata["namespace"] = namespace
        if resource.schema is not None or resource.kind in ("Deployment", "CustomResourceDefinition"):
            metadata["generation"] = 1
        if resource.status:
            new.pop("status", None)
        new = _normal(resource, defaulted(resource.kind, new))
        self._validate(resource, new)
        _set_managed(new, manager, "Apply" if apply else "Update", _leaves(resource, body if apply else new), ())
        return new if dry else self.store.put(key, new)

    def replace(self, resource, namespace, name, body, manager="", *, part="", dry=False):
        """``part``: "status" writes only that, "" all but that, where status is a subresource."""
        live = self.get(resource, namespace, name)
        new = self._checked(resource, namespace, body, name)
        version = new["metadata"].get("resourceVersion")
        if version not in (None, "", live["metadata"]["resourceVersion"]):
            raise conflict(resource, name)
        uid = new["metadata"].get("uid")
        if uid not in (None, "", live["metadata"]["uid"]):
            text = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {live['metadata']['uid']}"
            raise conflict(resource, name, text)
        return self._write(resource, live, new, manager, part=part, dry=dry)

    def patch(self, resource, namespace, name, kind, body, manager="", *, part="", force=False, dry=False):
        if kind == "apply":
            return self._apply(resource, namespace, name, body, manager, part=part, force=force, dry=dry)
        live = self.get(resource, namespace, name)
        shown = self.shown(resource, live)
        if kind == "json":
            new = patches.json_patched(shown, body)
        elif kind == "merge":
            new = patches.merged(shown, body)
        elif resource.schema is None:
            new = patches.strategic(shown, body)
        else:
            text = "the body of the request was in an unknown format - accepted media types include: "
            raise ApiError(
                415, "UnsupportedMediaType", text + "application/json-patch+json, application/merge-patch+json"
            )
        return self.replace(resource, namespace, name, new, manager, part=part, dry=dry)

    def delete(self, resource, namespace, name, options):
        live = self.get(resource, namespace, name)
        metadata = live["metadata"]
        wanted = options.get("preconditions") or {}
        for field in ("uid", "resourceVersion"):
            if wanted.get(field) not in (None, metadata[field]):
                found = metadata[field]
                text = f"the {field} in the precondition ({wanted[field]}) does not match that in record ({found})"
                raise conflict(resource, name, text)
        grace = self._grace(resource, live, options.get("gracePeriodSeconds"))
        if grace or metadata.get("finalizers"):
            had = metadata.get("deletionGracePeriodSeconds")
            if "deletionTimestamp" in metadata and (had is None or had <= grace):
                return live
            new = copy.deepcopy(live)
            ends = datetime.now(UTC) + timedelta(seconds=grace)
            new["metadata"] |= {
                "deletionTimestamp": ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "deletionGracePeriodSeconds": grace,
            }
            return self.store.put(self.key(resource, namespace, name), new)
        return self._remove(resource, self.key(resource, namespace, name))

    def bind(self, resource, namespace, name, body):
        live = self.get(resource, namespace, name)
        node = (body.get("target") or {}).get("name")
        if not node:
            raise invalid(resource, name, [("target.name", "Required value")])
        if live["spec"].get("nodeName"):
            raise conflict(resource, name, f'pod {name} is already assigned to node "{live["spec"]["nodeName"]}"')
        new = copy.deepcopy(live)
        new["spec"]["nodeName"] = node
        condition = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now()}
        new["status"].setdefault("conditions", []).append(condition)
        self.store.put(self.key(resource, namespace, name), new)

    # -- inside ------------------------------------------------------------------------------------------------------

    def _checked(self, resource, namespace, body, name=""):
        if not isinstance(body, dict):
            raise bad_request("the object provided is unrecognized (must be of type object)")
        for field, wanted in (("kind", resource.kind), ("apiVersion", resource.api_version)):
            if body.get(field, wanted) != wanted:
                text = f"{field} {body[field]} in the body does not match the expected {wanted} of the path"
                raise bad_request(text)
        new = copy.deepcopy(body)
        metadata = new.setdefault("metadata", {})
        if not isinstance(metadata, dict):
            raise bad_request("metadata must be an object")
        given = metadata.get("namespace")
        if resource.namespaced and given not in (None, "", namespace):
            text = (
                f"the namespace of the provided object does not match the namespace sent on the request ({namespace})"
            )
            raise bad_request(text)
        if name and metadata.setdefault("name", name) != name:
            text = f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            raise bad_request(text)
        return {**new, "apiVersion": resource.stored_version, "kind": resource.kind}

    def _validate(self, resource, new):
        name = new["metadata"]["name"]
        found = []
        if resource.schema is not None:
            found = list(problems({k: v for k, v in new.items() if k != "metadata"}, resource.schema))
        elif resource.kind == "Pod":
            found = _pod_problems(new)
        elif resource.kind == "CustomResourceDefinition":
            found = _crd_problems(new)
        if found:
            raise invalid(resource, name, found)

    def _write(self, resource, live, new, manager, *, part, dry, claimed=None):
        name = live["metadata"]["name"]
        new = _part_of(resource, live, new, part)
        _keep_identity(live, new)
        if resource.kind == "Pod" and part != "status" and _frozen(live["spec"]) != _frozen(new["spec"]):
            text = "Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
            raise invalid(resource, name, [("spec", text)])
        self._validate(resource, new)
        if "generation" in new["metadata"] and _said(new, resource.status) != _said(live, resource.status):
            new["metadata"]["generation"] += 1
        if claimed is not None:
            mine, taken = claimed
            _set_managed(new, manager, "Apply", mine, taken, part)
        elif changed := _changed(_leaves(resource, live), _leaves(resource, new), live, new):
            _set_managed(new, manager, "Update", changed, (), part, add=True)
        if _without_times(new) == _without_times(live):
            return live
        if dry:
            return new
        key = self.key(resource, live["metadata"].get("namespace", ""), name)
        kept = self.store.put(key, new)
        about = kept["metadata"]
        runs_out = about.get("deletionGracePeriodSeconds") if resource.kind == "Pod" else 0
        if "deletionTimestamp" in about and not about.get("finalizers") and not runs_out:
            return self._remove(resource, key)
        return kept

    def _apply(self, resource, namespace, name, config, manager, *, part, force, dry):
        if not manager:
            raise bad_request(
                "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value: is required for apply patch"
            )
        if (config.get("metadata") or {}).get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        live = self.store.objects.get(self.key(resource, namespace, name))
        if live is None:
            if part:
                raise not_found(resource, name)
            config = patches.merged(config, {"metadata": {"name": name}})
            return self.create(resource, namespace, config, manager, dry=dry, apply=True)
        shown = self.shown(resource, live)
        mine = {path for path in _leaves(resource, config) if (path[0] == "f:status") == (part == "status")}
        others, before = {}, set()
        for entry in live["metadata"].get("managedFields", ()):
            paths = set(patches.from_fields(entry["fieldsV1"]))
            if (entry["manager"], entry["operation"], entry.get("subresource", "")) == (manager, "Apply", part):
                before = paths
            else:
                others.setdefault(entry["manager"], set()).update(paths)
        clashes = [
            (who, path)
            for who, paths in others.items()
            for path in sorted(mine & paths)
            if _differs(shown, config, path)
        ]
        if clashes and not force:
            paths = ", ".join(f'"{who}": {_dotted(path)}' for who, path in clashes)
            many = "s" if len(clashes) > 1 else ""
            raise ApiError(
                409,
                "Conflict",
                f"Apply failed with {len(clashes)} conflict{many}: conflict with {paths}",
                {"causes": [{"reason": "FieldManagerConflict", "field": _dotted(path)} for _, path in clashes]},
            )
        new = copy.deepcopy(shown)
        for path in sorted(mine):
            patches.put(new, path, patches.at(config, path))
        for path in sorted(before - mine, reverse=True):
            if not any(path in paths for paths in others.values()):
                patches.drop(new, path)
        new = self._checked(resource, namespace, new, name)
        claimed = (mine, {path for _, path in clashes})
        return self._write(resource, live, new, manager, part=part, dry=dry, claimed=claimed)

    def _grace(self, resource, live, asked):
        if resource.kind != "Pod":
            return 0
        phase = (live.get("status") or {}).get("phase")
        if not live["spec"].get("nodeName") or phase in ("Succeeded", "Failed"):
            return 0
        return live["spec"]["terminationGracePeriodSeconds"] if asked is None else asked

    def _remove(self, resource, key):
        last = self.store.remove(key)
        uid = last["metadata"]["uid"]
        for kind in self.resources():
            for one in self.store.all(kind.group, kind.plural):
                metadata = one["metadata"]
                owned = any(owner.get("uid") == uid for owner in metadata.get("ownerReferences", ()))
                inside = resource.kind == "Namespace" and metadata.get("namespace") == key.name
                its = self.key(kind, metadata.get("namespace", ""), metadata["name"])
                if (owned or inside) and its in self.store.objects:
                    self.delete(kind, its.namespace, its.name, {"gracePeriodSeconds": 0} if inside else {})
        if resource.kind == "CustomResourceDefinition":
            for its in [one for one in self.store.objects if (one.group, one.plural) == _names(last)]:
                self.store.remove(its)
        return last


def _part_of(resource, live, new, part):
    """What of a write counts: status alone, or all but status, where that is a subresource."""
    if resource.status and part != "status":
        new.pop("status", None)
        if "status" in live:
            new["status"] = live["status"]
    elif part == "status":
        new = {**live, "status": new.get("status", {}), "metadata": new["metadata"]}
    return _normal(resource, new)


def _keep_identity(live, new):
    for field in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "namespace"):
        new["metadata"].pop(field, None)
        if field in live["metadata"]:
            new["metadata"][field] = live["metadata"][field]
    for field in ("resourceVersion", "managedFields", "generation"):
        new["metadata"].pop(field, None)
        if field in live["metadata"]:
            new["metadata"][field] = copy.deepcopy(live["metadata"][field])


def _names(definition):
    return definition["spec"]["group"], definition["spec"]["names"]["plural"]


def _normal(resource, new):
    """As it is kept: pruned, with what the kind itself fills in."""
    if resource.schema is not None:
        return pruned(new, resource.schema)
    if resource.kind == "Secret" and "stringData" in new:
        plain = new.pop("stringData") or {}
        new["data"] = {**new.get("data", {}), **{k: base64.b64encode(v.encode()).decode() for k, v in plain.items()}}
    if resource.kind == "Secret":
        new.setdefault("type", "Opaque")
    if resource.kind == "Namespace":
        new.setdefault("status", {"phase": "Active"})
    if resource.kind == "CustomResourceDefinition":
        conditions = [
            {"type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": now()}
            for kind, reason in (("NamesAccepted", "NoConflicts"), ("Established", "InitialNamesAccepted"))
        ]
        names = new.get("spec", {}).get("names", {})
        stored = [one["name"] for one in new.get("spec", {}).get("versions", ()) if one.get("storage")]
        new.setdefault("status", {"conditions": conditions, "acceptedNames": names, "storedVersions": stored})
    return new


def _pod_problems(pod):
    spec = pod.get("spec") or {}
    if not spec.get("containers"):
        return [("spec.containers", "Required value")]
    found = []
    for index, one in enumerate(spec["containers"]):
        found += [
            (f"spec.containers[{index}].{field}", "Required value") for field in ("name", "image") if not one.get(field)
        ]
    return found


def _crd_problems(definition):
    spec = definition.get("spec") or {}
    names = spec.get("names") or {}
    found = [(f"spec.{field}", "Required value") for field in ("group", "scope", "versions") if not spec.get(field)]
    found += [(f"spec.names.{field}", "Required value") for field in ("plural", "kind") if not names.get(field)]
    if found:
        return found
    if definition["metadata"]["name"] != f"{names['plural']}.{spec['group']}":
        found.append(("metadata.name", 'Invalid value: must be spec.names.plural+"."+spec.group'))
    if sum(bool(one.get("storage")) for one in spec["versions"]) != 1:
        found.append(("spec.versions", "Invalid value: must have exactly one version marked as storage version"))
    for index, version in enumerate(spec["versions"]):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        path = f"spec.versions[{index}].schema.openAPIV3Schema"
        found += [(path, "Required value")] if schema is None else list(broken_schema(schema, path))
    return found


def _frozen(spec):
    frozen = copy.deepcopy({name: spec.get(name) for name in _FROZEN})
    for container in (*(frozen["containers"] or ()), *(frozen["initContainers"] or ())):
        container.pop("image", None)
    return frozen


def _said(value, status):
    hidden = {"metadata", "status"} if status else {"metadata"}
    return {name: one for name, one in value.items() if name not in hidden}


def _leaves(resource, value):
    found = patches.leaves(value, keyed=resource.schema is None)
    return {
        path for path in found if path and (path[0] != "f:metadata" or (len(path) > 1 and path[1] in _MANAGED_METADATA))
    }


def _differs(live, config, path):
    try:
        return patches.at(live, path) != patches.at(config, path)
    except KeyError:
        return True


def _changed(before, after, live, new):
    return {path for path in after if path not in before or _differs(live, new, path)}


def _set_managed(new, manager, operation, paths, taken, part="", *, add=False):
    """Note who manages which fields; what a writer changes is taken from all others."""
    kept = []
    mine = set(paths)
    for entry in new["metadata"].get("managedFields", ()):
        had = set(patches.from_fields(entry["fieldsV1"]))
        if (entry["manager"], entry["operation"], entry.get("subresource", "")) == (manager, operation, part):
            mine |= had if add else set()
        else:
            had -= set(paths) if operation == "Update" else set(taken)
            if had:
                kept.append({**entry, "fieldsV1": patches.to_fields(had)})
    entry = {"manager": manager or "unknown", "operation": operation, "apiVersion": new["apiVersion"], "time": now()}
    entry |= {"fieldsType": "FieldsV1", "fieldsV1": patches.to_fields(mine)}
    if part:
        entry["subresource"] = part
    new["metadata"]["managedFields"] = [*kept, entry] if mine else kept


def _without_times(value):
    plain = copy.deepcopy(value)
    plain["metadata"].pop("resourceVersion", None)
    for entry in plain["metadata"].get("managedFields", ()):
        entry.pop("time")
    return json.dumps(plain, sort_keys=True)


def _dotted(path):
    return "".join(f".{part[2:]}" if part.startswith("f:") else f"[{part[2:]}]" for part in path)
