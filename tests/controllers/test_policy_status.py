from pilothouse.api.gvr import DEPLOYMENTS
from pilothouse.api.schema.types import catalog
from pilothouse.controllers.policy_status import custom_type, named_resources, warnings_of

DEPLOYMENT = DEPLOYMENTS, catalog().struct(catalog().name_of("apps/v1", "Deployment"))


def policy(*validations, **rule):
    rules = [{"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], **rule}]
    return {
        "metadata": {"name": "p"},
        "spec": {"matchConstraints": {"resourceRules": rules}, "validations": list(validations)},
    }


def test_what_cannot_be_is_told():
    confused = {"expression": "object.spec.replicas > '1'", "messageExpression": "'got ' + object.spec.replicas"}
    first, second = warnings_of(policy({"expression": "object.spec.replicas > 1"}, confused), [DEPLOYMENT])
    assert (first["fieldRef"], second["fieldRef"]) == (
        "spec.validations[1].expression",
        "spec.validations[1].messageExpression",
    )
    assert first["warning"].startswith("apps/v1, Kind=Deployment: ")
    assert "found no matching overload for '_>_' applied to '(int, string)'" in first["warning"]
    assert "found no matching overload for '_+_' applied to '(string, int)'" in second["warning"]


def test_fields_that_are_not_there():
    (warning,) = warnings_of(policy({"expression": "object.spec.missing == 1"}), [DEPLOYMENT])
    assert "undefined field 'missing'" in warning["warning"]


def test_wildcards_name_no_type():
    assert named_resources(policy()) == [("apps", "v1", "deployments")]
    assert named_resources(policy(resources=["*"])) == []
    assert named_resources(policy(resources=["deployments/status"])) == []


def test_custom_kinds():
    schema = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": {"size": {"type": "integer"}, "by-name": {"type": "string"}}}
        },
    }
    spec = {
        "group": "x.io",
        "scope": "Namespaced",
        "names": {"plural": "foos", "kind": "Foo"},
        "versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}],
    }
    found = custom_type({"metadata": {"name": "foos.x.io"}, "spec": spec}, "v1")
    assert found is not None
    assert not warnings_of(policy({"expression": "object.spec.size < 3 && object.metadata.name != ''"}), [found])
    assert warnings_of(policy({"expression": "object.spec.size == 'a'"}), [found])
    assert custom_type({"metadata": {"name": "foos.x.io"}, "spec": spec}, "v2") is None
