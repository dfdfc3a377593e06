"""Verification accuracy of a bundle, with the engines that ship."""
