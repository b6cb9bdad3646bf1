"""Malformed input: sound products, ways to spoil them, and a judge of what is then said."""
