"""An SVG of the rows: for each one a bar for each entrant, as long as it is good beside the row's best."""
from xml.sax.saxutils import escape

WIDTH, LEFT, BAR, LINE, HEAD = 900, 190, 480, 18, 30
COLOURS = {'scifs': '#1b6ca8', 'curl': '#8a8a8a', 'rclone': '#c77d1e', 'reduct-py': '#7a5aa6', 'passthrough_ll': '#5d8a4a', 'cat': '#5d8a4a'}


def colour(who):
    return COLOURS.get(who.split(',')[0].split(' ')[0], '#b0b0b0')


def number(v):
    return f'{v:,.0f}' if abs(v) >= 100 else f'{v:.3g}'


def svg(rows, title):
    out, y = [], 50
    for row in rows:
        good = {who: row.middle(who) for who in row.values}
        top = max(good.values()) or 1
        least = min(v for v in good.values())
        out.append(f'<text x="10" y="{y}" font-weight="bold">{escape(f"{row.job}  {row.name} ({row.unit})")}</text>')
        y += 8
        for who, v in good.items():
            part = v / top if row.more else (least or 0.001) / (v or 0.001)
            dim = '' if who.startswith('scifs') else ' opacity="0.8"'
            out.append(f'<rect x="{LEFT}" y="{y}" width="{max(1, BAR * min(1, part)):.1f}" height="{LINE - 4}" fill="{colour(who)}"{dim}/>')
            out.append(f'<text x="{LEFT - 8}" y="{y + 11}" text-anchor="end">{escape(who)}</text>')
            out.append(f'<text x="{LEFT + max(1, BAR * min(1, part)) + 6:.1f}" y="{y + 11}">{number(v)}</text>')
            y += LINE
        for g in row.goals:
            of = getattr(g, 'of', None)
            if of in good and row.more:
                x = LEFT + BAR * min(1, g.least * good[of] / top)
                out.append(f'<line x1="{x:.1f}" y1="{y - LINE * len(good) - 2}" x2="{x:.1f}" y2="{y - 2}" stroke="#b00" stroke-dasharray="3 2"/>')
        y += HEAD - 8
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" font-family="sans-serif" font-size="11">\n'
            f'<rect width="100%" height="100%" fill="white"/>\n<text x="10" y="22" font-size="14">{escape(title)}</text>\n'
            + '\n'.join(out) + '\n</svg>\n')
