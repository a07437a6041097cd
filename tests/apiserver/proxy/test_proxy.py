import asyncio
import gzip
import random
import ssl

import pytest

from pilothouse.api import gvr as kinds
from pilothouse.api.status import BadRequest, Invalid, NotFound, ServiceUnavailable, StatusError
from pilothouse.api.user import User
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.objects import MemoryObjects
from pilothouse.apiserver.proxy import forward
from pilothouse.apiserver.proxy.kubelet import Kubelets, KubeletTls, address_of
from pilothouse.apiserver.proxy.pods import PodStreams, container_name
from pilothouse.apiserver.proxy.rewrite import rewrite_html, rewrite_url
from pilothouse.apiserver.route import parse_query, request_info
from pilothouse.kit.clock import SystemClock
from pilothouse.kit.http.message import Peer, Request
from pilothouse.kit.pki import Authority, Certificate, Pki


class Backend:
    """A server that records what it is sent and answers with what it is told to."""

    def __init__(self, tls=None):
        self._tls = tls
        self.certificates = []
        self.heads = []
        self.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        self.echo = False

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()

    async def _serve(self, reader, writer):
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            if self._tls is not None:
                self.certificates.append(writer.get_extra_info("peercert"))
            writer.write(self.answer)
            while self.echo and (data := await reader.read(100)):
                writer.write(data.upper())
        finally:
            writer.close()

    @property
    def line(self):
        return self.heads[-1].split("\r\n")[0]


@pytest.fixture
async def backend():
    async with Backend() as backend:
        yield backend


@pytest.fixture
def objects(backend):
    node_status = {
        "addresses": [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": backend.port}},
    }
    pod = {"metadata": {"namespace": "ns", "name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c"}]}}
    return MemoryObjects([(kinds.NODES, {"metadata": {"name": "n"}, "status": node_status}), (kinds.PODS, pod)])


@pytest.fixture
def kubelets(objects):
    return Kubelets(objects, None)


@pytest.fixture
def streams(objects, kubelets):
    return PodStreams(objects, kubelets)


@pytest.fixture
def forwarder(objects, kubelets, monkeypatch):
    monkeypatch.setattr(forward, "_check_address", lambda text: None)
    return forward.Forwarder(objects, kubelets, random.Random(1))


def call(path, *, method="GET", headers=None, body=b""):
    path, _, query = path.partition("?")
    request = Request(method, path, query, headers or {}, body, Peer("192.0.2.7"), raw_path=path)
    return Call(request, request_info(method, path, parse_query(query)), parse_query(query), User("alice"))


async def text(response):
    return response.body if isinstance(response.body, bytes) else b"".join([chunk async for chunk in response.body])


LOG = "/api/v1/namespaces/ns/pods/p/log"


class TestLog:
    async def test_options_reach_the_kubelet(self, streams, backend):
        backend.answer = (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
        )
        response = await streams.log(call(f"{LOG}?follow=true&tailLines=5&timestamps=1&previous=false&container=c"))
        assert await text(response) == b"hi"
        assert backend.line == "GET /containerLogs/ns/p/c?follow=true&timestamps=true&tailLines=5 HTTP/1.1"

    async def test_a_body_that_nobody_reads_is_let_go(self, streams, backend):
        backend.answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n"
        response = await streams.log(call(f"{LOG}?follow=true"))
        await response.body.aclose()

    async def test_the_kubelets_refusal(self, streams, backend):
        backend.answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 7\r\n\r\nwaiting"
        with pytest.raises(BadRequest, match="waiting"):
            await streams.log(call(LOG))
        backend.answer = b"HTTP/1.1 500 Error\r\ncontent-length: 4\r\n\r\noops"
        with pytest.raises(StatusError, match="Internal error occurred: oops"):
            await streams.log(call(LOG))

    async def test_a_kubelet_that_is_away(self, streams, objects, backend):
        await backend.__aexit__()
        with pytest.raises(ServiceUnavailable, match="error trying to reach service"):
            await streams.log(call(LOG))

    async def test_a_pod_without_node_has_an_empty_log(self, streams, objects):
        objects.put(kinds.PODS, {"metadata": {"namespace": "ns", "name": "p"}, "spec": {"containers": [{"name": "c"}]}})
        response = await streams.log(call(LOG))
        assert (response.status, await text(response)) == (204, b"")

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ("tailLines=-1", "tailLines: Invalid value: -1: must be greater than or equal to 0"),
            ("limitBytes=0", "limitBytes: Invalid value: 0: must be greater than 0"),
            ("sinceSeconds=0", "sinceSeconds: Invalid value: 0: must be greater than 0"),
            (
                "sinceSeconds=1&sinceTime=2020-01-01T00:00:00Z",
                "[]: Forbidden: at most one of `sinceTime` or `sinceSeconds`",
            ),
            ("stream=Stdout", "stream: Forbidden: may not be specified"),
        ],
    )
    async def test_bad_options(self, streams, query, message):
        with pytest.raises(Invalid) as caught:
            await streams.log(call(f"{LOG}?{query}"))
        assert message in caught.value.message
        with pytest.raises(NotFound):
            await streams.log(call("/api/v1/namespaces/ns/pods/x/log"))
        with pytest.raises(BadRequest, match='parsing time "bad" as'):
            await streams.log(call(f"{LOG}?sinceTime=bad"))

    def test_container_names(self):
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}}
        with pytest.raises(BadRequest) as caught:
            container_name(pod, "")
        assert caught.value.message == "a container name must be specified for pod p, choose one of: [a b]"
        pod["spec"]["initContainers"] = [{"name": "i"}]
        with pytest.raises(BadRequest, match=r"choose one of: \[a b\] or one of the init containers: \[i\]"):
            container_name(pod, "")
        with pytest.raises(BadRequest, match="container x is not valid for pod p"):
            container_name(pod, "x")
        assert container_name(pod, "i") == "i"


