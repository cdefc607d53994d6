"""What the server serves: the built-in resources, and those that CRDs add."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Resource:
    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    status: bool = False
    """Whether status is a subresource."""
    short: tuple[str, ...] = ()
    schema: dict | None = None
    """Of a custom resource."""
    stored: str = ""
    """The version that is kept, if it is another."""
    subresources: tuple[str, ...] = field(default=())

    @property
    def api_version(self):
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def stored_version(self):
        version = self.stored or self.version
        return f"{self.group}/{version}" if self.group else version


BUILT_IN = (
    Resource("", "v1", "namespaces", "Namespace", namespaced=False, status=True, short=("ns",)),
    Resource("", "v1", "nodes", "Node", namespaced=False, status=True, short=("no",)),
    Resource("", "v1", "pods", "Pod", status=True, short=("po",), subresources=("binding",)),
    Resource("", "v1", "configmaps", "ConfigMap", short=("cm",)),
    Resource("", "v1", "secrets", "Secret"),
    Resource("", "v1", "services", "Service", status=True, short=("svc",)),
    Resource("", "v1", "events", "Event", short=("ev",)),
    Resource("", "v1", "serviceaccounts", "ServiceAccount", short=("sa",)),
    Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
    Resource("coordination.k8s.io", "v1", "leases", "Lease"),
    Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False),
    Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    Resource("rbac.authorization.k8s.io", "v1", "roles", "Role"),
    Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"),
    Resource("apps", "v1", "deployments", "Deployment", status=True, short=("deploy",)),
    Resource(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        namespaced=False,
        status=True,
        short=("crd", "crds"),
    ),
)


def custom(definition):
    """The resources of a CRD, one for each version that is served."""
    spec = definition["spec"]
    names = spec["names"]
    stored = next(one["name"] for one in spec["versions"] if one.get("storage"))
    for version in spec["versions"]:
        if version.get("served"):
            yield Resource(
                spec["group"],
                version["name"],
                names["plural"],
                names["kind"],
                namespaced=spec.get("scope") == "Namespaced",
                status="status" in (version.get("subresources") or {}),
                short=tuple(names.get("shortNames", ())),
                schema=version["schema"]["openAPIV3Schema"],
                stored=stored,
            )
