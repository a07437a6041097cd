"""Admission policies and their bindings. Source: `pkg/apis/admissionregistration/validation`."""

from __future__ import annotations

import re

from pilothouse.api import names
from pilothouse.api.cel.admission import AdmissionTypes
from pilothouse.api.cel.ast import Type
from pilothouse.api.cel.environment import BOOL, LIST, MAP, NULL, STRING, CompileError
from pilothouse.api.cel.objects import as_maps
from pilothouse.api.path import FieldError, Path, duplicate, field_forbidden, invalid, required
from pilothouse.api.validate.metadata import check_conditions, check_label_selector
from pilothouse.api.validate.shown import shown_list
from pilothouse.api.validate.values import Errors, Part, check_choice, check_name, check_present
from pilothouse.api.validate.webhook import check_match_conditions, check_rule_with_operations

MAX_ANNOTATIONS = 20
MAX_VALUE_EXPRESSION_BYTES = 5 * 1024
_MUTABLE = ("*", "CONNECT", "CREATE", "UPDATE")
"""The operations in which an object can be changed."""
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
_PATCHES = {
    "ApplyConfiguration": ("applyConfiguration", MAP, "Object"),
    "JSONPatch": ("jsonPatch", LIST, "list(JSONPatch)"),
}
"""By type: the field, the type of its expression's values, and how messages call that."""
_ANNOTATION = {"Key": "", "ValueExpression": ""}
_ACTIONS = ("Audit", "Deny", "Warn")
_BOTH = "validations or auditAnnotations must contain at least one item"
_is_identifier = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*").fullmatch


def validate_policy(policy: Part) -> list[FieldError]:
    """Faults in a ValidatingAdmissionPolicy; its expressions must compile."""
    errors: Errors = []
    spec, path = policy.get("spec") or {}, Path("spec")
    types = _types(spec)
    _check_common(spec, path, types, errors)
    validations, annotations = spec.get("validations") or (), spec.get("auditAnnotations") or ()
    if not validations and not annotations:
        errors += [required(path.child(field), _BOTH) for field in ("validations", "auditAnnotations")]
    for i, validation in enumerate(validations):
        _check_validation(validation, path.child("validations").index(i), types, errors)
    if len(annotations) > MAX_ANNOTATIONS:
        text = f"must not have more than {MAX_ANNOTATIONS} auditAnnotations"
        errors.append(invalid(path.child("auditAnnotations"), shown_list(annotations, _ANNOTATION), text))
    name = (policy.get("metadata") or {}).get("name", "")
    seen: set[str] = set()
    for i, annotation in enumerate(annotations):
        here, key = path.child("auditAnnotations").index(i), annotation.get("key", "")
        if name:
            check_name(names.label_key, f"{name}/{key}", here.child("key"), errors)
        else:
            errors.append(invalid(here.child("key"), key, "requires metadata.name be non-empty"))
        if key in seen:
            errors.append(duplicate(here.child("key"), key))
        seen.add(key)
        expression = annotation.get("valueExpression", "").strip()
        if len(expression.encode()) > MAX_VALUE_EXPRESSION_BYTES:
            text = f"must not exceed {MAX_VALUE_EXPRESSION_BYTES} bytes in length"
            errors.append(required(here.child("valueExpression"), text))
        else:
            _check_expression(annotation, "valueExpression", (STRING, NULL), here, types, errors)
    return errors


def validate_policy_status_update(new: Part, old: Part) -> list[FieldError]:
    errors: Errors = []
    status, path = new.get("status") or {}, Path("status")
    for i, warning in enumerate((status.get("typeChecking") or {}).get("expressionWarnings") or ()):
        here = path.child("typeChecking", "expressionWarnings").index(i)
        check_present(warning, "warning", here, errors)
        if not warning.get("fieldRef", "").strip():
            errors.append(required(here.child("fieldRef")))
    check_conditions(status.get("conditions"), path.child("conditions"), errors)
    return errors


