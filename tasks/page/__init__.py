"""What pages share: the Jinja environment, the base template, charts, and rows with their contents."""

from tasks.page.contents import Content, content_of, picture_uri, read_contents
from tasks.page.rendering import environment
from tasks.page.rows import Card, describe_rows

__all__ = ["Card", "Content", "content_of", "describe_rows", "environment", "picture_uri", "read_contents"]
