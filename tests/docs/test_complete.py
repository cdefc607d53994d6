"""Nothing that a user can meet is missing on the pages."""

from __future__ import annotations

import importlib
import importlib.util
import json
import pkgutil
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import typer.main
from pydantic import BaseModel

import cloudsync
import edgehub
import hardware
import mappers
import twin
from cloudsync.settings import FILE as CLOUD_FILE
from cloudsync.settings import CloudSettings
from cloudsync.settings import load_settings as load_cloud_settings
from edgehub.cli import COMMANDS, Entry, application
from edgehub.commands.session import ExitCode
from edgehub.settings import Settings, load_settings
from edgehub.settings import settings_keys as paths_of_settings
from hardware.board import BoardProfile, GpioLine, Partition, SerialPort, Storage, Watchdog
from hardware.provision.file import Cloud, Interface, Provisioning, Wifi
from mappers.ble.config import BleConnection, BleDevice, BleScan
from mappers.ble.point import BlePoint
from mappers.modbus.config import ModbusConnection, ModbusDevice
from mappers.modbus.point import ModbusPoint
from mappers.opcua.config import OpcuaConnection, OpcuaDevice, OpcuaPoint, OpcuaScan
from mappers.serialgpio.config import SerialgpioConnection, SerialgpioDevice, SerialgpioScan
from mappers.serialgpio.framing_config import FramingConfig
from mappers.serialgpio.point import SerialgpioPoint
from twin.errors import EdgetwinError
from twin.manifest.kinds import (
    ConnectionSpec,
    DeviceModelSpec,
    DeviceProperty,
    DeviceSpec,
    MapperSpec,
    Metadata,
    ModelProperty,
)
from twin.manifest.kinds import History as HistoryKeys
from twin.manifest.kinds import Report as ReportKeys
from twin.manifest.kube import ConfigMap, Container, ContainerPort, PodSpec, Probe, Secret, Volume, VolumeMount
from twin.manifest.kube_network import (
    Endpoint,
    EndpointAddress,
    Endpoints,
    EndpointSlice,
    ServicePort,
    ServiceSpec,
    Subset,
)
from twin.manifest.policies import (
    AlarmRuleSpec,
    CircuitBreaker,
    Degrade,
    HealthCheck,
    Instead,
    PolicySpec,
    RateLimit,
    Stale,
    TwinSelector,
)
from twin.manifest.pushes import BatchSize, Buffer, HttpPush, Influxdb2Push, MqttPush, OtelPush, PushSelector, PushSpec
from twin.manifest.routes import (
    BackendRef,
    Filter,
    HttpMatch,
    HttpRouteSpec,
    HttpRule,
    Mirror,
    Redirect,
    TcpRouteSpec,
    TlsRouteSpec,
)
from twin.manifest.traffic import (
    ConsistentHash,
    DestinationRuleSpec,
    IstioTrafficPolicy,
    LoadBalancer,
    Locality,
    Outlier,
)
from twin.manifest.workloads import (
    Capacity,
    DeploymentSpec,
    GatewaySpec,
    RollingUpdate,
    Selector,
    Strategy,
    Taint,
)
from twin.model import DEFAULT_NAMESPACE, Kind, Reason, TwinKey
from twin.wire import topics
from twin.wire.api import Verb

pytestmark = pytest.mark.fast


def settings_keys() -> Iterator[tuple[str, object]]:
    tree = Settings().model_dump(mode="json")
    for path in paths_of_settings():
        value = tree
        for step in path:
            value = value[step]
        yield ".".join(path), value


def test_every_setting_is_on_the_page_with_its_default(pages):
    page = pages["docs/operations.md"].text
    for path, default in settings_keys():
        row = re.search(rf"^\| `{re.escape(path)}` \| (.*?) \|", page, re.MULTILINE)
        assert row, path
        if default != "":
            assert row[1].strip("`") == str(default), path


def test_every_setting_of_a_cloud_is_on_the_page_with_its_default_and_no_other(pages, root):
    page = pages["docs/cloud.md"].text
    tree = CloudSettings().model_dump(mode="json")
    keys = list(CLOUD_FILE.keys())
    for path in keys:
        row = re.search(rf"^\| `{re.escape('.'.join(path))}` \| (.*?) \|", page, re.MULTILINE)
        assert row, path
        default = tree
        for step in path:
            default = default[step]
        if default != "":
            assert row[1].strip("`") == str(default), path
    sections = "|".join({path[0] for path in keys})
    shown = set(re.findall(rf"^\| `((?:{sections})(?:\.[\w.]+)?)` \|", page, re.MULTILINE))
    assert shown - {"web", "kube", "relay"} == {".".join(path) for path in keys}  # these are also names of processes
    loaded = load_cloud_settings(root / "docs/examples/edgetwin-cloud.yaml", {})
    assert loaded.settings == CloudSettings()
    text = (root / "docs/examples/edgetwin-cloud.yaml").read_text(encoding="utf-8")
    assert [path for path in keys if f"{path[-1]}:" not in text] == []


