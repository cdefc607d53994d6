"""What a gateway is put together from: the parts that are there before anything of it is served."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from edgehub.alarms import Alarms
from edgehub.cloud_keys import CloudKeys
from edgehub.documents import Documents
from edgehub.kubeapi.home import KubeApi
from edgehub.local_broker import BrokerAccess
from edgehub.mesh.home import Mesh
from edgehub.pods.home import Pods
from edgehub.push.door import PushDoor
from twin.engine import TwinEngine
from twin.link.mqtt import MqttLink
from twin.sqlite_drain import SqliteDrain
from twin.sqlite_history import SqliteHistory


@dataclass(frozen=True, slots=True)
class Parts:
    """All of them run."""

    engine: TwinEngine
    history: SqliteHistory
    drain: SqliteDrain
    alarms: Alarms
    link: MqttLink
    documents: Documents
    access: BrokerAccess
    executor: ThreadPoolExecutor
    keys: CloudKeys
    pods: Pods
    kube: KubeApi
    mesh: Mesh
    pushes: PushDoor
