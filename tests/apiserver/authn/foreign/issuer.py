"""An issuer of tokens that speaks TLS on loopback: discovery, keys, and whatever else a test puts there."""

import asyncio
import ssl
from contextlib import asynccontextmanager

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec

from pilothouse.kit.clock import SystemClock
from pilothouse.kit.pki import Authority, Certificate, Pki


class SigningKey:
    """A key on P-256 and its id."""

    def __init__(self, kid):
        self.kid = kid
        self.private = ec.generate_private_key(ec.SECP256R1())

    @property
    def jwk(self):
        public = jwt.algorithms.ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {**public, "kid": self.kid, "use": "sig"}

    def sign(self, claims, **headers):
        return jwt.encode(claims, self.private, algorithm="ES256", headers={"kid": self.kid, **headers})


class Issuer:
    def __init__(self, pki, now):
        self.pki = pki
        self._now = now
        self.port = 0
        self.path = ""
        self.keys = [SigningKey("one")]
        self.asked = []
        self.headers = {}
        self.pages = {}
        self.overrides = {}

    @property
    def url(self):
        return f"https://localhost:{self.port}{self.path}"

    @property
    def authority(self):
        return self.pki.certificate_path("ca").read_text()

    def token(self, key=None, **claims):
        now = int(self._now())
        whole = {"iss": self.url, "aud": "me", "sub": "jane", "iat": now, "exp": now + 600, **claims}
        return (key or self.keys[0]).sign({name: value for name, value in whole.items() if value is not None})

    def page(self, path):
        if path in self.pages:
            return self.pages[path]
        if path == f"{self.path}/.well-known/openid-configuration":
            return 200, orjson.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/keys", **self.overrides})
        if path == f"{self.path}/keys":
            return 200, orjson.dumps({"keys": [key.jwk for key in self.keys]})
        return 404, b"nothing here"

    async def handle(self, reader, writer):
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split(" ")[1]
            self.asked.append(path)
            self.headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
            code, body, *more = self.page(path)
            extra = "".join(f"{name}: {value}\r\n" for name, value in (more[0] if more else {}).items())
            writer.write(f"HTTP/1.1 {code} X\r\ncontent-length: {len(body)}\r\n{extra}\r\n".encode() + body)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(directory, now):
    pki = Pki(directory, SystemClock())
    pki.ensure([Authority("ca", "issuer"), Certificate("server", "s", usages=("server",), dns_names=("localhost",))])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.certificate_path("server"), pki.key_path("server"))
    issuer = Issuer(pki, now)
    server = await asyncio.start_server(issuer.handle, "127.0.0.1", 0, ssl=context)
    issuer.port = server.sockets[0].getsockname()[1]
    try:
        yield issuer
    finally:
        server.close()
