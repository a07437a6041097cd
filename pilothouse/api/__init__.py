"""What Kubernetes means: kinds, schemas, defaults, validation, patches, selectors. Pure and synchronous; no I/O."""
