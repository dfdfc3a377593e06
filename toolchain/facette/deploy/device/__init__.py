"""The half of a deployment that runs on the device.

The workstation sends these modules over SSH; nothing of Facette has to be there. They need the standard library only, and parse
on Python 3.6, so that a device whose Python is too old is told so. That is why their annotations are in quotes.
"""
