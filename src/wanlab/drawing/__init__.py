"""How networks, and what happens in them, are drawn: as text, SVG, Mermaid, DOT and JSON. Pure: data in, text out."""
