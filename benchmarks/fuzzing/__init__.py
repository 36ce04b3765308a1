"""Damaged and odd inputs for every reader, and what the readers make of them."""
