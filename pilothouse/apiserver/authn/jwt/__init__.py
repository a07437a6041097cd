"""Tokens of foreign issuers: OpenID Connect and whatever else signs JWTs. Source: KEP-3331, apiserver `authenticator/token/oidc`."""
