"""What expressions may cost, against the numbers that upstream's own tests expect (`schema/cel/compilation_test.go`)."""

import pytest

from pilothouse.api.cel import ast
from pilothouse.api.cel.cost import estimate
from pilothouse.api.cel.cost_terms import LIMIT
from pilothouse.api.cel.declared import declare
from pilothouse.api.cel.declared_environment import DeclaredEnvironment
from pilothouse.api.structural.schema import parse

TEXT = {"type": "string"}
NUMBER = {"type": "number"}
INT_OR_STRING = {"x-kubernetes-int-or-string": True}


def formatted(name):
    return {"type": "string", "format": name}


def array(items, most=None):
    return {"type": "array", "items": items, **({} if most is None else {"maxItems": most})}


def mapping(values, most=None):
    return {"type": "object", "additionalProperties": values, **({} if most is None else {"maxProperties": most})}


def text(most=None, **more):
    return {"type": "string", **more, **({} if most is None else {"maxLength": most})}


def struct(needed=(), /, **properties):
    return {"type": "object", "properties": properties, "required": list(needed)}


def cost(schema, rule):
    declared = declare(parse(schema))
    program = DeclaredEnvironment({"self": declared, "oldSelf": declared}).compile(rule)
    return estimate(ast.parse(program.serialized()), declared.size_at).most


OBJECT = struct(["required"], required=TEXT, optional=TEXT)
INNER = struct(["required"], required=TEXT)


