"""The page itself: one file with its style and script inside, which asks the network for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

HERE = Path(__file__).parent


def document(title: str, subtitle: str, sections: Mapping[str, tuple[str, str]]) -> str:
    """Return an HTML file of sections ``{anchor: (heading, HTML)}``; those without content are left out."""
    kept = {anchor: section for anchor, section in sections.items() if section[1]}
    links = "".join(f'<a href="#{anchor}">{escape(heading)}</a>' for anchor, (heading, _) in kept.items())
    body = "".join(
        f'<section id="{anchor}"><h2>{escape(heading)}</h2>{content}</section>'
        for anchor, (heading, content) in kept.items()
    )
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style></head>\n"
        f'<body><a class="skip" href="#main">to the content</a><header><h1>{escape(title)}</h1>'
        f'<p>{escape(subtitle)}</p><nav aria-label="sections">{links}'
        '<button type="button" id="theme" aria-label="switch between light and dark">\N{CIRCLE WITH RIGHT HALF BLACK}'
        f'</button></nav></header>\n<main id="main">{body}</main>\n<script>\n{script}</script></body></html>\n'
    )
