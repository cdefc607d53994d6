"""The export of metrics between real sockets. The collector is a double: it decodes with opentelemetry-proto."""

import asyncio
import json
import random
import sys
from contextlib import asynccontextmanager

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from pydantic import ValidationError
from typer.testing import CliRunner

from edgehub.app import Gateway
from edgehub.cli import application
from edgehub.commands.metrics import instance_of
from edgehub.export.exporter import Exporter, url_of
from edgehub.export.rounds import News, Round, Told
from edgehub.export.setup import ExportSetup, SourceSetup
from edgehub.push.target import DELIVERED, Later, Refused
from edgehub.settings import Settings
from edgehub.state import StateFolder
from tests.edgehub.push.collectors import Collected
from tests.edgehub.push.servers import moody_server
from tests.edgehub.push.site import until
from twin.clock import SystemClock
from twin.link.backoff import Backoff

EVERY_S = 0.05


class Endpoint:
    """What a process of ours would say: one counter."""

    def __init__(self):
        self.value = 100

    def take(self, request):
        text = f"# TYPE edgetwin_reports_total counter\nedgetwin_reports_total {self.value}\n"
        return 200, {"Content-Type": "text/plain"}, text.encode()


class Place:
    """An endpoint, a collector, and an export between them."""

    def __init__(self, source, moody, collected, endpoint):
        self.source, self.moody, self.collected, self.endpoint = source, moody, collected, endpoint
        self.rounds = []
        self.retries = []

    def exporter(self, **more):
        url = f"http://127.0.0.1:{self.source.port}/metrics"
        said = {"sources": (SourceSetup(url=url, instance="hall-7"),), "url": self.collector, "every_s": EVERY_S}
        backoff = Backoff(EVERY_S, EVERY_S, random.Random(1))
        setup = ExportSetup.model_validate({**said, **more})
        return Exporter(setup, clock=SystemClock(), backoff=backoff, tell=self.rounds.append)

    @property
    def collector(self):
        return f"http://127.0.0.1:{self.moody.port}"

    def points(self):
        return [
            point
            for request in self.collected.requests
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.sum.data_points
        ]

    def reasons(self):
        return [one.outcome.why for one in self.rounds if one.outcome != DELIVERED]


@asynccontextmanager
async def place():
    collected, endpoint = Collected(), Endpoint()
    async with moody_server() as source, moody_server() as moody:
        source.answer, moody.answer = endpoint.take, collected.take
        yield Place(source, moody, collected, endpoint)


