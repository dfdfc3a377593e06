"""The whole way on one machine: a virtual camera, two portraits, and the device runtime in a process of its own."""
