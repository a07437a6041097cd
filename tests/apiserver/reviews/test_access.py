import pytest

from pilothouse.api.status import BadRequest, Invalid
from pilothouse.api.user import User
from pilothouse.apiserver.authz.attributes import Decision, UserRules, Verdict
from pilothouse.apiserver.authz.chain import Chain, Link
from pilothouse.apiserver.call import Call
from pilothouse.apiserver.reviews import selectors
from pilothouse.apiserver.reviews.access import AccessReviews
from pilothouse.apiserver.route import request_info
from pilothouse.kit.http.message import LOCAL_PEER, Request


class Answering:
    """Gives one decision, and remembers what was asked."""

    def __init__(self, decision):
        self.decision = decision
        self.asked = []

    def authorize(self, attributes):
        self.asked.append(attributes)
        return self.decision

    def rules_for(self, user, namespace):
        rules = [
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "nonResourceURLs": []},
            {"verbs": ["get"], "nonResourceURLs": ["/x"]},
        ]
        return UserRules(rules, False, "partly")


@pytest.fixture
def mode():
    return Answering(Decision(Verdict.NO_OPINION, "why", "broken"))


@pytest.fixture
def reviews(mode):
    return AccessReviews(Chain([Link(mode)]))


def call(path="/apis/authorization.k8s.io/v1/subjectaccessreviews"):
    return Call(Request("POST", path, "", {}, b"", LOCAL_PEER), request_info("POST", path, {}), {}, User("me"))


def review(metadata=None, **spec):
    return {"apiVersion": "authorization.k8s.io/v1", "kind": "X", "metadata": metadata or {}, "spec": spec}


async def test_an_error_of_the_authorizer_is_told(reviews, mode):
    answer = await reviews.subject_access(call(), review(user="bob", resourceAttributes={"verb": "get"}))
    assert answer["status"] == {"allowed": False, "reason": "why", "evaluationError": "broken"}
    mode.decision = Decision(Verdict.DENY)
    answer = await reviews.subject_access(call(), review(user="bob", resourceAttributes={"verb": "get"}))
    assert answer["status"] == {"allowed": False, "denied": True}


async def test_selectors(reviews, mode):
    mode.decision = Decision(Verdict.ALLOW)
    fields = {"requirements": [{"key": "a.b", "operator": "In", "values": ["x,y"]}, {"key": "c", "operator": "Exists"}]}
    labels = {"rawSelector": "a in (b"}
    attributes = {"verb": "list", "fieldSelector": fields, "labelSelector": labels}
    answer = await reviews.self_subject_access(call(), review(resourceAttributes=attributes))
    (asked,) = mode.asked
    assert (asked.field_selector, asked.label_selector) == ("a.b=x\\,y", "")
    assert answer["status"]["evaluationError"] == (
        "spec.resourceAttributes.fieldSelector partially ignored due to parse error; "
        "spec.resourceAttributes.labelSelector ignored due to parse error"
    )


@pytest.mark.parametrize(
    ("labels", "text", "is_faulty"),
    [
        (None, "", False),
        ({"rawSelector": "a=b,!c"}, "a=b,!c", False),
        ({"requirements": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}, "a notin (b)", False),
        ({"requirements": [{"key": "a", "operator": "Near", "values": ["b"]}]}, "", True),
    ],
)
def test_labels(labels, text, is_faulty):
    assert selectors.labels(labels) == (text, is_faulty)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "exactly one of nonResourceAttributes or resourceAttributes must be specified"),
        (
            {"resourceAttributes": {}, "nonResourceAttributes": {}},
            'spec.nonResourceAttributes: Invalid value: {"Path":"","Verb":""}: cannot be specified in combination with resourceAttributes',
        ),
        (
            {"resourceAttributes": {"labelSelector": {}}},
            "spec.resourceAttributes.labelSelector.requirements: Required value: when spec.resourceAttributes.labelSelector is "
            "specified, requirements or rawSelector is required",
        ),
        (
            {"resourceAttributes": {"fieldSelector": {"rawSelector": "a=b", "requirements": [{"key": "a"}]}}},
            'rawSelector: Invalid value: "a=b": may not specified at the same time as requirements',
        ),
        (
            {"resourceAttributes": {"fieldSelector": {"requirements": [{"operator": "In"}]}}},
            "[spec.resourceAttributes.fieldSelector.requirements[0].key: Required value: must be specified, "
            "spec.resourceAttributes.fieldSelector.requirements[0].values: Required value: must be specified when `operator` is",
        ),
        (
            {
                "resourceAttributes": {
                    "labelSelector": {"requirements": [{"key": "-", "operator": "Exists", "values": ["a"]}]}
                }
            },
            "requirements[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ),
    ],
)
async def test_specs_that_cannot_be(reviews, spec, message):
    with pytest.raises(Invalid) as caught:
        await reviews.self_subject_access(call(), review(**spec))
    assert message in caught.value.message
    assert caught.value.message.startswith('.authorization.k8s.io "" is invalid: ')


async def test_metadata_must_be_empty(reviews):
    obj = review({"name": "x"}, user="u", nonResourceAttributes={"path": "/"})
    with pytest.raises(Invalid, match=r"metadata: Invalid value: .*: must be empty$"):
        await reviews.subject_access(call(), obj)
    obj = review({"name": "x", "namespace": "ns"}, user="u", resourceAttributes={"namespace": "ns"})
    with pytest.raises(Invalid, match="must be empty except for namespace"):
        await reviews.local_subject_access(call(), obj)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"resourceAttributes": {"namespace": "other"}}, "must match metadata.namespace"),
        ({"nonResourceAttributes": {"path": "/"}}, "disallowed on this kind of request"),
    ],
)
async def test_local_reviews_are_about_their_namespace(reviews, asked, message):
    path = "/apis/authorization.k8s.io/v1/namespaces/ns/localsubjectaccessreviews"
    with pytest.raises(Invalid) as caught:
        await reviews.local_subject_access(call(path), review({"namespace": "ns"}, user="u", **asked))
    assert message in caught.value.message


async def test_rules(reviews):
    with pytest.raises(BadRequest, match="no namespace on request"):
        await reviews.self_subject_rules(call(), review())
    answer = await reviews.self_subject_rules(call(), review(namespace="ns"))
    assert answer["spec"] == {}
    assert answer["status"] == {
        "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}],
        "incomplete": True,
        "evaluationError": "partly",
    }