@asynccontextmanager
async def running(exporter):
    task = asyncio.create_task(exporter.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_what_an_endpoint_says_reaches_the_collector_with_headers_and_token_that_the_endpoint_does_not_get(
    tmp_path,
):
    token = tmp_path / "token"
    token.write_text("not-a-secret\n")
    async with place() as here:
        exporter = here.exporter(headers={"X-Plant": "north"}, token_file=str(token))
        assert (await exporter.once()).whole
        here.endpoint.value = 130
        token.write_text("another\n")
        done = await exporter.once()
    assert (done.points, done.silent, done.outcome) == (1, (), DELIVERED)
    assert [one.as_double for one in here.points()] == [100, 130]
    assert len({one.start_time_unix_nano for one in here.points()}) == 1
    assert [one.headers["authorization"] for one in here.moody.requests] == ["Bearer not-a-secret", "Bearer another"]
    assert here.moody.requests[0].headers["x-plant"] == "north"
    assert not {"authorization", "x-plant"} & here.source.requests[0].headers.keys()


async def test_moods_of_the_collector_cost_a_snapshot_and_the_next_one_goes():
    async with place() as here:
        here.moody.moods.extend([(500, {}, b"oh"), "hang", "cut", (429, {"Retry-After": "0"}, b""), (503, {}, b"")])
        async with running(here.exporter(timeout_s=0.3)):
            await until(lambda: len(here.points()) >= 2)
    reasons = here.reasons()
    assert [reasons[0], reasons[1], *reasons[3:]] == ["HTTP 500: oh", "no answer within 0.3 s", "HTTP 429", "HTTP 503"]
    first, second = here.points()[:2]
    assert first.start_time_unix_nano == first.time_unix_nano == second.start_time_unix_nano


async def test_a_collector_that_says_when_is_not_asked_before():
    async with place() as here:
        here.moody.moods.append((429, {"Retry-After": "1"}, b"slow down"))
        loop = asyncio.get_running_loop()
        async with running(here.exporter()):
            await until(lambda: here.rounds)
            began_s = loop.time()
            await until(here.points)
    assert loop.time() - began_s > 0.9
    assert here.rounds[0].outcome == Later("HTTP 429: slow down", after_s=1.0)


async def test_a_collector_that_was_away_and_comes_back_gets_how_it_is_then(free_port):
    collected, port = Collected(), free_port()
    async with place() as here, running(here.exporter(url=f"http://127.0.0.1:{port}")):
        await until(lambda: len(here.rounds) >= 3)
        here.endpoint.value = 250
        async with moody_server(port) as back:
            back.answer = collected.take
            await until(lambda: collected.requests)
    here.collected = collected
    assert here.points()[0].as_double == 250
    assert all(isinstance(one.outcome, Later) and not one.points for one in here.rounds[:3])


async def test_a_counter_that_fell_began_after_the_last_scrape():
    async with place() as here:
        exporter = here.exporter()
        for value in (100, 110, 4, 9):
            here.endpoint.value = value
            await exporter.once()
    first, second, third, fourth = here.points()
    assert second.start_time_unix_nano == first.start_time_unix_nano
    assert third.start_time_unix_nano == fourth.start_time_unix_nano == second.time_unix_nano + 1


async def test_a_counter_that_fell_while_no_collector_took_it_is_seen_all_the_same():
    async with place() as here:
        exporter = here.exporter()
        await exporter.once()
        here.moody.moods.append((500, {}, b""))
        here.endpoint.value = 4
        await exporter.once()
        here.endpoint.value = 300
        await exporter.once()
    first, second = here.points()
    assert second.start_time_unix_nano > first.time_unix_nano


async def test_an_endpoint_that_is_silent_or_damaged_keeps_no_other_back():
    async with place() as here, moody_server() as bad:
        bad.moods.extend([(401, {}, b""), (200, {}, b"<html>"), "cut"])
        good = SourceSetup(url=f"http://127.0.0.1:{here.source.port}/metrics", instance="hall-7")
        url = f"http://127.0.0.1:{bad.port}/metrics"
        exporter = here.exporter(sources=(good, SourceSetup(url=url, instance="other")))
        done = [await exporter.once() for _ in range(3)]
    assert len(here.points()) == 3
    assert [one.silent[0][0] for one in done] == [url] * 3
    assert done[0].silent[0][1] == "HTTP 401"
    assert "no text for Prometheus" in done[1].silent[0][1]
    assert not any(one.whole for one in done)


async def test_points_that_the_collector_rejects_are_told_and_the_others_count_as_sent():
    async with place() as here:
        reply = ExportMetricsServiceResponse()
        reply.partial_success.rejected_data_points = 1
        reply.partial_success.error_message = "too old"
        here.moody.moods.append((200, {}, reply.SerializeToString()))
        done = await here.exporter().once()
    assert (done.outcome, done.points) == (Refused("too old"), 0)


async def test_a_token_that_is_not_there_is_told_and_tried_again(tmp_path):
    token = tmp_path / "token"
    async with place() as here, running(here.exporter(token_file=str(token))):
        await until(lambda: here.rounds)
        token.write_text("t")
        await until(here.points)
    assert str(token) in here.rounds[0].outcome.why


async def test_what_cannot_be_asked_or_said_is_told_and_ends_nothing(tmp_path):
    token = tmp_path / "token"
    token.write_text("\N{SNOWMAN}")
    async with place() as here, moody_server() as endless:
        endless.always = (200, {}, b"#" * 17 * 1024 * 1024)
        for more in (
            {"url": "http://a b:4318"},
            {"headers": {"not a name": "x"}},
            {"token_file": str(token)},
            {"ca": str(token)},
            {"sources": (SourceSetup(url="http://a b/metrics", instance="x"),)},
            {"sources": (SourceSetup(url=f"http://127.0.0.1:{endless.port}/metrics", instance="x"),)},
        ):
            done = await here.exporter(**more).once()
            assert isinstance(done.outcome, Later), more
            assert done.outcome.why
    assert done.silent[0][1] == "its answer is longer than 16777216 bytes"
    assert here.points() == []


def test_a_failure_is_told_once_and_its_end_once():
    told = Told(["http://a"], "http://c")
    failed = Round(1, 0, (), Later("away"))
    silent = Round(1, 1, (("http://a", "HTTP 401"),), DELIVERED)
    assert told.news(failed) == [News("http://a", ""), News("http://c", "away")]
    assert told.news(failed) == []
    assert told.news(silent) == [News("http://a", "HTTP 401"), News("http://c", "")]
    assert told.news(Round(1, 1, (), DELIVERED)) == [News("http://a", "")]


def test_an_instance_has_a_name_that_no_other_machine_has():
    urls = ("http://127.0.0.1:9464/metrics", "https://[::1]/metrics", "http://gw-2:9464/metrics")
    assert [instance_of(one, "hall-7") for one in urls] == ["hall-7:9464", "hall-7:443", "gw-2:9464"]
    assert url_of("http://c:4318/") == url_of("http://c:4318/v1/metrics") == "http://c:4318/v1/metrics"


async def test_the_command_sends_once_and_says_so():
    async with place() as here:
        here.moody.moods.extend([None, (500, {}, b"oh")])
        words = ("--from", f"http://127.0.0.1:{here.source.port}/metrics", "--to", here.collector, "--once", "--json")
        runs = []
        for _ in range(2):
            code = "from edgehub.cli import main; main()"
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", code, "metrics", "export", *words), stdout=asyncio.subprocess.PIPE
            )
            out, _ = await child.communicate()
            runs.append((child.returncode, json.loads(out)))
    (done, first), (failed, second) = runs
    assert (done, first["sent"], first["points"]) == (0, True, 1)
    assert (failed, second["sent"], second["why"]) == (1, False, "HTTP 500: oh")
    assert len(here.points()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from", "9464"], "--from"),
        (["--from", "http://a/metrics", "--every", "10ms"], "--every"),
        (["--from", "http://a/metrics", "--header", "x"], "--header"),
        (["--from", "http://a/metrics", "--from", "http://b/metrics", "--instance", "x"], "--instance"),
    ],
)
def test_words_that_are_wrong_are_refused_by_the_command(words, said):
    result = CliRunner().invoke(application(("metrics", "export")), ["metrics", "export", "--to", "http://c", *words])
    assert result.exit_code == 2
    assert said in result.output


