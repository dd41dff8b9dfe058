"""A device that uses Debian's paho-mqtt: it reports a value, takes on the desired state and answers commands."""

import json
import os

import paho.mqtt.client as mqtt


def connected(client, _userdata, flags, code):
    print("connected", code, flags["session present"], flush=True)
    if not flags["session present"]:
        client.subscribe([("c", 1), ("d", 1)])
        client.publish("t", '{"temperature":21.5}', qos=1)


def received(client, _userdata, message):
    content = json.loads(message.payload)
    if message.topic == "c":
        result = json.dumps({"ok": True, "result": content["params"]})
        client.publish("c/" + content["id"], result, qos=1)
    elif "power" in content:
        client.publish("r", message.payload, qos=1)


device = mqtt.Client("lamp", clean_session=False)
device.username_pw_set(os.environ["TOKEN"])
device.on_connect, device.on_message = connected, received
device.reconnect_delay_set(1, 1)
host, port = os.environ["BROKER"].split("//")[1].split(":")
device.connect(host, int(port), keepalive=30)
device.loop_forever(retry_first_connection=True)
