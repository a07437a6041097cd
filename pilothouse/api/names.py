"""The rules that names, label keys and values, ports and other short strings obey.

Each rule takes a string and returns the messages of what is wrong with it, none if it is right. The messages are upstream's; clients
show them as they are. Source: apimachinery `pkg/util/validation` and `pkg/api/validate/content`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from pilothouse.kit.remembered import remembered

Messages = Sequence[str]
Rule = Callable[[str], Messages]

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_UNDERSCORE_LABEL = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_UNDERSCORE_SUBDOMAIN = rf"{_UNDERSCORE_LABEL}(\.{_UNDERSCORE_LABEL})*"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_WILDCARD = rf"\*\.{_SUBDOMAIN}"
_LABEL_KEY = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_LABEL_KEY})?"
_C_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_HEADER = "[-A-Za-z0-9]+"
_PERCENT = "[0-9]+%"
_HTTP_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"

_is_label = re.compile(_LABEL).fullmatch
_is_subdomain = re.compile(_SUBDOMAIN).fullmatch
_is_underscore_subdomain = re.compile(_UNDERSCORE_SUBDOMAIN).fullmatch
_is_label_1035 = re.compile(_LABEL_1035).fullmatch
_is_wildcard = re.compile(_WILDCARD).fullmatch
_is_label_key = re.compile(_LABEL_KEY).fullmatch
_is_label_value = re.compile(_LABEL_VALUE).fullmatch
_is_c_identifier = re.compile(_C_IDENTIFIER).fullmatch
_is_config_key = re.compile(_CONFIG_KEY).fullmatch
_is_header = re.compile(_HEADER).fullmatch
_is_percent = re.compile(_PERCENT).fullmatch
_is_http_path = re.compile(_HTTP_PATH).fullmatch
_is_port_charset = re.compile("[-a-z0-9]+").fullmatch
_has_letter = re.compile("[a-z]").search
_is_relaxed_env = re.compile("[ -<>-~]+").fullmatch

_OK: Messages = ()
_CACHED = 8192

_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character"
)
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character"
)
_UNDERSCORE_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start "
    "and end with an alphanumeric character"
)
_LABEL_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and "
    "end with an alphanumeric character"
)
_WILDCARD_TEXT = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower "
    "case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
)
_LABEL_KEY_TEXT = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character"
)
_C_IDENTIFIER_TEXT = (
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters "
    "or '_'"
)


def must_match(text: str, pattern: str, *examples: str) -> str:
    """`text` with examples and the regular expression that the value should have matched."""
    if not examples:
        return f"{text} (regex used for validation is '{pattern}')"
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{text} (e.g. {shown}regex used for validation is '{pattern}')"


def at_most_characters(length: int) -> str:
    return f"must be no more than {length} characters"


def at_most_bytes(length: int) -> str:
    return f"must be no more than {length} bytes"


def between(low: int, high: int) -> str:
    return f"must be between {low} and {high}, inclusive"


@remembered(_CACHED)
def dns_label(value: str) -> Messages:
    """RFC 1123 label: names of Pods' containers, Namespaces, ports' host parts."""
    if len(value) <= 63 and _is_label(value):
        return _OK
    messages = [at_most_characters(63)] if len(value) > 63 else []
    if not _is_label(value):
        if _is_subdomain(value):
            messages.append("must not contain dots")
        else:
            messages.append(must_match(_LABEL_TEXT, _LABEL, "my-name", "123-abc"))
    return messages


@remembered(_CACHED)
def dns_subdomain(value: str) -> Messages:
    """RFC 1123 subdomain: the names of most objects."""
    if len(value) <= 253 and _is_subdomain(value):
        return _OK
    messages = [at_most_characters(253)] if len(value) > 253 else []
    if not _is_subdomain(value):
        messages.append(must_match(_SUBDOMAIN_TEXT, _SUBDOMAIN, "example.com"))
    return messages


def long_name(value: str) -> Messages:
    """RFC 1123 subdomain, as the newer validation tells of it."""
    return (at_most_bytes(253), *dns_subdomain(value)[1:]) if len(value) > 253 else dns_subdomain(value)


def dns_subdomain_with_underscore(value: str) -> Messages:
    """RFC 1123 subdomain that may have underscores: search domains of a pod."""
    messages = [at_most_characters(253)] if len(value) > 253 else []
    if not _is_underscore_subdomain(value):
        messages.append(must_match(_UNDERSCORE_SUBDOMAIN_TEXT, _UNDERSCORE_SUBDOMAIN, "example.com"))
    return messages


def dns_1035_label(value: str) -> Messages:
    """RFC 1035 label, which starts with a letter: names of Services."""
    messages = [at_most_characters(63)] if len(value) > 63 else []
    if not _is_label_1035(value):
        messages.append(must_match(_LABEL_1035_TEXT, _LABEL_1035, "my-name", "abc-123"))
    return messages


def dns_wildcard(value: str) -> Messages:
    """`*.` and an RFC 1123 subdomain: hosts of an Ingress."""
    messages = [at_most_characters(253)] if len(value) > 253 else []
    if not _is_wildcard(value):
        messages.append(must_match(_WILDCARD_TEXT, _WILDCARD, "*.example.com"))
    return messages


def path_segment(value: str) -> Messages:
    """Any string that can be one segment of a URL path: names in RBAC."""
    if value in (".", ".."):
        return (f"may not be '{value}'",)
    return tuple(f"may not contain '{forbidden}'" for forbidden in "/%" if forbidden in value)


@remembered(_CACHED)
def label_key(value: str) -> Messages:
    """A label key, or any qualified name: a name of up to 63 characters with an optional DNS prefix and `/`."""
    parts = value.split("/")
    if len(parts) > 2:
        return (
            "a valid label key "
            + must_match(_LABEL_KEY_TEXT, _LABEL_KEY, "MyName", "my.name", "123-abc")
            + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
        )
    messages: list[str] = []
    name = parts[-1]
    if len(parts) == 2:
        prefix = parts[0]
        if not prefix:
            messages.append("prefix part must be non-empty")
        elif len(prefix) > 253 or not _is_subdomain(prefix):
            if len(prefix) > 253:
                messages.append(f"prefix part {at_most_bytes(253)}")
            if not _is_subdomain(prefix):
                messages.append(f"prefix part {must_match(_SUBDOMAIN_TEXT, _SUBDOMAIN, 'example.com')}")
    if not name:
        messages.append("name part must be non-empty")
    elif len(name) > 63:
        messages.append(f"name part {at_most_bytes(63)}")
    if not _is_label_key(name):
        messages.append(f"name part {must_match(_LABEL_KEY_TEXT, _LABEL_KEY, 'MyName', 'my.name', '123-abc')}")
    return messages or _OK


@remembered(_CACHED)
def label_value(value: str) -> Messages:
    """A label's value: up to 63 characters, possibly empty."""
    if len(value) <= 63 and _is_label_value(value):
        return _OK
    messages = [at_most_bytes(63)] if len(value) > 63 else []
    if not _is_label_value(value):
        messages.append(must_match(_LABEL_VALUE_TEXT, _LABEL_VALUE, "MyValue", "my_value", "12345"))
    return messages


