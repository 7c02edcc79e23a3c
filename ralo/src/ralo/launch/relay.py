"""The nginx configuration of a relay: a site's cache of weight parts.

Weight parts never change and are named by their sha256, so an HTTP cache needs to know nothing else
of RALO. For every request the relay asks the orchestrator, with the client's own token and without
a body, whether this client may have the part. So a relay serves nobody whom the orchestrator would
refuse, and the question keeps the version from being pruned.
"""

import re
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

import attrs

from ralo_core.errors import RaloError

CONFIG_FILE = "nginx.conf"
_SLICE = "16m"
"""The ranges that workers ask for: the first who asks fetches it, the others wait for it."""

_NOT_PLAIN = re.compile(r"""[\s"'$;{}\\]""")

_TEMPLATE = Template("""\
# Written by `ralo launch relay`. Start it with: nginx -p $folder -c $config
daemon off;
worker_processes auto;
pid $folder/nginx.pid;
error_log $folder/error.log warn;
events { worker_connections 4096; }
http {
    access_log off;
    server_tokens off;
    sendfile on;
    tcp_nopush on;
    client_max_body_size 1k;
    client_body_temp_path $folder/temporary/body;
    proxy_temp_path $folder/temporary/proxy;
    fastcgi_temp_path $folder/temporary/fastcgi;
    uwsgi_temp_path $folder/temporary/uwsgi;
    scgi_temp_path $folder/temporary/scgi;
    proxy_cache_path $folder/parts levels=2:2 keys_zone=parts:32m max_size=${max_gb}g
                     inactive=30d use_temp_path=off;

    upstream orchestrator {
        server $address;
        keepalive 64;
    }
    proxy_http_version 1.1;
    proxy_connect_timeout 10s;
    proxy_read_timeout 300s;
$tls
    server {
        listen $listen;

        location ~ "^/weights/parts/[0-9a-f]{64}$$" {
            auth_request /may;
            slice $slice;
            proxy_cache parts;
            proxy_cache_key $$uri$$slice_range;
            proxy_cache_valid 200 206 365d;
            proxy_cache_lock on;
            proxy_cache_lock_age 1h;
            proxy_cache_lock_timeout 1h;
            proxy_set_header Host $host;
            proxy_set_header Connection "";
            proxy_set_header Range $$slice_range;
            proxy_set_header X-Ralo-Direct 1;
            proxy_pass $scheme://orchestrator$$uri;
        }
        location = /may {
            internal;
            proxy_method HEAD;
            proxy_pass_request_body off;
            proxy_set_header Host $host;
            proxy_set_header Connection "";
            proxy_set_header Content-Length "";
            proxy_set_header Range "";
            proxy_set_header X-Ralo-Direct 1;
            proxy_pass $scheme://orchestrator$$request_uri;
            # The token was good, the part is pruned: what is cached may still be given.
            proxy_intercept_errors on;
            error_page 404 = @pruned;
        }
        location @pruned { return 204; }
        location / { return 404; }
    }
}
""")

_TLS = Template("""\
    proxy_ssl_server_name on;
    proxy_ssl_name $name;
    proxy_ssl_verify on;
    proxy_ssl_verify_depth 4;
    proxy_ssl_trusted_certificate $ca;
""")


@attrs.frozen(kw_only=True)
class Relay:
    """A relay of the orchestrator at `server` that listens at `listen` (nginx's word for address
    and port) and keeps up to `max_gb` GB of parts in `folder`. `ca` is a PEM file of the
    authorities that may sign the orchestrator's certificate."""

    server: str
    listen: str
    folder: Path
    max_gb: int
    ca: Path

    def config(self) -> str:
        """Return the configuration; raises `RaloError` for a URL that is none."""
        url = urlsplit(self.server)
        if url.scheme not in ("http", "https") or not url.hostname or url.path.strip("/"):
            msg = f"{self.server!r} is no URL of an orchestrator, such as https://lab.example:59888"
            raise RaloError(msg)
        name = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
        address = f"{name}:{url.port or (443 if url.scheme == 'https' else 80)}"
        tls = _TLS.substitute(name=url.hostname, ca=_plain(self.ca))
        return _TEMPLATE.substitute(
            folder=_plain(self.folder),
            config=CONFIG_FILE,
            max_gb=self.max_gb,
            address=address,
            host=url.netloc,
            listen=self.listen,
            scheme=url.scheme,
            slice=_SLICE,
            tls=tls if url.scheme == "https" else "",
        )


def _plain(path: Path) -> str:
    """Return an absolute path; raises `RaloError` where nginx would read something else in it."""
    text = str(path.resolve())
    if _NOT_PLAIN.search(text):
        msg = f"{text!r} cannot stand in an nginx configuration: choose a path without spaces, "
        raise RaloError(msg + "quotes, '$', ';' and braces")
    return text
