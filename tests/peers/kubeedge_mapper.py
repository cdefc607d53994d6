"""A mapper as people write them for KubeEdge: PyPI's paho over MQTT 3.1.1, KubeEdge's topics, nothing of ours.

python kubeedge_mapper.py HOST PORT DEVICE [USER PASSWORD]; it stands for a lamp that does what is expected of it.
Prints one line an event: ``up``, ``did <property> <value>``, ``result <event id> <code>``.
"""

import json
import sys
import time

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

PREFIX = "$hw/events/device/"


class Lamp:
    def __init__(self, device: str) -> None:
        self.device = device
        self.values = {"power": "0", "level": "1.5"}
        self.asked = 0

    def topic(self, rest: str) -> str:
        return f"{PREFIX}{self.device}/{rest}"

    def base(self) -> dict:
        self.asked += 1
        return {"event_id": f"lamp-{self.asked}", "timestamp": time.time_ns() // 1_000_000}

    def on_connect(self, client, _user, _flags, reason, _properties) -> None:
        if reason.is_failure:
            sys.exit(f"refused: {reason}")
        for rest in ("twin/update/delta", "twin/update/result", "twin/get/result", "state/update/result"):
            client.subscribe(self.topic(rest), qos=1)

    def on_subscribe(self, client, _user, mid, _codes, _properties) -> None:
        if mid != 4 and self.asked:
            return
        client.publish(self.topic("state/update"), json.dumps({**self.base(), "state": "online"}), qos=1)
        client.publish(self.topic("twin/get"), json.dumps(self.base()), qos=1)
        self.report(client, self.values)

    def on_message(self, client, _user, message) -> None:
        body = json.loads(message.payload)
        if message.topic.endswith("delta"):
            for name, value in body["delta"].items():
                self.values[name] = value
                say(f"did {name} {value}")
            self.report(client, body["delta"])
        elif message.topic.endswith("twin/get/result"):
            say("up")
        else:
            say(f"result {body['event_id']} {body.get('code', 0)}")

    def report(self, client, values: dict) -> None:
        twin = {name: {"actual": {"value": value}, "metadata": {"type": "Updated"}} for name, value in values.items()}
        client.publish(self.topic("twin/update"), json.dumps({**self.base(), "twin": twin}), qos=1)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    host, port, device, *login = sys.argv[1:]
    lamp = Lamp(device)
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "lamp-mapper", protocol=mqtt.MQTTv311)
    if login:
        client.username_pw_set(*login)
    client.on_connect = lamp.on_connect
    client.on_subscribe = lamp.on_subscribe
    client.on_message = lamp.on_message
    client.connect(host, int(port))
    client.loop_forever()


if __name__ == "__main__":
    main()
