import pytest

from pilothouse.api import gvr as kinds
from pilothouse.api.resource import Resource
from pilothouse.api.schema import schema_of
from pilothouse.api.status import StatusError
from pilothouse.api.user import User
from pilothouse.api.validate.admission_policy import validate_mutating_policy
from pilothouse.apiserver.admission.chain import Chain
from pilothouse.apiserver.admission.expressions import Expressions
from pilothouse.apiserver.admission.measures import AdmissionMeasures
from pilothouse.apiserver.admission.policies.mutating import MutatingAdmissionPolicy
from pilothouse.apiserver.attributes import Attributes
from pilothouse.apiserver.authz import chain as authorization
from pilothouse.apiserver.authz.always import AlwaysAllow
from pilothouse.apiserver.objects import MemoryObjects
from pilothouse.kit.clock import VirtualClock

RULES = [{"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}]

ANYTHING = authorization.Chain([authorization.Link(AlwaysAllow())])


class World:
    def __init__(self):
        self.objects = MemoryObjects([(kinds.NAMESPACES, {"metadata": {"name": "ns"}})])
        plugin = MutatingAdmissionPolicy(
            self.objects, Expressions(ANYTHING), None, self.struct, AdmissionMeasures(VirtualClock())
        )
        self.chain = Chain([plugin])

    @staticmethod
    def struct(api_version, kind):
        return schema_of(api_version, kind).struct

    def policy(self, *mutations, name="p", **spec):
        spec = {
            "matchConstraints": {"resourceRules": RULES},
            "mutations": list(mutations),
            "reinvocationPolicy": "Never",
            **spec,
        }
        assert not validate_mutating_policy({"metadata": {"name": name}, "spec": spec})
        self.objects.put(kinds.MUTATING_ADMISSION_POLICIES, {"metadata": {"name": name}, "spec": spec})
        binding = {"metadata": {"name": f"{name}-b"}, "spec": {"policyName": name}}
        self.objects.put(kinds.MUTATING_ADMISSION_POLICY_BINDINGS, binding)

    async def create(self):
        container = {"name": "c", "image": "x", "env": [{"name": "A", "value": "1"}]}
        obj = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "ns"},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}},
            },
        }
        gvr = kinds.DEPLOYMENTS
        attributes = Attributes("CREATE", Resource(gvr), gvr, "ns", "web", User("a"), obj)
        await self.chain.mutate(attributes)
        return obj


@pytest.fixture
def world():
    return World()


def apply(expression):
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def patch(expression):
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


async def test_configurations_merge(world):
    world.policy(
        apply(
            "Object{metadata: Object.metadata{labels: {'x': 'y'}}, spec: Object.spec{replicas: object.spec.replicas + 2}}"
        ),
        apply(
            "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{containers: "
            "[Object.spec.template.spec.containers{name: 'side', image: 'y'}]}}}}"
        ),
    )
    created = await world.create()
    assert created["metadata"]["labels"] == {"x": "y"}
    assert created["spec"]["replicas"] == 3
    assert [each["name"] for each in created["spec"]["template"]["spec"]["containers"]] == ["c", "side"]
    assert created["spec"]["selector"] == {"matchLabels": {"a": "b"}}


@pytest.mark.parametrize(
    ("part", "paths"),
    [
        ("selector: Object.spec.selector{matchLabels: {'l': 'v'}}", ".spec.selector"),
        (
            "selector: Object.spec.selector{matchExpressions: "
            "[Object.spec.selector.matchExpressions{key: 'k', operator: 'Exists'}]}",
            ".spec.selector, .spec.selector.matchExpressions",
        ),
        (
            "template: Object.spec.template{spec: Object.spec.template.spec{containers: "
            "[Object.spec.template.spec.containers{name: 'c', args: ['x']}]}}",
            ".spec.template.spec.containers[0].args",
        ),
    ],
)
async def test_configurations_replace_nothing_as_a_whole(world, part, paths):
    world.policy(apply(f"Object{{spec: Object.spec{{{part}}}}}"))
    with pytest.raises(StatusError) as refused:
        await world.create()
    assert refused.value.message.endswith(
        f"invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {paths}"
    )


async def test_json_patches(world):
    world.policy(
        patch(
            "[JSONPatch{op: 'test', path: '/spec/replicas', value: 1}, JSONPatch{op: 'add', path: '/metadata/labels', value: {}}, "
            "JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b'), value: 'c'}]"
        ),
        patch("[JSONPatch{op: 'test', path: '/spec/replicas', value: 9}, JSONPatch{op: 'remove', path: '/spec'}]"),
        patch("[JSONPatch{op: 'replace', path: '/spec/replicas', value: object.spec.replicas + 1}]"),
    )
    created = await world.create()
    assert created["metadata"]["labels"] == {"a/b": "c"}
    assert created["spec"]["replicas"] == 2


@pytest.mark.parametrize(
    ("mutation", "message"),
    [
        (apply("Object{spec: Object.spec{replicas: object.spec.missing}}"), "no such key: missing"),
        (apply("Object{spec: Object.spec{replicas: 'many'}}"), "failed to convert patch object to typed object"),
        (patch("[JSONPatch{op: 'remove', path: '/nowhere'}]"), "JSON Patch: "),
    ],
)
async def test_refusals(world, mutation, message):
    world.policy(mutation)
    with pytest.raises(StatusError) as caught:
        await world.create()
    assert caught.value.message.startswith("policy 'p' with binding 'p-b' denied request: ")
    assert message in caught.value.message
    assert (caught.value.status_code, caught.value.status_reason) == (403, "Invalid")
    world.policy(mutation, failurePolicy="Ignore")
    await world.create()


async def test_conditions_and_variables(world):
    condition = [{"name": "never", "expression": "object.spec.replicas > 5"}]
    world.policy(apply("Object{spec: Object.spec{replicas: 9}}"), matchConditions=condition, name="a")
    variables = [{"name": "twice", "expression": "object.spec.replicas * 2"}]
    world.policy(apply("Object{spec: Object.spec{replicas: variables.twice}}"), variables=variables, name="b")
    assert (await world.create())["spec"]["replicas"] == 2


async def test_reinvocation(world):
    """The first policy is applied again, because the second one changed the object after it."""
    add = apply("Object{spec: Object.spec{replicas: object.spec.replicas + 1}}")
    world.policy(add, name="a", reinvocationPolicy="IfNeeded")
    world.policy(add, name="b")
    assert (await world.create())["spec"]["replicas"] == 4


def test_policies_that_cannot_be():
    def faults(**spec):
        spec = {"matchConstraints": {"resourceRules": RULES}, "reinvocationPolicy": "Never", **spec}
        return " ".join(str(error) for error in validate_mutating_policy({"metadata": {"name": "p"}, "spec": spec}))

    assert "mutations must contain at least one item" in faults()
    assert "must evaluate to list" in faults(mutations=[patch("1")])
    assert "must evaluate to Object but got int" in faults(mutations=[apply("1")])
    assert faults(mutations=[apply("Object{spec: Object.status{}}")]) == "", "it is told when it is met"
    assert "undefined field 'foo' of JSONPatch" in faults(mutations=[patch("[JSONPatch{foo: 'add'}]")])
    assert "Required value: must be specified when patchType is JSONPatch" in faults(
        mutations=[{"patchType": "JSONPatch"}]
    )
    assert "reinvocationPolicy" in faults(mutations=[apply("Object{}")], reinvocationPolicy="Always")
