"""Pseudo-label methods, a file each: who gets which label. See tasks/repair.py."""
