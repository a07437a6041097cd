"""A webhook server that speaks TLS on loopback; what it answers is up to the test."""

import asyncio
import base64
import ssl
from contextlib import asynccontextmanager

import orjson

from pilothouse.kit.clock import SystemClock
from pilothouse.kit.pki import Authority, Certificate, Pki


class WebhookServer:
    def __init__(self, pki):
        self.pki = pki
        self.reviews = []
        self.targets = []
        self.connections = 0
        self.port = 0
        self.answer = lambda review: allow(review)

    @property
    def bundle(self):
        return base64.b64encode(self.pki.certificate_path("ca").read_bytes()).decode()

    def config(self, path="/hook"):
        return {"url": f"https://localhost:{self.port}{path}", "caBundle": self.bundle}

    async def handle(self, reader, writer):
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    int(line.partition(b":")[2])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                review = orjson.loads(await reader.readexactly(length))
                self.reviews.append(review)
                self.targets.append(head.split(b" ")[1].decode())
                answer = self.answer(review)
                if asyncio.iscoroutine(answer):
                    answer = await answer
                code, body = answer if isinstance(answer, tuple) else (200, orjson.dumps(answer))
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (code, len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def allow(review, **more):
    response = {"uid": review["request"]["uid"], "allowed": True, **more}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}


def deny(review, **status):
    return allow(review, allowed=False, **({"status": status} if status else {}))


def patch(review, *operations):
    text = base64.b64encode(orjson.dumps(list(operations))).decode()
    return allow(review, patch=text, patchType="JSONPatch")


@asynccontextmanager
async def serving(directory):
    pki = Pki(directory, SystemClock())
    names = ("localhost", "hook.ns.svc")
    pki.ensure([Authority("ca", "test"), Certificate("server", "server", usages=("server",), dns_names=names)])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.certificate_path("server"), pki.key_path("server"))
    hook = WebhookServer(pki)
    server = await asyncio.start_server(hook.handle, "127.0.0.1", 0, ssl=context)
    hook.port = server.sockets[0].getsockname()[1]
    try:
        yield hook
    finally:
        server.close()