def test_no_setting_is_on_the_page_that_does_not_exist(pages):
    shown = set(
        re.findall(
            r"^\| `((?:gateway|broker|dialects|store|history|cloud|pods|kube_api|mesh|web|metrics|updates|log)"
            r"\.[\w.]+)`",
            pages["docs/operations.md"].text,
            re.MULTILINE,
        )
    )
    assert shown == {path for path, _ in settings_keys()}


def test_the_sample_settings_hold_every_key_with_its_default(root):
    loaded = load_settings(root / "docs/examples/edgetwin.yaml", {})
    assert loaded.settings == Settings()
    text = (root / "docs/examples/edgetwin.yaml").read_text(encoding="utf-8")
    assert [path for path, _ in settings_keys() if f"{path.rpartition('.')[2]}:" not in text] == []


def test_every_command_and_option_is_on_the_page(pages):
    page = pages["docs/cli.md"].text
    headings = set(re.findall(r"[a-z-]+", " ".join(re.findall(r"^## (.+)", page, re.MULTILINE))))
    assert headings == set(COMMANDS)
    subheadings = set(re.findall(r"^### (.+)", page, re.MULTILINE))
    assert subheadings == {f"{name} {inner}" for name, entry in COMMANDS.items() for inner in entry.commands}
    options = [
        (name, option)
        for name, command in leaf_commands()
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("--") and option != "--help"
    ]
    assert len(options) > 20
    assert [f"{name} {option}" for name, option in options if option not in page] == []


def test_every_exit_code_is_on_the_page_and_in_the_code(pages):
    shown = re.findall(r"^\| (\d) \|", pages["docs/operations.md"].text, re.MULTILINE)
    assert [int(code) for code in shown] == [code.value for code in ExitCode]


def test_every_error_code_is_on_the_page_and_no_other(pages):
    import_everything()
    codes = {cls.code for cls in with_children(EdgetwinError) if cls.__module__.partition(".")[0] in OURS}
    table = pages["docs/errors.md"].text.partition("## Reasons")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == codes


def test_every_code_of_the_doctor_is_on_the_page_and_no_other(pages, root):
    source = (root / "hardware/doctor/checks.py").read_text(encoding="utf-8")
    codes = set(re.findall(r'Finding\(\s*"(\w+)"', source)) | {"broker", "broker_down", "cloud", "cloud_away"}
    table = pages["docs/hardware.md"].text.partition("## Doctor")[2]
    rows = re.findall(r"^\| (`.*?`) \| (?:ok|warning|error)", table, re.MULTILINE)
    assert {code for row in rows for code in re.findall(r"`(\w+)`", row)} == codes


def test_every_reason_of_quality_is_on_the_page_and_no_other(pages):
    table = pages["docs/errors.md"].text.partition("## Reasons")[2]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == {reason.value for reason in Reason if reason}


def test_every_topic_is_on_the_page(pages):
    page = pages["docs/wire.md"].text
    shown = set(re.findall(r"^\| `(et/1/[^`]+)` \|", page, re.MULTILINE))
    key = TwinKey(Kind.DEVICE, DEFAULT_NAMESPACE, "x")
    made = {
        topics.report("<reporter>", key).replace(str(key), "<kind>/<namespace>/<name>"),
        topics.delta(key).replace(str(key), "<kind>/<namespace>/<name>"),
        topics.ack("<reporter>"),
        topics.mapper_config("<account>"),
        topics.mapper_state("<account>"),
        topics.alert("<namespace>", "<subject>", "<rule>"),
        topics.mesh_endpoints("<gateway>"),
        topics.mesh_votes("<gateway>"),
        topics.request("<verb>"),
        topics.reply("<account>", "<client>"),
        topics.sync_up("<gateway>"),
        topics.sync_down("<gateway>"),
        topics.sync_state("<gateway>"),
        topics.cloud_request("<verb>", "<account>"),
        topics.worker("<what>"),
    }
    assert shown == made
    in_module = set(re.findall(r"^    (et/1/\S+)", topics.__doc__ or "", re.MULTILINE))
    assert shown == in_module
    assert [verb.value for verb in Verb if f"\n## {verb}\n" not in page] == []
    assert [kind.value for kind in Kind if f"`{kind}`" not in page] == []


def test_every_message_has_an_example_and_a_schema(pages, schemas):
    shown = {word for block in pages["docs/wire.md"].blocks for word in block.words[1:]}
    assert {model.__name__ for model in schemas.MESSAGES} - shown == set()