def test_settings_that_cannot_be_exported_are_refused():
    url = {"url": "http://collector:4318"}
    good = {"listen": "127.0.0.1:9464", "otlp": url}
    assert Settings.model_validate({"metrics": good}).metrics.otlp.every_s == 30
    for said in (
        {"otlp": url},
        {"listen": "0.0.0.0:9464", "certfile": "/a", "keyfile": "/b", "otlp": url},
        {"listen": "127.0.0.1:9464", "certfile": "/a", "keyfile": "/b", "otlp": url},
        {"listen": "127.0.0.1:9464", "otlp": {"url": "collector:4318"}},
        {"listen": "127.0.0.1:9464", "otlp": {**url, "every": "10ms"}},
        {"listen": "127.0.0.1:9464", "otlp": {**url, "token_file": "token"}},
        {"listen": "127.0.0.1:9464", "otlp": {**url, "headers": {"a": "b\nc"}}},
    ):
        with pytest.raises(ValidationError):
            Settings.model_validate({"metrics": said})


async def test_a_gateway_sends_its_metrics_by_a_child_of_its_own(tmp_path, free_port):
    collected = Collected()
    async with moody_server() as moody:
        moody.answer = collected.take
        otlp = {"url": f"http://127.0.0.1:{moody.port}", "every": "1s", "headers": {"X-Plant": "north"}}
        said = {"gateway": {"name": "hall-7"}, "broker": {"port": free_port()}, "web": {"listen": ""}}
        made = Settings.model_validate({**said, "metrics": {"listen": f"127.0.0.1:{free_port()}", "otlp": otlp}})
        folder = StateFolder(tmp_path / "state")
        async with Gateway.running(made, folder, clock=SystemClock(), rng=random.Random(1)) as gateway:
            await until(lambda: collected.requests)
            children = {one.name for one in gateway.status.reply().children}
    (resource,) = collected.requests[0].resource_metrics
    attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert attributes["service.instance.id"] == "hall-7"
    assert attributes["service.version"]
    names = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    assert names["edgetwin_commit_seconds"].histogram.data_points
    assert names["edgetwin_reports_total"].sum.is_monotonic
    assert names["edgetwin_twins"].gauge.data_points
    assert "otlp" in children
    assert moody.requests[0].headers["x-plant"] == "north"
