"""What must hold whatever breaks: the store, the network, the disk, the owner, the worker."""
