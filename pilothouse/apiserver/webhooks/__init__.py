"""Servers outside that the API server asks: admission and conversion webhooks."""
