"""Where objects are kept: etcd's model over memory, SQLite and etcd, and the watch cache that serves reads."""
