"""Configurations of admission webhooks. Source: `pkg/apis/admissionregistration/validation`, apiserver `pkg/util/webhook`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pilothouse.api import names
from pilothouse.api.path import FieldError, Path, duplicate, invalid, not_supported, required, too_many
from pilothouse.api.validate.metadata import check_label_selector
from pilothouse.api.validate.values import Errors, Part, check_choice, check_name

if TYPE_CHECKING:
    from pilothouse.api.cel.admission import AdmissionTypes

_CHOICES = (
    ("failurePolicy", ("Fail", "Ignore")),
    ("matchPolicy", ("Equivalent", "Exact")),
    ("reinvocationPolicy", ("IfNeeded", "Never")),
)
_SIDE_EFFECTS = ("None", "NoneOnDryRun")
_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_REVIEW_VERSIONS = ("v1", "v1beta1")
_MAX_CONDITIONS = 64
_FORM = "; desired format: https://host[/path]"


def validate_webhooks(configuration: Part) -> list[FieldError]:
    """Faults in a MutatingWebhookConfiguration or a ValidatingWebhookConfiguration."""
    errors: Errors = []
    seen: set[str] = set()
    for i, hook in enumerate(configuration.get("webhooks") or ()):
        path, name = Path("webhooks").index(i), hook.get("name", "")
        _check_webhook(hook, path, errors)
        _check_review_versions(hook.get("admissionReviewVersions") or [], path.child("admissionReviewVersions"), errors)
        if name in seen:
            errors.append(duplicate(path.child("name"), name))
        if name:
            seen.add(name)
    return errors


def _check_webhook(hook: Part, path: Path, errors: Errors) -> None:
    name = hook.get("name", "")
    if not name:
        errors.append(required(path.child("name")))
    elif messages := names.dns_subdomain(name):
        errors.append(invalid(path.child("name"), name, ",".join(messages)))
    elif name.count(".") < 2:
        text = "should be a domain with at least three segments separated by dots"
        errors.append(invalid(path.child("name"), name, text))
    for i, rule in enumerate(hook.get("rules") or ()):
        check_rule_with_operations(rule, path.child("rules").index(i), errors)
    for field, allowed in _CHOICES:
        if field in hook:
            check_choice(hook[field], allowed, path.child(field), errors)
    effects, timeout = hook.get("sideEffects"), hook.get("timeoutSeconds", 10)
    if effects is None:
        errors.append(required(path.child("sideEffects"), "must specify one of None, NoneOnDryRun"))
    else:
        check_choice(effects, _SIDE_EFFECTS, path.child("sideEffects"), errors)
    if not 1 <= timeout <= 30:
        text = "the timeout value must be between 1 and 30 seconds"
        errors.append(invalid(path.child("timeoutSeconds"), timeout, text))
    for field in ("namespaceSelector", "objectSelector"):
        check_label_selector(hook.get(field), path.child(field), errors)
    check_client_config(hook.get("clientConfig") or {}, path.child("clientConfig"), errors)
    conditions = hook.get("matchConditions") or ()
    if conditions:
        # Imported here: only who writes expressions pays for their compiler.
        from pilothouse.api.cel.admission import AdmissionTypes

        check_match_conditions(conditions, path.child("matchConditions"), AdmissionTypes(is_policy=False), errors)


def check_client_config(config: Part, path: Path, errors: Errors) -> None:
    """Where a webhook is: a URL or a Service, not both."""
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        errors.append(required(path, "exactly one of url or service is required"))
    elif url is not None:
        _check_url(url, path.child("url"), errors)
    else:
        _check_service(service or {}, path.child("service"), errors)


def _check_url(text: str, path: Path, errors: Errors) -> None:
    try:
        url = urlsplit(text)
    except ValueError as error:
        errors.append(required(path, f"url must be a valid URL: {error}{_FORM}"))
        return
    if url.scheme != "https":
        errors.append(invalid(path, url.scheme, f"'https' is the only allowed URL scheme{_FORM}"))
    user, _, host = url.netloc.rpartition("@")
    if not host:
        errors.append(invalid(path, host, f"host must be specified{_FORM}"))
    for value, what in (
        (user, "user information is"),
        (url.fragment, "fragments are"),
        (url.query, "query parameters are"),
    ):
        if value:
            errors.append(invalid(path, value, f"{what} not permitted in the URL"))


def _check_service(service: Part, path: Path, errors: Errors) -> None:
    # Upstream takes the one for the other.
    for field, other in (("name", "namespace"), ("namespace", "name")):
        if not service.get(other):
            errors.append(required(path.child(field)))
    port, target = service.get("port", 0), service.get("path", "")
    if messages := names.port_number(port):
        errors.append(invalid(path.child("port"), port, f"port is not valid: {', '.join(messages)}"))
    if target in ("", "/"):
        return
    here = path.child("path")
    if target == "//":
        errors.append(invalid(here, target, "segment[0] may not be empty"))
        return
    if not target.startswith("/"):
        errors.append(invalid(here, target, "must start with a '/'"))
    for i, step in enumerate(target[1:].removesuffix("/").split("/")):
        if not step:
            errors.append(invalid(here, target, f"segment[{i}] may not be empty"))
            continue
        errors.extend(invalid(here, target, f"segment[{i}]: {text}") for text in names.dns_subdomain(step))


def check_rule_with_operations(rule: Part, path: Path, errors: Errors) -> None:
    """Which requests a webhook or policy is for."""
    operations = rule.get("operations") or []
    if not operations:
        errors.append(required(path.child("operations")))
    if len(operations) > 1 and "*" in operations:
        text = "if '*' is present, must not specify other operations"
        errors.append(invalid(path.child("operations"), operations, text))
    for i, operation in enumerate(operations):
        check_choice(operation, _OPERATIONS, path.child("operations").index(i), errors)
    for field, shown in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        listed = rule.get(field) or []
        if not listed:
            errors.append(required(path.child(field)))
        if len(listed) > 1 and "*" in listed:
            text = f"if '*' is present, must not specify other {shown}"
            errors.append(invalid(path.child(field), listed, text))
    for i, version in enumerate(rule.get("apiVersions") or ()):
        if not version:
            errors.append(required(path.child("apiVersions").index(i)))
    _check_resources(rule.get("resources") or [], path.child("resources"), errors)
    if "scope" in rule and rule["scope"] not in ("*", "Cluster", "Namespaced"):
        errors.append(not_supported(path.child("scope"), rule["scope"], ("*", "Cluster", "Namespaced")))


def _check_resources(resources: list[str], path: Path, errors: Errors) -> None:
    if not resources:
        errors.append(required(path))
    of_resource: set[str] = set()
    of_subresource: set[str] = set()
    plain = False
    for i, each in enumerate(resources):
        resource, separator, subresource = each.partition("/")
        if not each:
            errors.append(required(path.index(i)))
        elif not separator:
            plain = plain or each != "*"
        else:
            if resource in of_resource:
                text = f"if '{resource}/*' is present, must not specify {each}"
                errors.append(invalid(path.index(i), each, text))
            if subresource in of_subresource:
                text = f"if '*/{subresource}' is present, must not specify {each}"
                errors.append(invalid(path.index(i), each, text))
            if subresource == "*":
                of_resource.add(resource)
            if resource == "*":
                of_subresource.add(subresource)
    if len(resources) > 1 and "*/*" in resources:
        errors.append(invalid(path, resources, "if '*/*' is present, must not specify other resources"))
    if "*" in resources and plain:
        text = "if '*' is present, must not specify other resources without subresources"
        errors.append(invalid(path, resources, text))


def _check_review_versions(versions: list[str], path: Path, errors: Errors) -> None:
    if not versions:
        errors.append(required(path, "must specify one of v1, v1beta1"))
        return
    for i, version in enumerate(versions):
        if version in versions[:i]:
            errors.append(invalid(path.index(i), version, "duplicate version"))
        else:
            check_name(names.dns_1035_label, version, path.index(i), errors)
    if not any(version in _REVIEW_VERSIONS for version in versions):
        errors.append(invalid(path, versions, "must include at least one of v1, v1beta1"))


def check_match_conditions(conditions: Sequence[Part], path: Path, types: AdmissionTypes, errors: Errors) -> None:
    """Conditions of a webhook or policy, whose expressions must compile in `types`."""
    from pilothouse.api.cel.environment import BOOL, CompileError

    if len(conditions) > _MAX_CONDITIONS:
        errors.append(too_many(path, len(conditions), _MAX_CONDITIONS))
    seen: set[str] = set()
    for i, condition in enumerate(conditions):
        here, name, expression = path.index(i), condition.get("name", ""), condition.get("expression", "")
        if not expression.strip():
            errors.append(required(here.child("expression")))
        else:
            try:
                types.check(expression, BOOL)
            except CompileError as error:
                errors.append(invalid(here.child("expression"), expression, str(error)))
        if not name:
            errors.append(required(here.child("name")))
            continue
        check_name(names.label_key, name, here.child("name"), errors)
        if name in seen:
            errors.append(duplicate(here.child("name"), name))
        seen.add(name)
