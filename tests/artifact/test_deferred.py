# ruff: noqa: E501
"""What is put off works when it is used, just as without the artifact.

Each line of code runs twice, in a process of its own: inside the artifact, and with the same
libraries on the same Python, imported as usual. Both have to say the same.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest

from store_workers_bootstrap import deferred, loader
from tests.artifact.hosts import INSIDE, pythons, supported_pythons
from tests.support.worker import ARTIFACT, clean_environ

# By the modules that wait: what is imported, what must not be loaded by that, and an expression
# that needs it.
CASES: list[tuple[str, str, str]] = [
    # urllib3's own name space, HTTP/2, and the question for what is installed.
    ("import urllib3", "", "urllib3.__version__, urllib3.PoolManager().connection_pool_kw"),
    ("import urllib3", "", "urllib3.util.retry.Retry(3).total, urllib3.exceptions.HTTPError"),
    ("from urllib3 import HTTPResponse, Timeout", "", "HTTPResponse(b'x').data, Timeout(3.0)"),
    ("import urllib3", "", "urllib3.nothing"),
    ("import urllib3.connection", "importlib.metadata", "urllib3.http2.probe.acquire_and_get('h', 1)"),
    ("import urllib3.connection", "importlib.metadata", "urllib3.http2.inject_into_urllib3()"),
    ("import urllib3.connection", "importlib.metadata", "urllib3.http2.extract_from_urllib3()"),
    ("import urllib3.connectionpool", "importlib.metadata",
     "__import__('importlib.metadata').metadata.version('no-such-thing')"),
    # Logging.
    ("import urllib3.connectionpool", "logging", "logged(urllib3.connectionpool)"),
    ("import urllib3.connectionpool", "logging", "urllib3.connectionpool.log.isEnabledFor(10)"),
    ("import urllib3.connectionpool", "logging", "urllib3.connectionpool.log.debug('unheard')"),
    ("import urllib3.connectionpool", "logging", "urllib3.add_stderr_logger().stream.name"),
    ("import urllib3", "logging", "urllib3.disable_warnings()"),
    # Parts of mail.
    ("import email.utils", "datetime", "email.utils.parsedate_to_datetime('Mon, 20 Nov 1995 19:12:08 -0500')"),
    ("import email.utils", "datetime", "email.utils.format_datetime(email.utils.parsedate_to_datetime('Mon, 20 Nov 1995 19:12:08 GMT'), usegmt=True)"),
    ("import email.utils", "random", "email.utils.make_msgid(domain='d').endswith('@d>')"),
    ("import email.utils", "email.charset", "email.utils.formataddr(('B\\xfccher', 'a@b.example'))"),
    ("import email.utils", "email.charset", "email.utils.formataddr(('Plain', 'a@b.example'))"),
    ("import email.utils", "", "email.utils.encode_rfc2231('a b\\xfc', 'utf-8', 'de')"),
    ("import email.utils", "", "email.utils.collapse_rfc2231_value(('utf-8', 'de', 'a%20b'))"),
    ("import email.utils", "", "email.utils.unquote('\"a\"'), email.utils.quote('a\"b')"),
    ("import email.utils", "calendar", "email.utils.mktime_tz((1995, 11, 20, 19, 12, 8, 0, 1, 0, -18000))"),
    ("import email.utils", "", "email.utils.getaddresses(['A (c) <a@b.example>, d@e.example'])"),
    ("import email.message", "email.charset", "part('text/plain; charset=latin-1').get_content_charset()"),
    ("import email.message", "quopri", "part('text/plain', 'quoted-printable', 'a=3Db').get_payload(decode=True)"),
    ("import email.message", "uu", "part('text/plain', 'x-uuencode', 'begin 666 x\\n#86)C\\n`\\nend\\n').get_payload(decode=True)"),
    ("import email.message", "", "part('text/plain', 'base64', 'YWJj').get_payload(decode=True)"),
    ("import email.message", "email.charset", "charset(part('text/plain', None, 'b\\xfccher'))"),
    ("import email.message", "", "part('a/b; c*0=d; c*1=e').get_params()"),
    ("import email.message", "email.header", "header(part('text/plain'))"),
    ("import email.parser", "", "email.parser.Parser().parsestr('A: b\\n c\\nContent-Type: multipart/mixed; boundary=x\\n\\n--x\\n\\none\\n--x--\\n').as_string()"),
    # Sockets, HTTP and TLS.
    ("import socket", "selectors", "sent(socket)"),
    ("import socket", "array", "socket.send_fds, descriptors(socket)"),
    ("import http.client", "ssl", "http.client.HTTPSConnection('localhost', 1)._context.verify_mode"),
    ("import http.client", "", "putheader(http.client)"),
    ("import http.client", "", "http.client.HTTPConnection('a b')"),
    ("import http.client", "", "request(http.client, '/a b')"),
    ("import urllib3.util.ssl_", "hmac", "urllib3.util.ssl_.assert_fingerprint(b'c', 'aa' * 32)"),
    ("import urllib3.util.ssl_", "hmac", "urllib3.util.ssl_.assert_fingerprint(b'c', __import__('hashlib').sha256(b'c').hexdigest())"),
    ("import urllib3.util.ssl_match_hostname as m", "ipaddress", "m.match_hostname({'subjectAltName': (('IP Address', '127.0.0.1'),)}, '127.0.0.1')"),
    ("import urllib3.util.ssl_match_hostname as m", "ipaddress", "m.match_hostname({'subjectAltName': (('DNS', '*.b.example'),)}, 'a.b.example')"),
    ("import urllib3.util.ssl_match_hostname as m", "ipaddress", "m.match_hostname({'subjectAltName': (('DNS', 'c.example'),)}, 'a.b.example')"),
    ("import urllib3.util.request as r", "", "r.make_headers(basic_auth='me:secret', proxy_basic_auth='a:b')"),
    ("import urllib3.util.retry as r", "random", "0 <= r.Retry(3, backoff_factor=.1, backoff_jitter=.5, history=(r.RequestHistory(None, None, None, None, None),) * 2).get_backoff_time() < 1"),
    ("import urllib3.util.retry as r", "", "r.Retry(3).parse_retry_after('7'), r.Retry(3).parse_retry_after('x')"),
    ("import urllib3.fields as f", "mimetypes", "f.guess_content_type('a.json'), f.RequestField.from_tuples('n', ('a.txt', b'x')).headers"),
    ("import urllib3.filepost as f", "mimetypes", "f.encode_multipart_formdata({'k': ('a.png', b'x')}, 'edge')"),
    ("import urllib3.connection as c", "", "c.HTTPConnection('::1').host, c._url_from_connection(c.HTTPConnection('h', 1), '/p')"),
    # Addresses.
    ("import urllib.parse", "ipaddress", "urllib.parse.urlsplit('http://[::1]:80/a?b#c').hostname"),
    ("import urllib.parse", "ipaddress", "urllib.parse.urlsplit('http://[no]/')"),
    ("import urllib.parse", "", "urllib.parse.parse_qs('a=b&c=%20d'), urllib.parse.quote('/a b\\xfc')"),
    ("from urllib3.util.url import parse_url", "", "[parse_url(u) for u in URLS]"),
    ("from urllib3.util.url import parse_url", "", "parse_url('http://[::1')"),
    ("from urllib3.util.url import parse_url", "", "parse_url('http://a:99999999/')"),
    ("import urllib3.util.url as u", "", "u._encode_target('/a b?c d'), u._normalize_host('[FE80::1%25en0]', 'http')"),
    # JSON.
    ("import json", "re", "json.loads(' [1, -2.5e3, \"\\\\u00fc\\\\n\", null, {\"a\" : true}]\\n')"),
    ("import json", "re", "json.loads('[1,]')"),
    ("import json", "re", "json.loads('  \\n x')"),
    ("import json", "re", "json.loads('1 2')"),
    ("import json", "re", "json.dumps({'a': ['\\xfc\"\\n', 1.5, None]}, indent=1), json.dumps('\\xfc', ensure_ascii=False)"),
    ("import json.scanner, json.decoder", "re", "json.decoder.py_scanstring('a\\\\tb\\\\ud83d\\\\ude00\" ', 0)"),
    ("import json.scanner, json.decoder", "re", "json.scanner.NUMBER_RE.match('-1.5e7x').groups(), json.scanner.py_make_scanner(json.JSONDecoder())('[3, {\"a\": 4}]', 0)"),
    ("import json.encoder", "re", "json.encoder.py_encode_basestring_ascii('\\xfc\"'), json.encoder.py_encode_basestring('\\n')"),
    # Host names.
    ("import encodings", "stringprep", "'b\\xfccher.example'.encode('idna'), b'xn--bcher-kva.example'.decode('idna')"),
    ("import encodings", "stringprep", "'Plain.example.'.encode('idna'), b'plain.example'.decode('idna')"),
    ("import encodings", "", "('a' * 64).encode('idna')"),
    ("import encodings", "", "'a..b'.encode('idna'), 1"),
    ("import encodings", "", "''.encode('idna'), '.'.encode('idna')"),
    ("import encodings.idna", "", "encodings.idna.ToASCII('b\\xfccher'), encodings.idna.nameprep('B\\xdc'), encodings.idna.ToUnicode('xn--bcher-kva')"),
    ("import codecs", "", "codecs.getincrementalencoder('idna')().encode('b\\xfc.', final=True)"),
    # The codec's package.
    ("import zstandard", "", "zstandard.__version__, zstandard.ZSTD_VERSION, zstandard.backend"),
    ("import zstandard", "", "zstandard.decompress(zstandard.compress(b'a' * 99)), zstandard.nothing"),
]  # fmt: skip

RUN = """
import json, os, sys
URLS = ["http://a.example/b?c#d", "HTTP://u:p@A.Example:80", "[::1]:8080", "http://[fe80::1%25en0]/",
        "http://1.2.3.4", "/only/path", "http://b%C3%BC.example/%7e/../a b", "a:b@c", "", None,
        "http://xn--bcher-kva.example", "//h"]

