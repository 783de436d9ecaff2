"""Ratios as bars, with their noise and their targets: an SVG file, without a library."""

from xml.sax.saxutils import escape

WIDTH, LEFT, ROW = 900, 470, 26


def chart(rows: list[tuple[str, float, float, float, float]]) -> str:
    """Rows of (what, ratio, least, greatest, target); green is met, red is missed; the mark is the target."""
    scale = (WIDTH - LEFT - 60) / max(max(high, target) for _, _, _, high, target in rows)
    parts = []
    for number, (what, ratio, low, high, target) in enumerate(rows):
        y = 10 + number * ROW
        colour = "#2a7f3f" if ratio <= target else "#b03030"
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(what)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{ratio * scale:.1f}" height="18" fill="{colour}"/>',
            path(f"M{LEFT + low * scale:.1f} {y + 9}H{LEFT + high * scale:.1f}", "#000", 1),
            path(f"M{LEFT + target * scale:.1f} {y - 2}V{y + 20}", "#d08000", 3),
            f'<text x="{LEFT + max(high, target) * scale + 8:.1f}" y="{y + 14}">{ratio:.2f}</text>',
        ]
    height = 20 + len(rows) * ROW
    size = f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="#fff"/>', *parts, "</svg>\n"])


def path(steps: str, colour: str, width: int) -> str:
    return f'<path d="{steps}" stroke="{colour}" stroke-width="{width}"/>'
