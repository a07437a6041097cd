"""ValidatingAdmissionPolicy: rules in CEL, bound to parameters. Source: KEP-3488, apiserver `pkg/admission/plugin/policy`."""
