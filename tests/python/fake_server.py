"""A server that says what a test wants it to say."""
import http.server
import json
import threading


class Server:
    """A server on a free port, or on `port`, that gives `replies`, one after the other: (status,
    headers, body). The last repeats; status None is a connection that breaks. Keeps what it was
    asked in `requests`."""

    def __init__(self, *replies, port=0):
        self.replies = list(replies)
        self.requests = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def reply(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server.requests.append((self.command, self.path, dict(self.headers),
                                        json.loads(body) if body else None))
                status, headers, content = server.replies[0]
                if len(server.replies) > 1:
                    server.replies.pop(0)
                if status is None:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = reply

            def log_message(self, *args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.http.daemon_threads = True
        self.port = self.http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.http.shutdown()
        self.http.server_close()


def problem(status, code, detail, where="", **headers):
    body = json.dumps({"type": f"urn:ghnd:error:{code}", "title": "t", "status": status,
                       "detail": detail, "code": code, "where": where}).encode()
    return status, {"Content-Type": "application/problem+json", **headers}, body
