"""What the flags of authentication and authorization become, and which do not go together."""

import pytest

from pilothouse.apiserver.authz.modes import AuthorizationOptions
from pilothouse.main.apiserver import COMPONENT, _issuers
from pilothouse.main.apiserver_security import authorization_options, foreign_options
from pilothouse.main.failure import Fatal
from pilothouse.main.flags import parse


def values(*arguments):
    return parse("apiserver", COMPONENT.flags, arguments)


def test_nothing_foreign_is_the_default():
    options = foreign_options(values())
    assert (options.file, options.oidc, options.webhook_file) == ("", None, "")
    assert (options.allow_anonymous, options.is_anonymous_given) == (True, False)
    assert authorization_options(values()) == AuthorizationOptions(("Node", "RBAC"))


def test_open_id_connect(tmp_path):
    authority = tmp_path / "ca.pem"
    authority.write_text("pem")
    given = values(
        "--oidc-issuer-url=https://x",
        "--oidc-client-id=me",
        f"--oidc-ca-file={authority}",
        "--oidc-groups-claim=roles",
        "--oidc-signing-algs=ES256,RS256",
        "--oidc-required-claim=a=b",
        "--oidc-required-claim=c=d=e",
    )
    oidc = foreign_options(given).oidc
    assert oidc is not None
    assert (oidc.issuer_url, oidc.client_id, oidc.authority) == ("https://x", "me", "pem")
    assert (oidc.username_claim, oidc.groups_claim, oidc.algorithms) == ("sub", "roles", ("ES256", "RS256"))
    assert oidc.required_claims == {"a": "b", "c": "d=e"}


def test_webhooks():
    given = values(
        "--authentication-token-webhook-config-file=/a",
        "--authentication-token-webhook-cache-ttl=10s",
        "--authorization-mode=Node,Webhook",
        "--authorization-webhook-config-file=/b",
        "--authorization-webhook-version=v1",
        "--authorization-webhook-cache-unauthorized-ttl=0",
    )
    foreign = foreign_options(given)
    assert (foreign.webhook_file, foreign.webhook_version, foreign.webhook_ttl_s) == ("/a", "v1beta1", 10.0)
    _, webhook = authorization_options(given).authorizers()
    assert webhook["name"] == "default"
    assert webhook["webhook"] == {
        "authorizedTTL": "300s",
        "cacheAuthorizedRequests": True,
        "unauthorizedTTL": "0s",
        "cacheUnauthorizedRequests": False,
        "timeout": "30s",
        "failurePolicy": "NoOpinion",
        "subjectAccessReviewVersion": "v1",
        "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": "/b"},
    }


def test_nobody_is_anonymous_where_everybody_is_allowed():
    assert not foreign_options(values("--authorization-mode=AlwaysAllow")).allow_anonymous
    assert not foreign_options(values("--anonymous-auth=false")).allow_anonymous


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--oidc-client-id=me"], "oidc-issuer-url and oidc-client-id must be specified together"),
        (["--oidc-issuer-url=https://x"], "oidc-issuer-url and oidc-client-id must be specified together"),
        (
            ["--authentication-config=/x", "--oidc-groups-claim=x"],
            "authentication-config file and oidc-* flags are mutually exclusive",
        ),
        (
            ["--oidc-issuer-url=https://x", "--oidc-client-id=me", "--oidc-required-claim=a"],
            "malformed pair, expect string=string",
        ),
    ],
)
def test_flags_of_authentication_that_do_not_go_together(arguments, message):
    with pytest.raises(Fatal) as caught:
        foreign_options(values(*arguments))
    assert message in str(caught.value)


@pytest.mark.parametrize("flag", ["--authorization-mode=RBAC", "--authorization-webhook-version=v1"])
def test_a_file_of_authorizers_says_everything(flag):
    with pytest.raises(Fatal, match="--authorization-config can not be specified when"):
        authorization_options(values("--authorization-config=/x", flag))


def test_issuers():
    issuers = _issuers(values("--service-account-issuer=https://a", "--service-account-issuer=https://b"))
    assert issuers == ("https://a", "https://b")
    with pytest.raises(Fatal, match="is already specified"):
        _issuers(values("--service-account-issuer=https://a", "--service-account-issuer=https://a"))
    with pytest.raises(Fatal, match="service-account-jwks-uri requires https scheme"):
        _issuers(values("--service-account-jwks-uri=http://a"))
