"""Parquet tables: one named schema a file, checked on every write and read; writes are atomic."""
