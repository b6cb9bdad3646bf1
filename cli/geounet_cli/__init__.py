"""The `geounet` command: parses, calls one library function, reports."""
