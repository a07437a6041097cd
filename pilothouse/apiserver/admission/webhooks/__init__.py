"""MutatingAdmissionWebhook and ValidatingAdmissionWebhook. Source: apiserver `pkg/admission/plugin/webhook`."""
