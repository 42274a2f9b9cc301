"""One program in many labs that differ in what is varied."""
