"""Arrays made: of data, filled, counted out, of known patterns."""
