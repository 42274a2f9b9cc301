"""Packets as they are on the wire: heard at links, chosen by filters, written to files, said in words."""