def c_identifier(value: str) -> Messages:
    if _is_c_identifier(value):
        return _OK
    return (must_match(_C_IDENTIFIER_TEXT, _C_IDENTIFIER, "my_name", "MY_NAME", "MyName"),)


def env_var_name(value: str) -> Messages:
    """Printable ASCII other than `=`."""
    if _is_relaxed_env(value):
        return _OK
    if not value:
        return ("environment variable name must be non-empty",)
    return ("a valid environment variable name must consist only of printable ASCII characters other than '='",)


def config_key(value: str) -> Messages:
    """A key of a ConfigMap or Secret."""
    if len(value) <= 253 and _is_config_key(value) and value[0] != ".":
        return _OK
    messages = [at_most_characters(253)] if len(value) > 253 else []
    if not _is_config_key(value):
        text = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        messages.append(must_match(text, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    if value in (".", ".."):
        messages.append(f"must not be '{value}'")
    elif value.startswith(".."):
        messages.append("must not start with '..'")
    return messages


def port_name(value: str) -> Messages:
    """An IANA service name as containers and Services name their ports."""
    messages = [at_most_characters(15)] if len(value) > 15 else []
    if not _is_port_charset(value):
        messages.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not _has_letter(value):
        messages.append("must contain at least one letter (a-z)")
    if "--" in value:
        messages.append("must not contain consecutive hyphens")
    if value and (value[0] == "-" or value[-1] == "-"):
        messages.append("must not begin or end with a hyphen")
    return messages or _OK


def port_number(value: int) -> Messages:
    return _OK if 1 <= value <= 65535 else (between(1, 65535),)


def user_or_group_id(value: int) -> Messages:
    return _OK if 0 <= value <= 2**31 - 1 else (between(0, 2**31 - 1),)


def percent(value: str) -> Messages:
    if _is_percent(value):
        return _OK
    text = "a valid percent string must be a numeric string followed by an ending '%'"
    return (must_match(text, _PERCENT, "1%", "93%"),)


def http_header_name(value: str) -> Messages:
    if _is_header(value):
        return _OK
    text = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return (must_match(text, _HEADER, "X-Header-Name"),)


def http_path(value: str) -> Messages:
    if _is_http_path(value):
        return _OK
    return (must_match("Invalid path", _HTTP_PATH),)


def anything(value: str) -> Messages:
    return _OK


RULES: Mapping[str, Rule] = {
    "own": anything,
    "dns-subdomain": dns_subdomain,
    "long-name": long_name,
    "dns-label": dns_label,
    "dns-1035": dns_1035_label,
    "path-segment": path_segment,
}
"""The rules that a kind's declaration can name for its objects' names; `own` leaves it to the kind's validation."""


def generated(rule: Rule) -> Rule:
    """The rule for a `generateName` whose finished names obey `rule`: the last character may be a hyphen."""

    def check(prefix: str) -> Messages:
        return rule(f"{prefix[:-1]}a" if len(prefix) > 1 and prefix.endswith("-") else prefix)

    return check
