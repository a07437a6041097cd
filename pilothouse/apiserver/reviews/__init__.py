"""Objects that are questions: they are answered and not kept. Source: `pkg/registry/{authentication,authorization}`."""
