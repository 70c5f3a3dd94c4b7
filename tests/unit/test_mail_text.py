"""The text of a mail: the right part, in the right letters, made safe, whatever is in the mail."""

from __future__ import annotations

import subprocess
import sys
from base64 import urlsafe_b64encode
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bg_charm_service import html_text, mail_header, mail_text, safe_html
from bg_charm_service.sdk.mail.mail_text import decode_text


def mail(body: bytes, kind: str = "text/plain", **headers: str) -> bytes:
    """A mail of one part, as it comes over the wire."""
    lines = [f"{name.replace('_', '-')}: {text}" for name, text in headers.items()]
    return "\r\n".join([f"Content-Type: {kind}", *lines, "", ""]).encode() + body


def of_several(kind: str, *parts: Message) -> Message:
    """A mail of several parts."""
    made = MIMEMultipart(kind)
    for part in parts:
        made.attach(part)
    return made


def attached(part: Message, name: str = "file.txt") -> Message:
    """The same part, as a file."""
    part.add_header("Content-Disposition", "attachment", filename=name)
    return part


PLAIN = MIMEText("plain words", "plain")
HTML = MIMEText("<p>words of <b>HTML</b></p>", "html")


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("iso-8859-8-i", "שלום"),
        ("windows-874", "สวัสดี"),
        ("windows-31j", "①髙"),
        ("csUTF8", "grün"),
        ("gb2312", "镕"),
        ("ks_c_5601-1987", "똠"),
        ("utf-8", "☃"),
        ("iso-8859-1", "grün"),
        ("utf-7", "Hi"),
        ("x-sjis", "日本"),
        ('"UTF-8"', "ä"),
    ],
)
def test_charsets_are_read_by_the_names_that_mails_have(charset: str, text: str) -> None:
    """Also those that Python's `email` refuses, or reads too narrowly."""
    codec = {"iso-8859-8-i": "iso8859-8", "windows-874": "cp874", "windows-31j": "cp932"}
    codec |= {"csUTF8": "utf-8", "gb2312": "gb18030", "ks_c_5601-1987": "cp949", "x-sjis": "cp932"}
    data = text.encode(codec.get(charset, charset.strip('"')))
    assert text == mail_text(mail(data, f"text/plain; charset={charset}"))


def test_vietnamese_of_its_own() -> None:
    """A charset that Python does not have (RFC 1456)."""
    assert "Việt Ẳ" == mail_text(mail(b"Vi\xaet \x02", "text/plain; charset=viscii"))


@pytest.mark.parametrize("charset", ["", "us-ascii", "iso-8859-1", "unknown-8bit", "klingon"])
def test_a_charset_that_says_nothing_is_guessed(charset: str) -> None:
    """UTF-8 where it is that, else that of Windows."""
    assert "grün ☃" == decode_text("grün ☃".encode(), charset)
    assert "grün €" == decode_text("grün €".encode("cp1252"), charset)


@pytest.mark.parametrize("charset", ["zip", "rot13", "idna", "punycode", "unicode_escape", "a\0b"])
def test_what_is_no_charset_is_none(charset: str) -> None:
    """What Python calls a codec may be anything."""
    assert "a\\u0041" == decode_text(b"a\\u0041", charset)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (PLAIN, "plain words"),
        (HTML, "words of **HTML**"),
        (of_several("alternative", PLAIN, HTML), "plain words"),
        (of_several("alternative", MIMEText(" \n"), HTML), "words of **HTML**"),
        (of_several("alternative", HTML), "words of **HTML**"),
        (
            of_several(
                "mixed",
                of_several("alternative", PLAIN, of_several("related", HTML)),
                attached(MIMEText("of a file")),
                MIMEText("-- \nthe list"),
            ),
            "plain words\n\n--\nthe list",
        ),
        (of_several("related", HTML, MIMEText("a picture")), "words of **HTML**"),
        (of_several("signed", PLAIN, attached(MIMEText("x"), "signature.asc")), "plain words"),
        (of_several("mixed"), ""),
        (MIMEText("BEGIN:VCALENDAR", "calendar"), ""),
    ],
)
def test_the_right_part_is_taken(message: Message, text: str) -> None:
    """The same by bytes and by what Python has read."""
    assert text == mail_text(message)
    assert text == mail_text(message.as_bytes())


