import pytest

from pilothouse.api.status import Unauthorized
from pilothouse.apiserver.authn.jwt.mapping import ClaimMapping

CLAIMS = {
    "sub": "jane",
    "email": "jane@x",
    "email_verified": True,
    "roles": ["a", "", "b"],
    "nested": {"a.b": {"c": ["d"]}},
    "exp": 100,
    "nbf": 40,
}


def user(claims=None, rules=(), users=(), **mappings):
    spec = {
        "claimMappings": {"username": {"claim": "sub", "prefix": ""}, **mappings},
        "claimValidationRules": list(rules),
        "userValidationRules": list(users),
    }
    return ClaimMapping(spec).user({**CLAIMS, **(claims or {})})


def test_expressions():
    found = user(
        username={"expression": "'u:' + claims.sub"},
        groups={"expression": "claims.roles"},
        uid={"expression": "string(claims.exp)"},
        extra=[
            {"key": "x.y/a", "valueExpression": "claims.nested.a__dot__b.c"},
            {"key": "x.y/b", "valueExpression": "''"},
            {"key": "x.y/c", "valueExpression": "claims.?missing.orValue('none')"},
        ],
    )
    assert (found.name, found.groups, found.uid) == ("u:jane", ("a", "b"), "100")
    assert found.extra == {"x.y/a": ("d",), "x.y/c": ("none",)}


def test_groups_that_are_text():
    assert user({"g": "one"}, groups={"claim": "g", "prefix": "p:"}).groups == ("p:one",)
    assert user(groups={"expression": "'one'"}).groups == ("one",)
    assert user(groups={"expression": "null"}).groups == ()
    assert user(groups={"claim": "nowhere", "prefix": ""}).groups == ()


def test_emails_have_to_be_verified():
    email = {"claim": "email", "prefix": ""}
    assert user(username=email).name == "jane@x"
    with pytest.raises(Unauthorized, match="oidc: email not verified"):
        user({"email_verified": False}, username=email)
    with pytest.raises(Unauthorized, match="parse 'email_verified' claim: json: cannot unmarshal string"):
        user({"email_verified": "true"}, username=email)


@pytest.mark.parametrize(
    ("mappings", "message"),
    [
        (
            {"username": {"expression": "claims.nobody"}},
            "username claim expression: expression 'claims.nobody' resulted in error",
        ),
        ({"username": {"expression": "claims.exp"}}, "username claim expression must return a string"),
        ({"username": {"expression": "''"}}, "oidc: empty username via CEL expression is not allowed"),
        (
            {"groups": {"expression": "[1]"}},
            "group claim expression: expression must return a string or a list of strings",
        ),
        ({"uid": {"expression": "true"}}, "uid claim expression must return a string"),
        ({"uid": {"claim": "exp"}}, 'oidc: parse uid claim "exp": json: cannot unmarshal number'),
        ({"extra": [{"key": "x.y/a", "valueExpression": "1"}]}, "extra claim expression: 1: expression must return"),
    ],
)
def test_mappings_that_fail(mappings, message):
    with pytest.raises(Unauthorized) as caught:
        user(**mappings)
    assert message in caught.value.message


def test_rules():
    rule = {"expression": "claims.exp - claims.nbf <= 60", "message": "lives too long"}
    user(rules=[rule])
    with pytest.raises(Unauthorized) as caught:
        user({"nbf": 0}, rules=[rule])
    assert caught.value.message == (
        "oidc: error evaluating claim validation expression: validation expression 'claims.exp - claims.nbf <= 60' failed: "
        "lives too long"
    )


def test_rules_of_users():
    system = {"expression": "!user.username.startsWith('system:')", "message": "reserved"}
    extra = {"expression": "user.extra.x__dot__y__slash__a == ['1']"}
    user(users=[system, extra], extra=[{"key": "x.y/a", "valueExpression": "'1'"}])
    with pytest.raises(Unauthorized, match=r"user info validation rule: validation expression .* failed: reserved"):
        user({"sub": "system:admin"}, users=[system])
