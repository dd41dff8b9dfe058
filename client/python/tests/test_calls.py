"""The calls against a server that answers as a script says."""

import http.server
import json
import threading
import unittest
from typing import Any, Callable, List, Tuple

import hearth

DEVICE = {"id": "d", "name": "Kitchen"}


class Scripted:
    """A server whose answers a function makes: (method, path, headers, body) -> (status, headers, body)."""

    def __init__(self, answer: Callable[..., Tuple[int, dict, Any]]):
        self.requests: List[Tuple[str, str, Any, Any]] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = (self.command, self.path, self.headers, json.loads(body) if body else None)
                outer.requests.append(request)
                status, headers, content = answer(*request)
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_DELETE = handle_any

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> "Scripted":
        return self

    def __exit__(self, *_: Any) -> None:
        self.server.shutdown()
        self.server.server_close()


def problem(status: int, code: str, errors: Any = None, **headers: str) -> Tuple[int, dict, Any]:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, {"Content-Type": "application/problem+json", **headers}, {"code": code, "detail": "no", "errors": errors}


class Calls(unittest.TestCase):
    def test_a_creation_is_repeated_under_one_key(self) -> None:
        answers = [problem(503, "unavailable"), (201, {}, DEVICE)]
        with Scripted(lambda *_: answers.pop(0)) as server:
            device = hearth.Client(server.url, token="hk_test").create_device(name="Kitchen", type="thermostat", serial=None)
        self.assertEqual(device["id"], "d")
        keys = {headers["Idempotency-Key"] for _, _, headers, _ in server.requests}
        self.assertEqual((len(keys), len(server.requests)), (1, 2))
        self.assertEqual(server.requests[1][3], {"name": "Kitchen", "type": "thermostat", "serial": None})

    def test_what_is_not_safe_is_not_repeated(self) -> None:
        with Scripted(lambda *_: problem(503, "unavailable")) as server:
            with self.assertRaises(hearth.Refused) as caught:
                hearth.Client(server.url, token="hk_test").delete_device("a/b")
        self.assertEqual((caught.exception.code, len(server.requests), server.requests[0][1]), ("unavailable", 1, "/api/v1/devices/a%2Fb"))

    def test_retry_after_is_honoured_within_the_bound(self) -> None:
        answers = [problem(429, "rate_limited", Retry_After="1"), (204, {}, b""), problem(429, "account_locked", Retry_After="900")]
        with Scripted(lambda *_: answers.pop(0)) as server:
            client = hearth.Client(server.url, token="hk_test")
            client.delete_device("d")
            with self.assertRaises(hearth.Refused) as caught:
                client.delete_device("d")
        self.assertEqual((caught.exception.retry_after, len(server.requests)), (900, 3))

    def test_errors_name_what_is_wrong(self) -> None:
        wrong = [{"location": "body.name", "message": "is required"}]
        with Scripted(lambda *_: problem(422, "validation_failed", wrong, X_Request_ID="r-1")) as server:
            with self.assertRaises(hearth.Refused) as caught:
                hearth.Client(server.url, token="hk_test").create_device(name="", type="x")
        self.assertEqual(str(caught.exception), "422 validation_failed: no; body.name: is required (request r-1)")

    def test_a_server_that_is_away_is_unreachable(self) -> None:
        with Scripted(lambda *_: (200, {}, {})) as server:
            pass
        with self.assertRaises(hearth.Unreachable):
            hearth.Client(server.url, token="hk_test", attempts=2).get_me()

    def test_many_threads_renew_a_session_once(self) -> None:
        counts = {"login": 0, "refresh": 0}
        lock = threading.Lock()

        def answer(method: str, path: str, headers: Any, body: Any) -> Tuple[int, dict, Any]:
            with lock:
                if path.startswith("/api/v1/auth/"):
                    counts[path.rsplit("/", 1)[1]] += 1
                current = counts["login"] + counts["refresh"]
                if path.startswith("/api/v1/auth/"):
                    return 200, {}, {"access_token": "a%d" % current, "refresh_token": "r%d" % current, "expires_in": 900}
                if headers["Authorization"] != "Bearer a%d" % current:
                    return problem(401, "token_expired")
                return 200, {}, {"id": "ann"}

        with Scripted(answer) as server:
            client = hearth.Client(server.url, email="ann@example.com", password="a long enough secret")

            def many() -> None:
                threads = [threading.Thread(target=client.get_me) for _ in range(20)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()

            many()
            self.assertEqual(counts, {"login": 1, "refresh": 0})
            counts["refresh"] += 100
            many()
            self.assertEqual(counts, {"login": 1, "refresh": 101})

    def test_a_wrong_password_in_a_body_renews_nothing(self) -> None:
        paths: List[str] = []

        def answer(method: str, path: str, headers: Any, body: Any) -> Tuple[int, dict, Any]:
            paths.append(path)
            if path.endswith("/login"):
                return 200, {}, {"access_token": "a", "refresh_token": "r", "expires_in": 900}
            return problem(401, "invalid_credentials")

        with Scripted(answer) as server:
            client = hearth.Client(server.url, email="ann@example.com", password="a long enough secret")
            with self.assertRaises(hearth.Refused):
                client.change_password(current_password="wrong", new_password="another long secret")
        self.assertEqual(paths, ["/api/v1/auth/login", "/api/v1/auth/password"])

    def test_a_list_is_read_to_its_end(self) -> None:
        pages = {"/api/v1/devices?limit=2&count=false": ([1, 2], "c&d"), "/api/v1/devices?cursor=c%26d&limit=2": ([3], None)}

        def answer(method: str, path: str, headers: Any, body: Any) -> Tuple[int, dict, Any]:
            items, cursor = next(page for query, page in pages.items() if ("cursor" in query) == ("cursor" in path))
            return 200, {}, {"items": [{"id": item} for item in items], "next_cursor": cursor}

        with Scripted(answer) as server:
            ids = [device["id"] for device in hearth.Client(server.url, token="hk_test").all_devices(limit=2)]
        self.assertEqual(ids, [1, 2, 3])
        self.assertEqual(server.requests[1][1], "/api/v1/devices?cursor=c%26d&limit=2")

    def test_a_writer_stores_every_log_once(self) -> None:
        stored: List[str] = []
        keys = set()
        away = [1]

        def answer(method: str, path: str, headers: Any, body: Any) -> Tuple[int, dict, Any]:
            for index, log in enumerate(body):
                if log["event"] == "bad":
                    return problem(422, "validation_failed", [{"location": "body[%d].value" % index, "message": "is wrong"}])
            if headers["Idempotency-Key"] not in keys:
                keys.add(headers["Idempotency-Key"])
                stored.extend(log["event"] for log in body)
            if away:  # stored, but the answer is lost
                away.pop()
                return problem(503, "unavailable")
            return 201, {}, {"accepted": len(body)}

        refused: List[str] = []
        with Scripted(answer) as server:
            client = hearth.Client(server.url, token="hd_test", attempts=1)
            writer = client.writer(size=10, delay=3600, refused=lambda log, error: refused.append(log["event"]))
            events = ["bad" if i == 13 else "e%d" % i for i in range(25)]
            for event in events:
                writer.write(event=event, value=1)
            writer.flush()
            with self.assertRaises(hearth.Refused):
                writer.close()
        self.assertEqual(stored, [event for event in events if event != "bad"])
        self.assertEqual((refused, writer.refused_count), (["bad"], 1))
        with self.assertRaises(ValueError):
            writer.write(event="late", value=1)

    def test_a_full_writer_waits(self) -> None:
        held = threading.Event()

        def answer(*_: Any) -> Tuple[int, dict, Any]:
            held.wait()
            return 201, {}, {"accepted": 1}

        with Scripted(answer) as server:
            writer = hearth.Client(server.url, token="hd_test").writer(size=1, pending=2)
            with self.assertRaises(TimeoutError):
                for _ in range(4):
                    writer.write(event="e", value=1, timeout=0.3)
            held.set()
            writer.close()

    def test_events_continue_after_a_lost_connection(self) -> None:
        beat = '{"type":"device-heartbeat","at":"2026-03-01T12:00:00.000Z","data":{"n":%d}}'
        streams = [
            b"retry: 1\n\nid: one\nevent: x\ndata: " + (beat % 1).encode() + b'\n\nid: half\ndata: {"ty',
            (503, {"Content-Type": "application/problem+json"}, {"code": "unavailable"}),
            b': \n\nid: two\ndata: {"type":"reset",\ndata: "at":"","data":{}}\n\nid: three\ndata: ' + (beat % 2).encode() + b"\n\n",
            problem(404, "not_found"),
        ]
        positions = []

        def answer(method: str, path: str, headers: Any, body: Any) -> Tuple[int, dict, Any]:
            if path == "/api/v1/realtime/ticket":
                return 201, {}, {"ticket": "t", "expires_in": 30}
            positions.append(headers["Last-Event-ID"])
            stream = streams.pop(0)
            return (200, {"Content-Type": "text/event-stream"}, stream) if isinstance(stream, bytes) else stream

        events = []
        with Scripted(answer) as server, self.assertRaises(hearth.Refused):
            for event in hearth.Client(server.url, token="hk_test").follow(["device:d"]):
                events.append((event.id, event.type))
        self.assertEqual(events, [("one", "device-heartbeat"), ("two", "reset"), ("three", "device-heartbeat")])
        self.assertEqual(positions, [None, "one", "one", "three"])


if __name__ == "__main__":
    unittest.main()
