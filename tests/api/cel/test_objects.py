import pytest

from pilothouse.api.cel.environment import CompileError
from pilothouse.api.cel.objects import as_maps, unescape


@pytest.mark.parametrize(
    ("expression", "maps"),
    [
        (
            "Object{spec: Object.spec{replicas: object.spec.replicas + 1}}",
            'dyn({"spec": dyn({"replicas": object.spec.replicas + 1})})',
        ),
        ("Object { ?spec : x }", 'dyn({ ?"spec" : x })'),
        (
            "has(a.b) ? Object{spec: Object.spec{a: 1, b: f(c, d)}} : Object{}",
            'has(a.b) ? dyn({"spec": dyn({"a": 1, "b": f(c, d)})}) : dyn({})',
        ),
        (
            "[JSONPatch{op: 'add', path: '/a', value: {'b': 1}}]",
            "[dyn({\"op\": 'add', \"path\": '/a', \"value\": {'b': 1}})]",
        ),
        (
            "Object{spec: Object.spec{containers: [Object.spec.containers{name: 'Object{a: 1}'}]}}",
            'dyn({"spec": dyn({"containers": [dyn({"name": \'Object{a: 1}\'})]})})',
        ),
        ("x.Object.y + Objects", "x.Object.y + Objects"),
        ("Object{a__dash__b: 1, __namespace__: 2}", 'dyn({"a-b": 1, "namespace": 2})'),
        ("JSONPatch{value: Object.spec{a: 1}}", 'dyn({"value": dyn({"a": 1})})'),
    ],
)
def test_literals_become_maps(expression, maps):
    assert as_maps(expression) == maps


def test_a_literal_in_the_wrong_place():
    with pytest.raises(CompileError) as caught:
        as_maps("Object{spec: Object.spec{selector: Object.spec.wrong{}}}")
    assert str(caught.value) == (
        'type mismatch: unexpected type name "Object.spec.wrong", expected "Object.spec.selector", which matches field name path from '
        "root Object type"
    )


def test_unescape():
    assert unescape("a__underscores__b") == "a__b"
    assert unescape("plain") == "plain"