@pytest.mark.parametrize(
    ("make", "rule", "unlimited", "most", "limited"),
    [
        (lambda m: array(NUMBER, m), "self.all(x, true)", 4718591, 10, 32),
        (lambda m: array(TEXT, m), "self.all(x, true)", 3145727, 20, 62),
        (lambda m: array({"type": "boolean"}, m), "self.all(x, true)", 1887437, 5, 17),
        (lambda m: array(array(NUMBER), m), "self.all(x, true)", 3145727, 100, 302),
        (lambda m: mapping(NUMBER, m), "self.all(x, true)", 1348169, 10, 32),
        (lambda m: mapping(TEXT, m), "self.all(x, true)", 1179647, 3, 11),
        (lambda m: text(m), "self.contains('test')", 314574, 10, 5),
        (lambda m: text(m), "self.startsWith('test')", 2, 15, 2),
        (lambda m: text(m), "self.endsWith('test')", 2, 30, 2),
        (lambda m: text(m), 'size(self + "hello") > size("hello")', 314578, 4, 7),
        (lambda m: array(NUMBER, m), "self[1] == 0.0", 2, 5000, 2),
        (lambda m: array(TEXT, m), "self[1] == self[1]", 314577, 8, 314577),
        (lambda m: array(NUMBER, m), "self.all(x, self.all(y, true))", None, 10, 352),
        (lambda m: array(NUMBER, m), "self.all(x, self.all(y, self.all(z, true)))", None, 10, 3552),
        (lambda m: text(m), 'self.matches("x")', 314574, 50, 22),
        (lambda m: text(m), '"".matches("(((((((((())))))))))[0-9]")', 7, 10, 7),
        (lambda m: text(m), 'self.matches("")', 1, 100, 1),
        (lambda m: mapping(text(m), m), "self.all(x, x.contains(self[x]))", 2752507, 10, 72),
        (lambda m: array(NUMBER, m), "self[3] == 0.0", 2, 0, 2),
        (lambda m: mapping(NUMBER, m), 'self["x"] == 0.0', 2, 0, 2),
        (lambda m: text(m), 'self == "x"', 2, 0, 1),
        (lambda m: text(m, format="byte"), 'self == b"x"', 2, 0, 1),
        (lambda m: array(NUMBER, m), "self.all(x, x == 0.0)", 6291454, 3 * 1024 * 2048, 25165826),
        (lambda m: array(mapping(INNER, m), m), 'self.all(x, x["y"].required == "z")', 7340027, 10, 72),
        (lambda m: array(INT_OR_STRING, m), "self.all(x, true)", 4718591, 10, 32),
        (lambda m: array(INT_OR_STRING, m), "self[0] == 5", 3, 10, 3),
        (lambda m: array({"type": "boolean"}, m), "self[0] == false", 2, 25, 2),
        (lambda m: array(OBJECT, m), "self[0] == null", 2, 422, 2),
        (lambda m: array(array(NUMBER), m), "self[0][0] == -1.0", 3, 51, 3),
        (lambda m: array(mapping(NUMBER), m), "self.all(x, x.y == 25.2)", 6291452, 12, 74),
        (lambda m: array(mapping(NUMBER), m), "self[0].x > 2.0", 4, 3000, 4),
        (lambda m: array(formatted("duration"), m), "self.all(x, true)", 2359295, 5, 17),
        (lambda m: array(formatted("duration"), m), "self[0].getHours() == 2", 4, 525, 4),
        (lambda m: array(formatted("date"), m), "self.all(x, true)", 725936, 15, 47),
        (lambda m: array(formatted("date"), m), "self[2].getDayOfMonth() == 13", 4, 42, 4),
        (lambda m: array(formatted("date-time"), m), "self.all(x, true)", 428963, 25, 77),
        (lambda m: mapping(INT_OR_STRING, m), "self.all(x, true)", 1348169, 15, 47),
        (lambda m: mapping(formatted("duration"), m), "self.all(x, true)", 1048577, 5, 17),
        (lambda m: mapping(formatted("date"), m), "self.all(x, true)", 524288, 10, 32),
        (lambda m: mapping(formatted("date-time"), m), "self.all(x, true)", 349526, 25, 77),
        (lambda m: text(m), "self.find('[0-9]+') == ''", 629147, 10, 11),
        (lambda m: array(text(m), m), "self.join(' ') == 'aa bb'", 329853068905, 10, 43),
        (lambda m: array(text(m), m), "self.isSorted() == true", 329854432052, 10, 52),
        (
            lambda m: struct(str=text(m), before=text(2), after=text(4)),
            "self.str.replace(self.before, self.after) == 'does not matter'",
            629154,
            4,
            12,
        ),
        (lambda m: struct(str=text(m), separator=text(m)), "self.str.split(self.separator) == []", 629160, 10, 22),
        (lambda m: text(m), "self.lowerAscii() == 'lower!'", 314575, 10, 6),
        (lambda m: mapping({"type": "integer"}, m), "oldSelf.size() == self.size()", 5, 10, 5),
        (lambda m: mapping(formatted("date-time"), m), 'self["a"] == self["b"]', 8, 7, 8),
        (lambda m: mapping(formatted("duration"), m), 'self["c"] == self["d"]', 8, 42, 8),
        (lambda m: text(m, enum=["A", "B", "C", "LongValue"]), "self.contains('A')", 2, 1000, 401),
        (lambda m: {**INT_OR_STRING, **({} if m is None else {"maxLength": m})}, "isQuantity(self)", 314574, 20, 9),
    ],
)
def test_costs_are_upstreams(make, rule, unlimited, most, limited):
    if unlimited is not None:
        assert cost(make(None), rule) == unlimited
    assert cost(make(most), rule) == limited


@pytest.mark.parametrize(
    ("rule", "most"),
    [
        ("(self.sum() + self.sum()) % 2 == 0", 2005),
        ("self.max() > self.min()", 2003),
        ("self.sum() == self.max()", 2003),
        ("self.isSorted() && self.sum() > 0", 2003),
    ],
)
def test_sums_and_extremes_are_of_the_type_of_the_items(rule: str, most: int) -> None:
    """Else the operators on them would cost what texts without a limit do."""
    assert cost(array({"type": "integer"}, 1000), rule) == most


def test_nested_loops_over_everything_cost_more_than_can_be_counted():
    loops = "self.all(a, self.all(b, self.all(c, self.all(d, a == b && c == d))))"
    assert cost(array(NUMBER), loops) == LIMIT


def test_what_is_made_in_an_expression_has_a_size():
    assert cost(array(text(10), 10), "self.map(x, x + 'ab').all(y, y.contains('ab'))") < 1000
    assert cost(array(NUMBER, 3), "[1, 2, 3].all(x, x in [1, 2])") == cost(
        array(NUMBER, 9), "[1, 2, 3].all(x, x in [1, 2])"
    )
