"""A Raspberry Pi's userland on a workstation: Debian 12 arm64 under qemu-user, with facette-runtime installed."""
