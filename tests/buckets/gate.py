"""A gate before an object store: it passes requests on, records them, and causes faults.

The emulator of Google's store ignores the condition that an object be absent; the gate answers as
the real one does.
"""

import contextlib
import http.client
import http.server
import json
import re
import threading
import urllib.error
import urllib.parse
import urllib.request

DENIED = {
  's3': (403, b'<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'),
  'gs': (403, b'{"error": {"code": 403, "message": "no permission storage.objects.create"}}'),
}
FULL = {
  's3': (403, b'<Error><Code>QuotaExceeded</Code><Message>Bucket quota exceeded</Message></Error>'),
  'gs': (403, b'{"error": {"code": 403, "message": "The project exceeded its quota."}}'),
}
_ABSENT = (412, b'{"error": {"code": 412, "message": "conditionNotMet"}}')


class Gate:
  """A server on the loopback interface, before another one.

  Attributes:
    requests: method and name of the object of each request that was passed on, in order.
    answer: called with method, name and body of a request; if it answers, that is sent instead of
      the store's. Raising ConnectionError closes the connection without one.
    hold: requests for names that match are held when half of their body has arrived.
    held: set when one is.
  """

  def __init__(self, scheme, host, port):
    self.scheme, self._backend = scheme, (host, port)
    self.requests = []
    self.answer = lambda method, name, body: None
    self.hold, self.held, self._go_on = None, threading.Event(), threading.Event()
    self._create = threading.Lock()
    # Google's emulator answers one request at a time, and drops connections that wait.
    self._at_once = threading.Semaphore(1 if scheme == 'gs' else 64)
    gate = self

    class Handler(http.server.BaseHTTPRequestHandler):
      protocol_version = 'HTTP/1.1'

      def log_message(self, *_):
        pass

      def handle_one_request(self):
        with contextlib.suppress(ConnectionError):
          super().handle_one_request()

      def do_GET(self):
        gate._handle(self)

      do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = do_GET  # noqa: N815

    class Server(http.server.ThreadingHTTPServer):
      daemon_threads = True
      request_queue_size = 128

      def handle_error(self, request, client_address):
        pass

    self._server = Server(('127.0.0.1', 0), Handler)
    self.url = f'http://127.0.0.1:{self._server.server_port}'
    threading.Thread(target=self._server.serve_forever, daemon=True).start()

  def close(self):
    self._go_on.set()
    self._server.shutdown()
    self._server.server_close()

  def heal(self):
    """Stops causing faults."""
    self.answer = lambda method, name, body: None
    self.hold = None
    self._go_on.set()
    self._go_on, self.held = threading.Event(), threading.Event()

  def name(self, path, body):
    """The name of the object that a request is about, bucket first."""
    url = urllib.parse.urlsplit(path)
    if self.scheme == 's3':
      return urllib.parse.unquote(url.path).strip('/')
    bucket, _, name = url.path.partition('/b/')[2].partition('/o')
    if url.path.startswith('/upload'):
      found = re.search(rb'"name": "([^"]*)"', body[:4096])
      asked = urllib.parse.parse_qs(url.query).get('name', [''])
      name = found[1].decode() if found else asked[0]
    return f'{bucket}/{urllib.parse.unquote(name).strip("/")}'

  def _handle(self, request):
    length = int(request.headers.get('Content-Length') or 0)
    body = request.rfile.read(min(length, max(4096, length // 2)))  # the name is in it
    name = self.name(request.path, body)
    if self.hold and request.command in ('PUT', 'POST') and re.search(self.hold, name):
      self.held.set()
      self._go_on.wait()
    body += request.rfile.read(length - len(body))
    try:
      answer = self.answer(request.command, name, body)
    except ConnectionError:
      request.close_connection = True
      return request.connection.close()
    if answer:
      status, data = answer
      headers = {'Content-Type': 'application/json' if self.scheme == 'gs' else 'application/xml'}
    else:
      exclusive = 'ifGenerationMatch=0' in request.path
      with self._create if exclusive else contextlib.nullcontext():
        if exclusive and self._exists(name):
          (status, data), headers = _ABSENT, {}
        else:
          status, data, headers = self._pass(request, body)
      self.requests.append((request.command, name))
    request.send_response(status)
    for key, value in headers.items():
      if key.lower() not in ('transfer-encoding', 'connection', 'server', 'date', 'content-length'):
        request.send_header(key, value)
    sent = headers.get('Content-Length', 0) if request.command == 'HEAD' else len(data)
    request.send_header('Content-Length', str(sent))
    request.end_headers()
    if request.command != 'HEAD':
      request.wfile.write(data)

  def _pass(self, request, body):
    with self._at_once:
      return self._ask(request, body)

  def _ask(self, request, body):
    connection = http.client.HTTPConnection(*self._backend)
    try:
      connection.request(request.command, request.path, body or None, dict(request.headers))
      answer = connection.getresponse()
      return answer.status, answer.read(), dict(answer.getheaders())
    finally:
      connection.close()

  def _exists(self, name):
    bucket, _, key = name.partition('/')
    address = f'http://{self._backend[0]}:{self._backend[1]}'
    path = f'/storage/v1/b/{bucket}/o/{urllib.parse.quote(key, safe="")}'
    try:
      with self._at_once, urllib.request.urlopen(address + path) as answer:
        return 'name' in json.loads(answer.read())
    except urllib.error.HTTPError:
      return False
