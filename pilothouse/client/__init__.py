"""How every component reaches the API: transports, verbs, informers, events, leader election."""
