"""What commands print: texts, tables, JSON, errors."""
