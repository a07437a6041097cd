from datetime import UTC, datetime, timedelta

import pytest

from pilothouse.api.cel.access import AccessAnswer
from pilothouse.api.cel.environment import (
    AUTHORIZER,
    BOOL,
    COST_EXCEEDED,
    DYN,
    RESOURCE_CHECK,
    STRING,
    CompileError,
    Environment,
    EvaluationError,
    duration,
    escape,
    timestamp,
)

VALUES = {
    "object": {
        "metadata": {"name": "web", "namespace": "ns", "labels": {"a": "b"}},
        "spec": {"replicas": 3, "share": 0.5, "list": [3, 1, 2], "nothing": None, "names": ["x", "y"]},
        "when": timestamp(datetime(2026, 1, 1, tzinfo=UTC)),
        "how_long": duration(timedelta(hours=1)),
    },
    "old": None,
}


@pytest.fixture(scope="module")
def environment():
    return Environment(
        {"object": DYN, "old": DYN, "authorizer": AUTHORIZER, "authorizer.requestResource": RESOURCE_CHECK}
    )


def value(environment, expression, **more):
    return environment.compile(expression).evaluate(VALUES, **more)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("object.spec.replicas <= 5 && object.metadata.namespace == 'ns'", True),
        ("object.spec.replicas * 2", 6),
        ("object.spec.share + 1.0", 1.5),
        ("has(object.spec.missing)", False),
        ("old == null", True),
        ("object.spec.?missing.orValue(7)", 7),
        ("object.spec.list.map(x, x * 2)", [6, 2, 4]),
        ("object.spec.list.all(i, x, i < 3)", True),
        ("object.spec.list.transformList(i, x, i)", [0, 1, 2]),
        ("object.spec.list.sort()", [1, 2, 3]),
        ("sets.contains(object.spec.names, ['x'])", True),
        ("object.metadata.name.upperAscii()", "WEB"),
        ("'%s has %d'.format([object.metadata.name, object.spec.replicas])", "web has 3"),
        ("object.when < timestamp('2027-01-01T00:00:00Z')", True),
        ("object.how_long == duration('60m')", True),
        ("{'a': object.spec.replicas}", {"a": 3}),
        ("object.spec.nothing == null", True),
        # lists
        ("[1, 2].isSorted() && !object.spec.list.isSorted()", True),
        ("object.spec.list.sum() == 6 && [0.5, 1.5].sum() == 2.0", True),
        ("object.spec.list.max() - object.spec.list.min()", 2),
        ("object.spec.names.indexOf('y') + object.spec.names.lastIndexOf('z')", 0),
        # regex
        ("'abc 123 45'.find('[0-9]+')", "123"),
        ("'abc 123 45'.findAll('([0-9])([0-9]+)')", ["123", "45"]),
        ("'a1b2c3'.findAll('(?P<digit>[0-9])', 2)", ["1", "2"]),
        ("'abc'.find('x') == ''", True),
        # quantity
        ("quantity('1Gi').isGreaterThan(quantity('1000Mi'))", True),
        ("quantity('1000m') == quantity('1')", True),
        ("quantity('2').add(quantity('500m')).asApproximateFloat()", 2.5),
        ("quantity('5').sub(2).asInteger()", 3),
        ("isQuantity('1x') || quantity('100m').isInteger()", False),
        ("quantity('-1').sign()", -1),
        ("quantity('1').compareTo(quantity('2'))", -1),
        # url
        ("url('https://u@[::1]:80/a b?q=1&q=2').getHost()", None),
        ("url('https://u@[::1]:80/a?q=1&q=2').getHost()", "[::1]:80"),
        ("url('https://u@[::1]:80/a?q=1&q=2').getHostname()", "::1"),
        ("url('https://x:80/a?q=1&q=2').getQuery()", {"q": ["1", "2"]}),
        ("url('https://x:80/a%20b').getEscapedPath() + url('https://x:80/').getPort()", "/a%20b80"),
        ("isURL('../x') || isURL('x') || !isURL('/x')", False),
        # addresses
        ("ip('::1').isLoopback() && ip('fe80::1').isLinkLocalUnicast() && ip('10.0.0.1').isGlobalUnicast()", True),
        ("ip.isCanonical('::0001') || isIP('::ffff:1.2.3.4') || isIP('1.2.3')", False),
        ("string(ip('::0001')) + string(cidr('10.1.2.3/8').masked().ip())", "::110.0.0.0"),
        ("cidr('10.0.0.0/8').containsIP('10.1.1.1') && cidr('10.0.0.0/8').containsIP(ip('10.1.1.1'))", True),
        ("cidr('10.0.0.0/8').containsCIDR('11.0.0.0/16') || isCIDR('10.0.0.0')", False),
        ("cidr('10.0.0.1/8').ip() == ip('10.0.0.1') && cidr('::/64').prefixLength() == 64", True),
        ("ip('1.2.3.4').family() + ip('::').family()", 10),
        # semver
        (
            "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0-rc.2').compareTo(semver('1.0.0-rc.10')) < 0",
            True,
        ),
        ("semver('v1.2', true).minor() + semver('1.2.3').patch()", 5),
        ("isSemver('1.2') || !isSemver('v01.2', true)", False),
        # formats
        (
            "format.dns1123Label().validate('Bad').hasValue() && !format.dns1123Label().validate('good').hasValue()",
            True,
        ),
        ("format.uuid().validate('x').value()", ["does not match the UUID format"]),
        ("format.named('labelValue').value().validate('x').hasValue()", False),
    ],
)
def test_values(environment, expression, expected):
    if expected is None:
        with pytest.raises(EvaluationError):
            value(environment, expression)
    else:
        found = value(environment, expression)
        assert found == expected
        assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("object.spec.missing > 1", "no such key: missing"),
        ("1 / (object.spec.replicas - 3)", "division by zero"),
        ("object.spec.replicas + 'a'", "no such overload"),
        ("[1, 2].map(x, quantity('bad'))", "quantities must match the regular expression"),
        ("[].max()", "max called on empty list"),
        ("authorizer.path('/x').check('get').allowed()", ""),
        ("'a'.find('(')", ""),
    ],
)
def test_failures(environment, expression, message):
    with pytest.raises(EvaluationError) as caught:
        value(environment, expression)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "expression", ["object.", "unknown == 1", "1 + 'a'", "'a'.find(1)", "object.spec == ", "x" * 20000]
)
def test_wrong_expressions(environment, expression):
    with pytest.raises(CompileError, match=r"^compilation failed: "):
        environment.compile(expression)


