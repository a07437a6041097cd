"""What the API server passes on: logs and streams of pods from their kubelets, and HTTP to pods, services and nodes."""
