import pytest

from pilothouse.api.status import BadRequest, Forbidden
from pilothouse.api.user import User
from pilothouse.apiserver.authz.attributes import ALLOW, NO_OPINION
from pilothouse.apiserver.impersonation import Impersonation
from pilothouse.kit.clock import VirtualClock
from pilothouse.kit.http.message import LOCAL_PEER, Request

ALICE = User("alice", groups=("system:authenticated",))
AGENT = User("system:serviceaccount:ns:agent", extra={"authentication.kubernetes.io/node-name": ("n1",)})


class Granted:
    """Allows what is listed as `verb group/resource[/subresource] name`."""

    def __init__(self, *rights):
        self.rights = set(rights)

    async def authorize(self, attributes):
        what = "/".join(filter(None, (attributes.group, attributes.resource, attributes.subresource)))
        return ALLOW if f"{attributes.verb} {what} {attributes.name}".strip() in self.rights else NO_OPINION


async def act(who, rights, path="/api/v1/namespaces/ns/pods", **headers):
    named = {f"impersonate-{name.replace('_', '-')}": value for name, value in headers.items()}
    impersonation = Impersonation(Granted(*rights), VirtualClock())
    return (await impersonation.impersonate(Request("GET", path, "", named, b"", LOCAL_PEER), who))[0]


async def test_nobody_else_is_wanted():
    assert await act(ALICE, []) is ALICE
    assert await act(ALICE, [], user="") is ALICE
    for headers in ({"group": "x"}, {"extra_a": "b"}, {"uid": "1"}, {"user": "", "group": "x"}):
        with pytest.raises(BadRequest):
            await act(ALICE, ["impersonate users bob"], **headers)


async def test_the_old_way():
    rights = ["impersonate users bob", "impersonate groups g", "impersonate authentication.k8s.io/userextras/a 1"]
    user = await act(ALICE, rights, user="bob", group="g", extra_a="1")
    assert user == User("bob", groups=("g", "system:authenticated"), extra={"a": ("1",)})
    with pytest.raises(Forbidden):
        await act(ALICE, rights, user="bob", group="g, h")
    anonymous = await act(ALICE, ["impersonate users system:anonymous"], user="system:anonymous")
    assert anonymous.groups == ("system:unauthenticated",)
    account = await act(ALICE, ["impersonate serviceaccounts s"], user="system:serviceaccount:ns:s")
    assert account.groups == ("system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated")


async def test_the_refusal_names_what_the_first_mode_lacks():
    with pytest.raises(Forbidden) as caught:
        await act(ALICE, [], user="bob")
    assert caught.value.message == (
        'pods is forbidden: User "alice" cannot impersonate-on:user-info:list resource "pods" in API group "" '
        'in the namespace "ns"'
    )


async def test_a_user_for_some_requests():
    rights = ["impersonate-on:user-info:list pods", "impersonate:user-info authentication.k8s.io/users bob"]
    assert (await act(ALICE, rights, user="bob")).name == "bob"
    with pytest.raises(Forbidden):
        await act(ALICE, rights, "/api/v1/namespaces/ns/secrets", user="bob")
    rights.append("impersonate:user-info authentication.k8s.io/groups system:masters")
    with pytest.raises(Forbidden, match="impersonating the system:masters group is not allowed"):
        await act(ALICE, rights, user="bob", group="system:masters")


async def test_an_agent_as_its_own_node():
    rights = ["impersonate-on:associated-node:list pods", "impersonate:associated-node authentication.k8s.io/nodes *"]
    user = await act(AGENT, rights, user="system:node:n1")
    assert (user.name, user.groups) == ("system:node:n1", ("system:nodes", "system:authenticated"))
    with pytest.raises(Forbidden):
        await act(AGENT, rights, user="system:node:n2")
    with pytest.raises(Forbidden):
        await act(AGENT, rights, user="system:node:n1", group="x")


async def test_a_group_with_commas_is_one_group():
    rights = ["impersonate users bob", "impersonate groups ,,,cn=g,ou=h"]
    user = await act(ALICE, rights, user="bob", group=",,,cn=g,ou=h")
    assert user.groups == (",,,cn=g,ou=h", "system:authenticated")
