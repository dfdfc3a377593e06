"""Deployment over SSH: a bundle, the runtime and its libraries on a device, switched in one step and switched back in one."""
