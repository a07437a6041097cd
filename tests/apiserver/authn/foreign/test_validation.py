import pytest
import yaml

from pilothouse.apiserver.authn.jwt.configuration import ConfigurationError, load
from pilothouse.apiserver.authn.jwt.tokens import checked

VERIFIED = "claims.email_verified must be used in claimMappings.username.expression"


def configuration(issuer=None, mappings=None, **fields):
    issuer = {"url": "https://x", "audiences": ["me"], **(issuer or {})}
    mappings = {"username": {"claim": "sub", "prefix": ""}, **(mappings or {})}
    return [{"issuer": issuer, "claimMappings": mappings, **fields}]


def check(jwt, version="v1", **fields):
    head = {"apiVersion": f"apiserver.config.k8s.io/{version}", "kind": "AuthenticationConfiguration"}
    return checked(load(yaml.safe_dump({**head, "jwt": jwt, **fields}).encode()), ["https://self"])


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha1"])
def test_what_can_be(version):
    email = "claims.email_verified == true ? claims.email : 'nobody'"
    extra = [{"key": "example.org/tenant", "valueExpression": "claims.tenant"}]
    rules = [{"expression": "claims.exp - claims.nbf <= 86400", "message": "too long"}]
    users = [{"expression": "!user.username.startsWith('system:')"}]
    mappings = {"username": {"expression": email}, "uid": {"claim": "sub"}, "extra": extra}
    found = check(configuration(None, mappings, claimValidationRules=rules, userValidationRules=users), version)
    assert len(found.jwt) == 1
    assert check([], version).jwt == ()


@pytest.mark.parametrize(
    ("jwt", "message"),
    [
        (configuration({"url": ""}), "jwt[0].issuer.url: Required value"),
        (configuration({"url": "http://x"}), 'jwt[0].issuer.url: Invalid value: "http://x": URL scheme must be https'),
        (configuration({"url": "https://a:b@x"}), "URL must not contain a username or password"),
        (configuration({"url": "https://x?q=1"}), "URL must not contain a query"),
        (configuration({"url": "https://x#f"}), "URL must not contain a fragment"),
        (configuration({"url": "https://self"}), "URL must not overlap with disallowed issuers: [https://self]"),
        (configuration({"discoveryURL": "https://x/"}), "discoveryURL must be different from URL"),
        (
            configuration({"audiences": []}),
            "jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required",
        ),
        (configuration({"audiences": ["a", "a"]}), 'jwt[0].issuer.audiences[1]: Duplicate value: "a"'),
        (configuration({"audiences": ["a", "b"]}), "audienceMatchPolicy must be MatchAny for multiple audiences"),
        (
            configuration({"audienceMatchPolicy": "All"}),
            "audienceMatchPolicy must be empty or MatchAny for single audience",
        ),
        (
            configuration({"certificateAuthority": "x"}),
            'Invalid value: "<omitted>": data does not contain any valid RSA or ECDSA certificates',
        ),
        (configuration({"egressSelectorType": "x"}), "egress selector must be either controlplane or cluster"),
        (configuration({"egressSelectorType": "cluster"}), "egress lookup required"),
        ([*configuration(), *configuration()], 'jwt[1].issuer.url: Duplicate value: "https://x"'),
        (
            configuration(None, {"username": {}}),
            "jwt[0].claimMappings.username: Required value: claim or expression is required",
        ),
        (configuration(None, {"username": {"claim": "a"}}), "prefix is required when claim is set."),
        (
            configuration(None, {"username": {"claim": "a", "expression": "b"}}),
            "claim and expression can't both be set",
        ),
        (
            configuration(None, {"groups": {"expression": "claims.g", "prefix": ""}}),
            "jwt[0].claimMappings.groups.prefix: Invalid value",
        ),
        (configuration(None, {"uid": {"claim": "a", "expression": "b"}}), "jwt[0].claimMappings.uid: Invalid value"),
        (configuration(None, {"uid": {"expression": "("}}), "jwt[0].claimMappings.uid.expression: Invalid value"),
        (configuration(None, {"username": {"expression": "claims.email"}}), VERIFIED),
        (configuration(None, {"username": {"expression": "claims.?email.orValue('')"}}), VERIFIED),
        (configuration(None, {"extra": [{"key": "a", "valueExpression": "'b'"}]}), "must be a domain-prefixed path"),
        (configuration(None, {"extra": [{"key": "a.b/C", "valueExpression": "'b'"}]}), "must be lowercase"),
        (
            configuration(None, {"extra": [{"key": "x.k8s.io/c", "valueExpression": "'b'"}]}),
            "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use",
        ),
        (
            configuration(None, {"extra": [{"key": "a.b/c"}]}),
            "jwt[0].claimMappings.extra[0].valueExpression: Required value",
        ),
        (
            configuration(claimValidationRules=[{}]),
            "claimValidationRules[0]: Required value: claim or expression is required",
        ),
        (
            configuration(claimValidationRules=[{"claim": "a", "message": "m"}]),
            "may not be specified when claim is set",
        ),
        (
            configuration(claimValidationRules=[{"claim": "a"}] * 2),
            'claimValidationRules[1].claim: Duplicate value: "a"',
        ),
        (
            configuration(claimValidationRules=[{"expression": "true", "requiredValue": "x"}]),
            "may not be specified when expression is set",
        ),
        (configuration(claimValidationRules=[{"expression": "claims.a"}]), "must evaluate to bool"),
        (configuration(userValidationRules=[{}]), "jwt[0].userValidationRules[0].expression: Required value"),
        (configuration(userValidationRules=[{"expression": "user.name == ''"}]), "undefined field 'name'"),
        (configuration(userValidationRules=[{"expression": "true"}] * 2), "Duplicate value"),
        (configuration() * 65, "jwt: Too many: 65: must have at most 64 items"),
        ([{"issuers": {}}], 'strict decoding error: unknown field "jwt[0].issuers"'),
        ([{"issuer": "x"}], "cannot unmarshal string into Go struct field AuthenticationConfiguration.jwt[0].issuer"),
    ],
)
def test_what_cannot_be(jwt, message):
    with pytest.raises(ConfigurationError) as caught:
        check(jwt)
    assert message in str(caught.value)


def test_conditions_of_nobody():
    with pytest.raises(ConfigurationError, match="enabled should be set to true when conditions are defined"):
        check([], anonymous={"enabled": False, "conditions": [{"path": "/x"}]})


@pytest.mark.parametrize("text", [b"", b"[]", b"kind: Config\napiVersion: v1", b"a: ["])
def test_files_that_are_something_else(text):
    with pytest.raises(ConfigurationError):
        load(text)
