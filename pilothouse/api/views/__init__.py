"""Views: typed reading of each kind that components work on."""