UPGRADE = {"connection": "Upgrade", "upgrade": "SPDY/3.1", "x-stream-protocol-version": "v4.channel.k8s.io"}


class TestStreams:
    async def test_exec_becomes_a_tunnel(self, streams, backend):
        backend.answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\n\r\nhello"
        backend.echo = True
        path = "/api/v1/namespaces/ns/pods/p/exec?command=sh&command=-c&command=a%20b&stdin=true&tty=true&stderr=false"
        headers = {**UPGRADE, "authorization": "Bearer secret", "impersonate-user": "x"}
        response = await streams.execute(call(path, method="POST", headers=headers))
        assert (response.status, response.headers["upgrade"]) == (101, "SPDY/3.1")
        query = "input=1&output=1&tty=1&command=sh&command=-c&command=a+b"
        assert backend.line == f"POST /exec/ns/p/c?{query} HTTP/1.1"
        assert "x-stream-protocol-version: v4.channel.k8s.io" in backend.heads[-1]
        assert "secret" not in backend.heads[-1]
        assert "impersonate" not in backend.heads[-1]
        received = []

        async def client(reader, writer):
            writer.write(b"abc")
            while len(b"".join(received)) < 8:
                received.append(await reader.read(100))
            writer.close()

        server = await asyncio.start_server(response.takeover, "127.0.0.1", 0)
        async with server:
            await client(*await asyncio.open_connection(*server.sockets[0].getsockname()[:2]))
        assert b"".join(received) == b"helloABC"

    async def test_a_refused_upgrade(self, streams, backend):
        backend.answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\n\r\nno!"
        response = await streams.attach(call("/api/v1/namespaces/ns/pods/p/attach?stdin=1", headers=UPGRADE))
        assert (response.status, response.body, response.takeover) == (400, b"no!", None)

    async def test_a_browsers_token_stays_here(self, streams, backend):
        token = "base64url.bearer.authorization.k8s.io.abc"
        headers = {**UPGRADE, "upgrade": "websocket", "sec-websocket-protocol": f"{token}, v5.channel.k8s.io"}
        backend.answer = b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n"
        await streams.port_forward(call("/api/v1/namespaces/ns/pods/p/portforward?ports=80&ports=81", headers=headers))
        assert backend.line == "GET /portForward/ns/p?port=80&port=81 HTTP/1.1"
        assert "sec-websocket-protocol: v5.channel.k8s.io\r\n" in backend.heads[-1]

    async def test_a_pod_without_node(self, streams, objects):
        objects.put(kinds.PODS, {"metadata": {"namespace": "ns", "name": "p"}, "spec": {"containers": [{"name": "c"}]}})
        with pytest.raises(BadRequest, match="pod p does not have a host assigned"):
            await streams.execute(call("/api/v1/namespaces/ns/pods/p/exec", headers=UPGRADE))

    def test_addresses(self):
        with pytest.raises(StatusError, match="no preferred addresses found"):
            address_of({"status": {"addresses": [{"type": "ExternalDNS", "address": "x"}]}})
        assert address_of({"status": {"addresses": [{"type": "Hostname", "address": "x"}]}}) == ("x", 10250)