def part(kind, encoding=None, payload=""):
    import email.message
    made = email.message.Message()
    made["Content-Type"] = kind
    if encoding:
        made["Content-Transfer-Encoding"] = encoding
    made.set_payload(payload)
    return made

def charset(made):
    made.set_charset("utf-8")
    return made.as_string()

def header(made):
    made["Subject"] = "b\\udcfc"
    return str(made["Subject"])

def logged(module):
    import logging
    records = []
    class Keep(logging.Handler):
        def emit(self, record):
            records.append((record.name, record.levelname, record.getMessage()))
    logging.getLogger("urllib3").addHandler(Keep())
    logging.getLogger("urllib3").setLevel(logging.DEBUG)
    module.log.debug("hello %s", "you")
    module.log.warning("careful")
    return records

def sent(socket):
    a, b = socket.socketpair()
    with open("/etc/passwd", "rb") as file:
        return a.sendfile(file, count=5), b.recv(5)

def descriptors(socket):
    a, b = socket.socketpair()
    socket.send_fds(a, [b"x"], [0])
    data, found, *_ = socket.recv_fds(b, 1, 1)
    return data, len(found)

def putheader(client):
    made = client.HTTPConnection("h")
    made.putrequest("GET", "/")
    made.putheader("A", "b")
    made.putheader("A\\n", "b")

