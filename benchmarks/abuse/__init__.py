"""What the server costs its other clients, and itself, while somebody abuses it."""
