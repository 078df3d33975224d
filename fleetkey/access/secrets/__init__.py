"""Secrets: generating, hashing and verifying them, and proofs made with them."""
