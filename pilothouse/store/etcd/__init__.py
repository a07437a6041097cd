"""The store on etcd v3: several API servers share one cluster's state."""
