"""A web server on this machine whose faults can be chosen."""

import re
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNK = 1 << 16


class Server(ThreadingHTTPServer):
    """A web server whose faults can be chosen."""

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.requests = []
        self.etag = '"1"'
        self.honours_range = True
        # Bytes that each GET sends before the connection breaks; None is all.
        self.cuts = iter(())
        # Of a GET that sends all.
        self.seconds = 0.0
        # Answers to the first requests, instead of the files.
        self.statuses = iter(())

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def ranges(self):
        """The Range header of each GET, None where there was none."""
        return [found for method, found in self.requests if method == "GET"]


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.answer(send_body=False)

    def do_GET(self):
        self.answer(send_body=True)

    def answer(self, send_body):
        wanted = self.headers["Range"]
        self.server.requests.append((self.command, wanted))
        status = next(self.server.statuses, None)
        content = self.server.files.get(self.path.lstrip("/"))
        if status or content is None:
            self.send_error(status or 404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.server.honours_range else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", self.server.etag)
        self.end_headers()
        if send_body and self.server.seconds:
            for place in range(start, len(content), CHUNK):
                time.sleep(self.server.seconds * CHUNK / len(content))
                self.wfile.write(content[place : place + CHUNK])
        elif send_body:
            self.wfile.write(content[start:][: next(self.server.cuts, None)])

    def log_message(self, *_):
        pass


@contextmanager
def serving(files):
    """Serve files, by name, while the block runs."""
    with Server(files) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
