"""A record of who did what. Source: apiserver `pkg/audit`, `pkg/apis/audit/v1`."""