def test_result_types(environment):
    assert environment.compile("object.spec.x", returns=BOOL).returns == DYN
    with pytest.raises(CompileError, match=r"^must evaluate to bool$"):
        environment.compile("'a'", returns=BOOL)
    with pytest.raises(CompileError, match=r"^must evaluate to one of \[string, null\]$"):
        environment.compile("1", returns=(STRING, "null"))


def test_endless_work_ends(environment):
    squares = "[object.spec.list, object.spec.list].all(x, " * 1 + "true)"
    assert value(environment, squares)
    nested = "1"
    for name in "abcdefghij":
        nested = f"object.spec.list.map({name}, {nested})"
    with pytest.raises(EvaluationError, match=COST_EXCEEDED):
        value(environment, nested)


def test_the_authorizer_is_asked(environment):
    asked = []

    def authorize(question):
        asked.append(question)
        return AccessAnswer(question.verb == "get", "why")

    values = {**VALUES, "authorizer": environment.authorizer()}
    values["authorizer.requestResource"] = environment.resource_check(resource="pods", namespace="ns")

    def ask(expression):
        return environment.compile(expression).evaluate(values, authorize=authorize)

    assert ask("authorizer.group('apps').resource('deployments').namespace('ns').name('d').check('get').allowed()")
    assert not ask("authorizer.serviceAccount('ns', 'robot').path('/healthz').check('post').allowed()")
    assert ask("authorizer.requestResource.subresource('log').check('list').reason()") == "why"
    first, second, third = asked
    assert (first.group, first.resource, first.namespace, first.name, first.verb) == (
        "apps",
        "deployments",
        "ns",
        "d",
        "get",
    )
    assert (second.service_account, second.path) == (("ns", "robot"), "/healthz")
    assert (third.resource, third.subresource, third.namespace) == ("pods", "log", "ns")


def test_escaping():
    assert escape("plain") == "plain"
    assert escape("a-b.c/d__e") == "a__dash__b__dot__c__slash__d__underscores__e"
    assert escape("namespace") == "__namespace__"
    assert escape("1a") is None


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("int('x') > 1", "type conversion error from 'string' to 'int'"),
        ("duration(object.name) > duration('1s')", "type conversion error from 'string' to 'google.protobuf.Duration'"),
        ("[1, 2][5] == 1", "index out of bounds: 5"),
        ("1 / object.zero == 1", "division by zero"),
        ("object.missing == 1", "no such key: missing"),
        (
            "ip('x').family() == 4",
            'IP Address "x" parse error during conversion from string: ParseAddr("x"): unable to parse IP',
        ),
        ("ip('1.2.3.256').family() == 4", "IPv4 field has value >255"),
        ("ip('1.2.3.04').family() == 4", "IPv4 field has octet with leading zero"),
        ("ip('1.2.3').family() == 4", "IPv4 address too short"),
        ("cidr('1.2.3.4').prefixLength() == 4", "netip.ParsePrefix(\"1.2.3.4\"): no '/'"),
        ("semver('1.2').major() == 1", "No Major.Minor.Patch elements found"),
        ("semver('1.2.x').major() == 1", 'Invalid character(s) found in patch number "x"'),
        ("semver('01.2.3').major() == 1", 'Major number must not contain leading zeroes "01"'),
        ("semver('').major() == 1", "Version string empty"),
        ("url('').getHost() == 'a'", 'parse "": empty url'),
        ("format.named('none').value().validate('x').hasValue()", "optional.none() dereference"),
    ],
)
def test_failures_are_told_as_cel_go_tells_them(expression, message):
    program = Environment({"object": DYN}).compile(expression)
    with pytest.raises(EvaluationError) as caught:
        program.evaluate({"object": {"zero": 0, "name": "x"}})
    assert message in str(caught.value)


def test_the_text_of_a_network():
    program = Environment({}).compile("string(cidr('10.1.0.0/8').masked()) + ' ' + string(ip('10.0.0.1'))")
    assert program.evaluate({}) == "10.0.0.0/8 10.0.0.1"