def test_a_mail_in_a_mail_is_no_text_of_it() -> None:
    """It is attached, with all that is in it."""
    inner = EmailMessage()
    inner.set_content("of another")
    outer = EmailMessage()
    outer.set_content("see below")
    outer.add_attachment(inner)
    assert "see below" == mail_text(outer) == mail_text(outer.as_bytes())


def test_mails_of_gmail_are_read_too() -> None:
    """As its API gives them: parts as JSON, their bodies in base64 for addresses."""

    def part(kind: str, text: bytes = b"", name: str = "", *parts: Any) -> dict[str, Any]:
        data = urlsafe_b64encode(text).decode().rstrip("=")
        return {
            "mimeType": kind,
            "filename": name,
            "headers": [{"name": "Content-Type", "value": f"{kind}; charset=iso-8859-1"}],
            "body": {"data": data} if text else {"size": 0},
            "parts": list(parts),
        }

    both = part("multipart/alternative", b"", "", part("text/plain", "grün?>".encode()))
    whole = part("multipart/mixed", b"", "", both, part("text/plain", b"file", "a.txt"))
    assert "grün?>" == mail_text(whole)
    assert "grün" == mail_text(part("text/html", "<p>grün".encode("latin-1")))
    assert "" == mail_text({"mimeType": "text/plain", "body": {"data": "!"}})
    assert "" == mail_text({})


def test_a_text_is_as_long_as_was_asked_for() -> None:
    """With a mark where it was cut; tidy else."""
    assert "ab…" == mail_text(mail(b"ab cdef"), limit=4)
    assert "abcd" == mail_text(mail(b"abcd"), limit=4)
    assert "a\nb\n\nc" == mail_text(mail(b"\r\n a \rb\x00\r\n\r\n\r\n\r\nc \n".lstrip()))


def test_html_is_made_safe_first() -> None:
    """Nothing that acts is left, neither in Markdown nor in what may be shown on a page."""
    html = (
        "<title>T</title><style>p{}</style><script>alert(1)</script>"
        '<p onclick="alert(2)">Hi <a href="javascript:alert(3)">bad</a> '
        '<a href="https://e.org/?a=1&amp;b=2">good</a></p><img src="http://track/er.gif">'
        "<iframe src=//evil></iframe><form action=//evil><input></form>"
    )
    assert "Hi bad [good](https://e.org/?a=1&b=2)" == mail_text(mail(html.encode(), "text/html"))
    shown = safe_html(html)
    for word in ("script", "alert", "onclick", "iframe", "form", "style"):
        assert word not in shown
    assert 'href="https://e.org/?a=1&amp;b=2"' in shown


def test_html_of_newsletters() -> None:
    """Lists without ends, tables, and boxes in boxes a thousand deep."""
    assert "  * one\n  * two" == html_text("<ul><li>one<li>two</ul>").strip("\n")
    assert "deep" == mail_text(mail(b"<div>" * 2000 + b"deep", "text/html"))


def test_parts_in_parts_without_end_are_left_out() -> None:
    """However deep somebody has put them."""
    message: Message = MIMEText("at the bottom")
    for _ in range(60):
        message = of_several("mixed", message)
    assert "" == mail_text(message)
    lines = [
        f'Content-Type: multipart/mixed; boundary="{number}"\r\n\r\n--{number}'
        for number in range(2000)
    ]
    assert isinstance(mail_text("\r\n".join(lines).encode()), str)
    assert isinstance(mail_text(mail(b"no parts", "multipart/mixed")), str)


