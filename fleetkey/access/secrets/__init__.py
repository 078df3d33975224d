"""Secrets: made, hashed, verified, and proofs made with them."""