class TestTls:
    @pytest.fixture
    def pki(self, tmp_path):
        pki = Pki(tmp_path, SystemClock())
        pki.ensure(
            [
                Authority("ca", "kubernetes"),
                Authority("other", "kubernetes"),
                Certificate("kubelet", "system:node:n", usages=("server",), ip_addresses=("127.0.0.1",)),
                Certificate("stranger", "x", authority="other", usages=("server",), ip_addresses=("127.0.0.1",)),
                Certificate("client", "kube-apiserver-kubelet-client", organizations=("system:masters",)),
            ]
        )
        return pki

    def kubelet(self, pki, certificate):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki.certificate_path(certificate), pki.key_path(certificate))
        context.load_verify_locations(pki.certificate_path("ca"))
        context.verify_mode = ssl.CERT_REQUIRED
        return Backend(context)

    def streams(self, pki, port):
        addresses = [{"type": "InternalIP", "address": "127.0.0.1"}]
        status = {"addresses": addresses, "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}
        pod = {"metadata": {"namespace": "ns", "name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c"}]}}
        objects = MemoryObjects([(kinds.NODES, {"metadata": {"name": "n"}, "status": status}), (kinds.PODS, pod)])
        tls = KubeletTls(pki.certificate_path("ca"), pki.certificate_path("client"), pki.key_path("client"))
        return PodStreams(objects, Kubelets(objects, tls))

    async def test_both_ends_prove_who_they_are(self, pki):
        async with self.kubelet(pki, "kubelet") as backend:
            backend.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
            streams = self.streams(pki, backend.port)
            assert await text(await streams.log(call(LOG))) == b"hi"
            backend.answer = b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n"
            response = await streams.execute(call("/api/v1/namespaces/ns/pods/p/exec?command=ls", headers=UPGRADE))
            assert response.status == 403
            names = [dict(pair[0] for pair in found["subject"])["commonName"] for found in backend.certificates]
            assert names == ["kube-apiserver-kubelet-client"] * 2

    async def test_a_kubelet_of_another_authority_is_not_spoken_to(self, pki):
        async with self.kubelet(pki, "stranger") as backend:
            streams = self.streams(pki, backend.port)
            with pytest.raises(StatusError, match="certificate verify failed"):
                await streams.log(call(LOG))
            with pytest.raises(StatusError, match="certificate verify failed"):
                await streams.execute(call("/api/v1/namespaces/ns/pods/p/exec", headers=UPGRADE))
            assert backend.heads == []

    async def test_the_kubelets_name_is_not_looked_at_if_the_client_says_so(self, pki):
        async with self.kubelet(pki, "stranger") as backend:
            backend.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
            streams = self.streams(pki, backend.port)
            assert await text(await streams.log(call(f"{LOG}?insecureSkipTLSVerifyBackend=true"))) == b"hi"
            with pytest.raises(StatusError, match="certificate verify failed"):
                await streams.log(call(f"{LOG}?insecureSkipTLSVerifyBackend=false"))

    async def test_streams_need_a_connection_of_their_own(self, pki):
        with pytest.raises(BadRequest, match="Upgrade request required"):
            await self.streams(pki, 1).execute(call("/api/v1/namespaces/ns/pods/p/exec?command=ls"))


