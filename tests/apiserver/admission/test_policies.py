import pytest

from pilothouse.api import gvr as kinds
from pilothouse.api.resource import Resource
from pilothouse.api.status import StatusError
from pilothouse.api.user import User
from pilothouse.apiserver.admission.expressions import Expressions
from pilothouse.apiserver.admission.measures import AdmissionMeasures
from pilothouse.apiserver.admission.policies.validating import ValidatingAdmissionPolicy
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.authz.always import AlwaysAllow
from pilothouse.apiserver.authz.chain import Chain, Link
from pilothouse.apiserver.objects import MemoryObjects
from pilothouse.kit.clock import VirtualClock

RULES = [{"operations": ["*"], "apiGroups": ["apps"], "apiVersions": ["*"], "resources": ["deployments"]}]
NAMESPACE = {"metadata": {"name": "ns", "labels": {"env": "prod"}}}


class Params:
    is_namespaced = True

    def __init__(self, *objs):
        self.objs = objs

    async def get(self, namespace, name):
        return next((obj for obj in await self.list(namespace) if obj["metadata"]["name"] == name), None)

    async def list(self, namespace):
        return [obj for obj in self.objs if obj["metadata"]["namespace"] == namespace]


class World:
    def __init__(self):
        self.objects = MemoryObjects([(kinds.NAMESPACES, NAMESPACE)])
        self.params = {("v1", "ConfigMap"): Params(config("limit", "3"), config("other", "9", x="y"))}
        self.measures = AdmissionMeasures(VirtualClock())
        self.plugin = ValidatingAdmissionPolicy(
            self.objects, Expressions(Chain([Link(AlwaysAllow())])), self.find, self.measures
        )

    async def find(self, api_version, kind):
        return self.params.get((api_version, kind))

    def policy(self, *validations, name="p", **spec):
        spec = {"matchConstraints": {"resourceRules": RULES}, "validations": list(validations), **spec}
        self.objects.put(kinds.VALIDATING_ADMISSION_POLICIES, {"metadata": {"name": name}, "spec": spec})

    def bind(self, policy="p", name="b", actions=("Deny",), **spec):
        spec = {"policyName": policy, "validationActions": list(actions), **spec}
        self.objects.put(kinds.VALIDATING_ADMISSION_POLICY_BINDINGS, {"metadata": {"name": name}, "spec": spec})

    async def write(self, replicas=5, **more):
        labels = more.pop("labels", {})
        obj = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "ns", "labels": labels},
            "spec": {"replicas": replicas},
        }
        user = User("alice", groups=("devs",))
        gvr = kinds.DEPLOYMENTS
        attributes = Attributes("CREATE", Resource(gvr), gvr, "ns", "web", user, obj, **more)
        await self.plugin.validate(attributes)
        return attributes

    async def refused(self, *arguments, **more):
        with pytest.raises(StatusError) as caught:
            await self.write(*arguments, **more)
        return caught.value


def config(name, limit, **labels):
    return {"metadata": {"name": name, "namespace": "ns", "labels": labels}, "data": {"limit": limit}}


@pytest.fixture
def world():
    return World()


LIMIT = {"expression": "object.spec.replicas <= 3"}


async def test_nothing_without_a_binding(world):
    world.policy(LIMIT)
    await world.write()
    world.bind("other")
    await world.write()


async def test_a_refusal(world):
    world.policy(LIMIT)
    world.bind()
    error = await world.refused()
    told = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression: object.spec.replicas <= 3"
    assert error.message == f'deployments.apps "web" is forbidden: {told}'
    assert (error.status_code, error.status_reason) == (422, "Invalid")
    assert error.to_object()["details"]["causes"] == [{"message": told}]
    await world.write(3)


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        ({"message": "too many"}, "too many"),
        ({"messageExpression": "'only 3, not ' + string(object.spec.replicas)"}, "only 3, not 5"),
        ({"messageExpression": "object.no.such", "message": "fallback"}, "fallback"),
        ({"messageExpression": "'two\\nlines'"}, "failed expression: object.spec.replicas <= 3"),
    ],
)
async def test_messages(world, validation, message):
    world.policy({**LIMIT, **validation})
    world.bind()
    assert (await world.refused()).message.endswith(f"denied request: {message}")


async def test_reasons(world):
    world.policy({**LIMIT, "reason": "Forbidden"})
    world.bind()
    error = await world.refused()
    assert (error.status_code, error.status_reason) == (403, "Forbidden")


async def test_warnings_and_audit(world):
    world.policy({**LIMIT, "message": "too many"})
    world.bind(actions=["Warn", "Audit"])
    attributes = await world.write()
    assert attributes.warnings == ["Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': too many"]
    assert "too many" in attributes.annotations["validation.policy.admission.k8s.io/validation_failure"]


async def test_variables(world):
    variables = [
        {"name": "count", "expression": "object.spec.replicas"},
        {"name": "bad", "expression": "object.spec.missing"},
        {"name": "twice", "expression": "variables.count * 2"},
    ]
    world.policy({"expression": "variables.twice == 10 && (true || variables.bad)"}, variables=variables)
    world.bind()
    await world.write()
    world.policy({"expression": "variables.bad"}, variables=variables)
    message = (await world.refused()).message
    why = 'resulted in error: composited variable "bad" fails to evaluate: no such key: missing'
    assert f"expression 'variables.bad' {why}" in message