def request(client, target):
    client.HTTPConnection("h").putrequest("GET", target)

def shown(value):
    text = repr(value)
    return text.replace(sys.argv[1], "") if " at 0x" not in text else str(type(value))

for statement, waits, expression in json.loads(sys.stdin.read()):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        names = {}
        try:
            before = set(sys.modules)
            exec(statement, globals())
            early = bool(waits) and waits in set(sys.modules) - before
            try:
                said = shown(eval(expression, globals()))
            except Exception as error:
                said = f"{type(error).__name__}: {error}"
        except BaseException as error:
            early, said = None, f"failed: {error!r}"
        os.write(writer, json.dumps([early, said]).encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as told:
        print(told.read().decode(), flush=True)
    os.waitpid(child, 0)
"""


def said(command: list[str], environ: dict[str, str] | None = None) -> list[tuple[bool, str]]:
    """Return for each case whether what can wait was loaded early, and what came out."""
    done = subprocess.run(
        [*command, str(ARTIFACT)],
        input=json.dumps(CASES),
        env=clean_environ(environ),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def libraries() -> str:
    """Return the folder that the tests' own urllib3 and zstandard are in."""
    spec = importlib.util.find_spec("urllib3")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent.parent)


@pytest.mark.parametrize("name", supported_pythons())
def test_what_waits_works_as_if_it_did_not(name: str) -> None:
    python = pythons()[name]
    inside = said([python, "-X", "utf8", "-c", INSIDE + RUN])
    plain = said([python, "-X", "utf8", "-c", RUN], {"PYTHONPATH": libraries()})
    assert len(inside) == len(plain) == len(CASES)
    different = []
    for case, (early, here), (_, there) in zip(CASES, inside, plain, strict=True):
        if "zstandard" in case[0] and there.startswith("failed"):
            continue  # the tests' own zstandard is for their own Python alone
        if here != there or here.startswith("failed"):
            different.append((case, here, there))
        if early:
            different.append((case, "loaded early", case[1]))
    assert different == []


def test_every_module_that_is_named_has_a_case() -> None:
    waiting = {each.partition(":")[0] for names in deferred.IMPORTS.values() for each in names}
    tried = " ".join(f"{statement} {waits} {expression}" for statement, waits, expression in CASES)
    for module in waiting - {"email._encoded_words", "urllib.parse"}:
        assert module in tried, module


def test_the_importer_asks_for_all_that_waits() -> None:
    named = {*deferred.IMPORTS, *deferred.LATER_PATTERNS, deferred.HostNames.MODULE}
    ours = {name for name in named if not name.startswith(loader.SLOW_PACKAGES)}
    assert ours == loader.DEFERRING
