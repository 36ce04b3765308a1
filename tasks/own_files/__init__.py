"""What people bring and take: their files as labels, ids and vectors."""
