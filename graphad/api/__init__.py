"""The functions users call: they string tracing, transforms, passes and backends together."""
