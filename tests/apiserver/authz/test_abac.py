import pytest

from pilothouse.api.user import User
from pilothouse.apiserver.authz.abac import Abac
from pilothouse.apiserver.authz.attributes import Attributes

HEAD = '"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":'
TEXT = f"""
# people
{{{HEAD}{{"user":"alice","namespace":"*","resource":"*","apiGroup":"*"}}}}
{{{HEAD}{{"group":"devs","readonly":true,"namespace":"a","resource":"pods"}}}}
{{{HEAD}{{"user":"*","readonly":true,"nonResourcePath":"/healthz*"}}}}
{{"user":"old","resource":"events"}}
"""


def user(name, *groups):
    return User(name, groups=(*groups, "system:authenticated"))


@pytest.mark.parametrize(
    ("attributes", "is_allowed"),
    [
        (Attributes(user("alice"), "delete", "apps", "v1", "deployments", namespace="b"), True),
        (Attributes(user("alice"), "get", path="/metrics"), False),
        (Attributes(user("bob", "devs"), "list", "", "v1", "pods", namespace="a"), True),
        (Attributes(user("bob", "devs"), "create", "", "v1", "pods", namespace="a"), False),
        (Attributes(user("bob", "devs"), "list", "", "v1", "pods", namespace="b"), False),
        (Attributes(user("bob"), "get", path="/healthz/ping"), True),
        (Attributes(User("system:anonymous", groups=("system:unauthenticated",)), "get", path="/healthz"), False),
        (Attributes(user("old"), "create", "events.k8s.io", "v1", "events", namespace="x"), True),
        (Attributes(user("old"), "create", "", "v1", "pods", namespace="x"), False),
    ],
)
def test_policies(attributes, is_allowed):
    decision = Abac(TEXT).authorize(attributes)
    assert decision.is_allowed is is_allowed
    assert is_allowed or decision.reason == "No policy matched."


def test_rules():
    rules = Abac(TEXT).rules_for(user("bob", "devs"), "a")
    assert list(rules.rules) == [{"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["pods"]}]


@pytest.mark.parametrize("line", ["{", "[]", '{"kind":"Policy","apiVersion":"v7"}'])
def test_bad_lines(line):
    with pytest.raises(ValueError, match="line 2"):
        Abac(f"# one\n{line}")
