"""The names of servers."""

from pilothouse.apiserver.server_id import hashed, server_id


def test_servers_on_different_hosts_have_different_names() -> None:
    assert server_id("a") == server_id("a") != server_id("b")
    name = server_id("node-1.example.com")
    assert (name[:10], len(name), name == name.lower()) == ("apiserver-", 36, True)


def test_hashes() -> None:
    assert hashed("") == hashed(b"") == ""
    assert hashed("abc") == hashed(b"abc") == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
