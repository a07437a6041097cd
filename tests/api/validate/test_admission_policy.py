import pytest

from pilothouse.api.validate.admission_policy import validate_binding, validate_policy

RULES = [{"operations": ["*"], "apiGroups": ["apps"], "apiVersions": ["*"], "resources": ["deployments"]}]
GOOD = {"matchConstraints": {"resourceRules": RULES}, "validations": [{"expression": "object.spec.replicas < 5"}]}


def faults(validate, spec):
    return [str(error) for error in validate({"metadata": {"name": "p.example.com"}, "spec": spec})]


def test_a_good_policy():
    variables = [{"name": "x", "expression": "object.spec"}]
    annotations = [{"key": "k", "valueExpression": "'a'"}]
    assert not faults(validate_policy, {**GOOD, "variables": variables, "auditAnnotations": annotations})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "spec.matchConstraints: Required value"),
        ({**GOOD, "matchConstraints": {}}, "spec.matchConstraints.resourceRules: Required value"),
        ({**GOOD, "validations": []}, "validations or auditAnnotations must contain at least one item"),
        ({**GOOD, "validations": [{"expression": "object."}]}, "compilation failed: ERROR: <input>:1:8: Syntax error"),
        ({**GOOD, "validations": [{"expression": "'a'"}]}, "Invalid value: \"'a'\": must evaluate to bool"),
        ({**GOOD, "validations": [{"expression": " "}]}, "expression is not specified"),
        ({**GOOD, "validations": [{"expression": "true", "messageExpression": "1"}]}, "must evaluate to string"),
        ({**GOOD, "validations": [{"expression": "true", "message": "a\nb"}]}, "must not contain line breaks"),
        ({**GOOD, "validations": [{"expression": "true", "reason": "Why"}]}, 'Unsupported value: "Why"'),
        ({**GOOD, "variables": [{"name": "a-b", "expression": "1"}]}, "must be a valid CEL identifier"),
        (
            {**GOOD, "auditAnnotations": [{"key": "k", "valueExpression": "1"}]},
            "must evaluate to one of [string null_type] but got int",
        ),
        ({**GOOD, "failurePolicy": "Maybe"}, 'spec.failurePolicy: Unsupported value: "Maybe"'),
        ({**GOOD, "matchConditions": [{"name": "a", "expression": "1"}]}, "spec.matchConditions[0].expression"),
    ],
)
def test_bad_policies(spec, message):
    assert any(message in fault for fault in faults(validate_policy, spec)), faults(validate_policy, spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"policyName": "p", "validationActions": ["Deny"]}, ""),
        ({"validationActions": ["Deny"]}, "spec.policyName: Required value"),
        ({"policyName": "p", "validationActions": []}, "spec.validationActions: Required value"),
        ({"policyName": "p", "validationActions": ["Deny", "Warn"]}, "must not contain both Deny and Warn"),
        ({"policyName": "p", "validationActions": ["Deny", "Deny"]}, "Duplicate value"),
        (
            {"policyName": "p", "validationActions": ["Deny"], "paramRef": {}},
            "one of name or selector must be specified",
        ),
        (
            {"policyName": "p", "validationActions": ["Deny"], "paramRef": {"name": "a", "selector": {}}},
            "name and selector are mutually exclusive",
        ),
    ],
)
def test_bindings(spec, message):
    found = faults(validate_binding, spec)
    assert any(message in fault for fault in found) if message else not found


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"validations": [{"expression": "object.x"}]}, "must evaluate to bool but got dyn"),
        ({"validations": [{"expression": "request.nothing == 1"}]}, "undefined field 'nothing'"),
        (
            {"validations": [{"expression": "request.name > 1"}]},
            "found no matching overload for '_>_' applied to '(string, int)'",
        ),
        ({"validations": [{"expression": "namespaceObject.metadata.zz == 'a'"}]}, "undefined field 'zz'"),
        ({"validations": [{"expression": "params.x == 1"}]}, "ERROR: <input>:1:1: undeclared reference to 'params'"),
        (
            {"validations": [{"expression": "variables.x == 1"}]},
            "ERROR: <input>:1:1: undeclared reference to 'variables'",
        ),
        (
            {"variables": [{"name": "a", "expression": "1"}], "validations": [{"expression": "variables.a"}]},
            "must evaluate to bool but got int",
        ),
        (
            {"variables": [{"name": "a", "expression": "variables.b"}, {"name": "b", "expression": "1"}]},
            "spec.variables[0].expression: Invalid value: \"variables.b\": compilation failed: ERROR: <input>:1:10: undefined field 'b'",
        ),
        ({"paramKind": {"apiVersion": "a/b/c", "kind": "A b"}}, "unexpected GroupVersion string: a/b/c"),
        ({"paramKind": {"apiVersion": "v1", "kind": "A b"}}, "may have mixed case, but should otherwise match"),
    ],
)
def test_expressions_are_checked_in_the_types_that_are_known(spec, message):
    faults = validate_policy({"metadata": {"name": "p"}, "spec": {**GOOD, **spec}})
    assert any(message in str(fault) for fault in faults), [str(fault) for fault in faults]


def test_variables_have_types():
    expressions = (
        "variables.q.isGreaterThan(quantity('1'))",
        "variables.names.all(n, n != 'a')",
        "variables.kind.group == ''",
    )
    variables = [
        {"name": "q", "expression": "quantity('2')"},
        {"name": "names", "expression": "request.userInfo.groups"},
        {"name": "kind", "expression": "request.kind"},
        {"name": "any", "expression": "object.spec"},
        {"name": "later", "expression": "variables.names.size() + 1"},
    ]
    validations = [{"expression": each} for each in (*expressions, "variables.any.x == 1", "variables.later > 1")]
    spec = {**GOOD, "variables": variables, "validations": validations}
    assert validate_policy({"metadata": {"name": "p"}, "spec": spec}) == []
