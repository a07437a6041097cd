"""CertificateSigningRequests: approved, signed, removed. Source: upstream `pkg/controller/certificates`."""