def validate_mutating_policy(policy: Part) -> list[FieldError]:
    """Faults in a MutatingAdmissionPolicy."""
    errors: Errors = []
    spec, path = policy.get("spec") or {}, Path("spec")
    types = _types(spec, mutates=True)
    _check_common(spec, path, types, errors)
    _check_mutable(spec.get("matchConstraints") or {}, path.child("matchConstraints"), errors)
    mutations = spec.get("mutations") or ()
    if not mutations:
        errors.append(required(path.child("mutations"), "mutations must contain at least one item"))
    for i, mutation in enumerate(mutations):
        _check_mutation(mutation, path.child("mutations").index(i), types, errors)
    if not spec.get("reinvocationPolicy"):
        errors.append(required(path.child("reinvocationPolicy")))
    else:
        check_choice(spec["reinvocationPolicy"], ("IfNeeded", "Never"), path.child("reinvocationPolicy"), errors)
    return errors


def validate_mutating_binding(binding: Part) -> list[FieldError]:
    """Faults in a MutatingAdmissionPolicyBinding."""
    errors: Errors = []
    spec, path = binding.get("spec") or {}, Path("spec")
    _check_binding(spec, path, errors)
    _check_mutable(spec.get("matchResources") or {}, path.child("matchResources"), errors)
    return errors


def _check_mutable(match: Part, path: Path, errors: Errors) -> None:
    for rule in match.get("resourceRules") or ():
        for operation in rule.get("operations") or ():
            check_choice(operation, _MUTABLE, path.child("resourceRules", "operations"), errors)


def _check_mutation(mutation: Part, path: Path, types: AdmissionTypes, errors: Errors) -> None:
    type_ = mutation.get("patchType", "")
    if not type_:
        errors.append(required(path.child("patchType")))
        return
    check_choice(type_, tuple(_PATCHES), path.child("patchType"), errors)
    if type_ not in _PATCHES:
        return
    for patch_type, (field, returns, called) in sorted(_PATCHES.items(), key=lambda each: each[0] != type_):
        part, here = mutation.get(field), path.child(field)
        if patch_type != type_:
            if part is not None:
                errors.append(invalid(here, f"{{{field}}}", f"must not be specified when patchType is {type_}"))
        elif part is None:
            errors.append(required(here, f"must be specified when patchType is {type_}"))
        elif not (text := part.get("expression") or "").strip():
            errors.append(required(here.child("expression")))
        else:
            try:
                types.check(as_maps(text, is_new=True), returns, shown=called, constructs=True)
            except CompileError as error:
                errors.append(invalid(here.child("expression"), text, str(error)))


def validate_binding(binding: Part) -> list[FieldError]:
    """Faults in a ValidatingAdmissionPolicyBinding."""
    errors: Errors = []
    spec, path = binding.get("spec") or {}, Path("spec")
    _check_binding(spec, path, errors)
    actions = spec.get("validationActions") or []
    here = path.child("validationActions")
    if not actions:
        errors.append(required(here, "at least one validation action is required"))
    for i, action in enumerate(actions):
        check_choice(action, _ACTIONS, here.index(i), errors)
        if action in actions[:i]:
            errors.append(duplicate(here.index(i), action))
    if "Deny" in actions and "Warn" in actions:
        why = "repeating the same validation failure information in the API response and headers serves no purpose"
        errors.append(invalid(here, actions, f"must not contain both Deny and Warn ({why})"))
    return errors


def _types(spec: Part, *, mutates: bool = False) -> AdmissionTypes:
    has_params, has_variables = spec.get("paramKind") is not None, bool(spec.get("variables"))
    return AdmissionTypes(is_policy=True, has_params=has_params, has_variables=has_variables, mutates=mutates)


def _check_common(spec: Part, path: Path, types: AdmissionTypes, errors: Errors) -> None:
    """What both kinds of policies have."""
    check_choice(spec.get("failurePolicy", "Fail"), ("Fail", "Ignore"), path.child("failurePolicy"), errors)
    if (kind := spec.get("paramKind")) is not None:
        _check_param_kind(kind, path.child("paramKind"), errors)
    constraints = spec.get("matchConstraints")
    if constraints is None:
        errors.append(required(path.child("matchConstraints")))
    else:
        _check_match(constraints, path.child("matchConstraints"), errors)
        if not constraints.get("resourceRules"):
            errors.append(required(path.child("matchConstraints", "resourceRules")))
    conditions, here = spec.get("matchConditions") or (), path.child("matchConditions")
    check_match_conditions(conditions, here, types, errors)
    for i, variable in enumerate(spec.get("variables") or ()):
        at, name = path.child("variables").index(i), variable.get("name", "")
        if not name.strip():
            errors.append(required(at.child("name"), "name is not specified"))
        elif not _is_identifier(name):
            errors.append(invalid(at.child("name"), name, "must be a valid CEL identifier"))
        type_ = _check_expression(variable, "expression", (), at, types, errors)
        if _is_identifier(name):
            types.add_variable(name, type_)


