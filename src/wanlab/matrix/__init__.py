"""One program in many labs that differ in what is varied: which cells there are, running them, telling of them."""
