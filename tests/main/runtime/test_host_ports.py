"""Which of portmap's rules go."""

from __future__ import annotations

from pilothouse.main.runtime.host_ports import is_empty, removal

SAVED = """*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-HOSTPORT-MASQ - [0:0]
:OTHER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A PREROUTING -j OTHER
-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
COMMIT
"""


def test_shared_chains_and_the_jumps_to_them_go_and_nothing_else() -> None:
    assert removal(SAVED).splitlines() == [
        "*nat",
        ":CNI-HOSTPORT-DNAT - [0:0]",
        ":CNI-HOSTPORT-MASQ - [0:0]",
        "-D PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT",
        "-X CNI-HOSTPORT-DNAT",
        "-X CNI-HOSTPORT-MASQ",
        "COMMIT",
    ]


def test_they_stay_while_someone_has_a_host_port() -> None:
    assert removal(SAVED.replace("COMMIT", "-A CNI-HOSTPORT-DNAT -j CNI-DN-1\nCOMMIT")) == ""
    assert removal("*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n") == ""


def test_a_table_is_empty_without_rules_and_own_chains() -> None:
    assert is_empty("# c\n*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n")
    assert not is_empty("*nat\n:PREROUTING ACCEPT [0:0]\n:OTHER - [0:0]\nCOMMIT\n")
    assert not is_empty("*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j ACCEPT\nCOMMIT\n")
