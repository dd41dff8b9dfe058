"""Makes a device, reports values of it, watches it live, and sums it up.

HEARTH_URL=http://127.0.0.1:8080 HEARTH_EMAIL=… HEARTH_PASSWORD=… python3 examples/kitchen.py
"""

import os

import hearth

client = hearth.Client(os.environ["HEARTH_URL"], email=os.environ["HEARTH_EMAIL"], password=os.environ["HEARTH_PASSWORD"])
device = client.create_device(name="Kitchen", type="thermostat", tags=["example"])
channel = "device:" + device["id"]


def report() -> None:
    """Reports ten values; a real program would measure them."""
    with client.writer() as writer:
        for i in range(10):
            writer.write(device_id=device["id"], event="temperature", value=20 + i / 10)


for event in client.follow([channel], opened=report):
    if event.type == "device-log" and event.data["value"] == 20.9:
        break

summary = client.device_usage(device["id"], range="1h", event="temperature", interval="hour")["summary"]
print("%d values, %.1f on average" % (summary["count"], summary["average"]))
client.delete_device(device["id"])
