#!/usr/bin/env python3
"""Cold starts of the function: its binary behind Lambda's runtime interface, the store behind some latency.

usage: cold-starts.py BINARY IMAGE STORE-ENDPOINT PACKAGE… [--starts 20] [--latency 10]

The environment holds the function's variables. STORE-ENDPOINT (host:port) is replaced in LAMINIX_STORE by a proxy that
holds back every connection and every request by the latency, in milliseconds. Prints medians and maxima of

  init     from the start of the process until it asks for its first event
  first    the first request: the manifest of IMAGE, by tag
  second   the same again
  compose  an image of two of the PACKAGEs that nobody asked for before
  blob     a blob's redirect
  memory   the most that the process had in memory
"""

import argparse
import asyncio
import http.client
import http.server
import itertools
import json
import os
import re
import statistics
import subprocess
import threading
import time


def proxy(target, latency):
    """A TCP proxy; returns its port."""
    host, port = target.split(":")
    ready = threading.Event()
    found = []

    async def copy(reader, writer, pause):
        try:
            while data := await reader.read(1 << 16):
                await asyncio.sleep(pause)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def accept(reader, writer):
        await asyncio.sleep(latency / 1000)
        upstream = await asyncio.open_connection(host, int(port))
        await asyncio.gather(copy(reader, upstream[1], latency / 1000), copy(upstream[0], writer, 0))

    async def serve():
        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        found.append(server.sockets[0].getsockname()[1])
        ready.set()
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    ready.wait()
    return found[0]


def event(path):
    """A function URL's event (payload format 2.0)."""
    return {
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "",
        "headers": {"host": "x.lambda-url.eu-central-1.on.aws", "accept": "*/*"},
        "requestContext": {
            "accountId": "anonymous", "apiId": "x", "domainName": "x.lambda-url.eu-central-1.on.aws", "domainPrefix": "x",
            "http": {"method": "GET", "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "bench"},
            "requestId": "x", "routeKey": "$default", "stage": "$default", "time": "21/Nov/2026:00:00:00 +0000",
            "timeEpoch": 1795219200000,
        },
        "isBase64Encoded": False,
    }


class Runtime(http.server.ThreadingHTTPServer):
    """Lambda's runtime interface for one process: hands out events, notes when things happen."""

    daemon_threads = True

    def __init__(self, paths):
        super().__init__(("127.0.0.1", 0), Handler)
        self.paths = list(paths)
        self.asked = None
        self.given = None
        self.answers = []
        self.done = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one segment for head and body: two of them wait for each other 40 ms

    def log_message(self, *_):
        pass

    def do_GET(self):  # .../runtime/invocation/next
        now = time.perf_counter()
        runtime = self.server
        runtime.asked = runtime.asked or now
        if not runtime.paths:
            runtime.done.set()
            time.sleep(3600)
        body = json.dumps(event(runtime.paths.pop(0))).encode()
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
        self.send_header("Lambda-Runtime-Deadline-Ms", str(int(time.time() * 1000) + 60000))
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-central-1:123456789012:function:laminix")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        runtime.given = time.perf_counter()

    def do_POST(self):  # .../response or .../error
        body = self.rfile.read(int(self.headers["Content-Length"] or 0)) if self.headers["Content-Length"] else self.chunks()
        runtime = self.server
        runtime.answers.append((time.perf_counter() - runtime.given, self.path, json.loads(body)))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.wfile.flush()

    def chunks(self):
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body


def start(binary, environment, paths):
    """One cold start: the times in ms, and the memory in MB."""
    runtime = Runtime(paths)
    threading.Thread(target=runtime.serve_forever, daemon=True).start()
    environment = environment | {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime.server_address[1]}", "AWS_LAMBDA_FUNCTION_NAME": "laminix",
        "AWS_LAMBDA_FUNCTION_VERSION": "1", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512", "AWS_LAMBDA_LOG_GROUP_NAME": "x",
        "AWS_LAMBDA_LOG_STREAM_NAME": "x", "_X_AMZN_TRACE_ID": "",
    }
    began = time.perf_counter()
    process = subprocess.Popen([binary], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    threading.Thread(target=process.stderr.read, daemon=True).start()
    try:
        if not runtime.done.wait(30):
            raise SystemExit("the function does not ask for events")
        with open(f"/proc/{process.pid}/status") as status:
            memory = int(re.search(r"VmHWM:\s+(\d+)", status.read()).group(1)) / 1000
    finally:
        process.kill()
        process.wait()
        runtime.shutdown()
    for _, path, answer in runtime.answers:
        if not path.endswith("/response") or answer["statusCode"] not in (200, 307):
            raise SystemExit(f"not what was expected: {path} {answer}")
    return [(runtime.asked - began) * 1000] + [took * 1000 for took, _, _ in runtime.answers] + [memory]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("image")
    parser.add_argument("endpoint")
    parser.add_argument("packages", nargs="+")
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--latency", type=float, default=10)
    options = parser.parse_args()
    port = proxy(options.endpoint, options.latency)
    store = os.environ["LAMINIX_STORE"].replace(options.endpoint, f"127.0.0.1:{port}")
    environment = os.environ | {"LAMINIX_STORE": store}
    manifest = f"/v2/{options.image}/manifests/latest"
    blob = "/v2/x/blobs/sha256:" + "0" * 64
    pairs = list(itertools.combinations(options.packages, 2))
    if len(pairs) < options.starts:
        raise SystemExit(f"{options.starts} starts need as many pairs of packages, and there are {len(pairs)}")
    runs = [
        start(options.binary, environment, [manifest, manifest, f"/v2/{one}/{other}/manifests/latest", blob])
        for one, other in pairs[:options.starts]
    ]
    for name, unit, values in zip(["init", "first", "second", "compose", "blob", "memory"], ["ms"] * 5 + ["MB"], zip(*runs)):
        print(f"{name:8} median {statistics.median(values):7.1f} {unit}   max {max(values):7.1f} {unit}")


main()
