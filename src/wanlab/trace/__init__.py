"""What became of a packet and why: followed from node to node, told as a story."""