def _check_param_kind(kind: Part, path: Path, errors: Errors) -> None:
    if check_present(kind, "apiVersion", path, errors):
        group, _, version = kind["apiVersion"].rpartition("/")
        if "/" in group:
            text = f"unexpected GroupVersion string: {kind['apiVersion']}"
            errors.append(invalid(path.child("apiVersion"), kind["apiVersion"], text))
        else:
            if group:
                check_name(names.dns_subdomain, group, path.child("apiVersion"), errors)
            check_name(names.dns_1035_label, version, path.child("apiVersion"), errors)
    if check_present(kind, "kind", path, errors) and (problems := names.dns_1035_label(kind["kind"].lower())):
        text = f"may have mixed case, but should otherwise match: {','.join(problems)}"
        errors.append(invalid(path.child("kind"), kind["kind"], text))


def _check_match(match: Part, path: Path, errors: Errors) -> None:
    if "matchPolicy" in match:
        check_choice(match["matchPolicy"], ("Equivalent", "Exact"), path.child("matchPolicy"), errors)
    for field in ("namespaceSelector", "objectSelector"):
        check_label_selector(match.get(field), path.child(field), errors)
    for field in ("resourceRules", "excludeResourceRules"):
        for i, rule in enumerate(match.get(field) or ()):
            here = path.child(field).index(i)
            listed = rule.get("resourceNames") or []
            for j, name in enumerate(listed):
                check_name(names.path_segment, name, here.child("resourceNames").index(j), errors)
                if name in listed[:j]:
                    errors.append(duplicate(here.child("resourceNames").index(j), name))
            check_rule_with_operations(rule, here, errors)


def _check_validation(validation: Part, path: Path, types: AdmissionTypes, errors: Errors) -> None:
    _check_expression(validation, "expression", (BOOL,), path, types, errors)
    message, expression = validation.get("message") or "", validation.get("messageExpression") or ""
    if expression and not expression.strip():
        errors.append(invalid(path.child("messageExpression"), expression, "must be non-empty if specified"))
    elif expression:
        _check_expression(validation, "messageExpression", (STRING,), path, types, errors)
    if message and not message.strip():
        errors.append(invalid(path.child("message"), message, "must be non-empty if specified"))
    elif "\n" in message.strip() or "\r" in message.strip():
        errors.append(invalid(path.child("message"), message, "must not contain line breaks"))
    if "reason" in validation:
        check_choice(validation["reason"], _REASONS, path.child("reason"), errors)


def _check_expression(
    part: Part, field: str, returns: tuple[str, ...], path: Path, types: AdmissionTypes, errors: Errors
) -> Type | None:
    """The type of the expression; None if it has none."""
    text = part.get(field) or ""
    if not text.strip():
        errors.append(required(path.child(field), f"{field} is not specified"))
        return None
    try:
        return types.check(text, *returns)
    except CompileError as error:
        errors.append(invalid(path.child(field), text, str(error)))
        return None


def _check_binding(spec: Part, path: Path, errors: Errors) -> None:
    """What both kinds of bindings have."""
    if check_present(spec, "policyName", path, errors):
        check_name(names.dns_subdomain, spec["policyName"], path.child("policyName"), errors)
    if (reference := spec.get("paramRef")) is not None:
        _check_reference(reference, path.child("paramRef"), errors)
    if (match := spec.get("matchResources")) is not None:
        _check_match(match, path.child("matchResources"), errors)


def _check_reference(reference: Part, here: Path, errors: Errors) -> None:
    name, selector = reference.get("name"), reference.get("selector")
    if name:
        check_name(names.path_segment, name, here.child("name"), errors)
    if name and selector is not None:
        errors += [
            field_forbidden(here.child(field), "name and selector are mutually exclusive")
            for field in ("name", "selector")
        ]
    if not name and selector is None:
        errors.append(required(here, "one of name or selector must be specified"))
    check_label_selector(selector, here.child("selector"), errors)
    if not reference.get("parameterNotFoundAction"):
        errors.append(required(here.child("parameterNotFoundAction")))
    else:
        action = reference["parameterNotFoundAction"]
        check_choice(action, ("Deny", "Allow"), here.child("parameterNotFoundAction"), errors)
