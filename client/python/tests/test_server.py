"""The client against a real server: HEARTH_URL, HEARTH_EMAIL and HEARTH_PASSWORD name it and an account."""

import datetime
import os
import queue
import threading
import unittest

import hearth

URL = os.environ.get("HEARTH_URL", "")


@unittest.skipUnless(URL, "HEARTH_URL names no server")
class Server(unittest.TestCase):
    def setUp(self) -> None:
        # An access token lives for seconds here: the client renews it again and again.
        self.client = hearth.Client(URL, email=os.environ["HEARTH_EMAIL"], password=os.environ["HEARTH_PASSWORD"])

    def test_a_device_from_its_creation_to_its_end(self) -> None:
        client = self.client
        device = client.create_device(name="Python hall", type="thermostat", tags=["python"])
        self.assertEqual((device["connection"], device["organization_id"]), ("never", None))
        again = client.create_device(name="Python cellar", type="thermostat", tags=["python"], idempotency_key="python-cellar")
        replayed = client.create_device(name="Python cellar", type="thermostat", tags=["python"], idempotency_key="python-cellar")
        self.assertEqual(again["id"], replayed["id"])
        names = [d["name"] for d in client.all_devices(tag="python", sort="name", limit=1)]
        self.assertEqual(names, ["Python cellar", "Python hall"])
        changed = client.update_device(device["id"], name="Python attic", if_match='"%d"' % device["version"])
        self.assertEqual(changed["name"], "Python attic")
        with self.assertRaises(hearth.Refused) as caught:
            client.update_device(device["id"], name="late", if_match='"%d"' % device["version"])
        self.assertEqual((caught.exception.status, caught.exception.code), (412, "version_mismatch"))
        with self.assertRaises(hearth.Refused) as caught:
            client.create_device(name="", type="thermostat")
        self.assertEqual(caught.exception.fields[0]["location"], "body.name")
        self.assertIsNotNone(caught.exception.request_id)
        client.delete_device(device["id"])
        with self.assertRaises(hearth.Refused) as caught:
            client.get_device(device["id"])
        self.assertEqual(caught.exception.code, "not_found")

    def test_logs_are_written_and_counted(self) -> None:
        device = self.client.create_device(name="Python meter", type="meter")
        token = self.client.create_device_token(device["id"])["token"]
        refused = []
        start = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=10)
        writer = hearth.Client(URL, token=token).writer(size=100, refused=lambda log, error: refused.append(log["value"]))
        for i in range(250):
            writer.write(event="power", value="" if i == 120 else i, timestamp=start + datetime.timedelta(seconds=i))
        writer.flush()
        self.assertEqual(refused, [""])
        usage = self.client.device_usage(device["id"], range="1h", event="power", interval="hour")
        self.assertEqual((usage["summary"]["count"], usage["summary"]["max"]), (249, 249))
        self.assertEqual(len(list(self.client.all_logs(device["id"], limit=100))), 249)
        with self.assertRaises(hearth.Refused):
            writer.close()

    def test_events_are_followed_and_continued(self) -> None:
        device = self.client.create_device(name="Python lamp", type="lamp")
        events: "queue.Queue[hearth.LiveEvent]" = queue.Queue()
        stop, opened = threading.Event(), threading.Event()

        def follow() -> None:
            for event in self.client.follow(["device:" + device["id"]], stop=stop, opened=opened.set):
                events.put(event)
                if event.type == "device-log":
                    return

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        self.assertTrue(opened.wait(20))
        self.client.create_log(device["id"], event="switch", value=True)
        while (event := events.get(timeout=20)).type != "device-log":
            pass
        self.assertEqual(event.data["value"], True)
        thread.join(20)
        self.client.create_log(device["id"], event="switch", value=False)  # while no one listens
        missed = next(e for e in self.client.follow(["device:" + device["id"]], last_id=event.id) if e.type == "device-log")
        self.assertEqual(missed.data["value"], False)


if __name__ == "__main__":
    unittest.main()