@example("ü".encode(), "text/plain", "\0")
@given(
    st.binary(max_size=300),
    st.sampled_from(["text/plain", "text/html", "multipart/mixed; boundary=x", "a/b/c", "\udc80"]),
    st.text(max_size=20),
)
def test_nothing_in_a_mail_makes_it_fail(body: bytes, kind: str, charset: str) -> None:
    """Whatever its header says, and its body is."""
    head = f"Content-Type: {kind}; charset={charset}\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    raw = head.encode("utf-8", "surrogateescape") + body
    assert isinstance(mail_text(raw), str)
    assert isinstance(decode_text(body, charset), str)


def test_who_does_not_use_it_pays_nothing() -> None:
    """The package loads none of the helpers, and a text none of the libraries for HTML."""
    code = (
        "import sys; import bg_charm_service; from bg_charm_service import Charm, Wait; "
        "names = ('nh3', 'html2text', 'httpx2', 'imaplib', 'xml', 'email'); "
        "print([name for name in names if name in sys.modules]); "
        "from bg_charm_service import mail_text; mail_text(b'\\n\\nx'); "
        "print([name for name in ('nh3', 'html2text') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ["[]", "[]"] == done.stdout.split("\n")[:2]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"Subject: plain", "plain"),
        (b"SUBJECT:\r\n folded\r\n\tand more", "folded and more"),
        (b"Subject: =?utf-8?q?Gr=C3?= =?utf-8?q?=BC=C3=9Fe?= to you", "Gr\u00fc\u00dfe to you"),
        (
            b"Subject: a =?iso-8859-1?Q?=FC_=DF?=\r\n =?utf-8*de?B?w7w?= b",
            "a \u00fc \u00df\u00fc b",
        ),
        (b"Subject: =?iso-8859-8-i?Q?=F9=EC?=", "\u05e9\u05dc"),
        (b"Subject: =?no-such?q?a=FF?=", "a\u00ff"),
        (b"Subject: =?utf-8?b?!!!?= =?bad", "=?bad"),
        (b"Subject: Gr\xc3\xbc\xc3\x9fe", "Gr\u00fc\u00dfe"),
        (b"Subject: Gr\xfc\xdfe", "Gr\u00fc\u00dfe"),
        (b"Subject: a\0b", "ab"),
        (b"Subject: one\r\nSubject: two", "one"),
        (b"To: you", ""),
    ],
)
def test_a_header_is_one_line_of_letters(raw: bytes, text: str) -> None:
    """Unfolded, and in the charsets that it names, or else is written in."""
    assert text == mail_header(raw + b"\r\n\r\nbody", "Subject")


def test_a_header_may_be_cut() -> None:
    """Also one of a mail that a program has made."""
    made = EmailMessage()
    made["Subject"] = "four"
    assert ("four", "fo\u2026") == (
        *(mail_header(made, "subject", limit=4), mail_header(made, "subject", limit=3)),
    )
    odd = Message()
    odd["Subject"] = "\ud800"
    assert "?" == mail_header(odd, "subject")


@given(st.binary(max_size=200))
def test_no_header_makes_it_fail(data: bytes) -> None:
    """Whatever bytes it is."""
    mail_header(b"Subject: " + data, "subject").encode("utf-8", "surrogatepass")
    mail_header(b"Subject: =?utf-8?b?" + data + b"?=", "subject")


def test_a_header_of_what_gmail_gives() -> None:
    """By its API: the first of its name counts, however that is written."""
    headers = [{"name": "SUBJECT", "value": "=?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n all"}, {"name": "To"}]
    payload = {"headers": [*headers, {"name": "Subject", "value": "second"}]}
    assert "Grüße all" == mail_header(payload, "Subject")
    assert "Grü…" == mail_header(payload, "Subject", limit=4)
    assert ("", "", "") == (
        mail_header(payload, "To"),
        mail_header(payload, "Cc"),
        mail_header({}, "To"),
    )