async def test_errors_follow_the_failure_policy(world):
    world.policy({"expression": "object.spec.missing > 1"})
    world.bind()
    message = (await world.refused()).message
    assert message.endswith("expression 'object.spec.missing > 1' resulted in error: no such key: missing")
    world.policy({"expression": "object.spec.missing > 1"}, failurePolicy="Ignore")
    await world.write()
    world.policy({"expression": "object.spec."})
    assert "compilation error: compilation failed: ERROR" in (await world.refused()).message


KIND = {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}


@pytest.mark.parametrize(
    ("reference", "refusals"),
    [
        ({"name": "limit"}, "> 3"),
        ({"name": "other"}, ""),
        ({"selector": {"matchLabels": {"x": "y"}}}, ""),
        ({"selector": {}}, "> 3"),
        ({"name": "limit", "namespace": "elsewhere"}, ""),
        ({"name": "missing", "parameterNotFoundAction": "Allow"}, ""),
        ({"name": "missing", "parameterNotFoundAction": "Deny"}, "no params found for policy binding with `Deny`"),
    ],
)
async def test_parameters(world, reference, refusals):
    rule = "object.spec.replicas <= int(params.data.limit)"
    world.policy({"expression": rule, "messageExpression": "'> ' + params.data.limit"}, **KIND)
    world.bind(paramRef=reference)
    if refusals:
        assert refusals in (await world.refused()).message
    else:
        await world.write()


async def test_a_parameter_kind_that_is_not_served(world):
    world.policy(LIMIT, paramKind={"apiVersion": "x/v1", "kind": "Y"})
    world.bind(paramRef={"name": "a"})
    message = (await world.refused()).message
    assert "failed to configure policy: failed to find resource referenced by paramKind: 'x/v1, Kind=Y'" in message


@pytest.mark.parametrize(
    ("spec", "applies"),
    [
        ({}, True),
        ({"matchConditions": [{"name": "a", "expression": "request.userInfo.username == 'bob'"}]}, False),
        ({"matchConditions": [{"name": "a", "expression": "'devs' in request.userInfo.groups"}]}, True),
        ({"matchConstraints": {"resourceRules": RULES, "excludeResourceRules": RULES}}, False),
        ({"matchConstraints": {"resourceRules": [{**RULES[0], "resourceNames": ["other"]}]}}, False),
        ({"matchConstraints": {"resourceRules": RULES, "namespaceSelector": {"matchLabels": {"env": "test"}}}}, False),
        ({"matchConstraints": {"resourceRules": RULES, "objectSelector": {"matchLabels": {"a": "b"}}}}, False),
    ],
)
async def test_what_is_matched(world, spec, applies):
    world.policy(LIMIT, **spec)
    world.bind()
    if applies:
        await world.refused()
    else:
        await world.write()


async def test_bindings_narrow(world):
    world.policy(LIMIT)
    world.bind(matchResources={"namespaceSelector": {"matchLabels": {"env": "test"}}})
    await world.write()


async def test_the_namespace_and_the_authorizer(world):
    world.policy(
        {"expression": "namespaceObject.metadata.labels.env == 'prod'"},
        {"expression": "authorizer.requestResource.check('create').allowed()"},
        {"expression": "oldObject == null && request.operation == 'CREATE'"},
    )
    world.bind()
    await world.write()


async def test_audit_annotations(world):
    world.policy(
        auditAnnotations=[
            {"key": "replicas", "valueExpression": "'has ' + string(object.spec.replicas)"},
            {"key": "none", "valueExpression": "object.spec.replicas > 9 ? 'many' : ''"},
        ]
    )
    world.bind()
    assert (await world.write()).annotations == {"p/replicas": "has 5"}


async def test_a_changed_policy_counts_at_once(world):
    world.policy(LIMIT)
    world.bind()
    await world.refused()
    world.policy({"expression": "true"})
    await world.write()
    world.objects.remove(kinds.VALIDATING_ADMISSION_POLICIES, {"metadata": {"name": "p"}})
    await world.write()


async def test_other_kinds_cost_nothing(world):
    world.policy(LIMIT)
    world.bind()
    gvr = kinds.CONFIG_MAPS
    attributes = Attributes("CREATE", Resource(gvr), gvr, "ns", "c", User("a"), {"metadata": {"name": "c"}})
    await world.plugin.validate(attributes)
    assert world.plugin._policies._wanted[gvr] == ()


async def test_decisions_are_measured(world):
    """Under upstream's names: by policy, binding, kind of error and what came of it."""
    world.policy(LIMIT)
    world.bind()
    await world.refused()
    world.policy({"expression": "object.spec.missing == 1"})
    await world.refused()
    world.policy({"expression": "true"})
    await world.write()
    lines = {line for family in world.measures.families() for line in family.lines}
    total = 'apiserver_validating_admission_policy_check_total{policy="p",policy_binding="b",error_type='
    assert f'{total}"no_error",enforcement_action="deny"}} 1' in lines
    assert f'{total}"invalid_error",enforcement_action="deny"}} 1' in lines
    assert f'{total}"no_error",enforcement_action="allow"}} 1' in lines