class TestForward:
    PROXY = "/api/v1/namespaces/proxy-ns/{}/{}/proxy"

    def pod(self, objects, port):
        spec = {"containers": [{"name": "c", "ports": [{"containerPort": port}]}]}
        metadata = {"namespace": "proxy-ns", "name": "p"}
        objects.put(kinds.PODS, {"metadata": metadata, "spec": spec, "status": {"podIP": "127.0.0.1"}})

    async def test_a_pod(self, forwarder, objects, backend):
        self.pod(objects, backend.port)
        backend.answer = b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\nx-a: b\r\nconnection: close\r\n\r\nok"
        path = self.PROXY.format("pods", "p") + "/a%20b/proxy/c?x=1&x=2"
        headers = {"authorization": "Bearer secret", "x-own": "1", "host": "api"}
        response = await forwarder.pod(call(path, method="PUT", headers=headers, body=b"data"))
        assert (response.status, response.headers, await text(response)) == (
            201,
            {"x-a": "b", "content-length": "2"},
            b"ok",
        )
        assert backend.line == "PUT /a%20b/proxy/c?x=1&x=2 HTTP/1.1"
        assert "x-own: 1" in backend.heads[-1]
        assert "host: api\r\n" in backend.heads[-1]
        assert "x-forwarded-for: 192.0.2.7\r\n" in backend.heads[-1]
        assert "accept-encoding: identity\r\n" in backend.heads[-1]
        assert "x-forwarded-uri: /api/v1/namespaces/proxy-ns/pods/p/proxy/a%20b/proxy/c\r\n" in backend.heads[-1]
        assert "secret" not in backend.heads[-1]

    async def test_the_bare_path_leads_to_the_slash(self, forwarder, objects, backend):
        self.pod(objects, backend.port)
        path = self.PROXY.format("pods", f"http:p:{backend.port}")
        response = await forwarder.pod(call(f"{path}?a=b"))
        assert (response.status, response.headers["location"]) == (301, f"{path}/?a=b")
        await forwarder.pod(call(f"{path}/"))
        assert backend.line == "GET / HTTP/1.1"

    @pytest.mark.parametrize(
        ("encoding", "pack", "unpack"),
        [
            ("", bytes, bytes),
            ("gzip", gzip.compress, gzip.decompress),
            ("deflate", forward._deflate, forward._inflate),
        ],
    )
    async def test_pages_lead_back_however_they_are_packed(self, forwarder, objects, backend, encoding, pack, unpack):
        self.pod(objects, backend.port)
        page = pack(b'<a href="/rewriteme">test</a>')
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {len(page)}\r\n"
        head += f"content-encoding: {encoding}\r\n" if encoding else ""
        backend.answer = head.encode() + b"\r\n" + page
        prefix = self.PROXY.format("pods", "p")
        response = await forwarder.pod(call(f"{prefix}/", headers={"accept-encoding": "gzip, deflate"}))
        assert unpack(response.body) == f'<a href="{prefix}/rewriteme">test</a>'.encode()
        assert "content-length" not in response.headers
        assert response.headers.get("content-encoding", "") == encoding
        assert "accept-encoding: gzip, deflate\r\n" in backend.heads[-1]

    async def test_what_is_packed_in_an_unknown_way_is_left_alone(self, forwarder, objects, backend):
        self.pod(objects, backend.port)
        backend.answer = (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-encoding: br\r\ncontent-length: 2\r\n\r\nxy"
        )
        response = await forwarder.pod(call(self.PROXY.format("pods", "p") + "/"))
        assert await text(response) == b"xy"

    async def test_redirects_lead_back(self, forwarder, objects, backend):
        self.pod(objects, backend.port)
        prefix = self.PROXY.format("pods", "p")
        for location, rewritten in (
            ("/there", f"{prefix}/there"),
            (f"http://127.0.0.1:{backend.port}/there/", f"{prefix}/there/"),
            ("https://api:6443/there", f"https://api:6443{prefix}/there"),
            ("https://elsewhere/there", "https://elsewhere/there"),
        ):
            backend.answer = f"HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode()
            response = await forwarder.pod(call(f"{prefix}/", headers={"host": "api:6443"}))
            assert (response.status, response.headers["location"]) == (302, rewritten)
            await response.body.aclose()

    async def test_pages_do_not_speak_for_this_server(self, forwarder, objects, backend):
        self.pod(objects, backend.port)
        backend.answer = (
            b"HTTP/1.1 200 OK\r\naccess-control-allow-origin: *\r\naccess-control-allow-methods: PUT\r\n"
            b"access-control-max-age: 1\r\ncontent-length: 0\r\n\r\n"
        )
        response = await forwarder.pod(call(self.PROXY.format("pods", "p") + "/"))
        assert [name for name in response.headers if name.startswith("access")] == ["access-control-max-age"]
        await response.body.aclose()

    async def test_an_upgrade_that_cannot_be(self, forwarder, objects, backend):
        self.pod(objects, backend.port)
        path = self.PROXY.format("pods", "p") + "/"
        upgrade = {"connection": "Upgrade", "upgrade": "websocket"}
        with pytest.raises(StatusError, match="invalid upgrade response: status code 200") as refused:
            await forwarder.pod(call(path, headers=upgrade))
        assert refused.value.status_code == 500
        self.pod(objects, 1)
        with pytest.raises(StatusError, match=r"error dialing backend: dial tcp 127\.0\.0\.1:1: ") as refused:
            await forwarder.pod(call(path, headers=upgrade))
        assert (refused.value.status_code, refused.value.status_reason) == (500, "")
        with pytest.raises(ServiceUnavailable, match=r"error trying to reach service: dial tcp 127\.0\.0\.1:1: "):
            await forwarder.pod(call(path))

    async def test_endpoints_lead_to_pods_only(self, forwarder, objects, backend):
        """Whoever may write endpoints could otherwise use this server to reach anything."""
        self.pod(objects, backend.port)
        metadata = {"namespace": "proxy-ns", "name": "s"}
        path = self.PROXY.format("services", "s:web") + "/x"
        objects.put(kinds.ENDPOINTS, {"metadata": metadata, "subsets": []})
        with pytest.raises(ServiceUnavailable, match='no endpoints available for service "s"'):
            await forwarder.service(call(path))
        for address in (
            {"ip": "127.0.0.1"},
            {"ip": "127.0.0.1", "targetRef": {"namespace": "other", "name": "p"}},
            {"ip": "127.0.0.1", "targetRef": {"namespace": "proxy-ns", "name": "none"}},
            {"ip": "127.0.0.2", "targetRef": {"namespace": "proxy-ns", "name": "p"}},
        ):
            subsets = [{"addresses": [address], "ports": [{"name": "web", "port": backend.port}]}]
            objects.put(kinds.ENDPOINTS, {"metadata": metadata, "subsets": subsets})
            with pytest.raises(ServiceUnavailable, match='no endpoints available for service "s:web"'):
                await forwarder.service(call(path))

    async def test_a_service(self, forwarder, objects, backend):
        self.pod(objects, backend.port)
        service = {"metadata": {"namespace": "proxy-ns", "name": "s"}, "spec": {"ports": [{"port": 80, "name": "web"}]}}
        objects.put(kinds.SERVICES, service)
        with pytest.raises(NotFound):
            await forwarder.service(call(self.PROXY.format("services", "s") + "/x"))
        address = {"ip": "127.0.0.1", "targetRef": {"namespace": "proxy-ns", "name": "p"}}
        subsets = [{"addresses": [address], "ports": [{"name": "web", "port": backend.port}]}]
        objects.put(kinds.ENDPOINTS, {"metadata": service["metadata"], "subsets": subsets})
        for name in ("s:web", "s:80", "http:s:web"):
            response = await forwarder.service(call(self.PROXY.format("services", name) + "/x"))
            assert response.status == 200
        for name, message in (("s:81", "no service port 81 found"), ("s:other", "no endpoints available")):
            with pytest.raises(ServiceUnavailable, match=message):
                await forwarder.service(call(self.PROXY.format("services", name) + "/x"))

    async def test_a_node(self, forwarder, backend):
        await forwarder.node(call("/api/v1/nodes/n/proxy/stats/summary?a=1"))
        assert backend.line == "GET /stats/summary?a=1 HTTP/1.1"
        with pytest.raises(BadRequest, match="invalid node request"):
            await forwarder.node(call("/api/v1/nodes/a:b:c:d/proxy/x"))

    @pytest.mark.parametrize("address", ["", "127.0.0.1", "169.254.169.254", "::1", "0.0.0.0", "name"])
    def test_addresses_out_of_bounds(self, address):
        with pytest.raises(BadRequest, match="address not allowed"):
            forward._check_address(address)


@pytest.mark.parametrize(
    ("url", "rewritten"),
    [
        ("/x?q=1#f", "/p/x?q=1#f"),
        ("/", "/p/"),
        ("x", "x"),
        ("#a", "#a"),
        ("/p/x", "/p/x"),
        ("http://h:1/x/", "/p/x/"),
        ("http://h:1/p/x", "/p/x"),
        ("http://other/x", "http://other/x"),
        ("http://[bad", "http://[bad"),
    ],
)
def test_links(url, rewritten):
    assert rewrite_url(url, "/p", "h:1") == rewritten
    page = "<p title='/t' src='/t'><IMG alt='/x' src='{}' href='/h'>href=\"/no\"</p>"
    assert rewrite_html(page.format(url).encode(), "/p", "h:1") == page.format(rewritten).encode()