def test_every_message_of_the_wire_has_a_schema(schemas):
    from twin import release
    from twin.wire import api, cloud_api, enrolment, mesh, messages, peers, push, sync_bodies

    defined = {
        name
        for module in (api, cloud_api, enrolment, mesh, messages, peers, push, release, sync_bodies)
        for name, one in vars(module).items()
        if isinstance(one, type) and issubclass(one, messages.Wire) and one is not messages.Wire
    }
    parts = {"Mark", "ErrorBody", "RefusedReport", "DesiredValue", "LeafBody", "TwinBody", "SlotBody", "DocumentSource"}
    parts |= {"DocumentChange", "ChildStatus", "ConnectionStatus", "ReadingBody", "GapBody", "SpecBody"}
    parts |= {"RefusedTwin", "GatewayBody", "AuditBody", "CloudPodBody", "CloudDeploymentBody"}
    parts |= {"ConditionBody", "RoutePort", "RouteEndpoint", "RouteRates", "TrafficBody", "CallBody", "CheckBody"}
    parts |= {
        "SyncBody",
        "StandingBody",
        "RowsBody",
        "TwinRowsBody",
        "RefBody",
        "DocumentStateBody",
        "DocumentRowBody",
        "SeriesBody",
    }
    parts |= {"MeshPort", "MeshEndpoint", "MeshOffer", "MeshVote", "Told"}
    assert defined - parts - {model.__name__ for model in schemas.MESSAGES} == set()


def test_the_schema_files_are_what_the_models_give(root, schemas):
    found = {path.name: path.read_text(encoding="utf-8") for path in (root / "docs/schemas").glob("*.json")}
    wanted = {name: schemas.text_of(schema) for name, schema in schemas.schemas().items()}
    assert found == wanted, "run .venv/bin/python tools/schemas.py"
    assert all(json.loads(text) for text in found.values())


@pytest.mark.parametrize(
    ("page", "models"),
    [
        (
            "docs/documents.md",
            (
                Metadata,
                DeviceModelSpec,
                ModelProperty,
                ReportKeys,
                HistoryKeys,
                DeviceSpec,
                DeviceProperty,
                ConnectionSpec,
                MapperSpec,
            ),
        ),
        ("docs/workloads.md", (DeploymentSpec, GatewaySpec, Taint, Capacity, Strategy, RollingUpdate, Selector)),
        ("docs/pods.md", (PodSpec, Container, Volume, Probe, VolumeMount, ContainerPort, ConfigMap, Secret)),
        ("docs/services.md", (ServiceSpec, ServicePort, EndpointSlice, Endpoint, Endpoints, Subset, EndpointAddress)),
        (
            "docs/hardware.md",
            (BoardProfile, Partition, SerialPort, GpioLine, Watchdog, Storage, Provisioning, Interface, Wifi, Cloud),
        ),
        (
            "docs/mesh-documents.md",
            (
                *(HttpRouteSpec, TlsRouteSpec, TcpRouteSpec, HttpRule, HttpMatch, Filter, BackendRef, Redirect, Mirror),
                *(DestinationRuleSpec, IstioTrafficPolicy, LoadBalancer, ConsistentHash, Locality, Outlier),
                *(PolicySpec, CircuitBreaker, RateLimit, HealthCheck, Degrade, Instead, Stale),
            ),
        ),
        ("docs/alarms.md", (AlarmRuleSpec, TwinSelector)),
        (
            "docs/pushes.md",
            (PushSpec, PushSelector, Buffer, BatchSize, HttpPush, MqttPush, Influxdb2Push, OtelPush),
        ),
        ("docs/modbus.md", (ModbusConnection, ModbusDevice, ModbusPoint)),
        ("docs/ble.md", (BleConnection, BleDevice, BlePoint, BleScan)),
        ("docs/opcua.md", (OpcuaConnection, OpcuaDevice, OpcuaPoint, OpcuaScan)),
        (
            "docs/serialgpio.md",
            (SerialgpioConnection, SerialgpioDevice, SerialgpioPoint, SerialgpioScan, FramingConfig),
        ),
    ],
)
def test_every_key_of_documents_and_mappers_is_on_the_page(pages, page, models):
    text = pages[page].text
    assert [f"{model.__name__}.{key}" for model in models for key in keys_of(model) if f"`{key}`" not in text] == []


OURS = ("twin", "mappers", "edgehub", "cloudsync", "hardware")


@pytest.fixture(scope="module")
def schemas(root):
    spec = importlib.util.spec_from_file_location("schemas", root / "tools/schemas.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def leaf_commands() -> Iterator[tuple[str, Any]]:
    for words in leaf_words(COMMANDS, ()):
        command: Any = typer.main.get_command(application(words))
        for word in words:
            command = command.commands[word]
        yield " ".join(words), command


def leaf_words(commands: Mapping[str, Entry], above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, entry in commands.items():
        if entry.commands:
            yield from leaf_words(entry.commands, (*above, name))
        else:
            yield (*above, name)


def import_everything() -> None:
    for package in (twin, mappers, edgehub, cloudsync, hardware):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def with_children(cls: type[EdgetwinError]) -> Iterator[type[EdgetwinError]]:
    yield cls
    for child in cls.__subclasses__():
        yield from with_children(child)


def keys_of(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]
