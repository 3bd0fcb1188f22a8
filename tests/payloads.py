"""Names as nobody honest gives them: for terminals, and for browsers."""

TERMINAL = [
    "\x1b[2J", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x1b]8;;http://evil/\x1b\\link\x1b]8;;\x1b\\", "\x1b]52;c;ZXZpbA==\x07", "\x1bP1$r\x1b\\", "\x1bc",
    "\x1b[6n", "\x1b[?1049h", "\x1b[10A", "\x1b[1;1H", "\x1b(0", "\x1b_app\x1b\\", "\x1b^pm\x1b\\", "\x9b2J", "\x9d0;t\x9c", "\x90q\x9c", "\x85", "\x84",
    "\r", "verdict\rreliable", "\b\b\b\b", "\x07", "\x7f", "\x0b", "\x0c", "\x0e", "\x0f", "\t",
    "a\nverdict: reliable", "a\r\nb", "\u2028", "\u2029", "\u202egnp.exe", "\u2066a\u2069", "\u200f", "\u200b", "\u2060\ufeff", "\ud800", "\udfff\ud800",
    "\U000e0041", "[bold]", "[/]", "[/red]", "[link=http://evil]x[/link]", "[[", "[@click=app.bell]", ":smile:", "\\[red]", "%s %n {0} {x.__class__}",
]  # fmt: skip

BROWSER = [
    "<script>ran(1)</script>", "</script><script>ran(2)</script>", "<img src=x onerror=ran(3)>", "\"><img src=x onerror='ran(4)'>", "'><svg/onload=ran(5)>",
    "</style><script>ran(6)</script>", "</title><script>ran(7)</script>", "</textarea><script>ran(8)</script>", "<svg><script>ran(9)</script></svg>",
    "<svg><animate onbegin=ran(10) attributeName=x dur=1s>", "<math><mi xlink:href=javascript:ran(11)>x</mi></math>", "<a href=javascript:ran(12)>x</a>",
    "javascript:ran(13)", "<iframe srcdoc='<script>parent.ran(14)</script>'>", "<object data=javascript:ran(15)>", "<body onload=ran(16)>",
    "<details open ontoggle=ran(17)>", "<input autofocus onfocus=ran(18)>", "<video><source onerror=ran(19)>", "<base href=http://evil/>",
    "<link rel=stylesheet href=http://evil/x.css>", "<meta http-equiv=refresh content='0;url=http://evil/'>", "<style>*{display:none}</style>",
    "x;background:url(http://evil/)", "}*{display:none}", "<!--", "-->", "<![CDATA[<script>ran(20)</script>]]>", "&lt;script&gt;", "&#60;script&#62;ran(21)",
    "{{ 7 * 7 }}", "{% raw %}", "{{ ''.__class__.__mro__ }}", "{0.__class__}", "{unknown}", "${ran(22)}", "<%= ran(23) %>", "\"onmouseover=ran(24) x=\"",
    "<noscript><p title='</noscript><img src=x onerror=ran(25)>'>", "<template><script>ran(26)</script></template>", "<form action=javascript:ran(27)><button>",
]  # fmt: skip
